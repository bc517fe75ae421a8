//! Tests of the list of calls.

use std::collections::BTreeSet;

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
    usage::UsageRecord,
};

use crate::{
    Error,
    model::{Account, Call, CallFilter, CallPage, Caller, ModelFilter, PageCursor, StatusFilter},
    ops,
    testing::{NOON, ROOT, World, by, call, everywhere, node, usd},
};

const HOUR_MS: i64 = 3_600_000;
/// Far more queries than any list here needs.
const QUESTIONS_MAX: usize = 2_000;

fn at(sequence: u64, account: &Account, start: i64) -> UsageRecord {
    UsageRecord {
        start: Millis(start),
        ..call(sequence, account.id, 0.001)
    }
}

async fn post(world: &World, name: &str, records: Vec<UsageRecord>) {
    let name = node(name);
    let report = ops::fleet::report_usage(&world.control, &name, 1, records);
    Box::pin(report).await.unwrap();
}

async fn ask(
    world: &World,
    caller: &Caller,
    filter: &CallFilter,
    part: (PageCursor, u64),
) -> Result<CallPage, Error> {
    Box::pin(ops::calls::list(
        &world.control,
        caller,
        filter.clone(),
        part,
    ))
    .await
}

fn names(calls: &[Call]) -> Vec<String> {
    let name = |call: &Call| format!("{}/{}", call.usage.node, call.usage.record.sequence);
    calls.iter().map(name).collect()
}

/// The calls of all pages, and the cursor from which calls are new.
async fn all(
    world: &World,
    caller: &Caller,
    filter: &CallFilter,
    size: u64,
) -> (Vec<Call>, String) {
    let (mut calls, mut from, mut latest) = (Vec::new(), PageCursor::Latest, None);
    for _ in 0..QUESTIONS_MAX {
        let page = ask(world, caller, filter, (from, size)).await.unwrap();
        assert!(page.calls.len() as u64 <= size);
        calls.extend(page.calls);
        latest.get_or_insert(page.latest);
        match page.next {
            Some(next) => from = PageCursor::Before(next),
            None => return (calls, latest.unwrap()),
        }
    }
    panic!("a list without an end");
}

