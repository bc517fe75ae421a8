//! Tests of posting usage.

use futures_util::{FutureExt as _, StreamExt as _};
use proxyxai_contract::{
    id::{AccountId, NodeName},
    money::Money,
    usage::UsageRecord,
};

use crate::{
    model::{AccountChange, DateRange, Page},
    ops,
    store::testing::{meddle, statements},
    testing::{DAY_MS, NOON, ROOT, World, call, calls_of, everywhere, node, process, usd},
};

#[tokio::test]
async fn a_report_that_is_sent_again_is_posted_once() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let report = async |records| {
            ops::fleet::report_usage(&world.control, &node("n1"), u64::MAX, records).await
        };
        let calls = |range: std::ops::RangeInclusive<u64>| {
            range.map(|at| call(at, alice.id, 0.5)).collect::<Vec<_>>()
        };
        let ops::fleet::ReportReceipt {
            through, standings, ..
        } = report(calls(1..=3)).await.unwrap();
        assert_eq!(
            (through, standings.len(), standings[0].balance),
            (3, 1, usd(8.5))
        );
        // The response was lost; two more records have been written since.
        for _ in 0..3 {
            let ops::fleet::ReportReceipt {
                through, standings, ..
            } = report(calls(1..=5)).await.unwrap();
            assert_eq!(
                (through, standings[0].balance, standings[0].month_used),
                (5, usd(7.5), usd(2.5))
            );
        }
        // Another spool of the same node counts from one again.
        ops::fleet::report_usage(&world.control, &node("n1"), 7, calls(1..=1))
            .await
            .unwrap();
        let after = world.view(&alice).await;
        assert_eq!(
            (after.requests, after.credit_used, after.balance),
            (6, usd(3.0), usd(7.0))
        );
        world.balanced().await;
        let listed = ops::reports::usage(
            &world.control,
            &ROOT,
            calls_of("alice"),
            Page { page: 1, size: 2 },
        )
        .await
        .unwrap();
        assert_eq!((listed.total, listed.rows.len()), (6, 2));
        let fifth = UsageRecord {
            expense: Some(usd(0.5)),
            ..call(5, alice.id, 0.5)
        };
        let mut rows = listed.rows.iter();
        assert!(rows.any(|row| row.record == fifth && row.epoch == u64::MAX));
    })
    .await;
}

