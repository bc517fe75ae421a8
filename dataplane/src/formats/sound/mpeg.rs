//! MPEG audio: consecutive frames of layers 1 to 3 or AAC, bare or in a program stream.

use memchr::{memchr, memmem};

use super::{big_endian, nanos_of};

/// kbit/s by version and layer, and by the index in the header.
const KBITS: [[u16; 15]; 5] = [
    [
        0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ],
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const AAC_RATES: [u64; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
/// A table of contents replaces the first frame.
const CONTENTS: [&[u8]; 3] = [b"Xing", b"Info", b"VBRI"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MpegFrame {
    bytes: usize,
    pub(super) nanos: u64,
}

/// Skips the tags before the audio.
pub(super) fn without_tag(mut file: &[u8]) -> &[u8] {
    while let Some(tag) = file.strip_prefix(b"ID3") {
        let Some(len) = tag.get(3..7) else {
            break;
        };
        let len = len
            .iter()
            .fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7F));
        let footer = if tag.get(2).is_some_and(|flags| flags & 0x10 != 0) {
            10
        } else {
            0
        };
        file = tag.get(7 + len + footer..).unwrap_or_default();
    }
    file
}

/// The duration of frames that make up most of the data. Elsewhere some bytes look like frames too.
pub(super) fn nanos(sound: &[u8]) -> Option<u64> {
    let (mut at, mut nanos, mut bytes) = (0, 0u64, 0usize);
    let (mut in_step, mut first) = (false, true);
    while let Some(rest) = sound.get(at..) {
        let found = MpegFrame::of(rest).filter(|frame| {
            let next = rest.get(frame.bytes..).unwrap_or_default();
            in_step || next.is_empty() || MpegFrame::of(next).is_some()
        });
        in_step = found.is_some();
        let Some(frame) = found else {
            if at - bytes > sound.len() / 2 {
                return None;
            }
            let Some(next) = memchr(0xFF, rest.get(1..).unwrap_or_default()) else {
                break;
            };
            at += next + 1;
            continue;
        };
        let body = rest.get(..frame.bytes).unwrap_or(rest);
        let is = |mark: &&[u8]| memmem::find(body, mark).is_some();
        if !std::mem::take(&mut first) || !CONTENTS.iter().any(is) {
            nanos = nanos.saturating_add(frame.nanos);
        }
        bytes = bytes.saturating_add(body.len());
        at += frame.bytes;
    }
    (bytes >= sound.len() / 2).then_some(nanos)
}

/// The duration of the audio in a program stream. Its packets are joined first.
pub(super) fn program_nanos(file: &[u8]) -> Option<u64> {
    let (mut rest, mut sound) = (file, Vec::new());
    while let Some(at) = memmem::find(rest, b"\0\0\x01") {
        let packet = rest.get(at..)?;
        let kind = packet.get(3).copied().unwrap_or_default();
        let mut skip = 4;
        if (0xBD..=0xEF).contains(&kind) {
            let len = usize::try_from(big_endian(packet, 4, 2).unwrap_or_default()).ok()?;
            // A video packet may leave its length open.
            if len > 0 {
                skip = 6 + len;
                let body = packet.get(6..skip.min(packet.len())).unwrap_or_default();
                if kind & 0xE0 == 0xC0 {
                    sound.extend_from_slice(after_head(body).unwrap_or_default());
                }
            }
        }
        rest = packet.get(skip..).unwrap_or_default();
    }
    nanos(&sound)
}

/// The payload of a packet: MPEG-2 gives the header's length, MPEG-1 builds the header of several fields.
fn after_head(body: &[u8]) -> Option<&[u8]> {
    if body.first()? >> 6 == 2 {
        return body.get(3 + usize::from(*body.get(2)?)..);
    }
    let stuffing = body.iter().take_while(|byte| **byte == 0xFF).count();
    let mut body = body.get(stuffing..)?;
    if body.first()? >> 6 == 1 {
        body = body.get(2..)?;
    }
    let times = match body.first()? >> 4 {
        2 => 5,
        3 => 10,
        _ => 1,
    };
    body.get(times..)
}

// === impl MpegFrame ===

impl MpegFrame {
    /// The frame that begins here, if there is one.
    pub(super) fn of(at: &[u8]) -> Option<Self> {
        let [sync, kind, sizes, _] = *at.first_chunk()?;
        if sync != 0xFF || kind & 0xE0 != 0xE0 {
            return None;
        }
        let (version, layer) = (kind >> 3 & 3, kind >> 1 & 3);
        if layer == 0 {
            return Self::aac(at, kind);
        }
        // 3 is version 1, 2 is version 2, 0 is version 2.5.
        let halvings = match version {
            3 => 0,
            2 => 1,
            0 => 2,
            _ => return None,
        };
        let rate = *[44_100, 48_000, 32_000].get(usize::from(sizes >> 2 & 3))? >> halvings;
        let kbits = match (version, layer) {
            (3, 3) => KBITS[0],
            (3, 2) => KBITS[1],
            (3, _) => KBITS[2],
            (_, 3) => KBITS[3],
            _ => KBITS[4],
        };
        let bits = u64::from(*kbits.get(usize::from(sizes >> 4))?) * 1_000;
        let (samples, unit) = match (version, layer) {
            (_, 3) => (384, 4),
            (3, _) | (_, 2) => (1_152, 1),
            _ => (576, 1),
        };
        let padding = u64::from(sizes >> 1 & 1);
        let bytes = (samples / 8 / unit * bits / rate + padding) * unit;
        (bits > 0).then_some(Self {
            bytes: usize::try_from(bytes).ok()?,
            nanos: nanos_of(samples, rate),
        })
    }

    /// The frame of an ADTS header.
    fn aac(at: &[u8], kind: u8) -> Option<Self> {
        if kind & 0xF6 != 0xF0 {
            return None;
        }
        let rate = *AAC_RATES.get(usize::from(at.get(2)? >> 2 & 15))?;
        let bytes = usize::try_from(big_endian(at, 3, 3)? >> 5 & 0x1FFF).ok()?;
        let blocks = u64::from(at.get(6)? & 3) + 1;
        (bytes >= 7).then(|| Self {
            bytes,
            nanos: nanos_of(blocks * 1_024, rate),
        })
    }
}
