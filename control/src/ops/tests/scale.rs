//! How fast pages, postings and top-ups are with many accounts and records. Every run uses a small number of them.
//! `PROXYXAI_SCALE=accounts,records` (100000,10000000) makes it a measurement, for which the documented limits apply:
//! build with `--release`, and name a server in `TEST_DATABASE_URL`.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use proxyxai_contract::id::{AccountId, Level};

use crate::{
    model::{
        AccountChange, AccountFilter, AccountLabels, BillFilter, DateRange, Page, SeriesInterval,
        SortField, SortOrder, SpendDimension, SpendFilter,
    },
    ops,
    store::testing::meddle,
    testing::{
        DAY_MS, NOON, ROOT, World, by, call, calls_of, everywhere, lines_of, node, process, usd,
    },
};

/// How often each thing is measured; the median and the longest time are printed.
const LAPS: usize = 5;
const PAGE_MS_MAX: u128 = 300;
const TOP_UP_MS_MAX: u128 = 100;
const REPORTS: u64 = 20;
const RECORDS_PER_REPORT: u64 = 1_000;

struct Size {
    accounts: i64,
    records: i64,
    /// Whether the limits apply.
    measured: bool,
    /// The limits that were exceeded; everything is printed before the test fails.
    missed: RefCell<Vec<String>>,
}

impl Size {
    fn at_most(&self, ms: u128, time: Duration) {
        if self.measured && time.as_millis() > ms {
            let missed = format!("{time:?} of {ms} ms");
            self.missed.borrow_mut().push(missed);
        }
    }
}

/// A file gets a tenth of a server's size.
fn size(world: &World) -> Size {
    let given = std::env::var_os("PROXYXAI_SCALE")
        .and_then(|text| text.into_string().ok())
        .unwrap_or_default();
    let numbers: Vec<i64> = given
        .split(',')
        .filter_map(|text| text.parse().ok())
        .collect();
    let part = if world.is_postgres() { 1 } else { 10 };
    match numbers.as_slice() {
        [accounts, records] => Size {
            accounts: accounts / part,
            records: records / part,
            measured: !cfg!(debug_assertions),
            missed: RefCell::default(),
        },
        _ => Size {
            accounts: 300,
            records: 3_000,
            measured: false,
            missed: RefCell::default(),
        },
    }
}

/// Balanced books of this size: accounts below root, a tenth of them below the second account, a call
/// and its entry each, spread over the year before.
async fn fill(world: &World, size: &Size) {
    let template = world.child(&ROOT, "template", 100.0).await.id.get();
    let (first, last) = (template + 1, template + size.accounts);
    let accounts = fill_accounts(template, first, &series(world, first, last));
    let usage = fill_usage(world, size, first, last);
    let totals = TOTALS.iter().map(ToString::to_string);
    for sql in accounts.into_iter().chain(usage).chain(totals) {
        meddle(world.control.store(), &sql).await;
    }
    if world.is_postgres() {
        for table in ["account", "ledger_entry"] {
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT MAX(id) FROM {table}))"
            );
            meddle(world.control.store(), &next).await;
        }
        meddle(world.control.store(), "VACUUM ANALYZE").await;
    } else {
        meddle(world.control.store(), "ANALYZE").await;
    }
}

/// The integers `n` from one to another.
fn series(world: &World, first: i64, last: i64) -> String {
    if world.is_postgres() {
        return format!("generate_series({first}::bigint, {last}::bigint) AS s(n)");
    }
    format!(
        "(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) AS s"
    )
}

