//! Watches the results of statements. An error that the data did not cause is kept as the storage's fault until a write
//! succeeds again. A transaction with a failed statement is never committed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, RuntimeErr, SqlxSqliteError, Statement,
    prelude::async_trait,
    sqlx::{self, error::DatabaseError, postgres::PgDatabaseError},
};
use tokio::sync::watch;

use super::server_watch::ServerWatch;
use crate::Error;

/// Result codes of `SQLite`, without their extension: perm, busy, locked, nomem, readonly, ioerr, corrupt,
/// full, cantopen, protocol, nolfs, notadb. <https://sqlite.org/rescode.html>
const SQLITE_FAULTS: [i32; 12] = [3, 5, 6, 7, 8, 10, 11, 13, 14, 15, 22, 26];
/// Classes of SQLSTATE: connection, transaction state (a read-only server), resources, operator intervention,
/// system, configuration file, internal. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const POSTGRES_FAULTS: [&str; 7] = ["08", "25", "53", "57", "58", "F0", "XX"];

/// Result codes of `SQLite` that are about a value: toobig, constraint, mismatch, range.
const SQLITE_REFUSALS: [i32; 4] = [18, 19, 20, 25];
/// Classes of SQLSTATE that are about a value: data, integrity.
const POSTGRES_REFUSALS: [&str; 2] = ["22", "23"];

/// The SQLSTATE of a write that a read-only server refuses.
const READ_ONLY: &str = "25006";
/// SQLSTATEs of a statement that took too long, and of a lock that others held for too long.
const TIMED_OUT: [&str; 2] = ["57014", "55P03"];
/// A commit may wait for a standby that is gone, which no bound of the server's ends.
const COMMIT_MAX: Duration = Duration::from_secs(10);
const UNCOMMITTED: &str = "a commit was not answered in time";

/// The state of the storage. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StorageHealth {
    fault: Arc<watch::Sender<Option<String>>>,
    pools: [DatabaseConnection; 2],
    /// Only for a server.
    server: Option<ServerWatch>,
    /// How many statements have run, for tests that bound them.
    #[cfg(test)]
    pub(super) statements: Arc<std::sync::atomic::AtomicU64>,
}

/// A connection or transaction of the library whose errors are watched.
#[derive(Debug)]
pub(crate) struct MonitoredConnection<C> {
    pub(super) inner: C,
    health: StorageHealth,
    /// Only for a transaction: whether a statement has failed. The database may have rolled back by then, and later
    /// statements would run outside of it.
    failed: Option<AtomicBool>,
}

// === impl StorageHealth ===

impl StorageHealth {
    pub(super) fn of(pools: [DatabaseConnection; 2], server: Option<ServerWatch>) -> Self {
        let fault = Arc::new(watch::Sender::new(None));
        Self {
            fault,
            pools,
            server,
            #[cfg(test)]
            statements: Arc::default(),
        }
    }

    /// Why the storage cannot be relied upon. `None` while it can.
    pub(super) fn fault(&self) -> watch::Receiver<Option<String>> {
        self.fault.subscribe()
    }

    /// Whether something has failed and no write has succeeded since.
    pub(super) fn is_ill(&self) -> bool {
        self.fault.borrow().is_some()
    }

    /// Called after a successful write.
    pub(super) fn clear(&self) {
        if let Some(before) = self.fault.send_replace(None) {
            tracing::info!(before, "the database takes writes again");
        }
    }

    /// The watch of the server, if it is one.
    pub(super) const fn server(&self) -> Option<&ServerWatch> {
        self.server.as_ref()
    }

    /// Waits for the database, unless it does not answer anybody.
    async fn attend<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        match &self.server {
            Some(server) => server.attend(work).await,
            None => work.await,
        }
    }

    /// Checks an error on its way to the caller.
    pub(super) fn note(&self, error: &DbErr) {
        if is_cut_short(error) {
            tracing::warn!("a statement took too long, or what it waited for, and was ended");
            return;
        }
        if !is_fault(error) {
            return;
        }
        match &self.server {
            Some(server) if has_code(error, &[READ_ONLY]) => server.refused_write(),
            Some(server) => server.suspect(),
            None => {}
        }
        if is_wait(error) && self.pools.iter().all(is_connected) {
            // Too many callers at once. The database is reachable, and a busy node must not look like a failed one.
            tracing::warn!("an operation has waited in vain for a connection to the database");
            return;
        }
        let text = format!("the database fails: {}", cause(error));
        if self.fault.borrow().as_ref() != Some(&text) {
            tracing::error!("{text}");
            self.fault.send_replace(Some(text));
        }
    }
}

// === impl MonitoredConnection ===

impl<C> MonitoredConnection<C> {
    /// A connection or a pool: its statements are independent of each other.
    pub(super) const fn connection(inner: C, health: StorageHealth) -> Self {
        Self {
            inner,
            health,
            failed: None,
        }
    }

    /// A transaction that was begun on `connection`.
    pub(super) fn transaction<T>(inner: T, connection: &Self) -> MonitoredConnection<T> {
        MonitoredConnection {
            inner,
            health: connection.health.clone(),
            failed: Some(AtomicBool::new(false)),
        }
    }

