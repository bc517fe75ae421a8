//! Bytes looked at 64 at a time, one bit for each.

use wide::u8x64;

pub(super) const BLOCK_BYTES: usize = 64;

/// Where this byte is in a block, as all bits of its place.
pub(super) fn equal(block: u8x64, byte: u8) -> u8x64 {
    block.simd_eq(u8x64::splat(byte))
}

/// Where this byte is in a block.
pub(super) fn bits(block: u8x64, byte: u8) -> u64 {
    equal(block, byte).to_bitmask()
}

/// Where the first bit is.
pub(super) const fn place(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

/// Blocks and where they begin; the last one is filled up with spaces.
pub(super) fn blocks(bytes: &[u8]) -> impl Iterator<Item = (usize, u8x64)> {
    let (whole, rest) = bytes.as_chunks::<BLOCK_BYTES>();
    let last = (!rest.is_empty()).then(|| (bytes.len() - rest.len(), u8x64::new(filled(rest))));
    let whole = whole.iter().enumerate();
    whole
        .map(|(at, block)| (at * BLOCK_BYTES, u8x64::new(*block)))
        .chain(last)
}

fn filled(rest: &[u8]) -> [u8; BLOCK_BYTES] {
    let mut block = [b' '; BLOCK_BYTES];
    if let Some(start) = block.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    block
}

/// The bytes of a text that matter to who steps from string to string: quotes, backslashes and line ends.
pub(super) struct Marks<'a> {
    text: &'a [u8],
    /// Where the block begins that was looked at last.
    start: usize,
    bits: u64,
}

impl<'a> Marks<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            start: 0,
            bits: marks(text),
        }
    }

    /// The first one from there on, which never moves back.
    pub(super) fn from(&mut self, at: usize) -> Option<usize> {
        loop {
            let passed = at.saturating_sub(self.start);
            if passed < BLOCK_BYTES {
                self.bits &= u64::MAX << passed;
                if self.bits != 0 {
                    return Some(self.start + place(self.bits));
                }
                self.start += BLOCK_BYTES;
            } else {
                self.start = at;
            }
            let rest = self.text.get(self.start..).unwrap_or_default();
            self.bits = marks(rest);
            if rest.is_empty() {
                return None;
            }
        }
    }
}

/// The marks among the first bytes.
fn marks(text: &[u8]) -> u64 {
    let block = text.first_chunk().copied().unwrap_or_else(|| filled(text));
    let block = u8x64::new(block);
    let marks = equal(block, b'"') | equal(block, b'\\') | equal(block, b'\n');
    marks.to_bitmask()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_mark_is_passed_over(text in "[ a\"\\\\\n]{0,300}|[a-z]{0,200}", steps in prop::collection::vec(0usize..90, 0..9)) {
            let is_mark = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
            let (mut marks, mut at) = (Marks::new(text.as_bytes()), 0);
            for step in steps {
                at += step;
                let rest = text.as_bytes().get(at..).unwrap_or_default();
                let next = rest.iter().position(is_mark).map(|found| at + found);
                prop_assert_eq!(marks.from(at), next);
            }
        }
    }
}