/// All new calls, and the next cursor for new ones.
async fn news(
    world: &World,
    filter: &CallFilter,
    latest: String,
    size: u64,
) -> (Vec<Call>, String) {
    let (mut calls, mut after) = (Vec::new(), latest);
    for _ in 0..QUESTIONS_MAX {
        let page = ask(world, &ROOT, filter, (PageCursor::After(after), size))
            .await
            .unwrap();
        assert!(page.calls.len() as u64 <= size);
        calls.extend(page.calls);
        match page.next {
            Some(next) => after = next,
            None => return (calls, page.latest),
        }
    }
    panic!("news without an end");
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_calls_come_in_and_the_tail_has_these_once() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        for name in ["n1", "n2"] {
            let records = (1..=20).map(|n| at(n, &alice, NOON.0 - n.cast_signed() / 3 * 1000));
            post(world, name, records.collect()).await;
        }
        let none = CallFilter::default();
        let (before, _) = all(world, &ROOT, &none, 500).await;
        assert_eq!(before.len(), 40);
        let first = ask(world, &ROOT, &none, (PageCursor::Latest, 7))
            .await
            .unwrap();
        let (mut rows, mut next) = (names(&first.calls), first.next);
        let mut added = 0..;
        let mut posted = BTreeSet::new();
        while let Some(cursor) = next {
            // One starts after all others, one in the middle of those still to come, and one before all.
            let n = 21 + 3 * added.next().unwrap();
            let starts = [NOON.0 + 5, NOON.0 - 6_500, NOON.0 - HOUR_MS];
            let late = (n..).zip(starts).map(|(n, start)| at(n, &alice, start));
            post(world, "n1", late.collect()).await;
            posted.extend((n..n + 3).map(|n| format!("n1/{n}")));
            let page = ask(world, &ROOT, &none, (PageCursor::Before(cursor), 7))
                .await
                .unwrap();
            rows.extend(names(&page.calls));
            next = page.next;
        }
        assert_eq!(rows, names(&before));
        for size in [1, 2, 500] {
            let (tail, latest) = news(world, &none, first.latest.clone(), size).await;
            assert_eq!(tail.len(), posted.len());
            assert_eq!(names(&tail).into_iter().collect::<BTreeSet<_>>(), posted);
            let (again, _) = news(world, &none, latest, size).await;
            assert_eq!(names(&again), Vec::<String>::new());
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_data_plane_had_kept_to_itself_is_new_when_it_is_posted() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let none = CallFilter::default();
        post(
            world,
            "cut-off",
            (1..=3).map(|n| at(n, &alice, NOON.0)).collect(),
        )
        .await;
        world.clock.advance(3 * HOUR_MS);
        post(world, "n1", vec![at(1, &alice, NOON.0 + 3 * HOUR_MS)]).await;
        let (pages, latest) = all(world, &ROOT, &none, 2).await;
        assert_eq!(pages.len(), 4);
        let first = ask(world, &ROOT, &none, (PageCursor::Latest, 1))
            .await
            .unwrap();
        world.clock.advance(2 * HOUR_MS);
        post(
            world,
            "cut-off",
            (4..=30).map(|n| at(n, &alice, NOON.0 + 1)).collect(),
        )
        .await;
        post(
            world,
            "new",
            (1..=30).map(|n| at(n, &alice, NOON.0 + 2)).collect(),
        )
        .await;
        world.clock.advance(2 * HOUR_MS);
        let (tail, latest) = news(world, &none, latest, 9).await;
        assert_eq!(tail.len(), 57);
        assert_eq!(names(&tail).into_iter().collect::<BTreeSet<_>>().len(), 57);
        assert!(news(world, &none, latest, 9).await.0.is_empty());
        let before = PageCursor::Before(first.next.unwrap());
        let rest = ask(world, &ROOT, &none, (before, 500)).await.unwrap();
        assert_eq!(names(&rest.calls), ["cut-off/3", "cut-off/2", "cut-off/1"]);
    })
    .await;
}

/// Calls of all kinds, a few of them rare, and long times without any.
async fn mixed(world: &World, accounts: &[Account]) -> Vec<(String, UsageRecord)> {
    let mut all = Vec::new();
    let mut random = 12_345u64;
    let mut even = |of: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % of
    };
    // Low numbers are frequent.
    let mut part = |of: u64| {
        let most = even(of) + 1;
        even(most)
    };
    for name in ["n1", "n2"] {
        let records = (1..=150u64).map(|n| {
            let account = &accounts[usize::try_from(part(accounts.len() as u64)).unwrap()];
            let models = ["gpt-5", "gpt-5-mini", "claude", "gemini", "%_rare"];
            let model = |which: u64| models[usize::try_from(which).unwrap()].to_owned();
            let used = if n % 70 == 0 { 4 } else { part(4) };
            let asked = if n % 5 == 0 { part(4) } else { used };
            let hours = if part(9) == 0 { part(4_000) } else { part(3) };
            UsageRecord {
                request_id: format!("r{}", n / 2),
                model_used: model(used),
                model_asked: model(asked),
                key: (n % 11 != 0).then(|| KeyId::new(1 + part(6).cast_signed()).unwrap()),
                status: [200, 200, 206, 400, 429, 503][usize::try_from(part(6)).unwrap()],
                ..at(
                    n,
                    account,
                    NOON.0 - hours.cast_signed() * HOUR_MS - part(5).cast_signed(),
                )
            }
        });
        let records: Vec<_> = records.collect();
        all.extend(
            records
                .iter()
                .map(|record| (name.to_owned(), record.clone())),
        );
        post(world, name, records).await;
    }
    all
}

