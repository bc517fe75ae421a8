//! Calls whose records are not in the record queue yet: in-flight calls, and those that have just ended. An entry is
//! the record that its call would leave if this process died now, so a restart has nothing to reconstruct.
//!
//! It survives the process (`kill -9`), not the machine: nothing here waits for the disk.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    slice,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use memmap2::MmapMut;

use super::private_file;

/// The longest record without the lines of its bill, all of whose texts are limited, takes less.
pub(super) const SLOT_BYTES: usize = 1536;
/// Open calls, plus ended ones that wait for the record queue. When all slots are in use, new calls are refused.
const SLOTS: usize = 65_536;
/// Kept free for in-flight calls, whose entries are rewritten.
const SLOTS_SPARE: usize = 1024;
/// Size of the counter at the start of the file: how many slots were ever used. The others are not read.
const TAKEN_BYTES: usize = 8;
/// If more slots than this were in use at once, the memory of the others is released when none is.
const REST_SLOTS: usize = 512;
/// Of each slot: checksum of the rest, ticket, version, length of the record.
const HEADER_BYTES: usize = 20;
/// The longest record that fits into a slot.
pub(super) const RECORD_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;

/// A slot of the file, which is a memory map, because a write to it is the only part of usage that a call waits for.
/// Measured in microseconds of the serving thread for the two writes of a call:
/// - slots 0.1 to 0.4
/// - one `write` each 1.5
/// - LMDB with a writable map 2.3 to 3.7, without one 11
/// - fjall 7.5 and a thread of its own
///
/// An entry is never changed in place: it is written to a free slot, and only then the one before is freed. So whenever
/// the process is killed, one of the two is complete, as its checksum shows.
type JournalSlot = [u8; SLOT_BYTES];

/// Identifies an entry, uniquely over restarts. Its holder may change the entry.
pub(crate) struct JournalTicket {
    pub(super) number: u64,
    version: u32,
    slot: &'static mut JournalSlot,
}

/// The open journal.
pub(super) struct Journal {
    slots: Mutex<Slots>,
    /// Number of free slots, to read without the lock.
    free: AtomicUsize,
    file: File,
}

/// Free slots.
struct Slots {
    /// Used before, the last one first: what was written lately is in the CPU cache.
    freed: Vec<&'static mut JournalSlot>,
    /// Not used by this process.
    fresh: slice::IterMut<'static, JournalSlot>,
    /// How many slots are no longer fresh; in the file.
    taken: &'static mut [u8; TAKEN_BYTES],
    next: u64,
    /// The most that were in use at once since they last rested.
    high: usize,
}

/// An entry from the run before: its ticket, and the record.
pub(super) type RecoveredEntry = (u64, Vec<u8>);

impl Journal {
    /// Opens the journal and returns what the run before left in it. Tickets begin after `after`.
    ///
    /// # Errors
    /// Errors if the file cannot be used.
    pub(super) fn open(path: &Path, after: u64) -> io::Result<(Self, Vec<RecoveredEntry>)> {
        let file = private_file(path)?;
        let left = left(&file)?;
        reserve(&file)?;
        // Tickets live until the process ends or outlive the journal, and so does the map.
        let (taken, slots) = Box::leak(Box::new(map(&file)?))
            .split_first_chunk_mut()
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let slots = Slots {
            freed: Vec::new(),
            fresh: slots.as_chunks_mut().0.iter_mut(),
            taken,
            next: after.saturating_add(1),
            high: 0,
        };
        let journal = Self {
            slots: Mutex::new(slots),
            free: AtomicUsize::new(SLOTS),
            file,
        };
        Ok((journal, left))
    }

    /// What was left is in the record queue: slots may be used from now on.
    pub(super) fn clear(&self) {
        *self.slots().taken = [0; TAKEN_BYTES];
    }

