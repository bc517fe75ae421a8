//! Connection options of the database. A server's options are not passed to the driver as text: it would show that text
//! in errors and traces.

use std::{
    error, fmt, fs,
    future::{Ready, ready},
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use proxyxai_contract::{Invalid, secret::Secret};
use sea_orm::{
    ConnectOptions, DbErr,
    sqlx::{self, ConnectOptions as _, Connection, Executor as _, postgres::PgConnectOptions},
};

use super::server_watch::{self, Role, ServerWatch};
use crate::{Error, store::database::Server};

/// A report of a thousand accounts writes about five thousand pages of 4 KiB. With this limit they stay in the memory
/// of the one writer, and are copied from the log into the file after some reports rather than after each.
const SQLITE_CHECKPOINT_PAGES: u32 = 16_384;
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// The SQLSTATE of a server that is starting up, and of one that has too many connections for the moment.
const NOT_YET: [&str; 2] = ["57P03", "53300"];
/// For one of several hosts.
const HOST_TIMEOUT_MS: u64 = 1_500;
const STANDBY: &str = "the server takes no writes: it is a standby, or read-only";
/// Between two attempts to reach a server that is not up yet.
const CONNECT_PAUSE_MS: u64 = 500;
const BUSY_TIMEOUT_MS: u64 = 5_000;

/// A statement of a server that takes longer is ended. Reading every account of a large gateway at a start takes
/// seconds; what may take longer says so (`Tx::allow_long_statements`).
const STATEMENT_TIMEOUT_MS: u64 = 30_000;
/// A row or table that others hold is not waited for any longer.
const LOCK_TIMEOUT_MS: u64 = 10_000;

/// Servers that may be the one to use, in order.
pub(super) struct Candidates {
    pub(super) options: Vec<PgConnectOptions>,
    /// Whether a server that takes no writes is passed over.
    pub(super) must_write: bool,
}

impl Candidates {
    /// Options of one.
    pub(super) fn at(&self, at: usize) -> Result<&PgConnectOptions, Error> {
        let options = self.options.get(at);
        options.ok_or_else(|| Error::internal("a database without a host"))
    }
}

fn common_options(url: &str, connections_max: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .map_sqlx_sqlite_before_acquire(|connection, _| Box::pin(is_clean(connection)))
        .max_connections(connections_max)
        .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
        .acquire_timeout(Duration::from_millis(ACQUIRE_TIMEOUT_MS))
        // Statements contain names and addresses of people.
        .sqlx_logging(false);
    options
}

/// Whether a connection may be used again. If `SQLite` has rolled back by itself, as after a full disk, the library's
/// own rollback fails and it still counts the transaction as open. The next one would be a savepoint within it, whose
/// commit commits nothing.
pub(super) fn is_clean<C: Connection>(connection: &mut C) -> Ready<Result<bool, sqlx::Error>> {
    let clean = !connection.is_in_transaction();
    if !clean {
        tracing::warn!("a connection whose transaction could not be ended is closed");
    }
    ready(Ok(clean))
}

/// Finds the server to use. Returns which it is.
pub(super) async fn reach_any(server: &Server) -> Result<(Candidates, usize), Error> {
    let candidates = driver_options(server)?;
    let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let reached = reach(&candidates, patience).await;
    let at = reached.map_err(|unreachable| Error::Storage(Box::new(unreachable)))?;
    Ok((candidates, at))
}

/// Options for a server without bounds of time, for a start and for commands that run once.
pub(super) fn patient_options(options: &PgConnectOptions, connections_max: u32) -> ConnectOptions {
    // Only the scheme of this text counts; the function below replaces the server.
    let mut patient = common_options("postgres://localhost", connections_max);
    let known = options.clone();
    patient
        .map_sqlx_postgres_opts(move |_| known.clone())
        .map_sqlx_postgres_before_acquire(|connection, _| Box::pin(is_clean(connection)));
    patient
}

/// Options for a server that is watched.
pub(super) fn watched_options(
    options: &PgConnectOptions,
    connections_max: u32,
    server: &ServerWatch,
) -> ConnectOptions {
    let mut watched = patient_options(options, connections_max);
    let (taken, returned) = (server.clone(), server.clone());
    let bounds = bounds_of_time(options);
    watched
        // It would wait for a silent server without end.
        .test_before_acquire(false)
        .map_sqlx_postgres_before_acquire(move |connection, meta| {
            Box::pin(taken.clone().may_use(connection, meta.age))
        })
        .map_sqlx_postgres_pool_opts(move |pool| {
            let (returned, bounds) = (returned.clone(), bounds.clone());
            pool.after_release(move |connection, meta| {
                Box::pin(returned.clone().may_keep(connection, meta.age))
            })
            .after_connect(move |connection, _| {
                let bounds = bounds.clone();
                Box::pin(async move {
                    let set = sqlx::raw_sql(sqlx::AssertSqlSafe(bounds));
                    connection.execute(set).await.map(drop)
                })
            })
        });
    watched
}

/// A statement that sets the bounds of time of a session, unless the address sets them. Poolers refuse options of a
/// session that they do not know, but not this.
fn bounds_of_time(options: &PgConnectOptions) -> String {
    let given = options.get_options().unwrap_or_default();
    let bounds = [
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("lock_timeout", LOCK_TIMEOUT_MS),
    ];
    let bounds = bounds.iter().filter(|(name, _)| !given.contains(name));
    bounds.fold(String::new(), |sql, (name, ms)| {
        format!("{sql}SET {name} = {ms};")
    })
}

/// Why a connection to a server fails.
#[derive(Debug)]
struct Unreachable {
    /// Host and port, or a socket.
    place: String,
    cause: Box<dyn error::Error + Send + Sync>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no connection to PostgreSQL at {} (is the server up, and DATABASE_URL right?)",
            self.place
        )
    }
}

