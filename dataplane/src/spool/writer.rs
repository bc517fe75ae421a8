//! Moves records of ended calls from the journal to the shelf. One commit takes what has come since the
//! last one, so that a sync to disk is shared by all calls of that moment. It sets the pace of reports as well: they
//! follow commits.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{EndedRecord, journal::Journal, number, record_queue::QueueStore};

/// Records of one commit.
const COMMIT_RECORDS_MAX: usize = 4096;
/// From one commit to the next: what a commit touches, its sync, and the report and the transaction that
/// follow it cost far more than a record. Meanwhile records are in the journal, so only a power cut could
/// tell the difference. What comes after a pause is committed at once.
const GATHER: Duration = Duration::from_millis(100);
/// The same while there are few records, which do not pay for a commit: each costs more than a millisecond of processor.
pub(crate) const GATHER_FEW: Duration = Duration::from_millis(700);
const FEW_RECORDS: usize = 256;
/// With so many there is no more to save, and each that waits holds a page or so of the journal in memory.
const ENOUGH_RECORDS: usize = 1024;
/// How often new records are looked for meanwhile.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// Entries that leave the journal at once; calls that begin or end wait meanwhile.
const REMOVE_MAX: usize = 64;
/// Between attempts to write to a disk that refuses: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// The writer thread's end.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    closed: oneshot::Receiver<Infallible>,
}

impl SpoolWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no more threads.
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
                // Dropping the sender is what tells that the files are closed.
                drop((shared, journal));
                drop(ended);
            })?;
        Ok(Self { closed })
    }

    /// Waits until everything handed over is on disk. Every `Spool` must be gone by then; an answer
    /// that was cut at the end of the drain may hold one a moment longer, so the wait is bounded.
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
        // Once nobody can hand over any more, what is here is awaited.
        while gathers(batch.len(), last.map(|last| last.elapsed())) && !records.is_closed() {
            std::thread::sleep(LOOK);
            let more = std::iter::from_fn(|| records.try_recv().ok());
            batch.extend(more.take(COMMIT_RECORDS_MAX));
        }
        last = Some(Instant::now());
        write_batch(shared, journal, &mut batch);
        shared.gathers(false);
    }
    // What control has by now need not be sent again after a restart.
    write_batch(shared, journal, &mut batch);
    if let Err(error) = shared.close() {
        tracing::warn!(%error, "the usage spool was not closed in order");
    }
}

/// Whether so many records wait for more to come, so long after the last commit.
fn gathers(records: usize, since: Option<Duration>) -> bool {
    let pause = match records {
        ..FEW_RECORDS => GATHER_FEW,
        FEW_RECORDS..ENOUGH_RECORDS => GATHER,
        ENOUGH_RECORDS.. => Duration::ZERO,
    };
    since.is_some_and(|since| since < pause)
}

/// Shelves a batch, however long that takes: a full disk may get room again, and admission stops
/// when the queue fills meanwhile. Control hears of records only after they have left the journal.
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
