//! Exports of usage and ledger, read a page at a time.

use proxyxai_contract::{clock::Millis, id::AccountId, money::Money};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QueryResult, QuerySelect as _, Value,
    sea_query::{Expr, ExprTrait as _},
};

use super::{Db, Tx, entity::usage_record, number, statement, usage};
use crate::{
    Error,
    model::{DateRange, LedgerLine, Listing, Page, PostedUsage},
};

/// Postings with their entry.
const LINES: &str = "SELECT p.id, p.entry_id, e.at, e.reason, e.reference, p.book, p.account_id, a.name, p.amount \
    FROM posting p JOIN ledger_entry e ON e.id = p.entry_id LEFT JOIN account a ON a.id = p.account_id";

/// A span of time, the end not included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostingSpan {
    /// First moment.
    pub(crate) from: Millis,
    /// First moment after it.
    pub(crate) until: Millis,
}

/// Accounts at or below one with usage in the months of these days, with their names, sorted by id. Calls that used
/// nothing have no totals, so the months of the range are searched rather than its days.
pub(crate) async fn users(
    db: &impl Db,
    dna: &str,
    days: DateRange,
) -> Result<Vec<(AccountId, String)>, Error> {
    let used = usage::used(DateRange {
        start: days.start.first_of_month(),
        end: days.end.last_of_month(),
    });
    let sql = &format!(
        "SELECT id, name FROM account WHERE dna LIKE ? AND id IN (SELECT account_id FROM ({used}) used) ORDER BY id"
    );
    let values = [format!("{dna}%").into()];
    let rows = db.handle().query_all_raw(statement(db, sql, values));
    let read = |row: &QueryResult| {
        let id = AccountId::new(number(row, "id")?)?;
        Ok((id, text(row, "name")?))
    };
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

/// The next records of an account, sorted by start, with their corrections.
pub(crate) async fn usage(
    db: &impl Db,
    account: AccountId,
    between: PostingSpan,
    after: Option<&PostedUsage>,
    limit: u64,
) -> Result<Vec<PostedUsage>, Error> {
    use usage_record::Column;
    let PostingSpan { from, until } = between;
    let first = after.map_or(from, |last| last.record.start.max(from));
    let mut query = usage_record::Entity::find()
        .filter(Column::AccountId.eq(account.get()))
        .filter(Column::StartAt.gte(first.0))
        .filter(Column::StartAt.lt(until.0));
    if let Some(last) = after {
        let columns = [Column::Node, Column::Epoch, Column::Sequence];
        let beyond = Expr::tuple(columns.map(Expr::col)).gt(Expr::tuple([
            Expr::val(last.node.as_str()),
            Expr::val(last.epoch.cast_signed()),
            Expr::val(super::signed(last.record.sequence)),
        ]));
        let later = Column::StartAt.gt(last.record.start.0);
        query = query.filter(Condition::any().add(later).add(beyond));
    }
    let rows = query
        .order_by_asc(Column::StartAt)
        .order_by_asc(Column::Node)
        .order_by_asc(Column::Epoch)
        .order_by_asc(Column::Sequence)
        .limit(limit)
        .all(db.handle())
        .await?;
    let mut rows = rows
        .into_iter()
        .map(usage::read)
        .collect::<Result<Vec<_>, _>>()?;
    usage::corrections::fill(db, &mut rows).await?;
    Ok(rows)
}

/// The newest posting.
pub(crate) async fn last_posting(db: &impl Db) -> Result<i64, Error> {
    let sql = "SELECT COALESCE(MAX(id), 0) AS id FROM posting";
    let row = db.handle().query_one_raw(statement(db, sql, []));
    let row = row.await?;
    row.map_or(Ok(0), |row| number(&row, "id"))
}

/// Filters of postings; `None` selects all.
#[derive(Debug, Default)]
pub(crate) struct PostingFilter {
    /// Whose postings.
    pub(crate) account: Option<AccountId>,
    /// The reason of their entry.
    pub(crate) reason: Option<String>,
    /// The time of their entry.
    pub(crate) between: Option<PostingSpan>,
}

impl PostingFilter {
    /// Conditions on a posting and its entry, with their values.
    fn conditions(self) -> (String, Vec<Value>) {
        let Self {
            account,
            reason,
            between,
        } = self;
        let mut all: Vec<(&str, Vec<Value>)> = Vec::new();
        if let Some(account) = account {
            all.push(("p.account_id = ?", vec![account.get().into()]));
        }
        if let Some(reason) = reason {
            all.push(("e.reason = ?", vec![reason.into()]));
        }
        if let Some(PostingSpan { from, until }) = between {
            let span = vec![from.0.into(), until.0.into()];
            all.push(("e.at >= ? AND e.at < ?", span));
        }
        let (texts, values): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let text = match texts.as_slice() {
            [] => String::new(),
            texts => format!("WHERE {}", texts.join(" AND ")),
        };
        (text, values.concat())
    }
}

/// One page of postings, newest first.
pub(crate) async fn latest(
    tx: &Tx,
    which: PostingFilter,
    page: Page,
) -> Result<Listing<LedgerLine>, Error> {
    // Entries are joined only if a filter needs them.
    let of_entries = which.reason.is_some() || which.between.is_some();
    let (filter, values) = which.conditions();
    let entries = if of_entries {
        "JOIN ledger_entry e ON e.id = p.entry_id"
    } else {
        ""
    };
    let sql = format!("SELECT COUNT(*) AS id FROM posting p {entries} {filter}");
    let total = statement(tx, &sql, values.clone());
    let total = tx.handle().query_one_raw(total).await?;
    let total = total.map_or(Ok(0), |row| number(&row, "id"))?;
    let (size, offset) = (
        page.size,
        page.page.saturating_sub(1).saturating_mul(page.size),
    );
    let sql = format!("{LINES} {filter} ORDER BY p.id DESC LIMIT {size} OFFSET {offset}");
    let rows = tx.handle().query_all_raw(statement(tx, &sql, values));
    let rows = rows.await?;
    Ok(Listing {
        rows: rows.iter().map(line).collect::<Result<_, _>>()?,
        total: super::unsigned(total),
    })
}

/// Postings of a time range in the order of their ids, from one id (excluded) to another (included).
pub(crate) async fn ledger(
    db: &impl Db,
    between: PostingSpan,
    after: i64,
    through: i64,
) -> Result<Vec<LedgerLine>, Error> {
    let sql =
        format!("{LINES} WHERE p.id > ? AND p.id <= ? AND e.at >= ? AND e.at < ? ORDER BY p.id");
    let PostingSpan { from, until } = between;
    let values: [Value; 4] = [after.into(), through.into(), from.0.into(), until.0.into()];
    let rows = db.handle().query_all_raw(statement(db, &sql, values));
    rows.await?.iter().map(line).collect()
}

fn line(row: &QueryResult) -> Result<LedgerLine, Error> {
    let name: Option<String> = row.try_get("", "name")?;
    Ok(LedgerLine {
        posting: number(row, "id")?,
        entry: number(row, "entry_id")?,
        at: Millis(number(row, "at")?),
        reason: text(row, "reason")?,
        reference: text(row, "reference")?,
        book: text(row, "book")?,
        account: row.try_get("", "account_id")?,
        name: name.unwrap_or_default(),
        amount: Money::from_nanos(number(row, "amount")?),
    })
}

fn text(row: &QueryResult, column: &str) -> Result<String, Error> {
    row.try_get("", column).map_err(Error::from)
}
