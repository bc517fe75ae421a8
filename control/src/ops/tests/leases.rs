//! Tests of credit on lease while something else changes.

use futures_util::StreamExt as _;
use proxyxai_contract::{
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage},
    money::{Money, Multiplier},
};

use super::prices::{house, load, published, rerate};
use crate::{
    Error,
    model::{Account, AccountChange, NodeFilter, NodeLeases},
    ops,
    testing::{NOON, ROOT, World, call, everywhere, node, process, usd},
};

async fn ask(world: &World, epoch: u64, account: &Account, dollars: f64) -> LeaseAnswer {
    ask_from(world, "n1", epoch, account, dollars).await
}

async fn ask_from(
    world: &World,
    name: &str,
    epoch: u64,
    account: &Account,
    dollars: f64,
) -> LeaseAnswer {
    let mut ask = LeaseAsk {
        payer: (account.id).into(),
        version: 0,
        change: Money::ZERO,
        need: Money::ZERO,
    };
    let lease = async |ask| {
        ops::fleet::lease_credit(&world.control, &node(name), epoch, vec![ask])
            .await
            .unwrap()
            .remove(0)
    };
    // The first response has the version.
    ask.version = lease(ask).await.lease.version;
    (ask.change, ask.need) = (usd(dollars), usd(dollars));
    lease(ask).await
}

