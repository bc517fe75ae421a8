//! MP4: nested boxes, whole or in fragments. Sample tables are the file's claim, like other metadata. But the duration
//! of a sample is fixed by its codec, whatever the table says, and repeated parts count each time.

use super::{big_endian, claim, nanos_of, samples_nanos};

/// Kinds of the first box.
pub(super) const FIRST: [&[u8]; 8] = [
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof",
];
const MASTERS: [&[u8]; 9] = [
    b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf",
];
/// Tracks beyond this many are ignored.
const TRACKS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Mp4Reader {
    tracks: Vec<Mp4Track>,
    /// Units per second in edit lists.
    scale: u64,
    /// The current fragment's track, by index.
    fragment: Option<usize>,
    /// The default duration of its samples.
    usual: u64,
}

#[derive(Debug, Default)]
struct Mp4Track {
    id: u64,
    sound: bool,
    /// Units per second in sample tables.
    scale: u64,
    /// The sum of the sample table, in such units.
    units: u64,
    said: u64,
    samples: u64,
    /// Number of samples with a size.
    sizes: u64,
    usual: u64,
    edits: u64,
    rate: u64,
    /// Audio samples per sample of the file; `None` if unknown.
    frame: Option<u64>,
}

pub(super) fn nanos(file: &[u8]) -> u64 {
    let (mut walk, mut rest) = (Mp4Reader::default(), file);
    while let Some((kind, len, body)) = head(rest) {
        if MASTERS.contains(&kind) {
            walk.enters(kind);
            rest = body;
            continue;
        }
        let (leaf, after) = body.split_at(len.min(body.len()));
        walk.leaf(kind, leaf);
        rest = after;
    }
    walk.nanos(file)
}

