//! Merges a public price list into the prices in force, on a schedule. No operator reviews the result, so no model is
//! removed, and a list whose prices move too far is refused.

use proxyxai_contract::id::AccountId;

use super::{PriceTableUpload, load};

use crate::{
    Control, Error,
    model::{Caller, PriceVersion},
    prices::{
        self,
        diff::PriceChange,
        import::ListOrigin,
        sync::{MergeDraft, MergeScope, PriceBounds},
    },
    store,
};

/// The most objections that are listed; there may be as many as prices.
const REASONS_SHOWN_MAX: usize = 20;

/// The result of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SyncOutcome {
    /// The prices equal the list.
    Nothing,
    /// A version was made.
    Loaded {
        /// The name of the version.
        version: String,
        /// How many fields differ.
        changes: usize,
    },
    /// An operator has to review the list.
    Refused {
        /// The first reasons.
        first: Vec<String>,
        /// How many reasons there are.
        objections: usize,
    },
}

/// Merges and loads a list.
pub(crate) async fn sync(control: &Control, url: &str, list: String) -> Result<SyncOutcome, Error> {
    let now = control.now();
    let before = store::prices::at(control.store(), now).await?;
    let before = before.ok_or_else(|| Error::internal("no prices are in force"))?;
    let day = control.zone().day(now).to_string();
    let over = before.version.clone();
    let origin = url.to_owned();
    // Takes some hundred milliseconds.
    let work = move || compared(&before, &list, &origin, &day);
    let (text, changes) = tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)??;
    if changes.is_empty() {
        return Ok(SyncOutcome::Nothing);
    }
    let objections = PriceBounds::default().objections(&changes, 0);
    if !objections.is_empty() {
        return Ok(SyncOutcome::Refused {
            objections: objections.len(),
            first: objections.into_iter().take(REASONS_SHOWN_MAX).collect(),
        });
    }
    let new = PriceTableUpload {
        text,
        valid_from: None,
        note: format!("sync by schedule, {} changes: {url}", changes.len()),
        force: false,
        over: Some(over),
    };
    // The schedule is root's setting, so it runs as root.
    let root = Caller {
        account: AccountId::ROOT,
        client_key: None,
        address: None,
    };
    let (version, changes) = Box::pin(load(control, &root, new)).await?;
    Ok(SyncOutcome::Loaded {
        version: version.version,
        changes: changes.len(),
    })
}

fn compared(
    before: &PriceVersion,
    list: &str,
    url: &str,
    day: &str,
) -> Result<(String, Vec<PriceChange>), Error> {
    let list = prices::import::read(list, ListOrigin { url, day })?;
    let scope = MergeScope::default();
    let MergeDraft { laid, changes } =
        prices::sync::draft(&before.text, &before.overrides, &list, scope)?;
    Ok((laid.text, changes))
}
