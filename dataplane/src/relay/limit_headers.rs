//! Rate limit windows of a call: counted when it is admitted, after a wait if control has to be asked, and reported to
//! the client in OpenAI's headers.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::future::select_all;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{sync::futures::Notified, time::Instant};

use super::{admission::CallerContext, context::Relay};
use crate::{
    decide::{
        admit::Refusal,
        limit::{self, EffectiveLimit, RemainingLimits, WindowDecision, WindowStatus},
    },
    formats::Route,
    state::{RateLimitWindows, WindowReservation, windows},
};

/// How long a call waits for control to grant units.
const GRANT_WAIT_MAX: Duration = Duration::from_secs(2);
/// Interval at which a waiting call checks by itself.
const GRANT_LOOK: Duration = Duration::from_millis(200);
/// Approximate bytes of a prompt per token.
const BYTES_PER_TOKEN: u64 = 4;
/// Upstream headers about the limits of the pool's key, which are not the client's.
const LIMIT_HEADERS: [&str; 2] = ["x-ratelimit-", "anthropic-ratelimit-"];
/// Buffer size for a duration.
const DURATION_BYTES: usize = 16;
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Estimates the tokens of a call: its prompt, and the longest response it asks for. Other routes send no text.
pub(super) fn guess(route: Route, body_len: usize, max_tokens: Option<u64>) -> u64 {
    let text_bytes = if route.is_metered() { body_len } else { 0 };
    u64::try_from(text_bytes)
        .unwrap_or(u64::MAX)
        .div_ceil(BYTES_PER_TOKEN)
        .saturating_add(max_tokens.unwrap_or_default())
        .max(1)
}

/// What a call uses of its windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowUse<'a> {
    /// The model it asks for.
    pub(super) model: Option<&'a str>,
    /// The tokens it may use; `None` if it makes none.
    pub(super) tokens: Option<u64>,
}

/// Counts a call in its windows and those above.
///
/// # Errors
/// Errors if a window has nothing left, or control did not answer in time.
pub(super) async fn count_in_windows(
    relay: &Relay,
    context: CallerContext<'_>,
    wanted: WindowUse<'_>,
) -> Result<WindowReservation, Refusal> {
    let WindowUse { model, tokens } = wanted;
    let settings = &context.snapshot.settings;
    let limits = limit::effective_limits(context.scope(), &settings.model_limits, model);
    if limits.is_empty() {
        return Ok(WindowReservation::default());
    }
    let places = places(context, &limits);
    let mut deadline = None;
    loop {
        // From here on no wake-up is missed.
        let answered: Vec<_> = match deadline {
            Some(_) => places
                .iter()
                .map(|(windows, _)| listening(windows))
                .collect(),
            None => Vec::new(),
        };
        let (zone, now) = (&settings.zone, relay.clock.now());
        match windows::admit(&places, tokens, zone, now, &relay.outbox.wanting) {
            Ok(counted) => return Ok(counted),
            Err(WindowDecision::Refused(refusal)) => return Err(refusal),
            Err(WindowDecision::Wait | WindowDecision::Admitted { .. }) => {}
        }
        let Some(deadline) = deadline else {
            // Few calls have to wait. Loop once more after enabling the notification, so that no wake-up is lost.
            deadline = Some(Instant::now() + GRANT_WAIT_MAX);
            continue;
        };
        if Instant::now() >= deadline {
            return Err(Refusal::Unavailable);
        }
        let until = deadline.min(Instant::now() + GRANT_LOOK);
        // Check again, woken or not.
        tokio::time::timeout_at(until, select_all(answered))
            .await
            .ok();
    }
}

