//! The timeouts of a response body; that of its first byte is in `attempt`.
//!
//! One timer serves all of them. It is armed at the first wait for the provider and moved only when it fires or something
//! becomes due earlier, so that chunks cost no timer operations.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::formats::sse::EventCutter;

/// The beginning of an event is forwarded after this time without its end: what some providers send as an event stream
/// is none.
const TAIL_WAIT: Duration = Duration::from_secs(1);

/// The timers of one body.
pub(super) struct BodyTimers {
    idle: Duration,
    keepalive: Option<Duration>,
    /// `None` until the provider is first waited for.
    armed: Option<Armed>,
}

/// The time between two chunks of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameGap {
    pub(super) time: Duration,
    /// Whether the provider caused the wait, and not the client.
    pub(super) of_provider: bool,
}

/// What is known while a body is waited for.
struct Armed {
    timer: Pin<Box<Sleep>>,
    /// When the last frame arrived.
    came: Instant,
    /// When the last frame arrived that is more than a sign of life.
    heard: Instant,
    /// When something was last forwarded; kept only with a keep-alive.
    sent: Instant,
    /// Whether the provider is waited for. Otherwise the client is slow to read.
    is_waited_for: bool,
}

/// What to do after a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimerEvent {
    /// The provider has been silent for too long.
    Silence,
    /// What is held back must go out.
    Tail,
    /// The client gets a sign that the stream is alive.
    KeepAlive,
}

impl BodyTimers {
    pub(super) const fn new(idle: Duration, keepalive: Option<Duration>) -> Self {
        Self {
            idle,
            keepalive,
            armed: None,
        }
    }

    /// Records that a frame arrived. Returns the time since the one before, if it is more than a sign of life and the
    /// body was waited for since then.
    pub(super) fn came(&mut self, quiet: bool) -> Option<FrameGap> {
        let armed = self.armed.as_mut()?;
        armed.came = Instant::now();
        let of_provider = std::mem::take(&mut armed.is_waited_for);
        if quiet {
            return None;
        }
        let before = std::mem::replace(&mut armed.heard, armed.came);
        let time = armed.came.saturating_duration_since(before);
        Some(FrameGap { time, of_provider })
    }

    /// How long the provider has sent only signs of life.
    pub(super) fn silence(&self) -> Duration {
        let armed = self.armed.as_ref().filter(|armed| armed.is_waited_for);
        armed.map_or(Duration::ZERO, |armed| armed.heard.elapsed())
    }

    /// Records that something is forwarded, if it is.
    pub(super) fn sent(&mut self, shown: Option<&Bytes>) {
        if let Some(armed) = &mut self.armed
            && self.keepalive.is_some()
            && shown.is_some()
        {
            armed.sent = Instant::now();
        }
    }

    /// Waits for the event that is due first. Tail and keep-alive apply to streams whose protocol is known.
    pub(super) fn poll(
        &mut self,
        events: Option<&EventCutter>,
        cx: &mut Context<'_>,
    ) -> Poll<TimerEvent> {
        let (idle, keepalive) = (self.idle, self.keepalive);
        let armed = self.armed.get_or_insert_with(|| Armed::new(idle));
        armed.is_waited_for = true;
        let (at, due) = armed.first(idle, keepalive, events);
        if armed.timer.deadline() > at {
            armed.timer.as_mut().reset(at);
        }
        loop {
            ready!(armed.timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(due);
            }
            armed.timer.as_mut().reset(at);
        }
    }
}

impl Armed {
    fn new(idle: Duration) -> Self {
        let now = Instant::now();
        Self {
            timer: Box::pin(tokio::time::sleep_until(now + idle)),
            came: now,
            heard: now,
            sent: now,
            is_waited_for: true,
        }
    }

    /// The event that is due first, and when.
    fn first(
        &self,
        idle: Duration,
        keepalive: Option<Duration>,
        events: Option<&EventCutter>,
    ) -> (Instant, TimerEvent) {
        let silence = (self.heard + idle, TimerEvent::Silence);
        let other = events.and_then(|events| match keepalive {
            _ if events.holds() => Some((self.came + TAIL_WAIT, TimerEvent::Tail)),
            Some(every) if events.is_at_border() => {
                Some((self.sent + every, TimerEvent::KeepAlive))
            }
            Some(_) | None => None,
        });
        match other {
            Some(other) if other.0 < silence.0 => other,
            Some(_) | None => silence,
        }
    }
}
