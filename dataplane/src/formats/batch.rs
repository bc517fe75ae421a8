//! Batches: the calls that one asks for. Each is read as strictly as the same call would be by itself, for nobody
//! reads it again on its way to a model.

use std::sync::LazyLock;

use http::Method;
use memchr::{memchr, memmem::Finder};
use proxyxai_contract::{object::Kind, usage::Images};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Route,
    endpoint::{self, Endpoint, Found},
    references::{self, Reference},
    request::{self, BadRequest},
};

/// Anthropic takes no more in one batch (<https://docs.claude.com/en/docs/build-with-claude/batch-processing>).
const CALLS_MAX: usize = 100_000;
/// More references in one batch than a call may have are too many.
const REFERENCES_MAX: usize = 256;
/// Where a call of Anthropic's would go by itself.
const MESSAGES: &str = "/v1/messages";

/// A line of a file with this in it is a call, or is meant to be one.
static CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("custom_id"));
/// Some readers of forms decode what has this before it.
const CODED: &str = "content-transfer-encoding:";

/// One call of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where it would go by itself.
    pub(crate) row: &'static Endpoint,
    pub(crate) model: String,
    /// Further models that it names.
    pub(crate) named: Vec<String>,
    pub(crate) max_tokens: Option<u64>,
    /// Answers asked for, and their size where they are pictures.
    pub(crate) asked: Images,
    pub(crate) bytes: usize,
}

impl Part {
    /// All models that it names.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        let named = self.named.iter().map(String::as_str);
        std::iter::once(self.model.as_str()).chain(named)
    }

    /// How many answers it asks for, and their size where they are pictures.
    pub(crate) fn asked(&self) -> (Option<u64>, Option<&str>) {
        (Some(self.asked.count), Some(&self.asked.size))
    }
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    requests: Vec<Message<'a>>,
}

/// Nothing may stand beside what is read that could be read in its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(default, rename = "custom_id")]
    _id: IgnoredAny,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// The calls of an Anthropic batch, and all that they refer to.
///
/// # Errors
/// When one of them cannot be read, or there is none.
pub(crate) fn messages(body: &[u8]) -> Result<(Vec<Part>, Vec<Reference>), BadRequest> {
    let malformed = |error: serde_json::Error| BadRequest::Malformed {
        what: "JSON",
        problem: error.to_string(),
    };
    let Messages { requests } = serde_json::from_slice(body).map_err(malformed)?;
    if requests.is_empty() {
        return Err(wrong("must not be empty"));
    }
    if requests.len() > CALLS_MAX {
        return Err(wrong("are more than 100,000"));
    }
    let row = row(&Method::POST, MESSAGES).ok_or_else(|| wrong("cannot be made"))?;
    let mut references = Vec::new();
    let part = |message: Message<'_>| {
        let (part, own) = part(row, message.params)?;
        references.extend(own);
        if references.len() > REFERENCES_MAX {
            references.sort_by(|one: &Reference, other| one.1.cmp(&other.1));
            references.dedup();
        }
        if references.len() > REFERENCES_MAX {
            return Err(wrong("refer to too many objects"));
        }
        Ok(part)
    };
    let parts: Result<_, _> = requests.into_iter().map(part).collect();
    Ok((parts?, references))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(default, rename = "custom_id")]
    _id: IgnoredAny,
    method: Option<String>,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The calls in a file for a batch, found in the form that it is sent in: each is a line of its own. None when there
/// are none, something could be one and cannot be read, or one refers to an object: whose that is would have to be
/// asked again when the batch is made, by somebody else perhaps, and nobody keeps what is in a file until then.
pub(crate) fn lines(form: &[u8]) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for line in form.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.trim_ascii();
        // Wherever its object begins: some readers take off more before it than blanks.
        if memchr(b'{', line).is_some() || CALL.find(line).is_some() {
            parts.push(line_part(line)?);
        } else if is_coded(line) {
            return None;
        }
        if parts.len() > CALLS_MAX {
            return None;
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// Whether a line says that those after it mean something else than they seem to.
fn is_coded(line: &[u8]) -> bool {
    let Some((name, coding)) = line.split_at_checked(CODED.len()) else {
        return false;
    };
    let is = |plain: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(plain);
    let plain = is(b"binary") || is(b"8bit") || is(b"7bit");
    name.eq_ignore_ascii_case(CODED.as_bytes()) && !plain
}

fn line_part(line: &[u8]) -> Option<Part> {
    let Line {
        method, url, body, ..
    } = serde_json::from_slice(line).ok()?;
    let posts = method.is_none_or(|method| method == "POST");
    let row = row(&Method::POST, &url).filter(|_| posts)?;
    let (part, references) = part(row, body).ok()?;
    references.is_empty().then_some(part)
}

/// The endpoint that a call goes to. It has to be one that is paid by its model.
fn row(method: &Method, path: &str) -> Option<&'static Endpoint> {
    match endpoint::find(method, path) {
        Found::Row(row) => Some(row).filter(|row| row.takes_model()),
        Found::Misspelt | Found::Unknown => None,
    }
}

