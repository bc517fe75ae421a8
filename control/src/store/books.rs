//! Recomputes the books and compares them: balances with postings, totals with records.
//! The database adds up and returns only the first row that differs, so memory does not grow with the books. Repairs
//! nothing.

mod earned;

use proxyxai_contract::money::{Money, sum};
use sea_orm::{ConnectionTrait as _, QueryResult};

use super::{Db as _, Tx, number, objects, statement, unsigned, usage};
use crate::{
    Error,
    model::{BookTotal, FAILED_FROM, LedgerDifference, LedgerVerification},
};

/// The columns of a total; the last one is money.
const MEASURES: [&str; 5] = ["requests", "input", "cached", "output", MONEY];
const MONEY: &str = "cost";

/// How many quarantined records are listed.
const QUARANTINED_SHOWN_MAX: u32 = 100;

/// The sum of the cards of each account.
const CARDS: &str =
    "SELECT account_id, SUM(balance) AS balance FROM credit_card GROUP BY account_id";
/// Each account's two books.
const BOOKS: &str = "SELECT account_id, SUM(CASE WHEN book = 'account' THEN amount ELSE 0 END) AS own, \
    SUM(CASE WHEN book = 'reserved' THEN amount ELSE 0 END) AS reserved \
    FROM posting WHERE account_id IS NOT NULL GROUP BY account_id";
/// What each account has on lease, by its leases.
const LEASES: &str = "SELECT account_id, SUM(amount) AS amount FROM lease WHERE client_key_id = 0 GROUP BY account_id";
/// What each further key has on lease of its limit, by its leases.
const KEY_LEASES: &str = "SELECT client_key_id, SUM(amount) AS amount FROM lease WHERE client_key_id > 0 GROUP BY client_key_id";
/// What calls, and corrections of their prices, cost each account.
const CHARGES: &str = "SELECT account_id, -SUM(amount) AS charged FROM posting \
    WHERE account_id IS NOT NULL AND entry_id IN (SELECT entry_id FROM posting WHERE book = 'spent') \
    GROUP BY account_id";

/// What re-pricing added to the cost of records.
const CORRECTIONS: &str = "SELECT r.account_id, r.model_used, 0, 0, 0, 0, SUM(c.cost - r.cost) \
    FROM usage_correction c JOIN usage_record r \
    ON r.node = c.node AND r.epoch = c.epoch AND r.sequence = c.sequence GROUP BY r.account_id, r.model_used";

/// Recomputes the books of one consistent snapshot of the database.
pub(crate) async fn verify(tx: &Tx) -> Result<LedgerVerification, Error> {
    tx.allow_long_statements().await?;
    let mut books = LedgerVerification {
        accounts: count(tx, "account").await?,
        entries: count(tx, "ledger_entry").await?,
        records: count(tx, "usage_record").await?,
        totals: totals(tx).await?,
        difference: None,
        quarantined: usage::quarantine::count(tx).await?,
        latest_quarantined: usage::quarantine::latest(tx, QUARANTINED_SHOWN_MAX).await?,
        pending: objects::pending(tx).await?,
    };
    books.difference = first_difference(tx, &books.totals).await?;
    Ok(books)
}

