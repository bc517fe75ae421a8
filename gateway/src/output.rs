//! What commands print. A closed pipe (`| head`) is not an error: the command runs to its end and prints no more. Other
//! write errors, such as a full disk, are reported at the end.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
    sync::OnceLock,
};

/// The first write error.
static PROBLEM: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to the standard output.
macro_rules! tell {
    ($($line:tt)*) => {
        crate::output::print(format_args!("{}\n", format_args!($($line)*)))
    };
}

/// Prints a line to the standard error.
macro_rules! complain {
    ($($line:tt)*) => {
        crate::output::print_error(format_args!($($line)*))
    };
}

pub(crate) use {complain, tell};

/// Prints to the standard output.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        // Keep only the first.
        let _kept: Result<(), io::Error> = PROBLEM.set(error);
    }
}

/// Prints a line to the standard error. If that fails, there is nowhere to report it.
pub(crate) fn print_error(line: fmt::Arguments<'_>) {
    let _unwritten: io::Result<()> = writeln!(io::stderr(), "{line}");
}

/// The first write error, if there was one.
pub(crate) fn first_write_error() -> Option<&'static io::Error> {
    PROBLEM.get()
}
