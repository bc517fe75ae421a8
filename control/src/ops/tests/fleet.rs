//! Tests of the stream to data planes.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use proxyxai_contract::{
    id::{AccountId, NodeName, Revision},
    snapshot::{HealthState, KeyHealthReport, RejectedItem, SnapshotUpdate},
};

use crate::{
    Control,
    model::{AccountChange, NodeFilter, UpstreamKeyChange},
    ops,
    testing::{DAY_MS, ROOT, World, by, call, everywhere, node, process, usd},
};

type UpdatesOfNode = Pin<Box<dyn Stream<Item = SnapshotUpdate> + Send>>;

async fn watch(control: &Control, name: &NodeName) -> UpdatesOfNode {
    Box::pin(
        ops::fleet::watch(control, process(name.clone(), 1), "0.1.0".to_owned())
            .await
            .unwrap(),
    )
}

async fn next(updates: &mut UpdatesOfNode) -> SnapshotUpdate {
    tokio::time::timeout(Duration::from_secs(5), updates.next())
        .await
        .unwrap()
        .unwrap()
}

fn ids(update: &SnapshotUpdate) -> Vec<i64> {
    update
        .accounts
        .iter()
        .map(|account| account.id.get())
        .collect()
}

#[tokio::test]
async fn a_watcher_gets_everything_first_and_then_what_changed() {
    everywhere(async |world: &mut World| {
        world.config.publish_wait_ms = 0;
        world.restart().await.unwrap();
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let key = world.key("sk-a-secret-of-enough-length").await.unwrap();
        let mut updates = watch(&world.control, &node("n1")).await;
        let full = next(&mut updates).await;
        assert!(full.full && full.settings.is_some() && full.prices.is_some());
        assert_eq!((ids(&full), full.keys.len()), (vec![1, alice.id.get()], 1));
        assert_eq!(full.keys[0].secret.expose(), "sk-a-secret-of-enough-length");
        let standing = full
            .standings
            .iter()
            .find(|standing| standing.account == alice.id)
            .unwrap();
        assert_eq!(standing.balance, usd(10.0));
        assert!(updates.next().now_or_never().is_none());

        // Three changes that are not read in between become one update.
        let off = UpstreamKeyChange {
            enabled: Some(false),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(&world.control, &ROOT, key.id, off)
            .await
            .unwrap();
        let gear = AccountChange {
            gear: Some(3),
            credit: Some(usd(5.0)),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, gear).await.unwrap();
        let mapper = BTreeMap::from([("MODEL_MAPPER".to_owned(), "a=b".to_owned())]);
        ops::settings::update(&world.control, &ROOT, mapper, vec![])
            .await
            .unwrap();
        let delta = next(&mut updates).await;
        assert!(!delta.full && delta.prices.is_none());
        assert_eq!(
            (ids(&delta), delta.accounts[0].gear),
            (vec![alice.id.get()], 3)
        );
        assert_eq!(delta.removed_keys, [key.id]);
        assert_eq!(
            delta.settings.unwrap().routing.model_mapper.map("a"),
            Some("b")
        );
        assert!(
            delta
                .standings
                .iter()
                .any(|standing| standing.account == alice.id && standing.balance == usd(15.0))
        );
        assert!(delta.revision > full.revision);

        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        assert_eq!(next(&mut updates).await.removed_accounts, [alice.id]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_account_stays_without_its_key_while_somebody_inherits_from_it() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let bob = world.child(&by(&alice), "bobby", 30.0).await;
        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        assert_eq!(world.view(&bob).await.balance, usd(30.0));
        let mut updates = watch(&world.control, &node("n1")).await;
        let full = next(&mut updates).await;
        let ghost = full
            .accounts
            .iter()
            .find(|account| account.id == alice.id)
            .unwrap();
        assert_eq!(ghost.key_hash, None);
        assert!(
            !full
                .standings
                .iter()
                .any(|standing| standing.account == alice.id)
        );
        ops::accounts::delete(&world.control, &ROOT, "bobby")
            .await
            .unwrap();
        assert_eq!(
            next(&mut updates).await.removed_accounts,
            [alice.id, bob.id]
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_is_answered_once_every_watcher_has_acknowledged_it() {
    everywhere(async |world: &mut World| {
        world.config.publish_wait_ms = 20_000;
        world.restart().await.unwrap();
        let (name, control) = (node("n1"), world.control.clone());
        let mut updates = watch(&control, &name).await;
        let full = next(&mut updates).await;
        ops::fleet::acknowledge(&control, &name, 1, full.revision, vec![])
            .await
            .unwrap();
        let create = world.child(&ROOT, "alice", 10.0);
        let mut create = std::pin::pin!(create);
        let update = tokio::select! {
            _ = &mut create => unreachable!("answered before anybody acknowledged"),
            update = next(&mut updates) => update,
        };
        let waiting = tokio::time::timeout(Duration::from_millis(50), &mut create).await;
        assert!(waiting.is_err());
        let rejection = RejectedItem {
            kind: "account",
            item: "2".to_owned(),
            problem: "too odd".to_owned(),
        };
        let (alice, acknowledged) = tokio::join!(
            create,
            ops::fleet::acknowledge(&control, &name, 1, update.revision, vec![rejection.clone()])
        );
        acknowledged.unwrap();
        assert_eq!(ids(&update), [alice.id.get()]);
        let (revision, nodes) = ops::fleet::nodes(&control, &ROOT, NodeFilter::default())
            .await
            .unwrap();
        assert_eq!(
            (revision, nodes[0].applied, nodes[0].connected),
            (update.revision, revision, true)
        );
        assert_eq!(nodes[0].rejections, [rejection]);
        drop(updates);
        assert!(
            !ops::fleet::nodes(&control, &ROOT, NodeFilter::default())
                .await
                .unwrap()
                .1[0]
                .connected
        );
        // Without a data plane to wait for, a change returns at once.
        world.child(&ROOT, "bobby", 10.0).await;
    })
    .await;
}

#[tokio::test]
async fn money_that_moved_is_told_to_every_watcher() {
    everywhere(async |world: &mut World| {
        world.config.publish_wait_ms = 0;
        world.restart().await.unwrap();
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let mut updates = watch(&world.control, &node("n2")).await;
        let full = next(&mut updates).await;
        let records = vec![call(1, alice.id, 1.0), call(2, alice.id, 1.0)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        world.control.tick(1).await.unwrap();
        let news = next(&mut updates).await;
        assert_eq!((news.revision, news.standings.len()), (full.revision, 1));
        assert_eq!(
            (news.standings[0].balance, news.standings[0].month_used),
            (usd(8.0), usd(2.0))
        );
        world.control.tick(1).await.unwrap();
        assert!(updates.next().now_or_never().is_none());

        // A new month begins without usage.
        world.clock.advance(30 * DAY_MS);
        world.control.tick(1).await.unwrap();
        let news = next(&mut updates).await;
        let standing = news
            .standings
            .iter()
            .find(|standing| standing.account == alice.id)
            .unwrap();
        assert_eq!(
            (standing.balance, standing.month_used),
            (usd(8.0), usd(0.0))
        );
    })
    .await;
}

#[tokio::test]
async fn what_one_data_plane_learns_of_a_key_the_others_are_told() {
    everywhere(async |world: &mut World| {
        let key = world.key("sk-a-secret-of-enough-length").await.unwrap();
        let (mut one, mut two) = (
            watch(&world.control, &node("n1")).await,
            watch(&world.control, &node("n2")).await,
        );
        next(&mut one).await;
        next(&mut two).await;
        let until = world.clock.now().plus(60_000);
        let health = KeyHealthReport {
            key: key.id,
            model: Some("gpt-4o".to_owned()),
            state: HealthState::Sleeping { until },
            reason: "429".to_owned(),
        };
        ops::fleet::report_health(&world.control, &node("n1"), vec![health.clone()])
            .await
            .unwrap();
        assert_eq!(next(&mut two).await.healths, std::slice::from_ref(&health));
        assert!(one.next().now_or_never().is_none());
        let mut late = watch(&world.control, &node("n3")).await;
        assert_eq!(next(&mut late).await.healths, [health]);
        world.clock.advance(60_000);
        let mut later = watch(&world.control, &node("n3")).await;
        assert_eq!(next(&mut later).await.healths, []);
        assert_eq!(late.next().await, None);
    })
    .await;
}

#[tokio::test]
async fn only_the_token_admits_a_data_plane() {
    everywhere(async |world: &mut World| {
        let token = world.control.node_token().expose().to_owned();
        ops::auth::check_node(&world.control, &token).await.unwrap();
        for wrong in ["", "x", &token[1..]] {
            assert!(ops::auth::check_node(&world.control, wrong).await.is_err());
        }
        assert!(
            ops::fleet::nodes(
                &world.control,
                &crate::model::Caller {
                    client_key: None,
                    account: AccountId::new(2).unwrap(),
                    address: None,
                },
                NodeFilter::default(),
            )
            .await
            .is_err()
        );
        assert!(world.control.publisher().revision() > Revision(0));
    })
    .await;
}

#[tokio::test]
async fn what_another_replica_does_is_followed() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let other = Control::start(world.config.clone(), world.clock.clone())
            .await
            .unwrap();
        other.tick(10).await.unwrap();
        let mut updates = watch(&other, &node("n2")).await;
        next(&mut updates).await;
        let gear = AccountChange {
            gear: Some(2),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, gear).await.unwrap();
        other.tick(10).await.unwrap();
        assert_eq!(next(&mut updates).await.accounts[0].gear, 2);
        let records = vec![call(1, alice.id, 1.0)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        other.tick(10).await.unwrap();
        let news = next(&mut updates).await;
        assert_eq!(news.standings[0].balance, usd(9.0));
        other.tick(10).await.unwrap();
        assert!(updates.next().now_or_never().is_none());
    })
    .await;
}
