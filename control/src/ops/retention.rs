//! Keeps raw usage records for as long as is asked. Totals and ledger stay for good.

use std::time::Duration;

use crate::{Control, Error, store};

/// Records that go in one transaction: a report of usage waits for no more than these.
const RECORDS_PER_BATCH: u64 = 1_000;
/// Calls and their posting come first: pruning leaves them most of the time.
const PAUSE_MS: u64 = 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Takes away the records that are old enough, batch by batch, and says how many.
pub(crate) async fn prune_usage(control: &Control) -> Result<u64, Error> {
    let Some(days) = control.config().usage_retention_days else {
        return Ok(0);
    };
    let age_ms = i64::from(days.get()).saturating_mul(DAY_MS);
    let before = control.now().plus(age_ms.saturating_neg());
    let (mut pruned, mut last) = (0u64, None);
    while let Some(span) = store::usage::next_span(control.store(), last.as_ref()).await? {
        loop {
            let tx = control.store().begin().await?;
            let count = store::usage::prune(&tx, &span, before, RECORDS_PER_BATCH).await?;
            tx.commit().await?;
            pruned = pruned.saturating_add(count);
            if count < RECORDS_PER_BATCH {
                break;
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
        last = Some(span);
    }
    if pruned > 0 {
        tracing::info!(records = pruned, "old usage records pruned");
    }
    Ok(pruned)
}
