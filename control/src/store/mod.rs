//! The only module that names the database library: connections, transactions, queries, and conversion between rows and
//! domain values. It decides nothing.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod bills;
pub(crate) mod books;
pub(crate) mod calls;
pub(crate) mod cards;
pub(crate) mod client_keys;
pub(crate) mod closing;
mod connect;
pub(crate) mod database;
pub(crate) mod earnings;
mod entity;
pub(crate) mod exports;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod ledger;
pub(crate) mod links;
pub(crate) mod mail;
pub(crate) mod master_copies;
mod migration;
mod monitored;
pub(crate) mod news;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod prices;
mod record;
pub(crate) mod refusals;
pub(crate) mod replicas;
pub(crate) mod revisions;
mod rows;
mod server_watch;
pub(crate) mod settings;
pub(crate) mod spend;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod usage;
pub(crate) mod windows;

use std::{fmt, path::Path};

use connect::{
    create_private, file_options, patient_options, reach_any, unreachable_database, watched_options,
};
pub(crate) use monitored::refuses_data;
use monitored::{MonitoredConnection, StorageHealth};
use proxyxai_contract::Invalid;
use record::number;
pub(crate) use record::{AccountRecord, KeyRecord};
use rows::{in_batches, returned_in_batches};
use sea_orm::{
    ColumnTrait, ConnectionTrait, Database as Connector, DatabaseConnection, DatabaseTransaction,
    DbBackend, DbErr, IsolationLevel, SqlErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait as _, UpdateResult, Value,
    sea_query::{Expr, ExprTrait, extension::postgres::PgFunc},
};
use sea_orm_migration::MigratorTrait as _;
use server_watch::ServerWatch;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Error,
    store::database::{Database, Server},
};

/// Readers of the file. Writes use one connection: SQLite allows only one writer anyway, and waiting in a queue is
/// fairer than its busy loop.
const SQLITE_READERS_MAX: u32 = 4;
/// Enough for what one large report writes (`connect::SQLITE_CHECKPOINT_PAGES`).
const SQLITE_WRITER_CACHE_KIB: u32 = 32_768;
const SQLITE_READER_CACHE_KIB: u32 = 4_096;
const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// One holds the lock of the start, the other migrates.
const STARTING_CONNECTIONS: u32 = 2;
/// A start waits for that of another replica, and a verification reads all there is.
const LONG: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";
/// Keeps two replicas from migrating and seeding one server at the same time.
const START_LOCK: i64 = 0x7078_7861;
/// SQLite allows 32,766 values in one statement; 35 columns of 500 rows are well below it.
const ROWS_PER_INSERT: usize = 500;

/// The database.
pub(crate) struct Store {
    writer: MonitoredConnection<DatabaseConnection>,
    reader: MonitoredConnection<DatabaseConnection>,
    health: StorageHealth,
    postgres: bool,
    /// Looks after the server.
    _watching: Option<AbortOnDropHandle<()>>,
}

/// A transaction. Rolls back if it is dropped without `commit`.
pub(crate) struct Tx(MonitoredConnection<DatabaseTransaction>);

/// What a query may run on: the store itself for single reads, or a transaction.
pub(crate) trait Db: Sync {
    /// The library's own handle.
    type Handle: ConnectionTrait;
    /// Returns the library's handle.
    fn handle(&self) -> &Self::Handle;
    /// Whether rows can be locked one by one.
    fn locks_rows(&self) -> bool {
        false
    }
}

// === impl Store ===

impl Store {
    /// Opens the database; creates a missing file.
    pub(crate) async fn open(database: &Database) -> Result<Self, Error> {
        match database {
            Database::Sqlite(path) => Self::open_file(path).await,
            Database::Postgres(server) => Self::open_server(server).await,
        }
    }

    async fn open_file(path: &Path) -> Result<Self, Error> {
        create_private(path)?;
        let writer = Connector::connect(file_options(path, 1, SQLITE_WRITER_CACHE_KIB))
            .await
            .map_err(unreachable_database)?;
        migration::migrate(&writer).await?;
        let reader = Connector::connect(file_options(
            path,
            SQLITE_READERS_MAX,
            SQLITE_READER_CACHE_KIB,
        ))
        .await
        .map_err(unreachable_database)?;
        Ok(Self::of(writer, reader, None))
    }

