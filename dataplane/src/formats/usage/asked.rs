//! Usage that a request determines, for responses that report none: the characters of a text to speak, and the duration
//! of a recording.

use std::borrow::Cow;

use proxyxai_contract::part::BillPart;
use serde::Deserialize;

use crate::formats::{multipart::FormFields, sound};

/// Approximate bytes per millisecond of a recording in which nothing can be counted: 32 kbit/s, as for speech.
const BYTES_PER_MS: u64 = 4;

/// What a request is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestMeasure {
    /// A text to speak.
    Speech,
    /// A recording to transcribe.
    Recording,
}

#[derive(Deserialize)]
struct SpeechRequest<'a> {
    #[serde(borrow)]
    input: Cow<'a, str>,
}

// === impl RequestMeasure ===

impl RequestMeasure {
    /// The measure for a path, if it has one.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/audio/speech" => Some(Self::Speech),
            "/v1/audio/transcriptions" | "/v1/audio/translations" => Some(Self::Recording),
            _ => None,
        }
    }

    /// What it is charged as.
    pub(crate) const fn part(self) -> BillPart {
        match self {
            Self::Speech => BillPart::Character,
            Self::Recording => BillPart::AudioHour,
        }
    }

    /// An estimate from the size of the body; never more than `decide::ceiling` reserves.
    pub(crate) fn guess(self, body_bytes: usize) -> u64 {
        let bytes = u64::try_from(body_bytes).unwrap_or(u64::MAX);
        match self {
            Self::Speech => bytes,
            Self::Recording => bytes / BYTES_PER_MS,
        }
    }

    /// The measure of a body. Returns `None` if it cannot be read.
    pub(crate) fn count(self, body: &[u8]) -> Option<u64> {
        match self {
            Self::Speech => {
                let speech: SpeechRequest<'_> = serde_json::from_slice(body).ok()?;
                u64::try_from(speech.input.chars().count()).ok()
            }
            Self::Recording => length_ms(body),
        }
    }
}

/// The total duration of all uploaded files: given several, providers do not agree on which to read. Returns `None` if
/// one cannot be read, or there is none. The boundary of a form is in its first line.
fn length_ms(body: &[u8]) -> Option<u64> {
    let line = body.split(|byte| *byte == b'\r').next()?;
    let boundary = std::str::from_utf8(line.strip_prefix(b"--")?).ok()?;
    let fields = FormFields::new(body, boundary, false).filter_map(Result::ok);
    let files = fields.filter(|field| is_file(&field.name));
    let lengths = files.map(|field| sound::length_ms(body.get(field.value)?));
    let lengths: Vec<u64> = lengths.collect::<Option<_>>()?;
    (!lengths.is_empty()).then(|| lengths.into_iter().fold(0, u64::saturating_add))
}

/// Whether a form field is the recording for any parser.
pub(crate) fn is_file(name: &str) -> bool {
    let bare = name.split('[').next().unwrap_or_default().trim();
    bare.eq_ignore_ascii_case("file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(rate: u32, said: u32, bytes: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        file.extend(rate.to_le_bytes());
        // The byte rate is a claim of the client too.
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
            assert_eq!(RequestMeasure::Recording.count(&body), Some(3000), "{said}");
        }
        for rate in [0, 1, u32::MAX] {
            assert_eq!(
                RequestMeasure::Recording.count(&form(&wave(rate, 1, 96_000))),
                None
            );
        }
        assert_eq!(RequestMeasure::Recording.count(&form(b"OggS")), None);
        assert_eq!(RequestMeasure::Recording.count(b"--"), None);
    }

    #[test]
    fn two_files_are_as_long_as_both() {
        let long = wave(16_000, 0, 96_000);
        for other in ["file", "file[]", "FILE"] {
            let body = form(&wave(16_000, 0, 32_000));
            let second = format!(
                "--xYz\r\nContent-Disposition: form-data; name=\"{other}\"; filename=\"b.wav\"\r\n\r\n"
            );
            let body = body.strip_suffix(b"--xYz--\r\n").unwrap();
            let body = [body, second.as_bytes(), &long, b"\r\n--xYz--\r\n"].concat();
            assert_eq!(
                RequestMeasure::Recording.count(&body),
                Some(4000),
                "{other}"
            );
        }
    }

    #[test]
    fn a_text_has_as_many_characters_as_it_has_whatever_it_is_written_in() {
        let body = "{\"model\":\"tts-1\",\"input\":\"a\\u00e9\u{e9}\u{1f600}\\n\",\"voice\":\"x\"}";
        assert_eq!(RequestMeasure::Speech.count(body.as_bytes()), Some(5));
        assert_eq!(RequestMeasure::Speech.count(b"{}"), None);
    }
}
