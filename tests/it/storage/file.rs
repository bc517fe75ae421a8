//! The database file of a gateway without a server.

use super::{
    Asked, Disk, EIO, ENOSPC, EROFS, SIZES, SYNCS, WRITES, until_not_ready, until_ready, verified,
};
use crate::world::World;

/// More system calls than creating an account makes.
const STEPS_MAX: i32 = 200;

async fn world_on(disk: &Disk) -> Option<World> {
    let env = disk.env();
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let world = World::with(&env).await;
    // With a server, the server's disk would have to fail.
    world.database_url().is_none().then_some(world)
}

/// Creates accounts while each step of that fails in turn.
async fn every_step_fails(error: i32, kinds: i32) {
    let disk = Disk::new();
    let Some(mut world) = world_on(&disk).await else {
        return;
    };
    let mut asked = Asked::default();
    assert!(asked.account(&world).await);
    for after in 0..STEPS_MAX {
        disk.fail(error, kinds, after, "proxyxai.db");
        let done = asked.account(&world).await;
        if !done {
            let why = until_not_ready(&world).await;
            assert!(why.contains("the database fails"), "{why}");
            // Twice, because of the state that a failure leaves behind.
            asked.account(&world).await;
        }
        let failed = disk.work();
        if done && !failed {
            break;
        }
        assert!(after < STEPS_MAX - 1, "it never works");
        until_ready(&world).await;
        for _ in 0..2 {
            assert!(asked.account(&world).await, "after step {after}");
        }
        asked.check(&world).await;
    }
    assert!(!asked.failed.is_empty());
    world.kill().await;
    verified(&world);
    world.restart().await;
    asked.check(&world).await;
    verified(&world);
}

#[tokio::test]
async fn what_was_answered_outlives_a_disk_that_was_full_at_any_step() {
    every_step_fails(ENOSPC, WRITES | SIZES).await;
}

#[tokio::test]
async fn what_was_answered_outlives_write_errors_at_any_step() {
    every_step_fails(EIO, WRITES).await;
}

#[tokio::test]
async fn what_was_answered_outlives_failed_syncs_at_any_step() {
    every_step_fails(EIO, SYNCS).await;
}

#[tokio::test]
async fn what_was_answered_outlives_a_disk_that_turned_read_only_at_any_step() {
    every_step_fails(EROFS, WRITES | SYNCS | SIZES).await;
}