    /// Writes a new entry. Returns `None` if no slot is free.
    pub(super) fn add(&self, record: &[u8]) -> Option<JournalTicket> {
        let mut slots = self.slots();
        let slot = slots.take()?;
        let number = slots.next;
        slots.next = number.saturating_add(1);
        self.free.store(slots.free(), Ordering::Relaxed);
        drop(slots);
        let mut ticket = JournalTicket {
            number,
            version: 0,
            slot,
        };
        if ticket.write(record) {
            return Some(ticket);
        }
        self.remove([ticket]);
        None
    }

    /// Rewrites an entry. Returns whether that worked.
    pub(super) fn put(&self, ticket: &mut JournalTicket, record: &[u8]) -> bool {
        let Some(slot) = self.slots().take() else {
            return false;
        };
        let mut before = JournalTicket {
            number: ticket.number,
            version: ticket.version.wrapping_add(1),
            slot,
        };
        let written = before.write(record);
        if written {
            std::mem::swap(ticket, &mut before);
        }
        self.remove([before]);
        written
    }

    /// Removes entries.
    pub(super) fn remove(&self, tickets: impl IntoIterator<Item = JournalTicket>) {
        let mut slots = self.slots();
        for JournalTicket { slot, .. } in tickets {
            slot[..HEADER_BYTES].fill(0);
            slots.freed.push(slot);
        }
        self.free.store(slots.free(), Ordering::Relaxed);
    }

    /// Releases the memory of a burst once none of its entries are left.
    pub(super) fn rest(&self) {
        let (resting, bytes) = {
            let mut slots = self.slots();
            if slots.high <= REST_SLOTS || slots.free() < SLOTS {
                return;
            }
            // With none in use, these are the first ones of the file, now in file order.
            slots.freed.sort_unstable_by_key(|slot| slot.as_ptr());
            let resting = slots.freed.split_off(REST_SLOTS);
            let bytes = REST_SLOTS * SLOT_BYTES..slots.taken() * SLOT_BYTES;
            (resting, bytes)
        };
        // Without the lock, because it may wait for the disk; calls have the other slots meanwhile.
        if let Err(error) = zero(&self.file, bytes) {
            // A file system that does not support this keeps some memory; nothing else changes.
            tracing::debug!(%error, "the journal keeps its memory");
        }
        let mut slots = self.slots();
        slots.freed.splice(..0, resting);
        // Those that rested counted as in use meanwhile.
        slots.high = SLOTS - slots.free();
        self.free.store(slots.free(), Ordering::Relaxed);
    }

    /// Whether there is room for a new call.
    pub(super) fn has_room(&self) -> bool {
        self.free.load(Ordering::Relaxed) > SLOTS_SPARE
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Code under the lock cannot leave it half-changed.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn free(&self) -> usize {
        self.freed.len() + self.fresh.len()
    }

    /// How many slots are no longer fresh.
    fn taken(&self) -> usize {
        SLOTS - self.fresh.len()
    }

    fn take(&mut self) -> Option<&'static mut JournalSlot> {
        self.high = self.high.max(SLOTS.saturating_sub(self.free()) + 1);
        if let Some(slot) = self.freed.pop() {
            return Some(slot);
        }
        let slot = self.fresh.next()?;
        // What an earlier process left in it must not be read again once it counts as used.
        slot[..HEADER_BYTES].fill(0);
        let taken = u64::from_le_bytes(*self.taken).saturating_add(1);
        *self.taken = taken.to_le_bytes();
        Some(slot)
    }
}

impl JournalTicket {
    /// Returns `false` if the record is longer than a slot.
    fn write(&mut self, record: &[u8]) -> bool {
        let (header, rest) = self.slot.split_at_mut(HEADER_BYTES);
        let (Some(target), Ok(length)) =
            (rest.get_mut(..record.len()), u32::try_from(record.len()))
        else {
            tracing::error!(
                bytes = record.len(),
                "a usage record is too long for the journal"
            );
            return false;
        };
        target.copy_from_slice(record);
        let (checksum, facts) = header.split_at_mut(size_of::<u32>());
        facts[..8].copy_from_slice(&self.number.to_le_bytes());
        facts[8..12].copy_from_slice(&self.version.to_le_bytes());
        facts[12..].copy_from_slice(&length.to_le_bytes());
        checksum.copy_from_slice(&sum(facts, record).to_le_bytes());
        true
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for JournalTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.number).finish()
    }
}