#[tokio::test]
async fn the_same_report_twice_at_once_is_posted_once() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let calls: Vec<_> = (1..=600).map(|at| call(at, alice.id, 0.1)).collect();
        let name = node("n1");
        let report = || ops::fleet::report_usage(&world.control, &name, 1, calls.clone());
        let (one, two) = tokio::join!(report(), report());
        assert_eq!((one.unwrap().through, two.unwrap().through), (600, 600));
        assert_eq!(world.view(&alice).await.balance, usd(40.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn what_the_cards_do_not_cover_is_owed_and_paid_by_the_next_grant() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 2.0).await;
        let ops::fleet::ReportReceipt { standings, .. } =
            ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![call(1, alice.id, 5.0)])
                .await
                .unwrap();
        assert_eq!(standings[0].balance, usd(-3.0));
        world.balanced().await;
        let grant = AccountChange {
            credit: Some(usd(10.0)),
            ..AccountChange::default()
        };
        let after = world.change(&ROOT, &alice, grant).await.unwrap().account;
        assert_eq!(after.balance, usd(7.0));
        world.balanced().await;
        ops::fleet::report_usage(&world.control, &node("n1"), 1, vec![call(2, alice.id, 9.0)])
            .await
            .unwrap();
        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn root_pays_nothing_and_strangers_are_kept_without_a_charge() {
    everywhere(async |world: &mut World| {
        let gone = AccountId::new(999).unwrap();
        let mut failed = call(3, AccountId::ROOT, 0.0);
        failed.status = 502;
        failed.request_id = "zero\0byte".to_owned();
        let records = vec![call(1, AccountId::ROOT, 1.0), call(2, gone, 1.0), failed];
        let ops::fleet::ReportReceipt {
            through, standings, ..
        } = ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        assert_eq!((through, standings.len()), (3, 1));
        let root = ops::accounts::caller(&world.control, &ROOT).await.unwrap();
        assert_eq!(
            (root.requests, root.credit_used, root.balance),
            (1, usd(1.0), Money::ZERO)
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn reports_add_up_by_model_and_day() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let mut late = call(2, alice.id, 3.0);
        late.start = NOON.plus(DAY_MS);
        late.model_used = "o1".to_owned();
        let records = vec![call(1, alice.id, 1.0), late, call(3, alice.id, 0.5)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        let today = ops::reports::today(&world.control);
        let totals = async |start, end| {
            let days = DateRange { start, end };
            let models = ops::reports::totals(&world.control, &ROOT, Some("alice"), days)
                .await
                .unwrap();
            models
                .into_iter()
                .map(|model| (model.model, model.totals.requests, model.totals.cost))
                .collect::<Vec<_>>()
        };
        let first = ("gpt-4o".to_owned(), 2, usd(1.5));
        assert_eq!(totals(today, today).await, std::slice::from_ref(&first));
        let tomorrow = today.tomorrow().unwrap();
        assert_eq!(
            totals(today, tomorrow).await,
            [("o1".to_owned(), 1, usd(3.0)), first]
        );
        let caller = crate::testing::by(&alice);
        let (day, month) = ops::reports::today_and_month(&world.control, &caller, None)
            .await
            .unwrap();
        assert_eq!(
            (day.cost, month.cost, month.input),
            (usd(1.5), usd(4.5), 30)
        );
    })
    .await;
}

#[tokio::test]
async fn a_months_cap_rises_by_itself_while_the_balance_covers_a_step() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 20.0).await;
        let cap = AccountChange {
            hard_limit: Some(usd(2.0)),
            auto_quota: Some(usd(5.0)),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, cap).await.unwrap();
        let report = async |sequence, cost| {
            let records = vec![call(sequence, alice.id, cost)];
            ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
                .await
                .unwrap();
            world.view(&alice).await.hard_limit
        };
        assert_eq!(report(1, 1.0).await, Some(usd(2.0)));
        assert_eq!(report(2, 1.0).await, Some(usd(7.0)));
        assert_eq!(report(3, 15.0).await, Some(usd(7.0)));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_posted_is_set_aside_and_the_others_go_on() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let absurd = |sequence, input| {
            let mut record = call(sequence, alice.id, 0.5);
            record.tokens.input = input;
            record
        };
        // A record that only the database refuses stands for all cases that the code does not check.
        let sql = if world.control.store().is_shared() {
            "ALTER TABLE usage_record ADD CHECK (path <> '/refused')"
        } else {
            "CREATE TRIGGER refused BEFORE INSERT ON usage_record WHEN NEW.path = '/refused' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        };
        meddle(world.control.store(), sql).await;
        let mut refused = call(4, alice.id, 0.5);
        refused.path = "/refused".to_owned();
        let records = vec![
            call(1, alice.id, 0.5),
            absurd(2, 1_000_000_000_000),
            call(3, alice.id, 0.5),
            refused,
            call(5, alice.id, 0.5),
            absurd(6, i64::MAX.unsigned_abs()),
        ];
        // Also if it is sent again.
        for _ in 0..2 {
            let reported =
                ops::fleet::report_usage(&world.control, &node("n1"), 1, records.clone()).await;
            let reported = reported.unwrap();
            assert_eq!(
                (reported.through, reported.standings[0].balance),
                (6, usd(8.5))
            );
        }
        world.balanced().await;
        let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
        assert_eq!((books.records, books.quarantined), (3, 3));
        let mut aside: Vec<_> = books
            .latest_quarantined
            .iter()
            .map(|record| (record.sequence, record.account, record.reason.as_str()))
            .collect();
        aside.sort_unstable();
        assert_eq!(
            aside
                .iter()
                .map(|(sequence, ..)| *sequence)
                .collect::<Vec<_>>(),
            [2, 4, 6]
        );
        assert!(
            aside
                .iter()
                .all(|(_, account, _)| *account == Some(alice.id.get()))
        );
        assert!(
            aside[0].2.contains("counts") && !aside[1].2.contains("counts"),
            "{aside:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn books_with_counts_beyond_all_measure_can_still_be_verified() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let records = vec![call(1, alice.id, 0.5), call(2, alice.id, 0.5)];
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
            .await
            .unwrap();
        // As older versions stored them: at the end of the range, so that their sum is beyond it.
        let most = i64::MAX;
        let record = format!("UPDATE usage_record SET input = {most} WHERE sequence = 1");
        meddle(world.control.store(), &record).await;
        for table in ["usage_daily", "usage_span", "usage_below"] {
            let sum = format!("UPDATE {table} SET input = {most}");
            meddle(world.control.store(), &sum).await;
        }
        let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
        assert!(
            books
                .difference
                .is_none_or(|found| found.what.contains("input"))
        );
    })
    .await;
}

