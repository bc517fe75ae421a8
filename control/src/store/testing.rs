//! Databases for tests: one for each test, on the server that it names.

use proxyxai_contract::secret::Secret;
use sea_orm::{
    ConnectionTrait as _, Database as Connector, DbErr, EntityTrait as _, QueryOrder as _,
};

use super::entity;
use crate::{store::database::Database, testing::random_name};

/// A database on a server that can be removed.
pub(crate) struct ScratchDatabase {
    server: String,
    name: String,
}

impl ScratchDatabase {
    /// Makes an empty database.
    pub(crate) async fn create(server: &str) -> Self {
        let scratch = Self {
            server: server.to_owned(),
            name: random_name(),
        };
        scratch
            .run(&format!("CREATE DATABASE {}", scratch.name))
            .await;
        scratch
    }

    /// The database to open.
    pub(crate) fn database(&self) -> Database {
        let (base, options) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (host, _) = base.rsplit_once('/').unwrap();
        let url = format!("{host}/{}?{options}", self.name);
        Database::parse(&Secret::new(url)).unwrap()
    }

    /// Removes the database, even with open connections.
    pub(crate) async fn drop_it(&self) {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }

    async fn run(&self, sql: &str) {
        let connection = Connector::connect(self.server.as_str()).await.unwrap();
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// Statements and commits so far, of all transactions and readers.
pub(crate) fn statements(store: &super::Store) -> u64 {
    let statements = &store.health.statements;
    statements.load(std::sync::atomic::Ordering::Relaxed)
}

/// Runs a statement that bypasses the store.
pub(crate) async fn meddle(store: &super::Store, sql: &str) {
    try_to_meddle(store, sql).await.unwrap();
}

/// Like `meddle`, if the statement may fail.
pub(crate) async fn try_to_meddle(store: &super::Store, sql: &str) -> Result<(), DbErr> {
    store.writer.execute_unprepared(sql).await.map(drop)
}

/// The integer in the column `number` of a query's result.
pub(crate) async fn number(store: &super::Store, sql: &str) -> i64 {
    let query = super::statement(store, sql, []);
    let row = store.writer.query_one_raw(query).await.unwrap();
    row.unwrap().try_get("", "number").unwrap()
}

/// A mail as it stands in the queue.
#[derive(Debug, Clone)]
pub(crate) struct QueuedMail {
    pub(crate) kind: String,
    pub(crate) recipient: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) state: String,
    pub(crate) tries: i64,
    pub(crate) error: String,
}

/// All mails, oldest first.
pub(crate) async fn mails(store: &super::Store) -> Vec<QueuedMail> {
    let rows = entity::mail::Entity::find().order_by_asc(entity::mail::Column::Id);
    let rows = rows.all(&store.writer).await.unwrap();
    let read = |row: entity::mail::Model| QueuedMail {
        kind: row.kind,
        recipient: row.recipient,
        subject: row.subject,
        text: row.text_body,
        state: row.state,
        tries: row.tries,
        error: row.last_error,
    };
    rows.into_iter().map(read).collect()
}

/// The whole audit log, as text.
pub(crate) async fn audit_text(store: &super::Store) -> String {
    let rows = entity::audit::Entity::find().all(&store.writer);
    format!("{:?}", rows.await.unwrap())
}

/// Fails a statement of a transaction.
pub(crate) async fn fail_in(tx: &super::Tx) {
    let done = tx.0.execute_unprepared("SELECT nothing FROM nowhere").await;
    assert!(done.is_err());
}
