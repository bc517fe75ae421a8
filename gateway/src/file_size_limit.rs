//! Files at the size limit of the process (`ulimit -f`): by default the system kills the process in the middle of a
//! write. With a signal handler the write fails instead, as on a full disk.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Installs the handler. Needs a runtime.
///
/// # Errors
/// Errors if the handler cannot be installed.
pub(crate) fn handle_sigxfsz() -> io::Result<()> {
    let too_long = rustix::process::Signal::XFSZ.as_raw();
    // Tokio never removes its handler.
    signal(SignalKind::from_raw(too_long)).map(drop)
}
