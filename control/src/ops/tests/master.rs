//! Tests of the generated master key: what opens a database without its `master.key`, and what does not.

use std::{fs, path::Path};
use tempfile::TempDir;

use proxyxai_contract::{client_key::ClientKey, secret::Secret};

use crate::{
    Control, Error, ops,
    store::{
        self,
        master_copies::{MasterCopy, Slot},
    },
    testing::{ROOT, World, everywhere},
};

/// Upstream keys are what the vault is for: a stored one has to open as the same text.
const UPSTREAM: &str = "sk-a-secret-of-enough-length";

fn fresh() -> ClientKey {
    ClientKey::generate().unwrap()
}

fn users(root: &ClientKey) -> Secret {
    Secret::new(format!("root::root@example.com::{}", root.expose()))
}

/// Starts over the same database with an empty directory.
async fn start_bare(world: &World, keys: GivenMasterKey<'_>) -> (Result<Control, Error>, TempDir) {
    let dir = TempDir::new().unwrap();
    let mut config = world.config.clone();
    config.data_dir = dir.path().to_owned();
    match keys {
        GivenMasterKey::Nothing => config.init_users = None,
        GivenMasterKey::InitUsers(key) => config.init_users = Some(users(key)),
        GivenMasterKey::RootKey(key) => {
            config.init_users = None;
            config.root_key = Some(Secret::new(key.expose()));
        }
        GivenMasterKey::File(key) => {
            config.init_users = None;
            fs::write(dir.path().join("root.key"), key.expose()).unwrap();
        }
    }
    (Control::start(config, world.clock.clone()).await, dir)
}

