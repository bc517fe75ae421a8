//! Decompresses bodies in small steps, so that the caller can stop, count and yield. Bodies that two decoders could
//! read differently are refused: trailing streams, wrong checksums and lengths, and deflate that is valid with and
//! without its wrapper.

use std::io::{self, Cursor, Read};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;

/// The window that a decoder of `Content-Encoding: zstd` must support, and no more (RFC 9659, 3).
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
const FLATE_WINDOW_BYTES: usize = 64 * 1024;
/// Code tables and the like, for any decoder.
const TABLE_BYTES: usize = 128 * 1024;
/// Bodies up to this size may have any compression ratio.
const UNPACKED_BYTES_FREE: usize = 4 * 1024 * 1024;
/// Prompts compress to a tenth, long conversations that repeat themselves to a thirtieth.
const RATIO_MAX: usize = 100;

/// The compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Brotli,
    Deflate,
    Gzip,
    Zstd,
}

/// Decompresses one body.
pub(crate) struct Decompressor {
    decoder: Decoder,
    packed_bytes: usize,
}

/// The body is invalid, or has trailing data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DecompressError;

enum Decoder {
    Brotli(Box<Brotli>),
    Deflate(ZlibDecoder<Cursor<Bytes>>),
    Gzip(Box<GzDecoder<Cursor<Bytes>>>),
    Zstd(Box<Zstd>),
}

struct Brotli {
    packed: Bytes,
    at: usize,
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    done: bool,
}

struct Zstd {
    reader: StreamingDecoder<Cursor<Bytes>, ruzstd::decoding::FrameDecoder>,
    /// The length given in its header.
    said: Option<u64>,
    made: u64,
}

// === impl ContentCoding ===

impl ContentCoding {
    /// The coding with this name in `Content-Encoding`.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "br" => Some(Self::Brotli),
            "deflate" => Some(Self::Deflate),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The size limit of a decompressed body, given its compressed size.
pub(crate) fn bytes_max(packed_bytes: usize, body_bytes_max: usize) -> usize {
    let tightest = packed_bytes.saturating_mul(RATIO_MAX);
    tightest.max(UNPACKED_BYTES_FREE).min(body_bytes_max)
}

// === impl Decompressor ===

impl Decompressor {
    /// # Errors
    /// Errors if the beginning is invalid.
    pub(crate) fn new(coding: ContentCoding, packed: Bytes) -> Result<Self, DecompressError> {
        let packed_bytes = packed.len();
        let decoder = match coding {
            ContentCoding::Brotli => Decoder::Brotli(Box::new(Brotli {
                packed,
                at: 0,
                // Without large windows, which `br` does not have (RFC 7932): they allow a ring of 1 GiB.
                state: BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                ),
                done: false,
            })),
            ContentCoding::Deflate if is_raw_as_well(&packed) => return Err(DecompressError),
            ContentCoding::Deflate => Decoder::Deflate(ZlibDecoder::new(Cursor::new(packed))),
            ContentCoding::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(Cursor::new(packed)))),
            ContentCoding::Zstd => Decoder::Zstd(Box::new(Zstd::new(packed)?)),
        };
        Ok(Self {
            decoder,
            packed_bytes,
        })
    }

    /// Upper bound on its memory, in addition to the compressed and decompressed body.
    pub(crate) fn memory_bytes(&self) -> usize {
        let window = match &self.decoder {
            // Twice, because it is moved when it grows.
            Decoder::Brotli(it) => it.window_bytes() * 2,
            Decoder::Deflate(_) | Decoder::Gzip(_) => FLATE_WINDOW_BYTES,
            Decoder::Zstd(it) => it.window_bytes() * 2,
        };
        window + TABLE_BYTES
    }

    /// Decompresses at most this many bytes. Returns 0 at the end. Errors if anything is left over then.
    pub(crate) fn step(
        &mut self,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        let start = out.len();
        out.resize(start + bytes_max, 0);
        let space = out.get_mut(start..).unwrap_or_default();
        let made = match &mut self.decoder {
            Decoder::Brotli(it) => it.read(space),
            Decoder::Deflate(it) => it.read(space).map_err(damaged),
            Decoder::Gzip(it) => it.read(space).map_err(damaged),
            Decoder::Zstd(it) => it.read(space),
        }?;
        out.truncate(start + made);
        if made == 0 && self.position() != self.packed_bytes as u64 {
            return Err(DecompressError);
        }
        Ok(made)
    }

    fn position(&self) -> u64 {
        match &self.decoder {
            Decoder::Brotli(it) => it.at as u64,
            Decoder::Deflate(it) => it.get_ref().position(),
            Decoder::Gzip(it) => it.get_ref().position(),
            Decoder::Zstd(it) => it.reader.get_ref().position(),
        }
    }
}

