//! What commands print for their operator. Whoever reads may have seen enough (`| head`), which is no fault: the
//! command goes on to its end without a word. A disk that is full is one, and is told at the end.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
    sync::OnceLock,
};

/// The first thing that went wrong.
static PROBLEM: OnceLock<io::Error> = OnceLock::new();

/// Prints to the standard output, with a line's end.
macro_rules! tell {
    ($($line:tt)*) => {
        crate::output::print(format_args!("{}\n", format_args!($($line)*)))
    };
}

/// Prints to the standard error, with a line's end.
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
        // Only the first is kept.
        let _kept: Result<(), io::Error> = PROBLEM.set(error);
    }
}

/// Prints a line to the standard error, beyond which there is nowhere to complain.
pub(crate) fn print_error(line: fmt::Arguments<'_>) {
    let _unwritten: io::Result<()> = writeln!(io::stderr(), "{line}");
}

/// Whether something could not be printed, and why.
pub(crate) fn first_write_error() -> Option<&'static io::Error> {
    PROBLEM.get()
}
