//! Wave files, measured by the audio in them.

use super::{RATE_MIN, claim, little_endian, mpeg, nanos_of, samples_nanos};

/// MPEG frames inside a wave file.
const MP3: u64 = 0x55;

/// A telephone codec at its lowest rate.
struct SpeechCodec {
    format: u64,
    /// Bytes per frame, and the samples they decode to.
    bytes: u64,
    samples: u64,
    /// Samples per second. If a file claims more, some decoders play it no faster.
    rate: u64,
}

/// By RIFF's codec numbers, as in `FFmpeg` (`libavformat/riff.c`). All have lower rates than the one assumed for
/// recordings in which nothing can be counted.
const SPEECH: [SpeechCodec; 16] = [
    // Windows Media Voice, G.723.1, `TrueSpeech`, GSM, AMR, AMR-WB, G.729, SIPR, Speex; some have several numbers.
    speech(0x000A, 8, 160, 8_000),
    speech(0x0042, 20, 240, 8_000),
    speech(0x0111, 20, 240, 8_000),
    speech(0x0022, 32, 240, 8_000),
    speech(0x1501, 32, 240, 8_000),
    speech(0x0031, 65, 320, 8_000),
    speech(0x0032, 65, 320, 8_000),
    speech(0x1500, 65, 320, 8_000),
    speech(0x0038, 13, 160, 8_000),
    speech(0x0057, 13, 160, 8_000),
    speech(0x7361, 13, 160, 8_000),
    speech(0x0058, 18, 320, 16_000),
    speech(0x7362, 18, 320, 16_000),
    speech(0x0083, 10, 80, 8_000),
    speech(0x0130, 19, 240, 8_000),
    speech(0xA109, 6, 160, 8_000),
];

const fn speech(format: u64, bytes: u64, samples: u64, rate: u64) -> SpeechCodec {
    SpeechCodec {
        format,
        bytes,
        samples,
        rate,
    }
}

pub(super) fn nanos(file: &[u8]) -> Option<u64> {
    let chunks = file.get(8..)?.strip_prefix(b"WAVE")?;
    let (mut rest, mut format) = (chunks, None);
    while let Some((head, body)) = rest.split_at_checked(8) {
        let len = usize::try_from(little_endian(head, 4, 4)?).ok()?;
        match head.get(..4)? {
            b"fmt " => format = Some(body),
            // A streamed file claims to have no end, or no length.
            b"data" => {
                return sound_nanos(format?, body);
            }
            _ => {}
        }
        rest = body.get(len.saturating_add(len % 2)..)?;
    }
    None
}

fn sound_nanos(format: &[u8], body: &[u8]) -> Option<u64> {
    let bytes = u64::try_from(body.len()).ok()?;
    let rate = little_endian(format, 4, 4)?;
    match codec(format)? {
        MP3 => mpeg::nanos(body),
        1 | 3 | 6 | 7 => Some(nanos_of(bytes, bytes_per_second(format, rate)?)),
        codec => {
            let speech = SPEECH.iter().find(|speech| speech.format == codec)?;
            speech_nanos(speech, bytes, rate).map(|nanos| claim(body, nanos))
        }
    }
}

/// The codec's number. An extensible format has it in its subformat.
fn codec(format: &[u8]) -> Option<u64> {
    const EXTENSIBLE: u64 = 0xFFFE;
    match little_endian(format, 0, 2)? {
        EXTENSIBLE => little_endian(format, 24, 2),
        codec => Some(codec),
    }
}

/// The data rate of a format with samples of fixed size. The format's own claim is ignored.
fn bytes_per_second(format: &[u8], rate: u64) -> Option<u64> {
    let sample = little_endian(format, 14, 2)?.div_ceil(8);
    let bytes = rate * little_endian(format, 2, 2)? * sample;
    ((RATE_MIN..=384_000).contains(&rate) && bytes > 0).then_some(bytes)
}

fn speech_nanos(speech: &SpeechCodec, bytes: u64, rate: u64) -> Option<u64> {
    let frames = bytes.div_ceil(speech.bytes);
    let rate = rate.min(speech.rate);
    (rate >= RATE_MIN).then(|| samples_nanos(frames.saturating_mul(speech.samples), rate))
}
