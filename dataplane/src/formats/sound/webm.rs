//! `WebM` and Matroska: nested elements. Only the leaves count, so that wrong or open lengths of their parents make no
//! difference. Blocks of Opus, Vorbis, MPEG and AAC are counted; for other codecs their timestamps count.

use memchr::memmem;

use super::{NANOS, big_endian, claim, mpeg, opus, samples_nanos, vorbis::Vorbis};

/// Tracks beyond this many are ignored.
const TRACKS_MAX: usize = 16;
const SOUND: u64 = 2;

const CLUSTER: u64 = 0x1F43_B675;
/// Segment, information, tracks, a track, its audio, a cluster, a group of blocks.
const MASTERS: [u64; 7] = [
    0x1853_8067,
    0x1549_A966,
    0x1654_AE6B,
    0xAE,
    0xE1,
    CLUSTER,
    0xA0,
];

#[derive(Debug, Default)]
struct WebmReader {
    /// Nanoseconds per unit of time.
    scale: Option<u64>,
    /// In units of time.
    duration: f64,
    cluster: u64,
    tracks: Vec<WebmTrack>,
}

#[derive(Debug, Default)]
struct WebmTrack {
    number: u64,
    kind: u64,
    rate: f64,
    codec: WebmCodec,
    counted: u64,
    /// The times of the first and last block.
    span: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
enum WebmCodec {
    Opus,
    Mpeg,
    /// Frames with this many samples.
    Frames(u64),
    Vorbis(Option<Box<Vorbis>>),
    #[default]
    Other,
}

pub(super) fn nanos(file: &[u8]) -> u64 {
    let (mut walk, mut rest) = (WebmReader::default(), file);
    while !rest.is_empty() {
        rest = match element(rest) {
            Some((id, _, body)) if MASTERS.contains(&id) => {
                walk.enters(id);
                body
            }
            Some((id, Some(len), body)) if len <= body.len() => {
                let (leaf, after) = body.split_at(len);
                walk.leaf(id, leaf);
                after
            }
            // Unreadable data is skipped up to the next cluster, as in players.
            _ => {
                let rest = rest.get(1..).unwrap_or_default();
                let next = memmem::find(rest, &[0x1F, 0x43, 0xB6, 0x75]);
                next.and_then(|at| rest.get(at..)).unwrap_or_default()
            }
        };
    }
    walk.nanos(file)
}

/// Its id, its length if known, and the rest.
fn element(at: &[u8]) -> Option<(u64, Option<usize>, &[u8])> {
    let id_len = number_len(at)?;
    let id = big_endian(at, 0, id_len)?;
    let (len, body) = number(at.get(id_len..)?)?;
    let open = len == (1 << (7 * (at.get(id_len..)?.len() - body.len()))) - 1;
    let len = usize::try_from(len).ok();
    Some((id, len.filter(|_| !open), body))
}

/// The length of a variable-length number in bytes.
fn number_len(at: &[u8]) -> Option<usize> {
    let zeros = usize::try_from(at.first()?.leading_zeros()).ok()?;
    Some(zeros + 1).filter(|len| *len <= 8)
}

/// A variable-length number, and the rest.
fn number(at: &[u8]) -> Option<(u64, &[u8])> {
    let len = number_len(at)?;
    let value = big_endian(at, 0, len)? & ((1 << (7 * len)) - 1);
    Some((value, at.get(len..)?))
}

fn float(bytes: &[u8]) -> f64 {
    match bytes {
        [a, b, c, d] => f32::from_be_bytes([*a, *b, *c, *d]).into(),
        _ => bytes.try_into().map_or(0.0, f64::from_be_bytes),
    }
}

/// A number from a file, which may be anything.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast keeps to what there is, and nothing is zero"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

// === impl WebmReader ===

impl WebmReader {
    fn enters(&mut self, id: u64) {
        if id == 0xAE && self.tracks.len() < TRACKS_MAX {
            self.tracks.push(WebmTrack::default());
        }
    }

