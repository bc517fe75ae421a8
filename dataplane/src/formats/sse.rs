//! Event streams: cuts a stream of chunks at event borders without changing a byte, so that no client gets a partial
//! event. Of events it reads the name and the data. The output does not depend on how the bytes arrive.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::text;

/// Longer than any provider's events. A longer event is passed on in pieces, so that an endless one needs no memory and
/// still arrives.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longer than any ping.
const PING_BYTES_MAX: usize = 128;

/// Holds back the beginning of an event until its end arrives. An event ends with a blank line; lines end with LF, CRLF
/// or CR.
#[derive(Debug, Default)]
pub(crate) struct EventCutter {
    /// The beginning of the current event.
    carry: BytesMut,
    line: SseLine,
    /// Part of the current event was passed on already.
    torn: bool,
}

/// The position of the last byte in its line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum SseLine {
    /// At its beginning.
    #[default]
    Start,
    /// Inside it.
    Inside,
    /// Just after a CR, which may be followed by its LF.
    AfterCr {
        /// Whether that line was blank.
        blank: bool,
    },
}

// === impl EventCutter ===

impl EventCutter {
    /// At the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes a chunk and returns the events that end in it, or `None`. A chunk that ends with an event is returned
    /// uncopied; only its end is inspected. An event that ends with CR waits for the next byte, which may be its LF.
    pub(crate) fn push(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        let whole = self.line.run(&chunk);
        if self.torn && whole.is_none() {
            return some(chunk);
        }
        let tail = chunk.split_off(whole.unwrap_or_default());
        let run = match whole {
            Some(_) if self.carry.is_empty() => chunk,
            Some(_) => {
                self.carry.extend_from_slice(&chunk);
                self.carry.split().freeze()
            }
            None => Bytes::new(),
        };
        self.torn = self.carry.len().saturating_add(tail.len()) > EVENT_BYTES_MAX;
        if self.torn {
            return some([run, self.carry.split().freeze(), tail].concat().into());
        }
        self.carry.extend_from_slice(&tail);
        some(run)
    }

    /// Releases what is held back, even if the event is incomplete.
    pub(crate) fn release(&mut self) -> Option<Bytes> {
        self.torn |= self.holds();
        some(self.carry.split().freeze())
    }

    /// Number of bytes held back.
    pub(crate) fn kept(&self) -> usize {
        self.carry.len()
    }

    /// Whether the beginning of an event is held back.
    pub(crate) fn holds(&self) -> bool {
        !self.carry.is_empty()
    }

    /// Whether the bytes passed on end with an event.
    pub(crate) const fn is_at_border(&self) -> bool {
        !self.torn
    }
}

fn some(bytes: Bytes) -> Option<Bytes> {
    (!bytes.is_empty()).then_some(bytes)
}

// === impl SseLine ===

impl SseLine {
    /// Length of the chunk's complete events. Returns `None` if no event ends in it.
    fn run(&mut self, chunk: &[u8]) -> Option<usize> {
        // Whatever came before, this ends a line and then a blank one.
        if chunk.ends_with(b"\n\n") || chunk.ends_with(b"\n\r\n") {
            *self = Self::Start;
            return Some(chunk.len());
        }
        let mut run = None;
        while let Some(len) = self.end(chunk.get(run.unwrap_or_default()..)?) {
            run = Some(run.unwrap_or_default() + len);
        }
        run
    }

    /// Length of the chunk up to the end of its first event, if one ends in it. Bytes before the end are consumed.
    fn end(&mut self, chunk: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = chunk.get(at..).filter(|rest| !rest.is_empty())?;
            if let Self::AfterCr { blank } = *self {
                *self = Self::Start;
                at += usize::from(rest.first() == Some(&b'\n'));
                if blank {
                    return Some(at);
                }
                continue;
            }
            let Some(found) = memchr::memchr2(b'\n', b'\r', rest) else {
                *self = Self::Inside;
                return None;
            };
            let blank = found == 0 && *self == Self::Start;
            at += found + 1;
            if rest.get(found) == Some(&b'\r') {
                *self = Self::AfterCr { blank };
            } else {
                *self = Self::Start;
                if blank {
                    return Some(at);
                }
            }
        }
    }
}

