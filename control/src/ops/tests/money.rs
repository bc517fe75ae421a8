//! Tests of credit between accounts.

use futures_util::future::{BoxFuture, join_all};
use proxyxai_contract::{
    id::AccountId,
    money::{Money, Multiplier},
};

use crate::{
    Error,
    model::{Account, AccountChange, Caller},
    ops,
    testing::{DAY_MS, ROOT, World, by, call, everywhere, node, usd},
};

fn credit(dollars: f64) -> AccountChange {
    AccountChange {
        credit: Some(usd(dollars)),
        ..AccountChange::default()
    }
}

fn balances(account: &Account) -> Vec<Money> {
    account.cards.iter().map(|card| card.balance).collect()
}

#[tokio::test]
async fn the_worked_chain_of_the_documentation_comes_out_to_the_cent() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 10_000.0).await;
        let child = world.child(&by(&parent), "child-one", 100.0).await;
        assert_eq!(
            (child.hard_limit, child.soft_limit),
            (Some(usd(100.0)), Some(usd(80.0)))
        );
        world.child(&by(&parent), "child-two", 100.0).await;
        world.clock.advance(DAY_MS);
        let topped = world
            .change(&by(&parent), &child, credit(80.0))
            .await
            .unwrap();
        assert_eq!(topped.operator.balance, usd(9_720.0));
        assert_eq!(topped.account.balance, usd(180.0));
        assert_eq!(
            (topped.account.hard_limit, topped.account.soft_limit),
            (Some(usd(200.0)), Some(usd(80.0)))
        );
        world.balanced().await;

        let taken = world
            .change(&by(&parent), &child, credit(-50.0))
            .await
            .unwrap();
        assert_eq!(taken.operator.balance, usd(9_769.8));
        assert_eq!(balances(&taken.operator), [usd(50.0), usd(9_719.8)]);
        assert_eq!(balances(&taken.account), [usd(50.0), usd(80.0)]);
        assert_eq!(taken.account.credit_granted, usd(-50.0));
        world.balanced().await;

        let rates = AccountChange {
            rates: Some(Multiplier::from_number(2.0).unwrap()),
            ..AccountChange::default()
        };
        let dearer = world.change(&by(&parent), &child, rates).await.unwrap();
        let cards: Vec<_> = dearer
            .account
            .cards
            .iter()
            .map(|card| (card.amount, card.balance))
            .collect();
        assert_eq!(cards, [(usd(200.0), usd(100.0)), (usd(160.0), usd(160.0))]);
        assert_eq!(dearer.account.hard_limit, Some(usd(300.0)));
        assert_eq!(dearer.operator.balance, usd(9_769.8));
        world.balanced().await;

        let deleted = ops::accounts::delete(&world.control, &by(&parent), "child-one")
            .await
            .unwrap();
        assert_eq!(deleted.refund, usd(129.8));
        assert_eq!(deleted.account.balance, usd(260.0));
        assert_eq!(deleted.operator.balance, usd(9_899.6));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_dearer_child_costs_its_payer_less_than_it_gets() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 1_000.0).await;
        let child = world.child(&by(&parent), "child", 2.0).await;
        let rates = AccountChange {
            rates: Some(Multiplier::from_number(1.2).unwrap()),
            ..AccountChange::default()
        };
        world.change(&by(&parent), &child, rates).await.unwrap();
        let topped = world
            .change(&by(&parent), &child, credit(120.0))
            .await
            .unwrap();
        assert_eq!(topped.operator.balance, usd(898.0));
        assert_eq!(topped.account.balance, usd(122.4));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn root_mints_and_has_no_cards_itself() {
    everywhere(async |world: &mut World| {
        let child = world.child(&ROOT, "child", 100.0).await;
        let taken = world.change(&ROOT, &child, credit(-30.0)).await.unwrap();
        assert_eq!(
            (taken.operator.balance, taken.operator.cards.len()),
            (Money::ZERO, 0)
        );
        assert_eq!(taken.account.balance, usd(70.0));
        let deleted = ops::accounts::delete(&world.control, &ROOT, "child")
            .await
            .unwrap();
        assert_eq!(
            (deleted.operator.balance, deleted.operator.cards.len()),
            (Money::ZERO, 0)
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn nobody_gives_or_takes_more_than_there_is() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 100.0).await;
        let child = world.child(&by(&parent), "child", 50.0).await;
        for amount in [50.01, -50.01] {
            let refused = world.change(&by(&parent), &child, credit(amount)).await;
            assert!(
                matches!(refused, Err(Error::InsufficientBalance { .. })),
                "{amount}"
            );
        }
        assert_eq!(world.view(&parent).await.balance, usd(50.0));
        assert_eq!(world.view(&child).await.balance, usd(50.0));
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_left_on_an_expired_card_is_booked_as_lost() {
    everywhere(async |world: &mut World| {
        let child = world.child(&ROOT, "child", 10.0).await;
        let short = AccountChange {
            days_micros: Some(1_500_000),
            ..credit(5.0)
        };
        world.change(&ROOT, &child, short).await.unwrap();
        world.clock.advance(DAY_MS * 3 / 2);
        assert_eq!(world.view(&child).await.balance, usd(10.0));
        world.balanced().await;
        ops::expiry::expire_cards(&world.control).await.unwrap();
        assert_eq!(world.view(&child).await.cards.len(), 1);
        world.balanced().await;
        ops::expiry::expire_cards(&world.control).await.unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_without_money_leaves_a_mark_of_zero_and_no_lower_limit() {
    everywhere(async |world: &mut World| {
        let child = world.child(&ROOT, "child", 150.0).await;
        let limit = AccountChange {
            hard_limit: Some(usd(5.0)),
            ..AccountChange::default()
        };
        let set = world.change(&ROOT, &child, limit).await.unwrap().account;
        assert_eq!(
            (set.hard_limit, set.credit_granted),
            (Some(usd(5.0)), Money::ZERO)
        );
        let alias = AccountChange {
            alias: Some("Kid".to_owned()),
            ..AccountChange::default()
        };
        let named = world.change(&ROOT, &child, alias).await.unwrap().account;
        assert_eq!(named.hard_limit, Some(usd(5.0)));
        let lifted = AccountChange {
            hard_limit: Some(Money::ZERO),
            ..AccountChange::default()
        };
        assert_eq!(
            world
                .change(&ROOT, &child, lifted)
                .await
                .unwrap()
                .account
                .hard_limit,
            None
        );
        assert_eq!(
            world
                .change(&ROOT, &child, credit(1.0))
                .await
                .unwrap()
                .account
                .hard_limit,
            None
        );
    })
    .await;
}

#[tokio::test]
async fn a_full_listing_has_its_price_and_root_pays_none() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 100.0).await;
        let page = crate::model::Page { page: 1, size: 10 };
        let filter = crate::model::AccountFilter::default;
        ops::accounts::list(&world.control, &by(&parent), filter(), page)
            .await
            .unwrap();
        assert_eq!(world.view(&parent).await.balance, usd(99.998));
        let listed = ops::accounts::list(&world.control, &ROOT, filter(), page)
            .await
            .unwrap();
        assert_eq!(listed.total, 1);
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn movements_at_the_same_time_lose_no_money() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 1_000.0).await;
        let one = world.child(&by(&parent), "child-one", 100.0).await;
        let two = world.child(&by(&parent), "child-two", 100.0).await;
        let world = &*world;
        let moves = (0..12).map(|turn| {
            let (caller, account) = (by(&parent), if turn % 2 == 0 { &one } else { &two });
            let amount = if turn % 3 == 0 { -7.0 } else { 11.0 };
            async move { world.change(&caller, account, credit(amount)).await }
        });
        for moved in join_all(moves).await {
            moved.unwrap();
        }
        world.balanced().await;
        // Eight grants of 11 and four deductions of 7 with a fee of 0.2 each.
        assert_eq!(
            world.view(&parent).await.balance,
            usd(800.0 - 88.0 + 28.0 - 0.8)
        );
    })
    .await;
}

/// One operation that may happen at any moment, by number.
async fn happening(
    world: &World,
    parent: &Caller,
    children: &[AccountId],
    turn: usize,
) -> Result<(), Error> {
    let control = &world.control;
    let child = children[turn % children.len()];
    let named = child.to_string();
    match turn % 7 {
        0 | 1 => {
            let records = (1..=20).map(|at| {
                call(
                    at,
                    children[usize::try_from(at).unwrap() % children.len()],
                    0.01,
                )
            });
            let name = node(&format!("n{turn}"));
            ops::fleet::report_usage(control, &name, 1, records.collect::<Vec<_>>())
                .await
                .map(drop)
        }
        2 => ops::accounts::update(control, parent, &named, credit(3.0))
            .await
            .map(drop),
        3 => ops::accounts::update(control, &ROOT, &named, credit(-1.0))
            .await
            .map(drop),
        4 => ops::accounts::rotate_key(control, &ROOT, Some(&named), 0)
            .await
            .map(drop),
        5 => ops::accounts::delete(control, parent, &named)
            .await
            .map(drop),
        _ => {
            let page = crate::model::Page { page: 1, size: 9 };
            ops::accounts::list(
                control,
                parent,
                crate::model::AccountFilter::default(),
                page,
            )
            .await
            .map(drop)
        }
    }
}

#[tokio::test]
async fn everything_at_once_ends_and_the_books_balance() {
    everywhere(async |world: &mut World| {
        let parent = world.child(&ROOT, "parent", 1_000.0).await;
        let mut children = Vec::new();
        for name in [
            "one-child",
            "two-child",
            "three-child",
            "four-child",
            "five-child",
        ] {
            children.push(world.child(&by(&parent), name, 20.0).await.id);
        }
        let (world, caller) = (&*world, &by(&parent));
        let all = (0..70).map(|turn| {
            Box::pin(happening(world, caller, &children, turn)) as BoxFuture<'_, Result<(), Error>>
        });
        let mut done = 0;
        for ended in join_all(all).await {
            match ended {
                Ok(()) => done += 1,
                // After a deletion, or with an empty wallet, these errors are expected.
                Err(Error::NotFound { .. } | Error::InsufficientBalance { .. }) => {}
                Err(error) => unreachable!("{error:?}"),
            }
        }
        assert!(done >= 30, "{done}");
        world.balanced().await;
    })
    .await;
}