#[tokio::test]
async fn what_each_data_plane_may_spend_is_told() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        let bobby = world.child(&ROOT, "bobby", 20.0).await;
        ask_from(world, "n1", 1, &alice, 5.0).await;
        ask_from(world, "n1", 1, &bobby, 2.0).await;
        ask_from(world, "n2", 1, &bobby, 1.0).await;
        let nodes = async |connected| {
            let filter = NodeFilter { connected };
            ops::fleet::nodes(&world.control, &ROOT, filter)
                .await
                .unwrap()
                .1
        };
        for name in ["n1", "n2", "n3"] {
            let watch = ops::fleet::watch(&world.control, process(node(name), 1), "1".to_owned());
            drop(watch.await.unwrap());
        }
        let told: Vec<_> = nodes(None).await.iter().map(|node| node.leased).collect();
        let leased = |accounts, dollars| NodeLeases {
            accounts,
            amount: usd(dollars),
        };
        assert_eq!(told, [leased(2, 7.0), leased(1, 1.0), leased(0, 0.0)]);
        assert_eq!(nodes(Some(true)).await.len(), 0);
        assert_eq!(nodes(Some(false)).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_lost_its_spool_is_not_told_of_what_it_had() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        assert_eq!(ask(world, 1, &alice, 5.0).await.lease.amount, usd(5.0));
        let told = async |epoch| {
            let name = node("n1");
            let watch = ops::fleet::watch(&world.control, process(name, epoch), "1".to_owned());
            let mut updates = Box::pin(watch.await.unwrap());
            updates.next().await.unwrap().leases.len()
        };
        assert_eq!(told(1).await, 1);
        assert_eq!(told(2).await, 0);
        let records = vec![call(1, alice.id, 1.0)];
        let reported = ops::fleet::report_usage(&world.control, &node("n1"), 2, records)
            .await
            .unwrap();
        assert!(reported.leases.is_empty());
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_call_that_would_pass_the_months_cap_raises_it_where_that_is_asked_for() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        let cap = |auto_quota| AccountChange {
            hard_limit: Some(usd(2.0)),
            auto_quota: Some(usd(auto_quota)),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, cap(0.0)).await.unwrap();
        let answer = ask(world, 1, &alice, 2.5).await;
        assert_eq!(answer.shortage, Some(LeaseShortage::Month));
        world.change(&ROOT, &alice, cap(5.0)).await.unwrap();
        let answer = ask(world, 1, &alice, 2.5).await;
        assert_eq!((answer.shortage, answer.lease.amount), (None, usd(2.5)));
        assert_eq!(world.view(&alice).await.hard_limit, Some(usd(7.0)));
        // The balance does not cover another step.
        world.change(&ROOT, &alice, cap(50.0)).await.unwrap();
        let answer = ask(world, 1, &alice, 2.5).await;
        assert_eq!(answer.shortage, Some(LeaseShortage::Month));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn rates_are_not_lowered_below_what_is_on_lease() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        let rates = |number| AccountChange {
            rates: Some(Multiplier::from_number(number).unwrap()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, rates(2.0)).await.unwrap();
        assert_eq!(ask(world, 1, &alice, 30.0).await.lease.amount, usd(30.0));
        let lowered = world.change(&ROOT, &alice, rates(1.0)).await;
        assert!(matches!(lowered, Err(Error::InsufficientBalance { .. })));
        assert_eq!(world.view(&alice).await.balance, usd(40.0));
        world.change(&ROOT, &alice, rates(1.5)).await.unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_correction_may_reach_what_is_on_lease_and_leaves_nothing_more_to_lease() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        let records = (1..=5).map(|nth| house(nth, alice.id, NOON, &table));
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records.collect::<Vec<_>>())
            .await
            .unwrap();
        assert_eq!(ask(world, 1, &alice, 15.0).await.shortage, None);
        world.clock.advance(1);
        load(&world.control, "4", Some(NOON)).await.unwrap();
        rerate(&world.control, false).await;
        world.balanced().await;

        // Free credit was not enough: the leases exceed the balance now.
        let left = world.view(&alice).await.balance;
        assert!(left > usd(10.0) && left < usd(15.0), "{left}");
        for (name, elsewhere) in [("n1", 0.0), ("n2", 15.0)] {
            let refused = ask_from(world, name, 1, &alice, 0.01).await;
            let expected = (Some(LeaseShortage::Balance), usd(elsewhere));
            assert_eq!((refused.shortage, refused.elsewhere), expected);
        }
        let recalled = world.number("SELECT COUNT(*) AS number FROM lease WHERE recalled_at > 0");
        assert_eq!(recalled.await, 1);

        // Returned credit may be leased again as far as the balance goes.
        assert_eq!(ask(world, 1, &alice, -10.0).await.lease.amount, usd(5.0));
        let free = left.saturating_sub(usd(5.0)).dollars();
        let refused = ask_from(world, "n2", 1, &alice, free + 0.01).await;
        assert_eq!(refused.shortage, Some(LeaseShortage::Balance));
        let granted = ask_from(world, "n2", 1, &alice, free).await;
        assert_eq!(granted.shortage, None);
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn calls_on_lease_that_a_correction_has_reached_become_debt() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        let report = async |records| {
            ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
                .await
                .unwrap()
        };
        let records = (1..=5).map(|nth| house(nth, alice.id, NOON, &table));
        report(records.collect()).await;
        ask(world, 1, &alice, 15.0).await;
        world.clock.advance(1);
        load(&world.control, "4", Some(NOON)).await.unwrap();
        rerate(&world.control, false).await;
        let left = world.view(&alice).await.balance;

        // A call admitted on the lease is charged in full, and blocks the next until it is paid.
        let unpriced = call(6, alice.id, 15.0);
        let reported = report(vec![unpriced]).await;
        assert_eq!(reported.leases[0].amount, usd(0.0));
        let debt = usd(15.0).saturating_sub(left);
        assert_eq!(world.view(&alice).await.balance, debt.negated());
        world.balanced().await;
        let refused = ask(world, 1, &alice, 0.01).await;
        assert_eq!(refused.shortage, Some(LeaseShortage::Balance));
        let paid = AccountChange {
            credit: Some(usd(10.0)),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, paid).await.unwrap();
        assert_eq!(
            world.view(&alice).await.balance,
            usd(10.0).saturating_sub(debt)
        );
        assert_eq!(ask(world, 1, &alice, 1.0).await.shortage, None);
        world.balanced().await;
    })
    .await;
}
