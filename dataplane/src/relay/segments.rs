//! A request's body on its way to a provider.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A request body in a few pieces: the client's own bytes with changed parts between them. Cloning it counts
/// references, so each attempt gets its own.
#[derive(Debug, Clone)]
pub(crate) struct BodySegments {
    pieces: Arc<[Bytes]>,
    /// The piece that is sent next.
    next: usize,
    left: u64,
    /// Whether a compressed body is sent uncompressed.
    unpacked: bool,
    trailers: Option<Box<HeaderMap>>,
}

impl BodySegments {
    /// The pieces in order; empty ones are left out.
    pub(crate) fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Arc<[Bytes]> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            pieces,
            next: 0,
            left,
            unpacked: false,
            trailers: None,
        }
    }

    /// The same, followed by trailers.
    pub(crate) fn followed_by(self, trailers: Option<Box<HeaderMap>>) -> Self {
        Self { trailers, ..self }
    }

    /// The same, for a body that came compressed.
    pub(super) fn unpacked(self) -> Self {
        Self {
            unpacked: true,
            ..self
        }
    }

    /// Whether the head still calls it compressed although it is not.
    pub(super) const fn is_unpacked(&self) -> bool {
        self.unpacked
    }

    /// Bytes in all.
    pub(crate) const fn len(&self) -> u64 {
        self.left
    }
}

impl Body for BodySegments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.get(self.next).cloned() else {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(*trailers))));
        };
        self.next += 1;
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.next >= self.pieces.len() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
