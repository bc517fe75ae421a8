//! Prunes raw usage records and refused calls after their retention time. Totals and ledger stay for good.

use std::time::Duration;

use proxyxai_contract::clock::Millis;

use crate::{Control, Error, ops, store};

/// Records deleted in one transaction: a usage report waits for no more than these.
const RECORDS_PER_BATCH: u64 = 1_000;
/// Calls and posting come first: pruning leaves them most of the time.
const PAUSE_MS: u64 = 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Deletes records older than the retention time, batch by batch. Returns how many.
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
    let tx = control.store().begin().await?;
    tx.allow_long_statements().await?;
    // No record that is left was made with these keys.
    store::client_keys::prune(&tx, before).await?;
    if pruned > 0 {
        store::usage::seen::prune(&tx).await?;
        tracing::info!(records = pruned, "old usage records pruned");
    }
    tx.commit().await?;
    Ok(pruned)
}

/// Deletes refused calls older than the retention time, batch by batch. Returns how many.
pub(crate) async fn prune_refusals(control: &Control) -> Result<u64, Error> {
    let age_ms = ops::refusals::days(control).await?.saturating_mul(DAY_MS);
    // With a retention of 0 all stored ones are deleted, also those with a time in the future.
    let before = match age_ms {
        0 => Millis(i64::MAX),
        age => control.now().plus(age.saturating_neg()),
    };
    let mut pruned = 0u64;
    loop {
        let tx = control.store().begin().await?;
        let count = store::refusals::prune(&tx, before, RECORDS_PER_BATCH).await?;
        tx.commit().await?;
        pruned = pruned.saturating_add(count);
        if count < RECORDS_PER_BATCH {
            break;
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
    if pruned > 0 {
        tracing::info!(calls = pruned, "old refused calls pruned");
    }
    Ok(pruned)
}
