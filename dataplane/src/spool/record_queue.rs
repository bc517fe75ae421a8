//! Records of ended calls, in the order in which they are reported. Every commit is synced to disk.

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use proxyxai_contract::{
    clock::{Clock, Millis},
    convert::{pack_records, sequence_bytes, unpack_records},
};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, backends::FileBackend,
};
use tokio::sync::Notify;

use super::{EndedRecord, decode, discard, journal::RecoveredEntry, private_file};

/// Records of a commit, packed some at a time under the sequence number of the last of them: storing each by itself
/// would cost more than everything else that is done with it here.
const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
const PACK_RECORDS_MAX: usize = 128;
/// `epoch`; `next`, the sequence number after the last one ever given; `run`, how often the spool was opened; `boot`,
/// the boot of the system in which it was opened; `clean`, 1 if it was closed in order.
const MARKS: TableDefinition<'_, &str, u64> = TableDefinition::new("marks");
/// Under 0, the tickets of the last commit: if the process dies before it has removed them from the journal, the next
/// one must not store them again.
const MOVED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("moved");

/// The store's page cache. Records are written once and read once, so a small one is enough.
const CACHE_BYTES: usize = 2 * 1024 * 1024;
/// Bit from which on a ticket has the run.
const RUN_SHIFT: u32 = 40;
/// Identifies the boot of the system, to distinguish its restart from one of this process.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The records on disk; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RecordQueue(Arc<QueueStore>);

#[derive(Debug)]
pub(super) struct QueueStore {
    path: PathBuf,
    clock: Clock,
    /// `None` after a failure: the store then refuses everything and has to be reopened.
    database: RwLock<Option<Database>>,
    /// The last failure, until a write has succeeded again.
    fault: Mutex<Option<String>>,
    epoch: u64,
    run: u64,
    /// Whether the system stopped while the spool was open.
    pub(super) torn: bool,
    moved: HashSet<u64>,
    /// The last sequence number on disk.
    written: AtomicU64,
    /// The last sequence number that control has. Records up to it are deleted with the next commit.
    acknowledged: AtomicU64,
    /// Time in milliseconds since which records wait to be written; 0 if none do.
    gathering: AtomicI64,
    added: Notify,
}

impl QueueStore {
    /// # Errors
    /// Errors if the file cannot be used.
    pub(super) fn open(path: &Path, clock: &Clock) -> Result<Self, redb::Error> {
        let database = open_database(path)?;
        let transaction = database.begin_write()?;
        let (epoch, next, run, torn, moved);
        {
            let mut marks = transaction.open_table(MARKS)?;
            transaction.open_table(PACKS)?;
            let mark = |name| marks.get(name).map(|mark| mark.map(|mark| mark.value()));
            let new_epoch = u64::try_from(clock.now().0).unwrap_or(1);
            epoch = mark("epoch")?.unwrap_or(new_epoch);
            next = mark("next")?.unwrap_or(1);
            run = mark("run")?.unwrap_or_default().saturating_add(1);
            let boot = boot();
            torn = mark("boot")?.is_some_and(|before| before != boot) && mark("clean")? != Some(1);
            for (name, value) in [("epoch", epoch), ("run", run), ("boot", boot), ("clean", 0)] {
                marks.insert(name, value)?;
            }
            let table = transaction.open_table(MOVED)?;
            moved = table.get(0)?.map(|stored| tickets(stored.value()));
        }
        transaction.commit()?;
        Ok(Self {
            path: path.to_owned(),
            clock: clock.clone(),
            database: RwLock::new(Some(database)),
            fault: Mutex::new(None),
            epoch,
            run,
            torn,
            moved: moved.unwrap_or_default(),
            written: AtomicU64::new(next.saturating_sub(1)),
            acknowledged: AtomicU64::new(0),
            gathering: AtomicI64::new(0),
            added: Notify::new(),
        })
    }

    /// The ticket after which those of this run begin.
    pub(super) const fn tickets_after(&self) -> u64 {
        self.run << RUN_SHIFT
    }