impl error::Error for Unreachable {
    /// The innermost cause: the driver wraps it in words of its own that do not help an operator.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        let mut cause: &(dyn error::Error + 'static) = &*self.cause;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Some(cause)
    }
}

/// Host and port of a server, or its socket.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Connects once outside of the pool, which retries a server that refuses and then reports only its time-out. A server
/// that is about to come up, or to be promoted, gets a moment; after that, the supervisor restarts this program.
async fn reach(candidates: &Candidates, patience: Duration) -> Result<usize, Unreachable> {
    let places: Vec<_> = candidates.options.iter().map(place).collect();
    let place = places.join(", ");
    let mut refused = None;
    let trying = async {
        loop {
            let mut may_come = false;
            for (at, options) in candidates.options.iter().enumerate() {
                let failed = match first_connection(options, candidates).await {
                    Ok(()) => return Ok(at),
                    Err(failed) => failed,
                };
                may_come |= may_come_up(&failed);
                if refused.is_none() {
                    tracing::warn!(place = %super::connect::place(options), error = %failed, "waiting for PostgreSQL");
                }
                refused = Some(failed);
            }
            if !may_come {
                return Err(());
            }
            tokio::time::sleep(Duration::from_millis(CONNECT_PAUSE_MS)).await;
        }
    };
    let tried = tokio::time::timeout(patience, trying).await;
    let cause = match (tried, refused) {
        (Ok(Ok(at)), _) => return Ok(at),
        (_, Some(failed)) => failed.into(),
        (Err(elapsed), None) => elapsed.into(),
        (Ok(Err(())), None) => "there is no host".into(),
    };
    Err(Unreachable { place, cause })
}

/// Connects to a server and, if there are others, asks it whether it is the one to use.
async fn first_connection(
    options: &PgConnectOptions,
    candidates: &Candidates,
) -> Result<(), sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        if candidates.must_write && server_watch::role(&mut connection).await? == Role::ReadOnly {
            return Err(io::Error::new(ErrorKind::ReadOnlyFilesystem, STANDBY).into());
        }
        connection.close().await
    };
    if candidates.options.len() == 1 {
        return connecting.await;
    }
    // A host that does not answer must not take the time of the others.
    let answered = tokio::time::timeout(Duration::from_millis(HOST_TIMEOUT_MS), connecting).await;
    answered.unwrap_or_else(|_| Err(io::Error::from(ErrorKind::TimedOut).into()))
}

