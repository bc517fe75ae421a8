//! Tests of refused calls and of attempts, as they are stored and listed.

use futures_util::TryStreamExt as _;
use proxyxai_contract::{
    attempt::{Attempt, AttemptOutcome},
    clock::Millis,
    id::{AccountId, KeyId, Level},
    refused_call::RefusedCall,
    usage::UsageRecord,
};

use crate::{
    domain::setting,
    model::{Account, Caller, Page, RefusalFilter, RefusalPage, StatusFilter},
    ops,
    testing::{NOON, ROOT, World, by, call, everywhere, node},
};

/// Sets the filter of a list.
type FilterChange = fn(&mut RefusalFilter);

const DAY_MS: i64 = 86_400_000;

fn refused(id: i64, account: Option<AccountId>, at: Millis) -> RefusedCall {
    RefusedCall {
        id,
        at,
        account,
        path: "/v1/chat/completions".to_owned(),
        model: "gpt-4o".to_owned(),
        status: 402,
        code: "insufficient_balance".to_owned(),
        message: "no".to_owned(),
        request_id: format!("r{id}"),
        duration_ms: 3,
        represents: 2,
    }
}

async fn listed(world: &World, caller: &Caller, filter: RefusalFilter) -> Vec<i64> {
    let all = ops::refusals::list(&world.control, caller, &filter, (None, 100)).await;
    all.unwrap().calls.iter().map(|call| call.id).collect()
}

async fn keep(world: &World, days: &str) {
    let set = [(
        setting::REFUSAL_RETENTION_DAYS.name.to_owned(),
        days.to_owned(),
    )];
    ops::settings::update(&world.control, &ROOT, set.into(), Vec::new())
        .await
        .unwrap();
}

/// A parent, its child and an unrelated account, each with a refused call, and one call with an unknown key.
async fn told(world: &World) -> (Account, Account) {
    let parent = world.child(&ROOT, "parent", 90.0).await;
    let child = world.child(&by(&parent), "child", 30.0).await;
    let other = world.child(&ROOT, "other", 30.0).await;
    let calls = [
        refused(1, Some(parent.id), NOON),
        refused(2, Some(child.id), NOON.plus(2)),
        refused(3, Some(other.id), NOON.plus(1)),
        refused(4, None, NOON.plus(3)),
    ];
    // Sent twice, it is stored once.
    for _ in 0..2 {
        ops::refusals::report(&world.control, &calls).await.unwrap();
    }
    (parent, child)
}

#[tokio::test]
async fn each_sees_its_own_refused_calls_and_those_below_newest_first() {
    everywhere(async |world: &mut World| {
        let (parent, child) = told(world).await;
        let all = RefusalFilter::default;
        assert_eq!(listed(world, &ROOT, all()).await, [4, 2, 3, 1]);
        assert_eq!(listed(world, &by(&parent), all()).await, [2, 1]);
        assert_eq!(listed(world, &by(&child), all()).await, [2]);
        let alone = RefusalFilter {
            alone: true,
            ..all()
        };
        assert_eq!(listed(world, &by(&parent), alone).await, [1]);
        let of_other = RefusalFilter {
            account: Some("other".to_owned()),
            ..all()
        };
        assert_eq!(listed(world, &ROOT, of_other.clone()).await, [3]);
        let hidden = ops::refusals::list(&world.control, &by(&parent), &of_other, (None, 9)).await;
        assert!(hidden.is_err());
    })
    .await;
}

#[tokio::test]
async fn refused_calls_are_found_by_what_is_asked_and_in_pages() {
    everywhere(async |world: &mut World| {
        told(world).await;
        let all = RefusalFilter::default;
        let asked: [(FilterChange, usize); 7] = [
            (|of| of.model = Some("gpt*".to_owned()), 4),
            (|of| of.model = Some("gpt".to_owned()), 0),
            (|of| of.status = Some(StatusFilter::Class(4)), 4),
            (|of| of.status = Some(StatusFilter::One(429)), 0),
            (|of| of.request_id = Some("r3".to_owned()), 1),
            (|of| of.start = Some(NOON.plus(2)), 2),
            (|of| of.end = Some(NOON), 1),
        ];
        for (change, expected) in asked {
            let mut filter = all();
            change(&mut filter);
            let found = listed(world, &ROOT, filter.clone()).await;
            assert_eq!(found.len(), expected, "{filter:?}");
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = ops::refusals::list(&world.control, &ROOT, &all(), (before, 3)).await;
            let RefusalPage { calls, next, .. } = page.unwrap();
            seen.extend(calls.iter().map(|call| call.id));
            before = next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, [4, 2, 3, 1]);
    })
    .await;
}

#[tokio::test]
async fn refused_calls_are_kept_for_as_long_as_is_set() {
    everywhere(async |world: &mut World| {
        let now = world.control.now();
        let calls = [
            refused(1, None, now.plus(-8 * DAY_MS)),
            refused(2, None, now.plus(-6 * DAY_MS)),
        ];
        ops::refusals::report(&world.control, &calls).await.unwrap();
        let pruned = ops::retention::prune_refusals(&world.control).await;
        assert_eq!(pruned.unwrap(), 1);
        assert_eq!(listed(world, &ROOT, RefusalFilter::default()).await, [2]);
        keep(world, "0").await;
        let pruned = ops::retention::prune_refusals(&world.control).await;
        assert_eq!(pruned.unwrap(), 1);
        ops::refusals::report(&world.control, &calls).await.unwrap();
        assert!(
            listed(world, &ROOT, RefusalFilter::default())
                .await
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn attempts_are_told_to_root_alone() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 90.0).await;
        let attempt = |key, status, outcome| Attempt {
            key: KeyId::new(key).unwrap(),
            level: Level::ZERO,
            model: String::new(),
            status,
            outcome,
            duration_ms: 12,
        };
        let attempts = vec![
            attempt(3, Some(429), AttemptOutcome::RateLimited),
            attempt(4, Some(200), AttemptOutcome::Answered),
        ];
        let records = vec![
            UsageRecord {
                attempts: attempts.clone(),
                ..call(1, parent.id, 1.0)
            },
            call(2, parent.id, 1.0),
        ];
        ops::fleet::report_usage(&world.control, &node("a"), 1, records)
            .await
            .unwrap();
        let page = Page { page: 1, size: 10 };
        for (caller, expected) in [(ROOT, attempts), (by(&parent), Vec::new())] {
            let calls = crate::testing::calls_of("parent");
            let listed = ops::reports::usage(&world.control, &caller, calls, page).await;
            let rows = listed.unwrap().rows;
            let told: Vec<_> = rows
                .iter()
                .flat_map(|row| row.record.attempts.clone())
                .collect();
            assert_eq!(told, expected);
        }
        let days = crate::model::DateRange {
            start: world.control.zone().day(NOON),
            end: world.control.zone().day(NOON),
        };
        let csv = async |caller: &Caller| -> String {
            let pieces = ops::export::usage(&world.control, caller, days).await;
            pieces.unwrap().try_collect().await.unwrap()
        };
        let line = ",3 0 rate-limited 429 12;4 0 answered 200 12\r\n";
        assert!(csv(&ROOT).await.contains(line));
        assert!(!csv(&by(&parent)).await.contains("rate-limited"));
    })
    .await;
}
