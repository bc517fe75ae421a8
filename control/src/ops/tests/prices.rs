//! Tests of price versions: when each comes into force, and how a wrong price is corrected.

use std::collections::BTreeMap;

use proxyxai_contract::{
    clock::Millis,
    id::AccountId,
    money::Multiplier,
    part::BillPart,
    price::{self, PriceTable},
    snapshot::SnapshotUpdate,
    tokens::TokenUsage,
    usage::{AbandonedPolicy, UsageRecord},
};

use futures_util::StreamExt as _;

use crate::{
    Control, Error,
    model::{Account, AccountChange, DateRange, Page, PriceVersion, RerateRequest, RerateResult},
    ops::{self, prices::PriceTableUpload},
    store,
    testing::{DAY_MS, NOON, ROOT, World, by, call, calls_of, everywhere, node, process, usd},
};

fn table(input: &str) -> String {
    format!(
        r#"{{"Version":"2026-10-01","Providers":{{}},"ChatPricing":{{"house":{{"InputText":{input},"OutputText":10}}}}}}"#
    )
}

pub(super) async fn load(
    control: &Control,
    input: &str,
    valid_from: Option<Millis>,
) -> Result<PriceVersion, Error> {
    let new = PriceTableUpload {
        text: table(input),
        valid_from,
        note: "test".to_owned(),
        // It leaves out all models of the built-in table.
        force: true,
        over: None,
    };
    let loaded = Box::pin(ops::prices::load(control, &ROOT, new)).await?;
    Ok(loaded.0)
}

async fn set(control: &Control, pricing: &str) {
    let set = BTreeMap::from([("PRICING".to_owned(), pricing.to_owned())]);
    ops::settings::update(control, &ROOT, set, Vec::new())
        .await
        .unwrap();
}

/// The table that a newly connected data plane gets.
pub(super) async fn published(control: &Control) -> PriceTable {
    let watch = ops::fleet::watch(control, process(node("n1"), 1), "1".to_owned());
    let mut updates = Box::pin(watch.await.unwrap());
    let first: SnapshotUpdate = updates.next().await.unwrap();
    first.prices.unwrap().as_ref().clone()
}

fn input_of(table: &PriceTable) -> i64 {
    table
        .find("house")
        .unwrap()
        .of(BillPart::InputText)
        .unwrap()
        .nanos()
        / 1_000_000
}

pub(super) fn house(
    sequence: u64,
    account: AccountId,
    at: Millis,
    table: &PriceTable,
) -> UsageRecord {
    let mut record = UsageRecord {
        model_used: "house".to_owned(),
        tokens: TokenUsage {
            input: 400_000 + sequence * 1_001,
            output: 10_007,
            ..TokenUsage::default()
        },
        start: at,
        price_version: table.version.clone(),
        ..call(sequence, account, 0.0)
    };
    let (rates, factor) = (record.rates.unwrap(), record.factor.unwrap());
    let price = table.find("house").unwrap();
    record.sum = record.bill(price);
    record.cost = record.sum.cost(rates, factor).unwrap();
    record
}

