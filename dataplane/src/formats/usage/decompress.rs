//! A provider may compress its answer though it was asked not to. The answer goes on as it came; what is
//! heard of it is unpacked, in small pieces and up to a limit.

use std::{fmt, io::Write as _};

use flate2::write::MultiGzDecoder;

/// What an answer begins with that is compressed with gzip; no JSON or event does.
pub(super) const GZIP: u8 = 0x1F;

/// One byte may become a thousand, so a piece becomes a megabyte at most.
const PIECE_BYTES: usize = 1024;
/// Longer than any answer that was made to be read.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Unpacks what comes in pieces.
pub(super) struct Unpack {
    /// None once it can go on no more.
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

    /// Hands over what is inside the next bytes.
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

    /// Whether something of it could not be unpacked.
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
