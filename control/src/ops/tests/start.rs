//! Tests of starting, for the first time and again.

use futures_util::StreamExt as _;
use proxyxai_contract::{client_key::ClientKey, id::AccountId, secret::Secret};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{
    Control, Error,
    model::{RootKeyFile, UpstreamKeyFilter},
    ops,
    store::testing::meddle,
    testing::{ROOT, World, call, everywhere, node, process, usd},
};

const PAGE: crate::model::Page = crate::model::Page { page: 1, size: 10 };

#[tokio::test]
async fn the_first_start_makes_root_and_shows_its_key_once() {
    everywhere(async |world: &mut World| {
        let key = world.control.first_root_key().unwrap().clone();
        let caller = ops::auth::authenticate(&world.control, key.expose(), None)
            .await
            .unwrap();
        assert_eq!(caller.account, AccountId::ROOT);
        let kept = std::fs::read_to_string(world.dir.path().join("root.key")).unwrap();
        assert_eq!(kept.trim(), key.expose());
        world.restart().await.unwrap();
        assert!(world.control.first_root_key().is_none());
        ops::auth::authenticate(&world.control, key.expose(), None)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_file_of_the_root_key_follows_each_rotation_here_and_is_known_for_outdated_elsewhere() {
    everywhere(async |world: &mut World| {
        let path = world.dir.path().join("root.key");
        let kept = || std::fs::read_to_string(&path).unwrap().trim().to_owned();
        let first = kept();
        for way in 0..3 {
            let control = &world.control;
            let key = match way {
                0 => ops::accounts::rotate_key(control, &ROOT, None, 0).await,
                1 => ops::accounts::rotate_root(control, &ROOT, None, 0).await,
                _ => {
                    let chosen = ClientKey::generate().unwrap();
                    ops::accounts::rotate_root(control, &ROOT, Some(chosen), 0).await
                }
            };
            assert_eq!(kept(), key.unwrap().expose(), "way {way}");
            let mode = std::fs::metadata(&path).unwrap().permissions();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
                0o600
            );
            for _ in 0..2 {
                let file = world.control.root_key_file().await.unwrap();
                assert_eq!(file, RootKeyFile::Current, "way {way}");
                world.restart().await.unwrap();
            }
        }
        // Another control plane changed the key: the file is reported as outdated, and not overwritten.
        for other in [first.as_str(), "", "cut off"] {
            std::fs::write(&path, other).unwrap();
            let file = world.control.root_key_file().await.unwrap();
            assert_eq!(file, RootKeyFile::Outdated, "{other:?}");
            let rotated = ops::accounts::rotate_root(&world.control, &ROOT, None, 0).await;
            rotated.unwrap();
            assert_eq!(kept(), other);
        }
        std::fs::remove_file(&path).unwrap();
        let rotated = ops::accounts::rotate_root(&world.control, &ROOT, None, 0).await;
        rotated.unwrap();
        assert!(!path.exists(), "a key that was kept nowhere still is");
        let file = world.control.root_key_file().await.unwrap();
        assert_eq!(file, RootKeyFile::Missing);
    })
    .await;
}

#[tokio::test]
async fn a_file_that_cannot_be_replaced_does_not_keep_root_from_another_key() {
    let world = World::file().await;
    // A folder cannot be renamed over, and a file in its place cannot be read.
    let path = world.dir.path().join("root.key");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let key = ops::accounts::rotate_root(&world.control, &ROOT, None, 0).await;
    let key = key.unwrap();
    let caller = ops::auth::authenticate(&world.control, key.expose(), None).await;
    assert_eq!(caller.unwrap().account, AccountId::ROOT);
    let left = std::fs::read_dir(world.dir.path()).unwrap();
    let drafts = left
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("root."))
        .count();
    assert_eq!(drafts, 1, "no draft is left over");
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let key = world.key("sk-a-secret-of-enough-length").await.unwrap();
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![call(1, alice.id, 1.0)])
            .await
            .unwrap();
        let token = world.control.node_token().clone();
        let before = (
            world.view(&alice).await,
            world.control.publisher().revision(),
        );
        world.restart().await.unwrap();
        assert_eq!(world.control.publisher().revision(), before.1);
        assert_eq!(*world.control.node_token(), token);
        let after = world.view(&alice).await;
        assert_eq!(format!("{after:?}"), format!("{:?}", before.0));
        assert_eq!(after.balance, usd(9.0));
        assert_eq!(
            ops::keys::get(&world.control, &ROOT, key.id)
                .await
                .unwrap()
                .secret_hint,
            "ngth"
        );
        // The spool sends again what is not acknowledged.
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![call(1, alice.id, 1.0)])
            .await
            .unwrap();
        assert_eq!(world.view(&alice).await.balance, usd(9.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn another_master_key_is_refused() {
    everywhere(async |world: &mut World| {
        world.config.master_key = Some(Secret::new("another master key than before"));
        let refused = world.restart().await;
        assert!(matches!(refused, Err(Error::Invalid(problem)) if problem.field == "MASTER_KEY"));
    })
    .await;
}

#[tokio::test]
async fn first_users_and_keys_are_taken_from_the_configuration_once() {
    everywhere(async |world: &mut World| {
        let dir = TempDir::new().unwrap();
        let mut config = world.config.clone();
        config.data_dir = dir.path().to_owned();
        config.database = crate::config::Database::Sqlite(dir.path().join("new.db"));
        let (root, bob) = (
            ClientKey::generate().unwrap(),
            ClientKey::generate().unwrap(),
        );
        config.init_users = Some(Secret::new(format!(
            "root::r@example.com::{}, bobby::b@example.com::{}",
            root.expose(),
            bob.expose()
        )));
        config.init_keys = Some(Secret::new(
            "sk-first-key-of-the-pool,sk-second-key-of-the-pool::http://127.0.0.1:1/v1",
        ));
        let control = Control::start(config.clone(), world.clock.clone())
            .await
            .unwrap();
        assert!(control.first_root_key().is_none());
        assert!(!dir.path().join("root.key").exists());
        assert!(
            ops::auth::authenticate(&control, root.expose(), None)
                .await
                .unwrap()
                .is_root()
        );
        assert_eq!(
            ops::accounts::find(&control, &ROOT, "bobby")
                .await
                .unwrap()
                .parent,
            Some(AccountId::ROOT)
        );
        let list = async |control: &Control| {
            ops::keys::list(control, &ROOT, UpstreamKeyFilter::default(), PAGE)
                .await
                .unwrap()
                .rows
        };
        let providers: Vec<_> = list(&control)
            .await
            .into_iter()
            .map(|key| key.provider)
            .collect();
        assert_eq!(
            providers,
            ["https://api.openai.com", "http://127.0.0.1:1/v1"]
        );
        let first = list(&control).await[0].id;
        ops::keys::delete(&control, &ROOT, first).await.unwrap();
        let again = Control::start(config, world.clock.clone()).await.unwrap();
        assert_eq!(list(&again).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stored_setting_that_cannot_be_used_does_not_stop_the_start() {
    everywhere(async |world: &mut World| {
        let sql = "INSERT INTO setting (name, value, revision) VALUES ('LEVEL_MAPPER', 'x=99', 1), ('PRICING', '7', 1)";
        meddle(world.control.store(), sql).await;
        world.restart().await.unwrap();
        assert_eq!(ops::settings::get(&world.control, &ROOT).await.unwrap()["LEVEL_MAPPER"], "");
    })
    .await;
}

#[tokio::test]
async fn books_that_were_meddled_with_are_found_out() {
    everywhere(async |world: &mut World| {
        world.child(&ROOT, "alice", 10.0).await;
        world.balanced().await;
        meddle(
            world.control.store(),
            "UPDATE credit_card SET balance = balance + 1",
        )
        .await;
        let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
        assert_eq!(books.difference.unwrap().account, Some(2));
    })
    .await;
}

#[tokio::test]
async fn background_work_passes_money_on_and_ends_when_it_is_told() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let watch = ops::fleet::watch(&world.control, process(node("n1"), 1), String::new()).await;
        let mut updates = Box::pin(watch.unwrap());
        updates.next().await.unwrap();
        let shutdown = CancellationToken::new();
        let work = tokio::spawn(world.control.clone().run(shutdown.clone()));
        let records = vec![call(1, alice.id, 1.0)];
        ops::fleet::report_usage(&world.control, &node("n2"), 1, records)
            .await
            .unwrap();
        let news = updates.next().await.unwrap();
        assert_eq!(news.standings[0].balance, usd(9.0));
        shutdown.cancel();
        work.await.unwrap();
    })
    .await;
}

/// The steps that are the first schema today, as a database names them that took them one by one.
const JOINED_STEPS: [&str; 9] = [
    "m001_first",
    "m002_lease",
    "m003_windows",
    "m004_account",
    "m005_audit",
    "m006_prices",
    "m007_reports",
    "m008_speed",
    "m009_spans",
];

#[tokio::test]
async fn a_database_that_took_the_first_schema_in_nine_steps_starts_with_its_accounts() {
    everywhere(async |world: &mut World| {
        let account = world.child(&ROOT, "anna", 10.0).await;
        let store = world.control.store();
        for step in JOINED_STEPS {
            let sql = format!("INSERT INTO seaql_migrations VALUES ('{step}', 1)");
            meddle(store, &sql).await;
        }
        meddle(
            store,
            "DELETE FROM seaql_migrations WHERE version = 'm001_schema'",
        )
        .await;
        world.restart().await.unwrap();
        // And once more, when there is nothing left to rename.
        world.restart().await.unwrap();
        assert_eq!(world.view(&account).await.balance, usd(10.0));
        world.balanced().await;
    })
    .await;
}
