//! Tests of client keys that accounts have beside their first one: who manages them, and until when they work. Their
//! limits are tested in `key_limits`.

use std::time::Duration;

use futures_util::StreamExt as _;
use proxyxai_contract::client_key::ClientKey;

use crate::{
    Error,
    model::{
        Account, AuditFilter, CallFilter, Caller, ClientKeyChange, ClientKeyFilter, ClientKeyInfo,
        Expiry, NewClientKey, Page, PageCursor,
    },
    ops::{self, client_keys},
    testing::{DAY_MS, NOON, ROOT, World, by, call, everywhere, node, process, usd},
};

pub(super) fn new_key(name: &str) -> NewClientKey {
    NewClientKey {
        name: name.to_owned(),
        change: ClientKeyChange::default(),
    }
}

/// Creates a key of an account as root.
pub(super) async fn key_of(
    world: &World,
    account: &Account,
    name: &str,
    change: ClientKeyChange,
) -> (ClientKeyInfo, ClientKey) {
    let new = NewClientKey {
        name: name.to_owned(),
        change,
    };
    client_keys::create(&world.control, &ROOT, Some(&account.name), &new)
        .await
        .unwrap()
}

async fn names(world: &World, caller: &Caller, account: Option<&str>) -> Vec<String> {
    let keys = client_keys::list(&world.control, caller, account).await;
    keys.unwrap().into_iter().map(|key| key.name).collect()
}

#[tokio::test]
async fn a_name_is_one_keys_alone_within_its_account_whatever_its_case() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let bobby = world.child(&ROOT, "bobby", 30.0).await;
        let (first, _) = key_of(world, &alice, "Straße 1", ClientKeyChange::default()).await;
        let make = async |account: &Account, name: &str| {
            let new = new_key(name);
            client_keys::create(&world.control, &by(account), None, &new).await
        };
        for same in [
            "Straße 1",
            "STRAßE 1",
            " straße 1 ",
            "STRASSE 1",
            "STRAẞE 1",
        ] {
            let refused = make(&alice, same).await.unwrap_err();
            let told = format!("Name is already in use by client key {}", first.id);
            assert_eq!(refused.to_string(), told, "{same}");
        }
        make(&bobby, "Straße 1").await.unwrap();
        let (second, _) = make(&alice, "second").await.unwrap();
        let renamed = ClientKeyChange {
            name: Some("STRAßE 1".to_owned()),
            ..ClientKeyChange::default()
        };
        let rename = async |id| {
            let what = (id, &renamed);
            client_keys::update(&world.control, &by(&alice), None, what).await
        };
        let refused = rename(second.id).await;
        assert!(matches!(
            refused,
            Err(Error::Conflict { field: "Name", .. })
        ));
        assert_eq!(rename(first.id).await.unwrap().name, "STRAßE 1");
        // The name of a deleted key is free again.
        client_keys::delete(&world.control, &by(&alice), None, first.id)
            .await
            .unwrap();
        rename(second.id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_account_looks_after_its_own_keys_and_those_below_it_alone() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let anna = world.child(&by(&alice), "anna", 10.0).await;
        let bobby = world.child(&ROOT, "bobby", 100.0).await;
        let (key, _) = key_of(world, &anna, "ci", ClientKeyChange::default()).await;
        for caller in [ROOT, by(&alice), by(&anna)] {
            assert_eq!(names(world, &caller, Some("anna")).await, ["ci"]);
        }
        let off = ClientKeyChange {
            enabled: Some(false),
            ..ClientKeyChange::default()
        };
        for stranger in [by(&bobby), by(&anna)] {
            let listed = client_keys::list(&world.control, &stranger, Some("alice")).await;
            assert!(matches!(listed, Err(Error::NotFound { .. })));
            let new = new_key("x");
            let made = client_keys::create(&world.control, &stranger, Some("alice"), &new);
            assert!(matches!(made.await, Err(Error::NotFound { .. })));
        }
        // An account cannot find out whether another account's key exists.
        for account in [None, Some("bobby")] {
            let what = (key.id, &off);
            let changed = client_keys::update(&world.control, &by(&bobby), account, what).await;
            assert!(matches!(changed, Err(Error::NotFound { .. })));
            let gone = client_keys::delete(&world.control, &by(&bobby), account, key.id).await;
            assert!(matches!(gone, Err(Error::NotFound { .. })));
        }
        let changed =
            client_keys::update(&world.control, &by(&alice), Some("anna"), (key.id, &off)).await;
        assert!(!changed.unwrap().enabled);
    })
    .await;
}

