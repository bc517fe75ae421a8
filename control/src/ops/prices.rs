//! Versions of the price table: reading, comparing, loading and activating them.

mod import;
mod rerate;
mod sync;

use proxyxai_contract::{Invalid, clock::Millis, id::AccountId, price::PriceTable, price_file};

pub(crate) use import::{PriceListUpload, import};
pub(crate) use rerate::rerate;
pub(crate) use sync::{SyncOutcome, sync};

use super::root_only;

use crate::{
    Control, Error,
    config::Config,
    domain::{
        audit::AuditAction,
        price_version::{self, ScheduledTable, VersionStamp},
        setting,
    },
    model::{Caller, DateRange, Listing, Page, PriceVersion, UnpricedModel},
    ops,
    prices::{self, diff::PriceChange},
    publish::EffectiveSettings,
    store::{self, Tx},
};

const ROOT_ONLY: &str = "only root may see and change the prices";
/// The most versions in a listing.
const VERSIONS_SHOWN_MAX: u64 = 100;
/// Default and greatest number of days in a report of calls without a price.
const UNPRICED_DAYS: i64 = 7;
const UNPRICED_DAYS_MAX: i64 = 31;
const NOTE_CHARS_MAX: usize = 255;

/// A table to load.
#[derive(Debug)]
pub(crate) struct PriceTableUpload {
    /// The whole table, as JSON.
    pub(crate) text: String,
    /// When it takes effect. `None` means now.
    pub(crate) valid_from: Option<Millis>,
    /// Why it is loaded.
    pub(crate) note: String,
    /// Accepts absurd prices and the loss of many models.
    pub(crate) force: bool,
    /// The version it was derived from, if it must not replace a newer one.
    pub(crate) over: Option<String>,
}

/// A version by its name, or the one in force at a moment (`None`: now).
pub(crate) async fn get(
    control: &Control,
    caller: &Caller,
    version: Option<&str>,
    moment: Option<Millis>,
) -> Result<PriceVersion, Error> {
    root_only(caller, ROOT_ONLY)?;
    let found = match version {
        Some(version) => store::prices::get(control.store(), version).await?,
        None => store::prices::at(control.store(), moment.unwrap_or_else(|| control.now())).await?,
    };
    found.ok_or_else(|| Error::NotFound {
        kind: "Price version",
        name: version.unwrap_or("in force").to_owned(),
    })
}

/// The newest versions without their texts.
pub(crate) async fn versions(
    control: &Control,
    caller: &Caller,
) -> Result<Vec<PriceVersion>, Error> {
    root_only(caller, ROOT_ONLY)?;
    store::prices::newest(control.store(), VERSIONS_SHOWN_MAX).await
}

/// Checks the caller before a table of megabytes is read.
pub(crate) fn check_caller(caller: &Caller) -> Result<(), Error> {
    root_only(caller, ROOT_ONLY)
}

/// Models that were called over the last days without a price, most called first.
pub(crate) async fn unpriced(
    control: &Control,
    caller: &Caller,
    days: Option<i64>,
    page: Page,
) -> Result<Listing<UnpricedModel>, Error> {
    root_only(caller, ROOT_ONLY)?;
    let days = days.unwrap_or(UNPRICED_DAYS);
    if !(1..=UNPRICED_DAYS_MAX).contains(&days) {
        let problem = format!("must be from 1 to {UNPRICED_DAYS_MAX}");
        return Err(Invalid::new("days", problem).into());
    }
    let end = ops::reports::today(control);
    let before = jiff::Span::new().days(days.saturating_sub(1));
    let days = DateRange {
        start: end.saturating_sub(before),
        end,
    };
    let present = store::prices::at(control.store(), control.now()).await?;
    let prices = present.as_ref().map(table).transpose()?.unwrap_or_default();
    let tx = control.store().begin_reading().await?;
    let mut listing = store::usage::unpriced::list(&tx, days, page.bounded()).await?;
    for row in &mut listing.rows {
        row.has_price = prices.find(&row.model).is_some();
    }
    Ok(listing)
}

/// Deletes rows that no report can show any more.
pub(crate) async fn prune_unpriced(control: &Control) -> Result<(), Error> {
    let kept = jiff::Span::new().days(UNPRICED_DAYS_MAX);
    let before = ops::reports::today(control).saturating_sub(kept);
    let tx = control.store().begin().await?;
    store::usage::unpriced::prune(&tx, before).await?;
    tx.commit().await
}

