//! Tests of exports, and of what stays when old records are pruned.

use futures_util::TryStreamExt as _;
use proxyxai_contract::usage::UsageRecord;
use tempfile::TempDir;

use crate::{
    Error, OfflineStore,
    model::{Caller, DateRange, LedgerFilter, LedgerLine, Page},
    ops,
    testing::{DAY_MS, NOON, ROOT, World, by, call, everywhere, lines_of, node, usd},
};

async fn report(world: &World, records: Vec<UsageRecord>) {
    report_of(world, 1, records).await;
}

async fn report_of(world: &World, epoch: u64, records: Vec<UsageRecord>) {
    let name = node("n1");
    let reported = ops::fleet::report_usage(&world.control, &name, epoch, records);
    Box::pin(reported).await.unwrap();
}

fn days(world: &World, back: i64) -> DateRange {
    let end = ops::reports::today(&world.control);
    DateRange {
        start: end.saturating_sub(jiff::Span::new().days(back)),
        end,
    }
}

#[tokio::test]
async fn every_call_and_every_posting_is_exported_once() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 90.0).await;
        let child = world.child(&by(&parent), "child", 30.0).await;
        let other = world.child(&ROOT, "other", 30.0).await;
        // More than a page, with many records of one moment.
        for from in (1..2_600).step_by(500) {
            let account = |at: u64| {
                if at.is_multiple_of(50) {
                    other.id
                } else {
                    child.id
                }
            };
            let mut calls: Vec<_> = (from..from + 500)
                .map(|at| call(at, account(at), 0.001))
                .collect();
            calls
                .iter_mut()
                .filter(|call| call.sequence.is_multiple_of(3))
                .for_each(|call| call.start = NOON.plus(7));
            report(world, calls).await;
        }
        let mut late = call(9_999, child.id, 1.0);
        late.start = NOON.plus(DAY_MS);
        late.model_asked = "=cmd|'/c calc'!A0".to_owned();
        report(world, vec![late]).await;

        let all: Vec<String> = ops::export::usage(&world.control, &ROOT, days(world, 0))
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(
            all.iter()
                .all(|piece| piece.ends_with("\r\n") && piece.len() < 1 << 20)
        );
        let all = all.concat();
        let sequences: std::collections::BTreeSet<_> = all
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(30))
            .collect();
        assert_eq!((sequences.len(), all.lines().count()), (3_000, 3_001));
        // The caller sees itself and what is below it.
        let own: String = ops::export::usage(&world.control, &by(&parent), days(world, 0))
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(own.lines().count(), 2_941);
        assert!(own.lines().skip(1).all(|line| line.contains(",child,")));

        world.clock.advance(DAY_MS);
        let later: String = ops::export::usage(&world.control, &ROOT, days(world, 0))
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(
            later.contains("\"'=cmd|'/c calc'!A0\",gpt-4o,200,1.000000000,,measured,10,2,"),
            "{later}"
        );
    })
    .await;
}

#[tokio::test]
async fn root_reads_the_whole_ledger_and_nobody_else() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 90.0).await;
        world.child(&by(&parent), "child", 30.0).await;
        let ledger: String = ops::export::ledger(&world.control, &ROOT, days(world, 1))
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let postings = world.number("SELECT COUNT(*) AS number FROM posting").await;
        assert_eq!(i64::try_from(ledger.lines().count()).unwrap(), postings + 1);
        assert!(
            ledger.contains(",grant,grant:1>2,account,2,parent,90.000000000"),
            "{ledger}"
        );
        let refused = ops::export::ledger(&world.control, &by(&parent), days(world, 1)).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));

        let page = Page { page: 1, size: 2 };
        let listed = ops::reports::ledger(&world.control, &ROOT, lines_of("parent"), page)
            .await
            .unwrap();
        assert_eq!((listed.total, listed.rows.len()), (2, 2));
        assert_eq!(
            (listed.rows[0].amount, listed.rows[1].amount),
            (usd(-30.0), usd(90.0))
        );
    })
    .await;
}

async fn lines(world: &World, caller: &Caller, filter: LedgerFilter) -> Vec<LedgerLine> {
    let page = Page {
        page: 1,
        size: 1000,
    };
    let listing = ops::reports::ledger(&world.control, caller, filter, page);
    let listing = listing.await.unwrap();
    assert_eq!(listing.total, u64::try_from(listing.rows.len()).unwrap());
    listing.rows
}

