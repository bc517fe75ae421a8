//! Watches a PostgreSQL server while others wait for it. A server that does not answer is told at once to everybody
//! instead of each waiting for it, and among several hosts the one that takes writes is found again.

use std::{
    fmt, future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use sea_orm::{
    DbErr, RuntimeErr,
    sqlx::{
        self, ConnectOptions as _, PgPool,
        postgres::{PgConnectOptions, PgConnection},
    },
};
use tokio::sync::{Notify, watch};

use super::connect::{self, Candidates};

/// After a statement has taken this long, the server is asked whether it is there.
const SUSPECT_AFTER: Duration = Duration::from_millis(250);
/// A server that needs longer for a connection and the smallest question counts as silent, unless it answers others.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(250);
/// Returned connections may still have to end a statement or roll back.
const RETURN_MAX: Duration = Duration::from_secs(5);

const ROLE: &str = "SELECT current_setting('transaction_read_only') = 'off'";
/// The SQLSTATE of a server with too many connections, which is there for those who have one.
const FULL: &str = "53300";

/// What a server said that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    TakesWrites,
    ReadOnly,
}

/// What is known of the servers. Cheap to clone.
#[derive(Clone)]
pub(super) struct ServerWatch(Arc<Inner>);

struct Inner {
    candidates: Candidates,
    state: watch::Sender<ServerState>,
    suspected: Notify,
    /// Somebody was refused a write, perhaps on a connection to a former primary.
    refused_write: AtomicBool,
    /// How much was answered, so that a server that is only slow to let somebody in does not count as silent.
    answers: AtomicU64,
}

/// Connections are for the server that was in use when they were made.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerState {
    is_silent: bool,
    /// Which candidate is in use.
    current: usize,
    /// Older connections may lead to a server that is gone, or to one that takes no writes.
    since: Instant,
}

// === impl ServerWatch ===

impl ServerWatch {
    /// Of servers of which one was reached.
    pub(super) fn new(candidates: Candidates, current: usize) -> Self {
        Self(Arc::new(Inner {
            candidates,
            state: watch::Sender::new(ServerState {
                is_silent: false,
                current,
                since: Instant::now(),
            }),
            suspected: Notify::new(),
            refused_write: AtomicBool::new(false),
            answers: AtomicU64::new(0),
        }))
    }