/// One call, read as it would be by itself, and what it refers to.
fn part(row: &'static Endpoint, body: &RawValue) -> Result<(Part, Vec<Reference>), BadRequest> {
    let text = body.get().as_bytes();
    let facts = request::read(text, "application/json", true)?;
    let model = facts.model.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| wrong("must each name a model"))?;
    if facts.later.is_some() {
        return Err(wrong("must not ask for work that ends after them"));
    }
    // A provider may go by the endpoint that the batch is made for, whatever its lines say.
    let references = references::find(text, Route::Other, facts.cues);
    let mut references = references.ok_or_else(|| wrong("refer to too many objects"))?;
    references.extend(facts.previous.map(|id| (Kind::Response, id)));
    references.extend(facts.conversation.map(|id| (Kind::Conversation, id)));
    let part = Part {
        row,
        model,
        named: facts.named,
        max_tokens: facts.max_tokens,
        asked: Images {
            count: facts.n.unwrap_or(1),
            size: facts.size.unwrap_or_default(),
        },
        bytes: text.len(),
    };
    Ok((part, references))
}

const fn wrong(problem: &'static str) -> BadRequest {
    BadRequest::Field {
        field: "requests",
        problem,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_call_of_a_batch_has_its_model_and_its_bound() {
        let body = r#"{"requests":[{"custom_id":"a","params":{"model":"one","max_tokens":5,"messages":[]}},{"params":{"max_tokens":7,"model":"two"}}]}"#;
        let (parts, references) = messages(body.as_bytes()).unwrap();
        assert_eq!(references, []);
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
            r#"{"requests":[{"params":{"model":"one","max_tokens":"5"}}]}"#,
            r#"{"requests":[{"params":{"model":"one"},"Params":{"model":"two"}}]}"#,
            r#"{"requests":[{"params":{"model":"one","Model":"two"}}]}"#,
            r#"{"requests":[{"params":{"model":"one\u0000"}}]}"#,
            r#"{"requests":[{"params":{"model":"one","fallbacks":7}}]}"#,
            r#"{"requests":[{"params":{"model":"one","background":true}}]}"#,
            r#"{"requests":[{"params":[]}]}"#,
        ] {
            assert!(messages(body.as_bytes()).is_err(), "{body}");
        }
    }

    /// A file in the form that it is sent in.
    fn form(lines: &str) -> Vec<u8> {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{lines}\r\n--x--\r\n"
        )
        .into_bytes()
    }

    const GOOD: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"one","max_tokens":5,"n":2,"messages":[]}}"#;

    #[test]
    fn the_calls_of_a_file_are_found_in_its_form_or_it_is_not_for_a_batch() {
        let call = GOOD;
        let parts = lines(&form(&format!("{call}\n{call}"))).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (
                parts[0].model.as_str(),
                parts[0].max_tokens,
                parts[0].asked.count
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
            &format!("{call}\n\u{b}{{\"custom\\u005fid\":\"b\"}}"),
            &format!("Content-Transfer-Encoding: quoted-printable\n{call}"),
        ] {
            assert_eq!(lines(&form(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_line_is_read_as_the_same_call_would_be_by_itself() {
        let line = |url: &str, body: &str| {
            format!(r#"{{"custom_id":"a","method":"POST","url":"{url}","body":{body}}}"#)
        };
        let usable = |text: &str| lines(&form(&format!("{GOOD}\n{text}"))).is_some();
        assert!(usable(&line(
            "/v1/responses",
            r#"{"model":"m","input":"hi"}"#
        )));
        for body in [
            "[]",
            r#""text""#,
            r#"{"input":"hi"}"#,
            r#"{"model":""}"#,
            r#"{"model":" m"}"#,
            r#"{"model":"m\u0007"}"#,
            r#"{"model":["m"]}"#,
            r#"{"model":"m","model":"k"}"#,
            r#"{"model":"m","Model":"k"}"#,
            r#"{"model":"m","Max_Tokens":9}"#,
            r#"{"model":"m","max_tokens":"9"}"#,
            r#"{"model":"m","models":7}"#,
            r#"{"model":"m","route":"fallback"}"#,
            r#"{"model":"m","background":true}"#,
            r#"{"model":"m","deferred":true}"#,
        ] {
            assert!(!usable(&line("/v1/responses", body)), "{body}");
        }
        for url in [
            "",
            "/v1/files",
            "/v1/batches",
            "/v1/videos",
            "/v1/Responses",
            "/v1/responses/",
            "/v1/responses?model=k",
            "https://a/v1/responses",
            "/v1/responses/resp_1/cancel",
        ] {
            assert!(!usable(&line(url, r#"{"model":"m"}"#)), "{url}");
        }
        let body = r#""body":{"model":"m"}"#;
        for other in [
            format!(r#"{{"custom_id":"a","method":"GET","url":"/v1/responses",{body}}}"#),
            format!(r#"{{"custom_id":"a","method":"POST",{body}}}"#),
            format!(r#"{{"url":"/v1/responses",{body},{body}}}"#),
            format!(r#"{{"url":"/v1/responses",{body},"Body":{{"model":"k"}}}}"#),
        ] {
            assert!(!usable(&other), "{other}");
        }
    }

    #[test]
    fn the_models_that_a_line_names_are_all_known() {
        let body =
            r#"{"model":"m","models":["k"],"tools":[{"type":"image_generation","model":"l"}]}"#;
        let text = format!(r#"{{"custom_id":"a","url":"/v1/responses","body":{body}}}"#);
        let parts = lines(&form(&text)).unwrap();
        assert_eq!((parts[0].model.as_str(), parts[0].named.len()), ("m", 2));
        assert_eq!(parts[0].row.url(), "/v1/responses");
    }

    #[test]
    fn a_call_of_a_batch_that_refers_to_an_object_is_known_by_it() {
        for (member, kind) in [
            (r#""previous_response_id":"X""#, Kind::Response),
            (r#""conversation":"X""#, Kind::Conversation),
            (r#""conversation":{"id":"X"}"#, Kind::Conversation),
            (
                r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"X"}]}]"#,
                Kind::File,
            ),
            (
                r#""input":[{"type":"item_reference","id":"X"}]"#,
                Kind::Item,
            ),
            (
                r#""messages":[{"content":[{"type":"file","file":{"\u0066ile_id":"X"}}]}]"#,
                Kind::File,
            ),
            (r#""container":"X""#, Kind::Container),
            (
                r#""tools":[{"type":"file_search","vector_store_ids":["X"]}]"#,
                Kind::VectorStore,
            ),
        ] {
            let body = format!(r#"{{"model":"m",{member}}}"#);
            // The provider may not mind where a line says that it goes.
            for url in [
                "/v1/responses",
                "/v1/chat/completions",
                "/v1/embeddings",
                "/v1/completions",
            ] {
                let line = format!(r#"{{"custom_id":"a","url":"{url}","body":{body}}}"#);
                assert_eq!(lines(&form(&line)), None, "{line}");
            }
            let batch = format!(r#"{{"requests":[{{"custom_id":"a","params":{body}}}]}}"#);
            let (_, references) = messages(batch.as_bytes()).unwrap();
            let own = (kind, "X".to_owned());
            assert!(references.contains(&own), "{batch}: {references:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_usable_only_if_its_body_would_be_taken_alone(
            name in "[Mm]odel|model|models|[Mm]ax_tokens|n|stream|metadata",
            value in prop::sample::select(vec!["\"m\"", "\" m\"", "7", "-1", "1.5", "null", "[]", "{}", "true"]),
        ) {
            let body = format!(r#"{{"model":"m","{name}":{value}}}"#);
            let alone = request::read(body.as_bytes(), "application/json", true);
            let line = format!(r#"{{"custom_id":"a","url":"/v1/responses","body":{body}}}"#);
            prop_assert_eq!(lines(&form(&line)).is_some(), alone.is_ok(), "{}", line);
        }
    }
}
