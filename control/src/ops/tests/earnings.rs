//! Tests of earnings, of who may see them, and of tags.

use futures_util::TryStreamExt as _;
use proxyxai_contract::{
    id::{AccountId, KeyId},
    key_price::KeyPrice,
    money::{Money, Multiplier},
    price::PriceTable,
    usage::UsageRecord,
};

use super::prices::{house, load, published, rerate};
use crate::{
    Error,
    model::{
        AccountChange, Caller, DateRange, EarningDimension, EarningFilter, EarningsReport,
        NewUpstreamKey, Page, UpstreamKeyChange,
    },
    ops,
    store::usage::tags::{OTHER, TAGS_MAX},
    testing::{
        DAY_MS, NOON, ROOT, WHOLE, World, by, call, calls_of, everywhere, new_key, node, process,
        usd,
    },
};

/// A key of the pool with a cost rule.
async fn key(world: &World, name: &str, price: &str) -> KeyId {
    let mut new: NewUpstreamKey = new_key(&format!("sk-upstream-0123456789-{name}"));
    new.config.price = KeyPrice::parse(price).unwrap();
    new.provider = Some(format!("https://{name}.example.com"));
    new.name = name.to_owned();
    let key = ops::keys::create(&world.control, &ROOT, new).await;
    key.unwrap().id
}

async fn post(world: &World, records: Vec<UsageRecord>) {
    let name = node("n1");
    let posted = ops::fleet::report_usage(&world.control, &name, 1, records);
    Box::pin(posted).await.unwrap();
}

fn around(world: &World) -> DateRange {
    let today = ops::reports::today(&world.control);
    DateRange {
        start: today.first_of_month(),
        end: today.last_of_month(),
    }
}

async fn earned(world: &World, what: EarningDimension) -> EarningsReport {
    let filter = EarningFilter::default();
    let earned =
        ops::earnings::by(&world.control, &ROOT, (what, WHOLE), filter, around(world)).await;
    earned.unwrap()
}

/// The expense and, in dollars, the cost of a row.
fn row(earnings: &EarningsReport, of: &str) -> (Money, Money) {
    let row = earnings.rows.rows.iter().find(|row| row.of == of).unwrap();
    (row.earning.expense, row.earning.cost)
}

async fn priced(world: &World) -> PriceTable {
    load(&world.control, "2", None).await.unwrap();
    published(&world.control).await
}

/// 100,000 input tokens and no output: $0.2 by the list.
fn plain(sequence: u64, account: AccountId, key: KeyId, table: &PriceTable) -> UsageRecord {
    let mut record = UsageRecord {
        key: Some(key),
        ..house(sequence, account, NOON, table)
    };
    (record.tokens.input, record.tokens.output) = (100_000, 0);
    record.sum = record.bill(table.find("house").unwrap());
    let [rates, factor] = [record.rates, record.factor].map(|by| by.unwrap());
    record.cost = record.sum.cost(rates, factor).unwrap();
    record
}

