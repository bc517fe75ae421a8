//! The usage of calls on a data plane's disk.

use std::time::Duration;

use super::{Disk, EIO, ENOSPC, EROFS, SIZES, SYNCS, WRITES, until_not_ready, until_ready};
use crate::{
    upstream::{Script, Upstream},
    world::{World, metrics},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
/// More system calls than a commit of the spool makes.
const STEPS_MAX: i32 = 100;
/// Enough time for several attempts of its writer.
const WHILE: Duration = Duration::from_millis(150);

struct Calls {
    world: World,
    alice: String,
    _upstream: Upstream,
    made: u64,
}

impl Calls {
    async fn on(disk: &Disk) -> Self {
        let env = disk.env();
        let env = [
            ("PRICING", PRICING),
            (env[0].0, env[0].1.as_str()),
            (env[1].0, env[1].1.as_str()),
        ];
        let world = World::with(&env).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        world.add_key(UP, &upstream.base).await;
        let alice = world.add_account("alice", 100.0).await;
        Self {
            world,
            alice,
            _upstream: upstream,
            made: 0,
        }
    }

    async fn make(&mut self, count: u64) {
        for _ in 0..count {
            let answer = self.world.chat(&self.alice, "house").await;
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
        }
        self.made += count;
    }

    /// Asserts that each call is posted once.
    async fn check(&self) {
        self.world.posted("alice", self.made).await;
    }
}

async fn every_step_fails(error: i32, kinds: i32) {
    let disk = Disk::new();
    let mut calls = Calls::on(&disk).await;
    for after in 0..STEPS_MAX {
        disk.fail(error, kinds, after, "spool.redb");
        calls.make(2).await;
        tokio::time::sleep(WHILE).await;
        if !disk.work() {
            assert!(after > 0, "it never failed");
            calls.check().await;
            return;
        }
        calls.make(1).await;
        until_ready(&calls.world).await;
        calls.check().await;
    }
    panic!("it never works");
}

#[tokio::test]
async fn usage_outlives_a_disk_that_was_full_at_any_step_without_a_restart() {
    every_step_fails(ENOSPC, WRITES | SIZES).await;
}

#[tokio::test]
async fn usage_outlives_write_errors_at_any_step_without_a_restart() {
    every_step_fails(EIO, WRITES).await;
}

#[tokio::test]
async fn usage_outlives_failed_syncs_at_any_step_without_a_restart() {
    every_step_fails(EIO, SYNCS).await;
}

#[tokio::test]
async fn a_data_plane_that_cannot_write_usage_says_so_and_a_restart_finds_what_waited() {
    let disk = Disk::new();
    let mut calls = Calls::on(&disk).await;
    disk.fail(EROFS, WRITES | SYNCS | SIZES, 0, "spool.redb");
    calls.make(5).await;
    let why = until_not_ready(&calls.world).await;
    assert!(why.contains("usage cannot be written to disk"), "{why}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = metrics(&calls.world.node.base).await;
    let age = metrics
        .lines()
        .find(|line| line.starts_with("proxyxai_spool_oldest_age_seconds "))
        .and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    assert!(age.is_some_and(|age| age >= 1.0), "{age:?}");
    calls.world.kill().await;
    disk.work();
    calls.world.restart().await;
    calls.check().await;
    calls.make(1).await;
    calls.check().await;
}

/// The number of log lines, once those in the pipe have arrived.
async fn settled_lines(calls: &Calls) -> usize {
    let count = || calls.world.node.log().lines().count();
    let mut lines = count();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = count();
        if now == lines {
            break;
        }
        lines = now;
    }
    lines
}

#[tokio::test]
async fn a_log_that_cannot_be_written_fails_no_call() {
    let disk = Disk::new();
    let mut calls = Calls::on(&disk).await;
    let lines = settled_lines(&calls).await;
    // The gateway's log goes through a pipe here.
    disk.fail(ENOSPC, WRITES, 0, "pipe:");
    calls.make(5).await;
    calls.check().await;
    calls.world.add_account("robert", 100.0).await;
    assert!(disk.work(), "nothing was logged");
    assert_eq!(calls.world.node.log().lines().count(), lines);
    calls.make(1).await;
    calls.check().await;
}
