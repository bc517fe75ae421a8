//! Follows the structure of a JSON text, 64 bytes at a time and in pieces of any size, and reports the values at the
//! paths of a schema. Names at other depths or inside strings do not match.

use std::borrow::Cow;

use wide::u8x64;

use super::shape::{STEPS_MAX, SchemaField, SchemaRow};
use crate::formats::{
    blocks::{BLOCK_BYTES, Backslashes, blocks, equal, place},
    json_skip::runs,
};

/// Longer than any usage object; a longer object is something else.
pub(super) const OBJECT_BYTES_MAX: usize = 64 * 1024;
/// Longer than any id.
const TEXT_BYTES_MAX: usize = 300;
/// How much of the preceding text is kept, which may contain the name of a value.
const TAIL_BYTES: usize = 64;

/// The position in a JSON text.
#[derive(Debug)]
pub(super) struct SchemaScanner {
    rows: &'static [SchemaRow],
    /// For each number of steps, the rows whose path the open brackets match, one bit each.
    followed: [u32; STEPS_MAX + 1],
    depth: usize,
    in_text: bool,
    backslashes: Backslashes,
    tail: Vec<u8>,
    object: Option<Object>,
    /// Whether strings are reported too.
    texts: bool,
    text: Option<PendingText>,
}

/// An incomplete string.
#[derive(Debug)]
struct PendingText {
    what: SchemaField,
    /// With its opening quote.
    bytes: Vec<u8>,
}

/// A value in a piece of JSON.
#[derive(Clone, Copy)]
struct JsonPlace<'a> {
    json: &'a [u8],
    /// Where it begins.
    at: usize,
}

/// An incomplete usage object.
#[derive(Debug)]
struct Object {
    what: SchemaField,
    /// Number of brackets around it.
    depth: usize,
    bytes: Vec<u8>,
    /// Where it continues in the current piece.
    start: usize,
}

impl SchemaScanner {
    /// Strings are only looked for if wanted, because that inspects every member.
    pub(super) fn new(rows: &'static [SchemaRow], objects: bool) -> Self {
        let others = rows.iter().take_while(|row| !row.what.is_of_objects());
        let rows = if objects {
            rows
        } else {
            rows.get(..others.count()).unwrap_or(rows)
        };
        Self {
            texts: rows.last().is_some_and(|row| row.what.is_text()),
            text: None,
            rows,
            followed: [all(rows.len()); STEPS_MAX + 1],
            depth: 0,
            in_text: false,
            backslashes: Backslashes::default(),
            tail: Vec::new(),
            object: None,
        }
    }

    /// Starts another text.
    pub(super) fn restart(&mut self) {
        (self.depth, self.in_text) = (0, false);
        self.backslashes = Backslashes::default();
        self.tail.clear();
        self.object = None;
        self.text = None;
    }