async fn first_difference(
    tx: &Tx,
    totals: &[BookTotal],
) -> Result<Option<LedgerDifference>, Error> {
    if let Some(found) = entries(tx).await? {
        return Ok(Some(found));
    }
    let all = totals.iter().map(|total| total.amount);
    let all = sum(all).ok_or_else(|| Error::internal("the sum of all postings is out of range"))?;
    if all != Money::ZERO {
        return Ok(Some(LedgerDifference {
            found: all.to_string(),
            ..difference("all postings together", "double entry", Money::ZERO)
        }));
    }
    if let Some(found) = wallets(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = keys(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = later(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = nobodys(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = charges(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = spent(tx, totals).await? {
        return Ok(Some(found));
    }
    if let Some(found) = spans(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = below(tx).await? {
        return Ok(Some(found));
    }
    if let Some(found) = records(tx).await? {
        return Ok(Some(found));
    }
    earned::earned(tx).await
}

async fn count(tx: &Tx, table: &str) -> Result<u64, Error> {
    let row = first(tx, &format!("SELECT COUNT(*) AS number FROM {table}")).await?;
    row.map_or(Ok(0), |row| number(&row, "number").map(unsigned))
}

async fn totals(tx: &Tx) -> Result<Vec<BookTotal>, Error> {
    let sql = "SELECT book, COUNT(*) AS postings, CAST(SUM(amount) AS BIGINT) AS amount FROM posting \
         GROUP BY book ORDER BY book";
    let rows = tx.handle().query_all_raw(statement(tx, sql, []));
    let rows = rows.await?;
    let total = |row: &QueryResult| {
        Ok(BookTotal {
            book: row.try_get("", "book")?,
            postings: number(row, "postings").map(unsigned)?,
            amount: money(row, "amount")?,
        })
    };
    rows.iter().map(total).collect()
}

/// Every entry has postings in known books, and they add up to zero.
async fn entries(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let uneven = "SELECT entry_id, CAST(SUM(amount) AS BIGINT) AS amount FROM posting \
         GROUP BY entry_id HAVING SUM(amount) <> 0 ORDER BY entry_id LIMIT 1";
    if let Some(row) = first(tx, uneven).await? {
        return Ok(Some(LedgerDifference {
            entry: Some(number(&row, "entry_id")?),
            found: money(&row, "amount")?.to_string(),
            ..difference("the sum of its postings", "double entry", Money::ZERO)
        }));
    }
    let empty = "SELECT e.id FROM ledger_entry e LEFT JOIN posting p ON p.entry_id = e.id \
         WHERE p.id IS NULL ORDER BY e.id LIMIT 1";
    if let Some(row) = first(tx, empty).await? {
        return Ok(Some(LedgerDifference {
            entry: Some(number(&row, "id")?),
            found: "0".to_owned(),
            ..difference("the number of its postings", "double entry", "2 or more")
        }));
    }
    let strange = "SELECT p.entry_id, p.account_id, p.book FROM posting p \
         LEFT JOIN ledger_entry e ON e.id = p.entry_id LEFT JOIN account a ON a.id = p.account_id \
         WHERE e.id IS NULL OR (p.book IN ('account', 'reserved')) <> (p.account_id IS NOT NULL) \
         OR (p.account_id IS NOT NULL AND a.id IS NULL) \
         ORDER BY p.id LIMIT 1";
    first(tx, strange).await?.map_or(Ok(None), |row| {
        let book: String = row.try_get("", "book")?;
        Ok(Some(LedgerDifference {
            entry: Some(number(&row, "entry_id")?),
            account: row.try_get("", "account_id")?,
            found: book,
            ..difference(
                "the book of a posting",
                "the ledger",
                "one that fits its entry and account",
            )
        }))
    })
}

/// Cards less debt equal the sum of an account's two books, and the leased amount equals the second one.
async fn wallets(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let sql = format!(
        "SELECT * FROM (SELECT a.id, a.debt, a.leased, CAST(COALESCE(c.balance, 0) AS BIGINT) AS cards, \
         CAST(COALESCE(b.own, 0) AS BIGINT) AS own, CAST(COALESCE(b.reserved, 0) AS BIGINT) AS reserved, \
         CAST(COALESCE(l.amount, 0) AS BIGINT) AS leases FROM account a \
         LEFT JOIN ({CARDS}) c ON c.account_id = a.id LEFT JOIN ({BOOKS}) b ON b.account_id = a.id \
         LEFT JOIN ({LEASES}) l ON l.account_id = a.id) wallet \
         WHERE cards - debt <> own + reserved OR leased <> reserved OR leased <> leases \
         OR debt < 0 OR leased < 0 OR cards < 0 ORDER BY id LIMIT 1"
    );
    let Some(row) = first(tx, &sql).await? else {
        return Ok(None);
    };
    let of = |column| money(&row, column);
    let (debt, leased, cards) = (of("debt")?, of("leased")?, of("cards")?);
    let (own, reserved, held_on) = (of("own")?, of("reserved")?, of("leases")?);
    let (held, booked) = (cards.saturating_sub(debt), own.saturating_add(reserved));
    let laws = [
        ("cards less debt", held, "the ledger", booked),
        ("leased", leased, "the reserved book", reserved),
        ("leased", leased, "the table of leases", held_on),
    ];
    let broken = laws
        .into_iter()
        .find(|(_, found, _, expected)| found != expected);
    let (what, found, against, expected) = match broken {
        Some((what, found, against, expected)) => (what, found, against, expected.to_string()),
        None => negative(&[("debt", debt), ("leased", leased), ("cards", cards)]),
    };
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "id")?),
        found: found.to_string(),
        ..difference(what, against, expected)
    }))
}

/// What a further key has on lease equals the sum of its leases.
async fn keys(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let sql = format!(
        "SELECT k.account_id, k.leased, CAST(COALESCE(l.amount, 0) AS BIGINT) AS leases FROM client_key k \
         LEFT JOIN ({KEY_LEASES}) l ON l.client_key_id = k.id \
         WHERE k.leased <> COALESCE(l.amount, 0) OR k.credit_used < 0 ORDER BY k.id LIMIT 1"
    );
    let Some(row) = first(tx, &sql).await? else {
        return Ok(None);
    };
    let (leased, held_on) = (money(&row, "leased")?, money(&row, "leases")?);
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "account_id")?),
        found: leased.to_string(),
        ..difference("leased of a client key", "the table of leases", held_on)
    }))
}

