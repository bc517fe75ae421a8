//! Request bodies: read once for the few facts that decide where a call goes, then passed on as the
//! same bytes, with at most two places replaced. Unknown fields are neither read nor checked; that a body's
//! structure is what it seems is.

mod skim;

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Route, multipart, text};

/// Longer than any model's name. In a form, where it is not quoted, the limit also tells it from a file
/// sent under its name.
const MODEL_BYTES_MAX: usize = 1024;
/// Longer than any picture's size.
const SIZE_BYTES_MAX: usize = 32;
const ASK: &str = r#""stream_options":{"include_usage":true},"#;
const ASK_INSIDE: &str = r#""include_usage":true,"#;
const ASK_VALUE: &str = r#"{"include_usage":true}"#;

/// What a request body says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RequestFacts {
    /// The model it names.
    pub(crate) model: Option<String>,
    /// Where the body names it: a JSON string with its quotes, or the value of a multipart field.
    pub(crate) model_span: Option<Range<usize>>,
    /// Whether it wants a stream of events.
    pub(crate) stream: bool,
    /// Whether it asks for usage at the end of a stream.
    pub(crate) usage: UsageAsk,
    /// Most tokens the answer may have, by whichever name it says so.
    pub(crate) max_tokens: Option<u64>,
    /// How many answers, or pictures, it asks for.
    pub(crate) n: Option<u64>,
    /// Size of the pictures it asks for.
    pub(crate) size: Option<String>,
    form: Form,
}

/// Whether usage has been asked for, and how to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum UsageAsk {
    /// The body is no JSON object, so nothing can be asked with it.
    #[default]
    Unaskable,
    /// The client did.
    Asked,
    /// The client did not; this edit does.
    NotAsked(Splice),
}

/// Bytes to replace, and what with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    at: Range<usize>,
    text: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    #[default]
    Json,
    Multipart,
}

/// A body that cannot be passed on. Always the client's fault; another try is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    /// Said to be JSON or a form, and is not.
    #[error("the request body is not valid {what}: {problem}")]
    Malformed {
        /// The format it was read as.
        what: &'static str,
        /// The parser's words, with line and column.
        problem: String,
    },
    /// A field that must be understood cannot be.
    #[error("{field} {problem}")]
    Field {
        /// Its name in the body.
        field: &'static str,
        /// What is wrong, as a phrase that follows the name.
        problem: &'static str,
    },
}

/// A body in pieces: slices of what the client sent and what goes between them.
#[derive(Debug)]
pub(crate) struct Segments(Vec<Bytes>);

/// The known fields of a JSON body, each as it was written, so that a wrong type can be named.
#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    n: Option<&'a RawValue>,
    #[serde(borrow, default)]
    size: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// Reads a body. What is neither JSON nor a form has no facts.
///
/// # Errors
/// When a body said to be JSON or a form is none, or names its model or its stream wrongly.
///
/// With `strict`, a body that begins like a JSON object has to be one, whatever it is said to be: an
/// upstream that reads more leniently than this must not see a model that was not seen here.
pub(crate) fn read(
    body: &[u8],
    content_type: &str,
    strict: bool,
) -> Result<RequestFacts, BadRequest> {
    if body.is_empty() {
        return Ok(RequestFacts::default());
    }
    let kind = Kind::of(content_type);
    if let Kind::Form { boundary } = &kind {
        return read_form(body, boundary);
    }
    let said_json = matches!(kind, Kind::Json);
    let start = text::bom(body);
    let json = body.get(start..).unwrap_or_default();
    if json.get(text::spaces(json)) != Some(&b'{') {
        if said_json {
            serde_json::from_slice::<IgnoredAny>(json).map_err(|error| malformed(&error))?;
        }
        return Ok(RequestFacts::default());
    }
    let fields = skim::fields(json).map_or_else(|| serde_json::from_slice(json), Ok);
    match fields {
        Ok(fields) => facts(body, &fields, start + text::spaces(json)),
        Err(error) if said_json || strict => Err(malformed(&error)),
        Err(_) => Ok(RequestFacts::default()),
    }
}

