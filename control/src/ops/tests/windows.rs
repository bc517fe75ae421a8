//! Tests of windows on lease.

use proxyxai_contract::{
    clock::Millis,
    id::AccountId,
    window::{LimitWindow, WindowAsk, WindowGrant, WindowKey},
};

use super::client_keys::key_of;
use crate::{
    Error,
    model::{AccountChange, Caller, ClientKeyChange, Page, RateLimitsChange, WindowUsage},
    ops,
    testing::{DAY_MS, NOON, ROOT, World, by, everywhere, node, process},
};

fn ask(window: LimitWindow, start: Millis, units: [u64; 3]) -> WindowAsk {
    let [limit, need, want] = units;
    WindowAsk {
        key: WindowKey {
            client_key: None,
            account: AccountId::new(7).unwrap(),
            window,
            model: String::new(),
            start,
        },
        limit,
        need,
        want,
        overspent: 0,
    }
}

async fn lease(world: &World, ask: WindowAsk) -> (u64, u64) {
    let grants = ops::fleet::lease_windows(&world.control, vec![ask])
        .await
        .unwrap();
    let [WindowGrant { granted, total, .. }] = grants.as_slice() else {
        panic!("one grant for one ask");
    };
    (*granted, *total)
}

#[tokio::test]
async fn no_window_is_granted_twice_not_even_after_a_restart() {
    everywhere(async |world: &mut World| {
        let minute = |units| ask(LimitWindow::Rpm, NOON, units);
        assert_eq!(lease(world, minute([10, 1, 4])).await, (4, 4));
        assert_eq!(lease(world, minute([10, 1, 4])).await, (4, 8));
        world.restart().await.unwrap();
        assert_eq!(lease(world, minute([10, 1, 4])).await, (2, 10));
        assert_eq!(lease(world, minute([10, 1, 4])).await, (0, 10));
        // A limit that is raised meanwhile has units left again, a lowered one has none.
        assert_eq!(lease(world, minute([12, 1, 4])).await, (2, 12));
        assert_eq!(lease(world, minute([5, 1, 4])).await, (0, 12));
        // Another window, model or minute has units of its own.
        assert_eq!(
            lease(world, ask(LimitWindow::Rph, NOON, [10, 1, 4])).await,
            (4, 4)
        );
        let mut model = minute([10, 1, 4]);
        model.key.model = "gpt-4*".to_owned();
        assert_eq!(lease(world, model).await, (4, 4));
        let next = NOON.plus(60_000);
        assert_eq!(
            lease(world, ask(LimitWindow::Rpm, next, [10, 1, 4])).await,
            (4, 4)
        );
    })
    .await;
}

#[tokio::test]
async fn a_data_plane_that_has_not_heard_of_a_lower_limit_is_held_to_it() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 50.0).await;
        let limit = |rpm| AccountChange {
            limits: RateLimitsChange {
                rpm: Some(rpm),
                ..RateLimitsChange::default()
            },
            ..AccountChange::default()
        };
        let stale = |units| {
            let mut ask = ask(LimitWindow::Rpm, NOON, units);
            ask.key.account = alice.id;
            ask
        };
        world.change(&ROOT, &alice, limit(60)).await.unwrap();
        assert_eq!(lease(world, stale([60, 1, 5])).await, (5, 5));
        world.change(&ROOT, &alice, limit(8)).await.unwrap();
        assert_eq!(lease(world, stale([60, 1, 5])).await, (3, 8));
        assert_eq!(lease(world, stale([60, 1, 5])).await, (0, 8));
        // The data plane itself enforces a lower limit than control knows of.
        world.change(&ROOT, &alice, limit(30)).await.unwrap();
        assert_eq!(lease(world, stale([9, 1, 5])).await, (1, 9));
        assert_eq!(lease(world, stale([60, 1, 25])).await, (21, 30));
        // Control may have restarted.
        world.restart().await.unwrap();
        assert_eq!(lease(world, stale([60, 1, 25])).await, (0, 30));
    })
    .await;
}

#[tokio::test]
async fn tokens_spent_beyond_the_grant_count_against_the_window() {
    everywhere(async |world: &mut World| {
        assert_eq!(
            lease(world, ask(LimitWindow::Tpd, NOON, [100, 10, 10])).await,
            (10, 10)
        );
        let mut told = ask(LimitWindow::Tpd, NOON, [100, 10, 10]);
        told.overspent = 80;
        assert_eq!(lease(world, told.clone()).await, (10, 100));
        assert_eq!(lease(world, told).await, (0, 180));
    })
    .await;
}

#[tokio::test]
async fn several_data_planes_get_slices() {
    everywhere(async |world: &mut World| {
        let control = &world.control;
        let _one = ops::fleet::watch(control, process(node("n1"), 1), String::new())
            .await
            .unwrap();
        let minute = |units| ask(LimitWindow::Rpm, NOON, units);
        assert_eq!(lease(world, minute([100, 1, 20])).await, (20, 20));
        let _two = ops::fleet::watch(control, process(node("n2"), 1), String::new())
            .await
            .unwrap();
        assert_eq!(lease(world, minute([100, 1, 100])).await, (20, 40));
        assert_eq!(lease(world, minute([100, 1, 100])).await, (15, 55));
        assert_eq!(lease(world, minute([100, 40, 100])).await, (40, 95));
        assert_eq!(lease(world, minute([100, 1, 100])).await, (1, 96));
    })
    .await;
}