// === impl Brotli ===

impl Brotli {
    /// The window size from the first bits of the stream (RFC 7932, 9.1).
    fn window_bytes(&self) -> usize {
        let first = u32::from(self.packed.first().copied().unwrap_or_default());
        let bits = match (first & 1, first >> 1 & 7, first >> 4 & 7) {
            (0, ..) => 16,
            (_, 0, 0) => 17,
            (_, 0, more) => 8 + more,
            (_, more, _) => 17 + more,
        };
        1 << bits
    }

    fn read(&mut self, space: &mut [u8]) -> Result<usize, DecompressError> {
        if self.done {
            return Ok(0);
        }
        let mut left = self.packed.len().saturating_sub(self.at);
        let (mut free, mut made, mut total) = (space.len(), 0, 0);
        let came = BrotliDecompressStream(
            &mut left,
            &mut self.at,
            &self.packed,
            &mut free,
            &mut made,
            space,
            &mut total,
            &mut self.state,
        );
        match came {
            BrotliResult::ResultSuccess => self.done = true,
            BrotliResult::NeedsMoreOutput if made > 0 => {}
            // It is truncated or invalid.
            BrotliResult::NeedsMoreInput
            | BrotliResult::NeedsMoreOutput
            | BrotliResult::ResultFailure => return Err(DecompressError),
        }
        Ok(made)
    }
}

// === impl Zstd ===

impl Zstd {
    fn new(packed: Bytes) -> Result<Self, DecompressError> {
        let has_length = packed.get(4).is_some_and(|first| first >> 5 != 0);
        let reader =
            StreamingDecoder::new_with_max_window_size(Cursor::new(packed), ZSTD_WINDOW_BYTES_MAX);
        let reader = reader.map_err(|_| DecompressError)?;
        let said = has_length.then(|| reader.decoder.content_size());
        Ok(Self {
            reader,
            said,
            made: 0,
        })
    }

    /// The window size from the header. A single-segment frame has no window of its own.
    fn window_bytes(&self) -> usize {
        let head = self.reader.get_ref().get_ref();
        let descriptor = head.get(4).copied().unwrap_or_default();
        let said = if descriptor & 0b10_0000 != 0 {
            self.said.unwrap_or_default()
        } else {
            // Exponent and mantissa, in eighths (RFC 8878, 3.1.1.1.2).
            let window = u64::from(head.get(5).copied().unwrap_or_default());
            let base = 1u64 << (10 + (window >> 3));
            base + base / 8 * (window & 7)
        };
        usize::try_from(said.min(ZSTD_WINDOW_BYTES_MAX)).unwrap_or_default()
    }

    fn read(&mut self, space: &mut [u8]) -> Result<usize, DecompressError> {
        let made = self.reader.read(space).map_err(damaged)?;
        self.made = self.made.saturating_add(made as u64);
        if made > 0 {
            return Ok(made);
        }
        let frame = &self.reader.decoder;
        let sum = frame.get_checksum_from_data();
        let sound = sum.is_none() || sum == frame.get_calculated_checksum();
        let whole = self.said.is_none_or(|said| said == self.made);
        (sound && whole && frame.is_finished())
            .then_some(0)
            .ok_or(DecompressError)
    }
}