/// The body to send: the same bytes, with the model named anew and usage asked for where that is
/// wanted. `new_model` must be free of control characters when the body is a form.
pub(crate) fn rewrite(
    body: &Bytes,
    facts: &RequestFacts,
    new_model: Option<&str>,
    ask_usage: bool,
) -> Segments {
    let mut edits: Vec<(Range<usize>, Bytes)> = Vec::new();
    if let (UsageAsk::NotAsked(splice), true) = (&facts.usage, ask_usage) {
        edits.push((
            splice.at.clone(),
            Bytes::from_static(splice.text.as_bytes()),
        ));
    }
    if let (Some(model), Some(span)) = (new_model, &facts.model_span) {
        let text = match facts.form {
            Form::Json => serde_json::Value::from(model).to_string(),
            Form::Multipart => model.to_owned(),
        };
        edits.push((span.clone(), Bytes::from(text)));
    }
    edits.sort_by_key(|(at, _)| at.start);
    Segments::spliced(body, edits)
}

// === impl RequestFacts ===

impl RequestFacts {
    /// Whether `rewrite` can ask for usage, and this route would otherwise not report it.
    pub(crate) fn may_ask_usage(&self, route: Route) -> bool {
        route.usage_is_optional() && matches!(self.usage, UsageAsk::NotAsked(_))
    }
}

// === impl Segments ===

impl Segments {
    fn spliced(body: &Bytes, edits: Vec<(Range<usize>, Bytes)>) -> Self {
        let mut parts = Vec::with_capacity(edits.len() * 2 + 1);
        let mut from = 0;
        for (at, text) in edits {
            // Facts of another body must not make this one panic; they are left out instead.
            if at.start < from || at.end < at.start || at.end > body.len() {
                continue;
            }
            parts.push(body.slice(from..at.start));
            parts.push(text);
            from = at.end;
        }
        parts.push(body.slice(from..));
        parts.retain(|part| !part.is_empty());
        Self(parts)
    }

    /// The pieces in order, none of them empty.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        self.0
    }
}

// === impl Splice ===

impl Splice {
    /// Puts a member, written with its comma, at the beginning of the object whose `{` is at `brace`.
    fn member(body: &[u8], brace: usize, member: &'static str) -> Self {
        let at = brace + 1;
        let rest = body.get(at..).unwrap_or_default();
        let empty = rest.get(text::spaces(rest)) == Some(&b'}');
        let text = if empty {
            member.trim_end_matches(',')
        } else {
            member
        };
        Self { at: at..at, text }
    }
}

enum Kind<'a> {
    Other,
    Json,
    Form { boundary: Cow<'a, str> },
}

impl<'a> Kind<'a> {
    fn of(content_type: &'a str) -> Self {
        let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let essence = essence.trim().to_ascii_lowercase();
        if essence == "application/json" || essence == "text/json" || essence.ends_with("+json") {
            return Self::Json;
        }
        if essence == "multipart/form-data"
            && let Some(boundary) = multipart::parameter(parameters, "boundary")
        {
            return Self::Form { boundary };
        }
        Self::Other
    }
}

fn facts(body: &[u8], fields: &Fields<'_>, brace: usize) -> Result<RequestFacts, BadRequest> {
    let model: Option<String> = value(fields.model, "model", "must be a string")?;
    if model
        .as_ref()
        .is_some_and(|model| model.len() > MODEL_BYTES_MAX)
    {
        return Err(BadRequest::Field {
            field: "model",
            problem: "is too long to name a model",
        });
    }
    let span = fields.model.and_then(|raw| span(body, raw));
    let stream: Option<bool> = value(fields.stream, "stream", "must be true or false")?;
    let limits = [
        fields.max_tokens,
        fields.max_completion_tokens,
        fields.max_output_tokens,
    ];
    Ok(RequestFacts {
        model_span: model.is_some().then_some(span).flatten(),
        model,
        stream: stream.unwrap_or_default(),
        usage: usage_ask(body, fields.stream_options, brace)?,
        // A limit that is no whole number is the upstream's to refuse.
        max_tokens: limits
            .into_iter()
            .flatten()
            .filter_map(|raw| serde_json::from_str(raw.get()).ok())
            .max(),
        n: lenient(fields.n),
        size: lenient(fields.size).filter(|size: &String| size.len() <= SIZE_BYTES_MAX),
        form: Form::Json,
    })
}