    fn leaf(&mut self, id: u64, bytes: &[u8]) {
        let whole_number = || big_endian(bytes, 0, bytes.len().min(8)).unwrap_or_default();
        match id {
            0x002A_D7B1 => self.scale = Some(whole_number()),
            0x4489 => self.duration = float(bytes),
            0xE7 => self.cluster = whole_number(),
            0xA3 | 0xA1 => self.block(bytes),
            _ => {
                let Some(track) = self.tracks.last_mut() else {
                    return;
                };
                match id {
                    0xD7 => track.number = whole_number(),
                    0x83 => track.kind = whole_number(),
                    0xB5 => track.rate = float(bytes),
                    0x86 => track.codec = WebmCodec::of(bytes),
                    0x63A2 => track.private(bytes),
                    _ => {}
                }
            }
        }
    }

    fn block(&mut self, block: &[u8]) {
        let Some((number, rest)) = number(block) else {
            return;
        };
        let Some(([high, low, flags], body)) = rest.split_first_chunk() else {
            return;
        };
        let time = i16::from_be_bytes([*high, *low]);
        let at = self.cluster.saturating_add_signed(time.into());
        let sound = |track: &&mut WebmTrack| track.number == number && track.kind == SOUND;
        if let Some(track) = self.tracks.iter_mut().find(sound) {
            track.hear(at, flags >> 1 & 3, body);
        }
    }

    fn nanos(&self, file: &[u8]) -> u64 {
        let scale = self.scale.unwrap_or(1_000_000);
        let said = whole(self.duration).saturating_mul(scale);
        let each = self.tracks.iter().map(|track| {
            let span = track.span.map_or(0, |(first, last)| last - first);
            claim(file, span.saturating_mul(scale)).max(track.counted)
        });
        each.fold(claim(file, said), u64::max)
    }
}

// === impl WebmCodec ===

impl WebmCodec {
    fn of(name: &[u8]) -> Self {
        match name {
            b"A_OPUS" => Self::Opus,
            b"A_VORBIS" => Self::Vorbis(None),
            _ if name.starts_with(b"A_MPEG") => Self::Mpeg,
            _ if name.starts_with(b"A_AAC") => Self::Frames(1_024),
            _ => Self::Other,
        }
    }
}

// === impl WebmTrack ===

impl WebmTrack {
    /// The three headers of Vorbis, preceded by the lengths of the first two.
    fn private(&mut self, bytes: &[u8]) {
        let WebmCodec::Vorbis(vorbis) = &mut self.codec else {
            return;
        };
        let mut rest = bytes.get(1..).unwrap_or_default();
        let lens = [laced(&mut rest), laced(&mut rest)];
        let mut heads = lens.into_iter().map(|len| {
            let (head, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            head
        });
        *vorbis = heads.next().and_then(Vorbis::of).map(Box::new);
        heads.for_each(drop);
        if let Some(vorbis) = vorbis {
            vorbis.hear(rest);
        }
    }

    /// Reads a block: one packet, or several, all taken to be as long as the first.
    fn hear(&mut self, at: u64, lacing: u8, body: &[u8]) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
        let mut body = body;
        let mut packets = 1;
        if lacing != 0 {
            packets += u64::from(body.first().copied().unwrap_or_default());
            body = body.get(1..).unwrap_or_default();
            for _ in 1..packets {
                match lacing {
                    1 => drop(laced(&mut body)),
                    3 => body = number(body).map_or(&[][..], |(_, rest)| rest),
                    _ => break,
                }
            }
        }
        // Every packet has at least one byte.
        packets = packets.min(u64::try_from(body.len()).unwrap_or(u64::MAX));
        let nanos = match &mut self.codec {
            WebmCodec::Opus => opus::nanos(body),
            WebmCodec::Mpeg => mpeg::MpegFrame::of(body).map_or(0, |frame| frame.nanos),
            WebmCodec::Frames(samples) => samples_nanos(*samples, whole(self.rate)),
            WebmCodec::Vorbis(Some(vorbis)) => {
                let before = vorbis.nanos();
                vorbis.hear(body);
                vorbis.nanos() - before
            }
            WebmCodec::Vorbis(None) | WebmCodec::Other => 0,
        };
        let nanos = nanos.min(NANOS).saturating_mul(packets);
        self.counted = self.counted.saturating_add(nanos);
    }
}

/// A length in bytes, of which all but the last are 255.
fn laced(bytes: &mut &[u8]) -> usize {
    let full = bytes.iter().take_while(|byte| **byte == 255).count();
    let last = bytes.get(full).copied().map_or(0, usize::from);
    *bytes = bytes.get(full + 1..).unwrap_or_default();
    full * 255 + last
}