fn damaged(_: io::Error) -> DecompressError {
    DecompressError
}

/// Whether zlib's wrapper also reads as the header of a stored raw deflate block. Some servers take `deflate` as one,
/// some as the other.
fn is_raw_as_well(packed: &[u8]) -> bool {
    match packed {
        [first, length_low, length_high, check_low, check_high, ..] => {
            first & 0b111 < 2 && length_low ^ check_low == 0xFF && length_high ^ check_high == 0xFF
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    const BROTLI: &[u8] =
        b"\x1b\x10\x00\xf8\xa5\x45\x74\xf6\xfa\xa6\x24\x93\x6c\x52\x2e\x0c\xd1\x5c\x70";
    const BROTLI_OF_SPACES: &[u8] = b"\x9b\xff\xff\x7f\xf8\x25\x40\xe2\xb1\x40\x20\xf7\xfe\x0f";

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::default());
        out.write_all(body).unwrap();
        out.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
        out.write_all(body).unwrap();
        out.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        compress_to_vec(body, CompressionLevel::Fastest)
    }

    fn unpacked(
        coding: ContentCoding,
        packed: &[u8],
        step: usize,
    ) -> Result<Vec<u8>, DecompressError> {
        let mut unpacking = Decompressor::new(coding, Bytes::copy_from_slice(packed))?;
        let mut body = Vec::new();
        while unpacking.step(step, &mut body)? > 0 {}
        Ok(body)
    }

    fn all(body: &[u8]) -> [(ContentCoding, Vec<u8>); 3] {
        [
            (ContentCoding::Gzip, gzip(body)),
            (ContentCoding::Deflate, deflate(body)),
            (ContentCoding::Zstd, zstd(body)),
        ]
    }

    #[test]
    fn codings_are_known_by_their_names() {
        for coding in [
            ContentCoding::Brotli,
            ContentCoding::Deflate,
            ContentCoding::Gzip,
            ContentCoding::Zstd,
        ] {
            assert_eq!(ContentCoding::of(coding.name()), Some(coding));
        }
        assert_eq!(ContentCoding::of("X-GZIP"), Some(ContentCoding::Gzip));
        for name in ["", "identity", "compress", "dcz", "gzip2"] {
            assert_eq!(ContentCoding::of(name), None, "{name}");
        }
    }

    #[test]
    fn one_sound_piece_alone_is_taken() {
        let body = br#"{"model":"house"}"#;
        let brotli = (ContentCoding::Brotli, BROTLI.to_vec());
        for (coding, packed) in all(body).into_iter().chain([brotli]) {
            assert_eq!(unpacked(coding, &packed, 5).unwrap(), body, "{coding:?}");
            let followed = [
                [packed.as_slice(), b" "].concat(),
                [packed.as_slice(), &packed].concat(),
                [packed.as_slice(), &[0; 8]].concat(),
            ];
            for more in followed {
                assert_eq!(
                    unpacked(coding, &more, 64),
                    Err(DecompressError),
                    "{coding:?}"
                );
            }
            for end in 0..packed.len() {
                assert_eq!(
                    unpacked(coding, &packed[..end], 64),
                    Err(DecompressError),
                    "{coding:?} to {end}"
                );
            }
        }
    }

    #[test]
    fn a_checksum_or_length_that_does_not_fit_is_seen() {
        for (coding, mut packed) in all(&b"hello ".repeat(100)) {
            let last = packed.len() - 1;
            packed[last] ^= 1;
            assert_eq!(
                unpacked(coding, &packed, 64),
                Err(DecompressError),
                "{coding:?}"
            );
        }
        // The header declares one byte more than the block has: RFC 8878, 3.1.1.
        let honest = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00ab";
        assert_eq!(unpacked(ContentCoding::Zstd, honest, 64).unwrap(), b"ab");
        let lying = b"\x28\xb5\x2f\xfd\x20\x03\x11\x00\x00ab";
        assert_eq!(
            unpacked(ContentCoding::Zstd, lying, 64),
            Err(DecompressError)
        );
    }

    #[test]
    fn deflate_has_its_wrapper_and_nothing_can_be_read_without_it() {
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(b"{}").unwrap();
        assert!(unpacked(ContentCoding::Deflate, &raw.finish().unwrap(), 64).is_err());
        assert!(is_raw_as_well(b"\x78\x01\x00\xfe\xff..."));
        assert!(!is_raw_as_well(&deflate(b"{}")));
    }

    #[test]
    fn a_window_is_counted_and_has_an_end() {
        let kib = 1024;
        let window = |coding, packed: &[u8]| {
            let unpacking = Decompressor::new(coding, Bytes::copy_from_slice(packed));
            unpacking.map(|it| it.memory_bytes() - TABLE_BYTES)
        };
        assert_eq!(window(ContentCoding::Brotli, b"\x0b"), Ok(2 * 4096 * kib));
        assert_eq!(window(ContentCoding::Brotli, b"\x00"), Ok(2 * 64 * kib));
        assert_eq!(
            window(ContentCoding::Zstd, b"\x28\xb5\x2f\xfd\x00\x68"),
            Ok(2 * 8192 * kib)
        );
        assert_eq!(
            window(ContentCoding::Zstd, b"\x28\xb5\x2f\xfd\x00\x69"),
            Err(DecompressError)
        );
        assert_eq!(
            window(ContentCoding::Zstd, b"\x28\xb5\x2f\xfd\x00\xff"),
            Err(DecompressError)
        );
    }

    #[test]
    fn a_brotli_window_is_none_of_the_large_ones() {
        // Windows of 16 and 25 bits, each with `{}` stored; decoders with large windows accept both.
        let small = b"\x10\x00\x10{}\x03";
        assert_eq!(unpacked(ContentCoding::Brotli, small, 64).unwrap(), b"{}");
        let large = b"\x11\x19\x02\x00\x02{}\x03";
        assert_eq!(
            unpacked(ContentCoding::Brotli, large, 64),
            Err(DecompressError)
        );
    }

    #[test]
    fn steps_keep_to_their_size_whatever_comes_of_few_bytes() {
        let spaces = vec![b' '; 8 << 20];
        let brotli = (ContentCoding::Brotli, BROTLI_OF_SPACES.to_vec());
        for (coding, packed) in all(&spaces).into_iter().chain([brotli]) {
            let mut unpacking = Decompressor::new(coding, packed.into()).unwrap();
            let mut out = Vec::new();
            let made = unpacking.step(1000, &mut out).unwrap();
            assert!((1..=1000).contains(&made), "{coding:?}: {made}");
        }
    }

    #[test]
    fn what_few_bytes_may_become_has_a_limit() {
        assert_eq!(bytes_max(10, usize::MAX), UNPACKED_BYTES_FREE);
        assert_eq!(bytes_max(1 << 20, usize::MAX), 100 << 20);
        assert_eq!(bytes_max(1 << 20, 1000), 1000);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(body in prop::collection::vec(any::<u8>(), 0..2000), times in 1usize..200, step in 1usize..70_000) {
            let body = body.repeat(times);
            for (coding, packed) in all(&body) {
                prop_assert_eq!(&unpacked(coding, &packed, step).unwrap(), &body);
            }
        }

        #[test]
        fn no_bytes_make_it_fail_badly(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let sound = all(&noise).into_iter().chain([(ContentCoding::Brotli, BROTLI.to_vec())]);
            for (coding, mut packed) in sound {
                for (at, byte) in &edits {
                    let at = at.index(packed.len());
                    packed[at] = *byte;
                }
                for packed in [&packed, &noise] {
                    let Ok(mut unpacking) = Decompressor::new(coding, Bytes::copy_from_slice(packed)) else { continue };
                    let mut out = Vec::new();
                    while out.len() < 1 << 20 && unpacking.step(4096, &mut out).is_ok_and(|made| made > 0) {}
                }
            }
        }
    }
}