#[tokio::test]
async fn a_further_key_reads_of_its_account_and_administrates_nothing() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let (key, secret) = key_of(world, &alice, "ci", ClientKeyChange::default()).await;
        let read = async || ops::auth::identify(&world.control, secret.expose(), None).await;
        let caller = read().await.unwrap();
        assert_eq!(
            (caller.account, caller.client_key),
            (alice.id, Some(key.id))
        );
        let administrates = ops::auth::authenticate(&world.control, secret.expose(), None).await;
        assert!(matches!(administrates, Err(Error::Forbidden(_))));
        // A further key of root's cannot act as root.
        let (_, secret_of_root) =
            client_keys::create(&world.control, &ROOT, None, &new_key("relay"))
                .await
                .unwrap();
        let of_root = ops::auth::identify(&world.control, secret_of_root.expose(), None).await;
        assert!(!of_root.unwrap().is_root());
        let change = async |change: ClientKeyChange| {
            client_keys::update(&world.control, &ROOT, Some("alice"), (key.id, &change))
                .await
                .unwrap();
        };
        let enabled = |enabled| ClientKeyChange {
            enabled: Some(enabled),
            ..ClientKeyChange::default()
        };
        change(enabled(false)).await;
        assert!(matches!(read().await, Err(Error::Unauthenticated)));
        change(enabled(true)).await;
        change(ClientKeyChange {
            expires: Some(Expiry::At(NOON.plus(1000))),
            ..ClientKeyChange::default()
        })
        .await;
        assert!(read().await.is_ok());
        world.clock.advance(1000);
        assert!(matches!(read().await, Err(Error::Unauthenticated)));
    })
    .await;
}

#[tokio::test]
async fn the_former_key_goes_on_for_the_overlap_and_no_longer() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let rotate = async |overlap| {
            ops::accounts::rotate_key(&world.control, &by(&alice), None, overlap)
                .await
                .unwrap()
        };
        let first = rotate(0).await;
        let second = rotate(60).await;
        let third = rotate(30).await;
        let reads = async |key: &ClientKey| {
            let caller = ops::auth::identify(&world.control, key.expose(), None).await;
            caller.is_ok_and(|caller| caller.account == alice.id)
        };
        let administrates = async |key: &ClientKey| {
            let caller = ops::auth::authenticate(&world.control, key.expose(), None).await;
            caller.is_ok()
        };
        for (key, goes_on) in [(&first, true), (&second, true), (&third, true)] {
            assert_eq!(reads(key).await, goes_on);
        }
        for (key, first_key) in [(&first, false), (&second, false), (&third, true)] {
            assert_eq!(administrates(key).await, first_key);
        }
        assert_eq!(names(world, &ROOT, Some("alice")).await.len(), 2);
        world.clock.advance(30_000);
        assert!(!reads(&second).await && reads(&first).await && reads(&third).await);
        world.clock.advance(30_000);
        assert!(!reads(&first).await && reads(&third).await);
        for bad in [-1, 30 * 86_400 + 1, i64::MAX] {
            let refused = ops::accounts::rotate_key(&world.control, &by(&alice), None, bad).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{bad}");
        }
    })
    .await;
}