fn fill_accounts(template: i64, first: i64, accounts: &str) -> Vec<String> {
    let (parent, year) = (template, 365 * DAY_MS);
    let same = "alias, billing_email, qr_code, partial_key, level, gear, role, tier, rates, factor, debt, credit_granted, \
        credit_used, requests, hard_limit, soft_limit, auto_quota, rpm, rph, rpd, tpm, tph, tpd, allow_ips, allow_models, \
        allow_levels, resources, model_mapper, level_mapper, switch_over, child_limit, enabled, created_at, updated_at, \
        gone, revision";
    vec![
        format!(
            "INSERT INTO account (id, parent_id, dna, name, name_key, email, {same}) SELECT n, \
            CASE WHEN n % 10 = 0 THEN {parent} ELSE 1 END, CASE WHEN n % 10 = 0 THEN '.1.{parent}.' ELSE '.1.' END || n || '.', \
            'user-' || n, 'user-' || n, 'user-' || n || '@example.com', {same} FROM account, {accounts} WHERE id = {template}"
        ),
        format!("UPDATE account SET level = id % 10 WHERE id >= {first}"),
        format!(
            "INSERT INTO credit_card (account_id, position, amount, balance, reference, granted_at, expires_at) \
            SELECT n, 0, 100000000000, 100000000000, 'Init', {0}, {0} + {year} FROM {accounts}",
            NOON.0
        ),
        format!(
            "INSERT INTO ledger_entry (id, at, reason, reference) SELECT 10 + n, {}, 'grant', 'grant:1>' || n FROM {accounts}",
            NOON.0 - year
        ),
        format!(
            "INSERT INTO posting (entry_id, book, account_id, amount) SELECT 10 + n, 'account', n, 100000000000 FROM {accounts}"
        ),
        format!(
            "INSERT INTO posting (entry_id, book, amount) SELECT 10 + n, 'mint', -100000000000 FROM {accounts}"
        ),
    ]
}

fn fill_usage(world: &World, size: &Size, first: i64, last: i64) -> Vec<String> {
    let (records, year) = (series(world, 1, size.records), 365 * DAY_MS);
    let start = format!("({} - {year} + n * {year} / {})", NOON.0, size.records);
    let day = if world.is_postgres() {
        "to_char(to_timestamp(start_at / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    } else {
        "date(start_at / 1000, 'unixepoch')"
    };
    // Calls are scattered over the accounts, as real ones are.
    let whose = format!("({first} + (n * 7919 + n / 13) % {})", size.accounts);
    let cost = "(1000 + n % 7)";
    vec![
        format!(
            "INSERT INTO usage_record (node, epoch, sequence, request_id, account_id, path, model_asked, model_used, key_id, \
            level, tries, status, input, cached, cache_write, output, reasoning, input_audio, output_audio, input_image, \
            output_image, measure, cost, priced, price_version, start_at, duration_ms, first_byte_ms, streamed, posted_at) \
            SELECT 'n1', 1, n, 'r' || n, {whose}, '/v1/chat/completions', 'gpt-4o', 'gpt-4o-' || (n % 3), 1, 0, 1, 200, \
            1000, 20, 0, 300, 0, 0, 0, 0, 0, 'measured', {cost}, TRUE, 'v', {start}, 900, 300, TRUE, {start} FROM {records}"
        ),
        format!(
            "INSERT INTO ledger_entry (id, at, reason, reference) SELECT {last} + 10 + n, {start}, 'call', 'usage:n1/1/' || n FROM {records}"
        ),
        format!(
            "INSERT INTO posting (entry_id, book, account_id, amount) SELECT {last} + 10 + n, 'account', {whose}, -{cost} FROM {records}"
        ),
        format!(
            "INSERT INTO posting (entry_id, book, amount) SELECT {last} + 10 + n, 'spent', {cost} FROM {records}"
        ),
        format!(
            "INSERT INTO usage_daily (account_id, day, model, requests, input, cached, output, cost) SELECT account_id, {day}, \
            model_used, COUNT(*), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_record GROUP BY 1, 2, 3 ORDER BY 2, 1, 3"
        ),
    ]
}