/// Whether another attempt may succeed, by the same errors as in the pool.
fn may_come_up(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
        ),
        sqlx::Error::Database(answer) => {
            answer.code().is_some_and(|code| NOT_YET.contains(&&*code))
        }
        _ => false,
    }
}

/// Whether the driver can parse the server's address.
pub(crate) fn can_read(server: &Server) -> bool {
    driver_options(server).is_ok()
}

fn driver_options(server: &Server) -> Result<Candidates, Error> {
    let read = |url: &Secret| {
        let read: Result<PgConnectOptions, sqlx::Error> = url.expose().parse();
        // The driver's error may quote parts of the URL.
        let options =
            read.map_err(|_| Invalid::new("DATABASE_URL", "cannot be read by the driver"))?;
        let options = options
            .application_name("proxyxai")
            .disable_statement_logging();
        Ok(match server.password() {
            Some(password) => options.password(password.expose()),
            None => options,
        })
    };
    let options: Result<_, Error> = server.urls().iter().map(read).collect();
    Ok(Candidates {
        options: options?,
        must_write: server.must_write(),
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
            // What is deleted, such as a copy of the master key, must not be in the next backup.
            .pragma("secure_delete", "ON")
            .busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS))
            .pragma("journal_mode", "WAL")
            .pragma("cache_size", format!("-{cache_kib}"))
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES.to_string())
            // A charge that was acknowledged to a data plane is not sent again, so it has to survive a power cut;
            // NORMAL may lose the latest transactions.
            .pragma("synchronous", "FULL")
    });
    options
}

/// Creates the database file readable by its owner alone; the library would follow the umask.
pub(super) fn create_private(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Invalid::new(path.display().to_string(), error.to_string());
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

/// The library's errors of connecting contain no URL, so they may be shown.
pub(super) fn unreachable_database(error: DbErr) -> Error {
    tracing::error!(error = %error, "the database cannot be opened");
    error.into()
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::secret::Secret;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::store::database::Database;

    /// The error for a server at this port, with all causes.
    async fn said_of(port: u16) -> String {
        let url = format!("postgres://xai:hidden-word@127.0.0.1:{port}/xai?sslmode=disable");
        let Ok(Database::Postgres(server)) = Database::parse(&Secret::new(url)) else {
            panic!("a server")
        };
        let candidates = driver_options(&server).unwrap();
        let failed = reach(&candidates, Duration::from_millis(300)).await;
        let error = Error::Storage(Box::new(failed.unwrap_err()));
        let mut said = Vec::new();
        let mut cause: Option<&dyn error::Error> = Some(&error);
        while let Some(error) = cause {
            said.push(error.to_string());
            cause = error.source();
        }
        let said = said.join(": ");
        assert!(
            !said.contains("hidden") && !format!("{error:?}").contains("hidden"),
            "{said}"
        );
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
        said
    }

    /// A port at which each connection gets this response and is closed.
    async fn answering(answer: Vec<u8>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0u8; 512];
                let _asked = stream.read(&mut asked).await;
                let _answered = stream.write_all(&answer).await;
            }
        });
        port
    }

    fn refusal(code: &str, message: &str) -> Vec<u8> {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        [b"E", &length[..], fields.as_bytes()].concat()
    }

    #[tokio::test]
    async fn a_server_that_lets_nobody_in_is_named_with_the_cause_and_no_password() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let said = said_of(port).await;
        assert!(said.contains("refused"), "{said}");
        for (code, message) in [
            ("28P01", "password authentication failed for user \"xai\""),
            ("3D000", "database \"xai\" does not exist"),
            ("57P03", "the database system is starting up"),
        ] {
            let said = said_of(answering(refusal(code, message)).await).await;
            assert_eq!(said.matches(message).count(), 1, "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_not_waited_for_for_ever() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let said = said_of(silent.local_addr().unwrap().port()).await;
        assert!(said.contains("elapsed"), "{said}");
    }
}
