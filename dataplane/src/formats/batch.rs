//! Batches: the calls that one asks for, each with what bounds its cost.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::BadRequest;

/// Anthropic takes no more in one batch (<https://docs.claude.com/en/docs/build-with-claude/batch-processing>).
const CALLS_MAX: usize = 100_000;

/// A line of a file with this in it is a call.
static CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("custom_id"));

/// One call of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) model: String,
    pub(crate) max_tokens: Option<u64>,
    /// Answers asked for.
    pub(crate) choices: u64,
    pub(crate) bytes: usize,
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    requests: Vec<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct Params {
    model: String,
    max_tokens: Option<u64>,
}

/// The calls of an Anthropic batch.
///
/// # Errors
/// When one of them cannot be read, or there is none.
pub(crate) fn messages(body: &[u8]) -> Result<Vec<Part>, BadRequest> {
    let malformed = |error: serde_json::Error| BadRequest::Malformed {
        what: "JSON",
        problem: error.to_string(),
    };
    let Messages { requests } = serde_json::from_slice(body).map_err(malformed)?;
    let wrong = |problem| BadRequest::Field {
        field: "requests",
        problem,
    };
    if requests.is_empty() {
        return Err(wrong("must not be empty"));
    }
    if requests.len() > CALLS_MAX {
        return Err(wrong("are more than 100,000"));
    }
    let part = |message: &Message<'_>| {
        let text = message.params.get();
        let Params { model, max_tokens } = serde_json::from_str(text).map_err(malformed)?;
        if model.is_empty() || model.trim() != model || model.contains(char::is_control) {
            return Err(wrong("must each name a model"));
        }
        Ok(Part {
            model,
            max_tokens,
            choices: 1,
            bytes: text.len(),
        })
    };
    requests.iter().map(part).collect()
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
}

/// The calls in a file for a batch, found in the form that it is sent in: each is a line of its own. None when there
/// are none, or something could be one and cannot be read.
pub(crate) fn lines(form: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for line in form.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.trim_ascii();
        let is_call = line.first() == Some(&b'{') || CALL.find(line).is_some();
        if is_call {
            parts.push(part(line)?);
        }
        if parts.len() > CALLS_MAX {
            return None;
        }
    }
    (!parts.is_empty()).then_some(parts)
}

fn part(line: &[u8]) -> Option<Part> {
    let Line { body } = serde_json::from_slice(line).ok()?;
    let text = body.get();
    let Body {
        model,
        max_tokens,
        max_completion_tokens,
        max_output_tokens,
        n,
    } = serde_json::from_str(text).ok()?;
    let most = max_tokens.max(max_completion_tokens).max(max_output_tokens);
    let named = !model.is_empty() && model.trim() == model;
    named.then(|| Part {
        model,
        max_tokens: most,
        choices: n.unwrap_or(1),
        bytes: text.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_a_batch_has_its_model_and_its_bound() {
        let body = r#"{"requests":[{"custom_id":"a","params":{"model":"one","max_tokens":5,"messages":[]}},{"params":{"max_tokens":7,"model":"two"}}]}"#;
        let parts = messages(body.as_bytes()).unwrap();
        let parts: Vec<_> = parts
            .iter()
            .map(|part| (part.model.as_str(), part.max_tokens))
            .collect();
        assert_eq!(parts, [("one", Some(5)), ("two", Some(7))]);
    }

    #[test]
    fn a_batch_that_can_be_read_otherwise_is_refused() {
        for body in [
            "",
            "{}",
            r#"{"requests":[]}"#,
            r#"{"requests":[{"params":{}}]}"#,
            r#"{"requests":[{"params":{"model":""}}]}"#,
            r#"{"requests":[{"params":{"model":" one"}}]}"#,
            r#"{"requests":[{"params":{"model":"one","model":"two"}}]}"#,
            r#"{"requests":[{"params":{"model":"one"},"params":{"model":"two"}}]}"#,
            r#"{"requests":[{"params":{"model":"one"}}],"requests":[]}"#,
            r#"{"requests":[{"params":{"model":"one","max_tokens":-1}}]}"#,
        ] {
            assert!(messages(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_calls_of_a_file_are_found_in_its_form_or_it_is_not_for_a_batch() {
        let form = |lines: &str| {
            format!(
                "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{lines}\r\n--x--\r\n"
            )
        };
        let call = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"one","max_tokens":5,"n":2,"messages":[]}}"#;
        let parts = lines(form(&format!("{call}\n{call}")).as_bytes()).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (
                parts[0].model.as_str(),
                parts[0].max_tokens,
                parts[0].choices
            ),
            ("one", Some(5), 2)
        );
        for bad in [
            "",
            "text",
            r#"{"custom_id":"a"}"#,
            &format!("{call}\n{{"),
            &format!("{call}\n{call}{call}"),
            &format!("{call}\n x{call}"),
        ] {
            assert_eq!(lines(form(bad).as_bytes()), None, "{bad}");
        }
    }
}
