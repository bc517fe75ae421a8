//! Event streams: cuts a stream of chunks into whole events without changing a byte. It reads neither
//! the fields nor what they hold, and splits the same however the bytes arrive.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::text;

/// More than any event a provider sends. Past this the stream goes through unsplit, so that one
/// that never ends an event costs no memory and still arrives.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Cuts chunks into events. An event ends with a blank line; lines end with LF, CRLF or CR.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The beginning of an event whose end has not come yet.
    carry: BytesMut,
    line: Line,
    /// An event was too long; chunks now go through as they come.
    overflowed: bool,
}

/// Where in a line the last byte was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    /// At its beginning.
    #[default]
    Start,
    /// Inside it.
    Inside,
    /// Just after a CR, which a LF may yet complete.
    AfterCr {
        /// Whether that line was blank.
        blank: bool,
    },
}

// === impl Events ===

impl Events {
    /// At the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes a chunk and gives the events that end in it, each a slice of the chunk unless it began
    /// in an earlier one. An event that ends with CR comes with the byte after it, for that might be
    /// its LF.
    pub(crate) fn push(&mut self, mut chunk: Bytes) -> Vec<Bytes> {
        if self.overflowed {
            return vec![chunk];
        }
        let mut events = Vec::new();
        while let Some(len) = self.end(&chunk) {
            let last = chunk.split_to(len);
            if self.carry.is_empty() {
                events.push(last);
            } else {
                self.carry.extend_from_slice(&last);
                events.push(self.carry.split().freeze());
            }
        }
        if self.carry.len().saturating_add(chunk.len()) > EVENT_BYTES_MAX {
            self.overflowed = true;
            events.extend(
                [self.carry.split().freeze(), chunk]
                    .into_iter()
                    .filter(|part| !part.is_empty()),
            );
        } else {
            self.carry.extend_from_slice(&chunk);
        }
        events
    }

    /// What is left at the end of the stream, if anything: an event without its blank line.
    pub(crate) fn finish(mut self) -> Option<Bytes> {
        let rest = self.carry.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }

    /// Length of the chunk's beginning that ends an event, if it has one. What comes before the
    /// answer counts as seen.
    fn end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = chunk.get(at..).filter(|rest| !rest.is_empty())?;
            if let Line::AfterCr { blank } = self.line {
                self.line = Line::Start;
                at += usize::from(rest.first() == Some(&b'\n'));
                if blank {
                    return Some(at);
                }
                continue;
            }
            let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.line = Line::Inside;
                return None;
            };
            let blank = found == 0 && self.line == Line::Start;
            at += found + 1;
            if rest.get(found) == Some(&b'\r') {
                self.line = Line::AfterCr { blank };
            } else {
                self.line = Line::Start;
                if blank {
                    return Some(at);
                }
            }
        }
    }
}

/// The data of an event: its `data` lines joined with LF, without copying when there is one.
pub(crate) fn data_of(event: &[u8]) -> Cow<'_, [u8]> {
    let event = event.get(text::bom(event)..).unwrap_or_default();
    let mut data: Option<Cow<'_, [u8]>> = None;
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let Some(value) = data_line(line) else {
            continue;
        };
        data = Some(match data {
            None => Cow::Borrowed(value),
            Some(before) => {
                let mut joined = before.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                Cow::Owned(joined)
            }
        });
    }
    data.unwrap_or_default()
}

fn data_line(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every event and the rest, of a stream that comes in pieces of these lengths.
    fn events(stream: &[u8], lengths: &[usize]) -> Vec<Vec<u8>> {
        let mut cutter = Events::new();
        let mut left = Bytes::copy_from_slice(stream);
        let mut out = Vec::new();
        for length in lengths {
            out.extend(cutter.push(left.split_to((*length).min(left.len()))));
        }
        out.extend(cutter.push(left));
        out.extend(cutter.finish());
        out.iter().map(|event| event.to_vec()).collect()
    }

    #[test]
    fn an_event_inside_a_chunk_is_a_slice_of_it() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\nda");
        let mut cutter = Events::new();
        let out = cutter.push(chunk.clone());
        assert_eq!(out, [&b"data: a\n\n"[..], b"data: b\n\n"]);
        assert_eq!(out[1].as_ptr(), chunk[9..].as_ptr());
        assert_eq!(
            cutter.push(Bytes::from_static(b"ta: c\n\n")),
            [&b"data: c\n\n"[..]]
        );
        assert_eq!(cutter.finish(), None);
    }

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        for (stream, first) in [
            (&b"data: a\n\ndata: b\n\n"[..], 9),
            (b"data: a\r\n\r\ndata: b", 11),
            (b"data: a\r\rdata: b", 9),
            (b"data: a\n\r\ndata: b", 10),
            (b"data: a\r\n\ndata: b", 10),
            (b"data: a\n\rdata: b", 9),
            (b"\xEF\xBB\xBFdata: a\n\ndata: b", 12),
        ] {
            assert_eq!(events(stream, &[])[0].len(), first, "{stream:?}");
        }
    }

    #[test]
    fn an_event_without_end_goes_through_once_it_is_too_long() {
        let mut cutter = Events::new();
        let part = Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 2]);
        assert!(cutter.push(part.clone()).is_empty());
        assert!(cutter.push(part.clone()).is_empty());
        let out = cutter.push(part.clone());
        assert_eq!(
            out.iter().map(Bytes::len).sum::<usize>(),
            EVENT_BYTES_MAX / 2 * 3
        );
        assert!(cutter.overflowed);
        assert_eq!(cutter.push(part.clone()), [part]);
        assert_eq!(cutter.finish(), None);
    }

    #[test]
    fn data_lines_are_joined() {
        assert_eq!(
            data_of(b"event: x\ndata: {\"a\":1}\nid: 1\n\n").as_ref(),
            b"{\"a\":1}"
        );
        assert_eq!(
            data_of(b"data: a\r\ndata:  b\rdata\n\n").as_ref(),
            b"a\n b\n"
        );
        assert_eq!(data_of(b"\xEF\xBB\xBFdata:a\n\n").as_ref(), b"a");
        assert_eq!(data_of(b": comment\ndatax: no\n\n").as_ref(), b"");
        assert!(matches!(data_of(b"data: a\n\n"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events_and_the_same_bytes(
            stream in "(data: [a-c]{0,4}|:|\n|\r|\r\n|\n\n|\u{feff}){0,24}",
            lengths in prop::collection::vec(0usize..6, 0..40),
        ) {
            let whole = events(stream.as_bytes(), &[]);
            prop_assert_eq!(&events(stream.as_bytes(), &lengths), &whole);
            prop_assert_eq!(&events(stream.as_bytes(), &vec![1; stream.len()]), &whole);
            prop_assert_eq!(whole.concat(), stream.into_bytes());
        }
    }
}
