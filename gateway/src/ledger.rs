//! `proxyxai verify` and `proxyxai export`: check and export the books from the command line. They read the same store
//! as control, which may be running.

use std::{
    io::{ErrorKind, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::civil::Date;
use proxyxai_contract::clock::Clock;
use proxyxai_control::{OfflineStore, model::DateRange};

use crate::{config::Config, console, file_size_limit, output::tell, ownership};

/// Exit code if the books do not balance.
const EXIT_UNBALANCED: u8 = 1;
const EXIT_UNREADABLE: u8 = 2;

/// What to export.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExportKind {
    /// Single calls, by account and time.
    Usage,
    /// Postings, in the order in which they were written.
    Ledger,
}

/// Recomputes the books and prints what is wrong with them.
pub(crate) fn verify(config: &Config) -> ExitCode {
    match block_on(print_verification(config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => EXIT_UNBALANCED.into(),
        Err(error) => {
            console::print_failure(&error);
            EXIT_UNREADABLE.into()
        }
    }
}

async fn print_verification(config: &Config) -> anyhow::Result<bool> {
    let store = open_store(config).await?;
    let books = store
        .verify()
        .await
        .context("the books could not be read to their end")?;
    tell!(
        "{} accounts, {} entries, {} postings, {} usage records",
        books.accounts,
        books.entries,
        books.postings(),
        books.records
    );
    for total in &books.totals {
        tell!("{:>10} {:>28}", total.book, total.amount.to_string());
    }
    let (works, held) = books.pending;
    if works > 0 {
        tell!("{works} works end after their calls and are yet to be paid; {held} is set aside");
    }
    if books.quarantined > 0 {
        tell!(
            "{} usage records could not be posted and were set aside, the latest first:",
            books.quarantined
        );
    }
    for record in &books.latest_quarantined {
        tell!(
            "  {}/{}/{} {} account {}: {}",
            record.node,
            record.epoch,
            record.sequence,
            record.request_id,
            record.account.unwrap_or_default(),
            record.reason
        );
    }
    match &books.difference {
        None => tell!("the books balance"),
        Some(difference) => tell!("THE BOOKS DO NOT BALANCE\n{difference}"),
    }
    Ok(books.difference.is_none())
}

/// Writes CSV to the standard output.
pub(crate) fn export(
    config: &Config,
    what: ExportKind,
    from: Option<Date>,
    to: Option<Date>,
) -> ExitCode {
    match block_on(write_csv(config, what, from, to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => console::print_failure(&error),
    }
}

async fn write_csv(
    config: &Config,
    what: ExportKind,
    from: Option<Date>,
    to: Option<Date>,
) -> anyhow::Result<()> {
    let store = open_store(config).await?;
    let month = store.month(&Clock::system());
    let days = DateRange {
        start: from.unwrap_or(month.start),
        end: to.unwrap_or(month.end),
    };
    anyhow::ensure!(days.start <= days.end, "--from is after --to");
    let mut pieces = match what {
        ExportKind::Usage => store.usage(days).await?,
        ExportKind::Ledger => store.ledger(days).await?,
    };
    let mut out = std::io::stdout().lock();
    while let Some(piece) = pieces.next().await? {
        match out.write_all(piece.as_bytes()) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
    Ok(out.flush()?)
}

async fn open_store(config: &Config) -> anyhow::Result<OfflineStore> {
    let store = OfflineStore::open(&config.control).await;
    let store = store.context("the store cannot be looked at");
    store.map_err(|error| {
        ownership::with_ownership_hint(error, &config.data_dir, &config.control.database)
    })
}

fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .context("the runtime cannot start")?
        .block_on(async {
            file_size_limit::handle_sigxfsz()?;
            work.await
        })
}
