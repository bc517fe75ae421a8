//! Tests of credit that is taken away while in-flight calls may still cost something.

use proxyxai_contract::{
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage},
    money::{Money, Multiplier},
};

use crate::{
    Error,
    model::{Account, AccountChange, AccountChangeResult, Caller},
    ops,
    testing::{ROOT, World, by, call, everywhere, node, usd},
};

async fn ask(world: &World, account: &Account, dollars: f64) -> LeaseAnswer {
    let name = node("n1");
    let lease = async |ask| {
        let asked = ops::fleet::lease_credit(&world.control, &name, 1, vec![ask]);
        asked.await.unwrap().pop()
    };
    let nothing = LeaseAsk {
        payer: (account.id).into(),
        version: 0,
        change: Money::ZERO,
        need: Money::ZERO,
    };
    let version = lease(nothing)
        .await
        .map_or(0, |answer| answer.lease.version);
    let wanted = LeaseAsk {
        version,
        change: usd(dollars),
        need: usd(dollars).max(Money::ZERO),
        ..nothing
    };
    lease(wanted).await.unwrap()
}

async fn report(world: &World, account: &Account, sequence: u64, cost: f64) {
    let records = vec![call(sequence, account.id, cost)];
    ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
        .await
        .unwrap();
}

async fn delete(world: &World, caller: &Caller, account: &Account) -> AccountChangeResult {
    let named = account.id.to_string();
    let deleted = ops::accounts::delete(&world.control, caller, &named);
    Box::pin(deleted).await.unwrap()
}

async fn settle(world: &World) {
    world.clock.advance(6_000);
    Box::pin(ops::accounts::settle_closed(&world.control))
        .await
        .unwrap();
    world.balanced().await;
}

/// A parent with a child that has some of its credit on lease.
async fn family(world: &World, leased: f64) -> (Account, Account) {
    let parent = world.child(&ROOT, "parent", 200.0).await;
    let child = world.child(&by(&parent), "child", 100.0).await;
    assert_eq!(ask(world, &child, leased).await.lease.amount, usd(leased));
    (parent, child)
}

#[tokio::test]
async fn a_deleted_accounts_lease_is_refunded_when_the_last_of_it_is_home() {
    everywhere(async |world: &mut World| {
        let (parent, child) = family(world, 60.0).await;
        let deleted = delete(world, &by(&parent), &child).await;
        assert_eq!((deleted.refund, deleted.pending), (usd(39.8), usd(60.0)));
        world.balanced().await;
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(139.8));

        // In-flight calls go on, and no new one is admitted.
        let refused = ask(world, &child, 1.0).await;
        assert_eq!(refused.shortage, Some(LeaseShortage::Balance));
        report(world, &child, 1, 54.0).await;
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(139.8));
        assert_eq!(ask(world, &child, -6.0).await.lease.amount, Money::ZERO);
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(145.8));
        // A second settlement changes nothing.
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(145.8));
    })
    .await;
}

#[tokio::test]
async fn the_lease_of_a_data_plane_that_is_lost_comes_back_as_well() {
    everywhere(async |world: &mut World| {
        let (parent, child) = family(world, 100.0).await;
        let deleted = delete(world, &by(&parent), &child).await;
        assert_eq!((deleted.refund, deleted.pending), (usd(0.0), usd(100.0)));
        world.restart().await.unwrap();
        let long = i64::try_from(world.config.lease_ms).unwrap() + 61_000;
        world.clock.advance(long);
        ops::fleet::release_lost(&world.control).await.unwrap();
        settle(world).await;
        // The fee was still due.
        assert_eq!(world.view(&parent).await.balance, usd(199.8));

        // The data plane was only silent: what it had spent is charged to the account that has the credit now.
        report(world, &child, 1, 54.0).await;
        world.balanced().await;
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(145.8));
    })
    .await;
}

#[tokio::test]
async fn a_debt_falls_on_the_nearest_above_that_lives_whoever_deletes() {
    everywhere(async |world: &mut World| {
        let top = world.child(&ROOT, "toptop", 300.0).await;
        let middle = world.child(&by(&top), "middle", 100.0).await;
        let child = world.child(&by(&middle), "child", 30.0).await;
        delete(world, &ROOT, &middle).await;
        report(world, &child, 1, 50.0).await;
        assert_eq!(world.view(&child).await.balance, usd(-20.0));
        assert_eq!(world.view(&top).await.balance, usd(200.0));
        let deleted = delete(world, &ROOT, &child).await;
        assert_eq!(deleted.refund, usd(0.0));
        assert_eq!(world.view(&top).await.balance, usd(180.0));
        world.balanced().await;
        report(world, &child, 2, 300.0).await;
        settle(world).await;
        assert_eq!(world.view(&top).await.balance, usd(-120.0));

        // Root pays what its own children owe, and the books say so.
        delete(world, &ROOT, &top).await;
        world.balanced().await;
        let said = format!(
            "SELECT COUNT(*) AS number FROM ledger_entry e JOIN posting p ON p.entry_id = e.id \
             WHERE e.reference = 'debt:{}>1' AND p.book = 'mint' AND p.amount = -120000000000",
            top.id
        );
        assert_eq!(world.number(&said).await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_deleted_account_owes_is_paid_in_the_units_of_who_pays() {
    everywhere(async |world: &mut World| {
        let (parent, child) = family(world, 10.0).await;
        let dearer = AccountChange {
            rates: Some(Multiplier::from_number(2.0).unwrap()),
            ..AccountChange::default()
        };
        world.change(&by(&parent), &child, dearer).await.unwrap();
        // 200 in its units, of which in-flight calls may cost 20: their leases and the cover for the rise.
        let deleted = delete(world, &by(&parent), &child).await;
        assert_eq!((deleted.refund, deleted.pending), (usd(89.8), usd(10.0)));
        // Counted in the old units.
        report(world, &child, 1, 14.0).await;
        settle(world).await;
        assert_eq!(world.view(&parent).await.balance, usd(185.8));
    })
    .await;
}

#[tokio::test]
async fn what_is_on_lease_is_not_deducted_and_the_refusal_says_how_much_it_is() {
    everywhere(async |world: &mut World| {
        let (parent, child) = family(world, 60.0).await;
        let take = |dollars: f64| AccountChange {
            credit: Some(usd(-dollars)),
            ..AccountChange::default()
        };
        let refused = world.change(&by(&parent), &child, take(50.0)).await;
        let Err(error @ Error::InsufficientBalance { .. }) = refused else {
            unreachable!("{refused:?}");
        };
        let text = error.to_string();
        assert!(text.contains("$60 is in use by calls under way"), "{text}");
        assert!(text.contains("$40 available"), "{text}");
        world
            .change(&by(&parent), &child, take(40.0))
            .await
            .unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_is_deleted_meanwhile_leaves_the_refund_to_the_next_above() {
    everywhere(async |world: &mut World| {
        let (parent, child) = family(world, 60.0).await;
        delete(world, &by(&parent), &child).await;
        delete(world, &ROOT, &parent).await;
        ask(world, &child, -60.0).await;
        settle(world).await;
        let left = "SELECT COUNT(*) AS number FROM account WHERE closing";
        assert_eq!(world.number(left).await, 0);
        // All that was minted is spent, kept as fees, or back with root.
        let minted = "SELECT CAST(SUM(amount) AS BIGINT) AS number FROM posting WHERE book IN ('mint', 'fees')";
        assert_eq!(world.number(minted).await, 0);
    })
    .await;
}