/// The totals that follow from the records.
const TOTALS: &[&str] = &[
    "INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost) SELECT SUBSTR(day, 1, 7) || \
            CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1' WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END, account_id, \
            SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_daily GROUP BY 1, 2 ORDER BY 1, 2",
    "INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost) SELECT SUBSTR(span, 1, 7), account_id, \
            SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_span GROUP BY 1, 2 ORDER BY 1, 2",
    "INSERT INTO usage_span (span, account_id, requests, input, cached, output, cost) SELECT SUBSTR(span, 1, 4), account_id, \
            SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_span WHERE LENGTH(span) = 7 \
            GROUP BY 1, 2 ORDER BY 1, 2",
    "INSERT INTO usage_below (account_id, day, model, node, requests, input, cached, output, cost) SELECT 1, day, model, 'n1', \
            SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_daily GROUP BY 2, 3",
    "INSERT INTO usage_below (account_id, day, model, node, requests, input, cached, output, cost) SELECT parent_id, day, model, \
            'n1', SUM(d.requests), SUM(input), SUM(cached), SUM(output), SUM(cost) FROM usage_daily d JOIN account a \
            ON a.id = d.account_id WHERE a.parent_id <> 1 GROUP BY 1, 2, 3",
    "INSERT INTO earning (account_id, day, key_id, provider, model, level, requests, input, cached, output, cost, expense) \
            SELECT account_id, day, 1, 'p', model, 0, requests, input, cached, output, cost, cost FROM usage_daily",
    "INSERT INTO earning_below (account_id, day, key_id, provider, model, level, node, requests, input, cached, output, cost, expense) \
            SELECT 1, day, key_id, provider, model, level, 'n1', SUM(requests), SUM(input), SUM(cached), SUM(output), SUM(cost), \
            SUM(expense) FROM earning GROUP BY 2, 3, 4, 5, 6",
    "INSERT INTO earning_below (account_id, day, key_id, provider, model, level, node, requests, input, cached, output, cost, expense) \
            SELECT parent_id, day, key_id, provider, model, e.level, 'n1', SUM(e.requests), SUM(input), SUM(cached), SUM(output), \
            SUM(cost), SUM(expense) FROM earning e JOIN account a ON a.id = e.account_id WHERE a.parent_id <> 1 \
            GROUP BY 1, 2, 3, 4, 5, 6",
    "UPDATE usage_span SET charged = cost, expense = cost",
    "CREATE TABLE used AS SELECT account_id, CAST(SUM(cost) AS BIGINT) AS cost, CAST(SUM(requests) AS BIGINT) AS requests \
            FROM usage_span WHERE LENGTH(span) = 4 GROUP BY account_id",
    "CREATE UNIQUE INDEX used_account ON used (account_id)",
    "UPDATE account SET credit_used = (SELECT cost FROM used WHERE account_id = id), requests = \
            (SELECT requests FROM used WHERE account_id = id) WHERE id IN (SELECT account_id FROM used)",
    "UPDATE credit_card SET balance = balance - (SELECT cost FROM used WHERE used.account_id = credit_card.account_id) \
            WHERE account_id IN (SELECT account_id FROM used)",
    "DROP TABLE used",
    "INSERT INTO node VALUES ('n1', 1, '', 0, '[]', 0)",
];

fn clock() -> Instant {
    Instant::now()
}

/// Does a thing several times, prints how long it took, and returns the median.
async fn lap(what: &str, mut thing: impl AsyncFnMut(usize)) -> Duration {
    let mut laps = Vec::new();
    for at in 0..LAPS {
        let began = clock();
        thing(at).await;
        laps.push(began.elapsed());
    }
    laps.sort();
    let (middle, most) = (laps[LAPS / 2], laps[LAPS - 1]);
    eprintln!("{what:<50} {middle:>10.1?}  (at most {most:.1?})");
    middle
}

fn told(what: &str, time: Duration) {
    eprintln!("{what:<50} {time:>10.1?}");
}

async fn pages(world: &World, size: &Size) {
    let within = |time: Duration| size.at_most(PAGE_MS_MAX, time);
    let cases = [
        ("/x-users page 1", false, None, None, 1),
        ("/x-users page 90", false, None, None, 90),
        ("/x-dna page 100", true, None, None, 100),
        ("/x-users level 3, page 5", false, Some(3), None, 5),
        (
            "/x-users in order of addresses, page 90",
            false,
            None,
            None,
            90,
        ),
        ("/x-users by name", false, None, Some("user-77"), 1),
        (
            "/x-users by email",
            false,
            None,
            Some("user-77@example.com"),
            1,
        ),
    ];
    for (what, descendants, level, identifier, page) in cases {
        let time = lap(what, async |_| {
            let filter = AccountFilter {
                subtree: None,
                search: None,
                descendants,
                labels: AccountLabels {
                    level: level.map(|level| Level::new(level).unwrap()),
                    ..AccountLabels::default()
                },
                order: SortOrder {
                    by: if what.contains("order") {
                        SortField::Email
                    } else {
                        SortField::Id
                    },
                    ..SortOrder::default()
                },
                identifier: identifier.map(ToOwned::to_owned),
            };
            let page = Page { page, size: 1000 };
            let listed = ops::accounts::list(&world.control, &ROOT, filter, page);
            Box::pin(listed).await.unwrap();
        });
        within(time.await);
    }
    reports(world, within).await;
}

