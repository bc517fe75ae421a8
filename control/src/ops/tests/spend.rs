//! Tests of usage as a time series.

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
    key_price::KeyPrice,
    money::{Money, Multiplier},
    usage::UsageRecord,
};

use super::prices::{house, load, published, rerate};
use crate::{
    Error,
    model::{
        Account, AccountChange, Caller, DateRange, Earning, EarningDimension, EarningFilter,
        NewUpstreamKey, SeriesInterval, SpendDimension, SpendFilter, SpendReport,
    },
    ops, store,
    store::spend::{SpendScope, SpendSource},
    testing::{DAY_MS, NOON, ROOT, WHOLE, World, by, call, everywhere, new_key, node, usd},
};

const HOUR_MS: i64 = 3_600_000;

fn days(world: &World, back: i64) -> DateRange {
    let today = ops::reports::today(&world.control);
    DateRange {
        start: today.saturating_sub(jiff::Span::new().days(back)),
        end: today,
    }
}

async fn spend(
    world: &World,
    caller: &Caller,
    filter: SpendFilter,
    days: DateRange,
) -> SpendReport {
    let spend = ops::spend::series(&world.control, caller, filter, days);
    Box::pin(spend).await.unwrap()
}

fn split(by: SpendDimension, per: SeriesInterval) -> SpendFilter {
    SpendFilter {
        by,
        per,
        ..SpendFilter::default()
    }
}

async fn post(world: &World, records: Vec<UsageRecord>) {
    let name = node("n1");
    let posted = ops::fleet::report_usage(&world.control, &name, 1, records);
    Box::pin(posted).await.unwrap();
}

fn sum<'a>(amounts: impl IntoIterator<Item = &'a Earning>) -> Earning {
    let mut sum = Earning::default();
    for amount in amounts {
        sum.add(amount);
    }
    sum
}

/// Rows and the rest add up to the total, over the range, before it and at each point; points add up to the range.
fn adds_up(spend: &SpendReport) {
    let rows = || spend.rows.iter().chain([&spend.other]);
    assert_eq!(sum(rows().map(|row| &row.now)), spend.total.now);
    assert_eq!(sum(rows().map(|row| &row.before)), spend.total.before);
    for (at, point) in spend.total.points.iter().enumerate() {
        assert_eq!(sum(rows().map(|row| &row.points[at])), *point, "{at}");
    }
    for row in rows().chain([&spend.total]) {
        assert_eq!(row.points.len(), spend.points.len());
        let whole = Earning {
            // Hours have calls only, no monthly prices.
            flat: if spend.per == SeriesInterval::Hour {
                Money::ZERO
            } else {
                row.now.flat
            },
            ..row.now
        };
        assert_eq!(sum(&row.points), whole, "{}", row.of);
    }
}

