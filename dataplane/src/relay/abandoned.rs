//! Calls whose client has left. The provider is paid for what it makes all the same, so disconnecting must not be
//! cheaper than waiting.
//!
//! With the setting `ABANDONED`, the call may continue without its client, within bounds, and is charged by the
//! provider's own count. Otherwise what it made unseen is estimated, or all reserved credit is charged.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use proxyxai_contract::{
    clock::Millis, money::Money, part::BillPart, tokens::TokenUsage, usage::AbandonedPolicy,
};
use tokio::{
    runtime::Handle,
    task_local,
    time::{Instant, timeout_at},
};

use super::{
    charge::{ChargeSinks, PendingCharge},
    context::Relay,
    cutoff::Cutoff,
    meter::ResponseMeter,
    record::elapsed,
    upstream_client::UpstreamBody,
};
use crate::{Config, decide::hidden, formats::sse::is_quiet, telemetry::ResponseEnd};

task_local! {
    /// Until when the current call may continue without its client. Unset for a call that has its client: looking it up
    /// keeps no state per call.
    static LEFT: Instant;
}

/// Whether the current call has lost its client.
pub(super) fn client_is_gone() -> bool {
    LEFT.try_with(|_| ()).is_ok()
}

/// Does some work while the client is there. Returns `None` once the client is gone.
pub(super) async fn unless_client_gone<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if client_is_gone() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}

/// How many bytes may be read, and for how long.
#[derive(Debug, Clone, Copy)]
struct Bound {
    bytes_max: u64,
    wait: Duration,
}

/// Bounds of what is done without a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct AbandonBounds {
    /// For whole responses, where abandoned calls are read on.
    whole: Bound,
    /// For a response that is near its end.
    end: Bound,
    /// Silence after which the provider counts as broken off, as for clients that stay.
    idle: Duration,
}

impl AbandonBounds {
    pub(super) const fn of(config: &Config) -> Self {
        Self {
            whole: Bound {
                bytes_max: config.limits.abandoned_bytes_max,
                wait: config.limits.abandoned,
            },
            end: Bound {
                bytes_max: config.limits.drain_bytes_max,
                wait: config.limits.drain,
            },
            idle: config.limits.idle,
        }
    }
}

/// The part of a call before its response. If it is dropped, the client has left: the work in progress is finished in
/// the background, and nothing new begins.
pub(super) struct PendingResponse<F: Future + Send + 'static> {
    work: Option<Pin<Box<F>>>,
    relay: Arc<Relay>,
    /// How long the work may take without the client.
    wait: Duration,
}

impl<F: Future + Send + 'static> PendingResponse<F> {
    /// Work that continues after the call must have its response read, so it is awaited as long as with a client.
    pub(super) fn new(relay: Arc<Relay>, has_to_be_heard: bool, work: F) -> Self {
        let config = &relay.config;
        let wait = if has_to_be_heard {
            config.limits.abandoned.max(config.limits.first_byte)
        } else {
            config.limits.abandoned
        };
        Self {
            work: Some(Box::pin(work)),
            relay,
            wait,
        }
    }
}

impl<F: Future + Send + 'static> Future for PendingResponse<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled, so that work that panicked is not polled again.
        let Some(mut work) = self.work.take() else {
            return Poll::Pending;
        };
        let done = work.as_mut().poll(cx);
        if done.is_pending() {
            self.work = Some(work);
        }
        done
    }
}

impl<F: Future + Send + 'static> Drop for PendingResponse<F> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else {
            return;
        };
        let ChargeSinks { cutoff, tasks, .. } = &*self.relay.sinks;
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if cutoff.has_come() {
            return;
        }
        let until = Instant::now() + self.wait;
        let cutoff = cutoff.clone();
        // Dropping the response has the rest of it read in the background.
        let work = async move { drop(within(until, &cutoff, work).await) };
        tasks.spawn_on(LEFT.scope(until, work), &runtime);
    }
}

/// Returns the result of the work, or `None` if its time or the gateway's drain is over first.
async fn within<T>(until: Instant, cutoff: &Cutoff, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = cutoff.comes() => None,
        done = timeout_at(until, work) => done.ok(),
    }
}