fn negative(amounts: &[(&'static str, Money)]) -> (&'static str, Money, &'static str, String) {
    let below = amounts.iter().find(|(_, amount)| amount.is_negative());
    let (what, found) = below.copied().unwrap_or_default();
    (what, found, "the rule", "zero or more".to_owned())
}

/// What is reserved for later work equals its lease.
async fn later(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let unlike = objects::unlike(tx, objects::HOLDER).await?;
    Ok(unlike.map(|(account, held, leased)| LedgerDifference {
        account: Some(account.get()),
        found: held.to_string(),
        ..difference("set aside for pending work", "its lease", leased)
    }))
}

/// A deleted account with money is waiting to be settled.
async fn nobodys(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let sql = format!(
        "SELECT a.id FROM account a LEFT JOIN ({CARDS}) c ON c.account_id = a.id \
         WHERE a.deleted_at IS NOT NULL AND NOT a.closing \
         AND (a.debt > 0 OR a.leased > 0 OR COALESCE(c.balance, 0) > 0) ORDER BY a.id LIMIT 1"
    );
    let Some(row) = first(tx, &sql).await? else {
        return Ok(None);
    };
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "id")?),
        found: "some".to_owned(),
        ..difference(
            "credit or debt of a deleted account",
            "what is yet to be settled",
            "none",
        )
    }))
}

/// What an account used equals its charges and its totals.
async fn charges(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let sql = format!(
        "SELECT * FROM (SELECT a.id, a.credit_used, a.requests, a.parent_id, \
         CAST(COALESCE(d.cost, 0) AS BIGINT) AS cost, CAST(COALESCE(d.requests, 0) AS BIGINT) AS answered, \
         CAST(COALESCE(c.charged, 0) AS BIGINT) AS charged FROM account a \
         LEFT JOIN (SELECT account_id, SUM(cost) AS cost, SUM(requests) AS requests FROM usage_daily \
         GROUP BY account_id) d ON d.account_id = a.id \
         LEFT JOIN ({CHARGES}) c ON c.account_id = a.id) used \
         WHERE (parent_id IS NOT NULL AND credit_used <> charged) OR credit_used <> cost OR requests <> answered \
         ORDER BY id LIMIT 1"
    );
    let Some(row) = first(tx, &sql).await? else {
        return Ok(None);
    };
    let (used, charged) = (money(&row, "credit_used")?, money(&row, "charged")?);
    let cost = money(&row, "cost")?;
    let parent: Option<i64> = row.try_get("", "parent_id")?;
    let broken = if parent.is_some() && used != charged {
        LedgerDifference {
            found: used.to_string(),
            ..difference("credit_used", "the ledger", charged)
        }
    } else if used != cost {
        LedgerDifference {
            found: cost.to_string(),
            ..difference("the cost in usage_daily", "credit_used", used)
        }
    } else {
        LedgerDifference {
            found: number(&row, "requests")?.to_string(),
            ..difference("requests", "usage_daily", number(&row, "answered")?)
        }
    };
    Ok(Some(LedgerDifference {
        account: Some(number(&row, "id")?),
        ..broken
    }))
}

