//! Classifies the beginning of a response: part of the answer, a prelude, or an error despite a success status. Nothing
//! of a stream is forwarded before the answer begins, so until then another key can be tried.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    sse::{data_of, is_quiet, name_of},
    word_finder::WordFinder,
};

/// An error in place of an answer has one of these members.
static ERROR_WORDS: LazyLock<WordFinder> =
    LazyLock::new(|| WordFinder::new([r#""error""#, r#""base_resp""#, r#""success""#]));

/// An error in place of an answer does not have this member; an answer does.
static ANSWER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""choices":[{"#));
/// An error in place of an answer appears this early in the body.
const ERROR_WITHIN_BYTES: usize = 1024;

/// The kind of an event at the beginning of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FirstEvent<'e> {
    /// The model was called, or the stream is alive.
    Prelude,
    /// Part of the answer: text, a tool call, a finish reason or usage. Anything unknown counts as well.
    Answer,
    /// An error, as the JSON that contains it.
    Error(Cow<'e, [u8]>),
}

#[derive(Deserialize)]
struct Event<'e> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'e, str>>,
    #[serde(borrow)]
    error: Option<&'e RawValue>,
    #[serde(borrow)]
    response: Option<&'e RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<ChoiceMembers<'e>>>,
    usage: Option<IgnoredAny>,
    base_resp: Option<BaseStatus>,
}

/// A provider's own field for errors; 0 means none.
#[derive(Deserialize)]
struct BaseStatus {
    #[serde(default)]
    status_code: i64,
}

impl BaseStatus {
    const fn is_error(&self) -> bool {
        self.status_code != 0
    }
}

type ChoiceMembers<'e> = HashMap<Cow<'e, str>, &'e RawValue>;

/// Members that distinguish an error from a whole answer.
#[derive(Deserialize)]
struct Whole<'b> {
    #[serde(borrow)]
    error: Option<&'b RawValue>,
    base_resp: Option<BaseStatus>,
    success: Option<bool>,
    #[serde(borrow)]
    status: Option<&'b RawValue>,
    choices: Option<IgnoredAny>,
    content: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
    output: Option<IgnoredAny>,
}

// === impl FirstEvent ===

impl<'e> FirstEvent<'e> {
    /// Classifies one event of any metered route.
    pub(crate) fn of(event: &'e [u8]) -> Self {
        if is_quiet(event) {
            return Self::Prelude;
        }
        let data = data_of(event);
        let kind = match serde_json::from_slice::<Event<'_>>(&data) {
            Err(_) => return Self::Answer,
            Ok(read) => read.kind(name_of(event)),
        };
        match kind {
            EventKind::Prelude => Self::Prelude,
            EventKind::Answer => Self::Answer,
            EventKind::Error => Self::Error(data),
            EventKind::Failed(response) => Self::Error(Cow::Owned(response)),
        }
    }
}

/// The kind of an event, without borrowing from its data.
enum EventKind {
    Prelude,
    Answer,
    Error,
    /// The object of a failed response.
    Failed(Vec<u8>),
}

impl Event<'_> {
    fn kind(&self, name: Option<&[u8]>) -> EventKind {
        let kind = self.kind.as_deref().map(str::as_bytes).or(name);
        let fails = self.base_resp.as_ref().is_some_and(BaseStatus::is_error);
        let answers = self.choices.as_ref().is_some_and(|list| !list.is_empty());
        if self.error.is_some() || (fails && !answers) {
            return EventKind::Error;
        }
        match kind {
            Some(b"error") => EventKind::Error,
            Some(
                b"message_start"
                | b"response.created"
                | b"response.in_progress"
                | b"response.queued",
            ) => EventKind::Prelude,
            Some(b"response.failed") => self.response.map_or(EventKind::Answer, |response| {
                EventKind::Failed(response.get().as_bytes().to_vec())
            }),
            Some(_) | None => {
                let says_nothing = |choices: &Vec<ChoiceMembers<'_>>| choices.iter().all(is_empty);
                if self.usage.is_none() && self.choices.as_ref().is_some_and(says_nothing) {
                    EventKind::Prelude
                } else {
                    EventKind::Answer
                }
            }
        }
    }
}

/// Whether a choice has only a role and the members that accompany every text.
fn is_empty(choice: &ChoiceMembers<'_>) -> bool {
    choice.iter().all(|(name, value)| match name.as_ref() {
        "index" | "logprobs" | "content_filter_results" | "role" => true,
        "delta" => serde_json::from_str::<ChoiceMembers<'_>>(value.get())
            .map_or(value.get() == "null", |delta| is_empty(&delta)),
        _ => matches!(value.get(), "null" | "\"\"" | "[]" | "{}"),
    })
}

/// Whether a body is an error in place of an answer. Its beginning is enough to rule that out.
pub(crate) fn error_instead(body: &[u8]) -> bool {
    let head = body.get(..ERROR_WITHIN_BYTES.min(body.len()));
    let may_be_error = |head: &[u8]| {
        let before = ANSWER.find(head).unwrap_or(head.len());
        ERROR_WORDS.may_be_in(head.get(..before).unwrap_or(head))
    };
    if !head.is_some_and(may_be_error) {
        return false;
    }
    let Ok(whole) = serde_json::from_slice::<Whole<'_>>(body) else {
        return false;
    };
    let Whole {
        error,
        base_resp,
        success,
        status,
        choices: None,
        content: None,
        data: None,
        output,
    } = whole
    else {
        return false;
    };
    let fails = error.is_some()
        || base_resp.as_ref().is_some_and(BaseStatus::is_error)
        || success == Some(false);
    // A failed response may already have output.
    let failed = || status.is_some_and(|status| status.get() == "\"failed\"");
    fails && (output.is_none() || failed())
}