    /// Whether the journal's entry with this ticket was stored when the queue was opened.
    pub(super) fn has_moved(&self, ticket: u64) -> bool {
        self.moved.contains(&ticket)
    }

    /// Stores what the run before left in the journal.
    pub(super) fn append_left(&self, mut left: Vec<RecoveredEntry>) -> Result<(), redb::Error> {
        if left.is_empty() {
            return Ok(());
        }
        for ((_, record), sequence) in left.iter_mut().zip(self.next()..) {
            sequence_bytes(record, sequence);
        }
        let records: Vec<_> = left.iter().map(|(_, record)| record.as_slice()).collect();
        let tickets: Vec<_> = left.iter().map(|(ticket, _)| *ticket).collect();
        self.commit(self.next(), &records, &tickets)
    }

    /// Starts reporting, with this record first.
    pub(super) fn begin(&self, first: Option<u64>) {
        let first = first.unwrap_or_else(|| self.next());
        self.acknowledged
            .store(first.saturating_sub(1), Ordering::Relaxed);
    }

    /// The sequence number of the next record.
    pub(super) fn next(&self) -> u64 {
        self.written.load(Ordering::Relaxed).saturating_add(1)
    }

    /// Commits records that are numbered from `first` on, and deletes those that control has. May be repeated: it is
    /// unknown whether a commit that failed has reached the disk.
    pub(super) fn append(&self, first: u64, batch: &[EndedRecord]) -> Result<(), redb::Error> {
        let records: Vec<_> = batch.iter().map(|ended| ended.bytes.as_slice()).collect();
        let tickets = batch.iter().filter_map(|ended| ended.ticket.as_ref());
        let tickets: Vec<_> = tickets.map(|ticket| ticket.number).collect();
        self.commit(first, &records, &tickets)
    }

    fn commit(&self, first: u64, batch: &[&[u8]], tickets: &[u64]) -> Result<(), redb::Error> {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let next = first.saturating_add(batch.len() as u64);
        self.with(|database| {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(PACKS)?;
                table.retain_in(..=acknowledged, |_, _| false)?;
                let mut last = first.saturating_sub(1);
                for records in batch.chunks(PACK_RECORDS_MAX) {
                    last = last.saturating_add(records.len() as u64);
                    let packed = pack_records(records.iter().copied());
                    table.insert(last, packed.as_slice())?;
                }
                transaction.open_table(MARKS)?.insert("next", next)?;
                if !batch.is_empty() {
                    let moved: Vec<u8> =
                        tickets.iter().copied().flat_map(u64::to_le_bytes).collect();
                    transaction.open_table(MOVED)?.insert(0, moved.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        })?;
        *self.fault() = None;
        self.written
            .store(next.saturating_sub(1), Ordering::Relaxed);
        Ok(())
    }

    /// Works with the store, and reopens it after a failure.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let done = self.reopen().and_then(|()| {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have failed since.
            work(database.as_ref().ok_or(redb::Error::DatabaseClosed)?)
        });
        done.inspect_err(|error| {
            let mut database = self
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            *database = None;
            *self.fault() = Some(error.to_string());
        })
    }

    /// Reopens the store if it is closed, and proves that it accepts a write.
    fn reopen(&self) -> Result<(), redb::Error> {
        let is_open = self
            .database
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        if is_open {
            return Ok(());
        }
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Ok(());
        }
        let database = open_database(&self.path)?;
        mark_clean(&database, 0)?;
        *slot = Some(database);
        if self.gathering.load(Ordering::Relaxed) == 0 {
            // Otherwise the waiting records have to be written first.
            *self.fault() = None;
        }
        tracing::info!("the usage spool was opened again");
        Ok(())
    }

    fn fault(&self) -> MutexGuard<'_, Option<String>> {
        // The text is replaced as a whole.
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether records wait to be written.
    pub(super) fn gathers(&self, begins: bool) {
        let since = if begins { self.clock.now().0 } else { 0 };
        self.gathering.store(since, Ordering::Relaxed);
    }

    /// Notifies the reader that there are more records.
    pub(super) fn tell(&self) {
        self.added.notify_one();
    }

    /// Notes that the journal is empty.
    pub(super) fn close(&self) -> Result<(), redb::Error> {
        self.with(|database| mark_clean(database, 1))
    }

    /// Up to `count` records after this sequence number.
    pub(super) fn read(&self, after: u64, count: usize) -> Result<Vec<Bytes>, redb::Error> {
        self.with(|database| read(database, after, count))
    }
}

