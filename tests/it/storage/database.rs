//! A PostgreSQL server. Triggers make it fail where a real one would: at each writing statement, and at the commit.

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement};

use super::{Asked, until_not_ready, until_ready, verified};
use crate::world::World;

/// What a trigger does, in PL/pgSQL: a full disk, an I/O error, the end of the connection.
const FAULTS: [&str; 3] = [
    "RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'",
    "RAISE EXCEPTION 'input/output error' USING ERRCODE = '58030'",
    "PERFORM pg_terminate_backend(pg_backend_pid())",
];

async fn server(world: &World) -> Option<DatabaseConnection> {
    let url = world.database_url()?;
    let mut options = ConnectOptions::new(url);
    // One connection, so that session settings apply to everything that follows.
    options.max_connections(1);
    Some(Database::connect(options).await.unwrap())
}

async fn run(server: &DatabaseConnection, sql: &str) {
    server.execute_unprepared(sql).await.unwrap();
}

async fn tables(server: &DatabaseConnection) -> Vec<String> {
    let sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    let rows = Statement::from_string(server.get_database_backend(), sql);
    let rows = server.query_all_raw(rows).await.unwrap();
    let name = |row: &sea_orm::QueryResult| row.try_get("", "tablename").unwrap();
    rows.iter().map(name).collect()
}

#[tokio::test]
async fn what_was_answered_is_there_whatever_statement_or_commit_fails() {
    let mut world = World::start().await;
    let Some(server) = server(&world).await else {
        return;
    };
    let mut asked = Asked::default();
    for fault in FAULTS {
        let function = "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS";
        run(
            &server,
            &format!("{function} $$ BEGIN {fault}; RETURN NEW; END $$"),
        )
        .await;
        for table in tables(&server).await {
            for trigger in [
                format!(
                    "CREATE TRIGGER fail BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT"
                ),
                format!(
                    "CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
                ),
            ] {
                run(&server, &format!("{trigger} EXECUTE FUNCTION fail()")).await;
                asked.account(&world).await;
                if table == "revision" {
                    let why = until_not_ready(&world).await;
                    assert!(why.contains("the database fails"), "{why}");
                }
                run(&server, &format!("DROP TRIGGER fail ON {table}")).await;
                until_ready(&world).await;
                assert!(asked.account(&world).await, "after {fault} at {trigger}");
            }
        }
    }
    assert!(
        asked.failed.len() > 2 * FAULTS.len(),
        "{}",
        asked.failed.len()
    );
    asked.check(&world).await;
    world.kill().await;
    world.restart().await;
    asked.check(&world).await;
    let listed = world.read("/x-users").await;
    let listed = listed.as_array().unwrap().iter().map(super::name);
    let made: Vec<_> = listed.filter(|name| asked.failed.contains(name)).collect();
    assert!(
        made.is_empty(),
        "nothing here fails after it was committed: {made:?}"
    );
    verified(&world);
}

#[tokio::test]
async fn a_server_that_turned_read_only_or_ended_every_session_is_told_and_used_again() {
    let world = World::start().await;
    let Some(server) = server(&world).await else {
        return;
    };
    let mut asked = Asked::default();
    assert!(asked.account(&world).await);
    let url = world.database_url().unwrap();
    let name = url.rsplit('/').next().unwrap();
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only");
    for _ in 0..3 {
        run(&server, &format!("{read_only} = on")).await;
        run(&server, &end).await;
        assert!(!asked.account(&world).await);
        let why = until_not_ready(&world).await;
        assert!(why.contains("read-only"), "{why}");
        run(&server, "SET default_transaction_read_only = off").await;
        run(&server, &format!("{read_only} = off")).await;
        run(&server, &end).await;
        until_ready(&world).await;
        assert!(asked.account(&world).await);
    }
    asked.check(&world).await;
}
