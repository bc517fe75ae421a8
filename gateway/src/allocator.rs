//! Memory that a burst of calls needed goes back to the system when it is over.

use std::{hint::black_box, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Often enough for a burst to be forgotten within a minute, and too seldom to cost anything.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
/// The allocator tidies the lists of a thread after so many blocks that are not small.
const BLOCKS: usize = 10_000;
const BLOCK_BYTES: usize = 2 * 1024;
/// More than it keeps in any list.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// When a thread breathes.
pub(crate) fn trim_interval() -> Interval {
    let mut breaths = interval(TRIM_INTERVAL);
    breaths.set_missed_tick_behavior(MissedTickBehavior::Delay);
    breaths
}

/// Takes blocks and gives them back untouched, which costs half a millisecond. The allocator gathers what
/// other threads freed, and returns what has been free for a second, but only while blocks come and go: a
/// process that rests after a burst would keep what the burst needed.
pub(crate) fn trim_allocator() {
    for _ in 0..BLOCKS {
        drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
    }
    drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Breathes on the threads of a runtime, on whichever is free, until it is dropped.
pub(crate) async fn trim_periodically() {
    let mut breaths = trim_interval();
    loop {
        breaths.tick().await;
        trim_allocator();
    }
}
