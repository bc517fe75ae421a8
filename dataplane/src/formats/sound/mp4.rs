//! MP4: boxes in boxes, whole or in fragments. Samples stand in tables, and a table is a file's word like any other; but
//! a sample is as long as its codec has it, whatever the table says, and what is played twice counts twice.

use super::{big_endian, claim, nanos_of, samples_nanos};

/// What a file begins with.
pub(super) const FIRST: [&[u8]; 8] = [
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof",
];
const MASTERS: [&[u8]; 9] = [
    b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf",
];
/// Tracks of a file; those beyond are not looked at.
const TRACKS_MAX: usize = 16;

#[derive(Debug, Default)]
struct Mp4Reader {
    tracks: Vec<Mp4Track>,
    /// Units of a second, in lists of edits.
    scale: u64,
    /// The track of the fragment that is read, by its place.
    fragment: Option<usize>,
    /// How long a sample of it is where none says.
    usual: u64,
}

#[derive(Debug, Default)]
struct Mp4Track {
    id: u64,
    sound: bool,
    /// Units of a second, in tables of samples.
    scale: u64,
    /// What the table of samples comes to, in such units.
    units: u64,
    said: u64,
    samples: u64,
    /// Samples whose sizes are told.
    sizes: u64,
    usual: u64,
    edits: u64,
    rate: u64,
    /// Samples of sound in one of the file's; none where that is not known.
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

/// The kind of the box that begins here, its length without its head, and what follows that.
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

// === impl Walk ===

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

/// Units of a second and a length, after two dates and what stands before these in the first version.
fn times(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    match bytes.first()? {
        0 => Some((big_endian(bytes, at, 4)?, big_endian(bytes, at + 4, 4)?)),
        _ => Some((
            big_endian(bytes, at + 8, 4)?,
            big_endian(bytes, at + 12, 8)?,
        )),
    }
}

/// How long a sample of a fragment is, where the fragment says so.
fn usual_of_fragment(bytes: &[u8]) -> Option<u64> {
    let flags = bytes.get(3)?;
    let before = if flags & 1 == 0 { 0 } else { 8 } + if flags & 2 == 0 { 0 } else { 4 };
    (flags & 8 != 0).then(|| big_endian(bytes, 8 + before, 4))?
}

// === impl Track ===

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
                // A length that is not known is said by ones alone.
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

    /// A run of samples of a fragment.
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

    /// What is played; an empty edit plays nothing.
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

    /// The codec, by the first of its descriptions.
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
        // A table is more exact than the head that sums it up.
        let units = if self.units == 0 {
            self.said
        } else {
            self.units
        };
        let table = nanos_of(units, self.scale);
        counted.max(table).max(nanos_of(self.edits, edit_scale))
    }
}

/// Samples of sound in one of an elementary stream: AAC, save its kinds of low delay, or layer 3.
fn mp4a(entry: &[u8], rate: u64) -> Option<u64> {
    let at = memchr::memmem::find(entry, b"esds")?;
    // Descriptors: a kind, a length of up to four bytes, and what it describes.
    let mut rest = entry.get(at + 8..)?;
    let mut object = 0;
    loop {
        let (kind, body) = rest.split_first()?;
        let more = body.iter().take(3).take_while(|byte| **byte & 0x80 != 0);
        let body = body.get(more.count() + 1..)?;
        rest = match kind {
            // Of a stream: its id, and flags of what else there is.
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
