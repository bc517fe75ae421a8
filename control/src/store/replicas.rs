//! Replicas of control on one PostgreSQL server: which there are, what each has published, and notices between them.
//! A file has one control, so that nothing here is called for SQLite but what returns at once.
//!
//! Times are the server's, because clocks of replicas may differ.

use std::time::Duration;

use proxyxai_contract::id::Revision;
use sea_orm::{
    ConnectionTrait as _, DbBackend, DbErr, RuntimeErr, Statement, Value,
    sqlx::{
        self,
        postgres::{PgListener, PgPoolOptions},
    },
};
use tokio::sync::watch;

use super::{
    Db, Store, Tx,
    server_watch::{self, ServerState, ServerWatch},
    signed,
};
use crate::Error;

/// The channel of notices.
const CHANNEL: &str = "proxyxai";
/// A replica that was not seen for this long is gone.
const GONE_MS: i64 = 3_000;
/// For the connection that listens.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Its row is kept for this long.
const FORGET_MS: i64 = 3_600_000;
const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

/// What one replica tells the others. It arrives when its transaction is committed, at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The configuration changed, or credit was recalled.
    Changed,
    /// A replica published more of the configuration.
    Published,
    /// From a replica, about key health; the text is its own.
    Health { from: String, text: String },
}

impl Notice {
    fn text(&self) -> String {
        match self {
            Self::Changed => "changed".to_owned(),
            Self::Published => "published".to_owned(),
            Self::Health { from, text } => format!("health {from} {text}"),
        }
    }

    /// Returns `None` for what a later version says.
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "changed" => Some(Self::Changed),
            "published" => Some(Self::Published),
            "health" => rest.split_once(' ').map(|(from, text)| Self::Health {
                from: from.to_owned(),
                text: text.to_owned(),
            }),
            _ => None,
        }
    }
}

/// Notices as they arrive.
pub(crate) struct Notices {
    listener: PgListener,
    server: Option<watch::Receiver<ServerState>>,
}

impl Notices {
    /// Listens from now on. Returns `None` if the database is not shared.
    pub(crate) async fn open(store: &Store) -> Result<Option<Self>, Error> {
        if !store.is_shared() {
            return Ok(None);
        }
        let server = store.health.server();
        let state = server.map(ServerWatch::subscribe);
        // A pool of its own, so that a connection on which a server fell silent takes no place from others.
        let writer = store.writer.inner.get_postgres_connection_pool();
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with((*writer.connect_options()).clone());
        let opening = Box::pin(async {
            let mut listener = PgListener::connect_with(&pool).await.map_err(failed)?;
            listener.listen(CHANNEL).await.map_err(failed)?;
            Ok(listener)
        });
        let opened = store.writer.attend(opening).await;
        Ok(Some(Self {
            listener: opened?,
            server: state,
        }))
    }

    /// The next notice; `None` if some may be lost, because the connection was.
    ///
    /// # Errors
    /// Errors if they have to be opened anew, also if another server is in use from now on.
    pub(crate) async fn next(&mut self) -> Result<Option<Notice>, Error> {
        loop {
            let received = tokio::select! {
                received = self.listener.try_recv() => received.map_err(failed)?,
                () = moved(&mut self.server) => {
                    let moved = RuntimeErr::Internal("the server has changed".to_owned());
                    return Err(DbErr::Conn(moved).into());
                }
            };
            let Some(notice) = received else {
                return Ok(None);
            };
            if let Some(notice) = Notice::parse(notice.payload()) {
                return Ok(Some(notice));
            }
        }
    }
}

async fn moved(server: &mut Option<watch::Receiver<ServerState>>) {
    match server {
        Some(state) => server_watch::until_stale(state).await,
        None => std::future::pending().await,
    }
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// Tells the replicas when the transaction commits.
pub(crate) async fn notify(tx: &Tx, notice: &Notice) -> Result<(), Error> {
    if !tx.locks_rows() {
        return Ok(());
    }
    let sql = "SELECT pg_notify($1, $2)";
    run(tx, sql, [CHANNEL.into(), notice.text().into()]).await
}

/// Says that a replica is there, which revision all its data planes use, and which these are.
pub(crate) async fn beat(tx: &Tx, id: &str, published: Revision, nodes: &str) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO replica (id, seen_at, published, nodes) VALUES ($1, {NOW}, $2, $3) \
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, published = excluded.published, nodes = excluded.nodes"
    );
    let values = [id.into(), signed(published.0).into(), nodes.into()];
    run(tx, &sql, values).await?;
    let sql = format!("DELETE FROM replica WHERE seen_at < {NOW} - {FORGET_MS}");
    run(tx, &sql, []).await
}

/// Removes a replica that stops.
pub(crate) async fn leave(tx: &Tx, id: &str) -> Result<(), Error> {
    run(tx, "DELETE FROM replica WHERE id = $1", [id.into()]).await
}

/// Whether data planes of another replica do not use this revision yet.
pub(crate) async fn are_behind(store: &Store, id: &str, revision: Revision) -> Result<bool, Error> {
    let sql = format!(
        "SELECT nodes FROM replica WHERE id <> $1 AND published < $2 AND seen_at > {NOW} - {GONE_MS} LIMIT 1"
    );
    let rows = texts(store, &sql, [id.into(), signed(revision.0).into()]).await?;
    Ok(!rows.is_empty())
}

/// The data planes of the other replicas, as each wrote them.
pub(crate) async fn nodes_of_others(store: &Store, id: &str) -> Result<Vec<String>, Error> {
    if !store.is_shared() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT nodes FROM replica WHERE id <> $1 AND seen_at > {NOW} - {GONE_MS} ORDER BY id"
    );
    texts(store, &sql, [id.into()]).await
}

async fn run<const N: usize>(tx: &Tx, sql: &str, values: [Value; N]) -> Result<(), Error> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    tx.handle().execute_raw(statement).await?;
    Ok(())
}

async fn texts<const N: usize>(
    store: &Store,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<String>, Error> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let rows = store.handle().query_all_raw(statement).await?;
    let texts: Result<Vec<_>, DbErr> = rows.iter().map(|row| row.try_get_by_index(0)).collect();
    Ok(texts?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_as_it_was_written() {
        let health = Notice::Health {
            from: "a1".to_owned(),
            text: "x y".to_owned(),
        };
        for notice in [Notice::Changed, Notice::Published, health] {
            assert_eq!(Notice::parse(&notice.text()), Some(notice));
        }
        assert_eq!(Notice::parse("later what"), None);
    }
}
