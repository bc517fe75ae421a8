//! Tests of the tree of accounts: names, rights, deletion, keys.

use proxyxai_contract::money::{Money, Multiplier};

use crate::{
    Error,
    model::{
        Account, AccountChange, AccountFilter, NewAccount, Page, RateLimitsChange, SortField,
        SortOrder,
    },
    ops,
    testing::{ROOT, World, by, everywhere, usd},
};

const PAGE: Page = Page { page: 1, size: 10 };

fn named(name: &str, email: &str) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        email: email.to_owned(),
        credit: usd(5.0),
        ..NewAccount::default()
    }
}

#[tokio::test]
async fn names_and_addresses_are_unique_among_the_living() {
    everywhere(async |world: &mut World| {
        world.child(&ROOT, "alice", 5.0).await;
        let create = async |name: &str, email: &str| {
            ops::accounts::create(&world.control, &ROOT, named(name, email))
                .await
                .map(drop)
        };
        assert!(matches!(
            create("alice", "other@example.com").await,
            Err(Error::Conflict { field: "Name", .. })
        ));
        assert!(matches!(
            create("other", "Alice@example.com").await,
            Err(Error::Conflict { field: "Email", .. })
        ));
        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        create("alice", "alice@example.com").await.unwrap();
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn an_account_is_found_by_any_of_its_names_and_by_its_kin_only() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let bob = world.child(&by(&alice), "bobby", 50.0).await;
        let eve = world.child(&ROOT, "evelyn", 100.0).await;
        assert_eq!(bob.dna, format!(".1.{}.{}.", alice.id, bob.id));
        for identifier in [
            bob.id.to_string(),
            bob.dna.clone(),
            "bobby".to_owned(),
            "BOBBY@example.com".to_owned(),
        ] {
            let found = ops::accounts::find(&world.control, &by(&alice), &identifier)
                .await
                .unwrap();
            assert_eq!(found.id, bob.id);
            let stranger = ops::accounts::find(&world.control, &by(&eve), &identifier).await;
            assert!(matches!(
                stranger,
                Err(Error::NotFound { kind: "User", .. })
            ));
        }
        let above = ops::accounts::find(&world.control, &by(&bob), "alice").await;
        assert!(matches!(above, Err(Error::NotFound { .. })));
        let change = AccountChange {
            enabled: Some(false),
            ..AccountChange::default()
        };
        assert!(matches!(
            world.change(&by(&eve), &bob, change).await,
            Err(Error::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test]
async fn of_oneself_only_alias_and_bill_address_may_be_changed() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let own = AccountChange {
            name: Some(alice.id.to_string()),
            alias: Some("Al".to_owned()),
            billing_email: Some("bills@example.com".to_owned()),
            ..AccountChange::default()
        };
        let after = world
            .change(&by(&alice), &alice, own)
            .await
            .unwrap()
            .account;
        assert_eq!((after.name.as_str(), after.alias.as_str()), ("alice", "Al"));
        for change in [
            AccountChange {
                credit: Some(usd(5.0)),
                ..AccountChange::default()
            },
            AccountChange {
                rates: Some(Multiplier::ONE),
                ..AccountChange::default()
            },
            AccountChange {
                hard_limit: Some(usd(5.0)),
                ..AccountChange::default()
            },
            AccountChange {
                limits: RateLimitsChange {
                    rpm: Some(1),
                    ..RateLimitsChange::default()
                },
                ..AccountChange::default()
            },
            AccountChange {
                allow_ips: Some("*".to_owned()),
                ..AccountChange::default()
            },
        ] {
            assert!(matches!(
                world.change(&by(&alice), &alice, change).await,
                Err(Error::Forbidden(_))
            ));
        }
        let deleted = ops::accounts::delete(&world.control, &by(&alice), "alice").await;
        assert!(matches!(deleted, Err(Error::Forbidden(_))));
    })
    .await;
}

#[tokio::test]
async fn a_child_stays_within_what_its_parent_has() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let bound = AccountChange {
            limits: RateLimitsChange {
                rpm: Some(60),
                ..RateLimitsChange::default()
            },
            rates: Some(Multiplier::from_number(1.5).unwrap()),
            child_limit: Some(1),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, bound).await.unwrap();
        let bob = world.child(&by(&alice), "bobby", 5.0).await;
        assert_eq!((bob.limits.rpm, bob.rates.number()), (60, 1.5));
        let refused = [
            AccountChange {
                limits: RateLimitsChange {
                    rpm: Some(61),
                    ..RateLimitsChange::default()
                },
                ..AccountChange::default()
            },
            AccountChange {
                rates: Some(Multiplier::from_number(1.4).unwrap()),
                ..AccountChange::default()
            },
        ];
        for change in refused {
            assert!(matches!(
                world.change(&by(&alice), &bob, change).await,
                Err(Error::Invalid(_))
            ));
        }
        let factor = AccountChange {
            factor: Some(Multiplier::from_number(0.9).unwrap()),
            ..AccountChange::default()
        };
        assert!(matches!(
            world.change(&by(&alice), &bob, factor).await,
            Err(Error::Forbidden(_))
        ));
        let second =
            ops::accounts::create(&world.control, &by(&alice), named("carol", "c@example.com"))
                .await;
        assert!(matches!(second, Err(Error::Forbidden(_))));
    })
    .await;
}

