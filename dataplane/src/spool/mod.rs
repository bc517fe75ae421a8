//! Usage records on disk until control has them. One writer thread commits what has come since its
//! last commit in one transaction, so that a sync to disk is shared by all calls of that moment and
//! no call waits for it.

use std::{
    convert::Infallible,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proxyxai_contract::{
    clock::Clock,
    convert::{record_from_bytes, record_to_bytes},
    usage::UsageRecord,
};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, backends::FileBackend,
};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::Error;

/// Sequence to encoded record.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
/// `epoch` and `next`, the sequence after the last one ever given.
const MARKS: TableDefinition<'_, &str, u64> = TableDefinition::new("marks");

/// Records that may wait for the writer. Far more than calls can end during one sync.
const QUEUE_RECORDS_MAX: usize = 65_536;
/// Room kept for calls that are under way when the queue fills.
const QUEUE_RECORDS_SPARE: usize = 16_384;
/// Records of one commit.
const COMMIT_RECORDS_MAX: usize = 4096;
/// After a commit of so many the next one waits a little for more: the pages that a commit touches
/// cost more than the records on them.
const BUSY_RECORDS: usize = 32;
const GATHER: Duration = Duration::from_millis(10);
/// Between attempts to write to a disk that refuses: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// The store's page cache. Records are written once and read once, so little is enough.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// Takes finished records; cheap to clone. The writer ends when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Spool(mpsc::Sender<UsageRecord>);

/// The records on disk; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    database: Database,
    epoch: u64,
    /// The last sequence on disk.
    written: AtomicU64,
    /// The last sequence that control has. What is up to here goes with the next commit.
    acknowledged: AtomicU64,
    added: Notify,
}

/// The writer thread's end.
#[derive(Debug)]
pub(crate) struct Writer {
    closed: oneshot::Receiver<Infallible>,
}

/// An open spool.
pub(crate) struct Opened {
    pub(crate) spool: Spool,
    pub(crate) shelf: Shelf,
    pub(crate) writer: Writer,
    /// What was left from before.
    pub(crate) backlog: Vec<UsageRecord>,
}

/// Opens the spool and starts its writer.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn open(path: &Path, clock: &Clock) -> Result<Opened, Error> {
    let fail = |cause: redb::Error| Error::Spool {
        path: path.to_owned(),
        cause: cause.into(),
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        // Usage tells who asked for what, and is nobody else's business.
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(error.into()))?;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file).map_err(|error| fail(error.into()))?)
        .map_err(|error| fail(error.into()))?;
    let (epoch, next) = marks(&database, clock).map_err(fail)?;
    let stored = read(&database, 0, usize::MAX).map_err(fail)?;
    let backlog: Vec<_> = stored.iter().filter_map(|bytes| decode(bytes)).collect();
    let first = backlog.first().map_or(next, |record| record.sequence);
    let shared = Arc::new(Shared {
        database,
        epoch,
        written: AtomicU64::new(next.saturating_sub(1)),
        acknowledged: AtomicU64::new(first.saturating_sub(1)),
        added: Notify::new(),
    });
    let (queue, records) = mpsc::channel(QUEUE_RECORDS_MAX);
    let (ended, closed) = oneshot::channel::<Infallible>();
    let writer = Arc::clone(&shared);
    std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || {
            write_all(&writer, records, next);
            // Dropping the sender is what tells.
            drop(ended);
        })
        .map_err(|error| Error::Spool {
            path: path.to_owned(),
            cause: error.into(),
        })?;
    Ok(Opened {
        spool: Spool(queue),
        shelf: Shelf(shared),
        writer: Writer { closed },
        backlog,
    })
}

impl Spool {
    /// Hands over a finished record. Its sequence is given by the writer.
    pub(crate) fn push(&self, record: UsageRecord) {
        if let Err(refused) = self.0.try_send(record) {
            // Admission stops long before the queue is full (`has_room`), so this needs a disk that
            // has hung while thousands of calls ended.
            tracing::error!(error = %refused, "a usage record was lost: the spool takes no more");
        }
    }

    /// Whether new calls may begin: there is room for the records of all that are under way.
    pub(crate) fn has_room(&self) -> bool {
        self.0.capacity() > QUEUE_RECORDS_SPARE
    }
}

