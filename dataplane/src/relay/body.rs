//! An answer's body on its way to the client. Frames go through as they came, at once; the meter
//! listens. Only when usage was asked for on the client's behalf are events looked at one by one, to
//! keep back what the client did not ask for.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::client::Reply;
use super::meter::{Ending, Meter};
use crate::formats::{
    sse::Events,
    usage::{is_usage_only_chunk, strip_null_usage},
};

/// The body that is relayed.
pub(super) struct Relayed {
    read: VecDeque<Frame<Bytes>>,
    rest: Reply,
    meter: Option<Meter>,
    edits: Option<Events>,
    idle: Duration,
    /// Armed when the provider is first waited for; re-armed only when it fires, so that a chunk
    /// costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    last_frame: Instant,
    /// The break that is told next.
    broken: Option<io::Error>,
}

impl Relayed {
    pub(super) fn new(
        read: VecDeque<Frame<Bytes>>,
        rest: Reply,
        meter: Meter,
        edits: bool,
        idle: Duration,
    ) -> Self {
        Self {
            read,
            rest,
            meter: Some(meter),
            edits: edits.then(Events::new),
            idle,
            timer: None,
            last_frame: Instant::now(),
            broken: None,
        }
    }

    fn finish(&mut self, ending: Ending) {
        if let Some(meter) = self.meter.take() {
            meter.finish(ending);
        }
    }

    /// Whether the provider has said everything, and known by its length.
    fn all_read(&self) -> bool {
        self.edits.is_none() && self.read.is_empty() && self.rest.is_end_stream()
    }

    /// What of a chunk goes to the client; none when all of it is kept back.
    fn pass(&mut self, chunk: Bytes) -> Option<Bytes> {
        let last = self.all_read();
        if let Some(meter) = &mut self.meter {
            meter.listen(&chunk, last);
        }
        if last {
            // The bill is closed before the client has the end: hyper drops a body of known length
            // after its last byte without asking for more.
            self.finish(Ending::Complete);
        }
        match &mut self.edits {
            None => Some(chunk),
            Some(events) => joined(events.push(chunk).into_iter().filter_map(edited)),
        }
    }

    /// Waits for the provider, but not for ever.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.rest).poll_frame(cx) {
            if self.timer.is_some() {
                self.last_frame = Instant::now();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let first_wait = self.timer.is_none();
        let idle = self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if first_wait {
            self.last_frame = Instant::now();
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = self.last_frame + self.idle;
            if Instant::now() >= deadline {
                return Poll::Ready(Some(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the provider fell silent",
                ))));
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Ends the body; in a stream with edits, what has not become a whole event is sent as it is.
    fn ended(&mut self) -> Option<Bytes> {
        let rest = self
            .edits
            .take()
            .and_then(|events| joined(events.finish().and_then(edited).into_iter()));
        self.finish(Ending::Complete);
        rest
    }
}

impl Body for Relayed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            let frame = match this.read.pop_front() {
                Some(frame) => Some(Ok(frame)),
                None => ready!(this.poll_rest(cx)),
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Some(data) = this.pass(data) {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => {
                    // The server throws away what it has not yet written when a body fails. Coming
                    // back once lets it write what was delivered before the break.
                    this.finish(Ending::Cut);
                    this.broken = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => return Poll::Ready(this.ended().map(|data| Ok(Frame::data(data)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // With the meter gone, everything has been said. Before that the end is still to be seen,
        // for it is what settles the call.
        self.meter.is_none() && self.edits.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.edits.is_some() {
            return SizeHint::default();
        }
        let read: u64 = self
            .read
            .iter()
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64)
            .sum();
        let rest = self.rest.size_hint();
        match rest.exact() {
            Some(rest) => SizeHint::with_exact(rest + read),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.finish(if self.all_read() {
            Ending::Complete
        } else {
            Ending::Abandoned
        });
    }
}

/// An event as the client may see it; none for the usage chunk it did not ask for.
fn edited(event: Bytes) -> Option<Bytes> {
    if is_usage_only_chunk(&event) {
        None
    } else {
        Some(strip_null_usage(event))
    }
}

/// Events of one chunk leave in one piece, as they came.
fn joined(mut events: impl Iterator<Item = Bytes>) -> Option<Bytes> {
    let first = events.next()?;
    let Some(second) = events.next() else {
        return Some(first);
    };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    events.for_each(|event| all.extend_from_slice(&event));
    Some(all.freeze())
}