/// Whether the body may still become an error in place of an answer: it begins like one. Answers begin differently.
pub(crate) fn may_become_error(body: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 2] = [br#"{"error""#, br#"{"type":"error""#];
    let head = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    let head: Vec<u8> = head.copied().take(BEGINNINGS[1].len()).collect();
    BEGINNINGS
        .iter()
        .any(|beginning| beginning.starts_with(&head) || head.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(event: &str) -> FirstEvent<'_> {
        FirstEvent::of(event.as_bytes())
    }

    #[test]
    fn what_says_nothing_of_the_answer_is_a_prelude() {
        for event in [
            ": OPENROUTER PROCESSING\n\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null,\"usage\":null}}\n\n",
            "data: {\"type\":\"response.in_progress\",\"response\":{}}\n\n",
            "event: response.queued\ndata: {}\n\n",
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}],\"error\":null}\n\n",
            "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":null}]}\n\n",
        ] {
            assert_eq!(opening(event), FirstEvent::Prelude, "{event}");
        }
    }

    #[test]
    fn whatever_a_client_could_use_is_the_answer() {
        for event in [
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"reasoning_content\":\"a\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[{\"text\":\"a\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
            "data: {\"choices\":[{\"unheard_of\":1}]}\n\n",
            "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\"}\n\n",
            "event: response.output_text.delta\ndata: {\"delta\":\"a\"}\n\n",
            "event: response.incomplete\ndata: {\"type\":\"response.incomplete\",\"response\":{}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\"}\n\n",
            "data: {}\n\n",
            "data: [DONE]\n\n",
            "data: no JSON\n\n",
            "{\"choices\":[]}\n\n ",
        ] {
            let expected = if event.starts_with('{') {
                // Not an event, only a line without a field.
                FirstEvent::Prelude
            } else {
                FirstEvent::Answer
            };
            assert_eq!(opening(event), expected, "{event}");
        }
    }

    #[test]
    fn errors_are_found_with_what_holds_them() {
        for (event, json) in [
            (
                "data: {\"error\":{\"code\":1}}\n\n",
                "{\"error\":{\"code\":1}}",
            ),
            (
                "event: error\ndata: {\"type\":\"error\",\"code\":\"x\"}\n\n",
                "{\"type\":\"error\",\"code\":\"x\"}",
            ),
            (
                "event: error\ndata: {\"code\":\"x\"}\n\n",
                "{\"code\":\"x\"}",
            ),
            (
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n",
                "{\"error\":{\"code\":\"x\"}}",
            ),
        ] {
            match opening(event) {
                FirstEvent::Error(found) => assert_eq!(found, json.as_bytes(), "{event}"),
                other => panic!("{event}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_stands_alone_where_an_answer_should_be() {
        for body in [
            r#"{"error":{"message":"m","type":"server_error"}}"#,
            r#" {"type":"error","error":{"type":"overloaded_error"},"request_id":"r"}"#,
            r#"{"id":"resp_1","status":"failed","error":{"code":"server_error"},"output":[]}"#,
            r#"{"id":"x","choices":null,"usage":null,"base_resp":{"status_code":1008}}"#,
            r#"{"code":500,"msg":"m","success":false}"#,
            r#"{"success": false, "message": "m"}"#,
            "{\n  \"success\" :\tfalse\n}",
        ] {
            assert!(error_instead(body.as_bytes()), "{body}");
        }
        let late = format!(
            r#"{{"x":"{}","error":{{}}}}"#,
            "x".repeat(ERROR_WITHIN_BYTES)
        );
        for body in [
            r#"{"id":"resp_1","status":"completed","error":null,"output":[]}"#,
            r#"{"id":"resp_1","status":"incomplete","error":{"code":"x"},"output":[]}"#,
            r#"{"choices":[],"error":{"code":"x"}}"#,
            r#"{"success": true, "text": "a"}"#,
            r#"{"success": false, "data": []}"#,
            r#"{"id":"x","base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"choices":[{}],"base_resp":{"status_code":1027}}"#,
            r#"{"content":[{"type":"text","text":"\"error\":{}"}]}"#,
            r#"{"error":{"message":"#,
            &late,
            "",
        ] {
            assert!(!error_instead(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn what_begins_with_an_error_may_become_one() {
        for body in [
            "",
            "{",
            " {\n \"er",
            "{\"error\": {\"mess",
            "{\"type\": \"error\", \"err",
        ] {
            assert!(may_become_error(body.as_bytes()), "{body}");
        }
        for body in [
            "[",
            "{\"id\":1",
            "{\"type\":\"message\"",
            "<html>",
            "{\"choices\":",
        ] {
            assert!(!may_become_error(body.as_bytes()), "{body}");
        }
    }
}