#[tokio::test]
async fn windows_that_are_over_are_forgotten_and_never_granted_anew() {
    everywhere(async |world: &mut World| {
        for window in [LimitWindow::Rpm, LimitWindow::Tph, LimitWindow::Rpd] {
            assert_eq!(lease(world, ask(window, NOON, [5, 5, 5])).await, (5, 5));
        }
        // An hour later minutes are gone, days later all are.
        for (passed, forgotten) in [(DAY_MS / 12, 1), (2 * DAY_MS, 2), (2 * DAY_MS, 3)] {
            world.clock.advance(passed);
            ops::fleet::prune_windows(&world.control).await.unwrap();
            for (count, window) in [LimitWindow::Rpm, LimitWindow::Tph, LimitWindow::Rpd]
                .into_iter()
                .enumerate()
            {
                let again =
                    ops::fleet::lease_windows(&world.control, vec![ask(window, NOON, [5, 1, 1])])
                        .await;
                match again {
                    Err(Error::Invalid(error)) => {
                        assert!(count < forgotten, "{window}: {error}");
                    }
                    again => assert_eq!(
                        (again.unwrap()[0].granted, count < forgotten),
                        (0, false),
                        "{window}"
                    ),
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn limits_by_model_are_stored_and_removed() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 10.0).await;
        let set = |text: &str| AccountChange {
            model_limits: Some(text.to_owned()),
            ..AccountChange::default()
        };
        let text = r#"{"gpt-4*":{"rpm":5}}"#;
        world.change(&ROOT, &alice, set(text)).await.unwrap();
        assert_eq!(world.view(&alice).await.model_limits.text(), text);
        let bad = world.change(&ROOT, &alice, set("[]")).await;
        assert!(matches!(bad, Err(Error::Invalid(error)) if error.field == "ModelLimits"));
        // A child starts without limits by model of its own: its parent's apply.
        let by_alice = by(&alice);
        world
            .change(
                &ROOT,
                &alice,
                AccountChange {
                    credit: Some(crate::testing::usd(50.0)),
                    ..AccountChange::default()
                },
            )
            .await
            .unwrap();
        let berta = world.child(&by_alice, "berta", 5.0).await;
        assert!(world.view(&berta).await.model_limits.is_empty());
        world.change(&ROOT, &alice, set("")).await.unwrap();
        assert!(world.view(&alice).await.model_limits.is_empty());
    })
    .await;
}

#[tokio::test]
async fn open_windows_are_told_nearest_to_their_limit_first_to_whoever_is_above() {
    use LimitWindow::{Rpd, Rph, Rpm, Tpd};

    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let carla = world.child(&by(&anna), "carla", 20.0).await;
        let berta = world.child(&ROOT, "berta", 100.0).await;
        let take = async |account: AccountId, window, model: &str, start, units| {
            let mut ask = ask(window, start, units);
            ask.key.account = account;
            ask.key.model = model.to_owned();
            lease(world, ask).await;
        };
        let key = key_of(world, &berta, "night", ClientKeyChange::default());
        let mut of_key = ask(Rpm, NOON, [5, 1, 1]);
        of_key.key.account = berta.id;
        of_key.key.client_key = Some(key.await.0.id);
        lease(world, of_key).await;
        let day = world
            .control
            .zone()
            .start_of(ops::reports::today(&world.control));
        take(anna.id, Rpm, "", NOON, [100, 30, 30]).await;
        take(anna.id, Tpd, "", day, [1_000, 900, 900]).await;
        take(carla.id, Rpm, "gpt-4*", NOON, [10, 5, 5]).await;
        take(berta.id, Rph, "", NOON, [4, 4, 4]).await;
        // Over, and of yesterday.
        let earlier = NOON.plus(-60_000);
        take(anna.id, Rpm, "", earlier, [10, 10, 10]).await;
        take(anna.id, Tpd, "", day.plus(-DAY_MS), [10, 10, 10]).await;
        // Nothing can be taken of it.
        take(anna.id, Rpd, "", day, [0, 1, 1]).await;
        let seen = async |caller: &Caller, account: Option<&str>, page: Page| {
            let found = ops::windows::nearest(&world.control, caller, account, page);
            let found = found.await.unwrap();
            let row = |used: WindowUsage| {
                let WindowKey { window, model, .. } = used.key;
                format!(
                    "{}{} {window}{model} {}/{}",
                    used.name, used.client_key, used.taken, used.limit
                )
            };
            (
                found.rows.into_iter().map(row).collect::<Vec<_>>(),
                found.total,
            )
        };
        let all = Page { page: 1, size: 100 };
        let of_anna = [
            "anna TPD 900/1000",
            "carla RPMgpt-4* 5/10",
            "anna RPM 30/100",
        ];
        let everybody = [&["berta RPH 4/4"], &of_anna[..], &["bertanight RPM 1/5"]].concat();
        let (rows, total) = seen(&ROOT, None, all).await;
        assert_eq!(
            (rows, total),
            (everybody.iter().map(ToString::to_string).collect(), 5)
        );
        assert_eq!(seen(&by(&anna), None, all).await.0, of_anna);
        assert_eq!(seen(&ROOT, Some("anna"), all).await.0, of_anna);
        assert_eq!(seen(&by(&carla), None, all).await.0, of_anna[1..2]);
        let second = Page { page: 2, size: 2 };
        assert_eq!(
            seen(&by(&anna), None, second).await,
            (vec![of_anna[2].to_owned()], 3)
        );
        let refused = ops::windows::nearest(&world.control, &by(&carla), Some("anna"), all).await;
        assert!(matches!(refused, Err(Error::NotFound { .. })));
        // The next minute has all units again.
        world.clock.advance(60_000);
        assert_eq!(seen(&by(&carla), None, all).await.0, [""; 0]);
    })
    .await;
}