/// The result of checking every record.
fn brute(all: &[(String, UsageRecord)], filter: &CallFilter, ids: &[AccountId]) -> Vec<String> {
    let is_model = |name: &str| match filter.model.as_ref() {
        None => true,
        Some(ModelFilter::Named(model)) => name == model,
        Some(ModelFilter::Beginning(beginning)) => name.starts_with(beginning.as_str()),
    };
    let is_one = |record: &UsageRecord| {
        ids.contains(&record.account)
            && (is_model(&record.model_used) || is_model(&record.model_asked))
            && filter.key.is_none_or(|key| record.key == Some(key))
            && filter
                .status
                .is_none_or(|status| status.range().contains(&record.status))
            && filter
                .request_id
                .as_ref()
                .is_none_or(|id| *id == record.request_id)
            && filter.start.is_none_or(|start| record.start >= start)
            && filter.end.is_none_or(|end| record.start <= end)
    };
    let mut found: Vec<_> = all.iter().filter(|(_, record)| is_one(record)).collect();
    found.sort_by_key(|(name, record)| {
        std::cmp::Reverse((record.start, name.clone(), record.sequence))
    });
    let name = |(name, record): &&(String, UsageRecord)| format!("{name}/{}", record.sequence);
    found.iter().map(name).collect()
}

fn filters() -> Vec<CallFilter> {
    let none = CallFilter::default;
    let model = |text: &str| ModelFilter::parse(text).unwrap();
    let models = [
        "gpt-5", "gpt-5*", "%_rare", "claude", "nobody", "nobody*", "*",
    ];
    let statuses = ["2xx", "206", "4xx", "429", "503", "5xx", "501", "3xx"];
    let status = |text: &str| Some(StatusFilter::parse(text).unwrap());
    let mut filters = vec![none()];
    for text in models {
        let of_model = CallFilter {
            model: model(text),
            ..none()
        };
        filters.push(of_model.clone());
        filters.extend(statuses.map(|text| CallFilter {
            status: status(text),
            ..of_model.clone()
        }));
    }
    filters.extend(statuses.map(|text| CallFilter {
        status: status(text),
        ..none()
    }));
    for key in 1..=7 {
        let key = KeyId::new(key).ok();
        filters.push(CallFilter { key, ..none() });
        filters.push(CallFilter {
            key,
            model: model("gemini"),
            status: status("2xx"),
            ..none()
        });
    }
    for id in ["r1", "r30", "r75", "r"] {
        filters.push(CallFilter {
            request_id: Some(id.to_owned()),
            ..none()
        });
    }
    let hours = |hours: i64| Some(Millis(NOON.0 - hours * HOUR_MS));
    for (start, end) in [
        (hours(3_000), hours(100)),
        (None, hours(2)),
        (hours(2), None),
        (hours(0), hours(0)),
    ] {
        filters.push(CallFilter {
            start,
            end,
            ..none()
        });
        filters.push(CallFilter {
            start,
            end,
            key: KeyId::new(2).ok(),
            ..none()
        });
        filters.push(CallFilter {
            start,
            end,
            request_id: Some("r9".to_owned()),
            ..none()
        });
    }
    filters
}