/// Entries of the process before, in the order in which they were begun; the latest version of each.
fn left(file: &File) -> io::Result<Vec<RecoveredEntry>> {
    let mut taken = [0; TAKEN_BYTES];
    if file.metadata()?.len() < file_bytes() {
        return Ok(Vec::new());
    }
    file.read_exact_at(&mut taken, 0)?;
    let taken = usize::try_from(u64::from_le_bytes(taken)).map_or(SLOTS, |taken| taken.min(SLOTS));
    let mut bytes = vec![0; taken * SLOT_BYTES];
    file.read_exact_at(&mut bytes, TAKEN_BYTES as u64)?;
    let mut entries: Vec<_> = bytes.as_chunks().0.iter().filter_map(entry).collect();
    entries.sort_unstable_by_key(|(number, version, _)| (*number, std::cmp::Reverse(*version)));
    entries.dedup_by_key(|(number, ..)| *number);
    let whole = |(number, _, record): (u64, u32, &[u8])| (number, record.to_owned());
    Ok(entries.into_iter().map(whole).collect())
}

/// Ticket, version and record of a slot; `None` if it has no complete entry.
fn entry(slot: &JournalSlot) -> Option<(u64, u32, &[u8])> {
    let (checksum, rest) = slot.split_first_chunk()?;
    let (facts, rest) = rest.split_at_checked(HEADER_BYTES - size_of::<u32>())?;
    let (number, lengths) = facts.split_first_chunk()?;
    let (version, length) = lengths.split_first_chunk()?;
    let length = u32::from_le_bytes(*length.first_chunk()?);
    let record = rest.get(..usize::try_from(length).ok()?)?;
    let (number, version) = (u64::from_le_bytes(*number), u32::from_le_bytes(*version));
    let is_whole = number != 0 && u32::from_le_bytes(*checksum) == sum(facts, record);
    is_whole.then_some((number, version, record))
}

fn sum(facts: &[u8], record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(facts);
    hasher.update(record);
    hasher.finalize()
}

const fn file_bytes() -> u64 {
    (TAKEN_BYTES + SLOTS * SLOT_BYTES) as u64
}

#[expect(
    unsafe_code,
    reason = "a memory map is only as good as its file: the spool's lock keeps other processes off, and a journal that a power cut may have torn is not opened (see `spool::open`)"
)]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: only one process uses this file while it runs. Once it is open, only this map accesses it, and `zero`,
    // which empties only slots that have no holder.
    unsafe { MmapMut::map_mut(file) }
}