    async fn open_server(server: &Server) -> Result<Self, Error> {
        let (candidates, at) = reach_any(server).await?;
        let options = candidates.at(at)?;
        let starting = Connector::connect(patient_options(options, STARTING_CONNECTIONS))
            .await
            .map_err(unreachable_database)?;
        // The lock lives as long as this transaction; the migration runs on another connection.
        let lock = starting.begin().await?;
        lock.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({START_LOCK})"))
            .await?;
        migration::migrate(&starting).await?;
        lock.commit().await?;
        starting.close().await?;
        let options = options.clone();
        let watch = ServerWatch::new(candidates, at);
        let options = watched_options(&options, POSTGRES_CONNECTIONS_MAX, &watch);
        let writer = Connector::connect(options)
            .await
            .map_err(unreachable_database)?;
        let watching = watch
            .clone()
            .run(writer.get_postgres_connection_pool().clone());
        let watching = AbortOnDropHandle::new(tokio::spawn(watching));
        Ok(Self {
            _watching: Some(watching),
            ..Self::of(writer.clone(), writer, Some(watch))
        })
    }

    /// Opens the database of a control plane, which may be running, without changing it.
    pub(crate) async fn open_existing(database: &Database) -> Result<Self, Error> {
        let (options, postgres) = match database {
            Database::Sqlite(path) if !path.exists() => {
                let problem = "is not there: no control plane has run yet";
                return Err(Invalid::new(path.display().to_string(), problem).into());
            }
            Database::Sqlite(path) => (file_options(path, 1, SQLITE_READER_CACHE_KIB), false),
            Database::Postgres(server) => {
                let (candidates, at) = reach_any(server).await?;
                (patient_options(candidates.at(at)?, 1), true)
            }
        };
        let connection = Connector::connect(options)
            .await
            .map_err(unreachable_database)?;
        let missing = migration::Migrator::get_pending_migrations(&connection).await;
        if !missing?.is_empty() {
            let problem = "is of an older version: start control once";
            return Err(Invalid::new("the schema of the database", problem).into());
        }
        Ok(Self {
            postgres,
            ..Self::of(connection.clone(), connection, None)
        })
    }

    fn of(
        writer: DatabaseConnection,
        reader: DatabaseConnection,
        server: Option<ServerWatch>,
    ) -> Self {
        let postgres = server.is_some();
        let health = StorageHealth::of([writer.clone(), reader.clone()], server);
        Self {
            writer: MonitoredConnection::connection(writer, health.clone()),
            reader: MonitoredConnection::connection(reader, health.clone()),
            health,
            postgres,
            _watching: None,
        }
    }

    /// Why the storage cannot be relied upon. `None` while it can.
    pub(crate) fn fault(&self) -> watch::Receiver<Option<String>> {
        self.health.fault()
    }