/// Where a call is counted: at its key and at each account that has limits for it.
fn places<'a, 'l>(
    context: CallerContext<'a>,
    limits: &'l [EffectiveLimit<'l>],
) -> Vec<(&'a Arc<RateLimitWindows>, &'l [EffectiveLimit<'l>])> {
    let CallerContext {
        snapshot,
        caller,
        chain,
    } = context;
    let windows = |limit: &EffectiveLimit<'_>| match (limit.key, limit.at) {
        (Some(_), _) => caller.key.as_ref().map(|key| &key.windows),
        (None, 0) => Some(&caller.account.windows),
        (None, at) => Some(&snapshot.account(chain.get(at)?.id)?.windows),
    };
    let of_one = limits.chunk_by(|one, next| (one.key, one.at) == (next.key, next.at));
    let place = |limits: &'l [EffectiveLimit<'l>]| Some((windows(limits.first()?)?, limits));
    of_one.filter_map(place).collect()
}

/// Resolves when control has answered.
fn listening(windows: &RateLimitWindows) -> Pin<Box<Notified<'_>>> {
    let mut answered = Box::pin(windows.answered());
    answered.as_mut().enable();
    answered
}

/// Writes what is left into the headers of a response, in place of the upstream's values for its own key.
pub(super) fn add_limit_headers(headers: &mut HeaderMap, left: RemainingLimits) {
    let RemainingLimits { requests, tokens } = left;
    if requests.is_none() && tokens.is_none() {
        return;
    }
    let is_foreign = |name: &HeaderName| {
        let name = name.as_str();
        LIMIT_HEADERS.iter().any(|start| name.starts_with(start))
    };
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_foreign(name))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.reserve(REQUESTS.len() + TOKENS.len());
    for (names, share) in [(REQUESTS, requests), (TOKENS, tokens)] {
        let Some(WindowStatus {
            limit,
            left,
            reset_ms,
        }) = share
        else {
            continue;
        };
        let [limit_name, left_name, reset_name] = names;
        headers.insert(limit_name, limit.into());
        headers.insert(left_name, left.into());
        if let Ok(reset) = HeaderValue::try_from(duration(reset_ms)) {
            headers.insert(reset_name, reset);
        }
    }
}

/// Milliseconds as `OpenAI` writes them, in whole seconds rounded up: `1s`, `6m0s`, `23h59m1s`.
fn duration(ms: i64) -> String {
    let mut text = String::with_capacity(DURATION_BYTES);
    let seconds = ms.max(0).saturating_add(999) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut digits = itoa::Buffer::new();
    let shown = [
        (hours, "h", hours > 0),
        (minutes, "m", hours > 0 || minutes > 0),
        (seconds, "s", true),
    ];
    for (count, unit, _) in shown.into_iter().filter(|(.., shown)| *shown) {
        text.push_str(digits.format(count));
        text.push_str(unit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_like_openais() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1s"),
            (1000, "1s"),
            (59_001, "1m0s"),
            (360_000, "6m0s"),
            (86_399_000, "23h59m59s"),
            (90_000_000, "25h0m0s"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn an_upstreams_limits_are_replaced_only_when_there_are_own_ones() {
        let upstream = || {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-limit-tokens", 9.into());
            headers.insert("x-other", 1.into());
            headers
        };
        let mut headers = upstream();
        add_limit_headers(&mut headers, RemainingLimits::default());
        assert_eq!(headers, upstream());
        let share = WindowStatus {
            limit: 5,
            left: 4,
            reset_ms: 60_000,
        };
        add_limit_headers(
            &mut headers,
            RemainingLimits {
                requests: Some(share),
                tokens: None,
            },
        );
        assert_eq!(headers.len(), 4);
        assert_eq!(headers["x-ratelimit-limit-requests"], "5");
        assert_eq!(headers["x-ratelimit-remaining-requests"], "4");
        assert_eq!(headers["x-ratelimit-reset-requests"], "1m0s");
    }

    #[test]
    fn a_guess_is_never_nothing() {
        assert_eq!(guess(Route::Chat, 0, None), 1);
        assert_eq!(guess(Route::Chat, 9, Some(100)), 103);
        assert_eq!(guess(Route::Chat, 9, Some(u64::MAX)), u64::MAX);
        assert_eq!(guess(Route::Other, 10_000_000, None), 1);
    }
}
