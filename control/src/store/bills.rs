//! Totals for bills: by day and model, and by account, of one account or of many.

use std::{collections::BTreeMap, fmt::Display};

use proxyxai_contract::{id::AccountId, money::Money};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, Select,
    sea_query::{Expr, SimpleExpr},
};

use super::{
    Db, ROWS_PER_INSERT,
    accounts::with_labels,
    entity::{account, usage_daily},
    unsigned,
};
use crate::{
    Error,
    view::{AccountTotals, DayTotals, Days, Labels, Listing, Page, Totals},
};

/// Whose use is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Whose {
    /// One account's.
    Account(AccountId),
    /// Everybody's below an account, deleted ones included.
    Below { dna: String, labels: Labels },
    /// Everybody's but one's.
    AllBut(AccountId),
}

impl Whose {
    fn condition(&self) -> SimpleExpr {
        let column = usage_daily::Column::AccountId;
        match self {
            Self::Account(account) => column.eq(account.get()),
            Self::AllBut(account) => column.ne(account.get()),
            Self::Below { dna, labels } => {
                let below = account::Entity::find()
                    .select_only()
                    .column(account::Column::Id)
                    .filter(account::Column::Dna.starts_with(dna))
                    .filter(account::Column::Dna.ne(dna.as_str()));
                column.in_subquery(with_labels(below, *labels).into_query())
            }
        }
    }
}

/// Totals by day and model, in this order.
pub(crate) async fn by_day(
    db: &impl Db,
    whose: &Whose,
    days: Days,
) -> Result<Vec<DayTotals>, Error> {
    let rows: Vec<(String, String, i64, i64, i64, i64, i64)> = sums(
        usage_daily::Entity::find()
            .select_only()
            .column(usage_daily::Column::Day)
            .column(usage_daily::Column::Model),
    )
    .filter(within(days))
    .filter(whose.condition())
    .group_by(usage_daily::Column::Day)
    .group_by(usage_daily::Column::Model)
    .order_by_asc(usage_daily::Column::Day)
    .order_by_asc(usage_daily::Column::Model)
    .into_tuple()
    .all(db.handle())
    .await
    .map_err(Error::internal)?;
    let read = |(day, model, requests, input, cached, output, cost): (String, _, _, _, _, _, _)| {
        Ok(DayTotals {
            day: day.parse().map_err(Error::internal)?,
            model,
            totals: totals([requests, input, cached, output, cost]),
        })
    };
    rows.into_iter().map(read).collect()
}

/// One page of totals by account, dearest first.
pub(crate) async fn by_account(
    db: &impl Db,
    whose: &Whose,
    days: Days,
    page: Page,
) -> Result<Listing<AccountTotals>, Error> {
    let chosen = usage_daily::Entity::find()
        .select_only()
        .filter(within(days))
        .filter(whose.condition());
    let count = "CAST(COUNT(DISTINCT account_id) AS BIGINT)";
    let total: Option<i64> = chosen
        .clone()
        .column_as(Expr::cust(count), "accounts")
        .into_tuple()
        .one(db.handle())
        .await
        .map_err(Error::internal)?;
    let rows: Vec<(i64, i64, i64, i64, i64, i64)> =
        sums(chosen.column(usage_daily::Column::AccountId))
            .group_by(usage_daily::Column::AccountId)
            .order_by_desc(sum("cost"))
            .order_by_asc(usage_daily::Column::AccountId)
            .limit(page.size)
            .offset(page.page.saturating_sub(1).saturating_mul(page.size))
            .into_tuple()
            .all(db.handle())
            .await
            .map_err(Error::internal)?;
    let ids: Vec<_> = rows.iter().map(|row| row.0).collect();
    let mut names = names(db, &ids).await?;
    let read = |(id, requests, input, cached, output, cost)| {
        let (name, email) = names.remove(&id).unwrap_or_default();
        Ok(AccountTotals {
            id: AccountId::new(id).map_err(Error::internal)?,
            name,
            email,
            totals: totals([requests, input, cached, output, cost]),
        })
    };
    Ok(Listing {
        rows: rows.into_iter().map(read).collect::<Result<_, Error>>()?,
        total: unsigned(total.unwrap_or_default()),
    })
}

/// Name and address by id, of deleted accounts too.
async fn names(db: &impl Db, ids: &[i64]) -> Result<BTreeMap<i64, (String, String)>, Error> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(ROWS_PER_INSERT) {
        let rows: Vec<(i64, String, String)> = account::Entity::find()
            .select_only()
            .columns([
                account::Column::Id,
                account::Column::Name,
                account::Column::Email,
            ])
            .filter(account::Column::Id.is_in(chunk.iter().copied()))
            .into_tuple()
            .all(db.handle())
            .await
            .map_err(Error::internal)?;
        found.extend(
            rows.into_iter()
                .map(|(id, name, email)| (id, (name, email))),
        );
    }
    Ok(found)
}

/// Adds the sums of all counters to a query.
fn sums(query: Select<usage_daily::Entity>) -> Select<usage_daily::Entity> {
    query
        .column_as(sum("requests"), "requests_sum")
        .column_as(sum("input"), "input_sum")
        .column_as(sum("cached"), "cached_sum")
        .column_as(sum("output"), "output_sum")
        .column_as(sum("cost"), "cost_sum")
}

/// What `sums` gives.
fn totals([requests, input, cached, output, cost]: [i64; 5]) -> Totals {
    Totals {
        requests: unsigned(requests),
        input: unsigned(input),
        cached: unsigned(cached),
        output: unsigned(output),
        cost: Money::from_nanos(cost),
    }
}

fn sum(column: impl Display) -> Expr {
    // PostgreSQL's sum of big integers is a decimal.
    Expr::cust(format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"))
}

fn within(days: Days) -> SimpleExpr {
    // Days are stored as YYYY-MM-DD, which sorts as text.
    usage_daily::Column::Day.between(days.start.to_string(), days.end.to_string())
}
