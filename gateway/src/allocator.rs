//! Returns memory to the system after a burst of calls.

use std::{hint::black_box, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Often enough to release a burst within a minute, and too seldom to cost anything.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);
/// The allocator tidies the lists of a thread after this many blocks that are not small.
const BLOCKS: usize = 10_000;
const BLOCK_BYTES: usize = 2 * 1024;
/// More than the allocator keeps in any list.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

/// The ticks at which a thread trims.
pub(crate) fn trim_interval() -> Interval {
    let mut breaths = interval(TRIM_INTERVAL);
    breaths.set_missed_tick_behavior(MissedTickBehavior::Delay);
    breaths
}

/// Allocates blocks and frees them untouched, which costs half a millisecond. The allocator collects other threads'
/// frees, and returns memory unused for a second, but only during allocations: an idle process would keep the memory of
/// the last burst.
pub(crate) fn trim_allocator() {
    for _ in 0..BLOCKS {
        drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES)));
    }
    drop(black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

/// Trims on the threads of a runtime, whichever is free, until dropped.
pub(crate) async fn trim_periodically() {
    let mut breaths = trim_interval();
    loop {
        breaths.tick().await;
        trim_allocator();
    }
}
