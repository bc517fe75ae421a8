//! Pages of accounts: filters and order.

use proxyxai_contract::{clock::Millis, id::AccountId};
use sea_orm::{
    ColumnTrait as _, JoinType, PaginatorTrait as _, QueryFilter, QueryOrder as _, QuerySelect,
    Select,
    sea_query::{Condition, Expr, ExprTrait as _, Query},
};

use super::{label_values, living, records, with_children};
use crate::{
    Error,
    model::{AccountLabels, Listing, Page, SortField, SortOrder},
    store::{
        AccountRecord, Db,
        entity::{account, credit_card},
        is_server,
    },
};

/// Which accounts to list.
#[derive(Debug)]
pub(crate) struct AccountQuery<'a> {
    /// Only direct children of this account.
    pub(crate) parent: Option<AccountId>,
    /// Only accounts below this DNA.
    pub(crate) below: &'a str,
    /// Includes the account with this DNA itself.
    pub(crate) with_top: bool,
    /// Only accounts whose name or address begins with this, ignoring case, and the one with this id.
    pub(crate) search: Option<&'a str>,
    /// Only accounts with these labels.
    pub(crate) labels: AccountLabels,
    /// The sort order.
    pub(crate) order: SortOrder,
}

/// One page of living accounts.
pub(crate) async fn list(
    db: &impl Db,
    filter: &AccountQuery<'_>,
    page: Page,
    now: Millis,
) -> Result<Listing<AccountRecord>, Error> {
    let mut query = living();
    query = match filter.parent {
        Some(parent) => query.filter(account::Column::ParentId.eq(parent.get())),
        None => query.filter(account::Column::Dna.starts_with(filter.below)),
    };
    if filter.parent.is_none() && !filter.with_top {
        query = query.filter(account::Column::Dna.ne(filter.below));
    }
    if let Some(search) = filter.search {
        query = query.filter(found_by(db, search));
    }
    query = with_labels(query, filter.labels);
    let total = query.clone().count(db.handle()).await?;
    let by = match filter.order.by {
        SortField::Id => Expr::col((account::Entity, account::Column::Id)),
        SortField::Name => Expr::col((account::Entity, account::Column::Name)),
        SortField::Email => Expr::col((account::Entity, account::Column::Email)),
        SortField::Used => Expr::col((account::Entity, account::Column::CreditUsed)),
        SortField::Balance => {
            with_credit(&mut query, now);
            Expr::cust("COALESCE(credit.balance, 0) - account.debt")
        }
    };
    let direction = if filter.order.ascending {
        sea_orm::Order::Asc
    } else {
        sea_orm::Order::Desc
    };
    // Ties are broken by id, latest first, so that pages do not overlap.
    let query = query
        .order_by(by, direction)
        .order_by(account::Column::Id, sea_orm::Order::Desc)
        .limit(page.size)
        .offset(page.page.saturating_sub(1).saturating_mul(page.size));
    let rows = with_children(db, records(db, query, now).await?).await?;
    Ok(Listing { rows, total })
}

/// Joins the credit on cards that have not expired. Adding up all cards at once takes a third of the time of a look-up
/// for each account.
fn with_credit(query: &mut Select<account::Entity>, now: Millis) {
    let credit = Query::select()
        .column(credit_card::Column::AccountId)
        .expr_as(Expr::col(credit_card::Column::Balance).sum(), "balance")
        .from(credit_card::Entity)
        .and_where(Expr::col(credit_card::Column::ExpiresAt).gt(now.0))
        .group_by_col(credit_card::Column::AccountId)
        .take();
    let its = Expr::col(("credit", "account_id")).equals((account::Entity, account::Column::Id));
    QuerySelect::query(query).join_subquery(JoinType::LeftJoin, credit, "credit", its);
}

/// Accounts whose name or address begins with a text, ignoring case, and the one with this id. Index ranges need no
/// statistics and have no wildcards to escape.
fn found_by(db: &impl Db, search: &str) -> Condition {
    let (bytes, [first, second]) = if is_server(db) {
        (" COLLATE \"C\"", ["$1", "$2"])
    } else {
        ("", ["?"; 2])
    };
    // The greatest character, so the end of the range.
    let end = format!("{search}\u{10ffff}");
    let begins = |column: &str| {
        let sql = format!(
            "LOWER({column}){bytes} >= LOWER({first}) AND LOWER({column}){bytes} < LOWER({second})"
        );
        Expr::cust_with_values(sql, [search, &end])
    };
    let found = Condition::any()
        .add(begins("account.name"))
        .add(begins("account.email"));
    match search.parse::<i64>() {
        Ok(id) => found.add(account::Column::Id.eq(id)),
        Err(_) => found,
    }
}

/// Narrows a query of accounts to those with these labels.
fn with_labels<Q: QueryFilter>(query: Q, labels: AccountLabels) -> Q {
    label_values(labels).fold(query, |query, (column, value)| {
        query.filter(column.eq(value))
    })
}