/// The kind of the box that begins here, the length of its content, and the rest.
fn head(at: &[u8]) -> Option<(&[u8], usize, &[u8])> {
    let kind = at.get(4..8)?;
    let (len, head) = match big_endian(at, 0, 4)? {
        0 => (u64::MAX, 8),
        1 => (big_endian(at, 8, 8)?, 16),
        len => (len, 8),
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Some((kind, len.checked_sub(head)?, at.get(head..)?))
}

// === impl Mp4Reader ===

impl Mp4Reader {
    fn enters(&mut self, kind: &[u8]) {
        if kind == b"trak" && self.tracks.len() < TRACKS_MAX {
            self.tracks.push(Mp4Track::default());
        } else if kind == b"moof" || kind == b"traf" {
            self.fragment = None;
        }
    }

    fn leaf(&mut self, kind: &[u8], bytes: &[u8]) {
        match kind {
            b"mvhd" => self.scale = times(bytes, 12).map_or(0, |(scale, _)| scale),
            b"trex" => {
                let usual = big_endian(bytes, 12, 4).unwrap_or_default();
                if let Some(at) = self.track(big_endian(bytes, 4, 4)) {
                    self.tracks[at].usual = usual;
                }
            }
            b"tfhd" => {
                self.fragment = self.track(big_endian(bytes, 4, 4));
                let usual = self.fragment.map(|at| self.tracks[at].usual);
                self.usual = usual_of_fragment(bytes).or(usual).unwrap_or_default();
            }
            b"trun" => {
                if let Some(at) = self.fragment {
                    self.tracks[at].run(bytes, self.usual);
                }
            }
            _ => {
                if let Some(track) = self.tracks.last_mut() {
                    track.leaf(kind, bytes);
                }
            }
        }
    }

    fn track(&self, id: Option<u64>) -> Option<usize> {
        self.tracks.iter().position(|track| Some(track.id) == id)
    }

    fn nanos(&self, file: &[u8]) -> u64 {
        let sound = self.tracks.iter().filter(|track| track.sound);
        let each = sound.map(|track| track.nanos(self.scale));
        claim(file, each.max().unwrap_or_default())
    }
}

/// Units per second and a duration, after two dates and what precedes them in version 1.
fn times(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    match bytes.first()? {
        0 => Some((big_endian(bytes, at, 4)?, big_endian(bytes, at + 4, 4)?)),
        _ => Some((
            big_endian(bytes, at + 8, 4)?,
            big_endian(bytes, at + 12, 8)?,
        )),
    }
}

/// The default duration of a fragment's samples, if it gives one.
fn usual_of_fragment(bytes: &[u8]) -> Option<u64> {
    let flags = bytes.get(3)?;
    let before = if flags & 1 == 0 { 0 } else { 8 } + if flags & 2 == 0 { 0 } else { 4 };
    (flags & 8 != 0).then(|| big_endian(bytes, 8 + before, 4))?
}

// === impl Mp4Track ===

impl Mp4Track {
    fn leaf(&mut self, kind: &[u8], bytes: &[u8]) {
        let four = |at| big_endian(bytes, at, 4).unwrap_or_default();
        match kind {
            b"tkhd" => {
                let dates = if bytes.first() == Some(&0) { 8 } else { 16 };
                self.id = four(4 + dates);
            }
            b"mdhd" => {
                let (scale, said) = times(bytes, 12).unwrap_or_default();
                // All ones mean an unknown duration.
                let open = said == u64::from(u32::MAX) || said == u64::MAX;
                (self.scale, self.said) = (scale, if open { 0 } else { said });
            }
            b"hdlr" => self.sound |= bytes.get(8..12) == Some(b"soun"),
            b"stsd" => self.describes(bytes.get(8..).unwrap_or_default()),
            b"stsz" | b"stz2" => self.sizes = four(8),
            b"stts" => {
                for entry in bytes.get(8..).unwrap_or_default().chunks_exact(8) {
                    let count = big_endian(entry, 0, 4).unwrap_or_default();
                    let each = big_endian(entry, 4, 4).unwrap_or_default();
                    self.add(count, each);
                }
            }
            b"elst" => self.edits(bytes),
            _ => {}
        }
    }

    fn add(&mut self, count: u64, each: u64) {
        self.samples = self.samples.saturating_add(count);
        self.units = self.units.saturating_add(count.saturating_mul(each));
    }

    /// A run of samples in a fragment.
    fn run(&mut self, bytes: &[u8], usual: u64) {
        let Some(flags) = big_endian(bytes, 1, 3) else {
            return;
        };
        let field = |bit: u64| if flags & bit == 0 { 0 } else { 4 };
        let count = big_endian(bytes, 4, 4).unwrap_or_default();
        let first = 8 + field(1) + field(4);
        let row = field(0x100) + field(0x200) + field(0x400) + field(0x800);
        if field(0x100) == 0 {
            return self.add(count, usual);
        }
        let rows = bytes.get(first..).unwrap_or_default().chunks_exact(row);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for row in rows.take(count) {
            self.add(1, big_endian(row, 0, 4).unwrap_or_default());
        }
    }

    /// The parts that are played. An empty edit plays nothing.
    fn edits(&mut self, bytes: &[u8]) {
        let width = if bytes.first() == Some(&0) { 4 } else { 8 };
        let rows = bytes.get(8..).unwrap_or_default();
        for row in rows.chunks_exact(width * 2 + 4) {
            let empty = row
                .get(width..width * 2)
                .map(|at| at.iter().all(|byte| *byte == 0xFF));
            if empty == Some(false) {
                let len = big_endian(row, 0, width).unwrap_or_default();
                self.edits = self.edits.saturating_add(len);
            }
        }
    }

    /// The codec, from the first description.
    fn describes(&mut self, entry: &[u8]) {
        self.rate = big_endian(entry, 32, 2).unwrap_or_default();
        self.frame = match entry.get(4..8) {
            Some(b"mp4a") => mp4a(entry, self.rate),
            Some(b"samr") => Some(160),
            Some(b"sawb") => Some(320),
            _ => None,
        };
    }

    fn nanos(&self, edit_scale: u64) -> u64 {
        let samples = self.samples.max(self.sizes);
        let counted = self.frame.map_or(0, |frame| {
            samples_nanos(samples.saturating_mul(frame), self.rate)
        });
        // A table is more exact than the header with its sum.
        let units = if self.units == 0 {
            self.said
        } else {
            self.units
        };
        let table = nanos_of(units, self.scale);
        counted.max(table).max(nanos_of(self.edits, edit_scale))
    }
}

/// Audio samples per frame of an elementary stream: AAC except its low-delay kinds, or layer 3.
fn mp4a(entry: &[u8], rate: u64) -> Option<u64> {
    let at = memchr::memmem::find(entry, b"esds")?;
    // Descriptors: a kind, a length of up to four bytes, and the content.
    let mut rest = entry.get(at + 8..)?;
    let mut object = 0;
    loop {
        let (kind, body) = rest.split_first()?;
        let more = body.iter().take(3).take_while(|byte| **byte & 0x80 != 0);
        let body = body.get(more.count() + 1..)?;
        rest = match kind {
            // A stream: its id, and flags for optional fields.
            3 => body.get(3..)?,
            4 => {
                object = *body.first()?;
                body.get(13..)?
            }
            5 => {
                let low_delay = matches!(body.first()? >> 3, 23 | 31);
                return Some(match object {
                    0x69 | 0x6B => layer3(rate),
                    _ if low_delay => 480,
                    _ => 1_024,
                });
            }
            _ => return matches!(object, 0x69 | 0x6B).then(|| layer3(rate)),
        };
    }
}

const fn layer3(rate: u64) -> u64 {
    if rate < 32_000 { 576 } else { 1_152 }
}