#[tokio::test]
async fn totals_of_expense_are_the_sum_over_records_by_whatever_they_are_asked() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let keys = [
            key(world, "list", "").await,
            key(world, "cheap", r#"{"Factor":0.7}"#).await,
            key(world, "free", r#"{"Free":true}"#).await,
            key(world, "own", r#"{"Models":{"house":{"InputText":1.3}}}"#).await,
        ];
        let mut accounts = Vec::new();
        for (name, rates) in [("anna", 1.0), ("berta", 2.5), ("carla", 3.0)] {
            let account = world.child(&ROOT, name, 1_000.0).await;
            let change = AccountChange {
                rates: Multiplier::from_number(rates).ok(),
                ..AccountChange::default()
            };
            world.change(&ROOT, &account, change).await.unwrap();
            accounts.push(world.view(&account).await);
        }
        // Three days of one month.
        let late = ops::reports::today(&world.control).day() > 15;
        let back = if late { -1 } else { 1 };
        let mut records = Vec::new();
        for at in 1..=600_u64 {
            let pick = |most: usize| usize::try_from(at * 7 % 13).unwrap() % most;
            let account = &accounts[pick(3)];
            let start = NOON.plus(back * DAY_MS * i64::try_from(at % 3).unwrap());
            let mut record = house(at, account.id, start, &table);
            record.key = Some(keys[pick(4)]);
            record.rates = Some(account.rates);
            record.factor = Multiplier::from_number(1.5).ok();
            let [rates, factor] = [record.rates, record.factor].map(|by| by.unwrap());
            record.cost = record.sum.cost(rates, factor).unwrap();
            records.push(record);
        }
        for part in records.chunks(150) {
            post(world, part.to_vec()).await;
        }
        // Sent again, as after a lost response.
        post(world, records[100..300].to_vec()).await;
        let expense = world
            .number("SELECT CAST(SUM(expense) AS BIGINT) AS number FROM usage_record")
            .await;
        let whole = earned(world, EarningDimension::Key).await.total;
        assert_eq!((whole.requests, whole.expense.nanos()), (600, expense));
        assert!(whole.expense > Money::ZERO && whole.margin() > Money::ZERO);
        for (name, what) in EarningDimension::NAMES {
            let earnings = earned(world, what).await;
            assert_eq!(earnings.total, whole, "{name}");
            let rows = earnings.rows.rows.iter();
            let sum: i64 = rows.map(|row| row.earning.expense.nanos()).sum();
            assert_eq!(sum, expense, "{name}");
        }
        // Before the markup, the customer pays 1.5 × the list, in any units.
        let by_key = earned(world, EarningDimension::Key).await;
        let (list, cost) = row(&by_key, &keys[0].to_string());
        let off = cost.nanos() - list.nanos() * 3 / 2;
        assert!(off.abs() < 600, "rounding alone: {off}");
        assert_eq!(row(&by_key, &keys[2].to_string()).0, Money::ZERO);
        let by_provider = earned(world, EarningDimension::Provider).await;
        assert_eq!(
            row(&by_provider, "cheap.example.com"),
            row(&by_key, &keys[1].to_string())
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn calls_of_root_itself_earn_nothing_and_cost_what_the_provider_takes() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let own = key(world, "cheap", r#"{"Factor":0.5}"#).await;
        post(world, vec![plain(1, ROOT.account, own, &table)]).await;
        let by_account = earned(world, EarningDimension::Account).await;
        let root = ROOT.account.get().to_string();
        assert_eq!(row(&by_account, &root), (usd(0.1), Money::ZERO));
        let page = Page { page: 1, size: 10 };
        let all = ops::reports::CallsOf::default();
        let usage = ops::reports::usage(&world.control, &ROOT, all, page).await;
        let record = usage.unwrap().rows.remove(0);
        assert_eq!(record.record.cost, usd(0.2));
        assert_eq!(ops::earnings::margin(&record), Some(usd(-0.1)));
    })
    .await;
}

#[tokio::test]
async fn nobody_but_root_learns_what_calls_cost_the_operator() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let own = key(world, "cheap", r#"{"Factor":0.5}"#).await;
        let parent = world.child(&ROOT, "parent", 90.0).await;
        let child = world.child(&by(&parent), "child", 30.0).await;
        post(world, vec![plain(1, child.id, own, &table)]).await;
        let page = Page { page: 1, size: 10 };
        for (caller, expected) in [(ROOT, Some(usd(0.1))), (by(&parent), None)] {
            let calls = calls_of("child");
            let usage = ops::reports::usage(&world.control, &caller, calls, page).await;
            let record = usage.unwrap().rows.remove(0);
            assert_eq!(record.record.expense, expected);
            let margin = ops::earnings::margin(&record);
            assert_eq!(margin, expected.map(|_| usd(0.1)));
        }
        let found = async |id: &str| {
            let calls = ops::reports::CallsOf {
                account: Some("child"),
                request_id: Some(id),
            };
            let page = Page { page: 1, size: 10 };
            let usage = ops::reports::usage(&world.control, &by(&parent), calls, page).await;
            usage.unwrap().total
        };
        let id = plain(1, child.id, own, &table).request_id;
        assert_eq!((found(&id).await, found("another").await), (1, 0));
        let text = async |caller: &Caller| -> String {
            let pieces = ops::export::usage(&world.control, caller, around(world)).await;
            pieces.unwrap().try_collect().await.unwrap()
        };
        assert!(text(&ROOT).await.contains(",tag,abandoned,client_key,expense,attempts\r\n"));
        assert!(text(&ROOT).await.ends_with(",,0.100000000,\r\n"));
        let theirs = text(&by(&parent)).await;
        assert!(theirs.contains(",tag,abandoned,client_key\r\n") && !theirs.contains("0.100000000"));
        for caller in [by(&parent), by(&child)] {
            let filter = EarningFilter::default();
            let asked = ops::earnings::by(
                &world.control,
                &caller,
                (EarningDimension::Model, WHOLE),
                filter,
                around(world),
            );
            assert!(matches!(asked.await, Err(Error::Forbidden(_))));
            let asked = ops::export::earnings(&world.control, &caller, around(world)).await;
            assert!(matches!(asked.map(drop), Err(Error::Forbidden(_))));
        }
        let pieces = ops::export::earnings(&world.control, &ROOT, around(world)).await;
        let csv: String = pieces.unwrap().try_collect().await.unwrap();
        let line = format!(
            ",{},{own},cheap.example.com,house,0,1,0.200000000,0.100000000,0.000000000,0.100000000\r\n",
            child.id
        );
        assert!(csv.ends_with(&line), "{csv}");
    })
    .await;
}

