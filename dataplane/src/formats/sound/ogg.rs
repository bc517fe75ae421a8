//! Ogg: pages of packets. Opus and Vorbis are counted by packet; for other codecs the position of the last page counts.

use memchr::memmem;

use super::{
    claim, little_endian, opus, samples_nanos,
    vorbis::{self, Vorbis},
};

const HEAD_BYTES: usize = 27;
/// Parallel streams beyond this many are ignored.
const STREAMS_MAX: usize = 16;
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;

#[derive(Debug)]
struct OggStream {
    serial: u64,
    codec: OggCodec,
    /// Whether the last packet of a page continues on the next. Its beginning is enough, except for a header that is
    /// needed whole.
    cut: bool,
    header: Vec<u8>,
    /// The position of the first page with audio, if it has one, and the furthest position of any page.
    start: Option<u64>,
    end: u64,
}

#[derive(Debug)]
enum OggCodec {
    Opus(u64),
    Vorbis(Box<Vorbis>),
    /// The sample rate, if known.
    Other(u64),
}

/// The duration of all files that are concatenated in one.
pub(super) fn nanos(file: &[u8]) -> Option<u64> {
    let (mut rest, mut whole) = (file, 0u64);
    let (mut streams, mut begun): (Vec<OggStream>, bool) = (Vec::new(), false);
    while let Some(at) = memmem::find(rest, b"OggS") {
        let page = rest.get(at..)?;
        let Some((head, table)) = page.split_at_checked(HEAD_BYTES) else {
            break;
        };
        let segments = usize::from(*head.get(26)?);
        let Some((table, body)) = table.split_at_checked(segments) else {
            break;
        };
        let flags = *head.get(5)?;
        let serial = little_endian(head, 14, 4)?;
        if flags & FIRST != 0 {
            if begun {
                whole = whole.saturating_add(longest(&streams, file));
                streams.clear();
            }
            begun = false;
            if streams.len() < STREAMS_MAX {
                streams.push(OggStream::of(serial, body));
            }
        } else {
            begun = true;
            let stream = streams.iter_mut().find(|stream| stream.serial == serial);
            if let Some(stream) = stream {
                stream.page(flags, little_endian(head, 6, 8)?, table, body);
            }
        }
        let len = table.iter().map(|len| usize::from(*len)).sum::<usize>();
        rest = body.get(len..).unwrap_or_default();
    }
    Some(whole.saturating_add(longest(&streams, file)))
}

fn longest(streams: &[OggStream], file: &[u8]) -> u64 {
    let each = streams.iter().map(|stream| stream.nanos(file));
    each.max().unwrap_or_default()
}

// === impl OggStream ===

impl OggStream {
    fn of(serial: u64, head: &[u8]) -> Self {
        let codec = if head.starts_with(b"OpusHead") {
            OggCodec::Opus(0)
        } else if let Some(vorbis) = Vorbis::of(head) {
            OggCodec::Vorbis(Box::new(vorbis))
        } else {
            let rate = if head.starts_with(b"Speex   ") {
                little_endian(head, 36, 4)
            } else if head.starts_with(b"\x7fFLAC") {
                // After both headers, 20 bits.
                super::big_endian(head, 27, 3).map(|bits| bits >> 4)
            } else {
                None
            };
            OggCodec::Other(rate.unwrap_or_default())
        };
        Self {
            serial,
            codec,
            cut: false,
            header: Vec::new(),
            start: None,
            end: 0,
        }
    }

    fn page(&mut self, flags: u8, granule: u64, table: &[u8], body: &[u8]) {
        let (mut rest, mut packets) = (body, 0u64);
        let mut goes_on = self.cut && flags & CONTINUED != 0;
        self.cut = table.last() == Some(&255);
        for packet in table.split_inclusive(|len| *len < 255) {
            let len = packet.iter().map(|len| usize::from(*len)).sum::<usize>();
            let (bytes, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            let ends = packet.last() != Some(&255);
            if std::mem::take(&mut goes_on) {
                self.more(bytes, ends);
            } else {
                packets += 1;
                self.packet(bytes, ends);
            }
        }
        // No packet ends on a page at -1; headers are at 0.
        if i64::try_from(granule).is_ok_and(|granule| granule > 0) {
            let most = match &self.codec {
                OggCodec::Vorbis(vorbis) => packets.saturating_mul(vorbis.longest()),
                OggCodec::Opus(_) | OggCodec::Other(_) => granule,
            };
            self.start.get_or_insert(granule.saturating_sub(most));
            self.end = self.end.max(granule);
        }
    }

    fn packet(&mut self, packet: &[u8], whole: bool) {
        self.header.clear();
        match &mut self.codec {
            OggCodec::Vorbis(_) if !whole && vorbis::is_setup(packet) => {
                self.header.extend_from_slice(packet);
            }
            OggCodec::Opus(nanos) if !packet.starts_with(b"OpusTags") => {
                *nanos = nanos.saturating_add(opus::nanos(packet));
            }
            OggCodec::Vorbis(vorbis) => vorbis.hear(packet),
            OggCodec::Opus(_) | OggCodec::Other(_) => {}
        }
    }

    /// The previous packet continues.
    fn more(&mut self, bytes: &[u8], ends: bool) {
        if self.header.is_empty() {
            return;
        }
        self.header.extend_from_slice(bytes);
        if ends && let OggCodec::Vorbis(vorbis) = &mut self.codec {
            vorbis.hear(&std::mem::take(&mut self.header));
        }
    }

    fn nanos(&self, file: &[u8]) -> u64 {
        let said = |rate| {
            let samples = self.end.saturating_sub(self.start.unwrap_or_default());
            claim(file, samples_nanos(samples, rate))
        };
        match &self.codec {
            OggCodec::Opus(nanos) => *nanos,
            OggCodec::Vorbis(vorbis) => vorbis.nanos().max(said(vorbis.rate)),
            OggCodec::Other(rate) => said(*rate),
        }
    }
}