/// The book of charges has all usage. Root's calls are checked against it.
async fn spent(tx: &Tx, totals: &[BookTotal]) -> Result<Option<LedgerDifference>, Error> {
    let used = first(
        tx,
        "SELECT CAST(COALESCE(SUM(credit_used), 0) AS BIGINT) AS used FROM account",
    );
    let used = used
        .await?
        .map_or(Ok(Money::ZERO), |row| money(&row, "used"))?;
    let spent = totals.iter().find(|total| total.book == "spent");
    let spent = spent.map_or(Money::ZERO, |total| total.amount);
    Ok((used != spent).then(|| LedgerDifference {
        book: "spent".to_owned(),
        found: spent.to_string(),
        ..difference("the book of charges", "credit_used of all accounts", used)
    }))
}

/// Days add up to thirds of months, months and years.
async fn spans(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let columns = MEASURES.join(", ");
    let sums = MEASURES
        .map(|name| format!("{} AS {name}", total(tx, name, name)))
        .join(", ");
    // Each level is computed from the one below it, so the days, which have the most rows, are read once.
    let third = "SUBSTR(day, 1, 7) || CASE WHEN SUBSTR(day, 9, 2) <= '10' THEN '/1' \
         WHEN SUBSTR(day, 9, 2) <= '20' THEN '/2' ELSE '/3' END";
    let days = format!(
        "SELECT * FROM (WITH third AS (SELECT account_id, {third} AS span, {sums} FROM usage_daily GROUP BY 1, 2) \
         SELECT account_id, span, {columns} FROM third UNION ALL \
         SELECT account_id, SUBSTR(span, 1, 7), {columns} FROM third UNION ALL \
         SELECT account_id, SUBSTR(span, 1, 4), {columns} FROM third) spans"
    );
    let kept = format!("SELECT account_id, span, {columns} FROM usage_span");
    let Some(row) = unequal(tx, &kept, &days, "account_id, span").await? else {
        return Ok(None);
    };
    let span: String = row.try_get("", "span")?;
    measure(&row, &format!("usage_span of {span}"), "usage_daily").map(Some)
}

/// Every account with each of its ancestors, as a common table expression.
const ABOVE: &str = "WITH RECURSIVE above (id, account_id) AS (\
    SELECT id, parent_id FROM account WHERE parent_id IS NOT NULL UNION ALL \
    SELECT above.id, account.parent_id FROM above JOIN account ON account.id = above.account_id \
    WHERE account.parent_id IS NOT NULL)";

/// The totals of all accounts below one equal what those accounts used.
async fn below(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let columns = MEASURES.join(", ");
    let kept = format!("SELECT account_id, day, model, {columns} FROM usage_below");
    let days = format!(
        "SELECT * FROM ({ABOVE} \
         SELECT above.account_id, day, model, {columns} FROM usage_daily JOIN above ON above.id = usage_daily.account_id) days"
    );
    let Some(row) = unequal(tx, &kept, &days, "account_id, day, model").await? else {
        return Ok(None);
    };
    let day: String = row.try_get("", "day")?;
    let model: String = row.try_get("", "model")?;
    let of = format!("usage_below of {day} and {model:?}");
    measure(&row, &of, "usage_daily").map(Some)
}

/// Raw records with their corrections, and the totals carried of pruned ones, add up to the days.
/// Records of an unknown account were stored without a charge.
async fn records(tx: &Tx) -> Result<Option<LedgerDifference>, Error> {
    let records = format!(
        "SELECT account_id, model_used AS model, SUM(CASE WHEN status < {FAILED_FROM} THEN 1 ELSE 0 END) AS requests, \
         {}, SUM(cost) AS cost FROM usage_record GROUP BY account_id, model_used",
        ["input", "cached", "output"]
            .map(|name| format!("{} AS {name}", total(tx, name, name)))
            .join(", ")
    );
    let columns = MEASURES.join(", ");
    let raw = format!(
        "SELECT account_id, model, {columns} FROM ({records} UNION ALL {CORRECTIONS} UNION ALL \
         SELECT account_id, model, {columns} FROM usage_carried) record \
         WHERE account_id IN (SELECT id FROM account)"
    );
    let days = format!("SELECT account_id, model, {columns} FROM usage_daily");
    let Some(row) = unequal(tx, &raw, &days, "account_id, model").await? else {
        return Ok(None);
    };
    let model: String = row.try_get("", "model")?;
    let of = format!("usage records of {model:?}");
    measure(&row, &of, "usage_daily").map(Some)
}

