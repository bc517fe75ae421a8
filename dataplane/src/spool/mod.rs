//! Usage on disk until control has it. A call that is sent is noted in the journal, and its record replaces the note
//! before the client has the end of the response.
//!
//! One thread moves ended records to the record queue, where they also survive a power cut. No call waits for the disk.

mod journal;
mod record_queue;
mod writer;

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use proxyxai_contract::{
    bill::CallBill,
    clock::Clock,
    convert::{record_from_bytes, record_to_bytes, sequence_bytes},
    usage::UsageRecord,
};
use tokio::sync::mpsc;

#[cfg(test)]
pub(crate) use self::writer::{GATHER_FEW, LOOK};
pub(crate) use self::{journal::JournalTicket, record_queue::RecordQueue, writer::SpoolWriter};
use self::{
    journal::{Journal, RecoveredEntry},
    record_queue::QueueStore,
};
use crate::Error;

/// Records that may wait for the writer: far more than calls can end during one sync.
const QUEUE_RECORDS_MAX: usize = 65_536;
/// Kept free for in-flight calls when the queue fills up.
const QUEUE_RECORDS_SPARE: usize = 16_384;

/// Takes records; cheap to clone. The writer ends when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    journal: Arc<Journal>,
    ended: mpsc::Sender<EndedRecord>,
}

/// The record of an ended call on its way to the record queue, without a sequence number.
struct EndedRecord {
    /// Its entry in the journal; `None` if the journal could not take it.
    ticket: Option<JournalTicket>,
    bytes: Vec<u8>,
}

/// An open spool.
pub(crate) struct OpenedSpool {
    pub(crate) spool: Spool,
    pub(crate) record_queue: RecordQueue,
    pub(crate) writer: SpoolWriter,
    /// Records left from before, including those of in-flight calls.
    pub(crate) backlog: Vec<UsageRecord>,
}

const IN_USE: &str =
    "another process uses this DATA_DIR: end that one, or give each a DATA_DIR of its own";

/// Opens the spool in a directory and starts its writer.
///
/// # Errors
/// Errors if one of its files cannot be used.
pub(crate) fn open(directory: &Path, clock: &Clock) -> Result<OpenedSpool, Error> {
    let path = directory.join("spool.redb");
    let fail = |path: &Path, cause| Error::Spool {
        path: path.to_owned(),
        cause,
    };
    let shared = QueueStore::open(&path, clock).map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => fail(&path, IN_USE.into()),
        error => fail(&path, error.into()),
    })?;
    let path = directory.join("journal.map");
    if shared.torn {
        // Its pages may have reached the disk in any order, and it is mapped unchecked.
        tracing::error!(
            "the system went down under the data plane: calls that were under way and records of the last moment are lost"
        );
        discard(&path).map_err(|error| fail(&path, error.into()))?;
    }
    let (journal, left) =
        Journal::open(&path, shared.tickets_after()).map_err(|error| fail(&path, error.into()))?;
    let path = directory.join("spool.redb");
    let left = recovered(&shared, left);
    shared
        .append_left(left)
        .map_err(|error| fail(&path, error.into()))?;
    journal.clear();
    let stored = shared
        .read(0, usize::MAX)
        .map_err(|error| fail(&path, error.into()))?;
    let backlog: Vec<_> = stored.iter().filter_map(|bytes| decode(bytes)).collect();
    shared.begin(backlog.first().map(|record| record.sequence));
    let (journal, shared) = (Arc::new(journal), Arc::new(shared));
    let (ended, records) = mpsc::channel(QUEUE_RECORDS_MAX);
    let writer = SpoolWriter::start(Arc::clone(&shared), Arc::clone(&journal), records)
        .map_err(|error| fail(&path, error.into()))?;
    Ok(OpenedSpool {
        spool: Spool { journal, ended },
        record_queue: RecordQueue::new(shared),
        writer,
        backlog,
    })
}

/// A record as the journal stores it. With names of full length there is no space for its attempts, the lines of its
/// bill and its tag; then a killed process leaves the cost without them.
fn entry(record: &UsageRecord) -> Vec<u8> {
    let bytes = record_to_bytes(record);
    match entry_of(record, &bytes) {
        Cow::Borrowed(_) => bytes,
        Cow::Owned(shorter) => shorter,
    }
}

fn entry_of<'a>(record: &UsageRecord, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    if bytes.len() <= journal::RECORD_BYTES_MAX {
        return Cow::Borrowed(bytes);
    }
    let shorter = UsageRecord {
        attempts: Vec::new(),
        ..record.clone()
    };
    let bytes = record_to_bytes(&shorter);
    if bytes.len() <= journal::RECORD_BYTES_MAX {
        return Cow::Owned(bytes);
    }
    Cow::Owned(record_to_bytes(&UsageRecord {
        sum: CallBill::default(),
        tag: String::new(),
        ..shorter
    }))
}

impl Spool {
    /// Notes a call that is about to be sent, as the record that it leaves if the process dies. Returns `None` if that
    /// cannot be written; then the call must not be sent.
    pub(crate) fn begin(&self, record: &UsageRecord) -> Option<JournalTicket> {
        self.journal.add(&entry(record))
    }

    /// Notes what is known of a call so far.
    pub(crate) fn note(&self, ticket: &mut JournalTicket, record: &UsageRecord) {
        self.journal.put(ticket, &entry(record));
    }

    /// Hands over the record of an ended call, which survives this process when this returns. The writer sets its
    /// sequence number.
    pub(crate) fn push(&self, ticket: Option<JournalTicket>, record: &UsageRecord) {
        let bytes = record_to_bytes(record);
        let ticket = match ticket {
            Some(mut ticket) => {
                self.journal.put(&mut ticket, &entry_of(record, &bytes));
                Some(ticket)
            }
            None => self.journal.add(&entry_of(record, &bytes)),
        };
        if self.ended.try_send(EndedRecord { ticket, bytes }).is_err() {
            // Admission stops long before the queue is full (`has_room`), so this needs a disk that has hung while
            // thousands of calls ended.
            tracing::error!(
                "the record queue takes no more records; one waits in the journal for a restart"
            );
        }
    }

    /// Records that wait for the writer.
    pub(crate) fn queued(&self) -> usize {
        QUEUE_RECORDS_MAX.saturating_sub(self.ended.capacity())
    }

    /// Whether new calls may begin: there is space for the records of all in-flight calls.
    pub(crate) fn has_room(&self) -> bool {
        self.ended.capacity() > QUEUE_RECORDS_SPARE && self.journal.has_room()
    }
}

/// Entries of the journal that are not in the record queue.
fn recovered(shared: &QueueStore, mut left: Vec<RecoveredEntry>) -> Vec<RecoveredEntry> {
    left.retain(|(ticket, _)| !shared.has_moved(*ticket));
    if !left.is_empty() {
        tracing::warn!(
            records = left.len(),
            "calls that were under way or had just ended when the data plane died are on record"
        );
    }
    left
}

/// Opens a file of the spool, readable by the owner only, since usage shows who asked for what.
fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn discard(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Sets the sequence numbers of records, from `next`.
fn number(records: &mut [EndedRecord], next: u64) {
    for (record, sequence) in records.iter_mut().zip(next..) {
        sequence_bytes(&mut record.bytes, sequence);
    }
}

fn decode(bytes: &[u8]) -> Option<UsageRecord> {
    let record = record_from_bytes(bytes);
    record
        .inspect_err(|error| tracing::error!(%error, "a spooled record cannot be read"))
        .ok()
}

#[cfg(test)]
mod tests;
