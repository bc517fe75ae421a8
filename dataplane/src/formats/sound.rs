//! How long a recording is: what is in the file is counted, frame by frame, and nothing is decoded. What a file merely
//! says of itself is its sender's word, which counts where it is more than what was counted. Every reader goes through
//! the file once and keeps next to nothing of it, whatever stands there.

mod flac;
mod mp4;
mod mpeg;
mod ogg;
mod opus;
mod vorbis;
mod wave;
mod webm;

/// No recording that says something is longer for its bytes: that is 4 kbit/s, and the slowest codec of telephones takes
/// 4.75. So much is set aside, and it bounds what a file may say; what is counted may be more.
pub(crate) const CLAIM_MS_PER_BYTE: u64 = 2;
const CLAIM_NANOS_PER_BYTE: u64 = CLAIM_MS_PER_BYTE * 1_000_000;

/// What is counted is no longer than this either: a packet of Opus is at most.
const COUNT_NANOS_PER_BYTE: u64 = 120_000_000;

/// Sound of fewer samples a second is none.
const RATE_MIN: u64 = 4_000;

const NANOS: u64 = 1_000_000_000;

/// Milliseconds of sound in a file; none where it is in no form that is read here, or nothing in it can be counted.
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

/// What a file says, as far as a file of its size can hold that.
fn claim(file: &[u8], nanos: u64) -> u64 {
    within(file, nanos, CLAIM_NANOS_PER_BYTE)
}

fn within(file: &[u8], nanos: u64, per_byte: u64) -> u64 {
    let bytes = u64::try_from(file.len()).unwrap_or(u64::MAX);
    nanos.min(bytes.saturating_mul(per_byte))
}

/// The time of so many samples; none at a rate at which nothing can be heard.
fn samples_nanos(samples: u64, rate: u64) -> u64 {
    if rate < RATE_MIN {
        return 0;
    }
    nanos_of(samples, rate)
}

/// The time of so many units, of which so many make a second.
fn nanos_of(units: u64, rate: u64) -> u64 {
    let nanos = u128::from(units) * u128::from(NANOS);
    let nanos = nanos.checked_div(u128::from(rate)).unwrap_or_default();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A number of up to eight bytes, the highest first.
fn big_endian(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// The same, the lowest first.
fn little_endian(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let lowest_last = bytes.iter().rev();
    Some(lowest_last.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
#[path = "sound/tests.rs"]
mod tests;