#[tokio::test]
async fn managing_takes_a_balance_and_creating_a_minimum() {
    everywhere(async |world: &mut World| {
        let poor = world.child(&ROOT, "poor", 19.99).await;
        let refused =
            ops::accounts::create(&world.control, &by(&poor), named("child", "c@example.com"))
                .await;
        assert!(matches!(refused, Err(Error::ManagementBalance { .. })));
        let listed =
            ops::accounts::list(&world.control, &by(&poor), AccountFilter::default(), PAGE).await;
        assert!(matches!(listed, Err(Error::ManagementBalance { .. })));
        let small = NewAccount {
            credit: usd(1.99),
            ..named("small", "s@example.com")
        };
        let small = ops::accounts::create(&world.control, &ROOT, small).await;
        assert!(matches!(small, Err(Error::Invalid(problem)) if problem.field == "CreditGranted"));
        assert_eq!(
            ops::accounts::caller(&world.control, &by(&poor))
                .await
                .unwrap()
                .id,
            poor.id
        );
    })
    .await;
}

/// The amount that accounts are sorted by.
type AmountOf = fn(&Account) -> Money;

#[tokio::test]
async fn accounts_are_found_by_how_their_names_begin_and_sorted_by_money() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        world.child(&by(&alice), "bobby", 5.0).await;
        world.child(&ROOT, "carol", 7.0).await;
        let found = async |filter: AccountFilter| {
            let listed = ops::accounts::list(&world.control, &ROOT, filter, PAGE).await;
            let rows = listed.unwrap().rows.into_iter();
            rows.map(|account| account.name).collect::<Vec<_>>()
        };
        let all = AccountFilter {
            descendants: true,
            ..AccountFilter::default()
        };
        let names = found(all.clone()).await;
        for search in ["a", "AL", "alice@", "B", "%", "_", "zz"] {
            let filter = AccountFilter {
                search: Some(search.to_owned()),
                ..all.clone()
            };
            let begins = |name: &&String| {
                let text = search.to_lowercase();
                name.starts_with(&text) || format!("{name}@example.com").starts_with(&text)
            };
            let expected: Vec<_> = names.iter().filter(begins).cloned().collect();
            assert_eq!(found(filter).await, expected, "{search}");
        }
        let by_id = AccountFilter {
            search: Some(alice.id.to_string()),
            ..all.clone()
        };
        assert_eq!(found(by_id).await, ["alice"]);
        let part = AccountFilter {
            subtree: Some(alice.dna.clone()),
            ..AccountFilter::default()
        };
        assert!(found(part).await.contains(&"alice".to_owned()));
        let amounts: [(SortField, AmountOf); 2] = [
            (SortField::Balance, |account| account.balance),
            (SortField::Used, |account| account.credit_used),
        ];
        for (by, of) in amounts {
            let ordered = AccountFilter {
                order: SortOrder {
                    by,
                    ascending: true,
                },
                ..all.clone()
            };
            let listed = ops::accounts::list(&world.control, &ROOT, ordered, PAGE).await;
            let amounts: Vec<_> = listed.unwrap().rows.iter().map(of).collect();
            assert!(amounts.is_sorted(), "{amounts:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_listing_shows_the_newest_first_page_by_page() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 100.0).await;
        let bob = world.child(&by(&alice), "bobby", 5.0).await;
        let carol = world.child(&ROOT, "carol", 5.0).await;
        let list = async |descendants, page, size| {
            let filter = AccountFilter {
                descendants,
                ..AccountFilter::default()
            };
            let listed = ops::accounts::list(&world.control, &ROOT, filter, Page { page, size })
                .await
                .unwrap();
            (
                listed
                    .rows
                    .into_iter()
                    .map(|row| row.id)
                    .collect::<Vec<_>>(),
                listed.total,
            )
        };
        assert_eq!(list(false, 1, 10).await, (vec![carol.id, alice.id], 2));
        assert_eq!(list(true, 1, 2).await, (vec![carol.id, bob.id], 3));
        assert_eq!(list(true, 2, 2).await, (vec![alice.id], 3));
        let one = AccountFilter {
            identifier: Some("nobody".to_owned()),
            ..AccountFilter::default()
        };
        let missing = ops::accounts::list(&world.control, &ROOT, one, PAGE).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        assert_eq!(world.view(&alice).await.children, 1);
    })
    .await;
}

