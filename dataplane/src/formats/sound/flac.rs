//! FLAC (RFC 9639): frames are found by their headers, which have a checksum of their own.

use memchr::memmem;

use super::{big_endian, claim, samples_nanos};

/// For fixed and variable block sizes.
const SYNCS: [&[u8]; 2] = [b"\xff\xf8", b"\xff\xf9"];

/// What the file's header says about all frames.
struct Info {
    rate: u64,
    channels: u64,
    bits: u64,
    samples: u64,
}

pub(super) fn nanos(file: &[u8]) -> Option<u64> {
    // A marker, the block header and ten bytes about sizes come first.
    let packed = big_endian(file, 18, 8)?;
    let info = Info {
        rate: packed >> 44,
        channels: (packed >> 41 & 7) + 1,
        bits: (packed >> 36 & 31) + 1,
        samples: packed & 0xF_FFFF_FFFF,
    };
    let sound = after_blocks(file)?;
    let counted = SYNCS.map(|sync| {
        let heads = memmem::find_iter(sound, sync);
        let frames = heads.filter_map(|at| info.frame(sound.get(at..)?));
        frames.fold(0, u64::saturating_add)
    });
    let said = claim(file, samples_nanos(info.samples, info.rate));
    Some(counted.into_iter().fold(said, u64::max))
}

fn after_blocks(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(4..)?;
    loop {
        let len = usize::try_from(big_endian(rest, 1, 3)?).ok()?;
        let last = rest.first()? & 0x80 != 0;
        let Some(after) = rest.get(4 + len..) else {
            // A block longer than the file is invalid.
            return Some(rest);
        };
        rest = after;
        if last {
            return Some(rest);
        }
    }
}

impl Info {
    /// The duration of the frame that begins here, if there is one.
    fn frame(&self, at: &[u8]) -> Option<u64> {
        let [_, _, sizes, kinds] = *at.first_chunk()?;
        let channels = match kinds >> 4 {
            more @ 0..8 => u64::from(more) + 1,
            8..11 => 2,
            _ => return None,
        };
        let bits = match kinds >> 1 & 7 {
            0 => self.bits,
            code => *[8, 12, 0, 16, 20, 24, 32].get(usize::from(code) - 1)?,
        };
        if channels != self.channels || bits != self.bits || kinds & 1 != 0 {
            return None;
        }
        // The frame's number, in UTF-8 encoding.
        let number = match at.get(4)?.leading_ones() {
            0 => 1,
            ones @ 2..8 => usize::try_from(ones).ok()?,
            _ => return None,
        };
        let mut end = 4 + number;
        let mut next = |len: usize| {
            let value = big_endian(at, end, len);
            end += len;
            value
        };
        let samples = match sizes >> 4 {
            0 => return None,
            1 => 192,
            code @ 2..6 => 576 << (code - 2),
            6 => next(1)? + 1,
            7 => next(2)? + 1,
            code => 256 << (code - 8),
        };
        let rate = match sizes & 15 {
            0 => self.rate,
            12 => next(1)? * 1_000,
            13 => next(2)?,
            14 => next(2)? * 10,
            code => {
                const RATES: [u64; 11] = [
                    88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100,
                    48_000, 96_000,
                ];
                *RATES.get(usize::from(code) - 1)?
            }
        };
        let sum = at.get(..end)?.iter().fold(0, |sum, byte| check(sum ^ byte));
        (sum == *at.get(end)?).then(|| samples_nanos(samples, rate))
    }
}

/// A step of CRC-8 with the polynomial 7.
fn check(sum: u8) -> u8 {
    (0..8).fold(sum, |sum, _| {
        let carry = if sum & 0x80 == 0 { 0 } else { 7 };
        sum << 1 ^ carry
    })
}
