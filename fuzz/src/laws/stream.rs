//! Answers as they pass: events, usage, and what is read of the beginning and of errors.

use bytes::Bytes;
use proxyxai_contract::clock::Millis;

use crate::{
    formats::{
        error_classifier::classify_embedded,
        first_event::{FirstEvent, error_instead},
        sse::{EventCutter, events},
        usage::{Reported, UsageReader, UsageSchema, without_usage},
    },
    pieces,
};

/// What a body comes to.
#[derive(Debug, PartialEq)]
struct Passed {
    out: Vec<u8>,
    reported: Option<Reported>,
    marks: [bool; 3],
    delivered: u64,
}

fn pass<'c>(
    schema: UsageSchema,
    edits: bool,
    chunks: impl IntoIterator<Item = &'c [u8]>,
) -> Passed {
    let (mut cutter, mut reader, mut out) =
        (EventCutter::new(), UsageReader::new(schema), Vec::new());
    let mut show = |run: Bytes| {
        reader.push(&run);
        let shown = if edits { without_usage(run) } else { Some(run) };
        out.extend_from_slice(&shown.unwrap_or_default());
    };
    let mut at_border = true;
    for chunk in chunks {
        cutter.push(Bytes::copy_from_slice(chunk)).map(&mut show);
        at_border &= cutter.is_at_border();
    }
    assert!(at_border, "no input here is longer than the longest event");
    cutter.release().map(&mut show);
    Passed {
        out,
        reported: reader.reported(),
        marks: [reader.is_near_end(), reader.finished(), reader.closed()],
        delivered: reader.delivered_bytes(),
    }
}

/// Two bytes that choose, then the body.
pub fn stream(input: &[u8]) {
    let [choice, seed, body @ ..] = input else {
        return;
    };
    let schema = if choice & 1 == 0 {
        UsageSchema::Completions
    } else {
        UsageSchema::Messages
    };
    let edits = choice & 2 != 0;
    let whole = pass(schema, edits, [body]);
    assert_eq!(pass(schema, edits, pieces(body, *seed)), whole);
    if !edits {
        assert_eq!(whole.out, body);
    }
    assert!(whole.out.len() <= body.len());
    assert_eq!(events(body).collect::<Vec<_>>().concat(), body);
    for event in events(body) {
        if let FirstEvent::Error(error) = FirstEvent::of(event) {
            let _judged = classify_embedded(&|_| None, &error, Millis(0));
        }
    }
    if error_instead(body) {
        let _judged = classify_embedded(&|_| None, body, Millis(0));
    }
}
