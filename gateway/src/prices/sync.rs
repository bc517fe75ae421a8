//! `proxyxai prices sync`: merges a public list into the prices in force. Shows what that would change, and applies it
//! on request.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use proxyxai_contract::clock::Clock;
use proxyxai_control::{
    lists,
    prices::{
        self,
        diff::{GONE_MAX, PriceChange},
        import::{Imported, ListOrigin},
        sync::{MergeDraft, MergeScope, MergedTable, PriceBounds},
    },
    remote::PriceTableDraft,
};

use super::{connect, print_changes, read};

use crate::{config::Config, output::tell};

/// Where the list is and how it is laid over.
#[derive(Debug, Clone, Args)]
pub(crate) struct SyncArguments {
    /// The list, as a file or an address over https: `LiteLLM`'s `model_prices_and_context_window.json` or
    /// models.dev's `api.json`. Default: `PRICES_SYNC_URL`.
    list: Option<String>,
    /// Loads the merged table. Without it nothing is changed.
    #[arg(long, conflicts_with_all = ["against", "out"])]
    apply: bool,
    /// Also applies changes that move a price too far.
    #[arg(long)]
    force: bool,
    /// Removes models that the list lacks, of providers that it has.
    #[arg(long)]
    prune: bool,
    /// Only models of this provider; may be given more than once.
    #[arg(long = "provider", value_name = "PROVIDER")]
    providers: Vec<String>,
    /// A price that changes by more than this factor, up or down, moves too far.
    #[arg(long, default_value = "2")]
    factor: String,
    /// Number of models that may be removed.
    #[arg(long, default_value_t = GONE_MAX)]
    gone_max: usize,
    /// Merges the list into this table instead of the prices in force; nothing needs to run.
    #[arg(long)]
    against: Option<PathBuf>,
    /// File to write the merged table to.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A note that lists of versions show.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

/// Runs the command to its end.
///
/// # Errors
/// Errors if the list cannot be fetched, or its prices must not be applied.
pub(super) async fn run(arguments: SyncArguments, config: &Config) -> anyhow::Result<()> {
    let bounds = PriceBounds::parse(&arguments.factor, arguments.gone_max)?;
    let (name, text) = list(arguments.list.as_deref(), config).await?;
    let day = config.control.zone.day(Clock::system().now()).to_string();
    let origin = ListOrigin {
        url: &name,
        day: &day,
    };
    let list = prices::import::read(&text, origin).with_context(|| format!("{name} is no list"))?;
    let scope = MergeScope {
        providers: &arguments.providers,
        prune: arguments.prune,
    };
    let mut control = None;
    let (table, overrides, over) = if let Some(file) = &arguments.against {
        (read(file)?, String::new(), String::new())
    } else {
        let connected = control.insert(connect(config).await?);
        let prices = connected.prices("").await?;
        (prices.table, prices.overrides, prices.version.version)
    };
    let MergeDraft { laid, changes } = prices::sync::draft(&table, &overrides, &list, scope)?;
    print_sync(&changes, &laid, &list, arguments.prune);
    let taken_out = if arguments.prune { laid.gone.len() } else { 0 };
    let objections = bounds.objections(&changes, taken_out);
    for objection in &objections {
        tell!("too far: {objection}");
    }
    if let Some(out) = &arguments.out {
        std::fs::write(out, &laid.text)
            .with_context(|| format!("{} cannot be written", out.display()))?;
    }
    let Some(mut control) = control.filter(|_| arguments.apply) else {
        tell!("nothing was changed; --apply makes it count");
        return Ok(());
    };
    if changes.is_empty() {
        tell!("nothing to change");
        return Ok(());
    }
    if !objections.is_empty() && !arguments.force {
        bail!(
            "{} prices or models move too far (--factor, --gone-max); --force applies them",
            objections.len()
        );
    }
    let note = match arguments.note.as_str() {
        "" => format!("sync, {} changes: {name}", changes.len()),
        note => note.to_owned(),
    };
    let new = PriceTableDraft {
        text: laid.text,
        valid_from: None,
        note,
        // The number of removed models was given by the user and checked above.
        force: arguments.force || taken_out > GONE_MAX,
        // Never undoes a table that somebody loads in the meantime.
        over,
    };
    let (version, changes) = control.load(new).await?;
    tell!(
        "loaded: version {}, {} changes",
        version.version,
        changes.len()
    );
    Ok(())
}

/// The list's name and its text.
async fn list(given: Option<&str>, config: &Config) -> anyhow::Result<(String, String)> {
    let set = config.control.settings.get("PRICES_SYNC_URL");
    let set = set.map(|url| url.trim()).filter(|url| !url.is_empty());
    let name = given
        .or(set)
        .context("no list is given, and PRICES_SYNC_URL is not set")?;
    let text = if name.contains("://") {
        lists::fetch(name).await?
    } else {
        read(name.as_ref())?
    };
    Ok((name.to_owned(), text))
}

fn print_sync(changes: &[PriceChange], laid: &MergedTable, list: &Imported, prune: bool) {
    // All fields of a new model are new, so its name is enough.
    let known = changes
        .iter()
        .filter(|change| !laid.added.contains(&change.model));
    print_changes(&known.cloned().collect::<Vec<_>>());
    for model in &laid.added {
        tell!("new: {model}");
    }
    let kept = if prune { "" } else { ", kept" };
    for model in &laid.gone {
        tell!("not in the list{kept}: {model}");
    }
    let left: usize = list.skipped.values().sum();
    tell!(
        "{} new models, {} not in the list; {} entries read, {left} left out",
        laid.added.len(),
        laid.gone.len(),
        list.models
    );
}