/// Allocates the whole file on disk now: a map that meets a full disk kills the process.
fn reserve(file: &File) -> io::Result<()> {
    file.set_len(file_bytes())?;
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            fs::{FallocateFlags, fallocate},
            io::Errno,
        };
        match fallocate(file, FallocateFlags::empty(), 0, file_bytes()) {
            // Not every file system supports this.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Empties the slots in this range of bytes, which must have no holder. Their pages leave memory; their space on disk
/// stays allocated.
#[cfg(target_os = "linux")]
fn zero(file: &File, slots: Range<usize>) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let (from, bytes) = (TAKEN_BYTES + slots.start, slots.len());
    Ok(fallocate(
        file,
        FallocateFlags::ZERO_RANGE,
        from as u64,
        bytes as u64,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn zero(_: &File, _: Range<usize>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    struct JournalFile(TempDir);

    impl JournalFile {
        fn new() -> Self {
            Self(TempDir::new().unwrap())
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("journal")
        }

        fn open(&self) -> (Journal, Vec<RecoveredEntry>) {
            Journal::open(&self.path(), 0).unwrap()
        }

        fn left(&self) -> Vec<RecoveredEntry> {
            left(&File::open(self.path()).unwrap()).unwrap()
        }
    }

    #[test]
    fn whenever_a_change_is_interrupted_one_whole_version_is_left() {
        let path = JournalFile::new();
        let (journal, _) = path.open();
        let ticket = journal.add(b"one").unwrap();
        let mut next = JournalTicket {
            number: ticket.number,
            version: 1,
            slot: journal.slots().take().unwrap(),
        };
        assert!(next.write(b"two!"));
        assert_eq!(path.left(), [(1, b"two!".to_vec())]);
        let whole = *next.slot;
        // The record is written first, then the header, then the checksum; but any order works.
        for cut in 0..HEADER_BYTES + 4 {
            *next.slot = whole;
            next.slot[cut] ^= 0x55;
            assert_eq!(path.left(), [(1, b"one".to_vec())]);
        }
    }

    #[test]
    fn what_a_run_has_taken_over_is_not_left_to_the_next() {
        let path = JournalFile::new();
        let (journal, _) = path.open();
        let _kept: Vec<_> = (0..9).map(|_| journal.add(b"of one").unwrap()).collect();
        let (journal, before) = path.open();
        assert_eq!(before.len(), 9);
        journal.clear();
        assert_eq!(path.left(), []);
        let mut ticket = journal.add(b"of two").unwrap();
        assert!(journal.put(&mut ticket, b"of two, again"));
        let other = journal.add(b"gone").unwrap();
        journal.remove([other]);
        assert_eq!(path.left(), [(1, b"of two, again".to_vec())]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn after_a_burst_the_journal_holds_no_memory_and_works_as_before() {
        let resident = |path: &JournalFile| {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let own = maps.split_once(path.path().to_str().unwrap()).unwrap().1;
            let line = own.lines().find(|line| line.starts_with("Rss:")).unwrap();
            let kib = line.split_whitespace().nth(1).unwrap();
            kib.parse::<usize>().unwrap()
        };
        let path = JournalFile::new();
        let (journal, _) = path.open();
        if zero(&journal.file, 0..SLOT_BYTES).is_err() {
            // Not every file system supports this: tmpfs, for instance.
            return;
        }
        journal.clear();
        let mut tickets: Vec<_> = (0..8 * REST_SLOTS)
            .map(|_| journal.add(b"burst").unwrap())
            .collect();
        let burst = resident(&path);
        let last = tickets.pop();
        journal.remove(tickets);
        journal.rest();
        assert!(resident(&path) >= burst, "a call is still under way");
        journal.remove(last);
        journal.rest();
        assert!(resident(&path) < burst / 2, "{burst} KiB before");
        assert!(journal.has_room() && journal.slots().free() == SLOTS);
        let mut ticket = journal.add(b"one").unwrap();
        assert!(journal.put(&mut ticket, b"other"));
        assert_eq!(path.left(), [(ticket.number, b"other".to_vec())]);
    }

    #[test]
    fn a_full_journal_takes_no_call_and_a_freed_slot_makes_room() {
        let path = JournalFile::new();
        let (journal, _) = path.open();
        let mut tickets: Vec<_> = (0..SLOTS - SLOTS_SPARE - 1)
            .map(|_| journal.add(b"x").unwrap())
            .collect();
        assert!(journal.has_room());
        tickets.extend((0..=SLOTS_SPARE).map(|_| journal.add(b"x").unwrap()));
        assert!(!journal.has_room());
        assert!(journal.add(b"x").is_none());
        // Nothing of it is lost.
        assert!(!journal.put(tickets.last_mut().unwrap(), b"y"));
        assert_eq!(path.left().len(), SLOTS);
        journal.remove(tickets.pop());
        assert!(journal.add(b"x").is_some());
    }

    #[test]
    fn a_record_that_is_too_long_is_not_taken() {
        let path = JournalFile::new();
        let (journal, _) = path.open();
        assert!(journal.add(&[1; SLOT_BYTES]).is_none());
        let mut ticket = journal.add(b"short").unwrap();
        assert!(!journal.put(&mut ticket, &[1; SLOT_BYTES]));
        assert_eq!(path.left(), [(ticket.number, b"short".to_vec())]);
    }
}