    /// Waits for the database and notes an error.
    pub(super) async fn attend<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        self.looked_at(self.health.attend(work).await)
    }

    /// Passes on a result of the library and notes its error.
    fn looked_at<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &result {
            self.health.note(error);
            if let Some(failed) = &self.failed {
                failed.store(true, Ordering::Relaxed);
            }
        }
        result
    }

    /// Refuses further statements of a transaction after a failure.
    fn usable(&self) -> Result<(), DbErr> {
        #[cfg(test)]
        self.health.statements.fetch_add(1, Ordering::Relaxed);
        let failed = self.failed.as_ref();
        if failed.is_some_and(|failed| failed.load(Ordering::Relaxed)) {
            return Err(DbErr::Custom(
                "a statement of this transaction has failed".to_owned(),
            ));
        }
        Ok(())
    }
}

impl MonitoredConnection<DatabaseTransaction> {
    /// Commits, unless a statement has failed: `PostgreSQL` would roll back and report success.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        self.usable()?;
        let is_server = self.health.server.is_some();
        let commit = async {
            let commit = self.inner.commit();
            if !is_server {
                return commit.await;
            }
            let done = tokio::time::timeout(COMMIT_MAX, commit).await;
            done.unwrap_or_else(|_| Err(DbErr::Conn(RuntimeErr::Internal(UNCOMMITTED.to_owned()))))
        };
        let done = self.health.attend(commit).await;
        done.inspect_err(|error| self.health.note(error))
    }
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> ConnectionTrait for MonitoredConnection<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.usable()?;
        self.attend(self.inner.execute_raw(stmt)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.usable()?;
        self.attend(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.usable()?;
        self.attend(self.inner.query_one_raw(stmt)).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.usable()?;
        self.attend(self.inner.query_all_raw(stmt)).await
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if is_fault(&error) || is_cut_short(&error) {
            Self::Storage(error.into())
        } else {
            Self::internal(error)
        }
    }
}

/// Whether the time-out for a free connection has passed.
fn is_wait(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) => true,
        DbErr::Conn(RuntimeErr::SqlxError(error)) => matches!(**error, sqlx::Error::PoolTimedOut),
        _ => false,
    }
}

/// Whether a pool has a connection; broken ones are removed from it.
fn is_connected(pool: &DatabaseConnection) -> bool {
    let size = match pool.get_database_backend() {
        DbBackend::Postgres => pool.get_postgres_connection_pool().size(),
        _ => pool.get_sqlite_connection_pool().size(),
    };
    size > 0
}

/// Whether the database refused the data, and would do so again. `false` if transactions conflicted.
pub(crate) fn refuses_data(error: &Error) -> bool {
    let Error::Internal(cause) = error else {
        return matches!(error, Error::Invalid(_));
    };
    match cause.downcast_ref::<DbErr>().and_then(of_statement) {
        Some(sqlx::Error::Database(answer)) => {
            says(&**answer, &SQLITE_REFUSALS, &POSTGRES_REFUSALS)
        }
        Some(_) | None => false,
    }
}

/// The innermost cause: the library's words around it do not help an operator.
fn cause(error: &DbErr) -> &dyn std::error::Error {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// Whether a server ended the statement because its time was over. The server is well, and a heavy question or a long
/// lock must not take a replica out of service.
fn is_cut_short(error: &DbErr) -> bool {
    has_code(error, &TIMED_OUT)
}

/// Whether a server's answer has one of these codes.
fn has_code(error: &DbErr, codes: &[&str]) -> bool {
    match of_statement(error) {
        Some(sqlx::Error::Database(answer))
            if answer.try_downcast_ref::<PgDatabaseError>().is_some() =>
        {
            answer.code().is_some_and(|code| codes.contains(&&*code))
        }
        Some(_) | None => false,
    }
}

/// Whether the storage caused the error, rather than the data or the statement.
fn is_fault(error: &DbErr) -> bool {
    if let DbErr::ConnectionAcquire(_) | DbErr::Conn(_) = error {
        return true;
    }
    if is_cut_short(error) {
        return false;
    }
    match of_statement(error) {
        Some(sqlx::Error::Database(answer)) => says(&**answer, &SQLITE_FAULTS, &POSTGRES_FAULTS),
        Some(
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed,
        ) => true,
        Some(_) | None => false,
    }
}

/// The driver's error of a statement.
fn of_statement(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            Some(&**error)
        }
        _ => None,
    }
}

/// Whether an error has one of `SQLite`'s codes, or one of `PostgreSQL`'s classes.
fn says(answer: &dyn DatabaseError, sqlite: &[i32], postgres: &[&str]) -> bool {
    let code = answer.code().unwrap_or_default();
    if answer.try_downcast_ref::<SqlxSqliteError>().is_some() {
        // The low byte is the primary code; the rest only refines it.
        let primary = code.parse::<i32>().map(|code| code & 0xff);
        return primary.is_ok_and(|code| sqlite.contains(&code));
    }
    postgres.iter().any(|class| code.starts_with(class))
}