/// Bills of all accounts: root's, a parent's of a tenth of the accounts, and those of one level.
async fn bills(world: &World, within: impl Fn(Duration)) {
    let month = |from: &str, to: &str| DateRange {
        start: from.parse().unwrap(),
        end: to.parse().unwrap(),
    };
    let template = ops::accounts::find(&world.control, &ROOT, "template");
    let parent = by(&template.await.unwrap());
    let level = AccountLabels {
        level: Some(Level::new(3).unwrap()),
        ..AccountLabels::default()
    };
    let all = AccountLabels::default();
    let october = month("2026-10-01", "2026-10-31");
    let (part, year) = (
        month("2026-03-04", "2026-03-25"),
        month("2025-11-02", "2026-11-01"),
    );
    let now = month("2026-11-01", "2026-11-01");
    for (what, caller, labels, days) in [
        ("/x-bill of this month", &ROOT, all, now),
        ("/x-bill of a month", &ROOT, all, october),
        ("/x-bill of a part of a month", &ROOT, all, part),
        ("/x-bill of a year", &ROOT, all, year),
        ("/x-bill of a level", &ROOT, level, october),
        ("/x-bill of a parent", &parent, all, october),
        ("/x-bill of a parent, part of a month", &parent, all, part),
        ("/x-bill of a parent, a year", &parent, all, year),
    ] {
        let bill = async |page: u64| {
            let of = BillFilter {
                account: None,
                labels,
            };
            let page = Page { page, size: 1000 };
            let bill = ops::reports::bill(&world.control, caller, of, days, page);
            Box::pin(bill).await.unwrap().accounts.total
        };
        let pages = bill(1).await.div_ceil(1000).max(1);
        for page in [1, pages.div_ceil(2), pages] {
            let what = format!("{what}, page {page}");
            let time = lap(&what, async |_| {
                bill(page).await;
            });
            let time = time.await;
            // Labels change, so no totals are kept by them: printed, without a limit.
            if labels.is_empty() {
                within(time);
            }
        }
    }
}

/// Time series of usage: root's, a parent's of a tenth of the accounts, and one account's.
async fn spend(world: &World, within: impl Fn(Duration)) {
    let parent = ops::accounts::find(&world.control, &ROOT, "template").await;
    let one = ops::accounts::find(&world.control, &ROOT, "user-77").await;
    let (parent, one) = (by(&parent.unwrap()), by(&one.unwrap()));
    let today = ops::reports::today(&world.control);
    for (days, per) in [
        (1, SeriesInterval::Hour),
        (29, SeriesInterval::Day),
        (364, SeriesInterval::Day),
    ] {
        let days = DateRange {
            start: today.saturating_sub(jiff::Span::new().days(days)),
            end: today,
        };
        for (who, caller) in [("root", &ROOT), ("a parent", &parent), ("an account", &one)] {
            for (name, split) in SpendDimension::NAMES.into_iter().take(2) {
                let length = days.each().count();
                let what = format!(
                    "/x-spend of {who} by {name}, {length} days by {}",
                    per.name()
                );
                let time = lap(&what, async |_| {
                    let filter = SpendFilter {
                        by: split,
                        per,
                        ..SpendFilter::default()
                    };
                    let spend = ops::spend::series(&world.control, caller, filter, days);
                    Box::pin(spend).await.unwrap();
                });
                let time = time.await;
                // What an account's calls cost is not stored by whole months, so a year of all accounts is printed,
                // without a limit.
                if per == SeriesInterval::Day && length < 100 {
                    within(time);
                }
            }
        }
    }
}

