//! Prices as an operator handles them: the command line against a running gateway, and against files.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;

use proxyxai_contract::{clock::Clock, clock::Zone, price_file};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, json_answer},
    world::{ROOT, World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

fn table(input: &str) -> String {
    format!(
        r#"{{"Version":"2026-10-01","Providers":{{}},
        "ChatPricing":{{"house":{{"InputText":{input},"OutputText":10,"MaxOutput":100}}}},
        "ImgPricing":{{"painter":{{"Call":0.04,"Sizes":{{"1024x1792":0.08}}}}}}}}"#
    )
}

/// Runs `proxyxai prices …` and returns its exit code, output and messages.
fn prices(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .arg("prices")
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

/// Runs the command against the gateway of a world; asserts success.
fn asked(world: &World, arguments: &[&str]) -> String {
    let env = [
        ("GRPC_LISTEN", world.node.grpc.as_str()),
        ("ROOT_KEY", ROOT),
    ];
    let (code, out, log) = prices(arguments, &env);
    assert_eq!(code, 0, "{arguments:?}: {out}{log}");
    out
}

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn today() -> String {
    Zone::UTC.day(Clock::system().now()).to_string()
}

#[test]
fn whoever_has_read_enough_ends_no_command() {
    let dir = TempDir::new().unwrap();
    let file = written(dir.path(), "all.json", &price_file::DEFAULT);
    let mut child = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .args(["prices", "show", "--file", &file])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    let log = String::from_utf8(done.stderr).unwrap();
    assert_eq!((done.status.code(), log.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_wrong_price_is_put_right_while_the_gateway_runs() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    upstream.script(UP, Script::Chat);
    let key = world.add_account("alice", 10.0).await;
    let day = today();
    let wrong = written(world.dir(), "wrong.json", &table("250"));
    let right = written(world.dir(), "right.json", &table("2.5"));

    let told = asked(&world, &["diff", &wrong]);
    assert!(told.contains("house InputText - -> 250"), "{told}");
    // Until now the gateway used the table that ships.
    assert!(asked(&world, &["show", "gpt-4o"]).contains("gpt-4o InputText 2.5\n"));
    let loaded = asked(&world, &["load", "--force", &wrong]);
    let from = loaded.trim().rsplit(' ').next().unwrap();
    assert!(asked(&world, &["show", "house"]).contains("house InputText 250\n"));

    // 11 prompt and 7 completion tokens: 11 × 250,000 + 7 × 10,000 nano-dollars.
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    let charged = world.posted("alice", 1).await;
    assert_eq!(charged["CreditUsed"], json!(0.002_82));

    let told = asked(&world, &["diff", &right]);
    assert!(
        told.contains("house InputText 250 -> 2.5 (-99 %)"),
        "{told}"
    );
    // From the moment of the mistake on.
    asked(
        &world,
        &[
            "load",
            &right,
            "--valid-from",
            from,
            "--note",
            "typing error",
        ],
    );
    assert!(asked(&world, &["show"]).contains("typing error"));
    assert!(asked(&world, &["show", "house"]).contains("house InputText 2.5\n"));

    let until = today();
    let again = ["rerate", "--from", &day, "--to", &until];
    let dry = asked(&world, &[&again[..], &["--dry-run"][..]].concat());
    assert!(dry.contains("would correct 1 accounts"), "{dry}");
    assert_eq!(
        world.account("alice").await["CreditUsed"],
        charged["CreditUsed"]
    );
    let told = asked(&world, &again);
    // 11 × 247,500 nano-dollars are refunded.
    assert!(told.contains("1 records, -$0.0027225"), "{told}");
    let made_good = world.account("alice").await;
    assert_eq!(made_good["CreditUsed"], json!(0.000_097_5));
    let told = asked(&world, &again);
    assert!(told.contains("corrected 0 accounts"), "{told}");
    assert_eq!(world.account("alice").await, made_good);
    world.grpc().verify_books().await;
    let records = world.grpc().usage("alice").await;
    assert_eq!(records[0].corrected_cost_nanos, Some(97_500));
    assert_eq!(records[0].record.as_ref().unwrap().cost_nanos, 2_820_000);
}

#[tokio::test]
async fn a_table_that_waits_takes_over_at_its_moment() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    upstream.script(UP, Script::Chat);
    let key = world.add_account("alice", 10.0).await;
    let first = written(world.dir(), "first.json", &table("1"));
    let next = written(world.dir(), "next.json", &table("2"));
    asked(&world, &["load", "--force", &first]);
    let moment = Clock::system().now().plus(1_500);
    asked(
        &world,
        &["load", &next, "--valid-from", &Zone::UTC.rfc3339(moment)],
    );
    assert_eq!(world.chat(&key, "house").await.status(), 200);
    let mut calls = 1;
    until("the new prices charge calls", async || {
        world.chat(&key, "house").await;
        calls += 1;
        world.posted("alice", calls).await;
        let newest = &world.grpc().usage("alice").await[0];
        let record = newest.record.as_ref().unwrap();
        let start = record.start_time.unwrap();
        let start = start.seconds * 1000 + i64::from(start.nanos) / 1_000_000;
        if record.cost_nanos == 11 * 2_000 + 7 * 10_000 {
            assert!(start >= moment.0, "too early: {start}");
            return true;
        }
        assert_eq!(record.cost_nanos, 11 * 1_000 + 7 * 10_000);
        assert!(start < moment.0 + 1_000, "too late: {start}");
        false
    })
    .await;
}

#[tokio::test]
async fn absurd_prices_are_refused_unless_forced() {
    let world = World::start().await;
    let env = [
        ("GRPC_LISTEN", world.node.grpc.as_str()),
        ("ROOT_KEY", ROOT),
    ];
    let usual = written(world.dir(), "usual.json", &table("2.5"));
    asked(&world, &["load", "--force", &usual]);
    for (input, forced) in [
        ("251", true),
        ("2000000", true),
        ("-1", false),
        ("1e400", false),
        ("NaN", false),
    ] {
        let file = written(world.dir(), "odd.json", &table(input));
        let (code, out, log) = prices(&["load", &file], &env);
        assert_eq!(code, 1, "{input}: {out}{log}");
        assert!(asked(&world, &["show", "house"]).contains("house InputText 2.5\n"));
        let (code, ..) = prices(&["load", "--force", &file], &env);
        assert_eq!(code == 0, forced, "{input}");
        asked(&world, &["load", &usual]);
    }
    let told = asked(
        &world,
        &["diff", &written(world.dir(), "odd.json", &table("251"))],
    );
    assert!(told.contains("(+9940 %)  ABSURD"), "{told}");
}

#[tokio::test]
async fn only_root_may_load_prices() {
    let world = World::start().await;
    let alice = world.add_account("alice", 100.0).await;
    let file = written(world.dir(), "t.json", &table("1"));
    for key in [alice.as_str(), "nobody"] {
        let env = [("GRPC_LISTEN", world.node.grpc.as_str()), ("ROOT_KEY", key)];
        for arguments in [
            &["show"][..],
            &["diff", &file],
            &["load", &file],
            &["rerate", "--from", "2026-01-01", "--to", "2026-01-02"],
        ] {
            let (code, out, log) = prices(arguments, &env);
            assert_eq!((code, out.as_str()), (1, ""), "{arguments:?}: {log}");
        }
    }
}

#[tokio::test]
async fn the_first_root_key_is_found_where_the_first_start_left_it() {
    let world = World::bare(None, &[]).await;
    let env = [
        ("GRPC_LISTEN", world.node.grpc.as_str()),
        ("DATA_DIR", world.dir().to_str().unwrap()),
    ];
    let (code, out, log) = prices(&["show", "gpt-4o"], &env);
    assert_eq!(code, 0, "{out}{log}");
}

#[test]
fn files_are_shown_checked_and_compared_without_a_gateway() {
    let dir = TempDir::new().unwrap();
    let old = written(dir.path(), "old.json", &price_file::DEFAULT);
    let new = written(dir.path(), "new.json", &table("1"));
    let bad = written(dir.path(), "bad.json", &table("-1"));
    let ok = |arguments: &[&str]| {
        let (code, out, log) = prices(arguments, &[]);
        assert_eq!(code, 0, "{arguments:?}: {out}{log}");
        out
    };
    assert!(ok(&["show", "--file", &old, "gpt-4o-2024-08-06"]).contains("InputText 2.5\n"));
    assert!(ok(&["validate", &new]).contains("2 models"));
    assert!(ok(&["diff", "--against", &old, &new]).contains("gpt-4o InputText 2.5 -> -"));
    assert!(ok(&["diff", "--against", &new, &new]).starts_with("0 changes"));
    let (code, _, log) = prices(&["validate", &bad], &[]);
    assert_eq!(code, 1);
    assert!(log.contains("house") && log.contains("negative"), "{log}");
    let (code, _, log) = prices(&["show", "--file", &old, "no-such-model"], &[]);
    assert_eq!((code, log.contains("no price")), (1, true));
    let (code, _, log) = prices(&["show"], &[("GRPC_LISTEN", "127.0.0.1:1")]);
    assert_eq!((code, log.contains("127.0.0.1:1")), (1, true));
}

#[test]
fn a_public_price_list_can_be_imported_and_loaded() {
    let dir = TempDir::new().unwrap();
    let list = r#"{
        "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
            "output_cost_per_token": 1e-05, "max_output_tokens": 16384},
        "sing": {"litellm_provider": "openai", "mode": "music", "output_cost_per_second": 0.1}
    }"#;
    let list = written(dir.path(), "list.json", list);
    let out = dir.path().join("out.json");
    let out = out.to_str().unwrap();
    let (code, _, log) = prices(&["import", &list, "--out", out], &[]);
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("imported 1 models") && log.contains("skipped 1 of mode music"),
        "{log}"
    );
    let (code, shown, _) = prices(&["show", "--file", out, "gpt-4o"], &[]);
    assert_eq!(code, 0);
    assert!(
        shown.contains("gpt-4o OutputText 10\n") && shown.contains("gpt-4o MaxOutput 16384\n"),
        "{shown}"
    );
    let (code, text, _) = prices(&["import-litellm", &list], &[]);
    assert_eq!(code, 0);
    let _table: Value = serde_json::from_str(&text).unwrap();
}