pub(super) async fn rerate(control: &Control, dry_run: bool) -> RerateResult {
    let today = ops::reports::today(control);
    let rerating = RerateRequest {
        days: DateRange {
            start: today.first_of_month(),
            end: today.last_of_month(),
        },
        account: None,
        version: None,
        dry_run,
    };
    Box::pin(ops::prices::rerate(control, &ROOT, rerating))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_version_takes_over_at_its_moment_also_on_another_replica_and_after_a_restart() {
    everywhere(async |world: &mut World| {
        let other = Control::start(world.config.clone(), world.clock.clone())
            .await
            .unwrap();
        load(&world.control, "1", None).await.unwrap();
        let next = load(&world.control, "2", Some(NOON.plus(1_000)))
            .await
            .unwrap();
        other
            .publisher()
            .follow(other.store(), other.vault(), other.now())
            .await
            .unwrap();
        world.clock.advance(999);
        for control in [&world.control, &other] {
            Box::pin(ops::prices::take_over(control)).await.unwrap();
            assert_eq!(input_of(&published(control).await), 1_000);
        }
        world.clock.advance(1);
        for control in [&world.control, &other] {
            Box::pin(ops::prices::take_over(control)).await.unwrap();
            let table = published(control).await;
            assert_eq!((input_of(&table), &table.version), (2_000, &next.version));
            assert!(!control.publisher().prices_due(control.now()));
        }
        world.restart().await.unwrap();
        let table = published(&world.control).await;
        assert_eq!((input_of(&table), &table.version), (2_000, &next.version));
    })
    .await;
}

#[tokio::test]
async fn every_version_that_was_in_force_is_found_for_ever() {
    everywhere(async |world: &mut World| {
        let control = &world.control;
        let mut seen = vec![published(control).await];
        set(control, r#"{"ChatPricing":{"house":{"InputText":3}}}"#).await;
        seen.push(published(control).await);
        load(control, "1", None).await.unwrap();
        seen.push(published(control).await);
        assert_eq!(
            input_of(&seen[2]),
            3_000,
            "PRICING lies over a loaded table"
        );
        set(control, "").await;
        seen.push(published(control).await);
        assert_eq!(input_of(&seen[3]), 1_000);
        let same: Vec<_> = ["", ""].into_iter().collect();
        for pricing in same {
            set(control, pricing).await;
        }
        assert_eq!(published(control).await.version, seen[3].version);
        let mut names: Vec<_> = seen.iter().map(|table| &table.version).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
        for table in &seen {
            let found = store::prices::get(control.store(), &table.version)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(ops::prices::table(&found).unwrap().models, table.models);
        }
    })
    .await;
}

#[tokio::test]
async fn an_override_outlives_the_table_that_waits() {
    everywhere(async |world: &mut World| {
        load(&world.control, "2", Some(NOON.plus(5))).await.unwrap();
        set(
            &world.control,
            r#"{"ChatPricing":{"house":{"OutputText":7,"InputText":1}}}"#,
        )
        .await;
        world.clock.advance(5);
        Box::pin(ops::prices::take_over(&world.control))
            .await
            .unwrap();
        assert_eq!(input_of(&published(&world.control).await), 1_000);
        set(&world.control, "").await;
        assert_eq!(input_of(&published(&world.control).await), 2_000);
    })
    .await;
}

#[tokio::test]
async fn absurd_prices_and_small_tables_have_to_be_forced_and_only_root_loads_any() {
    everywhere(async |world: &mut World| {
        let control = &world.control;
        let new = |input: &str, force: bool| PriceTableUpload {
            text: table(input),
            valid_from: None,
            note: String::new(),
            force,
            over: None,
        };
        // It would leave out all models of the built-in table.
        let refused = Box::pin(ops::prices::load(control, &ROOT, new("2", false))).await;
        assert!(refused.unwrap_err().to_string().contains("leaves out"));
        load(control, "2", None).await.unwrap();
        let before = published(control).await.version;
        for bad in ["200.1", "-1", "1e400", "NaN", "1000001"] {
            let refused = Box::pin(ops::prices::load(control, &ROOT, new(bad, false))).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{bad}");
        }
        let forced = |input: &str| new(input, true);
        for never in ["-1", "1e400", "NaN"] {
            let refused = Box::pin(ops::prices::load(control, &ROOT, forced(never))).await;
            assert!(refused.is_err(), "{never}");
        }
        assert_eq!(published(control).await.version, before);
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let refused = Box::pin(ops::prices::load(control, &by(&alice), forced("3"))).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        Box::pin(ops::prices::load(control, &ROOT, forced("201")))
            .await
            .unwrap();
        assert_eq!(input_of(&published(control).await), 201_000);
    })
    .await;
}

/// Charges the same calls by a table, over three accounts of which one overdraws and one is root.
async fn use_it(world: &World, table: &PriceTable, accounts: &[Account]) {
    let mut records = Vec::new();
    for (at, account) in accounts.iter().enumerate() {
        for nth in 1..=20u64 {
            let sequence = at as u64 * 20 + nth;
            let at = NOON.plus(i64::try_from(nth).unwrap() * DAY_MS / 4);
            records.push(house(sequence, account.id, at, table));
        }
    }
    ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
        .await
        .unwrap();
}

async fn people(world: &World) -> Vec<Account> {
    let mut people = vec![
        world.child(&ROOT, "alice", 100.0).await,
        world.child(&ROOT, "debtor", 12.0).await,
    ];
    people.push(
        ops::accounts::find(&world.control, &ROOT, "1")
            .await
            .unwrap(),
    );
    // A second card, so that a refund has to choose.
    let change = AccountChange {
        credit: Some(usd(5.0)),
        days_micros: Some(40_000_000),
        ..AccountChange::default()
    };
    world.change(&ROOT, &people[0], change).await.unwrap();
    people
}

async fn state(world: &World, people: &[Account]) -> Vec<String> {
    let mut state = Vec::new();
    for account in people {
        let view = world.view(account).await;
        let days = world.control.publisher().month(world.control.now());
        let models =
            ops::reports::totals(&world.control, &ROOT, Some(&account.id.to_string()), days)
                .await
                .unwrap();
        let cards: Vec<_> = view.cards.iter().map(|card| card.balance).collect();
        state.push(format!(
            "{} {} {} {cards:?} {models:?}",
            view.name, view.balance, view.credit_used
        ));
    }
    state
}

#[tokio::test]
async fn a_wrong_price_made_good_leaves_what_the_right_one_would_have() {
    for (wrong, right) in [("4", "2.5"), ("2.5", "4")] {
        everywhere(async |world: &mut World| {
            let accounts = people(world).await;
            load(&world.control, wrong, None).await.unwrap();
            let charged = published(&world.control).await;
            world.clock.advance(10 * DAY_MS);
            use_it(world, &charged, &accounts).await;
            let as_charged = state(world, &accounts).await;

            load(&world.control, right, Some(NOON)).await.unwrap();
            let dry = rerate(&world.control, true).await;
            assert_eq!(state(world, &accounts).await, as_charged);
            let done = rerate(&world.control, false).await;
            assert_eq!((done.records, done.unpriced, dry), (60, 0, done.clone()));
            world.balanced().await;
            let made_good = state(world, &accounts).await;

            // A second run posts nothing, and the records stay as they were posted.
            let again = rerate(&world.control, false).await;
            assert_eq!((again.records, again.corrections), (60, BTreeMap::new()));
            assert_eq!(state(world, &accounts).await, made_good);
            let page = Page { page: 1, size: 100 };
            let listed = ops::reports::usage(&world.control, &ROOT, calls_of("alice"), page)
                .await
                .unwrap();
            for row in listed.rows {
                assert_eq!(row.record.price_version, charged.version);
                assert!(row.corrected.is_some_and(|cost| cost != row.record.cost));
            }

            let mut never = World::again(world).await;
            let accounts = people(&never).await;
            load(&never.control, right, None).await.unwrap();
            let table = published(&never.control).await;
            never.clock.advance(10 * DAY_MS);
            use_it(&never, &table, &accounts).await;
            assert_eq!(state(&never, &accounts).await, made_good);
            never.balanced().await;
            never.restart().await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_cost_that_no_table_gave_is_not_priced_anew() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        let fixed = UsageRecord {
            cost: usd(0.5),
            price_version: price::NO_TABLE.to_owned(),
            ..house(1, alice.id, NOON, &table)
        };
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![fixed])
            .await
            .unwrap();
        let done = rerate(&world.control, false).await;
        assert_eq!(
            (done.records, done.unpriced, done.corrections.len()),
            (1, 1, 0)
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn calls_are_priced_anew_by_the_version_in_force_when_they_began() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let first = published(&world.control).await;
        let border = NOON.plus(1_000);
        load(&world.control, "2", Some(border)).await.unwrap();
        // The second call was priced by a node that did not know the new prices yet.
        let records: Vec<_> = [(1, border.plus(-1)), (2, border)]
            .map(|(sequence, at)| house(sequence, alice.id, at, &first))
            .into_iter()
            .collect();
        let extra = usd(0.001).nanos() * i64::try_from(records[1].tokens.input).unwrap() / 1_000;
        world.clock.advance(2_000);
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        let done = rerate(&world.control, false).await;
        let (count, difference) = done.corrections[&alice.id];
        assert_eq!((count, difference.nanos()), (1, extra));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn what_has_no_price_or_was_not_answered_is_left_alone() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        let unknown = UsageRecord {
            model_used: "unknown".to_owned(),
            priced: false,
            ..call(1, alice.id, 0.0)
        };
        let failed = UsageRecord {
            key: None,
            status: 502,
            cost: usd(0.0),
            ..house(2, alice.id, NOON, &table)
        };
        let early = UsageRecord {
            ..house(3, alice.id, NOON.plus(-1), &table)
        };
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![unknown, failed, early])
            .await
            .unwrap();
        load(&world.control, "2", Some(NOON)).await.unwrap();
        let done = rerate(&world.control, false).await;
        assert_eq!(done.corrections, BTreeMap::new());
        assert_eq!((done.records, done.unpriced), (3, 2));
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_client_left_is_priced_anew_like_any_other() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        let left = UsageRecord {
            status: 499,
            abandoned: Some(AbandonedPolicy::ReadOn),
            ..house(1, alice.id, NOON, &table)
        };
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![left])
            .await
            .unwrap();
        load(&world.control, "2", Some(NOON)).await.unwrap();
        let done = rerate(&world.control, false).await;
        assert_eq!((done.records, done.corrections.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn calls_without_a_price_are_counted_by_model_and_forgotten_after_a_month() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let bobby = world.child(&ROOT, "bobby", 10.0).await;
        let unpriced = |sequence, account: &Account, model: &str| UsageRecord {
            model_used: model.to_owned(),
            start: world.clock.now(),
            priced: false,
            ..call(sequence, account.id, 0.0)
        };
        let report = async |records| {
            let name = node("n1");
            let reported = ops::fleet::report_usage(&world.control, &name, 1, records);
            Box::pin(reported).await.unwrap();
        };
        let told = async |days| {
            let page = Page { page: 1, size: 10 };
            let listing = ops::prices::unpriced(&world.control, &ROOT, Some(days), page);
            let rows = listing.await.unwrap().rows.into_iter();
            rows.map(|row| (row.model, row.requests, row.accounts, row.last))
                .collect::<Vec<_>>()
        };
        let first = vec![
            unpriced(1, &alice, "new"),
            unpriced(2, &alice, "new"),
            unpriced(3, &alice, "odd"),
        ];
        report(first.clone()).await;
        // A report that is sent again counts once.
        report(first).await;
        world.clock.advance(10 * DAY_MS);
        let later = world.clock.now();
        report(vec![unpriced(4, &bobby, "new"), call(5, bobby.id, 1.0)]).await;
        let new = |requests, accounts| ("new".to_owned(), requests, accounts, later);
        assert_eq!(told(7).await, [new(1, 1)]);
        assert_eq!(told(31).await, [new(3, 2), ("odd".to_owned(), 1, 1, NOON)]);
        world.clock.advance(25 * DAY_MS);
        ops::prices::prune_unpriced(&world.control).await.unwrap();
        let kept = world
            .number("SELECT COUNT(*) AS number FROM usage_unpriced")
            .await;
        assert_eq!((kept, told(31).await), (1, vec![new(1, 1)]));
    })
    .await;
}

#[tokio::test]
async fn what_was_priced_anew_is_pruned_at_what_it_costs() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        load(&world.control, "1", None).await.unwrap();
        let table = published(&world.control).await;
        use_it(world, &table, std::slice::from_ref(&alice)).await;
        // The account counts in other units by now.
        let rates = AccountChange {
            rates: Some(Multiplier::from_number(2.5).unwrap()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, rates).await.unwrap();
        load(&world.control, "3", Some(NOON)).await.unwrap();
        let done = rerate(&world.control, false).await;
        assert_eq!(done.corrections[&alice.id].0, 20);
        world.balanced().await;
        world.clock.advance(400 * DAY_MS);
        ops::retention::prune_usage(&world.control).await.unwrap();
        world.balanced().await;
    })
    .await;
}