    /// Waits for work of the server, as long as it answers anybody.
    pub(super) async fn attend<T>(
        &self,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let mut state = self.0.state.subscribe();
        if state.borrow_and_update().is_silent {
            return Err(no_answer());
        }
        let done = tokio::select! {
            biased;
            done = work => done,
            () = self.silence(&mut state) => return Err(no_answer()),
        };
        if done.is_ok() {
            self.0.answers.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// Waits until the server is silent.
    async fn silence(&self, state: &mut watch::Receiver<ServerState>) {
        loop {
            let silence = state.wait_for(|state| state.is_silent);
            if tokio::time::timeout(SUSPECT_AFTER, silence).await.is_ok() {
                return;
            }
            self.suspect();
        }
    }

    /// Has the server asked whether it is there.
    pub(super) fn suspect(&self) {
        self.0.suspected.notify_one();
    }

    /// Called when a write was refused because the server is read-only.
    pub(super) fn refused_write(&self) {
        self.0.refused_write.store(true, Ordering::Relaxed);
        self.suspect();
    }

    /// Whether a connection of this age must not be used any more.
    fn is_stale(&self, age: Duration) -> bool {
        let state = self.0.state.borrow();
        state.is_silent || age >= state.since.elapsed()
    }

    /// Whether an idle connection can be used.
    pub(super) async fn may_use(
        self,
        connection: &mut PgConnection,
        age: Duration,
    ) -> Result<bool, sqlx::Error> {
        if self.is_stale(age) || !connect::is_clean(connection).await? {
            return Ok(false);
        }
        answers_ping(connection, ANSWER_MAX).await?;
        Ok(true)
    }

    /// Whether a connection that comes back can be kept. The pool alone would wait for a silent server without end, and
    /// count the connection as in use.
    pub(super) async fn may_keep(
        self,
        connection: &mut PgConnection,
        age: Duration,
    ) -> Result<bool, sqlx::Error> {
        if self.is_stale(age) {
            return Err(timed_out());
        }
        answers_ping(connection, RETURN_MAX).await?;
        Ok(true)
    }

    /// The state, for those who use a connection of their own.
    pub(super) fn subscribe(&self) -> watch::Receiver<ServerState> {
        self.0.state.subscribe()
    }

    /// Looks after the servers of a pool without end.
    pub(super) async fn run(self, pool: PgPool) {
        loop {
            if !self.0.state.borrow().is_silent {
                self.0.suspected.notified().await;
            }
            self.survey(&pool).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks the server in use, then the others if that takes no writes, and chooses among them.
    async fn survey(&self, pool: &PgPool) {
        let before = *self.0.state.borrow();
        let answers = self.0.answers.load(Ordering::Relaxed);
        let refused = self.0.refused_write.swap(false, Ordering::Relaxed);
        let candidates = &self.0.candidates;
        let current = match candidates.options.get(before.current) {
            Some(options) => ask(options).await,
            None => None,
        };
        let all = candidates.options.iter().enumerate();
        let roles = all.map(async |(at, options)| match current {
            // The others do not matter, or were not asked yet.
            _ if at == before.current => current,
            Some(Role::TakesWrites) => None,
            Some(Role::ReadOnly) | None => ask(options).await,
        });
        let roles = join_all(roles).await;
        match choose(before.current, &roles, candidates.must_write) {
            Some(at) if at != before.current || before.is_silent || refused => {
                self.use_from_now(pool, at, before);
            }
            None if !before.is_silent && self.0.answers.load(Ordering::Relaxed) == answers => {
                tracing::error!(
                    "PostgreSQL does not answer: what needs it is refused until it does"
                );
                self.0.state.send_modify(|state| state.is_silent = true);
            }
            Some(_) | None => {}
        }
    }

    fn use_from_now(&self, pool: &PgPool, at: usize, before: ServerState) {
        let Some(options) = self.0.candidates.options.get(at) else {
            return;
        };
        let place = connect::place(options);
        if at != before.current {
            pool.set_connect_options(options.clone());
            tracing::warn!(%place, "another PostgreSQL server is in use from now on");
        } else if before.is_silent {
            tracing::info!(%place, "PostgreSQL answers again");
        }
        self.0.state.send_replace(ServerState {
            is_silent: false,
            current: at,
            since: Instant::now(),
        });
    }
}

impl fmt::Debug for ServerWatch {
    /// Without the candidates, which hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.0.state.borrow();
        f.debug_tuple("ServerWatch").field(&state).finish()
    }
}

/// Waits until connections that were made before must not be used any more.
pub(super) async fn until_stale(state: &mut watch::Receiver<ServerState>) {
    if state.changed().await.is_err() {
        // Nobody watches any more.
        future::pending::<()>().await;
    }
}

/// Which server to use: the one in use if possible, and one that only reads rather than none if it is in use already.
fn choose(current: usize, roles: &[Option<Role>], must_write: bool) -> Option<usize> {
    let role = roles.get(current).copied().flatten();
    if role == Some(Role::TakesWrites) {
        return Some(current);
    }
    let writer = roles
        .iter()
        .position(|role| *role == Some(Role::TakesWrites));
    let any = || roles.iter().position(Option::is_some);
    writer
        .or_else(|| role.map(|_| current))
        .or_else(|| if must_write { None } else { any() })
}

/// Asks a server by a new connection; one that is kept could be cut without anybody knowing. Returns `None` if it does
/// not answer.
async fn ask(options: &PgConnectOptions) -> Option<Role> {
    let asking = pin!(async {
        let mut connection = options.connect().await?;
        let role = role(&mut connection).await?;
        // The answer is what counts.
        drop(sqlx::Connection::close(connection).await);
        Ok(role)
    });
    match tokio::time::timeout(ANSWER_MAX, asking).await {
        Ok(Ok(role)) => Some(role),
        Ok(Err(sqlx::Error::Database(answer))) if answer.code().as_deref() == Some(FULL) => {
            Some(Role::TakesWrites)
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, place = %connect::place(options), "PostgreSQL cannot be asked");
            None
        }
        Err(_) => None,
    }
}

/// Whether a server takes writes: it is no standby, and not set to be read-only.
pub(super) async fn role(connection: &mut PgConnection) -> Result<Role, sqlx::Error> {
    let writes: bool = sqlx::query_scalar(ROLE).fetch_one(connection).await?;
    Ok(if writes {
        Role::TakesWrites
    } else {
        Role::ReadOnly
    })
}

async fn answers_ping(
    connection: &mut PgConnection,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let ping = tokio::time::timeout(patience, sqlx::Connection::ping(connection));
    ping.await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> sqlx::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn no_answer() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(
        "PostgreSQL does not answer".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        Role::{ReadOnly, TakesWrites},
        choose,
    };

    #[test]
    fn the_server_in_use_is_left_only_for_one_that_takes_writes() {
        let (reads, writes) = (Some(ReadOnly), Some(TakesWrites));
        for (current, roles, must_write, chosen) in [
            (0, vec![writes, writes], true, Some(0)),
            (1, vec![writes, writes], true, Some(1)),
            (0, vec![None, writes], true, Some(1)),
            (1, vec![writes, reads], true, Some(0)),
            (1, vec![writes, reads], false, Some(0)),
            (0, vec![reads, None], true, Some(0)),
            // A standby that was not promoted yet.
            (0, vec![None, reads], true, None),
            (0, vec![None, reads], false, Some(1)),
            (0, vec![None], false, None),
            (0, vec![reads], false, Some(0)),
        ] {
            assert_eq!(choose(current, &roles, must_write), chosen, "{roles:?}");
        }
    }
}