#[tokio::test]
async fn pictures_are_charged_by_size_and_number() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 10.0).await;
    asked(
        &world,
        &[
            "load",
            "--force",
            &written(world.dir(), "t.json", &table("1")),
        ],
    );
    upstream.script(
        UP,
        json_answer(200, r#"{"created":1,"data":[{"url":"x"}]}"#),
    );
    let paint = async |body: Value| {
        let answer = world.post("/v1/images/generations", &key, &body).await;
        assert_eq!(answer.status(), 200);
    };
    paint(json!({"model": "painter", "prompt": "a cat", "n": 3, "size": "1024x1792"})).await;
    paint(json!({"model": "painter", "prompt": "a cat", "size": "256x256"})).await;
    paint(json!({"model": "painter", "prompt": "a cat", "n": 2})).await;
    // Some providers treat zero images as one, and accept a size in any case.
    paint(json!({"model": "painter", "prompt": "a cat", "n": 0, "size": "1024X1792"})).await;
    // 3 × 0.08 + 0.04 + 2 × 0.04 + 0.08 dollars.
    assert_eq!(world.posted("alice", 4).await["CreditUsed"], json!(0.44));
    let records = world.grpc().usage("alice").await;
    let first = records.last().unwrap().record.as_ref().unwrap();
    assert_eq!((first.images, first.image_size.as_str()), (3, "1024x1792"));
}
