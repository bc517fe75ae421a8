//! Connection options of the database. A server's options are not passed to the driver as text: it would show that text
//! in errors and traces.

use std::{
    error, fmt, fs,
    future::{Ready, ready},
    io::ErrorKind,
    path::Path,
    time::Duration,
};

use proxyxai_contract::Invalid;
use sea_orm::{
    ConnectOptions, DbErr,
    sqlx::{self, ConnectOptions as _, Connection, postgres::PgConnectOptions},
};

use crate::{Error, store::database::Server};

/// A report of a thousand accounts writes about five thousand pages of 4 KiB. With this limit they stay in the memory
/// of the one writer, and are copied from the log into the file after some reports rather than after each.
const SQLITE_CHECKPOINT_PAGES: u32 = 16_384;
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// The SQLSTATE of a server that is starting up, and of one that has too many connections for the moment.
const NOT_YET: [&str; 2] = ["57P03", "53300"];
/// Between two attempts to reach a server that is not up yet.
const CONNECT_PAUSE_MS: u64 = 500;
const BUSY_TIMEOUT_MS: u64 = 5_000;

fn common_options(url: &str, connections_max: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .map_sqlx_postgres_before_acquire(|connection, _| Box::pin(is_clean(connection)))
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
fn is_clean<C: Connection>(connection: &mut C) -> Ready<Result<bool, sqlx::Error>> {
    let clean = !connection.is_in_transaction();
    if !clean {
        tracing::warn!("a connection whose transaction could not be ended is closed");
    }
    ready(Ok(clean))
}

/// Options for a server, once a first connection succeeded.
pub(super) async fn server_options(
    server: &Server,
    connections_max: u32,
) -> Result<ConnectOptions, Error> {
    let known = driver_options(server)?;
    let patience = Duration::from_millis(CONNECT_TIMEOUT_MS);
    let reached = reach(&known, patience).await;
    reached.map_err(|unreachable| Error::Storage(Box::new(unreachable)))?;
    // Only the scheme of this text counts; the function below replaces the server.
    let mut options = common_options("postgres://localhost", connections_max);
    options.map_sqlx_postgres_opts(move |_| known.clone());
    Ok(options)
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

/// Connects once outside of the pool, which retries a server that refuses and then reports only its time-out. A server
/// that is about to come up gets a moment; after that, the supervisor restarts this program.
async fn reach(options: &PgConnectOptions, patience: Duration) -> Result<(), Unreachable> {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let mut refused = None;
    let trying = async {
        loop {
            let failed = match options.connect().await {
                Ok(connection) => return connection.close().await,
                Err(failed) => failed,
            };
            if !may_come_up(&failed) {
                return Err(failed);
            }
            if refused.is_none() {
                tracing::warn!(%place, error = %failed, "waiting for PostgreSQL");
            }
            refused = Some(failed);
            tokio::time::sleep(Duration::from_millis(CONNECT_PAUSE_MS)).await;
        }
    };
    let cause = match tokio::time::timeout(patience, trying).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failed)) => failed.into(),
        Err(elapsed) => refused.map_or_else(|| elapsed.into(), Into::into),
    };
    Err(Unreachable { place, cause })
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

fn driver_options(server: &Server) -> Result<PgConnectOptions, Error> {
    let read: Result<PgConnectOptions, sqlx::Error> = server.url().expose().parse();
    // The driver's error may quote parts of the URL.
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
        let options = driver_options(&server).unwrap();
        let failed = reach(&options, Duration::from_millis(300)).await;
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
