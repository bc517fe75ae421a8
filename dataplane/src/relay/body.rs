//! A response's body on its way to the client. Frames are forwarded at once and unchanged, and metered as they pass. The
//! body of a request is read in `request`.
//!
//! Event streams of a known protocol are forwarded event by event, so that a stream that breaks off inside an event can
//! be ended the way its protocol ends a failed stream.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::{
    abandoned::{AbandonBounds, AbandonedResponse, UnheardBody, client_is_gone},
    buffer_budget::BufferReservation,
    key_mask::{self, KeyMasker},
    meter::ResponseMeter,
    timeouts::{BodyTimers, TimerEvent},
    upstream_client::UpstreamBody,
};
use crate::{
    Config,
    formats::{
        Route,
        own_bodies::broken_stream,
        sse::{EventCutter, is_quiet},
        usage::without_usage,
    },
    telemetry::ResponseEnd,
};

static KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// The body that is relayed.
pub(super) struct RelayedBody {
    read: VecDeque<Frame<Bytes>>,
    /// `None` once no more of it is needed.
    rest: Option<UpstreamBody>,
    meter: Option<ResponseMeter>,
    stream: Option<EventStream>,
    key_mask: KeyMasker,
    timers: BodyTimers,
    bounds: AbandonBounds,
    /// The error to return next.
    broken: Option<io::Error>,
}

/// What watches and changes a body on its way.
pub(super) struct BodyWatch {
    pub(super) meter: ResponseMeter,
    pub(super) key_mask: KeyMasker,
    /// `None` if it is forwarded as it comes.
    pub(super) stream: Option<EventStream>,
}

/// An event stream on a route whose protocol is known.
pub(super) struct EventStream {
    events: EventCutter,
    route: Route,
    /// Whether the gateway asked for usage on the client's behalf, and has to hide it.
    edits: bool,
    /// For the buffered event.
    reservation: BufferReservation,
}

/// What happens next to the body.
enum BodyEvent {
    Frame(Option<Result<Frame<Bytes>, io::Error>>),
    Due(TimerEvent),
    /// The gateway stops.
    Stop,
}

/// Why a response ends early.
#[derive(Clone, Copy)]
enum BodyBreak {
    /// The provider broke off.
    Off,
    /// The provider fell silent.
    Silence,
    /// The gateway stops.
    Stop,
}

impl BodyBreak {
    const fn message(self) -> &'static str {
        match self {
            Self::Off => "The upstream failed in the middle of its answer: it broke off",
            Self::Silence => "The upstream failed in the middle of its answer: it fell silent",
            Self::Stop => {
                "The gateway is shutting down in the middle of the answer; please try again"
            }
        }
    }

    const fn ending(self) -> ResponseEnd {
        match self {
            Self::Off | Self::Silence => ResponseEnd::Cut,
            Self::Stop => ResponseEnd::Stopped,
        }
    }

    /// The event that reports it to the client, where the protocol has one.
    fn event(self, route: Route) -> Option<Bytes> {
        let (status, code) = match self {
            Self::Off => (StatusCode::BAD_GATEWAY, "upstream_error"),
            Self::Silence => (StatusCode::GATEWAY_TIMEOUT, "upstream_error"),
            Self::Stop => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        broken_stream(route, status.as_u16(), code, self.message())
    }
}

impl EventStream {
    pub(super) fn new(route: Route, edits: bool, reservation: BufferReservation) -> Self {
        Self {
            events: EventCutter::new(),
            route,
            edits,
            reservation,
        }
    }

