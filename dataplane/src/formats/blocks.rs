//! Looks at 64 bytes at once, with one bit per byte.

use wide::u8x64;

pub(super) const BLOCK_BYTES: usize = 64;

/// Positions of a byte in a block, as bytes with all bits set.
pub(super) fn equal(block: u8x64, byte: u8) -> u8x64 {
    block.simd_eq(u8x64::splat(byte))
}

/// Positions of a byte in a block, as one bit each.
pub(super) fn bits(block: u8x64, byte: u8) -> u64 {
    equal(block, byte).to_bitmask()
}

/// Position of the first bit.
pub(super) const fn place(bits: u64) -> usize {
    bits.trailing_zeros() as usize
}

/// Blocks with their start positions. The last one is padded with spaces.
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

/// Tracks backslashes across blocks.
#[derive(Debug, Default)]
pub(super) struct Backslashes {
    /// The lowest bit is set if the first byte of the next block is escaped.
    pub(super) carried: u64,
}

impl Backslashes {
    /// Which bytes of a block are escaped, from the positions of its backslashes. `len` is the number of bytes present:
    /// if it is short and more follows, the next block continues there.
    #[inline]
    pub(super) fn escaped(&mut self, backslashes: u64, len: usize) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let carried = std::mem::take(&mut self.carried);
        if backslashes == 0 {
            return carried;
        }
        // In a run of backslashes every second one is escaped, and so is the byte after a run of odd length. Adding a
        // run's first bit carries to the bit after its end, at an even distance from its start if the length is even.
        let escaping = backslashes & !carried;
        let follows = escaping << 1 | carried;
        let odd_starts = escaping & !EVEN & !follows;
        let (ends, over) = odd_starts.overflowing_add(escaping);
        let escaped = (EVEN ^ (ends << 1)) & follows;
        self.carried = if len < BLOCK_BYTES {
            escaped >> len & 1
        } else {
            u64::from(over)
        };
        escaped
    }
}

/// The bytes that matter when stepping from string to string: quotes, backslashes and line ends.
pub(super) struct Marks<'a> {
    text: &'a [u8],
    /// Start of the current block.
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

    /// The first mark at or after `at`, which must not decrease.
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

    /// The same, byte by byte.
    fn escaped_plainly(text: &[u8]) -> Vec<bool> {
        let mut behind_one = false;
        let step = |byte: &u8| {
            let escaped = std::mem::take(&mut behind_one);
            behind_one = !escaped && *byte == b'\\';
            escaped
        };
        text.iter().map(step).collect()
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_so_in_whatever_pieces_it_comes(
            text in "[a\"\\\\]{0,300}|\\\\{0,200}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let text = text.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut backslashes, mut found) = (Backslashes::default(), Vec::new());
            for piece in cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]) {
                for (at, block) in blocks(piece) {
                    let len = (piece.len() - at).min(BLOCK_BYTES);
                    let escaped = backslashes.escaped(bits(block, b'\\'), len);
                    found.extend((0..len).map(|at| escaped >> at & 1 == 1));
                }
            }
            prop_assert_eq!(found, escaped_plainly(text));
        }

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