#[tokio::test]
async fn every_filter_finds_what_a_look_at_every_record_finds() {
    everywhere(async |world: &mut World| {
        let few = world.child(&ROOT, "small-reseller", 100.0).await;
        let many = world.child(&ROOT, "large-reseller", 1_000.0).await;
        let mut accounts = Vec::new();
        for n in 0..40 {
            accounts.push(world.child(&by(&many), &format!("leaf-{n}"), 2.0).await);
        }
        accounts.push(world.child(&by(&few), "one-leaf", 2.0).await);
        accounts.push(world.child(&by(&few), "another-leaf", 2.0).await);
        let everyone: Vec<_> = accounts.iter().map(|account| account.id).collect();
        let records = mixed(world, &accounts).await;
        let whose = [
            ("", &everyone[..]),
            ("small-reseller", &everyone[40..]),
            ("large-reseller", &everyone[..40]),
            ("leaf-3", &everyone[3..4]),
        ];
        for filter in filters() {
            for (name, ids) in whose {
                let filter = CallFilter {
                    account: (!name.is_empty()).then(|| name.to_owned()),
                    ..filter.clone()
                };
                let found = all(world, &ROOT, &filter, 9).await.0;
                assert_eq!(names(&found), brute(&records, &filter, ids), "{filter:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_tail_keeps_to_the_filter() {
    everywhere(async |world: &mut World| {
        let reseller = world.child(&ROOT, "reseller", 100.0).await;
        let leaf = world.child(&by(&reseller), "leaf", 10.0).await;
        let other = world.child(&ROOT, "other", 10.0).await;
        let accounts = [leaf, other];
        let latest = ask(
            world,
            &ROOT,
            &CallFilter::default(),
            (PageCursor::Latest, 1),
        )
        .await;
        let latest = latest.unwrap().latest;
        let records = mixed(world, &accounts).await;
        for filter in filters() {
            let filter = CallFilter {
                account: Some("reseller".to_owned()),
                ..filter
            };
            let found = news(world, &filter, latest.clone(), 9).await.0;
            let wanted = brute(&records, &filter, &[accounts[0].id]);
            assert_eq!(found.len(), wanted.len(), "{filter:?}");
            let sorted = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
            assert_eq!(sorted(names(&found)), sorted(wanted), "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_sees_calls_of_accounts_that_are_not_below_it() {
    everywhere(async |world: &mut World| {
        let reseller = world.child(&ROOT, "reseller", 100.0).await;
        let leaf = world.child(&by(&reseller), "leaf", 10.0).await;
        let other = world.child(&ROOT, "other", 10.0).await;
        world.key("sk-upstream-0123456789").await.unwrap();
        let accounts = [AccountId::ROOT, reseller.id, leaf.id, other.id];
        let records = (1..).zip(accounts).map(|(n, id)| call(n, id, 0.1));
        post(world, "n1", records.collect()).await;
        let none = CallFilter::default;
        let seen = async |caller: &Caller, filter: CallFilter| {
            let (calls, _) = all(world, caller, &filter, 2).await;
            assert!(
                calls
                    .iter()
                    .all(|call| caller.is_root() == call.key_name.is_some())
            );
            assert!(
                calls
                    .iter()
                    .all(|call| caller.is_root() || call.usage.record.expense.is_none())
            );
            let mut seen: Vec<_> = calls.into_iter().map(|call| call.account_name).collect();
            seen.sort_unstable();
            seen
        };
        let alone = CallFilter {
            alone: true,
            ..none()
        };
        assert_eq!(
            seen(&ROOT, none()).await,
            ["leaf", "other", "reseller", "root"]
        );
        assert_eq!(seen(&ROOT, alone.clone()).await, ["root"]);
        assert_eq!(seen(&by(&reseller), none()).await, ["leaf", "reseller"]);
        assert_eq!(seen(&by(&reseller), alone).await, ["reseller"]);
        assert_eq!(seen(&by(&leaf), none()).await, ["leaf"]);
        for stranger in [
            "other",
            "root",
            &reseller.id.to_string(),
            &other.id.to_string(),
            ".1.",
        ] {
            let filter = CallFilter {
                account: Some(stranger.to_owned()),
                ..none()
            };
            let refused = ask(world, &by(&leaf), &filter, (PageCursor::Latest, 1)).await;
            assert!(matches!(refused, Err(Error::NotFound { .. })), "{stranger}");
        }
        let filter = CallFilter {
            key: KeyId::new(1).ok(),
            ..none()
        };
        let refused = ask(world, &by(&reseller), &filter, (PageCursor::Latest, 1)).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        // A cursor is a position and gives no access.
        let page = ask(world, &ROOT, &none(), (PageCursor::Latest, 1))
            .await
            .unwrap();
        let before = PageCursor::Before(page.next.unwrap());
        let rest = ask(world, &by(&leaf), &none(), (before, 9)).await.unwrap();
        assert!(rest.calls.iter().all(|call| call.account_name == "leaf"));
    })
    .await;
}

#[tokio::test]
async fn calls_of_a_deleted_account_stay_with_those_above_it() {
    everywhere(async |world: &mut World| {
        let reseller = world.child(&ROOT, "reseller", 100.0).await;
        let leaf = world.child(&by(&reseller), "leaf", 10.0).await;
        let other = world.child(&ROOT, "other", 10.0).await;
        post(world, "n1", vec![call(1, leaf.id, 0.1)]).await;
        ops::accounts::delete(&world.control, &by(&reseller), "leaf")
            .await
            .unwrap();
        for (caller, seen) in [(&ROOT, 1), (&by(&reseller), 1), (&by(&other), 0)] {
            let (calls, _) = all(world, caller, &CallFilter::default(), 5).await;
            assert_eq!(calls.len(), seen);
        }
        for name in [leaf.id.to_string(), leaf.dna.clone()] {
            let filter = CallFilter {
                account: Some(name),
                ..CallFilter::default()
            };
            assert_eq!(all(world, &by(&reseller), &filter, 5).await.0.len(), 1);
            let refused = ask(world, &by(&other), &filter, (PageCursor::Latest, 1)).await;
            assert!(matches!(refused, Err(Error::NotFound { .. })));
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_is_that_of_what_is_there() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let key = world.key("sk-upstream-0123456789").await.unwrap();
        let gone = AccountId::new(999).unwrap();
        post(
            world,
            "n1",
            vec![call(1, alice.id, 0.1), call(2, gone, 0.1)],
        )
        .await;
        let of_root = async |world: &World| {
            let (calls, _) = all(world, &ROOT, &CallFilter::default(), 5).await;
            let names = |call: Call| (call.account_name, call.key_name.unwrap());
            calls.into_iter().map(names).collect::<Vec<_>>()
        };
        let owned = |account: &str, key: &str| (account.to_owned(), key.to_owned());
        assert_eq!(
            of_root(world).await,
            [owned("", &key.name), owned("alice", &key.name)]
        );
        ops::keys::delete(&world.control, &ROOT, key.id)
            .await
            .unwrap();
        assert_eq!(of_root(world).await, [owned("", ""), owned("alice", "")]);
    })
    .await;
}

#[tokio::test]
async fn only_a_cursor_of_the_list_is_one() {
    let world = World::file().await;
    let alice = world.child(&ROOT, "alice", 10.0).await;
    post(
        &world,
        "n1",
        vec![call(1, alice.id, 0.1), call(2, alice.id, 0.1)],
    )
    .await;
    let none = CallFilter::default();
    let page = ask(&world, &ROOT, &none, (PageCursor::Latest, 1))
        .await
        .unwrap();
    let (next, latest) = (page.next.unwrap(), page.latest);
    let cut = next[..next.len() - 1].to_owned();
    for (from, name) in [
        (PageCursor::Before("1".to_owned()), "before"),
        (PageCursor::Before(latest), "before"),
        (PageCursor::Before(cut), "before"),
        (PageCursor::After(next), "after"),
        (PageCursor::After("ä".to_owned()), "after"),
    ] {
        match ask(&world, &ROOT, &none, (from, 1)).await {
            Err(Error::Invalid(problem)) => assert!(problem.to_string().starts_with(name)),
            other => panic!("{other:?}"),
        }
    }
    for size in [0, 501] {
        let refused = ask(&world, &ROOT, &none, (PageCursor::Latest, size)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{size}");
    }
    assert_eq!(usd(0.1), page.calls[0].usage.record.cost);
}