/// What loading a table would change.
pub(crate) async fn diff(
    control: &Control,
    caller: &Caller,
    text: &str,
    valid_from: Option<Millis>,
) -> Result<Vec<PriceChange>, Error> {
    root_only(caller, ROOT_ONLY)?;
    let valid_from = valid_from.unwrap_or_else(|| control.now());
    let before = store::prices::at(control.store(), valid_from).await?;
    changes(before.as_ref(), text).map_err(Into::into)
}

/// Loads a table that replaces the one in force. Absurd prices, and a loss of many models, need `force`.
pub(crate) async fn load(
    control: &Control,
    caller: &Caller,
    new: PriceTableUpload,
) -> Result<(PriceVersion, Vec<PriceChange>), Error> {
    root_only(caller, ROOT_ONLY)?;
    let now = control.now();
    let valid_from = new.valid_from.unwrap_or(now);
    let tx = control.store().begin().await?;
    // Versions are made one at a time: each depends on those before it.
    let revision = store::revisions::bump(&tx).await?;
    let before = store::prices::at(&tx, valid_from).await?;
    let later = store::prices::after(&tx, valid_from).await?;
    let present = before.as_ref().map(|before| &before.version);
    if new.over.as_ref().is_some_and(|over| Some(over) != present) {
        let problem = "was made of prices that are not in force any more; make it anew";
        return Err(Invalid::new("table", problem).into());
    }
    let (old, next) = tables(before.as_ref(), &new.text)?;
    let changes = prices::diff::compare(&old, &next);
    if !new.force {
        prices::diff::check(&old, &next, &changes)?;
    }
    let note: String = new
        .note
        .chars()
        .filter(|char| !char.is_control())
        .take(NOTE_CHARS_MAX)
        .collect();
    let loaded = ScheduledTable {
        text: new.text,
        valid_from,
        note,
    };
    let making = VersionStamp {
        by: Some(caller.account),
        now,
    };
    let versions = price_version::loaded(before.as_ref(), &later, loaded, making)?;
    store::prices::insert(&tx, &versions).await?;
    let version = versions
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("no version was made"))?;
    let asked = [
        ("ValidFrom", version.valid_from.0.into()),
        ("Note", version.note.as_str().into()),
        ("Force", new.force.into()),
        ("Changes", changes.len().into()),
    ];
    let what = (AuditAction::LoadPrices, version.version.as_str());
    ops::audit::prices(control, &tx, caller, what, asked).await?;
    tx.commit().await?;
    tracing::info!(
        version = version.version,
        valid_from = control.zone().rfc3339(version.valid_from),
        revision = revision.0,
        "prices loaded"
    );
    ops::published(control).await;
    Ok((version, changes))
}

/// Makes versions if the built-in table or `PRICING` differs from what the version in force was made of. Returns
/// whether any was made.
pub(crate) async fn renew(
    tx: &Tx,
    config: &Config,
    by: Option<AccountId>,
    now: Millis,
) -> Result<bool, Error> {
    let settings = EffectiveSettings::read(tx, config).await?;
    let pricing = settings.get(&setting::PRICING)?;
    let present = store::prices::at(tx, now).await?;
    let later = store::prices::after(tx, now).await?;
    let making = VersionStamp { by, now };
    let versions = price_version::renewed(present.as_ref(), &later, &pricing, making)
        .map_err(|error| error.under(setting::PRICING.name))?;
    store::prices::insert(tx, &versions).await?;
    Ok(!versions.is_empty())
}

/// Sends data planes a version whose time has come.
pub(crate) async fn take_over(control: &Control) -> Result<(), Error> {
    if !control.publisher().prices_due(control.now()) {
        return Ok(());
    }
    let tx = control.store().begin().await?;
    let revision = store::revisions::bump(&tx).await?;
    tx.commit().await?;
    let version = store::prices::version_at(control.store(), control.now()).await?;
    tracing::info!(version, revision = revision.0, "prices came into force");
    ops::published(control).await;
    Ok(())
}

/// The table of a version.
pub(crate) fn table(version: &PriceVersion) -> Result<PriceTable, Invalid> {
    price_file::compose(&version.text, Some(&version.overrides))
}

fn changes(before: Option<&PriceVersion>, text: &str) -> Result<Vec<PriceChange>, Invalid> {
    let (old, new) = tables(before, text)?;
    Ok(prices::diff::compare(&old, &new))
}

/// The table in force and the new one, each with the overrides applied.
fn tables(before: Option<&PriceVersion>, text: &str) -> Result<(PriceTable, PriceTable), Invalid> {
    let overrides = before.map_or("", |before| before.overrides.as_str());
    let new = price_file::compose(text, Some(overrides))?;
    let old = before.map(table).transpose()?.unwrap_or_default();
    Ok((old, new))
}
