//! The body to send: the client's bytes with at most two replacements.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    BadRequest, Form, RequestFacts,
    members::{INCLUDE_USAGE, OPTIONS},
    span, value,
};
use crate::formats::text;

const ASK: &str = r#""stream_options":{"include_usage":true},"#;
const ASK_INSIDE: &str = r#""include_usage":true,"#;
const ASK_VALUE: &str = r#"{"include_usage":true}"#;

/// Whether usage is requested, and how to request it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum UsageAsk {
    /// The body is not a JSON object, so usage cannot be requested.
    #[default]
    Unaskable,
    /// The client requested it.
    Asked,
    /// The client did not; this edit does.
    NotAsked(Splice),
}

/// Bytes to replace, and their replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    at: Range<usize>,
    text: &'static str,
}

/// A body in pieces: slices of the client's bytes and the replacements between them.
#[derive(Debug)]
pub(crate) struct RewrittenBody(Vec<Bytes>);

/// The body to send: the same bytes, with the model replaced and usage requested if needed. `new_model` must not
/// contain control characters if the body is a form.
pub(crate) fn rewrite(
    body: &Bytes,
    facts: &RequestFacts,
    new_model: Option<&str>,
    ask_usage: bool,
) -> RewrittenBody {
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
    RewrittenBody::spliced(body, edits)
}

// === impl RewrittenBody ===

impl RewrittenBody {
    fn spliced(body: &Bytes, edits: Vec<(Range<usize>, Bytes)>) -> Self {
        let mut parts = Vec::with_capacity(edits.len() * 2 + 1);
        let mut from = 0;
        for (at, text) in edits {
            // The facts of another body must not cause a panic; invalid edits are left out.
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

    /// The pieces in order. None is empty.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        self.0
    }
}

// === impl Splice ===

impl Splice {
    /// Inserts a member, written with its comma, at the beginning of the object whose `{` is at `brace`.
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

pub(super) fn usage_ask(
    body: &[u8],
    options: Option<&RawValue>,
    brace: usize,
    strict: bool,
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
    if options.get() == "null" {
        return Ok(replace(options, ASK_VALUE));
    }
    let read = OPTIONS.read(options.get().as_bytes());
    let read = read.map_err(|_| BadRequest::Field { field, problem })?;
    read.check_spelling(strict)?;
    let Some(raw) = read.value(INCLUDE_USAGE) else {
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