/// The events of a run, and the rest after the last one.
pub(crate) fn events(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut line, mut rest) = (SseLine::Start, run);
    std::iter::from_fn(move || {
        let end = line.end(rest).unwrap_or(rest.len());
        let (event, after) = rest.split_at_checked(end)?;
        rest = after;
        (!event.is_empty()).then_some(event)
    })
}

/// Whether a run only shows that the stream is alive: comments, pings, blank lines.
pub(crate) fn is_quiet(run: &[u8]) -> bool {
    events(run).all(|event| {
        if event.len() > PING_BYTES_MAX {
            return event.starts_with(b":") && data_of(event).is_empty();
        }
        let data = data_of(event);
        let is_ping = |name: &[u8]| matches!(name, b"ping" | b"keepalive");
        data.is_empty() || name_of(event).map_or_else(|| is_type(&data, b"ping"), is_ping)
    })
}

/// Whether an object in this JSON has this type.
fn is_type(json: &[u8], name: &[u8]) -> bool {
    const KEY: &[u8] = b"\"type\"";
    let value = memchr::memmem::find(json, KEY).and_then(|at| json.get(at + KEY.len()..));
    let value = value.and_then(|rest| rest.trim_ascii_start().strip_prefix(b":"));
    let value = value.and_then(|rest| rest.trim_ascii_start().strip_prefix(b"\""));
    value.is_some_and(|rest| {
        rest.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(b"\""))
    })
}

/// The name of an event, if it has one.
pub(crate) fn name_of(event: &[u8]) -> Option<&[u8]> {
    fields(event, b"event").last()
}

