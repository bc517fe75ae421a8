//! Reserves credit for a call: from the lease at once, or by waiting for control, within bounds. The link does the
//! asking.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::{lease::LeaseShortage, money::Money};
use tokio::time::Instant;

use super::credit_lease::{ControlReply, CreditHold, CreditLease};

/// Interval at which a call that waits for other calls of its account asks control whether credit came back.
const LOOK: Duration = Duration::from_millis(25);
/// A reply may have been in flight while credit came back, so one hopeless reply is not enough.
const HOPELESS: u32 = 2;
/// Without a reply for this long, control counts as unreachable.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Why credit could not be reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CreditError {
    /// The account does not have it.
    Short(LeaseShortage),
    /// Control would have to be asked and is unreachable.
    OutOfReach,
}

/// When control last replied, which decides how long leases can be relied on.
#[derive(Debug)]
pub(crate) struct ControlContact {
    start: Instant,
    heard_ms: AtomicU64,
    lease_ms: AtomicU64,
    /// Whether control refuses this process, because another one has its name.
    refused: AtomicBool,
}

impl ControlContact {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            heard_ms: AtomicU64::new(0),
            // Until control has said how long leases last, none can be relied on.
            lease_ms: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    /// Control has answered a request that was made at `asked`.
    pub(crate) fn heard(&self, asked: Instant, lease_ms: u64) {
        let at = asked.saturating_duration_since(self.start);
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.fetch_max(at, Ordering::Relaxed);
        self.lease_ms.store(lease_ms, Ordering::Relaxed);
    }

    /// Control refuses this process, or takes it again. What it knows is kept for its calls under way.
    pub(crate) fn set_refused(&self, refused: bool) {
        self.refused.store(refused, Ordering::Relaxed);
    }

    /// Whether another process has the name of this one, so that this one may take no calls.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Time since control last replied.
    pub(crate) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }

    /// Whether control still keeps this data plane's leases.
    pub(crate) fn leases_hold(&self) -> bool {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.heard_ms.load(Ordering::Relaxed))
            < self.lease_ms.load(Ordering::Relaxed)
    }

    /// How long leases last without a reply.
    pub(crate) fn lease_ms(&self) -> u64 {
        self.lease_ms.load(Ordering::Relaxed)
    }
}

/// Reserves credit.
///
/// # Errors
/// Errors if the account does not have it, or not within `patience`, or if control is unreachable.
pub(crate) async fn reserve(
    credit_lease: &Arc<CreditLease>,
    reach: &ControlContact,
    need: Money,
    patience: Duration,
) -> Result<CreditHold, CreditError> {
    if reach.leases_hold()
        && let Some(hold) = credit_lease.try_reserve(need)
    {
        return Ok(hold);
    }
    Box::pin(wait(credit_lease, reach, need, patience)).await
}

async fn wait(
    credit_lease: &Arc<CreditLease>,
    reach: &ControlContact,
    need: Money,
    patience: Duration,
) -> Result<CreditHold, CreditError> {
    let begun = Instant::now();
    let mut waiting = credit_lease.wait(need);
    let mut hopeless = 0;
    // Control's last reply, which is the result if `patience` ends between two replies.
    let mut said = None;
    loop {
        let mut news = std::pin::pin!(credit_lease.changed());
        news.as_mut().enable();
        if reach.leases_hold()
            && let Some(hold) = credit_lease.try_reserve(need)
        {
            return Ok(hold);
        }
        match waiting.answer() {
            Some(ControlReply::Short {
                shortage,
                elsewhere,
            }) => {
                said = Some(shortage);
                let may_come = elsewhere > Money::ZERO || credit_lease.held() > Money::ZERO;
                hopeless = if may_come { 0 } else { hopeless + 1 };
                if hopeless >= HOPELESS {
                    return Err(CreditError::Short(shortage));
                }
            }
            Some(ControlReply::OutOfReach) => return Err(CreditError::OutOfReach),
            // Another call may have taken what was granted; then it is requested again.
            Some(ControlReply::Granted) => said = Some(said.unwrap_or(LeaseShortage::Balance)),
            None => {}
        }
        match said {
            Some(shortage) if begun.elapsed() >= patience => {
                // The credit that was just granted is there.
                return credit_lease
                    .try_reserve(need)
                    .ok_or(CreditError::Short(shortage));
            }
            None if begun.elapsed() >= patience.max(ANSWER_MAX) => {
                return Err(CreditError::OutOfReach);
            }
            Some(_) | None => {}
        }
        credit_lease.ask_again(LOOK);
        let timely = tokio::time::timeout(LOOK, news).await;
        tracing::trace!(account = ?credit_lease, timely = timely.is_ok(), "a call waits for credit");
    }
}
