//! Packets of Vorbis, whose duration follows from their block sizes. A table at the end of the setup header gives the
//! block size of each mode. It is read from the end, because what precedes it is most of the format.

use super::{little_endian, samples_nanos};

/// Bits of a mode: block size, window, transform and mapping.
const MODE_BITS: usize = 41;
const MODES_MAX: usize = 64;

/// The state of a stream.
#[derive(Debug, Default)]
pub(super) struct Vorbis {
    pub(super) rate: u64,
    /// Samples of short and long blocks.
    blocks: [u64; 2],
    /// Whether the block of each mode is long; `None` before the setup header.
    modes: Option<Vec<bool>>,
    last: Option<u64>,
    samples: u64,
}

impl Vorbis {
    /// From the first header of a stream.
    pub(super) fn of(header: &[u8]) -> Option<Self> {
        header.strip_prefix(b"\x01vorbis")?;
        let sizes = *header.get(28)?;
        Some(Self {
            rate: little_endian(header, 12, 4)?,
            blocks: [sizes & 15, sizes >> 4].map(|log| 1 << log.min(13)),
            ..Self::default()
        })
    }

    /// The most samples of a packet.
    pub(super) fn longest(&self) -> u64 {
        self.blocks[1] / 2
    }

    /// Reads a packet: another header, or audio.
    pub(super) fn hear(&mut self, packet: &[u8]) {
        let Some(first) = packet.first() else {
            return;
        };
        if first & 1 == 1 {
            if self.modes.is_none() && is_setup(packet) {
                self.modes = Some(modes(packet).unwrap_or_default());
            }
            return;
        }
        let modes = self.modes.as_deref().unwrap_or_default();
        let bits = usize::BITS - modes.len().saturating_sub(1).leading_zeros();
        let mode = usize::from(first >> 1) & ((1 << bits.min(7)) - 1);
        let long = modes.get(mode).copied().unwrap_or_default();
        let block = self.blocks[usize::from(long)];
        // The overlapping halves of two blocks make one.
        if let Some(last) = self.last.replace(block) {
            self.samples = self.samples.saturating_add((last + block) / 4);
        }
    }

    pub(super) fn nanos(&self) -> u64 {
        samples_nanos(self.samples, self.rate)
    }
}

/// Whether a packet is the last of the three headers.
pub(super) fn is_setup(packet: &[u8]) -> bool {
    packet.starts_with(b"\x05vorbis")
}

/// Whether the block of each mode is long.
fn modes(setup: &[u8]) -> Option<Vec<bool>> {
    let bit = |at: usize| Some(setup.get(at / 8)? >> (at % 8) & 1 == 1);
    let zeros = |from: usize, len: usize| (from..from + len).all(|at| bit(at) == Some(false));
    // The last set bit ends the header.
    let last = setup.iter().rposition(|byte| *byte != 0)?;
    let end = last * 8 + 7 - usize::try_from(setup.get(last)?.leading_zeros()).ok()?;
    let (mut at, mut found, mut best) = (end, Vec::new(), None);
    while found.len() < MODES_MAX {
        let Some(before) = at.checked_sub(MODE_BITS) else {
            break;
        };
        // Window and transform are always 0, and there are at most 64 mappings.
        if !zeros(before + 1, 32) || !zeros(before + 39, 2) {
            break;
        }
        at = before;
        found.push(bit(at)?);
        // Their number precedes them.
        let count = at.checked_sub(6).and_then(|start| {
            let bits = (start..at).rev();
            bits.into_iter()
                .try_fold(0, |sum, at| Some(sum << 1 | usize::from(bit(at)?)))
        });
        if count.map(|count| count + 1) == Some(found.len()) {
            best = Some(found.iter().rev().copied().collect());
        }
    }
    best
}
