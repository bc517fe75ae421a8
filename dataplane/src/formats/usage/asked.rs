//! What a request tells of its own use, where answers tell nothing: the characters of a text that is to be spoken, and
//! the length of a recording.

use std::borrow::Cow;

use proxyxai_contract::part::Part;
use serde::Deserialize;

use crate::formats::multipart::Fields;

/// A recording in a form that is not read here has this many bytes in a millisecond, about: 32 kbit/s, which is what
/// speech takes.
const BYTES_PER_MS: u64 = 4;

/// What a request tells the use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A text to be spoken.
    Speech,
    /// A recording to be written down.
    Recording,
}

#[derive(Deserialize)]
struct Speech<'a> {
    #[serde(borrow)]
    input: Cow<'a, str>,
}

// === impl Asked ===

impl Asked {
    /// By the path that is asked.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/audio/speech" => Some(Self::Speech),
            "/v1/audio/transcriptions" | "/v1/audio/translations" => Some(Self::Recording),
            _ => None,
        }
    }

    /// What it is charged as.
    pub(crate) const fn part(self) -> Part {
        match self {
            Self::Speech => Part::Character,
            Self::Recording => Part::AudioHour,
        }
    }

    /// As much as a body of so many bytes asks for, about; never more than `decide::ceiling` sets aside.
    pub(crate) fn guess(self, body_bytes: usize) -> u64 {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        match self {
            Self::Speech => bytes,
            Self::Recording => bytes / BYTES_PER_MS,
        }
    }

    /// What a body asks for; none where it cannot be read.
    pub(crate) fn count(self, body: &[u8]) -> Option<u64> {
        match self {
            Self::Speech => {
                let speech: Speech<'_> = serde_json::from_slice(body).ok()?;
                u64::try_from(speech.input.chars().count()).ok()
            }
            Self::Recording => wave_ms(file(body)?),
        }
    }
}

/// The uploaded file. The boundary of a form stands in its first line.
fn file(body: &[u8]) -> Option<&[u8]> {
    let line = body.split(|byte| *byte == b'\r').next()?;
    let boundary = std::str::from_utf8(line.strip_prefix(b"--")?).ok()?;
    let mut fields = Fields::new(body, boundary, false).filter_map(Result::ok);
    let field = fields.find(|field| field.name == "file")?;
    body.get(field.value)
}

/// The length of a wave file, by the sound that is in it: what its head says of that is the client's word.
fn wave_ms(file: &[u8]) -> Option<u64> {
    let chunks = file
        .strip_prefix(b"RIFF")?
        .get(4..)?
        .strip_prefix(b"WAVE")?;
    let (mut rest, mut second) = (chunks, None);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let (name, len) = head.split_at_checked(4)?;
        let len = usize::try_from(u32::from_le_bytes(len.try_into().ok()?)).ok()?;
        match name {
            b"fmt " => second = bytes_per_second(body),
            // A stream that is written as it comes says that it has no end, or nothing.
            b"data" => {
                let bytes = u64::try_from(body.len()).ok()?;
                return bytes.saturating_mul(1000).checked_div(second?);
            }
            _ => {}
        }
        rest = body.get(len.saturating_add(len % 2)..)?;
    }
    None
}

/// Of a format whose samples are all of one size.
fn bytes_per_second(format: &[u8]) -> Option<u64> {
    let two = |at: usize| Some(u16::from_le_bytes(format.get(at..at + 2)?.try_into().ok()?));
    let rate = u32::from_le_bytes(format.get(4..8)?.try_into().ok()?);
    let plain = matches!(two(0)?, 1 | 3 | 6 | 7 | 0xFFFE);
    let sample = u64::from(two(14)?).div_ceil(8);
    let bytes = u64::from(rate) * u64::from(two(2)?) * sample;
    (plain && (4_000..=384_000).contains(&rate) && bytes > 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(rate: u32, said: u32, bytes: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(rate.to_le_bytes());
        // The rate in bytes is a word of the client's, too.
        file.extend([1, 0, 0, 0, 2, 0, 16, 0]);
        file.extend(b"LIST\x03\0\0\0abc\0data");
        file.extend(said.to_le_bytes());
        file.resize(file.len() + bytes, 0);
        file
    }

    fn form(file: &[u8]) -> Vec<u8> {
        let head = b"--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--xYz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n";
        [head.as_slice(), file, b"\r\n--xYz--\r\n"].concat()
    }

    #[test]
    fn a_recording_is_as_long_as_the_sound_that_is_in_it() {
        for said in [0, 1, 32_000, u32::MAX] {
            let body = form(&wave(16_000, said, 96_000));
            assert_eq!(Asked::Recording.count(&body), Some(3000), "{said}");
        }
        for rate in [0, 1, u32::MAX] {
            assert_eq!(Asked::Recording.count(&form(&wave(rate, 1, 96_000))), None);
        }
        assert_eq!(Asked::Recording.count(&form(b"OggS")), None);
        assert_eq!(Asked::Recording.count(b"--"), None);
    }

    #[test]
    fn a_text_has_as_many_characters_as_it_has_whatever_it_is_written_in() {
        let body = "{\"model\":\"tts-1\",\"input\":\"a\\u00e9\u{e9}\u{1f600}\\n\",\"voice\":\"x\"}";
        assert_eq!(Asked::Speech.count(body.as_bytes()), Some(5));
        assert_eq!(Asked::Speech.count(b"{}"), None);
    }
}
