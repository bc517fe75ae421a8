//! How the database is reached: the options of its connections. What they hold of a server is not given to the
//! library as text, which it shows when it cannot read it, and in its traces.

use std::{
    fs,
    future::{Ready, ready},
    path::Path,
    time::Duration,
};

use proxyxai_contract::Invalid;
use sea_orm::{
    ConnectOptions, DbErr,
    sqlx::{self, ConnectOptions as _, Connection, postgres::PgConnectOptions},
};

use crate::{Error, config::Server};

/// A report of a thousand accounts writes about five thousand pages of 4 KiB: they stay in the memory of the
/// one writer, and are copied from the log into the file after some reports rather than after each.
const SQLITE_CHECKPOINT_PAGES: u32 = 16_384;
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
const BUSY_TIMEOUT_MS: u64 = 5_000;

fn common_options(url: &str, connections_max: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .map_sqlx_postgres_before_acquire(|connection, _| Box::pin(is_clean(connection)))
        .map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(is_clean(connection)))
        .max_connections(connections_max)
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        .acquire_timeout(Duration::from_millis(ACQUIRE_TIMEOUT_MS))
        // Statements hold names and addresses of people.
        .sqlx_logging(false);
    options
}

/// Whether a connection may be used again. When `SQLite` has rolled back by itself, as after a full disk, the
/// library's own rollback fails and it goes on counting the transaction as open. The next one would be a
/// savepoint within it, whose commit is none.
fn is_clean<C: Connection>(connection: &mut C) -> Ready<Result<bool, sqlx::Error>> {
    let clean = !connection.is_in_transaction();
    if !clean {
        tracing::warn!("a connection whose transaction could not be ended is closed");
    }
    ready(Ok(clean))
}

/// Options for a server.
pub(super) fn server_options(
    server: &Server,
    connections_max: u32,
) -> Result<ConnectOptions, Error> {
    let known = driver_options(server)?;
    // Only the scheme of this text counts; the function below puts the server in its place.
    let mut options = common_options("postgres://localhost", connections_max);
    options.map_sqlx_postgres_opts(move |_| known.clone());
    Ok(options)
}

/// Whether the driver understands where the server is.
pub(crate) fn can_read(server: &Server) -> bool {
    driver_options(server).is_ok()
}

fn driver_options(server: &Server) -> Result<PgConnectOptions, Error> {
    let read: Result<PgConnectOptions, sqlx::Error> = server.url().expose().parse();
    // The driver's own words may hold parts of it.
    let options = read.map_err(|_| Invalid::new("DATABASE_URL", "cannot be read by the driver"))?;
    let options = options
        .application_name("proxyxai")
        .disable_statement_logging();
    Ok(match server.password() {
        Some(password) => options.password(password.expose()),
        None => options,
    })
}

pub(super) fn file_options(path: &Path, connections_max: u32, cache_kib: u32) -> ConnectOptions {
    let path = path.to_owned();
    let mut options = common_options("sqlite:", connections_max);
    options
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None);
    options.map_sqlx_sqlite_opts(move |options| {
        options
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            // What is removed, a copy of the master key for instance, must not be in the next backup.
            .pragma("secure_delete", "ON")
            .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
            .pragma("journal_mode", "WAL")
            .pragma("cache_size", format!("-{cache_kib}"))
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES.to_string())
            // A charge that was acknowledged to a data plane is not sent again, so it has to survive
            // a power cut; NORMAL may lose the latest transactions.
            .pragma("synchronous", "FULL")
    });
    options
}

/// The database file is readable by its owner alone; the library would follow the umask.
pub(super) fn create_private(path: &Path) -> Result<(), Error> {
    let failed =
        |error: std::io::Error| Invalid::new(path.display().to_string(), error.to_string());
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map(drop)
        .map_err(failed)
        .map_err(Into::into)
}

/// The library's errors of connecting hold no URL, so they may be shown.
pub(super) fn unreachable_database(error: DbErr) -> Error {
    tracing::error!(error = %error, "the database cannot be opened");
    error.into()
}