#[tokio::test]
async fn roots_former_key_makes_calls_for_the_overlap_and_opens_nothing() {
    everywhere(async |world: &mut World| {
        let former = world.control.first_root_key().unwrap().clone();
        let fresh = ops::accounts::rotate_root(&world.control, &ROOT, None, 60).await;
        let fresh = fresh.unwrap();
        let identified = ops::auth::identify(&world.control, former.expose(), None).await;
        let caller = identified.unwrap();
        assert!(caller.client_key.is_some() && !caller.is_root());
        let administrates = ops::auth::authenticate(&world.control, former.expose(), None).await;
        assert!(matches!(administrates, Err(Error::Forbidden(_))));
        assert!(super::master::opens_with(world, &fresh).await);
        assert!(!super::master::opens_with(world, &former).await);
        // A secret belongs to one key only.
        let again = ops::accounts::rotate_root(&world.control, &ROOT, Some(former), 0).await;
        assert!(matches!(again, Err(Error::Conflict { field: "key", .. })));
    })
    .await;
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_those_that_ended_make_room() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let make = async |name: String| {
            let new = new_key(&name);
            client_keys::create(&world.control, &by(&alice), None, &new).await
        };
        let mut last = None;
        for at in 0..100 {
            last = Some(make(format!("key {at}")).await.unwrap().0.id);
        }
        assert!(matches!(
            make("one more".to_owned()).await,
            Err(Error::Forbidden(_))
        ));
        let rotated = ops::accounts::rotate_key(&world.control, &by(&alice), None, 60).await;
        assert!(matches!(rotated, Err(Error::Forbidden(_))));
        let soon = ClientKeyChange {
            expires: Some(Expiry::In(1_000_000)),
            ..ClientKeyChange::default()
        };
        let what = (last.unwrap(), &soon);
        client_keys::update(&world.control, &by(&alice), None, what)
            .await
            .unwrap();
        assert!(make("one more".to_owned()).await.is_err());
        world.clock.advance(DAY_MS);
        make("one more".to_owned()).await.unwrap();
        assert_eq!(names(world, &by(&alice), None).await.len(), 100);
        let filter = AuditFilter {
            action: Some("delete_client_key".to_owned()),
            ..AuditFilter::default()
        };
        let page = Page { page: 1, size: 10 };
        let logged = ops::audit::list(&world.control, &by(&alice), filter, page).await;
        assert_eq!(logged.unwrap().total, 1);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_account_takes_its_keys_with_it_and_a_suspended_one_stops_them() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let (_, secret) = key_of(world, &alice, "ci", ClientKeyChange::default()).await;
        let read = async || ops::auth::identify(&world.control, secret.expose(), None).await;
        let suspend = |suspended| crate::model::AccountChange {
            suspended: Some(suspended),
            ..crate::model::AccountChange::default()
        };
        world.change(&ROOT, &alice, suspend(true)).await.unwrap();
        assert!(matches!(read().await, Err(Error::Suspended { .. })));
        world.change(&ROOT, &alice, suspend(false)).await.unwrap();
        assert!(read().await.is_ok());
        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        assert!(matches!(read().await, Err(Error::Unauthenticated)));
        let living = "SELECT COUNT(*) AS number FROM client_key WHERE deleted_at IS NULL";
        assert_eq!(world.number(living).await, 0);
    })
    .await;
}

