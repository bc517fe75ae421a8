//! Files that may not grow any further (`ulimit -f`): the system would end the process in the middle of a write
//! without a word. With a handler in place the write fails, as it does on a full disk.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// From now on. Needs a runtime.
///
/// # Errors
/// When the handler cannot be set up.
pub(crate) fn handle_sigxfsz() -> io::Result<()> {
    let too_long = rustix::process::Signal::XFSZ.as_raw();
    // Tokio keeps its handler for good.
    signal(SignalKind::from_raw(too_long)).map(drop)
}
