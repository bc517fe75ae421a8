//! `proxyxai prices sync`: lays a public list over the prices in force. Shows what that would change, and does it
//! when told to.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use proxyxai_contract::{
    clock::Clock,
    price_diff::{self, Change},
    price_file,
    price_import::{self, Imported, Origin},
    price_sync::{self, Bounds, Laid, Scope},
};
use proxyxai_control::lists;

use super::{connect, read, tell};
use crate::config::Config;

/// Where the list is and how it is laid over.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// The list, as a file or an address over https: `LiteLLM`'s `model_prices_and_context_window.json` or
    /// models.dev's `api.json`. Default: `PRICES_SYNC_URL`.
    list: Option<String>,
    /// Makes the table count. Without it nothing is changed.
    #[arg(long, conflicts_with_all = ["against", "out"])]
    apply: bool,
    /// Applies also what moves too far.
    #[arg(long)]
    force: bool,
    /// Takes out models that the list does not have, of providers that it has.
    #[arg(long)]
    prune: bool,
    /// Only models of this provider; may be given more than once.
    #[arg(long = "provider", value_name = "PROVIDER")]
    providers: Vec<String>,
    /// A price that becomes so many times more, or less, moves too far.
    #[arg(long, default_value = "2")]
    factor: String,
    /// So many models may be taken out.
    #[arg(long, default_value_t = 20)]
    gone_max: usize,
    /// Lays the list over this table instead of the prices in force; nothing needs to run.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Writes the new table there.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Why, for those who look at the versions later.
    #[arg(long, default_value = "")]
    note: String,
}

/// Runs it to its end.
///
/// # Errors
/// When the list cannot be had, or what it says is not to be applied.
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<()> {
    let bounds = Bounds::parse(&arguments.factor, arguments.gone_max)?;
    let (name, text) = list(arguments.list.as_deref(), config).await?;
    let day = config.control.zone.day(Clock::system().now()).to_string();
    let origin = Origin {
        url: &name,
        day: &day,
    };
    let list = price_import::read(&text, origin).with_context(|| format!("{name} is no list"))?;
    let scope = Scope {
        providers: &arguments.providers,
        prune: arguments.prune,
    };
    let mut control = None;
    let (table, overrides) = if let Some(file) = &arguments.against {
        (read(file)?, String::new())
    } else {
        let connected = control.insert(connect(config).await?);
        let prices = connected.prices("").await?;
        (prices.table, prices.overrides)
    };
    let laid = price_sync::lay(&table, &list, scope)?;
    let old = price_file::compose(&table, Some(&overrides))?;
    let changes = price_diff::compare(&old, &price_file::compose(&laid.text, Some(&overrides))?);
    tell_all(&changes, &laid, &list, arguments.prune);
    let taken_out = if arguments.prune { laid.gone.len() } else { 0 };
    let objections = bounds.objections(&changes, taken_out);
    for objection in &objections {
        println!("too far: {objection}");
    }
    if let Some(out) = &arguments.out {
        std::fs::write(out, &laid.text)
            .with_context(|| format!("{} cannot be written", out.display()))?;
    }
    let Some(mut control) = control.filter(|_| arguments.apply) else {
        println!("nothing was changed; --apply makes it count");
        return Ok(());
    };
    if changes.is_empty() {
        println!("nothing to change");
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
    let (version, changes) = control.load(laid.text, None, note, arguments.force).await?;
    println!(
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

fn tell_all(changes: &[Change], laid: &Laid, list: &Imported, prune: bool) {
    // All fields of a new model are new; its name tells enough.
    let known = changes
        .iter()
        .filter(|change| !laid.added.contains(&change.model));
    tell(&known.cloned().collect::<Vec<_>>());
    for model in &laid.added {
        println!("new: {model}");
    }
    let kept = if prune { "" } else { ", kept" };
    for model in &laid.gone {
        println!("not in the list{kept}: {model}");
    }
    let left: usize = list.skipped.values().sum();
    println!(
        "{} new models, {} not in the list; {} entries read, {left} left out",
        laid.added.len(),
        laid.gone.len(),
        list.models
    );
}