#[tokio::test]
async fn a_key_opens_its_account_until_it_is_replaced_or_stopped() {
    everywhere(async |world: &mut World| {
        let (made, key) =
            ops::accounts::create(&world.control, &ROOT, named("alice", "a@example.com"))
                .await
                .unwrap();
        let alice = made.account;
        assert_eq!(alice.partial_key, key.tail(20));
        let asked = async |key: &str| ops::auth::authenticate(&world.control, key, None).await;
        assert_eq!(asked(key.expose()).await.unwrap().account, alice.id);
        let fresh = ops::accounts::rotate_key(&world.control, &by(&alice), None, 0)
            .await
            .unwrap();
        assert!(matches!(
            asked(key.expose()).await,
            Err(Error::Unauthenticated)
        ));
        assert_eq!(asked(fresh.expose()).await.unwrap().account, alice.id);
        let stop = AccountChange {
            enabled: Some(false),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, stop).await.unwrap();
        assert!(matches!(
            asked(fresh.expose()).await,
            Err(Error::Suspended { .. })
        ));
        ops::accounts::delete(&world.control, &ROOT, "alice")
            .await
            .unwrap();
        assert!(matches!(
            asked(fresh.expose()).await,
            Err(Error::Unauthenticated)
        ));
        assert!(
            ops::accounts::caller(&world.control, &by(&alice))
                .await
                .is_err()
        );
    })
    .await;
}

#[tokio::test]
async fn two_who_ask_for_one_name_at_once_get_one_account() {
    everywhere(async |world: &mut World| {
        let create =
            || ops::accounts::create(&world.control, &ROOT, named("alice", "a@example.com"));
        let (one, two) = tokio::join!(create(), create());
        assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
        assert!(
            [one.err(), two.err()]
                .into_iter()
                .flatten()
                .all(|error| matches!(error, Error::Conflict { .. }))
        );
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_is_taken_only_from_addresses_that_every_account_above_allows() {
    everywhere(async |world: &mut World| {
        let alice = world.child(&ROOT, "alice", 50.0).await;
        let (_, key) =
            ops::accounts::create(&world.control, &by(&alice), named("bobby", "b@example.com"))
                .await
                .unwrap();
        let from = async |address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            ops::auth::authenticate(&world.control, key.expose(), address).await
        };
        let only = AccountChange {
            allow_ips: Some("192.0.2.0/24".to_owned()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &alice, only).await.unwrap();
        let caller = from(Some("::ffff:192.0.2.9")).await.unwrap();
        assert!(caller.address.is_some());
        let refused = from(Some("198.51.100.1")).await;
        assert!(matches!(refused, Err(Error::IpNotAllowed { name }) if name == "alice"));
        assert!(from(None).await.is_ok());
    })
    .await;
}