/// The most statements of one small report, whatever is in it. Each is a round trip, and a report at a low rate costs
/// little else.
const STATEMENTS_PER_ROUND_MAX: u64 = 19;

#[tokio::test]
async fn a_round_of_few_records_is_few_statements() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let bobby = world.child(&ROOT, "bobby", 10.0).await;
        let report = async |records: Vec<UsageRecord>| {
            let before = statements(world.control.store());
            ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
                .await
                .unwrap();
            statements(world.control.store()) - before
        };
        let first = report(vec![call(1, alice.id, 0.5)]).await;
        let one = report(vec![call(2, alice.id, 0.5)]).await;
        assert!(one <= STATEMENTS_PER_ROUND_MAX, "{one}");
        assert!(first <= one + 1, "{first}");
        let three = report((3..=5).map(|at| call(at, alice.id, 0.5)).collect()).await;
        assert_eq!(three, one);
        let many = [&alice, &bobby].into_iter().zip(6..);
        let two = report(many.map(|(of, at)| call(at, of.id, 0.5)).collect()).await;
        let more = if world.is_postgres() { 0 } else { 2 };
        assert!(two <= one + more, "{two}");
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn on_a_server_a_report_is_as_few_statements_with_a_thousand_accounts() {
    everywhere(async |world: &mut World| {
        if !world.is_postgres() {
            return;
        }
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let records = (1..=999u64).map(|at| UsageRecord {
            model_used: format!("m{at}"),
            ..call(at, alice.id, 0.001)
        });
        let before = statements(world.control.store());
        ops::fleet::report_usage(&world.control, &node("n1"), 1, records.collect::<Vec<_>>())
            .await
            .unwrap();
        let all = statements(world.control.store()) - before;
        assert!(all <= STATEMENTS_PER_ROUND_MAX + 1, "{all}");
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_watcher_that_reports_has_its_money_as_an_answer_alone() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let (n1, n2) = (node("n1"), node("n2"));
        let watch = async |name: &NodeName| {
            let updates =
                ops::fleet::watch(&world.control, process(name.clone(), 1), String::new());
            let mut updates = Box::pin(updates.await.unwrap());
            updates.next().await.unwrap();
            updates
        };
        let report = async |at| {
            let records = vec![call(at, alice.id, 1.0)];
            let reported = ops::fleet::report_usage(&world.control, &n1, 1, records).await;
            reported.unwrap().standings[0].balance
        };
        let mut first = watch(&n1).await;
        assert_eq!(report(1).await, usd(9.0));
        let before = statements(world.control.store());
        world.control.tick(1).await.unwrap();
        assert_eq!(statements(world.control.store()), before);
        assert!(first.next().now_or_never().is_none());
        let mut second = watch(&n2).await;
        assert_eq!(report(2).await, usd(8.0));
        world.control.tick(1).await.unwrap();
        let news = second.next().await.unwrap();
        assert_eq!(news.standings[0].balance, usd(8.0));
    })
    .await;
}