/// What of a response did not go to its client.
pub(super) struct UnheardBody {
    /// Frames that have arrived and were not yet metered.
    pub(super) arrived: VecDeque<Frame<Bytes>>,
    pub(super) rest: UpstreamBody,
}

/// The rest of a response without a client.
pub(super) struct AbandonedResponse {
    /// `None` once the charge is closed.
    meter: Option<ResponseMeter>,
    unheard: UnheardBody,
    /// When the last frame arrived.
    heard: Instant,
}

impl AbandonedResponse {
    /// The client has just left, this long after the last frame.
    pub(super) fn new(mut meter: ResponseMeter, unheard: UnheardBody, silence: Duration) -> Self {
        meter.leave();
        let now = Instant::now();
        Self {
            meter: Some(meter),
            unheard,
            heard: now.checked_sub(silence).unwrap_or(now),
        }
    }

    /// Closes the charge: at once, or after reading as much of the response as the bounds allow.
    pub(super) fn close(mut self, bounds: AbandonBounds) {
        let sinks = self.meter.as_ref().map(ResponseMeter::sinks);
        let (Some(Bound { bytes_max, wait }), Some(sinks), Ok(runtime)) =
            (self.bound(bounds), sinks, Handle::try_current())
        else {
            return self.finish(ResponseEnd::Abandoned);
        };
        let until = LEFT
            .try_with(|until| *until)
            .unwrap_or_else(|_| Instant::now() + wait);
        let cutoff = sinks.cutoff.clone();
        let reading = async move {
            let hearing = self.hear(bytes_max, bounds.idle);
            let ending = within(until, &cutoff, hearing).await;
            self.finish(ending.unwrap_or(ResponseEnd::Abandoned));
        };
        sinks.tasks.spawn_on(reading, &runtime);
    }

    /// How much of it may be read on; `None` if nothing may.
    fn bound(&self, bounds: AbandonBounds) -> Option<Bound> {
        let meter = self.meter.as_ref()?;
        let whole = meter.reads_on().then_some(bounds.whole);
        let end = meter.is_near_end().then_some(bounds.end);
        let least = self.unheard.rest.size_hint().lower();
        let fits = |bound: &Bound| {
            bound.bytes_max > 0 && !bound.wait.is_zero() && least <= bound.bytes_max
        };
        [whole, end].into_iter().flatten().find(fits)
    }

    async fn hear(&mut self, mut bytes_left: u64, idle: Duration) -> ResponseEnd {
        loop {
            let Some(meter) = &mut self.meter else {
                return ResponseEnd::Abandoned;
            };
            if meter.closed() {
                return ResponseEnd::Complete;
            }
            if !meter.is_covered() {
                return ResponseEnd::Abandoned;
            }
            let frame = match self.unheard.arrived.pop_front() {
                Some(frame) => frame,
                None => match timeout_at(self.heard + idle, self.unheard.rest.frame()).await {
                    Ok(Some(Ok(frame))) => frame,
                    Ok(None) => return ResponseEnd::Complete,
                    // The call is not charged for a provider that fell silent or broke off.
                    Ok(Some(Err(_))) | Err(_) => return ResponseEnd::Cut,
                },
            };
            let data = frame.into_data().unwrap_or_default();
            let Some(left) = bytes_left.checked_sub(data.len() as u64) else {
                return ResponseEnd::Abandoned;
            };
            bytes_left = left;
            if !is_sign_of_life(&data) {
                meter.add_silence(self.heard.elapsed());
                self.heard = Instant::now();
            }
            meter.observe(&data, false);
        }
    }

    fn finish(&mut self, ending: ResponseEnd) {
        if let Some(mut meter) = self.meter.take() {
            meter.add_silence(self.heard.elapsed());
            meter.finish(ending);
        }
    }
}

/// Whether a piece of a response only says that more will come.
fn is_sign_of_life(data: &[u8]) -> bool {
    data.trim_ascii().is_empty() || is_quiet(data)
}

impl Drop for AbandonedResponse {
    fn drop(&mut self) {
        // The serving thread ends before the response did.
        self.finish(ResponseEnd::Abandoned);
    }
}