async fn reports(world: &World, within: impl Fn(Duration)) {
    bills(world, &within).await;
    spend(world, &within).await;
    let page = |page| Page { page, size: 1000 };
    let today = ops::reports::today(&world.control);
    let month = DateRange {
        start: today.yesterday().unwrap().first_of_month(),
        end: today.yesterday().unwrap().last_of_month(),
    };
    within(
        lap("bill of an account, last month", async |_| {
            ops::reports::totals(&world.control, &ROOT, Some("user-77"), month)
                .await
                .unwrap();
        })
        .await,
    );
    within(
        lap("single calls of an account", async |_| {
            ops::reports::usage(&world.control, &ROOT, calls_of("user-77"), page(1))
                .await
                .unwrap();
        })
        .await,
    );
    within(
        lap("ledger of an account", async |_| {
            ops::reports::ledger(&world.control, &ROOT, lines_of("user-77"), page(1))
                .await
                .unwrap();
        })
        .await,
    );
}

async fn top_ups(world: &World, size: &Size) {
    let name = node("n1");
    let mut updates = Box::pin(
        ops::fleet::watch(&world.control, process(name, 1), String::new())
            .await
            .unwrap(),
    );
    updates.next().await.unwrap();
    let time = lap("a top-up reaches a data plane", async |_| {
        let grant = AccountChange {
            credit: Some(usd(1.0)),
            ..AccountChange::default()
        };
        let change = ops::accounts::update(&world.control, &ROOT, "user-99", grant);
        let told = async { while updates.next().await.unwrap().standings.is_empty() {} };
        // The update itself waits for an acknowledgement, which no data plane sends here.
        let (changed, ()) = tokio::join!(Box::pin(change), async {
            let began = clock();
            told.await;
            size.at_most(TOP_UP_MS_MAX, began.elapsed());
        });
        changed.unwrap();
    });
    time.await;
}

async fn posting(world: &World, size: &Size) {
    // A record of an account of its own moves as much money as a hundred of one account.
    let (least, least_of_many) = if world.is_postgres() {
        (10_000.0, 5_000.0)
    } else {
        (3_000.0, 2_000.0)
    };
    for (what, accounts, least) in [
        ("one account", 1, least),
        ("20 accounts", 20, least),
        ("every account", size.accounts, least_of_many),
    ] {
        let began = clock();
        for at in 0..REPORTS {
            let id = |n: u64| AccountId::new(3 + n.cast_signed() * 7919 % accounts).unwrap();
            let first = at * RECORDS_PER_REPORT + 1;
            let records = (first..first + RECORDS_PER_REPORT).map(|n| call(n, id(n), 0.000_01));
            let (name, epoch) = (node("n2"), accounts.cast_unsigned() + 10);
            let report =
                ops::fleet::report_usage(&world.control, &name, epoch, records.collect::<Vec<_>>());
            Box::pin(report).await.unwrap();
        }
        let posted = REPORTS * RECORDS_PER_REPORT;
        let rate = f64::from(u32::try_from(posted).unwrap()) / began.elapsed().as_secs_f64();
        eprintln!("posting to {what:<39} {rate:>10.0} records/s");
        if size.measured && rate < least {
            let missed = format!("posting to {what}: {rate:.0} of {least} records/s");
            size.missed.borrow_mut().push(missed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_accounts_and_records_are_no_burden() {
    let missed = RefCell::new(Vec::new());
    everywhere(async |world: &mut World| {
        let size = size(world);
        fill(world, &size).await;
        world.config.publish_wait_ms = 0;
        world.restart().await.unwrap();
        pages(world, &size).await;
        top_ups(world, &size).await;
        posting(world, &size).await;
        let began = clock();
        world.balanced().await;
        told("verify", began.elapsed());
        missed.borrow_mut().append(&mut size.missed.borrow_mut());
    })
    .await;
    let missed = missed.into_inner();
    assert!(missed.is_empty(), "{missed:?}");
}