    /// Reads the next bytes of the text.
    pub(super) fn push(&mut self, json: &[u8], mut found: impl FnMut(SchemaField, &[u8])) {
        if let Some(text) = self.text.take() {
            self.read(text, json, &mut found);
        }
        for (at, block) in blocks(json) {
            let len = json.len().saturating_sub(at).min(BLOCK_BYTES);
            let mut brackets = self.brackets(block, len);
            while brackets != 0 {
                let here = at + place(brackets);
                brackets &= brackets - 1;
                match json.get(here) {
                    Some(b'{' | b'[') => self.open(json, here, &mut found),
                    Some(b':') => self.member(json, here, &mut found),
                    _ => self.close(json, here, &mut found),
                }
            }
        }
        if let Some(object) = &mut self.object {
            let rest = json.get(object.start..).unwrap_or_default();
            object.bytes.extend_from_slice(rest);
            object.start = 0;
            if object.bytes.len() > OBJECT_BYTES_MAX {
                self.object = None;
            }
        }
        let kept = json.len().saturating_sub(TAIL_BYTES);
        self.tail
            .extend_from_slice(json.get(kept..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    /// The brackets of a block outside strings. `len` is the number of bytes present.
    fn brackets(&mut self, block: u8x64, len: usize) -> u64 {
        // `[` and `{` differ in one bit, and so do `]` and `}`.
        let folded = block | u8x64::splat(0x20);
        let mut brackets = equal(folded, b'{') | equal(folded, b'}');
        if self.texts {
            brackets |= equal(block, b':');
        }
        let quotes = equal(block, b'"');
        let backslashes = equal(block, b'\\');
        if self.backslashes.carried == 0 && (brackets | quotes | backslashes).to_bitmask() == 0 {
            return 0;
        }
        let escaped = self.backslashes.escaped(backslashes.to_bitmask(), len);
        let quotes = quotes.to_bitmask() & !escaped;
        let texts = runs(quotes) ^ if self.in_text { u64::MAX } else { 0 };
        self.in_text = texts >> (BLOCK_BYTES - 1) == 1;
        brackets.to_bitmask() & !texts
    }

    fn open(&mut self, json: &[u8], here: usize, found: &mut impl FnMut(SchemaField, &[u8])) {
        let step = self.depth.checked_sub(1).filter(|step| *step < STEPS_MAX);
        self.depth = self.depth.saturating_add(1);
        // All rows match the first bracket.
        let Some(step) = step else {
            return;
        };
        let rows = self.followed.get(step).copied().unwrap_or_default();
        if rows != 0 {
            let before = before_value(&self.tail, json, here);
            self.follow(
                rows,
                step,
                ValueName::before(&before),
                JsonPlace { json, at: here },
                found,
            );
        } else if let Some(followed) = self.followed.get_mut(step + 1) {
            *followed = 0;
        }
    }

    /// Records which rows continue with this name, and the value they find.
    fn follow(
        &mut self,
        mut rows: u32,
        step: usize,
        name: Option<ValueName<'_>>,
        value: JsonPlace<'_>,
        found: &mut impl FnMut(SchemaField, &[u8]),
    ) {
        let mut followed = 0;
        while rows != 0 {
            let (bit, at) = (rows & rows.wrapping_neg(), rows.trailing_zeros());
            rows &= rows - 1;
            let row = self.rows.get(at as usize);
            let goes_on = |row: &&SchemaRow| {
                let wanted = row.path.get(step);
                wanted.is_some_and(|wanted| ValueName::is(name, wanted))
            };
            let Some(row) = row.filter(goes_on) else {
                continue;
            };
            followed |= bit;
            if step + 1 != row.path.len() {
                continue;
            }
            match row.what {
                SchemaField::Answer | SchemaField::Entry => found(row.what, &[]),
                what if !what.is_text() && value.json.get(value.at) == Some(&b'{') => {
                    self.object = Some(Object {
                        what,
                        depth: step + 1,
                        bytes: Vec::new(),
                        start: value.at,
                    });
                }
                _ => {}
            }
        }
        if let Some(place) = self.followed.get_mut(step + 1) {
            *place = followed;
        }
    }

    /// The value of a member follows.
    fn member(&mut self, json: &[u8], here: usize, found: &mut impl FnMut(SchemaField, &[u8])) {
        let Some(step) = self.depth.checked_sub(1) else {
            return;
        };
        let Some(followed) = self.followed.get(step).copied().filter(|rows| *rows != 0) else {
            return;
        };
        let before = before_value(&self.tail, json, here + 1);
        let name = ValueName::before(&before);
        let mut rows = self.rows.iter().enumerate();
        let named = rows.find(|(at, row)| {
            let last = row.what.is_text() && row.path.len() == step + 1;
            let wanted = row.path.last().filter(|_| last && followed >> at & 1 == 1);
            wanted.is_some_and(|wanted| ValueName::is(name, wanted))
        });
        if let Some((_, row)) = named {
            let text = PendingText {
                what: row.what,
                bytes: Vec::new(),
            };
            self.read(text, json.get(here + 1..).unwrap_or_default(), found);
        }
    }

    /// Reads more of a string. A string with escapes is not an id.
    fn read(
        &mut self,
        mut text: PendingText,
        json: &[u8],
        found: &mut impl FnMut(SchemaField, &[u8]),
    ) {
        let begun = !text.bytes.is_empty();
        let json = if begun { json } else { json.trim_ascii_start() };
        let end = json
            .iter()
            .skip(usize::from(!begun))
            .position(|byte| *byte == b'"');
        let end = end.map_or(json.len(), |end| end + usize::from(!begun));
        let room = TEXT_BYTES_MAX.saturating_sub(text.bytes.len());
        text.bytes
            .extend_from_slice(json.get(..end.min(room)).unwrap_or_default());
        let starts = text.bytes.first().is_none_or(|byte| *byte == b'"');
        if !starts || end >= room || text.bytes.contains(&b'\\') {
            return;
        }
        if end < json.len() {
            found(text.what, text.bytes.get(1..).unwrap_or_default());
        } else {
            self.text = Some(text);
        }
    }

    fn close(&mut self, json: &[u8], here: usize, found: &mut impl FnMut(SchemaField, &[u8])) {
        self.depth = self.depth.saturating_sub(1);
        let ends = |object: &mut Object| object.depth == self.depth;
        if let Some(Object {
            what,
            mut bytes,
            start,
            ..
        }) = self.object.take_if(ends)
        {
            let rest = json.get(start..=here).unwrap_or_default();
            let object = if bytes.is_empty() {
                rest
            } else {
                bytes.extend_from_slice(rest);
                &bytes
            };
            if object.len() <= OBJECT_BYTES_MAX {
                found(what, object);
            }
        }
    }
}

/// One bit for each row.
const fn all(rows: usize) -> u32 {
    match rows {
        0 => 0,
        rows => u32::MAX >> (u32::BITS as usize).saturating_sub(rows),
    }
}

/// The bytes before a value that may contain its name, without trailing spaces.
fn before_value<'a>(tail: &[u8], json: &'a [u8], here: usize) -> Cow<'a, [u8]> {
    let near = json.get(here.saturating_sub(TAIL_BYTES)..here);
    let near = near.unwrap_or_default().trim_ascii_end();
    if here >= TAIL_BYTES || tail.is_empty() {
        return Cow::Borrowed(near);
    }
    let mut before = [tail, near].concat();
    before.truncate(before.trim_ascii_end().len());
    Cow::Owned(before)
}

/// The name of a value: a member's name, or that of array items.
#[derive(Clone, Copy)]
enum ValueName<'a> {
    Member(&'a [u8]),
    Item,
}

impl<'a> ValueName<'a> {
    /// The name of the value after these bytes. Returns `None` if it is unknown.
    fn before(before: &'a [u8]) -> Option<Self> {
        let Some(before) = before.strip_suffix(b":") else {
            let item = matches!(before.last(), Some(b'[' | b','));
            return item.then_some(Self::Item);
        };
        let name = before.trim_ascii_end().strip_suffix(b"\"")?;
        let quote = memchr::memrchr(b'"', name)?;
        let (start, name) = name.split_at_checked(quote)?;
        // An escaped quote does not begin a name.
        (!start.ends_with(b"\\")).then_some(Self::Member(name.get(1..)?))
    }

    /// Whether this is a row's name; `[]` stands for array items.
    fn is(name: Option<Self>, wanted: &str) -> bool {
        match name {
            Some(Self::Member(name)) => name == wanted.as_bytes(),
            Some(Self::Item) => wanted == "[]",
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_a_bit_whatever_their_number() {
        for (rows, bits) in [(0, 0), (1, 1), (9, 0x1FF), (32, u32::MAX), (33, u32::MAX)] {
            assert_eq!(all(rows), bits, "{rows}");
        }
    }
}
