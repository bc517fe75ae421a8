//! Tests of `Rates` that change while calls are in flight: the calls are charged in the new units, from credit that is
//! reserved for them, and the books balance.

use proxyxai_contract::{
    lease::{LeaseAnswer, LeaseAsk, LeaseShortage},
    money::{Money, Multiplier},
    usage::UsageRecord,
};

use super::{
    prices::{load, published, rerate},
    random::dice,
};
use crate::{
    model::{Account, AccountChange},
    ops,
    testing::{NOON, ROOT, World, call, everywhere, node, usd},
};

fn rates(number: f64) -> Multiplier {
    Multiplier::from_number(number).unwrap()
}

async fn put_on(world: &World, account: &Account, number: f64) {
    let change = AccountChange {
        rates: Some(rates(number)),
        ..AccountChange::default()
    };
    world.change(&ROOT, account, change).await.unwrap();
}

/// Asks for this much more, with the current version of the lease.
async fn ask(world: &World, name: &str, account: &Account, amount: Money) -> LeaseAnswer {
    let lease = async |version, change| {
        let ask = LeaseAsk {
            payer: (account.id).into(),
            version,
            change,
            need: change,
        };
        ops::fleet::lease_credit(&world.control, &node(name), 1, vec![ask])
            .await
            .unwrap()
            .remove(0)
    };
    // The first response has the version.
    let version = lease(u64::MAX, Money::ZERO).await.lease.version;
    lease(version, amount).await
}

async fn report(world: &World, records: Vec<UsageRecord>) -> ops::fleet::ReportReceipt {
    ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_call_under_way_is_paid_in_the_units_of_now_and_counted_in_its_own() {
    // Balance, lease and cost before the change; balance and lease after it and the call.
    for (from, to, leased, cost, balance, left) in [
        (1.0, 2.0, 5.0, 2.0, 36.0, 1.0),
        (2.0, 1.0, 10.0, 3.0, 18.5, 8.5),
        (1.0, 3.0, 5.0, 2.0, 54.0, 0.0),
    ] {
        everywhere(async |world: &mut World| {
            let alice = world.child(&ROOT, "alice", 20.0).await;
            put_on(world, &alice, from).await;
            ask(world, "n1", &alice, usd(leased)).await;
            put_on(world, &alice, to).await;
            let before = UsageRecord {
                rates: Some(rates(from)),
                ..call(1, alice.id, cost)
            };
            let reported = report(world, vec![before.clone()]).await;
            let after = world.view(&alice).await;
            assert_eq!(
                (after.balance, after.credit_used, reported.leases[0].amount),
                (usd(balance), usd(cost), usd(left))
            );
            assert_eq!(reported.standings[0].balance, usd(balance));
            assert_eq!(reported.standings[0].month_used, usd(cost));
            world.balanced().await;

            // Sent again, it costs nothing. A call that began after the change is charged without conversion.
            let now = UsageRecord {
                rates: Some(rates(to)),
                ..call(2, alice.id, 1.0)
            };
            report(world, vec![before, now]).await;
            assert_eq!(world.view(&alice).await.balance, usd(balance - 1.0));
            world.balanced().await;
        })
        .await;
    }
}

#[tokio::test]
async fn what_was_paid_in_other_units_is_corrected_and_pruned_like_everything_else() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        put_on(world, &alice, 2.5).await;
        let records = (1..=5).map(|nth| super::prices::house(nth, alice.id, NOON, &table));
        report(world, records.collect()).await;
        let charged = world.view(&alice).await.balance;
        // The same prices correct nothing, whatever the units.
        let done = rerate(&world.control, false).await;
        assert_eq!((done.records, done.corrections.len()), (5, 0));
        world.clock.advance(1);
        load(&world.control, "2", Some(NOON)).await.unwrap();
        rerate(&world.control, false).await;
        let dearer = world.view(&alice).await;
        // Each of the five calls reads 400,000 tokens at a dollar for a million; times 2.5.
        assert!(charged.saturating_sub(dearer.balance) > usd(5.0));
        world.balanced().await;
        world.clock.advance(400 * crate::testing::DAY_MS);
        ops::retention::prune_usage(&world.control).await.unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn calls_under_way_over_a_rise_are_covered_though_others_ask_for_the_rest() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        ask(world, "n1", &alice, usd(12.0)).await;
        put_on(world, &alice, 1.5).await;
        // Of 30, calls may need 18: what n1 has, and a cover for it.
        let refused = ask(world, "n2", &alice, usd(12.1)).await;
        // Only what n1 has can be returned.
        assert_eq!(
            (refused.shortage, refused.elsewhere),
            (Some(LeaseShortage::Balance), usd(12.0))
        );
        assert_eq!(ask(world, "n2", &alice, usd(12.0)).await.shortage, None);
        world.balanced().await;
        report(world, vec![call(1, alice.id, 12.0)]).await;
        assert_eq!(world.view(&alice).await.balance, usd(12.0));
        world.balanced().await;
        // The cover is released when such calls are over, the leases of data planes are not.
        world.clock.advance(12 * 60_000);
        ops::fleet::release_lost(&world.control).await.unwrap();
        let sql = format!(
            "SELECT leased AS number FROM account WHERE id = {}",
            alice.id
        );
        assert_eq!(world.number(&sql).await, usd(12.0).nanos());
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn no_credit_is_made_by_rates_that_go_up_and_down_under_calls() {
    everywhere(async |world: &mut World| {
        let mut dice = dice();
        let alice = world.child(&ROOT, "alice", 1_000.0).await;
        let (mut worth, mut number) = (1_000.0, 1.0);
        let mut under_way: Vec<UsageRecord> = Vec::new();
        for sequence in 1..=40 {
            let cost = Money::from_nanos(dice.i64(1..3_000_000_000));
            under_way.push(UsageRecord {
                cost,
                rates: Some(rates(number)),
                ..call(sequence, alice.id, 0.0)
            });
            if sequence % 4 == 0 {
                number = 1.0 + f64::from(dice.u8(0..200)) / 50.0;
                put_on(world, &alice, number).await;
            }
            if sequence % 5 == 0 {
                let worth_of = |record: &UsageRecord| {
                    let even = record.cost.scale(Multiplier::ONE, record.rates.unwrap());
                    even.unwrap().dollars()
                };
                worth -= under_way.iter().map(worth_of).sum::<f64>();
                report(world, std::mem::take(&mut under_way)).await;
                let balance = world.view(&alice).await.balance.dollars();
                assert!(
                    (balance / number - worth).abs() < 1e-6,
                    "{balance} {number} {worth}"
                );
                world.balanced().await;
            }
        }
    })
    .await;
}