#[derive(Clone, Copy)]
enum GivenMasterKey<'a> {
    Nothing,
    InitUsers(&'a ClientKey),
    RootKey(&'a ClientKey),
    File(&'a ClientKey),
}

/// Whether a root key opens the copy of the master key.
pub(super) async fn opens_with(world: &World, key: &ClientKey) -> bool {
    opens(world, GivenMasterKey::RootKey(key)).await
}

async fn opens(world: &World, keys: GivenMasterKey<'_>) -> bool {
    let (started, dir) = start_bare(world, keys).await;
    let kept = file(dir.path());
    match started {
        Ok(control) => {
            assert_eq!(kept.as_ref(), control.vault().generated(), "it is written");
            true
        }
        Err(Error::Invalid(problem)) => {
            assert_eq!(problem.field, "MASTER_KEY");
            assert_eq!(kept, None, "nothing is made up");
            false
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn file(dir: &Path) -> Option<Secret> {
    let text = fs::read_to_string(dir.join("master.key")).ok()?;
    Some(Secret::new(text.trim()))
}

async fn copies(control: &Control) -> Vec<MasterCopy> {
    store::master_copies::all(control.store()).await.unwrap()
}

async fn slots(control: &Control) -> Vec<Slot> {
    let copies = copies(control).await.into_iter();
    let mut slots: Vec<_> = copies.filter_map(|copy| copy.slot).collect();
    slots.sort_by_key(|slot| *slot as u8);
    slots
}

#[tokio::test]
async fn any_root_key_at_hand_opens_a_database_whose_file_is_gone() {
    everywhere(async |world: &mut World| {
        let root = world.control.first_root_key().unwrap().clone();
        world.key(UPSTREAM).await.unwrap();
        for given in [
            GivenMasterKey::InitUsers(&root),
            GivenMasterKey::RootKey(&root),
            GivenMasterKey::File(&root),
        ] {
            assert!(opens(world, given).await);
        }
        let (control, _dir) = start_bare(world, GivenMasterKey::RootKey(&root)).await;
        let control = control.unwrap();
        // A start opens the pool for data planes; the caller's key is found by its hash.
        let caller = ops::auth::authenticate(&control, root.expose(), None).await;
        assert!(caller.unwrap().is_root());
        let again = ops::keys::create(&control, &ROOT, crate::testing::new_key(UPSTREAM)).await;
        assert!(matches!(again, Err(Error::Conflict { .. })), "{again:?}");
        assert!(!opens(world, GivenMasterKey::Nothing).await);
        assert!(!opens(world, GivenMasterKey::InitUsers(&fresh())).await);
        assert!(!opens(world, GivenMasterKey::File(&fresh())).await);
    })
    .await;
}

#[tokio::test]
async fn a_root_key_that_opens_nothing_is_a_configuration_error_that_shows_no_key() {
    everywhere(async |world: &mut World| {
        let wrong = fresh();
        let (refused, _dir) = start_bare(world, GivenMasterKey::InitUsers(&wrong)).await;
        let problem = refused.unwrap_err().to_string();
        for word in ["MASTER_KEY", "INIT_USERS", "ROOT_KEY", "master.key"] {
            assert!(problem.contains(word), "{problem}");
        }
        let root = world.control.first_root_key().unwrap();
        let kept = file(world.dir.path()).unwrap();
        for secret in [wrong.expose(), root.expose(), kept.expose()] {
            assert!(!problem.contains(secret), "{problem}");
        }
    })
    .await;
}

#[tokio::test]
async fn after_a_rotation_the_new_root_key_opens_and_the_old_one_does_not() {
    everywhere(async |world: &mut World| {
        let mut root = world.control.first_root_key().unwrap().clone();
        for way in 0..4 {
            let control = &world.control;
            let chosen = fresh();
            let next = match way {
                0 => ops::accounts::rotate_key(control, &ROOT, None, 0).await,
                1 => ops::accounts::rotate_key(control, &ROOT, Some("root"), 0).await,
                2 => ops::accounts::rotate_root(control, &ROOT, None, 0).await,
                _ => ops::accounts::rotate_root(control, &ROOT, Some(chosen.clone()), 0).await,
            };
            let next = next.unwrap();
            assert!(
                opens(world, GivenMasterKey::RootKey(&next)).await,
                "way {way}"
            );
            assert!(
                !opens(world, GivenMasterKey::RootKey(&root)).await,
                "way {way}"
            );
            root = next;
        }
        // No other account's key changes the copies.
        world.child(&ROOT, "alice", 10.0).await;
        let before = format!("{:?}", copies(&world.control).await);
        let alices = ops::accounts::rotate_key(&world.control, &ROOT, Some("alice"), 0).await;
        assert_eq!(format!("{:?}", copies(&world.control).await), before);
        assert!(!opens(world, GivenMasterKey::RootKey(&alices.unwrap())).await);
    })
    .await;
}

#[tokio::test]
async fn the_key_of_init_users_opens_until_another_is_given_there() {
    everywhere(async |world: &mut World| {
        let first = fresh();
        world.config.init_users = Some(users(&first));
        world.restart().await.unwrap();
        assert_eq!(slots(&world.control).await, [Slot::InitUsers, Slot::Root]);
        let rotated = ops::accounts::rotate_root(&world.control, &ROOT, None, 0).await;
        let rotated = rotated.unwrap();
        for _ in 0..2 {
            assert!(opens(world, GivenMasterKey::InitUsers(&first)).await);
            assert!(opens(world, GivenMasterKey::RootKey(&rotated)).await);
        }
        let (control, _dir) = start_bare(world, GivenMasterKey::InitUsers(&first)).await;
        let refused = ops::auth::authenticate(&control.unwrap(), first.expose(), None).await;
        assert!(refused.is_err(), "it opens the vault and is root's no more");
        // If the new key is set while the file exists, the copy under the old one is removed.
        world.config.init_users = Some(users(&rotated));
        world.restart().await.unwrap();
        assert!(opens(world, GivenMasterKey::InitUsers(&rotated)).await);
        assert!(!opens(world, GivenMasterKey::InitUsers(&first)).await);
    })
    .await;
}

#[tokio::test]
async fn a_start_that_changes_nothing_seals_nothing() {
    everywhere(async |world: &mut World| {
        world.config.init_users = Some(users(&fresh()));
        world.restart().await.unwrap();
        let before = format!("{:?}", copies(&world.control).await);
        world.restart().await.unwrap();
        assert_eq!(format!("{:?}", copies(&world.control).await), before);
    })
    .await;
}

#[tokio::test]
async fn a_database_of_an_earlier_version_gets_its_copies_at_the_next_start() {
    everywhere(async |world: &mut World| {
        let root = world.control.first_root_key().unwrap().clone();
        store::testing::meddle(world.control.store(), "DELETE FROM master_copy").await;
        assert!(!opens(world, GivenMasterKey::RootKey(&root)).await);
        world.restart().await.unwrap();
        assert_eq!(slots(&world.control).await, [Slot::Root]);
        assert!(opens(world, GivenMasterKey::RootKey(&root)).await);
        // If the plain text of root's key is unknown, the key of INIT_USERS works.
        store::testing::meddle(world.control.store(), "DELETE FROM master_copy").await;
        fs::remove_file(world.dir.path().join("root.key")).unwrap();
        let other = fresh();
        world.config.init_users = Some(users(&other));
        world.restart().await.unwrap();
        assert_eq!(slots(&world.control).await, [Slot::InitUsers]);
        assert!(opens(world, GivenMasterKey::InitUsers(&other)).await);
    })
    .await;
}

#[tokio::test]
async fn a_master_key_that_is_given_is_never_in_the_database() {
    everywhere(async |world: &mut World| {
        let root = world.control.first_root_key().unwrap().clone();
        assert_eq!(slots(&world.control).await, [Slot::Root]);
        world.config.master_key = file(world.dir.path());
        world.config.init_users = Some(users(&root));
        world.restart().await.unwrap();
        assert_eq!(slots(&world.control).await, []);
        ops::accounts::rotate_root(&world.control, &ROOT, None, 0)
            .await
            .unwrap();
        assert_eq!(slots(&world.control).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_file_of_another_database_is_left_alone() {
    everywhere(async |world: &mut World| {
        let root = world.control.first_root_key().unwrap().clone();
        let path = world.dir.path().join("master.key");
        let right = file(world.dir.path());
        fs::remove_file(&path).unwrap();
        let other = "fedcba9876543210".repeat(4);
        fs::write(&path, &other).unwrap();
        world.restart().await.unwrap();
        assert_eq!(world.control.vault().generated().cloned(), right);
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
        // Without a root key the start fails, and still overwrites no file.
        fs::remove_file(world.dir.path().join("root.key")).unwrap();
        let refused = world.restart().await;
        assert!(
            matches!(&refused, Err(Error::Invalid(problem)) if problem.to_string().contains("another database")),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
        assert!(opens(world, GivenMasterKey::RootKey(&root)).await);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_cut_off_does_not_keep_roots_key_from_opening() {
    everywhere(async |world: &mut World| {
        let path = world.dir.path().join("master.key");
        let right = file(world.dir.path()).unwrap();
        let root = fs::read_to_string(world.dir.path().join("root.key")).unwrap();
        let pieces: [&[u8]; 5] = [
            b"",
            b"\n",
            &right.expose().as_bytes()[..10],
            &right.expose().as_bytes()[..40],
            b"\xff\xfe no text at all, and long enough for a key",
        ];
        for piece in pieces {
            fs::write(&path, piece).unwrap();
            world.restart().await.unwrap();
            assert_eq!(world.control.vault().generated(), Some(&right));
            assert_eq!(fs::read(&path).unwrap(), piece, "it is left alone");
            // If nothing opens the database, the error asks to move the file away.
            fs::remove_file(world.dir.path().join("root.key")).unwrap();
            let refused = world.restart().await;
            assert!(
                matches!(&refused, Err(Error::Invalid(problem)) if problem.to_string().contains("move it away")),
                "{refused:?}"
            );
            fs::write(world.dir.path().join("root.key"), &root).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_damaged_copy_does_not_keep_the_other_from_opening() {
    everywhere(async |world: &mut World| {
        let root = world.control.first_root_key().unwrap().clone();
        world.config.init_users = Some(users(&root));
        world.restart().await.unwrap();
        let stored = copies(&world.control).await;
        assert_eq!(
            stored[0].sealed, stored[1].sealed,
            "one key, sealed for once"
        );
        let damage = "UPDATE master_copy SET sealed = key_hash WHERE slot = 'init_users'";
        store::testing::meddle(world.control.store(), damage).await;
        assert!(opens(world, GivenMasterKey::InitUsers(&root)).await);
        let damage = "UPDATE master_copy SET sealed = key_hash";
        store::testing::meddle(world.control.store(), damage).await;
        assert!(!opens(world, GivenMasterKey::InitUsers(&root)).await);
    })
    .await;
}
