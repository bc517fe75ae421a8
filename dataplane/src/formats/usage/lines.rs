//! The data of an event stream, line by line, in pieces of any size.

use crate::formats::text::BYTE_ORDER_MARK;

const DATA: &[u8] = b"data:";

/// The position of a stream in its line.
#[derive(Debug, Default)]
pub(super) struct DataLines {
    /// How many bytes of the field name `data` matched; more than its length means another line.
    matched: usize,
    /// Whether the line is not blank.
    begun: bool,
    /// Whether the last byte was a CR, which may be followed by its LF.
    after_cr: bool,
    /// Whether the position is between events.
    pub(super) at_border: bool,
}

/// A piece of the stream.
pub(super) enum Piece<'c> {
    /// Bytes of data.
    Data(&'c [u8]),
    /// The end of an event.
    End,
}

impl DataLines {
    pub(super) fn new() -> Self {
        Self {
            at_border: true,
            ..Self::default()
        }
    }

    /// Whether the next chunk consists of whole events.
    pub(super) fn is_whole(&self, chunk: &[u8]) -> bool {
        self.at_border && (chunk.ends_with(b"\n\n") || chunk.ends_with(b"\n\r\n"))
    }

    pub(super) fn push<'c>(&mut self, chunk: &'c [u8], mut pass: impl FnMut(Piece<'c>)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let data = self.line(line);
            if !data.is_empty() {
                pass(Piece::Data(data));
            }
            let Some((byte, after)) = after.split_first() else {
                return;
            };
            rest = after;
            if std::mem::take(&mut self.after_cr) && *byte == b'\n' && line.is_empty() {
                continue;
            }
            self.after_cr = *byte == b'\r';
            if !std::mem::take(&mut self.begun) {
                self.at_border = true;
                pass(Piece::End);
            }
            self.matched = 0;
        }
    }

    /// The data in part of a line.
    fn line<'c>(&mut self, mut part: &'c [u8]) -> &'c [u8] {
        while let Some((byte, rest)) = part.split_first() {
            if self.matched >= DATA.len() {
                break;
            }
            part = rest;
            if self.matched == 0 && BYTE_ORDER_MARK.contains(byte) {
                continue;
            }
            (self.begun, self.at_border) = (true, false);
            self.matched = match DATA.get(self.matched) {
                Some(expected) if expected == byte => self.matched + 1,
                _ => usize::MAX,
            };
        }
        if self.matched == DATA.len() {
            part
        } else {
            &[]
        }
    }
}