impl Shelf {
    /// Start of this spool.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.epoch
    }

    /// Records on disk that control does not have yet.
    pub(crate) fn depth(&self) -> u64 {
        let written = self.0.written.load(Ordering::Relaxed);
        written.saturating_sub(self.0.acknowledged.load(Ordering::Relaxed))
    }

    /// Waits until a record has been committed since the last call.
    pub(crate) async fn added(&self) {
        self.0.added.notified().await;
    }

    /// The oldest records that control does not have yet, at most `count`, as they are stored.
    pub(crate) fn oldest(&self, count: usize) -> Vec<Vec<u8>> {
        let acknowledged = self.0.acknowledged.load(Ordering::Relaxed);
        read(&self.0.database, acknowledged, count).unwrap_or_else(|error| {
            tracing::error!(%error, "the usage spool cannot be read");
            Vec::new()
        })
    }

    /// Gives up the oldest record that control does not have.
    pub(crate) fn skip_one(&self) {
        let acknowledged = self.0.acknowledged.load(Ordering::Relaxed);
        self.acknowledge(acknowledged.saturating_add(1));
    }

    /// Control has the records through this sequence. They leave the disk with the next commit; until
    /// then a restart would send them again, and control knows them by their ids.
    pub(crate) fn acknowledge(&self, through: u64) {
        self.0.acknowledged.fetch_max(through, Ordering::Relaxed);
    }
}

impl Writer {
    /// Waits until everything handed over is on disk. Every `Spool` must be gone by then; an answer
    /// that was cut at the end of the drain may hold one a moment longer, so the wait is bounded.
    pub(crate) async fn close(self) {
        let patience = Duration::from_secs(2);
        if tokio::time::timeout(patience, self.closed).await.is_err() {
            tracing::debug!("the spool writer still had a sender when the data plane stopped");
        }
    }
}

/// Epoch of this spool and the next sequence, made up when the file is new.
fn marks(database: &Database, clock: &Clock) -> Result<(u64, u64), redb::Error> {
    let transaction = database.begin_write()?;
    let (epoch, next) = {
        let mut marks = transaction.open_table(MARKS)?;
        transaction.open_table(RECORDS)?;
        let epoch = marks.get("epoch")?.map(|mark| mark.value());
        let epoch = epoch.unwrap_or_else(|| u64::try_from(clock.now().0).unwrap_or(1));
        marks.insert("epoch", epoch)?;
        let next = marks.get("next")?.map_or(1, |mark| mark.value());
        (epoch, next)
    };
    transaction.commit()?;
    Ok((epoch, next))
}

fn write_all(shared: &Shared, mut records: mpsc::Receiver<UsageRecord>, mut next: u64) {
    let mut batch = Vec::new();
    let mut busy = false;
    while records.blocking_recv_many(&mut batch, COMMIT_RECORDS_MAX) > 0 {
        if busy {
            std::thread::sleep(GATHER);
            let more = std::iter::from_fn(|| records.try_recv().ok());
            batch.extend(more.take(COMMIT_RECORDS_MAX));
        }
        busy = batch.len() >= BUSY_RECORDS;
        for record in &mut batch {
            record.sequence = next;
            next += 1;
        }
        commit(shared, &batch, next);
        batch.clear();
    }
    // What control has by now need not be sent again after a restart.
    commit(shared, &[], next);
}

/// Commits a batch, however long that takes: a full disk may get room again, and admission stops
/// when the queue fills meanwhile.
fn commit(shared: &Shared, batch: &[UsageRecord], next: u64) {
    let mut wait = RETRY_FIRST;
    while let Err(error) = append(shared, batch, next) {
        tracing::error!(%error, "usage cannot be spooled; trying again");
        std::thread::sleep(wait);
        wait = (wait * 2).min(RETRY_LAST);
    }
    shared
        .written
        .store(next.saturating_sub(1), Ordering::Relaxed);
    shared.added.notify_one();
}

fn append(shared: &Shared, batch: &[UsageRecord], next: u64) -> Result<(), redb::Error> {
    let acknowledged = shared.acknowledged.load(Ordering::Relaxed);
    let transaction = shared.database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        table.retain_in(..=acknowledged, |_, _| false)?;
        for record in batch {
            table.insert(record.sequence, record_to_bytes(record).as_slice())?;
        }
        transaction.open_table(MARKS)?.insert("next", next)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database, after: u64, count: usize) -> Result<Vec<Vec<u8>>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RECORDS)?;
    let stored = table.range(after.saturating_add(1)..)?.take(count);
    let mut records = Vec::new();
    for entry in stored {
        records.push(entry?.1.value().to_owned());
    }
    Ok(records)
}

fn decode(bytes: &[u8]) -> Option<UsageRecord> {
    let record = record_from_bytes(bytes);
    record
        .inspect_err(|error| tracing::error!(%error, "a spooled record cannot be read"))
        .ok()
}