/// What is known of a call in case its client leaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AbandonInfo {
    /// Most tokens that its response may have.
    pub(super) output_max: u64,
    /// Whether its response comes as a whole, so that nothing of it is seen before its end.
    pub(super) is_whole: bool,
    /// Whether its request asks for reasoning.
    pub(super) asks_reasoning: bool,
    /// Whether the client was gone when the response began.
    pub(super) unheard: bool,
    /// How long the model was at work without sending anything.
    pub(super) silent: Duration,
}

impl AbandonInfo {
    /// Adds a time in which nothing arrived.
    pub(super) fn add_silence(&mut self, time: Duration) {
        self.silent = self.silent.saturating_add(hidden::silence(time));
    }

    /// Tokens written unseen, given those that were seen.
    pub(super) fn hidden(&self, seen: u64) -> u64 {
        hidden::tokens(self.silent, self.output_max, seen)
    }
}

impl PendingCharge {
    /// Whether the call continues without its client to learn its exact cost, unless its work goes on after it.
    pub(super) fn reads_on(&self) -> bool {
        let is_rule = self.basis.snapshot.settings.abandoned == AbandonedPolicy::ReadOn;
        let is_worth_it = self.basis.metered && self.state.fixed_price.is_none();
        is_rule && is_worth_it && self.held() > Money::ZERO
    }

    /// Whether its reserved credit covers its cost so far.
    pub(super) fn is_covered(&self) -> bool {
        self.record.cost <= self.held()
    }

    /// Nothing has arrived since its latest attempt was sent.
    pub(super) fn add_silence_until(&mut self, now: Millis) {
        let silent = elapsed(self.sent, now);
        self.state
            .abandon_info
            .add_silence(Duration::from_millis(silent));
    }

    /// Its client has left. `heard` says that its end was read all the same.
    ///
    /// # Errors
    /// Returns the charge if it is to be closed with what is known.
    pub(super) fn client_left(mut self: Box<Self>, heard: bool) -> Result<(), Box<Self>> {
        if heard {
            self.record.abandoned = Some(AbandonedPolicy::ReadOn);
            return Err(self);
        }
        self.close_abandoned()
    }

    /// Charges all reserved credit to a call whose client has left and whose rest is not read.
    ///
    /// # Errors
    /// Returns the charge if that is not the policy: then what the call made unseen is estimated.
    pub(super) fn close_abandoned(mut self: Box<Self>) -> Result<(), Box<Self>> {
        let held = self.held();
        let is_rule = self.basis.snapshot.settings.abandoned == AbandonedPolicy::Hold;
        if held == Money::ZERO || !(is_rule || self.cannot_be_estimated()) {
            self.record.abandoned = Some(AbandonedPolicy::Cancel);
            return Err(self);
        }
        self.record.abandoned = Some(AbandonedPolicy::Hold);
        let cost = held.max(self.record.cost);
        self.close_at(cost);
        Ok(())
    }

    /// Whether nothing tells what its response used so far, as for an image model that is priced by tokens.
    fn cannot_be_estimated(&self) -> bool {
        let price = self.basis.snapshot.prices.find(&self.record.model_used);
        let by_piece = price.is_some_and(|price| price.image.is_some() || price.video.is_some());
        let is_known = self.is_text() || by_piece || self.state.fixed_price.is_some();
        !is_known && self.request_measure().is_none()
    }

    /// Adds what its model wrote unseen, where that is to be estimated.
    pub(super) fn add_hidden(&self, tokens: &mut TokenUsage) {
        let reasons = || self.state.abandon_info.asks_reasoning || self.reasons();
        if self.record.abandoned != Some(AbandonedPolicy::Cancel) {
            return;
        }
        if self.state.abandon_info.is_whole {
            // What has arrived of it was written in the silence before.
            tokens.output = tokens.output.max(self.state.abandon_info.hidden(0));
        } else if reasons() {
            let hidden = self.state.abandon_info.hidden(tokens.output);
            // Reasoning that was already reported is not counted twice.
            let hidden = hidden.saturating_sub(tokens.reasoning);
            tokens.output = tokens.output.saturating_add(hidden);
            tokens.reasoning = tokens.reasoning.saturating_add(hidden);
        }
    }

    /// Whether its model is known to reason.
    fn reasons(&self) -> bool {
        let price = self.basis.snapshot.prices.find(&self.record.model_used);
        price.is_some_and(|price| {
            price.reasons || price.standard.units.own(BillPart::Reasoning).is_some()
        })
    }
}