/// The data of an event: its `data` lines joined with LF, without copying if there is one.
pub(crate) fn data_of(event: &[u8]) -> Cow<'_, [u8]> {
    let mut data: Option<Cow<'_, [u8]>> = None;
    for value in fields(event, b"data") {
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

/// The values of the lines with this name.
fn fields<'e>(event: &'e [u8], name: &'static [u8]) -> impl Iterator<Item = &'e [u8]> {
    let event = event.get(text::bom(event)..).unwrap_or_default();
    let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        if rest.is_empty() {
            return Some(rest);
        }
        let value = rest.strip_prefix(b":")?;
        Some(value.strip_prefix(b" ").unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The output for a stream that arrives in pieces of these lengths.
    fn through(stream: &[u8], lengths: &[usize]) -> Vec<Bytes> {
        let mut cutter = EventCutter::new();
        let mut left = Bytes::copy_from_slice(stream);
        let mut out = Vec::new();
        for length in lengths {
            out.extend(cutter.push(left.split_to((*length).min(left.len()))));
        }
        out.extend(cutter.push(left));
        out.extend(cutter.release());
        out
    }

    fn cut(stream: &str) -> Vec<&str> {
        events(stream.as_bytes())
            .map(|event| std::str::from_utf8(event).unwrap())
            .collect()
    }

    #[test]
    fn a_chunk_of_whole_events_is_given_back_as_it_is() {
        for end in ["\n\n", "\r\n\r\n"] {
            let chunk = Bytes::from(format!("data: a{end}: b{end}data: c{end}"));
            let mut cutter = EventCutter::new();
            let out = cutter.push(chunk.clone()).unwrap();
            assert_eq!((out.as_ptr(), out.len()), (chunk.as_ptr(), chunk.len()));
            assert_eq!((cutter.holds(), cutter.release()), (false, None));
        }
    }

    #[test]
    fn the_beginning_of_an_event_waits_for_its_end() {
        let mut cutter = EventCutter::new();
        let mut push = |chunk: &'static str| cutter.push(Bytes::from_static(chunk.as_bytes()));
        assert_eq!(
            push("data: a\n\ndata: b\n\nda").unwrap(),
            "data: a\n\ndata: b\n\n"
        );
        assert_eq!(push("ta: c\n"), None);
        assert_eq!(push("\n").unwrap(), "data: c\n\n");
        assert_eq!(push("data: d").as_deref(), None);
        assert!(cutter.holds() && cutter.is_at_border());
        assert_eq!(cutter.release().unwrap(), "data: d");
        assert!(!cutter.is_at_border(), "the client has a part of an event");
        let mut push = |chunk: &'static str| cutter.push(Bytes::from_static(chunk.as_bytes()));
        assert_eq!(push("more\n").unwrap(), "more\n");
        assert_eq!(push("\ndata: e").unwrap(), "\n");
        assert!(cutter.is_at_border());
        assert_eq!(cutter.release().unwrap(), "data: e");
    }

    #[test]
    fn lines_end_with_lf_crlf_or_cr() {
        for (stream, first) in [
            ("data: a\n\ndata: b\n\n", 9),
            ("data: a\r\n\r\ndata: b", 11),
            ("data: a\r\rdata: b", 9),
            ("data: a\n\r\ndata: b", 10),
            ("data: a\r\n\ndata: b", 10),
            ("data: a\n\rdata: b", 9),
            ("\u{feff}data: a\n\ndata: b", 12),
        ] {
            assert_eq!(cut(stream)[0].len(), first, "{stream:?}");
        }
    }

    #[test]
    fn an_event_without_end_goes_through_once_it_is_too_long() {
        let mut cutter = EventCutter::new();
        let part = Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 2]);
        assert_eq!(cutter.push(part.clone()), None);
        assert_eq!(cutter.push(part.clone()), None);
        assert!(cutter.is_at_border());
        let out = cutter.push(part.clone()).unwrap();
        assert_eq!(out.len(), EVENT_BYTES_MAX / 2 * 3);
        assert!(!cutter.is_at_border() && !cutter.holds());
        assert_eq!(cutter.push(part.clone()), Some(part));
        // Its end repairs the stream.
        assert_eq!(
            cutter.push(Bytes::from_static(b"\n\ndata")).unwrap(),
            "\n\n"
        );
        assert!(cutter.is_at_border() && cutter.holds());
    }

    #[test]
    fn a_run_that_only_says_that_it_is_alive_is_quiet() {
        for run in [
            ": keep-alive\n\n",
            ":\r\n\r\n: OPENROUTER PROCESSING\n\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "event: ping\ndata:\n\n",
            "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":3}\n\n",
            "data: {\"type\" : \"ping\"}\n\n",
            "\n\n",
            "id: 3\nretry: 10\n\n",
        ] {
            assert!(is_quiet(run.as_bytes()), "{run}");
        }
        assert!(is_quiet(format!(": {}\n\n", "x".repeat(500)).as_bytes()));
        for run in [
            "data: {}\n\n",
            "data: [DONE]\n\n",
            ": keep-alive\n\ndata: {\"a\":1}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"ping\"}\n\n",
            "data: {\"type\":\"pinged\"}\n\n",
        ] {
            assert!(!is_quiet(run.as_bytes()), "{run}");
        }
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
        assert_eq!(name_of(b"event: a\nevent:b\ndata: c\n\n"), Some(&b"b"[..]));
        assert_eq!(name_of(b"data: event\n\n"), None);
    }

    proptest! {
        #[test]
        fn any_split_lets_the_same_bytes_through_and_only_whole_events(
            stream in "(data: [a-c]{0,4}|:|\n|\r|\r\n|\n\n|\u{feff}){0,24}",
            lengths in prop::collection::vec(0usize..6, 0..40),
        ) {
            let mut borders: Vec<usize> = cut(&stream).iter().scan(0, |at, event| {
                *at += event.len();
                Some(*at)
            }).collect();
            borders.push(stream.len());
            for lengths in [lengths, vec![1; stream.len()], vec![]] {
                let pieces = through(stream.as_bytes(), &lengths);
                prop_assert_eq!(pieces.concat(), stream.as_bytes());
                let mut at = 0;
                for piece in pieces {
                    at += piece.len();
                    // An event that ends with CR may lack its LF only at the end of the stream.
                    prop_assert!(borders.contains(&at), "{at} is inside an event");
                }
            }
        }
    }
}