/// Anna and Berta, and Carla below Anna with units of her own. All have calls over five days, of fifteen models on
/// three keys.
async fn used(world: &World) -> [Account; 3] {
    let mut keys = Vec::new();
    for (name, price) in [
        ("list", ""),
        ("cheap", r#"{"Factor":0.7}"#),
        ("monthly", r#"{"Monthly":31}"#),
    ] {
        let mut new: NewUpstreamKey = new_key(&format!("sk-upstream-0123456789-{name}"));
        new.config.price = KeyPrice::parse(price).unwrap();
        new.provider = Some(format!("https://{name}.example.com"));
        new.name = name.to_owned();
        let key = ops::keys::create(&world.control, &ROOT, new).await.unwrap();
        keys.push(key.id);
    }
    load(&world.control, "2", None).await.unwrap();
    let table = published(&world.control).await;
    let anna = world.child(&ROOT, "anna", 900.0).await;
    let berta = world.child(&ROOT, "berta", 900.0).await;
    let carla = world.child(&by(&anna), "carla", 100.0).await;
    let change = AccountChange {
        rates: Multiplier::from_number(2.0).ok(),
        ..AccountChange::default()
    };
    world.change(&by(&anna), &carla, change).await.unwrap();
    let accounts = [
        world.view(&anna).await,
        world.view(&berta).await,
        world.view(&carla).await,
    ];
    let record = |n: u64| {
        let pick = |most: u64| usize::try_from(n * 7 % 31 % most).unwrap();
        let account = &accounts[pick(3)];
        let start = NOON.plus(-HOUR_MS * i64::try_from(n % 110).unwrap());
        let mut record = house(n, account.id, start, &table);
        record.model_used = format!("house-{}", n % 15);
        record.key = Some(keys[pick(3)]);
        record.rates = Some(account.rates);
        record.cost = record.sum.cost(account.rates, Multiplier::ONE).unwrap();
        if n.is_multiple_of(40) {
            record.status = 502;
        }
        record
    };
    post(world, (1..=440).map(record).collect()).await;
    accounts
}

#[tokio::test]
async fn use_split_by_anything_adds_up_to_what_bills_and_earnings_say() {
    everywhere(async |world: &mut World| {
        let [anna, _, carla] = used(world).await;
        for (days, per) in [
            (days(world, 6), SeriesInterval::Day),
            (days(world, 1), SeriesInterval::Day),
            (days(world, 1), SeriesInterval::Hour),
            (days(world, 0), SeriesInterval::Hour),
        ] {
            let earned = ops::earnings::by(
                &world.control,
                &ROOT,
                (EarningDimension::Day, WHOLE),
                EarningFilter::default(),
                days,
            );
            let earned = earned.await.unwrap().total;
            for (name, what) in SpendDimension::NAMES {
                let spend = spend(world, &ROOT, split(what, per), days).await;
                adds_up(&spend);
                assert_eq!(spend.total.now, earned, "{name}");
                assert!(earned.tokens.input > 0 && earned.flat > Money::ZERO);
            }
            for what in [SpendDimension::Model, SpendDimension::Account] {
                let spend = spend(world, &by(&anna), split(what, per), days).await;
                adds_up(&spend);
                let mut cost = Money::ZERO;
                for account in [&anna, &carla] {
                    let name = Some(account.name.as_str());
                    let bill = ops::reports::totals(&world.control, &ROOT, name, days);
                    for model in bill.await.unwrap() {
                        cost = cost.saturating_add(model.totals.cost);
                    }
                }
                assert_eq!(spend.total.now.cost, cost);
                // She may not see what her calls cost the operator.
                assert_eq!(spend.total.now.expense, Money::ZERO);
                assert!(!spend.is_earned);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_ten_dearest_come_first_and_the_rest_are_together() {
    everywhere(async |world: &mut World| {
        used(world).await;
        let spend = spend(
            world,
            &ROOT,
            split(SpendDimension::Model, SeriesInterval::Day),
            days(world, 4),
        )
        .await;
        assert_eq!((spend.rows.len(), spend.values), (10, 15));
        let costs: Vec<_> = spend.rows.iter().map(|row| row.now.cost).collect();
        assert!(costs.is_sorted_by(|one, other| one >= other), "{costs:?}");
        assert!(spend.other.now.requests > 0);
        assert_eq!(spend.points.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn the_span_before_is_told_of_each_value() {
    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let record = |n, cost, back: i64| UsageRecord {
            start: NOON.plus(-back * DAY_MS),
            ..call(n, anna.id, cost)
        };
        let records = [
            (1, 1.0, 0),
            (2, 2.0, 1),
            (3, 4.0, 2),
            (4, 8.0, 3),
            (5, 16.0, 4),
        ];
        post(
            world,
            records.map(|(n, cost, back)| record(n, cost, back)).into(),
        )
        .await;
        for caller in [by(&anna), ROOT] {
            let spend = spend(
                world,
                &caller,
                split(SpendDimension::Account, SeriesInterval::Day),
                days(world, 1),
            )
            .await;
            let row = &spend.rows[0];
            assert_eq!(
                (row.of.as_str(), row.name.as_str()),
                (&*anna.id.to_string(), "anna")
            );
            assert_eq!((row.now.cost, row.before.cost), (usd(3.0), usd(12.0)));
            let points: Vec<_> = row.points.iter().map(|point| point.cost).collect();
            assert_eq!(points, [usd(2.0), usd(1.0)]);
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_sees_the_use_of_others_nor_of_keys() {
    everywhere(async |world: &mut World| {
        let [anna, berta, carla] = used(world).await;
        let ask = async |caller: &Account, account: &str, by_what: SpendDimension, alone: bool| {
            let filter = SpendFilter {
                account: Some(account.to_owned()),
                alone,
                by: by_what,
                per: SeriesInterval::Day,
            };
            let caller = by(caller);
            let spend = ops::spend::series(&world.control, &caller, filter, days(world, 4));
            Box::pin(spend).await
        };
        let model = SpendDimension::Model;
        for (caller, account) in [(&anna, "berta"), (&berta, "carla"), (&carla, "anna")] {
            let refused = ask(caller, account, model, false).await;
            assert!(matches!(refused, Err(Error::NotFound { .. })), "{account}");
        }
        for what in [SpendDimension::Key, SpendDimension::Provider] {
            let refused = ask(&anna, "", what, false).await;
            assert!(matches!(refused, Err(Error::Forbidden(_))));
        }
        let ids = async |caller: &Account, account: &str, alone: bool| {
            let spend = ask(caller, account, SpendDimension::Account, alone)
                .await
                .unwrap();
            let mut ids: Vec<_> = spend.rows.into_iter().map(|row| row.of).collect();
            ids.sort();
            ids
        };
        let of = |accounts: &[&Account]| {
            let mut ids: Vec<_> = accounts.iter().map(|view| view.id.to_string()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&anna, "", false).await, of(&[&anna, &carla]));
        assert_eq!(ids(&anna, "", true).await, of(&[&anna]));
        assert_eq!(ids(&anna, "carla", false).await, of(&[&carla]));
        assert_eq!(ids(&carla, "", false).await, of(&[&carla]));
    })
    .await;
}

#[tokio::test]
async fn hours_count_what_calls_cost_since_they_were_priced_anew() {
    everywhere(async |world: &mut World| {
        load(&world.control, "2", None).await.unwrap();
        let table = published(&world.control).await;
        let anna = world.child(&ROOT, "anna", 500.0).await;
        let records = (1..=9).map(|n| house(n, anna.id, NOON.plus(-HOUR_MS * 3), &table));
        post(world, records.collect()).await;
        let hours = async || {
            let hours = split(SpendDimension::Model, SeriesInterval::Hour);
            let spend = spend(world, &by(&anna), hours, days(world, 0)).await;
            adds_up(&spend);
            // The hour from noon has just begun.
            assert_eq!(spend.points.len(), 13);
            spend.total.points[9].cost
        };
        let before = hours().await;
        load(&world.control, "3", Some(Millis(NOON.0 - DAY_MS)))
            .await
            .unwrap();
        assert!(rerate(&world.control, false).await.corrections.len() == 1);
        assert!(hours().await > before);
    })
    .await;
}

#[tokio::test]
async fn sums_of_all_accounts_are_those_of_each_when_posted_priced_anew_and_pruned() {
    everywhere(async |world: &mut World| {
        let [anna, ..] = used(world).await;
        let table = published(&world.control).await;
        // Of a model that has a price in the table, so that another table changes it.
        let records = (1001..=1020).map(|n| house(n, anna.id, NOON.plus(-HOUR_MS * 3), &table));
        post(world, records.collect()).await;
        let equal = async |world: &World| {
            let asked = days(world, 9);
            let tables = [
                "earning",
                // Root itself makes no calls.
                "(SELECT * FROM earning_below WHERE account_id = 1)",
                // Every day is in one year.
                "(SELECT 0 AS requests, 0 AS input, 0 AS cached, 0 AS output, charged AS cost, expense FROM usage_span \
                 WHERE LENGTH(span) = 4)",
            ];
            let mut told = Vec::new();
            for column in ["cost", "expense", "requests", "input", "cached", "output"] {
                let sum = async |table: &str| {
                    let sql =
                        format!("SELECT CAST(SUM({column}) AS BIGINT) AS number FROM {table} t");
                    world.number(&sql).await
                };
                let [single, all, spans] = tables;
                let sums = (sum(single).await, sum(all).await, sum(spans).await);
                assert_eq!(sums.0, sums.1, "{column}");
                if column == "cost" || column == "expense" {
                    assert_eq!(sums.0, sums.2, "{column}");
                }
                told.push(sums.0);
            }
            let mut totals = Vec::new();
            for (_, what) in SpendDimension::NAMES {
                let spend = spend(world, &ROOT, split(what, SeriesInterval::Day), asked).await;
                adds_up(&spend);
                totals.push(spend.total.now);
            }
            assert!(totals.windows(2).all(|pair| pair[0] == pair[1]));
            world.balanced().await;
            told
        };
        let posted = equal(world).await;
        load(&world.control, "3", Some(Millis(NOON.0 - DAY_MS)))
            .await
            .unwrap();
        assert!(!rerate(&world.control, false).await.corrections.is_empty());
        let anew = equal(world).await;
        assert!(anew[0] > posted[0]);
        assert_eq!(anew[1..], posted[1..]);
        world.clock.advance(366 * DAY_MS);
        assert!(ops::retention::prune_usage(&world.control).await.unwrap() > 0);
        assert_eq!(equal(world).await, anew);
    })
    .await;
}

#[tokio::test]
async fn hours_with_too_many_calls_are_left_out_whole() {
    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let record = |n: u64| UsageRecord {
            // Ten an hour.
            start: NOON.plus(-HOUR_MS * i64::try_from(n / 10).unwrap()),
            ..call(n, anna.id, 0.01)
        };
        post(world, (0..100).map(record).collect()).await;
        let hours: Vec<_> = (0..10)
            .rev()
            .map(|back| NOON.plus(-HOUR_MS * back))
            .collect();
        let tx = world.control.store().begin_reading().await.unwrap();
        for whose in [
            SpendScope::Everybody,
            SpendScope::One(anna.id),
            SpendScope::Below {
                account: anna.id,
                dna: anna.dna.clone(),
            },
        ] {
            let source = SpendSource {
                whose,
                by: SpendDimension::Model,
                is_earned: false,
            };
            for (most, skipped) in [(1000, 0), (100, 0), (99, 1), (45, 6), (9, 10)] {
                let found = store::spend::by_hour(&tx, &source, &hours, &[], most)
                    .await
                    .unwrap();
                assert_eq!(found.skipped, skipped, "{most}");
                assert_eq!(found.used.len(), 10 - skipped, "{most}");
                assert!(found.used.values().all(|used| used.requests == 10));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_called_on_no_key_of_now_is_of_no_name() {
    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let records = vec![
            UsageRecord {
                key: None,
                ..call(1, anna.id, 2.0)
            },
            UsageRecord {
                key: KeyId::new(99).ok(),
                ..call(2, anna.id, 1.0)
            },
        ];
        post(world, records).await;
        for per in [SeriesInterval::Day, SeriesInterval::Hour] {
            let keys = spend(
                world,
                &ROOT,
                split(SpendDimension::Key, per),
                days(world, 0),
            )
            .await;
            let rows: Vec<_> = keys.rows.iter().map(|row| (&*row.of, &*row.name)).collect();
            assert_eq!(rows, [("0", ""), ("99", "")]);
            adds_up(&keys);
        }
        assert_eq!(anna.parent, Some(AccountId::ROOT));
    })
    .await;
}
