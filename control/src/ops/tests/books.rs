//! Tests of the books: errors are found and named, and the ledger cannot be changed.

use crate::{
    model::{Account, AccountChange, AccountFilter, LedgerDifference},
    ops,
    store::testing::meddle,
    testing::{DAY_MS, ROOT, World, by, call, everywhere, node, usd},
};

/// A tree with every kind of row in its books.
async fn busy(world: &World) -> Account {
    let parent = world.child(&ROOT, "parent", 100.0).await;
    let child = world.child(&by(&parent), "child", 30.0).await;
    let mut owing = world.child(&by(&parent), "owing", 2.0).await;
    let mut records = vec![
        call(1, child.id, 1.0),
        call(2, owing.id, 5.0),
        call(3, child.id, 0.5),
    ];
    records.push(call(4, ROOT.account, 1.0));
    ops::fleet::report_usage(&world.control, &node("n1"), 1, records)
        .await
        .unwrap();
    owing = world.view(&owing).await;
    assert_eq!(owing.balance, usd(-3.0));
    world.balanced().await;
    child
}

async fn difference(world: &World) -> LedgerDifference {
    let books = ops::reports::verify(&world.control, &ROOT).await.unwrap();
    books.difference.expect("the books balance")
}

/// Changes the books by SQL, past the triggers that protect the ledger.
async fn corrupt(world: &World, sql: &str) {
    let store = world.control.store();
    for guard in [
        "posting_is_not_changed",
        "posting_is_not_deleted",
        "entry_is_not_changed",
        "entry_is_not_deleted",
    ] {
        if !world.is_postgres() {
            meddle(store, &format!("DROP TRIGGER IF EXISTS {guard}")).await;
        }
    }
    if world.is_postgres() {
        meddle(store, "ALTER TABLE posting DISABLE TRIGGER USER").await;
        meddle(store, "ALTER TABLE ledger_entry DISABLE TRIGGER USER").await;
    }
    meddle(store, sql).await;
}