impl RecordQueue {
    pub(super) fn new(shared: Arc<QueueStore>) -> Self {
        Self(shared)
    }

    /// Start time of this spool.
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

    /// The oldest records that control does not have yet, up to `count`, as they are stored.
    ///
    /// # Errors
    /// Errors if they cannot be read now.
    pub(crate) fn oldest(&self, count: usize) -> Result<Vec<Bytes>, redb::Error> {
        let acknowledged = self.0.acknowledged.load(Ordering::Relaxed);
        let read = self.0.read(acknowledged, count);
        read.inspect_err(|error| tracing::error!(%error, "the usage spool cannot be read"))
    }

    /// When the call ended whose record has waited longest, on disk or on its way there.
    pub(crate) fn waiting_since(&self) -> Option<Millis> {
        let oldest = self.oldest(1).unwrap_or_default();
        let on_disk = oldest
            .first()
            .and_then(|bytes| decode(bytes))
            .map(|record| {
                let duration_ms = i64::try_from(record.duration_ms).unwrap_or(i64::MAX);
                record.start.plus(duration_ms)
            });
        let gathering = self.0.gathering.load(Ordering::Relaxed);
        on_disk.or_else(|| (gathering != 0).then_some(Millis(gathering)))
    }

    /// Why the disk accepts no records; `None` if it does.
    pub(crate) fn fault(&self) -> Option<String> {
        self.0.fault().clone()
    }

    /// Drops the oldest record that control does not have.
    pub(crate) fn skip_one(&self) {
        let acknowledged = self.0.acknowledged.load(Ordering::Relaxed);
        self.acknowledge(acknowledged.saturating_add(1));
    }

    /// Control has the records through this sequence number. They leave the disk with the next commit; until then a
    /// restart would send them again, and control knows them by their ids.
    pub(crate) fn acknowledge(&self, through: u64) {
        self.0.acknowledged.fetch_max(through, Ordering::Relaxed);
    }
}

fn open_database(path: &Path) -> Result<Database, redb::Error> {
    if !path.try_exists()? {
        create_database(path)?;
    }
    open_file(path)
}

/// Creates the file under another name first: an unfinished file is not a database, and the next start would refuse it.
fn create_database(path: &Path) -> Result<(), redb::Error> {
    let begun = path.with_extension("new");
    discard(&begun)?;
    drop(open_file(&begun)?);
    std::fs::rename(&begun, path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    Ok(File::open(directory)?.sync_all()?)
}

fn open_file(path: &Path) -> Result<Database, redb::Error> {
    let file = private_file(path)?;
    Ok(Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file)?)?)
}

fn mark_clean(database: &Database, clean: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(MARKS)?.insert("clean", clean)?;
    Ok(transaction.commit()?)
}

fn read(database: &Database, after: u64, count: usize) -> Result<Vec<Bytes>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(PACKS)?;
    let mut records = Vec::new();
    for entry in table.range(after.saturating_add(1)..)? {
        let (last, packed) = entry?;
        let packed = unpack_records(Bytes::copy_from_slice(packed.value()))
            .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
        // Of a pack that control has in part, return the rest.
        let wanted = last.value().saturating_sub(after);
        let known = packed
            .len()
            .saturating_sub(usize::try_from(wanted).unwrap_or(usize::MAX));
        records.extend(packed.into_iter().skip(known));
        if records.len() >= count {
            records.truncate(count);
            break;
        }
    }
    Ok(records)
}

fn tickets(stored: &[u8]) -> HashSet<u64> {
    stored
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .collect()
}

/// The boot of the system; 0 if it is unknown.
fn boot() -> u64 {
    let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}
