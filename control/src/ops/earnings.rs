//! Earnings of calls. Only the operator may see them: no account learns what its calls cost the operator.

use std::collections::BTreeMap;

use proxyxai_contract::{id::KeyId, money::Money};

use crate::{
    Control, Error,
    domain::flat_rate,
    model::{
        Caller, DateRange, Earning, EarningDimension, EarningFilter, EarningRow, EarningsReport,
        Listing, Page, PostedUsage, TagTotals,
    },
    ops,
    store::{self, Store, earnings::EarningQuery},
};

const ROOT_ONLY: &str = "only root may see what calls earn";

/// A page of earnings over some days, by one dimension.
pub(crate) async fn by(
    control: &Control,
    caller: &Caller,
    (by, page): (EarningDimension, Page),
    filter: EarningFilter,
    days: DateRange,
) -> Result<EarningsReport, Error> {
    let which = which(control, caller, filter, days).await?;
    let mut rows: BTreeMap<String, Earning> = store::earnings::by(control.store(), by, &which)
        .await?
        .into_iter()
        .collect();
    let mut total = Earning::default();
    for earning in rows.values() {
        total.add(earning);
    }
    for flat in flats(control, &which).await? {
        let earning = Earning {
            flat: flat.amount,
            ..Earning::default()
        };
        total.add(&earning);
        let of = match by {
            EarningDimension::Key => flat.key.to_string(),
            EarningDimension::Provider => flat.provider,
            EarningDimension::Day => flat.day,
            // The monthly price of a key covers all models, accounts and levels.
            EarningDimension::Model | EarningDimension::Account | EarningDimension::Level => {
                continue;
            }
        };
        rows.entry(of).or_default().add(&earning);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    if by != EarningDimension::Day {
        let spent = |earning: &Earning| earning.expense.saturating_add(earning.flat);
        rows.sort_by_key(|(_, earning)| std::cmp::Reverse((spent(earning), earning.cost)));
    }
    let Listing { rows, total: found } = page.of(rows);
    let names = names(control.store(), by, rows.iter().map(|(of, _)| of)).await?;
    let row = |(of, earning)| EarningRow {
        name: names.get(&of).cloned().unwrap_or_default(),
        of,
        earning,
    };
    let rows = Listing {
        rows: rows.into_iter().map(row).collect(),
        total: found,
    };
    Ok(EarningsReport { days, rows, total })
}

/// The cost of one day of a key with a monthly price.
pub(crate) struct FlatCost {
    pub(crate) key: KeyId,
    pub(crate) provider: String,
    pub(crate) day: String,
    pub(crate) amount: Money,
}

/// Daily costs of keys with a monthly price. Empty if the query is for single accounts or models.
pub(crate) async fn flats(control: &Control, which: &EarningQuery) -> Result<Vec<FlatCost>, Error> {
    if which.account.is_some() || which.model.is_some() {
        return Ok(Vec::new());
    }
    let terms = control.publisher().terms();
    let mut found = Vec::new();
    for (key, changes) in store::earnings::flats(control.store()).await? {
        let provider = terms.get(&key).map(|terms| terms.provider.clone());
        let provider = provider.unwrap_or_default();
        let asked = which.key.is_none_or(|only| only == key)
            && which.provider.as_ref().is_none_or(|only| *only == provider);
        if !asked {
            continue;
        }
        let days = flat_rate::by_day(&changes, which.days).into_iter();
        found.extend(days.map(|(day, amount)| FlatCost {
            key,
            provider: provider.clone(),
            day: day.to_string(),
            amount,
        }));
    }
    Ok(found)
}

/// The query as the store needs it.
pub(crate) async fn which(
    control: &Control,
    caller: &Caller,
    filter: EarningFilter,
    days: DateRange,
) -> Result<EarningQuery, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let EarningFilter {
        account,
        key,
        provider,
        model,
    } = filter;
    let account = match account.as_deref() {
        Some(_) => Some(ops::reports::subject(control, caller, account.as_deref()).await?),
        None => None,
    };
    Ok(EarningQuery {
        days,
        account,
        key,
        provider,
        model,
    })
}

/// What a call earns, in dollars. Returns `None` if the record does not say what it cost the operator.
pub(crate) fn margin(usage: &PostedUsage) -> Option<Money> {
    let record = &usage.record;
    let cost = usage.corrected.unwrap_or(record.cost);
    let charged = ops::usage_additions::charged(record, cost);
    Some(charged.saturating_sub(record.expense?))
}

/// Names of accounts or keys, also of deleted ones.
pub(super) async fn names(
    store: &Store,
    by: EarningDimension,
    ids: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, String>, Error> {
    let ids: Vec<i64> = ids.filter_map(|id| id.parse().ok()).collect();
    match by {
        EarningDimension::Account => {
            let names = store::bills::names(store, &ids).await?.into_iter();
            Ok(names
                .map(|(id, (name, _))| (id.to_string(), name))
                .collect())
        }
        EarningDimension::Key => {
            let keys = store::keys::all(store).await?.into_iter();
            Ok(keys
                .map(|key| (key.key.id.to_string(), key.key.name))
                .collect())
        }
        EarningDimension::Provider
        | EarningDimension::Model
        | EarningDimension::Day
        | EarningDimension::Level => Ok(BTreeMap::new()),
    }
}

/// Usage of the caller or a descendant by tag, most expensive first.
pub(crate) async fn tags(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: DateRange,
    page: Page,
) -> Result<Listing<TagTotals>, Error> {
    let account = ops::reports::subject(control, caller, account).await?;
    let tx = control.store().begin_reading().await?;
    store::usage::tags::list(&tx, account, days, page.bounded()).await
}
