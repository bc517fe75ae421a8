//! Totals by tag. Callers choose the tags, so an account has a limit of them a day, and further ones are counted
//! together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use proxyxai_contract::id::AccountId;
use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::totals::{DailyTotals, SUMS, row, totals, upsert};
use crate::{
    Error,
    model::{DateRange, Listing, Page, TagTotals},
    store::{Db, Tx, among, number, statement, unsigned},
};

/// Different tags of an account on one day.
pub(crate) const TAGS_MAX: usize = 200;
/// The tag of all beyond the limit.
pub(crate) const OTHER: &str = "other";

type AccountDay = (AccountId, Date);

/// Adds to the totals. The posting transaction holds the locks of the accounts, so no other adds a tag meanwhile.
pub(crate) async fn add(tx: &Tx, tagged: DailyTotals) -> Result<(), Error> {
    if tagged.is_empty() {
        return Ok(());
    }
    let mut asked: BTreeMap<AccountDay, BTreeSet<&str>> = BTreeMap::new();
    for (account, day, tag) in tagged.keys() {
        asked.entry((*account, *day)).or_default().insert(tag);
    }
    let there = counts(tx, asked.keys()).await?;
    let mut full: BTreeMap<AccountDay, BTreeSet<String>> = BTreeMap::new();
    for (place, tags) in &asked {
        let there = there.get(place).copied().unwrap_or_default();
        if there.saturating_add(tags.len()) > TAGS_MAX {
            full.insert(*place, taken(tx, *place, tags).await?);
        }
    }
    let mut rows = DailyTotals::new();
    for ((account, day, tag), used) in tagged {
        let fits = full
            .get(&(account, day))
            .is_none_or(|taken| taken.contains(&tag));
        let tag = if fits { tag } else { OTHER.to_owned() };
        rows.entry((account, day, tag)).or_default().add(&used);
    }
    let rows = rows.iter().map(|((account, day, tag), used)| {
        let key = [account.get().into(), day.to_string().into(), tag.into()];
        row(key, used)
    });
    upsert::<8>(tx, "tag_daily", "account_id, day, tag", rows.collect()).await
}

/// How many tags there are.
async fn counts(
    tx: &Tx,
    places: impl Iterator<Item = &AccountDay> + Clone,
) -> Result<BTreeMap<AccountDay, usize>, Error> {
    let accounts: BTreeSet<_> = places.clone().map(|(account, _)| account.get()).collect();
    let days: BTreeSet<_> = places.map(|(_, day)| day.to_string()).collect();
    let (accounts, mut values) = among(tx, accounts.into_iter().collect());
    let (days, more) = among(tx, days.into_iter().collect());
    values.extend(more);
    let sql = format!(
        "SELECT account_id, day, COUNT(*) AS tags FROM tag_daily \
         WHERE account_id {accounts} AND day {days} GROUP BY account_id, day"
    );
    let rows = tx.handle().query_all_raw(statement(tx, &sql, values));
    let read = |row: &QueryResult| {
        let day: String = row.try_get("", "day")?;
        let place = (
            AccountId::new(number(row, "account_id")?)?,
            day.parse().map_err(Error::internal)?,
        );
        let tags = usize::try_from(number(row, "tags")?).map_err(Error::internal)?;
        Ok((place, tags))
    };
    let rows = rows.await?;
    rows.iter().map(read).collect()
}

/// The tags that have a row, and new ones up to the limit, in their order.
async fn taken(
    tx: &Tx,
    (account, day): AccountDay,
    asked: &BTreeSet<&str>,
) -> Result<BTreeSet<String>, Error> {
    let sql = "SELECT tag FROM tag_daily WHERE account_id = ? AND day = ?";
    let values = [account.get().into(), day.to_string().into()];
    let rows = tx.handle().query_all_raw(statement(tx, sql, values));
    let mut taken = BTreeSet::new();
    for row in rows.await? {
        taken.insert(row.try_get("", "tag")?);
    }
    for tag in asked {
        if taken.len() >= TAGS_MAX {
            break;
        }
        taken.insert((*tag).to_owned());
    }
    Ok(taken)
}

/// An account's usage over some days by tag, most expensive first.
pub(crate) async fn list(
    db: &impl Db,
    account: AccountId,
    days: DateRange,
    page: Page,
) -> Result<Listing<TagTotals>, Error> {
    let whose = "WHERE account_id = ? AND day BETWEEN ? AND ?";
    let values = || -> [Value; 3] {
        let (start, end) = (days.start.to_string(), days.end.to_string());
        [account.get().into(), start.into(), end.into()]
    };
    let sql = format!("SELECT COUNT(DISTINCT tag) AS tags FROM tag_daily {whose}");
    let total = db.handle().query_one_raw(statement(db, &sql, values()));
    let total = total.await?;
    let total = total.map_or(Ok(0), |row| number(&row, "tags"))?;
    let skip = page.page.saturating_sub(1).saturating_mul(page.size);
    let sql = format!(
        "SELECT tag, {SUMS} FROM tag_daily {whose} GROUP BY tag \
         ORDER BY cost DESC, tag LIMIT {} OFFSET {skip}",
        page.size
    );
    let rows = db.handle().query_all_raw(statement(db, &sql, values()));
    let read = |row: &QueryResult| {
        Ok(TagTotals {
            tag: row.try_get("", "tag")?,
            totals: totals(row)?,
        })
    };
    let rows = rows.await?;
    Ok(Listing {
        rows: rows.iter().map(read).collect::<Result<_, Error>>()?,
        total: unsigned(total),
    })
}
