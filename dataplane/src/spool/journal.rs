//! Calls that are not on the shelf yet: those under way, and those that have just ended. An entry is
//! the record that its call would leave if this process died now, so that a restart has nothing to
//! work out. It outlives the process (`kill -9`), not the machine: nothing here waits for the disk.
//!
//! LMDB in a memory map, chosen by measurement (two writes of 260 bytes for each call, two threads at
//! 10,000 calls a second; microseconds of the serving thread, of the whole process): LMDB with a
//! writable map 2.3 and 3.1, without one 11 and 12, fjall 7.5 and 13.6 and a thread of its own. redb
//! keeps what it has not synced in memory.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use heed::{
    Database, Env, EnvFlags, EnvOpenOptions, PutFlags, WithoutTls,
    byteorder::BigEndian,
    types::{Bytes, U64},
};

/// Room for the calls that may be open and those that wait for the shelf, at most 1 KiB each and mostly
/// a third of that. When it is full, new calls are refused.
const MAP_BYTES: usize = 64 * 1024 * 1024;

/// Entries by ticket.
type Entries = Database<U64<BigEndian>, Bytes>;

/// Names an entry; unique over restarts. Whoever holds it may change the entry.
#[derive(Debug)]
pub(crate) struct Ticket(pub(super) u64);

/// The journal in use.
pub(super) struct Journal {
    /// Locked for each write: LMDB has one writer anyway, and its own lock costs more.
    entries: Mutex<(Env<WithoutTls>, Entries)>,
    next: AtomicU64,
    failing: AtomicBool,
}

/// An entry that was left: its ticket, and the record.
pub(super) type Left = (u64, Vec<u8>);

impl Journal {
    /// Opens the journal and returns what the run before left in it. Tickets begin after `after`.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub(super) fn open(path: &Path, after: u64) -> Result<(Self, Vec<Left>), heed::Error> {
        let env = map(path)?;
        reserve(&env)?;
        let mut transaction = env.write_txn()?;
        let entries: Entries = env.create_database(&mut transaction, None)?;
        let mut left = Vec::new();
        for entry in entries.iter(&transaction)? {
            let (ticket, bytes) = entry?;
            left.push((ticket, bytes.to_owned()));
        }
        transaction.commit()?;
        let journal = Self {
            entries: Mutex::new((env, entries)),
            next: AtomicU64::new(after.saturating_add(1)),
            failing: AtomicBool::new(false),
        };
        Ok((journal, left))
    }

    /// Writes a new entry.
    pub(super) fn add(&self, record: &[u8]) -> Option<Ticket> {
        let mut number = 0;
        // Numbered under the lock, so that it goes to the end, where no search is needed.
        let written = self.write(|entries, transaction| {
            number = self.next.fetch_add(1, Ordering::Relaxed);
            entries.put_with_flags(transaction, PutFlags::APPEND, &number, record)
        });
        written.then_some(Ticket(number))
    }

    /// Writes an entry anew. Says whether that worked.
    pub(super) fn put(&self, ticket: &Ticket, record: &[u8]) -> bool {
        self.write(|entries, transaction| entries.put(transaction, &ticket.0, record))
    }

    /// Takes entries out.
    pub(super) fn remove(&self, tickets: &[u64]) {
        self.write(|entries, transaction| {
            for ticket in tickets {
                entries.delete(transaction, ticket)?;
            }
            Ok(())
        });
    }

    /// Takes all entries out.
    pub(super) fn clear(&self) {
        self.write(Entries::clear);
    }

    /// Whether the last write worked.
    pub(super) fn is_well(&self) -> bool {
        !self.failing.load(Ordering::Relaxed)
    }

    fn write(
        &self,
        change: impl FnOnce(&Entries, &mut heed::RwTxn<'_>) -> Result<(), heed::Error>,
    ) -> bool {
        // A panic elsewhere has dropped its transaction, which takes it back.
        let guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (env, entries) = &*guard;
        let written = env.write_txn().and_then(|mut transaction| {
            change(entries, &mut transaction)?;
            transaction.commit()
        });
        if let Err(error) = &written {
            tracing::error!(%error, "the journal of open calls cannot be written");
        }
        let failed = written.is_err();
        if self.failing.load(Ordering::Relaxed) != failed {
            self.failing.store(failed, Ordering::Relaxed);
        }
        !failed
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

#[expect(
    unsafe_code,
    reason = "a memory map is only as good as its file: the spool's lock keeps other processes off, and a journal that a power cut may have torn is not opened (see `spool::open`)"
)]
fn map(path: &Path) -> Result<Env<WithoutTls>, heed::Error> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES);
    let flags = EnvFlags::WRITE_MAP
        | EnvFlags::NO_SUB_DIR
        | EnvFlags::NO_SYNC
        | EnvFlags::NO_META_SYNC
        | EnvFlags::NO_LOCK
        | EnvFlags::NO_MEM_INIT;
    // SAFETY: one process opens this file, and one thread at a time writes to it.
    unsafe {
        options.flags(flags);
        options.open(path)
    }
}

/// Takes the whole file's room on disk now: a map that meets a full disk ends the process.
#[cfg(target_os = "linux")]
fn reserve(env: &Env<WithoutTls>) -> Result<(), heed::Error> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };

    let file = env.try_clone_inner_file()?;
    match fallocate(&file, FallocateFlags::empty(), 0, MAP_BYTES as u64) {
        // Not every file system can.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(heed::Error::Io(error.into())),
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Linux")]
fn reserve(_: &Env<WithoutTls>) -> Result<(), heed::Error> {
    Ok(())
}