#[tokio::test]
async fn a_rule_counts_for_what_is_posted_from_then_on_also_of_a_key_that_is_gone() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let own = key(world, "cheap", r#"{"Factor":0.5}"#).await;
        let anna = world.child(&ROOT, "anna", 90.0).await;
        post(world, vec![plain(1, anna.id, own, &table)]).await;
        let mut config = ops::keys::get(&world.control, &ROOT, own)
            .await
            .unwrap()
            .config;
        config.price = KeyPrice::parse(r#"{"Factor":2}"#).unwrap();
        let change = UpstreamKeyChange {
            config: Some(config),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(&world.control, &ROOT, own, change)
            .await
            .unwrap();
        post(world, vec![plain(2, anna.id, own, &table)]).await;
        ops::keys::delete(&world.control, &ROOT, own).await.unwrap();
        world.restart().await.unwrap();
        post(world, vec![plain(3, anna.id, own, &table)]).await;
        let earnings = earned(world, EarningDimension::Key).await;
        assert_eq!(row(&earnings, &own.to_string()), (usd(0.9), usd(0.6)));
        assert_eq!(earnings.rows.rows[0].name, "cheap");
    })
    .await;
}

#[tokio::test]
async fn pages_of_earnings_are_all_of_them_and_each_tells_the_total_of_all() {
    everywhere(async |world: &mut World| {
        for n in 1..=7_u32 {
            let account = world.child(&ROOT, &format!("anna{n}"), 100.0).await;
            post(world, vec![call(n.into(), account.id, f64::from(n))]).await;
        }
        let page = async |page: u64| {
            let asked = (EarningDimension::Account, Page { page, size: 3 });
            let filter = EarningFilter::default();
            let earned = ops::earnings::by(&world.control, &ROOT, asked, filter, around(world));
            earned.await.unwrap()
        };
        let mut names = Vec::new();
        for at in 1..=4 {
            let earnings = page(at).await;
            assert_eq!(earnings.total.cost, usd(28.0));
            assert_eq!(earnings.rows.total, 7);
            names.extend(earnings.rows.rows.into_iter().map(|row| row.name));
        }
        assert_eq!(
            names,
            (1..=7)
                .rev()
                .map(|n| format!("anna{n}"))
                .collect::<Vec<_>>()
        );
    })
    .await;
}

#[tokio::test]
async fn data_planes_are_not_told_what_keys_cost() {
    let world = World::file().await;
    let text = r#"{"Factor":0.123}"#;
    let own = key(&world, "cheap", text).await;
    let watch = ops::fleet::watch(&world.control, process(node("n1"), 1), "1".to_owned());
    let mut updates = Box::pin(watch.await.unwrap());
    let first = futures_util::StreamExt::next(&mut updates).await.unwrap();
    let told = first.keys.iter().find(|key| key.id == own).unwrap();
    assert_eq!(told.config.price, KeyPrice::default());
    let stored = ops::keys::get(&world.control, &ROOT, own).await.unwrap();
    assert_eq!(stored.config.price.text(), text);
}