#[tokio::test]
async fn an_account_reads_its_own_books_and_those_below_and_no_others() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 90.0).await;
        let child = world.child(&by(&parent), "child", 30.0).await;
        let other = world.child(&ROOT, "other", 20.0).await;
        report(world, vec![call(1, child.id, 1.0)]).await;
        let own = lines(world, &by(&parent), LedgerFilter::default()).await;
        let named = lines(world, &by(&parent), lines_of("parent")).await;
        assert_eq!(own, named);
        assert_eq!(own.len(), 2);
        let below = lines(world, &by(&parent), lines_of("child")).await;
        assert!(below.iter().any(|line| line.reason == "call"));
        for line in own.iter().chain(&below) {
            assert!(["account", "reserved"].contains(&line.book.as_str()));
            assert!(
                ["parent", "child"].contains(&line.name.as_str()),
                "{line:?}"
            );
        }
        let page = Page { page: 1, size: 10 };
        for (caller, stranger) in [(&child, "parent"), (&parent, "other"), (&other, "root")] {
            let refused =
                ops::reports::ledger(&world.control, &by(caller), lines_of(stranger), page).await;
            assert!(matches!(refused, Err(Error::NotFound { .. })), "{stranger}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_asked_for_by_reason_and_days() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 90.0).await;
        world.clock.advance(DAY_MS);
        report(world, vec![call(1, parent.id, 1.0)]).await;
        let of = async |reason: Option<&str>, back: Option<(i64, i64)>| {
            let day = |back| days(world, back).start;
            let filter = LedgerFilter {
                account: None,
                reason: reason.map(ToOwned::to_owned),
                days: back.map(|(start, end)| DateRange {
                    start: day(start),
                    end: day(end),
                }),
            };
            let rows = lines(world, &ROOT, filter).await;
            rows.into_iter().map(|line| line.reason).collect::<Vec<_>>()
        };
        let all = of(None, None).await;
        let calls = of(Some("call"), None).await;
        assert!(!calls.is_empty() && calls.iter().all(|reason| reason == "call"));
        let yesterday = of(None, Some((1, 1))).await;
        assert!(!yesterday.is_empty() && yesterday.iter().all(|reason| reason == "grant"));
        let today = of(None, Some((0, 0))).await;
        assert_eq!(today.len() + yesterday.len(), all.len());
        assert_eq!(of(Some("call"), Some((1, 1))).await, [""; 0]);
        let odd = LedgerFilter {
            reason: Some("calls".to_owned()),
            ..LedgerFilter::default()
        };
        let page = Page { page: 1, size: 1 };
        let refused = ops::reports::ledger(&world.control, &ROOT, odd, page).await;
        assert!(matches!(refused, Err(Error::Invalid(error)) if error.field == "reason"));
    })
    .await;
}

#[tokio::test]
async fn the_store_can_be_looked_at_while_control_runs() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        report(world, vec![call(1, alice.id, 1.0)]).await;
        let offline = OfflineStore::open(&world.config).await.unwrap();
        assert_eq!(offline.verify().await.unwrap().difference, None);
        let mut pieces = offline.usage(days(world, 1)).await.unwrap();
        let piece = pieces.next().await.unwrap().unwrap();
        assert_eq!(piece.lines().count(), 2);
        assert_eq!(pieces.next().await.unwrap(), None);
        report(world, vec![call(2, alice.id, 1.0)]).await;
        assert_eq!(offline.verify().await.unwrap().records, 2);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_made() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("none.db");
    let config = crate::config::Config::new(
        crate::config::Database::Sqlite(file.clone()),
        dir.path().into(),
    );
    assert!(matches!(
        OfflineStore::open(&config).await,
        Err(Error::Invalid(_))
    ));
    assert!(!file.exists());
}

#[tokio::test]
async fn old_records_go_and_nothing_else_changes() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let old: Vec<_> = (1..=2_500).map(|at| call(at, alice.id, 0.01)).collect();
        let (first, second) = old.split_at(1_500);
        report(world, first.to_vec()).await;
        report(world, second.to_vec()).await;
        world.clock.advance(365 * DAY_MS);
        report(world, vec![call(2_501, alice.id, 0.5)]).await;
        assert_eq!(
            ops::retention::prune_usage(&world.control).await.unwrap(),
            0
        );
        let totals = async || {
            let models =
                ops::reports::totals(&world.control, &ROOT, Some("alice"), days(world, 400));
            models.await.unwrap()[0].totals
        };
        let before = totals().await;
        world.clock.advance(1);
        assert_eq!(
            ops::retention::prune_usage(&world.control).await.unwrap(),
            2_500
        );
        assert_eq!(
            world
                .number("SELECT COUNT(*) AS number FROM usage_record")
                .await,
            1
        );
        assert_eq!(totals().await, before);
        world.balanced().await;
        // A record that is sent again is still recognised.
        report(world, old.clone()).await;
        report(
            world,
            vec![call(2_501, alice.id, 0.5), call(2_502, alice.id, 0.5)],
        )
        .await;
        assert_eq!(world.view(&alice).await.credit_used, usd(26.0));
        assert_eq!(
            world
                .number("SELECT COUNT(*) AS number FROM usage_record")
                .await,
            2
        );
        world.balanced().await;
        // The mark does not apply to another spool.
        report_of(world, 2, vec![call(1, alice.id, 0.5)]).await;
        assert_eq!(world.view(&alice).await.credit_used, usd(26.5));
        world.clock.advance(366 * DAY_MS);
        assert_eq!(
            ops::retention::prune_usage(&world.control).await.unwrap(),
            3
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_wants_to_keep_all_records_keeps_them() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        report(world, vec![call(1, alice.id, 0.01)]).await;
        world.config.usage_retention_days = None;
        world.restart().await.unwrap();
        world.clock.advance(10_000 * DAY_MS);
        assert_eq!(
            ops::retention::prune_usage(&world.control).await.unwrap(),
            0
        );
    })
    .await;
}
