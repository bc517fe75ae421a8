//! Laws of credit on lease where something else changes at the same time.

use futures_util::StreamExt as _;
use proxyxai_contract::{
    lease::{LeaseAnswer, LeaseAsk, Shortage},
    money::{Money, Multiplier},
};

use crate::{
    Error, ops,
    testing::{ROOT, World, call, everywhere, node, usd},
    view::{AccountChange, AccountView},
};

async fn ask(world: &World, epoch: u64, account: &AccountView, dollars: f64) -> LeaseAnswer {
    let mut ask = LeaseAsk {
        account: account.id,
        version: 0,
        change: Money::ZERO,
        need: Money::ZERO,
    };
    // The first answer tells the version.
    let lease = async |ask| {
        ops::fleet::lease_credit(&world.control, &node("n1"), epoch, vec![ask])
            .await
            .unwrap()
            .remove(0)
    };
    ask.version = lease(ask).await.lease.version;
    (ask.change, ask.need) = (usd(dollars), usd(dollars));
    lease(ask).await
}

#[tokio::test]
async fn a_node_that_lost_its_spool_is_not_told_of_what_it_had() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        assert_eq!(ask(world, 1, &alice, 5.0).await.lease.amount, usd(5.0));
        let told = async |epoch| {
            let name = node("n1");
            let watch = ops::fleet::watch(&world.control, name, epoch, "1".to_owned());
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
        assert_eq!(answer.shortage, Some(Shortage::Month));
        world.change(&ROOT, &alice, cap(5.0)).await.unwrap();
        let answer = ask(world, 1, &alice, 2.5).await;
        assert_eq!((answer.shortage, answer.lease.amount), (None, usd(2.5)));
        assert_eq!(world.view(&alice).await.hard_limit, Some(usd(7.0)));
        // The balance does not cover another step.
        world.change(&ROOT, &alice, cap(50.0)).await.unwrap();
        let answer = ask(world, 1, &alice, 2.5).await;
        assert_eq!(answer.shortage, Some(Shortage::Month));
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
