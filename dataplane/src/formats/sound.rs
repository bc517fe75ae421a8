//! Measures the duration of recordings by counting frames, without decoding. A duration in the file's metadata is the
//! sender's claim; it is used if it is longer than the counted one. Every parser reads the file once with little
//! memory, whatever it contains.

mod flac;
mod mp4;
mod mpeg;
mod ogg;
mod opus;
mod vorbis;
mod wave;
mod webm;

/// Upper bound on a file's claimed duration: 4 kbit/s, while the slowest telephone codec needs 4.75. Credit is reserved
/// for this much; a counted duration may be longer.
pub(crate) const CLAIM_MS_PER_BYTE: u64 = 2;
const CLAIM_NANOS_PER_BYTE: u64 = CLAIM_MS_PER_BYTE * 1_000_000;

/// Upper bound on the counted duration: a packet of Opus reaches it.
const COUNT_NANOS_PER_BYTE: u64 = 120_000_000;

/// At a lower sample rate nothing can be heard.
const RATE_MIN: u64 = 4_000;

const NANOS: u64 = 1_000_000_000;

/// Duration of a file in milliseconds. Returns `None` if the format is unknown or nothing in it can be counted.
pub(crate) fn length_ms(file: &[u8]) -> Option<u64> {
    let file = mpeg::without_tag(file);
    let kind = file.get(4..8);
    let nanos = match file.get(..4)? {
        b"RIFF" | b"RF64" => wave::nanos(file),
        b"fLaC" => flac::nanos(file),
        b"OggS" => ogg::nanos(file),
        b"\x1a\x45\xdf\xa3" => Some(webm::nanos(file)),
        b"\0\0\x01\xba" => mpeg::program_nanos(file),
        _ if kind.is_some_and(|kind| mp4::FIRST.contains(&kind)) => Some(mp4::nanos(file)),
        _ => mpeg::nanos(file),
    };
    let nanos = within(file, nanos?, COUNT_NANOS_PER_BYTE);
    (nanos > 0).then(|| nanos.div_ceil(1_000_000))
}

/// A claimed duration, bounded by the size of the file.
fn claim(file: &[u8], nanos: u64) -> u64 {
    within(file, nanos, CLAIM_NANOS_PER_BYTE)
}

fn within(file: &[u8], nanos: u64, per_byte: u64) -> u64 {
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    nanos.min(bytes.saturating_mul(per_byte))
}

/// The duration of samples; 0 at a rate at which nothing can be heard.
fn samples_nanos(samples: u64, rate: u64) -> u64 {
    if rate < RATE_MIN {
        return 0;
    }
    nanos_of(samples, rate)
}

/// The duration of units at `rate` units per second.
fn nanos_of(units: u64, rate: u64) -> u64 {
    let nanos = u128::from(units) * u128::from(NANOS);
    let nanos = nanos.checked_div(u128::from(rate)).unwrap_or_default();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A big-endian number of up to eight bytes.
fn big_endian(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// A little-endian number of up to eight bytes.
fn little_endian(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let lowest_last = bytes.iter().rev();
    Some(lowest_last.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
#[path = "sound/tests.rs"]
mod tests;