    /// If the storage has failed, writes a little to find out whether it works again.
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        if !self.health.is_ill() {
            return Ok(());
        }
        let tx = self.begin().await?;
        revisions::put_probe(&tx).await?;
        tx.commit().await?;
        let tx = self.begin().await?;
        revisions::take_probe(&tx).await?;
        tx.commit().await?;
        self.health.clear();
        Ok(())
    }

    /// Whether other replicas may work on the same state.
    pub(crate) fn is_shared(&self) -> bool {
        self.postgres
    }

    /// Frees cached pages that are not in use. Pages needed again come from the system's cache.
    pub(crate) async fn release_memory(&self) -> Result<(), Error> {
        if self.postgres {
            return Ok(());
        }
        for connection in [&self.writer, &self.reader] {
            let released = connection.execute_unprepared("PRAGMA shrink_memory").await;
            released?;
        }
        Ok(())
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin(&self) -> Result<Tx, Error> {
        // Taking the write lock at once keeps a reader from having to become a writer half-way, which SQLite refuses
        // with an error instead of waiting.
        let options = TransactionOptions {
            sqlite_transaction_mode: (!self.postgres).then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = self.writer.inner.begin_with_options(options);
        let tx = self.writer.attend(begun).await?;
        Ok(Tx(MonitoredConnection::transaction(tx, &self.writer)))
    }

    /// Begins a transaction that reads one consistent snapshot.
    pub(crate) async fn begin_reading(&self) -> Result<Tx, Error> {
        let isolation = self.postgres.then_some(IsolationLevel::RepeatableRead);
        let begun = self.reader.inner.begin_with_config(isolation, None);
        let tx = self.reader.attend(begun).await?;
        Ok(Tx(MonitoredConnection::transaction(tx, &self.reader)))
    }
}

impl Db for Store {
    type Handle = MonitoredConnection<DatabaseConnection>;

    fn handle(&self) -> &Self::Handle {
        &self.reader
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("postgres", &self.postgres)
            .finish_non_exhaustive()
    }
}

// === impl Tx ===

impl Tx {
    /// Commits the transaction.
    pub(crate) async fn commit(self) -> Result<(), Error> {
        self.0.commit().await.map_err(Error::from)
    }

    /// Lets one first start run at a time.
    pub(crate) async fn lock_start(&self) -> Result<(), Error> {
        if self.locks_rows() {
            self.allow_long_statements().await?;
            let sql = format!("SELECT pg_advisory_xact_lock({START_LOCK})");
            self.0.execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    /// Lifts the bounds of time from what follows in this transaction.
    pub(crate) async fn allow_long_statements(&self) -> Result<(), Error> {
        if self.locks_rows() {
            self.0.execute_unprepared(LONG).await?;
        }
        Ok(())
    }
}

impl Db for Tx {
    type Handle = MonitoredConnection<DatabaseTransaction>;

    fn handle(&self) -> &Self::Handle {
        &self.0
    }

    fn locks_rows(&self) -> bool {
        self.0.get_database_backend() == DbBackend::Postgres
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx(..)")
    }
}

/// Maps a violated unique constraint to the field it is about, and everything else to an internal error.
fn write_error(error: DbErr) -> Error {
    let Some(SqlErr::UniqueConstraintViolation(text)) = error.sql_err() else {
        return error.into();
    };
    // PostgreSQL names the index, SQLite the columns.
    let rules = [
        (["account_name", "account.name"], "Name"),
        (["account_email", "account.email"], "Email"),
        (["account_key_hash", "account.key_hash"], "SecretKey"),
        (["client_key_name", "client_key.name_folded"], "Name"),
        (["client_key_hash", "client_key.key_hash"], "SecretKey"),
        (
            ["upstream_key_secret", "upstream_key.fingerprint"],
            "SecretKey",
        ),
    ];
    let hit = rules
        .iter()
        .find(|(marks, _)| marks.iter().any(|mark| text.contains(mark)));
    let with = String::new();
    hit.map_or_else(
        || error.into(),
        |(_, field)| Error::Conflict { field, with },
    )
}

/// Whether the database is a server that other replicas may share, rather than a file of this process.
fn is_server(db: &impl Db) -> bool {
    db.handle().get_database_backend() == DbBackend::Postgres
}

/// Whether a column has one of these ids. With one parameter for each id, `PostgreSQL` would prepare a statement for
/// each number of ids.
fn is_among(db: &impl Db, column: impl ColumnTrait, ids: Vec<i64>) -> Expr {
    if is_server(db) {
        return ExprTrait::eq(column.into_expr(), PgFunc::any(ids));
    }
    column.is_in(ids)
}

/// Like `is_among`, for SQL text: what follows the column, and its values.
fn among<T>(db: &impl Db, values: Vec<T>) -> (String, Vec<Value>)
where
    T: Into<Value>,
    Vec<T>: Into<Value>,
{
    if is_server(db) {
        return ("= ANY(?)".to_owned(), vec![values.into()]);
    }
    let marks = vec!["?"; values.len()].join(",");
    let values = values.into_iter().map(Into::into).collect();
    (format!("IN ({marks})"), values)
}

/// A statement from SQL text with `?` for every value; `PostgreSQL` needs numbers instead.
fn statement(db: &impl Db, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    let backend = db.handle().get_database_backend();
    if !is_server(db) {
        return Statement::from_sql_and_values(backend, sql, values);
    }
    let mut pieces = sql.split('?');
    let first = pieces.next().unwrap_or_default().to_owned();
    let numbered = pieces.zip(1u32..).fold(first, |mut sql, (piece, number)| {
        sql.push('$');
        sql.push_str(&number.to_string());
        sql.push_str(piece);
        sql
    });
    Statement::from_sql_and_values(backend, numbered, values)
}

/// The error for a stored value that this program did not write.
fn corrupt(what: &'static str, id: i64, error: impl fmt::Display) -> Error {
    Error::internal(format!("stored {what} {id} cannot be read: {error}"))
}

/// Errors if a row that was read before is gone when it is written.
fn one_row(written: &UpdateResult) -> Result<(), Error> {
    if written.rows_affected == 1 {
        Ok(())
    } else {
        Err(Error::internal("a row vanished before it was written"))
    }
}

/// Like `one_row`, for many rows.
fn all_rows(written: u64, expected: usize) -> Result<(), Error> {
    if usize::try_from(written).is_ok_and(|written| written == expected) {
        Ok(())
    } else {
        Err(Error::internal("rows vanished before they were written"))
    }
}

/// Counters are stored as signed integers.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