#[tokio::test]
async fn what_is_paid_by_the_month_is_in_the_totals_of_its_key_and_in_no_call() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let days = around(world);
        let length = i64::from(days.end.day());
        let monthly = KeyPrice::parse(&format!(r#"{{"Monthly":{length}}}"#)).unwrap();
        let own = key(world, "flat", &monthly.text()).await;
        let anna = world.child(&ROOT, "anna", 90.0).await;
        post(world, vec![plain(1, anna.id, own, &table)]).await;
        let today = i64::from(ops::reports::today(&world.control).day());
        let left = usd(1.0).nanos() * (length - today + 1);
        for what in [
            EarningDimension::Key,
            EarningDimension::Provider,
            EarningDimension::Model,
        ] {
            let earnings = earned(world, what).await;
            let total = earnings.total;
            assert_eq!((total.expense, total.flat.nanos()), (Money::ZERO, left));
            assert_eq!(total.margin().nanos(), usd(0.2).nanos() - left);
            let rows = earnings
                .rows
                .rows
                .iter()
                .map(|row| row.earning.flat.nanos());
            let expected = if what == EarningDimension::Model {
                0
            } else {
                left
            };
            assert_eq!(rows.sum::<i64>(), expected);
        }
        // Its last day is paid, and no later one.
        ops::keys::delete(&world.control, &ROOT, own).await.unwrap();
        let earnings = earned(world, EarningDimension::Day).await;
        assert_eq!(earnings.total.flat, usd(1.0));
        assert_eq!(earnings.rows.rows.len(), 1);
        let pieces = ops::export::earnings(&world.control, &ROOT, days).await;
        let csv: String = pieces.unwrap().try_collect().await.unwrap();
        let line = format!(
            ",,{own},flat.example.com,,,0,0.000000000,0.000000000,1.000000000,-1.000000000\r\n"
        );
        assert!(csv.contains(&line), "{csv}");
    })
    .await;
}

#[tokio::test]
async fn pricing_anew_changes_what_was_earned_and_not_what_it_cost() {
    everywhere(async |world: &mut World| {
        let table = priced(world).await;
        let own = key(world, "cheap", r#"{"Factor":0.5}"#).await;
        let anna = world.child(&ROOT, "anna", 90.0).await;
        let mut record = plain(1, anna.id, own, &table);
        record.tag = "team".to_owned();
        post(world, vec![record]).await;
        load(&world.control, "4", Some(NOON.plus(-1)))
            .await
            .unwrap();
        rerate(&world.control, false).await;
        let earnings = earned(world, EarningDimension::Account).await;
        assert_eq!(row(&earnings, &anna.id.to_string()), (usd(0.1), usd(0.4)));
        assert_eq!(earnings.rows.rows[0].name, "anna");
        let page = Page { page: 1, size: 10 };
        let days = around(world);
        let tags = ops::earnings::tags(&world.control, &by(&anna), None, days, page).await;
        let tags = tags.unwrap().rows;
        assert_eq!(
            (
                tags[0].tag.as_str(),
                tags[0].totals.cost,
                tags[0].totals.requests
            ),
            ("team", usd(0.4), 1)
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn an_account_has_so_many_tags_a_day_and_the_rest_is_counted_together() {
    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 90.0).await;
        let berta = world.child(&by(&anna), "berta", 20.0).await;
        let most = u64::try_from(TAGS_MAX).unwrap();
        let tagged = |sequence, account: AccountId, tag: String| UsageRecord {
            tag,
            ..call(sequence, account, 0.01)
        };
        let first = (1..=most - 5).map(|at| tagged(at, anna.id, format!("t{at:03}")));
        post(world, first.collect()).await;
        let more = (most..most + 20).map(|at| tagged(at, anna.id, format!("t{at:03}")));
        let mut more: Vec<_> = more.collect();
        more.push(tagged(500, anna.id, "t001".to_owned()));
        more.push(tagged(501, berta.id, "t001".to_owned()));
        more.push(call(502, anna.id, 5.0));
        post(world, more).await;
        let page = Page {
            page: 1,
            size: 1_000,
        };
        let days = around(world);
        let tags = async |caller: Caller, name: &str| {
            let tags = ops::earnings::tags(&world.control, &caller, Some(name), days, page).await;
            tags.unwrap()
        };
        let listing = tags(ROOT, "anna").await;
        assert_eq!(listing.total, most + 1);
        let of = |tag: &str| {
            let row = listing.rows.iter().find(|row| row.tag == tag).unwrap();
            row.totals.requests
        };
        assert_eq!((of(OTHER), of("t001"), of("t204")), (15, 2, 1));
        let cost: Money = listing.rows.iter().map(|row| row.totals.cost).sum();
        assert_eq!(
            cost.nanos(),
            usd(0.01).nanos() * i64::try_from(most + 16).unwrap()
        );
        assert_eq!(tags(by(&anna), "berta").await.total, 1);
        let pieces = ops::export::tags(&world.control, &by(&anna), Some("berta"), days).await;
        let csv: String = pieces.unwrap().try_collect().await.unwrap();
        assert_eq!(
            csv,
            "tag,requests,input,cached,output,cost\r\nt001,1,10,2,5,0.010000000\r\n"
        );
        let caller = by(&berta);
        let above = ops::earnings::tags(&world.control, &caller, Some("anna"), days, page);
        assert!(above.await.is_err());
    })
    .await;
}