    /// Takes a chunk and returns what may be forwarded: whole events, as long as the rest can be buffered.
    fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        // What was forwarded is gone by now, because more is polled only then.
        self.reservation.shrink(self.events.kept());
        let run = self.events.push(chunk);
        if self.reservation.grow_to(self.events.kept()).is_ok() {
            return run;
        }
        let tail = self.events.release().unwrap_or_default();
        Some(match run {
            Some(run) => [run, tail].concat().into(),
            None => tail,
        })
    }

    /// Feeds events to the meter and returns the bytes to forward.
    fn show(&self, run: Bytes, meter: &mut Option<ResponseMeter>) -> Option<Bytes> {
        let run = match meter {
            Some(meter) => {
                meter.observe(&run, false);
                match meter.mask() {
                    Some(mask) => mask.cover(run),
                    None => run,
                }
            }
            None => run,
        };
        if self.edits {
            without_usage(run)
        } else {
            Some(run)
        }
    }

    /// Returns what is held back.
    fn release(&mut self, meter: &mut Option<ResponseMeter>) -> Option<Bytes> {
        let tail = self.events.release()?;
        self.show(tail, meter)
    }
}

impl RelayedBody {
    pub(super) fn new(
        read: VecDeque<Frame<Bytes>>,
        rest: UpstreamBody,
        watch: BodyWatch,
        config: &Config,
    ) -> Self {
        let BodyWatch {
            meter,
            key_mask,
            stream,
        } = watch;
        Self {
            read,
            rest: Some(rest),
            meter: Some(meter),
            stream,
            key_mask,
            timers: BodyTimers::new(config.limits.idle, config.limits.keepalive),
            bounds: AbandonBounds::of(config),
            broken: None,
        }
    }

    fn finish(&mut self, ending: ResponseEnd) {
        if let Some(meter) = self.meter.take() {
            meter.finish(ending);
        }
    }

    /// Whether everything has arrived from the provider and gone to the client.
    fn all_passed(&self) -> bool {
        let ended = self.rest.as_ref().is_none_or(Body::is_end_stream);
        let held = self
            .stream
            .as_ref()
            .is_some_and(|stream| stream.events.holds());
        ended && self.read.is_empty() && !held
    }

    /// Returns what to forward of a chunk, or `None` if all of it is held back.
    fn pass(&mut self, chunk: Bytes) -> Option<Bytes> {
        let Some(stream) = &mut self.stream else {
            if let (Some(gap), Some(meter)) = (self.timers.came(false), &mut self.meter) {
                meter.whole_gap(gap);
            }
            let last = self.all_passed();
            if let Some(meter) = &mut self.meter {
                meter.observe(&chunk, last);
            }
            let mask = self.meter.as_ref().and_then(ResponseMeter::mask);
            let shown = self.key_mask.pass(chunk, mask, last);
            if last {
                // Close the charge before the client has the end: hyper drops a body of known length after its last
                // byte without polling again.
                self.finish(ResponseEnd::Complete);
            }
            return shown;
        };
        let Some(run) = stream.push(chunk) else {
            self.timers.came(true);
            return None;
        };
        // A part of an event may be anything.
        let quiet = stream.events.is_at_border() && is_quiet(&run);
        let shown = stream.show(run, &mut self.meter);
        if let (Some(gap), Some(meter)) = (self.timers.came(quiet), &mut self.meter) {
            meter.gap(gap);
        }
        self.timers.sent(shown.as_ref());
        shown
    }

