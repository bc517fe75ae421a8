//! A provider may compress its response although it was asked not to. The response is forwarded unchanged. To read its
//! usage, it is decompressed in small pieces, up to a limit.

use std::{fmt, io::Write as _};

use flate2::write::MultiGzDecoder;

/// The first byte of gzip. No JSON or event stream begins with it.
pub(super) const GZIP: u8 = 0x1F;

/// One byte may decompress to a thousand, so a piece becomes 1 MB at most.
const PIECE_BYTES: usize = 1024;
/// Longer than any answer meant to be read.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Decompresses a body that arrives in pieces.
pub(super) struct Unpack {
    /// `None` once it cannot continue.
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    bytes: usize,
}

impl Unpack {
    pub(super) fn new() -> Self {
        Self {
            decoder: Some(MultiGzDecoder::new(Vec::new())),
            bytes: 0,
        }
    }

    /// Decompresses the next bytes and passes them to `hear`.
    pub(super) fn push(&mut self, chunk: &[u8], mut hear: impl FnMut(&[u8])) {
        for piece in chunk.chunks(PIECE_BYTES) {
            let Some(decoder) = &mut self.decoder else {
                return;
            };
            let written = decoder.write_all(piece).and_then(|()| decoder.flush());
            let unpacked = decoder.get_mut();
            self.bytes = self.bytes.saturating_add(unpacked.len());
            hear(unpacked);
            unpacked.clear();
            if written.is_err() || self.bytes > UNPACKED_BYTES_MAX {
                self.decoder = None;
            }
        }
    }

    /// Whether part of it could not be decompressed.
    pub(super) fn failed(&self) -> bool {
        self.decoder.is_none()
    }
}

impl fmt::Debug for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpack")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
