//! Tests of objects: the account that made one owns it, and later work is paid once.

use proxyxai_contract::{
    id::AccountId,
    money::Money,
    object::{CallObjects, CreatedObject, ObjectKind, ObjectSettlement},
    usage::UsageRecord,
};

use crate::{
    ops::{self, fleet::objects},
    testing::{DAY_MS, NOON, ROOT, World, call, everywhere, node, usd},
};

fn making(sequence: u64, account: AccountId, held: f64) -> UsageRecord {
    let made = CreatedObject {
        id: "resp_1".to_owned(),
        kind: ObjectKind::Response,
        expires: NOON.plus(30 * DAY_MS),
        status: "queued".to_owned(),
        calls: None,
    };
    let objects = CallObjects {
        made: vec![made],
        pending: true,
        held: usd(held),
        ..CallObjects::default()
    };
    UsageRecord {
        objects: Some(Box::new(objects)),
        ..call(sequence, account, 0.0)
    }
}

fn settling(sequence: u64, account: AccountId, cost: f64, settlement: &str) -> UsageRecord {
    let objects = CallObjects {
        settles: Some(ObjectSettlement {
            id: "resp_1".to_owned(),
            settlement: settlement.to_owned(),
        }),
        ..CallObjects::default()
    };
    UsageRecord {
        objects: Some(Box::new(objects)),
        ..call(sequence, account, cost)
    }
}

#[tokio::test]
async fn the_first_settlement_pays_and_frees_what_was_set_aside() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let report = async |name: &str, records: Vec<UsageRecord>| {
            ops::fleet::report_usage(&world.control, &node(name), 1, records)
                .await
                .unwrap();
        };
        let pending = async || {
            let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
            assert_eq!(books.difference, None);
            books.pending
        };
        report("n1", vec![making(1, alice.id, 3.0)]).await;
        // Sent again, it is reserved once.
        report("n1", vec![making(1, alice.id, 3.0)]).await;
        assert_eq!(pending().await, (1, usd(3.0)));
        // Two models of one settlement, by another data plane, and another settlement.
        let parts = vec![
            settling(1, alice.id, 0.5, "a"),
            settling(2, alice.id, 0.25, "a"),
        ];
        report("n2", parts).await;
        report("n1", vec![settling(2, alice.id, 0.75, "b")]).await;
        assert_eq!(pending().await, (0, Money::ZERO));
        assert_eq!(world.view(&alice).await.credit_used, usd(0.75));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn who_made_an_id_first_has_it_and_work_that_cannot_be_followed_is_paid_at_once() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let bobby = world.child(&ROOT, "bobby", 10.0).await;
        let records = vec![making(1, alice.id, 3.0), making(2, bobby.id, 2.0)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        let ids = ["resp_1".to_owned()];
        let found = objects::find(&world.control, &ids).await.unwrap();
        assert_eq!((found.len(), found[0].account), (1, alice.id));
        assert_eq!(world.view(&bobby).await.credit_used, usd(2.0));
        // Another account's settlement of it costs nothing, and settles nothing.
        let records = vec![settling(3, bobby.id, 1.0, "b")];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        assert_eq!(world.view(&bobby).await.credit_used, usd(2.0));
        assert_eq!(world.view(&alice).await.credit_used, usd(0.0));
        let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
        assert_eq!((books.pending, books.difference), ((1, usd(3.0)), None));
    })
    .await;
}

#[tokio::test]
async fn work_is_handed_out_when_it_is_due_and_to_one_at_a_time() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let records = vec![making(1, alice.id, 3.0)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        let claim = async || objects::claim(&world.control, 10).await.unwrap();
        assert_eq!(claim().await, []);
        world.clock.advance(2_500);
        let due = claim().await;
        assert_eq!((due.len(), due[0].overdue), (1, false));
        assert_eq!(claim().await, []);
        world.clock.advance(2 * DAY_MS);
        assert!(claim().await[0].overdue);
        // An object with unpaid work is not deleted, however old it is.
        world.clock.advance(100 * DAY_MS);
        objects::prune(&world.control).await.unwrap();
        assert_eq!(claim().await.len(), 1);
    })
    .await;
}
