//! Tests of names: a name in any case belongs to one account.

use futures_util::future::join_all;
use proxyxai_contract::id::AccountId;

use crate::{
    Error,
    model::{AccountChange, NewAccount},
    ops,
    store::testing::meddle,
    testing::{ROOT, World, everywhere, usd},
};

async fn create(world: &World, name: &str, email: &str) -> Result<AccountId, Error> {
    let new = NewAccount {
        name: name.to_owned(),
        email: email.to_owned(),
        credit: usd(5.0),
        ..NewAccount::default()
    };
    let created = ops::accounts::create(&world.control, &ROOT, new).await?;
    Ok(created.0.account.id)
}

async fn rename(world: &World, identifier: &str, name: &str) -> Result<(), Error> {
    let change = AccountChange {
        name: Some(name.to_owned()),
        ..AccountChange::default()
    };
    let renamed = ops::accounts::update(&world.control, &ROOT, identifier, change).await;
    renamed.map(drop)
}

async fn found(world: &World, identifier: &str) -> AccountId {
    let found = ops::accounts::find(&world.control, &ROOT, identifier).await;
    found.unwrap().id
}

fn is_taken<T>(made: &Result<T, Error>) -> bool {
    matches!(made, Err(Error::Conflict { field: "Name", .. }))
}

#[tokio::test]
async fn names_are_unique_whatever_their_case() {
    everywhere(async |world: &mut World| {
        let anna = create(world, "Anna", "anna@example.com").await.unwrap();
        let unal = create(world, "Ünal", "unal@example.com").await.unwrap();
        for name in ["Anna", "anna", "ANNA", "ünal", "ÜNAL"] {
            assert!(
                is_taken(&create(world, name, "other@example.com").await),
                "{name}"
            );
        }
        assert!(is_taken(&rename(world, "Ünal", "aNNa").await));
        for (name, id) in [
            ("anna", anna),
            ("ANNA", anna),
            ("ünal", unal),
            ("ÜNAL", unal),
        ] {
            assert_eq!(found(world, name).await, id, "{name}");
        }
        // The account's own name in another case is a new name.
        rename(world, &anna.to_string(), "ANNA").await.unwrap();
        let after = ops::accounts::find(&world.control, &ROOT, "anna").await;
        assert_eq!(after.unwrap().name, "ANNA");
        ops::accounts::delete(&world.control, &ROOT, "anna")
            .await
            .unwrap();
        create(world, "anna", "other@example.com").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_accounts_made_at_once_one_has_the_name() {
    everywhere(async |world: &mut World| {
        let world = &*world;
        let names = ["anna", "Anna", "ANNA", "aNNa", "annA", "AnnA"];
        let made = names
            .into_iter()
            .enumerate()
            .map(async |(at, name)| create(world, name, &format!("mail{at}@example.com")).await);
        let made = join_all(made).await;
        let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, names.len() - 1));
        assert!(lost.iter().all(is_taken));
        world.balanced().await;
    })
    .await;
}

/// Turns a database into one of an older version, which allowed names that differ in case alone.
const OLDER: [&str; 5] = [
    "DROP INDEX account_name_key",
    "ALTER TABLE account DROP COLUMN name_key",
    "DELETE FROM seaql_migrations WHERE version = 'm027_names'",
    "UPDATE account SET name = 'Anna' WHERE name = 'bert'",
    "UPDATE account SET name = 'Ünal' WHERE name = 'carl'",
];

#[tokio::test]
async fn a_database_with_names_that_differ_in_case_still_starts_and_gets_no_more_of_them() {
    everywhere(async |world: &mut World| {
        let anna = create(world, "anna", "anna@example.com").await.unwrap();
        let later = create(world, "bert", "bert@example.com").await.unwrap();
        let unal = create(world, "carl", "carl@example.com").await.unwrap();
        for sql in OLDER {
            meddle(world.control.store(), sql).await;
        }
        world.restart().await.unwrap();
        for (name, id) in [
            ("anna", anna),
            ("Anna", later),
            ("ANNA", anna),
            ("ünal", unal),
        ] {
            assert_eq!(found(world, name).await, id, "{name}");
        }
        let taken = async |world: &World| is_taken(&create(world, "aNNa", "x@example.com").await);
        assert!(taken(world).await);
        // An account stays valid while its name does not change.
        let change = AccountChange {
            alias: Some("A".to_owned()),
            ..AccountChange::default()
        };
        for id in [anna, later] {
            let id = id.to_string();
            let changed = ops::accounts::update(&world.control, &ROOT, &id, change.clone());
            changed.await.unwrap();
        }
        assert_eq!(found(world, "Anna").await, later);
        ops::accounts::delete(&world.control, &ROOT, &anna.to_string())
            .await
            .unwrap();
        assert!(taken(world).await);
        rename(world, &later.to_string(), "Berta").await.unwrap();
        assert!(!taken(world).await);
        world.balanced().await;
    })
    .await;
}
