//! The books as an operator and an accountant see them: `proxyxai verify` and `proxyxai export` on the store of a
//! running gateway, `/x-bill.csv` and `/x-ledger.csv` over HTTP.

use std::process::Command;

use sea_orm::{ConnectionTrait as _, Database};

use crate::{
    upstream::{Script, Upstream},
    world::{World, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const USAGE_HEAD: &str =
    "time,account,name,request,path,model_asked,model_used,status,cost,corrected_cost,measure,";

/// A gateway with an account that has made two calls; returns the account's key.
async fn busy() -> (World, Upstream, String) {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    upstream.script(UP, Script::Chat);
    let key = world.add_account("alice", 10.0).await;
    for calls in 1..=2 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        world.posted("alice", calls).await;
    }
    (world, upstream, key)
}

/// Runs `proxyxai …` on the store of a world. Returns exit code, output and messages.
fn run(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .args(arguments)
        .env_clear()
        .env("DATA_DIR", world.dir())
        .envs(world.database_url().map(|url| ("DATABASE_URL", url)))
        .output()
        .unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

/// Changes the books directly in the database.
async fn meddle(world: &World, sql: &str) {
    let file = || format!("sqlite:{}/proxyxai.db", world.dir().display());
    let url = world.database_url().map_or_else(file, ToOwned::to_owned);
    let connection = Database::connect(url).await.unwrap();
    let done = connection.execute_unprepared(sql).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn verify_names_the_row_that_was_changed_by_hand() {
    let (mut world, _upstream, _key) = busy().await;
    // While the gateway runs.
    let (code, out, log) = run(&world, &["verify"]);
    assert_eq!(code, 0, "{out}{log}");
    assert!(
        out.contains("2 usage records") && out.ends_with("the books balance\n"),
        "{out}"
    );
    world.stop().await;
    assert_eq!(run(&world, &["verify"]).0, 0);

    meddle(&world, "UPDATE credit_card SET balance = balance + 1").await;
    let (code, out, log) = run(&world, &["verify"]);
    assert_eq!(code, 1, "{out}{log}");
    let named = "THE BOOKS DO NOT BALANCE\naccount 2: cards less debt is $";
    assert!(out.contains(named), "{out}");

    meddle(&world, "UPDATE credit_card SET balance = balance - 1").await;
    let one = "UPDATE usage_record SET output = output + 1 WHERE sequence = 1";
    meddle(&world, one).await;
    let (code, out, _) = run(&world, &["verify"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("account 2: output in usage records of \"gpt-4o"),
        "{out}"
    );
}

#[tokio::test]
async fn books_that_cannot_be_read_are_neither_right_nor_wrong() {
    let done = crate::world::run_to_end(Some("verify"), &[]);
    assert_eq!(done.0, 2, "{done:?}");
    assert!(done.2.contains("no control plane has run yet"), "{done:?}");
}

#[tokio::test]
async fn exports_give_the_same_lines_over_http_and_on_the_command_line() {
    let (world, _upstream, key) = busy().await;
    let read = async |path: &str| {
        let answer = world.root(world.http.get(world.url(path))).await;
        assert_eq!(answer.status(), 200, "{path}");
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/csv; charset=utf-8");
        let file = answer.headers()["content-disposition"].to_str().unwrap();
        assert!(file.starts_with("attachment; filename=\""), "{file}");
        answer.text().await.unwrap()
    };
    let usage = read("/x-bill.csv").await;
    assert!(usage.starts_with(USAGE_HEAD), "{usage}");
    let lines: Vec<_> = usage.split_terminator("\r\n").skip(1).collect();
    assert_eq!(lines.len(), 2, "{usage}");
    for line in &lines {
        assert!(
            line.contains(",2,alice,") && line.contains(",measured,"),
            "{line}"
        );
    }
    let (code, out, log) = run(&world, &["export", "usage"]);
    assert_eq!((code, out.as_str()), (0, usage.as_str()), "{log}");

    let ledger = read("/x-ledger.csv").await;
    assert!(
        ledger.contains(",grant,grant:1>2,account,2,alice,10.000000000\r\n"),
        "{ledger}"
    );
    // The amounts of each posting sum to zero.
    let nanos = |line: &str| -> i64 {
        let amount = line.rsplit(',').next().unwrap();
        amount.replacen('.', "", 1).parse().unwrap()
    };
    let sum: i64 = ledger.split_terminator("\r\n").skip(1).map(nanos).sum();
    assert_eq!(sum, 0, "{ledger}");
    let (code, out, log) = run(&world, &["export", "ledger"]);
    // The gateway may have moved leases in between; earlier entries stay the same.
    assert_eq!(code, 0, "{log}");
    assert!(out.starts_with(&ledger), "{out}");
    let none = run(
        &world,
        &[
            "export",
            "ledger",
            "--from",
            "2020-01-01",
            "--to",
            "2020-01-31",
        ],
    );
    assert_eq!((none.0, none.1.lines().count()), (0, 1));
    let wrong = run(
        &world,
        &[
            "export",
            "usage",
            "--from",
            "2020-02-01",
            "--to",
            "2020-01-31",
        ],
    );
    assert_ne!(wrong.0, 0);
    assert!(wrong.2.contains("--from is after --to"), "{wrong:?}");

    // An account may read its own calls but not the ledger; days must be valid.
    let asked = async |path: &str, key: &str| {
        let ask = world.http.get(world.url(path)).bearer_auth(key);
        ask.send().await.unwrap()
    };
    let own = asked("/x-bill.csv", &key).await.text().await.unwrap();
    // The last columns are the operator's expense and the keys that were tried.
    let told = usage.lines().map(|line| {
        let kept = line.rsplit_once(',').unwrap().0;
        kept.rsplit_once(',').unwrap().0
    });
    assert_eq!(own.lines().collect::<Vec<_>>(), told.collect::<Vec<_>>());
    refused(asked("/x-ledger.csv", &key).await, 403, "forbidden").await;
    refused(
        asked("/x-bill.csv?start=soon", &key).await,
        400,
        "invalid_request",
    )
    .await;
}
