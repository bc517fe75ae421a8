//! Merges a third-party price list into the prices in force, as a draft for the operator. Loads nothing.

use std::collections::BTreeMap;

use proxyxai_contract::Invalid;

use super::ROOT_ONLY;

use crate::{
    Control, Error,
    model::{Caller, ImportedPrices, PriceVersion},
    ops,
    prices::{
        self,
        import::{FORMATS, ListOrigin},
        sync::{MergeDraft, MergeScope, PriceBounds},
    },
    store,
};

/// A list to merge.
#[derive(Debug)]
pub(crate) struct PriceListUpload {
    /// The format of the list; `None` detects it.
    pub(crate) format: Option<String>,
    pub(crate) list: String,
    /// Only models of these providers; empty means all.
    pub(crate) providers: Vec<String>,
    /// Whether models that the list does not have are removed.
    pub(crate) prune: bool,
}

/// The prices in force merged with a list, and what loading them would change.
pub(crate) async fn import(
    control: &Control,
    caller: &Caller,
    new: PriceListUpload,
) -> Result<ImportedPrices, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    if let Some(format) = &new.format
        && !FORMATS.contains(&format.as_str())
    {
        let problem = format!("must be one of {}", FORMATS.join(", "));
        return Err(Invalid::new("format", problem).into());
    }
    let now = control.now();
    let before = store::prices::at(control.store(), now).await?;
    let before = before.ok_or_else(|| Error::internal("no prices are in force"))?;
    let day = control.zone().day(now).to_string();
    // Takes some hundred milliseconds.
    let work = move || drafted(before, &new, &day);
    let drafted = tokio::task::spawn_blocking(work);
    drafted.await.map_err(Error::internal)?.map_err(Error::from)
}

fn drafted(
    before: PriceVersion,
    new: &PriceListUpload,
    day: &str,
) -> Result<ImportedPrices, Invalid> {
    let origin = ListOrigin { url: "import", day };
    let list = prices::import::read(&new.list, origin).map_err(|error| error.under("table"))?;
    let other = |format: &&str| *format != list.format;
    if let Some(format) = new.format.as_deref().filter(other) {
        let problem = format!("is no price list of {format}");
        return Err(Invalid::new("table", problem));
    }
    let scope = MergeScope {
        providers: &new.providers,
        prune: new.prune,
    };
    let MergeDraft { laid, changes } =
        prices::sync::draft(&before.text, &before.overrides, &list, scope)?;
    let taken_out = if new.prune { laid.gone.len() } else { 0 };
    Ok(ImportedPrices {
        over: before.version,
        objections: PriceBounds::default().objections(&changes, taken_out),
        changes,
        text: laid.text,
        added: laid.added,
        gone: laid.gone,
        read: list.models,
        skipped: list.skipped.into_iter().collect::<BTreeMap<_, _>>(),
    })
}
