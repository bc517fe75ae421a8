//! Batches: the calls that one request asks for. Each is checked as strictly as a single call, because nothing checks
//! it again on its way to the model.

use std::{collections::HashSet, sync::LazyLock};

use http::Method;
use memchr::{memchr, memmem::Finder};
use proxyxai_contract::{object::ObjectKind, tokens::ImageUsage};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Route,
    endpoint::{self, Endpoint, EndpointMatch},
    references::{self, REFERENCES_MAX, Reference},
    request::{self, AskedImages, BadRequest, RequestTools},
};

/// Anthropic's limit for one batch (<https://docs.claude.com/en/docs/build-with-claude/batch-processing>).
const CALLS_MAX: usize = 100_000;
/// Where a single call of Anthropic's would go.
const MESSAGES: &str = "/v1/messages";

/// A line of a file that contains this is a call, or meant to be one.
static CALL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("custom_id"));
/// Some form parsers decode a part that has this header.
const CODED: &str = "content-transfer-encoding:";

/// One call of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BatchCall {
    /// Where it would go as a single call.
    pub(crate) row: &'static Endpoint,
    pub(crate) model: String,
    /// Further models that it names.
    pub(crate) named: Vec<String>,
    pub(crate) max_tokens: Option<u64>,
    /// Number of choices to generate.
    pub(crate) choices: u64,
    pictures: ImageUsage,
    pub(crate) bytes: usize,
    /// Whether the model may read more than these bytes.
    pub(crate) reads_more: bool,
    pub(crate) tools: RequestTools,
    pub(crate) tool_calls_max: Option<u64>,
}

impl BatchCall {
    /// All models that it names.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        let named = self.named.iter().map(String::as_str);
        std::iter::once(self.model.as_str()).chain(named)
    }

    /// The images it asks for.
    pub(crate) fn pictures(&self) -> AskedImages<'_> {
        AskedImages {
            count: self.pictures.count,
            size: &self.pictures.size,
        }
    }
}

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    requests: Vec<BatchRequest<'a>>,
}

/// Unknown fields are denied, so that none can be read in place of a known one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest<'a> {
    #[serde(default, rename = "custom_id")]
    _id: IgnoredAny,
    #[serde(borrow)]
    params: &'a RawValue,
}

/// The calls of an Anthropic batch, and the objects they refer to.
///
/// # Errors
/// Errors if there is no call, or one cannot be read.
pub(crate) fn messages(body: &[u8]) -> Result<(Vec<BatchCall>, Vec<Reference>), BadRequest> {
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
    let mut references = HashSet::new();
    let part = |message: BatchRequest<'_>| {
        let (part, own) = part(row, message.params)?;
        references.extend(own);
        // A batch has the same limit as a single call.
        if references.len() > REFERENCES_MAX {
            return Err(wrong("refer to too many objects"));
        }
        Ok(part)
    };
    let parts: Result<_, _> = requests.into_iter().map(part).collect();
    Ok((parts?, references.into_iter().collect()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine<'a> {
    #[serde(default, rename = "custom_id")]
    _id: IgnoredAny,
    method: Option<String>,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The calls in a batch file, from the form it is sent in: one per line.
///
/// Returns `None` if there are none, one cannot be read, or one refers to an object. The owner of such an object would
/// have to be checked when the batch is created, perhaps by another caller, and the file's content is not stored until
/// then.
pub(crate) fn lines(form: &[u8]) -> Option<Vec<BatchCall>> {
    let mut parts = Vec::new();
    for line in form.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let line = line.trim_ascii();
        // Wherever the object begins: some parsers skip more than blanks before it.
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

/// Whether a line declares that the lines after it are encoded.
fn is_coded(line: &[u8]) -> bool {
    let Some((name, coding)) = line.split_at_checked(CODED.len()) else {
        return false;
    };
    let is = |plain: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(plain);
    let plain = is(b"binary") || is(b"8bit") || is(b"7bit");
    name.eq_ignore_ascii_case(CODED.as_bytes()) && !plain
}

fn line_part(line: &[u8]) -> Option<BatchCall> {
    let BatchLine {
        method, url, body, ..
    } = serde_json::from_slice(line).ok()?;
    let posts = method.is_none_or(|method| method == "POST");
    let row = row(&Method::POST, &url).filter(|_| posts)?;
    let (part, references) = part(row, body).ok()?;
    references.is_empty().then_some(part)
}

#[derive(Deserialize)]
struct Creation {
    endpoint: Option<String>,
}

/// The endpoint of a batch whose calls are in a file. Returns `None` if it names none.
///
/// # Errors
/// Errors if it is not an endpoint that is billed by model.
pub(crate) fn made_for(body: &[u8]) -> Result<Option<&'static Endpoint>, BadRequest> {
    let bad = BadRequest::Field {
        field: "endpoint",
        problem: "must be one whose calls are paid by their model",
    };
    let Creation { endpoint } = serde_json::from_slice(body).map_err(|_| bad.clone())?;
    let found = endpoint.map(|path| row(&Method::POST, &path).ok_or(bad));
    found.transpose()
}

/// The endpoint of a call. It must be billed by model.
fn row(method: &Method, path: &str) -> Option<&'static Endpoint> {
    match endpoint::find(method, path) {
        EndpointMatch::Row(row) => Some(row).filter(|row| row.takes_model()),
        EndpointMatch::Misspelt | EndpointMatch::Unknown => None,
    }
}

/// One call, read as a single call would be, and its references.
fn part(
    row: &'static Endpoint,
    body: &RawValue,
) -> Result<(BatchCall, Vec<Reference>), BadRequest> {
    let text = body.get().as_bytes();
    let facts = request::read(text, "application/json", true)?;
    let AskedImages { count, size } = facts.pictures();
    let pictures = ImageUsage {
        count,
        size: size.to_owned(),
    };
    let (max_tokens, choices) = (facts.max_tokens(row.route), facts.choices());
    let reads_more = facts.reads_more(row.route);
    let model = facts.model.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| wrong("must each name a model"))?;
    if facts.deferred_by.is_some() {
        return Err(wrong("must not ask for work that ends after them"));
    }
    // A provider may use the batch's endpoint and ignore that of the line.
    let references = references::find(text, Route::Other, facts.cues);
    let mut references = references.map_err(|_| wrong("refer to what cannot be read"))?;
    references.extend(facts.previous.map(|id| (ObjectKind::Response, id)));
    references.extend(facts.conversation.map(|id| (ObjectKind::Conversation, id)));
    let part = BatchCall {
        row,
        model,
        named: facts.named,
        max_tokens,
        choices,
        pictures,
        bytes: text.len(),
        reads_more: reads_more || !references.is_empty(),
        tools: facts.tools,
        tool_calls_max: facts.tool_calls_max,
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
mod tests;
