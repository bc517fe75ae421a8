//! Hides usage that the client did not ask for. If the gateway asked for it, the client's stream contains neither the
//! usage chunk nor the `"usage":null` of the other chunks.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{KEY, KEY_FINDER};
use crate::formats::{
    sse::{data_of, events},
    text,
};

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    usage: Option<&'a RawValue>,
}

/// A run of events without usage. Returns `None` if nothing is left. A run without any usage, null or not, is returned
/// unchanged.
pub(crate) fn without_usage(run: Bytes) -> Option<Bytes> {
    if KEY_FINDER.find(&run).is_none() {
        return Some(run);
    }
    let mut kept = BytesMut::with_capacity(run.len());
    for event in events(&run) {
        if is_usage_only_chunk(event) {
            continue;
        }
        let null = null_usage(event).unwrap_or(event.len()..event.len());
        kept.extend_from_slice(event.get(..null.start).unwrap_or_default());
        kept.extend_from_slice(event.get(null.end..).unwrap_or_default());
    }
    (!kept.is_empty()).then(|| kept.freeze())
}

/// Whether an event only carries usage: no choices, and a usage object.
fn is_usage_only_chunk(event: &[u8]) -> bool {
    if KEY_FINDER.find(event).is_none() {
        return false;
    }
    let data = data_of(event);
    if !data.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let Ok(Chunk {
        choices: Some(choices),
        usage: Some(usage),
    }) = serde_json::from_slice(&data)
    else {
        return false;
    };
    let mut inside = choices.get().bytes().filter(|byte| !text::is_space(*byte));
    let empty = inside.next() == Some(b'[') && inside.next() == Some(b']');
    empty && usage.get().starts_with('{')
}

/// Range of the top-level `"usage":null` in an event, with one of its commas.
fn null_usage(event: &[u8]) -> Option<Range<usize>> {
    KEY_FINDER.find(event)?;
    // Data over several lines would have to be joined; no provider sends it.
    let Cow::Borrowed(data) = data_of(event) else {
        return None;
    };
    let usage = serde_json::from_slice::<Chunk<'_>>(data).ok()?.usage?;
    if usage.get() != "null" {
        return None;
    }
    let value = text::span(event, usage.get().as_bytes())?;
    let before = event
        .get(..value.start)?
        .trim_ascii_end()
        .strip_suffix(b":")?;
    let before = before.trim_ascii_end().strip_suffix(KEY)?;
    if let Some(first) = before.trim_ascii_end().strip_suffix(b",") {
        return Some(first.len()..value.end);
    }
    let after = event.get(value.end..)?;
    let spaces = text::spaces(after);
    let comma = usize::from(after.get(spaces) == Some(&b','));
    Some(before.len()..value.end + (spaces + comma) * comma)
}

/// Keeps a null as a value, so that its position is known.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(input: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(input).map(Some)
}