/// The first key for which two lists of totals differ: `found_…` and `expected_…`.
async fn unequal(
    tx: &Tx,
    found: &str,
    expected: &str,
    keys: &str,
) -> Result<Option<QueryResult>, Error> {
    let each = |form: &dyn Fn(&str) -> String, by: &str| MEASURES.map(form).join(by);
    let none = |side: &str| each(&|name| format!("0 AS {side}_{name}"), ", ");
    let all = |side: &str| each(&|name| format!("{name} AS {side}_{name}"), ", ");
    let sums = |side: &str| {
        each(
            &|name| {
                let sum = total(tx, name, &format!("{side}_{name}"));
                let shown = match (name, tx.locks_rows()) {
                    (MONEY, _) => format!("CAST({sum} AS BIGINT)"),
                    (_, true) => format!("CAST({sum} AS TEXT)"),
                    (_, false) => format!("PRINTF('%.0f', {sum})"),
                };
                format!("{shown} AS {side}_{name}")
            },
            ", ",
        )
    };
    let differ = each(
        &|name| {
            let of = |side: &str| total(tx, name, &format!("{side}_{name}"));
            format!("{} <> {}", of("found"), of("expected"))
        },
        " OR ",
    );
    let sql = format!(
        "SELECT {keys}, {}, {} FROM (\
         SELECT {keys}, {}, {} FROM ({found}) f UNION ALL SELECT {keys}, {}, {} FROM ({expected}) e) both_sides \
         GROUP BY {keys} HAVING {differ} ORDER BY {keys} LIMIT 1",
        sums("found"),
        sums("expected"),
        all("found"),
        none("expected"),
        none("found"),
        all("expected"),
    );
    first(tx, &sql).await
}

/// The SQL sum of a measure. Token counts that older versions copied from providers may overflow. `PostgreSQL` adds
/// decimals; `SQLite` fails, unless it may round above 2^53.
fn total(tx: &Tx, measure: &str, column: &str) -> String {
    if measure == MONEY || tx.locks_rows() {
        format!("SUM({column})")
    } else {
        format!("TOTAL({column})")
    }
}

/// Finds the measure in which two totals differ.
fn measure(row: &QueryResult, of: &str, against: &'static str) -> Result<LedgerDifference, Error> {
    let account = number(row, "account_id")?;
    for name in MEASURES {
        let text = |side: &str| -> Result<String, Error> {
            let column = format!("{side}_{name}");
            if name == MONEY {
                return Ok(money(row, &column)?.to_string());
            }
            row.try_get("", &column).map_err(Error::from)
        };
        let (found, expected) = (text("found")?, text("expected")?);
        if found == expected {
            continue;
        }
        return Ok(LedgerDifference {
            account: Some(account),
            what: format!("{name} in {of}"),
            found,
            ..difference("", against, expected)
        });
    }
    Err(Error::internal("totals differ in nothing"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers hand over what they have made for it"
)]
fn difference(
    what: impl Into<String>,
    against: &'static str,
    expected: impl ToString,
) -> LedgerDifference {
    LedgerDifference {
        entry: None,
        account: None,
        book: String::new(),
        what: what.into(),
        found: String::new(),
        against,
        expected: expected.to_string(),
    }
}

async fn first(tx: &Tx, sql: &str) -> Result<Option<QueryResult>, Error> {
    let row = tx.handle().query_one_raw(statement(tx, sql, [])).await;
    row.map_err(Error::from)
}

fn money(row: &QueryResult, column: &str) -> Result<Money, Error> {
    number(row, column).map(Money::from_nanos)
}
