//! A request body that is read to its end even if its call was refused early. Otherwise the server would close the
//! connection while the client is still sending, and the client would see a reset instead of the response.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use crate::framing::BodyEndMarker;

/// The most a refused client may still send before it is cut off.
const DISCARD_BYTES_MAX: u64 = 256 * 1024 * 1024;
const DISCARD_MAX: Duration = Duration::from_secs(10);

/// The body of one request.
pub(crate) struct LingeringBody {
    body: Option<Incoming>,
    tasks: TaskTracker,
    /// The client waits for `100 Continue` and has not sent a body that would have to be read.
    expects_continue: bool,
    /// Whether its end has been read.
    ended: bool,
    body_end: Option<BodyEndMarker>,
}

impl LingeringBody {
    /// `waits` means that the client waits for `100 Continue`. The rest of the body is read in `tasks`; `next` is kept
    /// until that is done.
    pub(crate) fn new(
        body: Incoming,
        waits: bool,
        tasks: &TaskTracker,
        next: BodyEndMarker,
    ) -> Self {
        Self {
            body: Some(body),
            tasks: tasks.clone(),
            expects_continue: waits,
            ended: false,
            body_end: Some(next),
        }
    }
}

impl Body for LingeringBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(Incoming::size_hint)
            .unwrap_or_default()
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        let (Some(body), Some(next)) = (self.body.take(), self.body_end.take()) else {
            return;
        };
        if self.ended || body.is_end_stream() {
            next.body_ended();
        } else if !self.expects_continue {
            let discarded = tokio::time::timeout(DISCARD_MAX, discard(body, next));
            self.tasks.spawn(discarded);
        }
    }
}

async fn discard(mut body: Incoming, next: BodyEndMarker) {
    let mut left = DISCARD_BYTES_MAX;
    loop {
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return,
            None => break next.body_ended(),
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else {
            return;
        };
        left = rest;
    }
}