#[tokio::test]
async fn data_planes_hear_of_a_key_with_its_account_and_of_nobody_else() {
    everywhere(async |world: &mut World| {
        world.config.publish_wait_ms = 0;
        world.restart().await.unwrap();
        let alice = world.child(&ROOT, "alice", 30.0).await;
        world.child(&ROOT, "bobby", 30.0).await;
        let watch = ops::fleet::watch(&world.control, process(node("n1"), 1), "1".to_owned());
        let mut updates = Box::pin(watch.await.unwrap());
        updates.next().await.unwrap();
        let limits = ClientKeyChange {
            credit_limit: Some(usd(2.0)),
            rpm: Some(7),
            allow_models: Some("gpt-4*".to_owned()),
            ..ClientKeyChange::default()
        };
        let (key, secret) = key_of(world, &alice, "ci", limits).await;
        let mut told = async || {
            let update = tokio::time::timeout(Duration::from_secs(5), updates.next());
            let update = update.await.unwrap().unwrap();
            assert!(!update.full);
            let [account] = <[_; 1]>::try_from(update.accounts).unwrap();
            assert_eq!(account.id, alice.id);
            account.further_keys.clone()
        };
        let [known] = <[_; 1]>::try_from(told().await).unwrap();
        let hash = world.control.vault().hasher().hash(secret.expose());
        assert_eq!((known.id, known.key_hash), (key.id, hash));
        assert_eq!((known.credit_limit, known.rpm), (Some(usd(2.0)), Some(7)));
        assert_eq!(known.models.text(), "gpt-4*");
        client_keys::delete(&world.control, &ROOT, Some("alice"), key.id)
            .await
            .unwrap();
        assert_eq!(told().await, []);
        // A restart reads the same keys.
        let (kept, _) = key_of(world, &alice, "kept", ClientKeyChange::default()).await;
        world.restart().await.unwrap();
        let watch = ops::fleet::watch(&world.control, process(node("n2"), 1), "1".to_owned());
        let full = Box::pin(watch.await.unwrap()).next().await.unwrap();
        let keys: Vec<_> = full
            .accounts
            .iter()
            .flat_map(|it| &it.further_keys)
            .collect();
        assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [kept.id]);
    })
    .await;
}

#[tokio::test]
async fn what_is_done_to_a_key_is_on_record_without_its_secret() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let (key, secret) = key_of(world, &alice, "ci", ClientKeyChange::default()).await;
        let change = ClientKeyChange {
            credit_limit: Some(usd(5.0)),
            ..ClientKeyChange::default()
        };
        client_keys::update(&world.control, &by(&alice), None, (key.id, &change))
            .await
            .unwrap();
        client_keys::delete(&world.control, &by(&alice), None, key.id)
            .await
            .unwrap();
        let page = Page { page: 1, size: 100 };
        let logs =
            ops::audit::list(&world.control, &by(&alice), AuditFilter::default(), page).await;
        let logs = logs.unwrap().rows;
        let done: Vec<_> = logs.iter().map(|log| log.action.as_str()).collect();
        let expected = ["delete_client_key", "update_client_key", "add_client_key"];
        assert_eq!(done[..3], expected);
        let hash = "SELECT COUNT(*) AS number FROM audit WHERE details LIKE '%secret%'";
        assert_eq!(world.number(hash).await, 0);
        for log in &logs {
            let text = format!("{log:?}");
            assert!(
                !text.contains(secret.expose()) && !text.contains(secret.tail(8)),
                "{text}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn calls_are_found_by_the_key_that_they_were_made_with() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 30.0).await;
        let (key, _) = key_of(world, &alice, "ci", ClientKeyChange::default()).await;
        let made_with = |sequence| {
            let mut record = call(sequence, alice.id, 0.5);
            record.client_key = (sequence % 2 == 0).then_some(key.id);
            record
        };
        let records: Vec<_> = (1..=7).map(made_with).collect();
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        let found = async |client_key| {
            let filter = CallFilter {
                client_key,
                ..CallFilter::default()
            };
            let from = (PageCursor::Latest, 50);
            let listed = ops::calls::list(&world.control, &by(&alice), filter, from).await;
            let calls = listed.unwrap().calls.into_iter();
            let mut found: Vec<_> = calls
                .map(|call| (call.usage.record.sequence, call.client_key_name))
                .collect();
            found.sort();
            found
        };
        let named = |all: &[u64], name: &str| -> Vec<_> {
            all.iter().map(|at| (*at, name.to_owned())).collect()
        };
        let further = found(Some(ClientKeyFilter::Further(key.id))).await;
        assert_eq!(further, named(&[2, 4, 6], "ci"));
        assert_eq!(
            found(Some(ClientKeyFilter::First)).await,
            named(&[1, 3, 5, 7], "")
        );
        assert_eq!(found(None).await.len(), 7);
    })
    .await;
}