/// SQL statements, and the words of the difference that each causes; `{child}` stands for an account.
const CORRUPTIONS: &[(&str, &str)] = &[
    (
        "UPDATE posting SET amount = amount + 1 WHERE id = (SELECT MAX(id) FROM posting WHERE account_id = {child})",
        "entry {entry}: the sum of its postings is $0.000000001, double entry says $0",
    ),
    (
        "DELETE FROM posting WHERE id = (SELECT MAX(id) FROM posting WHERE account_id = {child})",
        "entry {entry}: the sum of its postings is $1.5, double entry says $0",
    ),
    (
        "DELETE FROM posting WHERE entry_id = {entry}",
        "entry {entry}: the number of its postings is 0, double entry says 2 or more",
    ),
    (
        "UPDATE posting SET book = 'fees' WHERE account_id = {child} AND entry_id = {entry}",
        "entry {entry}: account {child}: the book of a posting is fees, the ledger says one that fits its entry and account",
    ),
    (
        "UPDATE credit_card SET balance = balance - 1 WHERE account_id = {child}",
        "account {child}: cards less debt is $28.499999999, the ledger says $28.5",
    ),
    (
        "DELETE FROM credit_card WHERE account_id = {child}",
        "account {child}: cards less debt is $0, the ledger says $28.5",
    ),
    (
        "UPDATE account SET debt = debt + 1000000000 WHERE id = {child}",
        "account {child}: cards less debt is $27.5, the ledger says $28.5",
    ),
    (
        "UPDATE account SET leased = 7 WHERE id = {child}",
        "account {child}: leased is $0.000000007, the reserved book says $0",
    ),
    (
        "INSERT INTO lease (account_id, node, epoch, amount, version, touched_at) VALUES ({child}, 'n9', 1, 9, 1, 0)",
        "account {child}: leased is $0, the table of leases says $0.000000009",
    ),
    (
        "UPDATE account SET credit_used = credit_used - 500000000 WHERE id = {child}",
        "account {child}: credit_used is $1, the ledger says $1.5",
    ),
    (
        "UPDATE account SET credit_used = 0 WHERE id = 1",
        "account 1: the cost in usage_daily is $1, credit_used says $0",
    ),
    (
        "UPDATE account SET requests = 9 WHERE id = {child}",
        "account {child}: requests is 9, usage_daily says 2",
    ),
    (
        "UPDATE usage_daily SET cost = cost + 1 WHERE account_id = {child}",
        "account {child}: the cost in usage_daily is $1.500000001, credit_used says $1.5",
    ),
    (
        "UPDATE usage_daily SET input = input + 1 WHERE account_id = {child}",
        "account {child}: input in usage_span of 2026 is 20, usage_daily says 21",
    ),
    (
        "UPDATE usage_span SET cost = 0 WHERE account_id = {child} AND span = '2026-11'",
        "account {child}: cost in usage_span of 2026-11 is $0, usage_daily says $1.5",
    ),
    (
        "UPDATE usage_span SET requests = 7 WHERE account_id = {child} AND span = '2026-11/1'",
        "account {child}: requests in usage_span of 2026-11/1 is 7, usage_daily says 2",
    ),
    (
        "DELETE FROM usage_span WHERE account_id = {child} AND span = '2026'",
        "account {child}: requests in usage_span of 2026 is 0, usage_daily says 2",
    ),
    (
        "INSERT INTO usage_span VALUES ('2027', {child}, 0, 0, 0, 1, 0, 0, 0)",
        "account {child}: output in usage_span of 2027 is 1, usage_daily says 0",
    ),
    (
        "UPDATE usage_below SET cost = cost + 1 WHERE account_id = 1",
        "account 1: cost in usage_below of 2026-11-01 and \"gpt-4o\" is $6.500000001, usage_daily says $6.5",
    ),
    (
        "INSERT INTO usage_below VALUES ({child}, '2026-11-01', 'gpt-4o', 'n1', 0, 0, 0, 0, 1)",
        "account {child}: cost in usage_below of 2026-11-01 and \"gpt-4o\" is $0.000000001, usage_daily says $0",
    ),
    (
        "INSERT INTO usage_correction VALUES ('n1', 1, 3, 600000000, 'v', 0)",
        "account {child}: cost in usage records of \"gpt-4o\" is $1.6, usage_daily says $1.5",
    ),
    (
        "UPDATE usage_record SET cost = cost - 1 WHERE account_id = {child} AND sequence = 3",
        "account {child}: cost in usage records of \"gpt-4o\" is $1.499999999, usage_daily says $1.5",
    ),
    (
        "DELETE FROM usage_record WHERE account_id = {child} AND sequence = 3",
        "account {child}: requests in usage records of \"gpt-4o\" is 1, usage_daily says 2",
    ),
    (
        "INSERT INTO usage_carried VALUES ({child}, 'gpt-4o', 0, 0, 0, 2, 0)",
        "account {child}: output in usage records of \"gpt-4o\" is 12, usage_daily says 10",
    ),
    (
        "UPDATE earning_below SET cost = cost + 1 WHERE day = '2026-11-01'",
        "account 1: cost in earning_below of 2026-11-01 and \"gpt-4o\" is $6.500000001, earning says $6.5",
    ),
    (
        "DELETE FROM earning_below",
        "account 1: requests in earning_below of 2026-11-01 and \"gpt-4o\" is 0, earning says 3",
    ),
    (
        "UPDATE usage_span SET charged = 0 WHERE account_id = {child} AND span = '2026-11'",
        "account {child}: charged in usage_span of 2026-11 is $0, earning says $1.5",
    ),
    (
        "UPDATE usage_span SET expense = expense + 1 WHERE account_id = {child} AND span = '2026'",
        "account {child}: expense in usage_span of 2026 is $1.500000001, earning says $1.5",
    ),
];

