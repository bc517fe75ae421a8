//! Moves records of ended calls from the journal to the record queue. One commit takes all records since the last one,
//! so that all calls of that moment share a sync to disk. It also sets the pace of reports, which follow commits.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{EndedRecord, journal::Journal, number, record_queue::QueueStore};

/// Records in one commit.
const COMMIT_RECORDS_MAX: usize = 4096;
/// Time from one commit to the next. A commit's pages, its sync, the report and control's transaction cost far more
/// than a record. Meanwhile records are in the journal, so only a power cut could lose them. After a pause, a record is
/// committed at once.
const GATHER: Duration = Duration::from_millis(100);
/// The same while there are few records, which do not justify a commit: each costs more than a millisecond of CPU.
pub(crate) const GATHER_FEW: Duration = Duration::from_millis(700);
const FEW_RECORDS: usize = 256;
/// With this many, waiting saves nothing more, and each waiting record keeps about a page of the journal in memory.
const ENOUGH_RECORDS: usize = 1024;
/// Interval at which new records are looked for meanwhile.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Entries that are removed from the journal at once; calls that begin or end wait meanwhile.
const REMOVE_MAX: usize = 64;
/// Backoff between attempts to write to a failing disk; doubles from the first value to the last.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Handle to wait for the writer thread.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    closed: oneshot::Receiver<Infallible>,
}

impl SpoolWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// Errors if the system cannot start another thread.
    pub(super) fn start(
        shared: Arc<QueueStore>,
        journal: Arc<Journal>,
        records: mpsc::Receiver<EndedRecord>,
    ) -> std::io::Result<Self> {
        let (ended, closed) = oneshot::channel::<Infallible>();
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                write_all(&shared, &journal, records);
                // Dropping the sender signals that the files are closed.
                drop((shared, journal));
                drop(ended);
            })?;
        Ok(Self { closed })
    }

    /// Waits until all records are on disk. Every `Spool` must be dropped by then. A response that was cut at the end
    /// of the drain may hold one a moment longer, so the wait is bounded.
    pub(crate) async fn close(self) {
        let patience = Duration::from_secs(2);
        if tokio::time::timeout(patience, self.closed).await.is_err() {
            tracing::debug!("the spool writer still had a sender when the data plane stopped");
        }
    }
}

fn write_all(shared: &QueueStore, journal: &Journal, mut records: mpsc::Receiver<EndedRecord>) {
    let mut batch = Vec::new();
    let mut last: Option<Instant> = None;
    while records.blocking_recv_many(&mut batch, COMMIT_RECORDS_MAX) > 0 {
        shared.gathers(true);
        // Once no sender is left, do not wait for more.
        while gathers(batch.len(), last.map(|last| last.elapsed())) && !records.is_closed() {
            std::thread::sleep(LOOK);
            let more = std::iter::from_fn(|| records.try_recv().ok());
            batch.extend(more.take(COMMIT_RECORDS_MAX));
        }
        last = Some(Instant::now());
        write_batch(shared, journal, &mut batch);
        shared.gathers(false);
    }
    // What control has need not be sent again after a restart.
    write_batch(shared, journal, &mut batch);
    if let Err(error) = shared.close() {
        tracing::warn!(%error, "the usage spool was not closed in order");
    }
}

/// Whether this many records wait for more, this long after the last commit.
fn gathers(records: usize, since: Option<Duration>) -> bool {
    let pause = match records {
        ..FEW_RECORDS => GATHER_FEW,
        FEW_RECORDS..ENOUGH_RECORDS => GATHER,
        ENOUGH_RECORDS.. => Duration::ZERO,
    };
    since.is_some_and(|since| since < pause)
}

/// Commits a batch, for as long as it takes: a full disk may get space again, and admission stops meanwhile if the
/// queue fills up. Control gets records only after they have left the journal.
fn write_batch(shared: &QueueStore, journal: &Journal, batch: &mut Vec<EndedRecord>) {
    let mut wait = RETRY_FIRST;
    let first = shared.next();
    number(batch, first);
    while let Err(error) = shared.append(first, batch) {
        tracing::error!(%error, "usage cannot be spooled; trying again");
        std::thread::sleep(wait);
        wait = (wait * 2).min(RETRY_LAST);
    }
    let mut tickets = batch.drain(..).filter_map(|record| record.ticket);
    loop {
        let some: Vec<_> = tickets.by_ref().take(REMOVE_MAX).collect();
        if some.is_empty() {
            break;
        }
        journal.remove(some);
    }
    drop(tickets);
    journal.rest();
    shared.tell();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_records_wait_for_others_and_many_or_the_first_do_not() {
        let after = |ms| Some(Duration::from_millis(ms));
        assert!(!gathers(1, None));
        for few in [1, FEW_RECORDS - 1] {
            assert!(gathers(few, after(699)) && !gathers(few, after(700)));
        }
        for more in [FEW_RECORDS, ENOUGH_RECORDS - 1] {
            assert!(gathers(more, after(99)) && !gathers(more, after(100)));
        }
        assert!(!gathers(ENOUGH_RECORDS, after(0)));
    }
}