    /// Returns the next frame, or what is due before it.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<BodyEvent> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(BodyEvent::Frame(Some(Ok(frame))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(BodyEvent::Frame(None));
        };
        if self.meter.as_ref().is_some_and(ResponseMeter::is_cut_off) && !rest.is_end_stream() {
            return Poll::Ready(BodyEvent::Stop);
        }
        if let Poll::Ready(frame) = Pin::new(rest).poll_frame(cx) {
            let frame = frame.map(|frame| frame.map_err(io::Error::other));
            return Poll::Ready(BodyEvent::Frame(frame));
        }
        let events = self.stream.as_ref().map(|stream| &stream.events);
        self.timers.poll(events, cx).map(BodyEvent::Due)
    }

    /// Returns what is held back of an incomplete event.
    fn release(&mut self) -> Option<Bytes> {
        let tail = match &mut self.stream {
            Some(stream) => stream.release(&mut self.meter),
            None => self.key_mask.release(),
        };
        self.timers.sent(tail.as_ref());
        tail
    }

    /// Ends a body that broke off: if possible with an error event, which replaces the incomplete event.
    fn cut(&mut self, why: BodyBreak) -> Option<Bytes> {
        // Nothing more arrives, or nothing more is awaited.
        self.rest = None;
        let closed = self.meter.as_ref().is_some_and(ResponseMeter::closed);
        self.finish(if closed {
            ResponseEnd::Complete
        } else {
            why.ending()
        });
        let stream = self.stream.take();
        match stream.filter(|stream| stream.events.is_at_border()) {
            Some(_) if closed => None,
            Some(EventStream { route, .. }) => why.event(route),
            None => {
                self.broken = Some(io::Error::other(why.message()));
                None
            }
        }
    }

    /// Does the same as the next frame.
    fn poll_cut(
        &mut self,
        why: BodyBreak,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let last = self.cut(why);
        if self.broken.is_some() {
            // The server discards what it has not yet written when a body fails. Returning once lets it write what was
            // delivered before the break.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(last.map(|data| Ok(Frame::data(data))))
    }
}

impl Body for RelayedBody {
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
            let shown = match ready!(this.poll_next(cx)) {
                BodyEvent::Frame(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.pass(data),
                    Err(trailers) => match this.release() {
                        Some(tail) => {
                            this.read.push_front(trailers);
                            Some(tail)
                        }
                        None => return Poll::Ready(Some(Ok(trailers))),
                    },
                },
                BodyEvent::Frame(Some(Err(error))) => {
                    tracing::debug!(%error, "an answer broke off");
                    return this.poll_cut(BodyBreak::Off, cx);
                }
                BodyEvent::Frame(None) => {
                    let tail = this.release();
                    this.stream = None;
                    this.finish(ResponseEnd::Complete);
                    return Poll::Ready(tail.map(|data| Ok(Frame::data(data))));
                }
                BodyEvent::Due(TimerEvent::Silence) => {
                    return this.poll_cut(BodyBreak::Silence, cx);
                }
                BodyEvent::Stop => return this.poll_cut(BodyBreak::Stop, cx),
                BodyEvent::Due(TimerEvent::Tail) => this.release(),
                BodyEvent::Due(TimerEvent::KeepAlive) => {
                    this.timers.sent(Some(&KEEP_ALIVE));
                    Some(KEEP_ALIVE.clone())
                }
            };
            if let Some(data) = shown {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // Without the meter, everything is done. Before that the end must still be polled, because it settles the call.
        self.meter.is_none() && self.stream.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().and_then(|rest| rest.size_hint().exact());
        let read = key_mask::length(self.read.iter()) + self.key_mask.held();
        let all = rest
            .filter(|_| self.stream.is_none())
            .map(|rest| rest + read);
        // With nothing to come, the length in the headers is that of a body that is not sent: for a HEAD request or a
        // 304.
        all.filter(|all| *all > 0)
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for RelayedBody {
    fn drop(&mut self) {
        if self.all_passed() {
            self.finish(ResponseEnd::Complete);
        }
        let tail = self
            .stream
            .take()
            .and_then(|mut stream| stream.events.release());
        let Some(meter) = self.meter.take() else {
            return;
        };
        let is_abandoned = client_is_gone() || !meter.is_cut_off();
        let Some(rest) = self.rest.take().filter(|_| is_abandoned) else {
            return meter.finish(ResponseEnd::Stopped);
        };
        let mut arrived = std::mem::take(&mut self.read);
        if let Some(tail) = tail {
            arrived.push_front(Frame::data(tail));
        }
        let unheard = UnheardBody { arrived, rest };
        AbandonedResponse::new(meter, unheard, self.timers.silence()).close(self.bounds);
    }
}