#[tokio::test]
async fn a_row_that_was_changed_by_hand_is_found_and_named() {
    for (sql, words) in CORRUPTIONS {
        everywhere(async |world: &mut World| {
            let child = busy(world).await;
            let entry = world
                .number(&format!(
                    "SELECT MAX(entry_id) AS number FROM posting WHERE account_id = {}",
                    child.id
                ))
                .await;
            let fill = |text: &str| {
                text.replace("{child}", &child.id.to_string())
                    .replace("{entry}", &entry.to_string())
            };
            corrupt(world, &fill(sql)).await;
            let found = difference(world).await;
            assert_eq!(found.to_string(), fill(words), "{sql}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_movement_that_is_missing_as_a_whole_is_found() {
    everywhere(async |world: &mut World| {
        let child = busy(world).await;
        let entry =
            "(SELECT MAX(id) FROM ledger_entry WHERE reason = 'call' AND reference LIKE '%:1')";
        corrupt(
            world,
            &format!("DELETE FROM posting WHERE entry_id = {entry}"),
        )
        .await;
        corrupt(
            world,
            &format!("DELETE FROM ledger_entry WHERE id = {entry}"),
        )
        .await;
        let found = difference(world).await;
        assert_eq!((found.book.as_str(), found.account), ("spent", None));
        assert_eq!(
            found.to_string(),
            "the book of charges is $6.5, credit_used of all accounts says $7.5"
        );
        let entry = format!(
            "(SELECT MIN(entry_id) FROM posting WHERE account_id = {})",
            child.id
        );
        let id = world.number(&format!("SELECT {entry} AS number")).await;
        corrupt(world, &format!("DELETE FROM posting WHERE entry_id = {id}")).await;
        corrupt(world, &format!("DELETE FROM ledger_entry WHERE id = {id}")).await;
        // Both sides of the grant have lost it; the older account is named.
        assert_eq!(
            difference(world).await.account,
            child.parent.map(proxyxai_contract::id::AccountId::get)
        );
    })
    .await;
}

#[tokio::test]
async fn nobody_changes_what_is_in_the_ledger() {
    everywhere(async |world: &mut World| {
        busy(world).await;
        for sql in [
            "UPDATE posting SET amount = 0",
            "DELETE FROM posting",
            "UPDATE ledger_entry SET reason = 'grant'",
            "DELETE FROM ledger_entry",
        ] {
            assert!(world.refuses(sql).await, "{sql}");
        }
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn every_movement_says_when_why_and_of_what() {
    everywhere(async |world: &mut World| {
        let child = busy(world).await;
        let caller = by(&child);
        ops::accounts::list(&world.control, &caller, AccountFilter::default(), crate::model::Page { page: 1, size: 5 })
            .await
            .unwrap();
        let rates = AccountChange {
            rates: Some(proxyxai_contract::money::Multiplier::from_number(2.0).unwrap()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &child, rates).await.unwrap();
        world.clock.advance(366 * DAY_MS);
        ops::expiry::expire_cards(&world.control).await.unwrap();
        let bare = "SELECT COUNT(*) AS number FROM ledger_entry WHERE at < 1 OR reason = '' OR reference = ''";
        assert_eq!(world.number(bare).await, 0);
        let reasons = "SELECT COUNT(DISTINCT reason) AS number FROM ledger_entry \
             WHERE reason IN ('grant', 'call', 'listing', 'rates', 'expiry')";
        assert_eq!(world.number(reasons).await, 5);
        world.balanced().await;
    })
    .await;
}

#[tokio::test]
async fn a_posting_of_an_account_that_is_not_there_is_found() {
    everywhere(async |world: &mut World| {
        if !world.is_postgres() {
            // SQLite refuses it.
            return;
        }
        let sql = "WITH entry AS (INSERT INTO ledger_entry (at, reason, reference) VALUES (0, 'grant', 'x') RETURNING id) \
            INSERT INTO posting (entry_id, book, account_id, amount) SELECT id, 'account', 999, 5 FROM entry \
            UNION ALL SELECT id, 'mint', NULL, -5 FROM entry";
        meddle(world.control.store(), sql).await;
        assert_eq!(difference(world).await.account, Some(999));
    })
    .await;
}
