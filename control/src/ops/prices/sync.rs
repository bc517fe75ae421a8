//! Laying a public list over the prices in force, as a schedule asks for it: nobody looks at the result, so nothing
//! is taken out, and nothing that moves too far is taken over.

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

/// Objections that are told; there may be as many as prices.
const TOLD_MAX: usize = 20;

/// What came of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SyncOutcome {
    /// The prices are what the list says.
    Nothing,
    /// A version was made.
    Loaded {
        /// Its name.
        version: String,
        /// Fields that differ.
        changes: usize,
    },
    /// Somebody has to look at it.
    Refused {
        /// Why, as far as it is told.
        told: Vec<String>,
        /// How many reasons there are.
        objections: usize,
    },
}

/// Takes a list over.
pub(crate) async fn sync(control: &Control, url: &str, list: String) -> Result<SyncOutcome, Error> {
    let now = control.now();
    let before = store::prices::at(control.store(), now).await?;
    let before = before.ok_or_else(|| Error::internal("no prices are in force"))?;
    let day = control.zone().day(now).to_string();
    let over = before.version.clone();
    let origin = url.to_owned();
    // Some hundred milliseconds of work.
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
            told: objections.into_iter().take(TOLD_MAX).collect(),
        });
    }
    let new = PriceTableUpload {
        text,
        valid_from: None,
        note: format!("sync by schedule, {} changes: {url}", changes.len()),
        force: false,
        over: Some(over),
    };
    // What root has set up is done in its name.
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
