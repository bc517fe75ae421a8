//! Reports usage to control: the oldest records first, in batches, repeated until control acknowledges them. Control
//! knows a record by its id, so sending it twice is harmless.

use std::{collections::HashMap, sync::Arc, time::Duration};

use proxyxai_contract::{
    convert::{charge_from_bytes, lease_from_wire, standing_from_wire},
    lease::PayerId,
    money::Money,
    wire,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{ControlLink, ReconnectBackoff};
use crate::{spool::RecordQueue, state::RuntimeState};

/// Records in one report.
const BATCH_RECORDS_MAX: usize = 1000;
/// Timeout of a report, after which it is sent again.
const REPORT_MAX: Duration = Duration::from_secs(30);
/// How long a data plane that stops keeps reporting.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Lets calls that end together share one report.
const GATHER: Duration = Duration::from_millis(20);
/// A report costs some milliseconds of CPU whatever its size. The first after a quiet time goes at once; while few
/// records keep coming, each waits this much longer than the one before.
///
/// The writer of the spool waits for longer before it commits so few, so that each report finds some.
const ROUND: Duration = Duration::from_millis(600);
/// No report waits for more rounds than this.
const ROUNDS_MAX: u32 = 4;

/// Posting costs control about a quarter of what relaying a call costs, and in one process it takes that CPU from
/// calls. So a burst is reported at this pace. The spool holds the rest, and balances here already count it.
const PACE_RECORDS_PER_SECOND: u32 = 5000;
/// With more records than this on disk, reporting is not paced.
const PACED_DEPTH_MAX: u64 = 200_000;

/// Runs until it is cancelled and the spool is empty, or until reporting fails after that.
pub(crate) async fn run(
    link: ControlLink,
    state: Arc<RuntimeState>,
    record_queue: RecordQueue,
    stop: CancellationToken,
) {
    // Records from before this start are charged to credit leases, which come with the first snapshot.
    while state.snapshot().is_none() && !stop.is_cancelled() {
        tokio::time::sleep(GATHER).await;
    }
    let mut patience = ReconnectBackoff::new();
    let mut batch = BATCH_RECORDS_MAX;
    // Consecutive reports without an empty queue in between.
    let mut reports = 0u32;
    loop {
        let began = Instant::now();
        match hand_in(&link, &state, &record_queue, batch).await {
            Ok(0) | Err(_) if stop.is_cancelled() => return,
            Ok(0) => {
                reports = 0;
                stop.run_until_cancelled(record_queue.added()).await;
                stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            }
            Ok(count) => {
                patience.reset();
                batch = BATCH_RECORDS_MAX;
                // With more records waiting already, this is not a trickle.
                let is_trickle = record_queue.depth() == 0;
                reports = if is_trickle { reports + 1 } else { 1 };
                let rest = rest(count, reports, began.elapsed());
                if record_queue.depth() < PACED_DEPTH_MAX {
                    stop.run_until_cancelled(tokio::time::sleep(rest)).await;
                }
            }
            Err(status) if is_about_records(&status) && batch == 1 => {
                // Retrying would hold up all other records for ever.
                tracing::error!(
                    message = status.message(),
                    "control cannot take a usage record; it is left out"
                );
                leave_out(&state, &record_queue);
                batch = BATCH_RECORDS_MAX;
            }
            Err(status) => {
                if is_about_records(&status) {
                    batch = (batch / 2).max(1);
                }
                tracing::warn!(
                    code = ?status.code(), message = status.message(), spooled = record_queue.depth(),
                    "usage cannot be handed in; it waits on disk"
                );
                patience.wait().await;
            }
        }
    }
}

/// How long to wait after a report of `count` records that took `took`, as number `reports` in a row.
fn rest(count: usize, reports: u32, took: Duration) -> Duration {
    if count < BATCH_RECORDS_MAX {
        return (ROUND * reports.clamp(1, ROUNDS_MAX)).saturating_sub(took);
    }
    let pace = Duration::from_secs(1) / PACE_RECORDS_PER_SECOND;
    pace * u32::try_from(count).unwrap_or(u32::MAX)
}

/// Reports one batch and returns its number of records.
async fn hand_in(
    link: &ControlLink,
    state: &RuntimeState,
    record_queue: &RecordQueue,
    batch: usize,
) -> Result<usize, Status> {
    let records = record_queue.oldest(batch);
    let mut records = records.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut charged = HashMap::new();
    let readable = records
        .iter()
        .take_while(|record| charge(record, &mut charged));
    let count = readable.count();
    if count < records.len() && count == 0 {
        // An unreadable record must not hold up the others for ever.
        record_queue.skip_one();
        return Ok(1);
    }
    records.truncate(count);
    if count == 0 {
        return Ok(0);
    }
    let wire::ReportUsageResponse {
        through_sequence,
        standings,
        leases,
    } = link.report_usage(records, REPORT_MAX).await?;
    let leases: HashMap<_, _> = leases
        .into_iter()
        .filter_map(|lease| lease_from_wire(lease).ok())
        .map(|lease| (lease.payer, lease))
        .collect();
    for (payer, cost) in charged {
        if let Some(credit_lease) = state.credit_lease(payer) {
            credit_lease.posted(cost, leases.get(&payer));
        }
    }
    let standings: Vec<_> = standings
        .iter()
        .filter_map(|standing| standing_from_wire(standing).ok())
        .collect();
    state.apply_standings(&standings);
    record_queue.acknowledge(through_sequence);
    Ok(count)
}

/// Drops the oldest record, which control refuses. It will never be posted, so it must not count as spent either.
fn leave_out(state: &RuntimeState, record_queue: &RecordQueue) {
    let mut charged = HashMap::new();
    let Ok(records) = record_queue.oldest(1) else {
        return;
    };
    for record in records {
        charge(&record, &mut charged);
    }
    for (payer, cost) in charged {
        if let Some(credit_lease) = state.credit_lease(payer) {
            credit_lease.posted(cost, None);
        }
    }
    record_queue.skip_one();
}

/// Whether control refused the records, rather than being unreachable or failing.
fn is_about_records(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted
    )
}