fn usage_ask(
    body: &[u8],
    options: Option<&RawValue>,
    brace: usize,
) -> Result<UsageAsk, BadRequest> {
    let replace = |raw: &RawValue, text: &'static str| {
        span(body, raw).map_or(UsageAsk::Unaskable, |at| {
            UsageAsk::NotAsked(Splice { at, text })
        })
    };
    let Some(options) = options else {
        return Ok(UsageAsk::NotAsked(Splice::member(body, brace, ASK)));
    };
    let (field, problem) = ("stream_options", "must be an object");
    // An array would do for a struct as well.
    if options.get().starts_with('[') {
        return Err(BadRequest::Field { field, problem });
    }
    let read = value(Some(options), field, problem)?;
    let Some(StreamOptions { include_usage }) = read else {
        return Ok(replace(options, ASK_VALUE));
    };
    let Some(raw) = include_usage else {
        let brace = span(body, options).map(|at| at.start);
        return Ok(brace.map_or(UsageAsk::Unaskable, |brace| {
            UsageAsk::NotAsked(Splice::member(body, brace, ASK_INSIDE))
        }));
    };
    match value(
        Some(raw),
        "stream_options.include_usage",
        "must be true or false",
    )? {
        Some(true) => Ok(UsageAsk::Asked),
        Some(false) | None => Ok(replace(raw, "true")),
    }
}

fn read_form(body: &[u8], boundary: &str) -> Result<RequestFacts, BadRequest> {
    let mut facts = RequestFacts {
        form: Form::Multipart,
        ..RequestFacts::default()
    };
    for field in multipart::Fields::new(body, boundary) {
        let field = field.map_err(|problem| BadRequest::Malformed {
            what: "multipart form data",
            problem: problem.to_owned(),
        })?;
        let value = body.get(field.value.clone()).unwrap_or_default();
        match field.name.as_ref() {
            "model" => {
                if facts.model.is_some() {
                    return Err(BadRequest::Field {
                        field: "model",
                        problem: "is given twice",
                    });
                }
                let name = std::str::from_utf8(value)
                    .ok()
                    .filter(|name| name.len() <= MODEL_BYTES_MAX);
                let problem = "must be a short text";
                let name = name.ok_or(BadRequest::Field {
                    field: "model",
                    problem,
                })?;
                facts.model = Some(name.to_owned());
                facts.model_span = Some(field.value);
            }
            "stream" => facts.stream = value.eq_ignore_ascii_case(b"true"),
            "n" => {
                facts.n = std::str::from_utf8(value)
                    .ok()
                    .and_then(|n| n.trim().parse().ok());
            }
            "size" if value.len() <= SIZE_BYTES_MAX => {
                facts.size = std::str::from_utf8(value).ok().map(str::to_owned);
            }
            _ => {}
        }
    }
    Ok(facts)
}

/// A field that is the upstream's to refuse when it is wrong.
fn lenient<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// A known field of its right type; null is none.
fn value<'a, T: Deserialize<'a>>(
    raw: Option<&'a RawValue>,
    field: &'static str,
    problem: &'static str,
) -> Result<Option<T>, BadRequest> {
    raw.map_or(Ok(None), |raw| {
        serde_json::from_str::<Option<T>>(raw.get())
            .map_err(|_| BadRequest::Field { field, problem })
    })
}

/// Keeps a null as a value, so that its place is known.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(input: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}

fn span(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    text::span(body, raw.get().as_bytes())
}

fn malformed(error: &serde_json::Error) -> BadRequest {
    BadRequest::Malformed {
        what: "JSON",
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