/// Adds what a record charges to the totals of its account and its client key. Returns `false` if it cannot be read.
/// Control acknowledges a batch as a whole.
fn charge(record: &[u8], charged: &mut HashMap<PayerId, Money>) -> bool {
    match charge_from_bytes(record) {
        Ok((payer, cost)) => {
            let key = payer.client_key.map(|_| payer);
            for payer in [Some(payer.account.into()), key].into_iter().flatten() {
                let total = charged.entry(payer).or_default();
                *total = total.saturating_add(cost);
            }
            true
        }
        Err(error) => {
            tracing::error!(%error, "a spooled record cannot be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{GATHER_FEW, LOOK};

    #[test]
    fn few_records_are_handed_in_seldom_and_many_at_their_pace() {
        let took = Duration::from_millis(5);
        for few in [1, 10, BATCH_RECORDS_MAX - 1] {
            assert_eq!(rest(few, 1, took) + took, ROUND);
            assert_eq!(rest(few, 3, took) + took, ROUND * 3);
            assert_eq!(rest(few, u32::MAX, took) + took, ROUND * ROUNDS_MAX);
        }
        assert_eq!(rest(1, 1, ROUND * 2), Duration::ZERO);
        assert_eq!(rest(BATCH_RECORDS_MAX, 9, took), Duration::from_millis(200));
    }

    #[test]
    fn a_call_by_itself_is_posted_within_a_second_and_one_of_a_trickle_within_four() {
        // So a report never begins between two commits, finds nothing, and delays the next one by a round.
        assert!(ROUND + GATHER < GATHER_FEW);
        let posting = Duration::from_millis(100);
        let alone = GATHER_FEW + LOOK + GATHER + posting;
        assert!(alone < Duration::from_secs(1));
        assert!(alone + ROUND * ROUNDS_MAX < Duration::from_secs(4));
    }
}
