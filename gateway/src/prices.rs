//! `proxyxai prices`: shows, checks, compares, loads and imports price tables, and re-prices stored usage. What
//! concerns the books is requested from the running control plane; files are read here.

mod sync;

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use proxyxai_contract::{
    clock::{Clock, Millis, Zone},
    price::PriceTable,
    price_file,
    secret::Secret,
};
use proxyxai_control::{
    model::RerateResult,
    prices::{self, diff::PriceChange, import::ListOrigin},
    remote::{ControlClient, PriceTableDraft, PriceTableInfo, RerateOptions},
};

use crate::{
    config::Config,
    output::{self, complain, tell},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do with prices.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PricesCommand {
    /// Shows the prices in force, or those of a file.
    Show {
        /// Only this model, found as a call's would be.
        model: Option<String>,
        /// Shows this file; nothing needs to run.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Shows this version instead of the one in force.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            conflicts_with = "file"
        )]
        version: String,
        /// Writes the whole table as a file that `load` takes, without the overrides of `PRICING`.
        #[arg(long, conflicts_with_all = ["file", "model"])]
        json: bool,
    },
    /// Checks that a file is a price table. Nothing needs to run.
    Validate {
        /// The table.
        file: PathBuf,
    },
    /// Shows what loading a file would change, and changes nothing.
    Diff {
        /// The table.
        file: PathBuf,
        /// Compares with this file instead of the prices in force; nothing needs to run.
        #[arg(long)]
        against: Option<PathBuf>,
        /// Compares with the prices of this moment (RFC 3339).
        #[arg(long, conflicts_with = "against")]
        valid_from: Option<String>,
    },
    /// Loads a table that replaces the one in force, from now on or from another moment.
    Load {
        /// The table.
        file: PathBuf,
        /// When it comes into force, RFC 3339; may be in the past, to price usage anew. Default: now.
        #[arg(long)]
        valid_from: Option<String>,
        /// A note that lists of versions show.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
        /// Accepts prices of more than 100 times the old ones or above a million dollars, and a table that lacks more
        /// than 20 models.
        #[arg(long)]
        force: bool,
    },
    /// Merges a public list into the prices in force: shows what would change, and applies it with `--apply`.
    Sync(sync::SyncArguments),
    /// Converts a public list, `LiteLLM`'s or models.dev's, to a table. Nothing needs to run.
    #[command(alias = "import-litellm")]
    Import {
        /// The list.
        file: PathBuf,
        /// File to write the table to. Default: standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Prices the usage of some days anew and posts the differences as corrections.
    Rerate {
        /// First day, YYYY-MM-DD in `TZ`.
        #[arg(long)]
        from: String,
        /// Last day.
        #[arg(long)]
        to: String,
        /// Only this account: id, name, email or DNA.
        #[arg(long, default_value = "", hide_default_value = true)]
        account: String,
        /// Prices with this version. Default: for each call, the one in force when it began.
        #[arg(long, default_value = "", hide_default_value = true)]
        version: String,
        /// Posts nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs a command to its end.
///
/// # Errors
/// Errors if the command fails.
pub(crate) fn run(command: PricesCommand, config: &Config) -> anyhow::Result<()> {
    match command {
        PricesCommand::Show {
            model,
            file: Some(file),
            ..
        } => show(&read_table(&file)?, model.as_deref()),
        PricesCommand::Validate { file } => {
            let table = read_table(&file)?;
            tell!(
                "{}: version {}, {} models",
                file.display(),
                table.version,
                table.models.len()
            );
            Ok(())
        }
        PricesCommand::Diff {
            file,
            against: Some(old),
            valid_from: _,
        } => {
            print_changes(&prices::diff::compare(
                &read_table(&old)?,
                &read_table(&file)?,
            ));
            Ok(())
        }
        PricesCommand::Import { file, out } => import(&file, out.as_deref(), &config.control.zone),
        PricesCommand::Show { file: None, .. }
        | PricesCommand::Diff { against: None, .. }
        | PricesCommand::Load { .. }
        | PricesCommand::Sync(_)
        | PricesCommand::Rerate { .. } => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot start")?
            .block_on(run_against_control(command, config)),
    }
}

/// Runs the commands that need a running control plane.
async fn run_against_control(command: PricesCommand, config: &Config) -> anyhow::Result<()> {
    if let PricesCommand::Sync(arguments) = command {
        return Box::pin(sync::run(arguments, config)).await;
    }
    let mut control = connect(config).await?;
    match command {
        PricesCommand::Show {
            version,
            json: true,
            ..
        } => {
            tell!("{}", control.prices(&version).await?.table);
            Ok(())
        }
        PricesCommand::Show { model, version, .. } => {
            show_stored(&control.prices(&version).await?, model.as_deref(), config)
        }
        PricesCommand::Diff {
            file, valid_from, ..
        } => {
            let changes = control
                .diff(read(&file)?, moment(valid_from.as_deref())?)
                .await?;
            print_changes(&changes);
            Ok(())
        }
        PricesCommand::Load {
            file,
            valid_from,
            note,
            force,
        } => {
            let valid_from = moment(valid_from.as_deref())?;
            let table = PriceTableDraft {
                text: read(&file)?,
                valid_from,
                note,
                force,
                over: String::new(),
            };
            let (version, changes) = control.load(table).await?;
            print_changes(&changes);
            let from = config.control.zone.rfc3339(version.valid_from);
            tell!("loaded: version {} from {from}", version.version);
            Ok(())
        }
        PricesCommand::Rerate {
            from,
            to,
            account,
            version,
            dry_run,
        } => {
            let period = RerateOptions {
                from,
                to,
                account,
                version,
                dry_run,
            };
            print_rerated(&control.rerate(period).await?, dry_run);
            Ok(())
        }
        PricesCommand::Validate { .. } | PricesCommand::Import { .. } | PricesCommand::Sync(_) => {
            bail!("is done without control")
        }
    }
}

fn show_stored(
    prices: &PriceTableInfo,
    model: Option<&str>,
    config: &Config,
) -> anyhow::Result<()> {
    let table = price_file::compose(&prices.table, Some(&prices.overrides))?;
    if model.is_none() {
        for other in prices.versions.iter().rev() {
            let from = config.control.zone.rfc3339(other.valid_from);
            let (version, source, note) = (&other.version, &other.source, &other.note);
            tell!("version {version} from {from}, {source} {note}");
        }
    }
    tell!("shown: {}", prices.version.version);
    show(&table, model)
}

fn print_rerated(done: &RerateResult, dry_run: bool) {
    for (account, (records, difference)) in &done.corrections {
        tell!("account {account}: {records} records, {difference}");
    }
    let verb = if dry_run {
        "would correct"
    } else {
        "corrected"
    };
    let accounts = done.corrections.len();
    tell!(
        "looked at {} records, {verb} {accounts} accounts, left {} without a price",
        done.records,
        done.unpriced
    );
}

async fn connect(config: &Config) -> anyhow::Result<ControlClient> {
    let addresses = config.control_grpc.clone().unwrap_or_else(|| {
        let listen = config.grpc_listen;
        let ip = match listen.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        vec![format!(
            "http://{}",
            std::net::SocketAddr::new(ip, listen.port())
        )]
    });
    let mut failure = None;
    for address in addresses {
        let endpoint = tonic::transport::Endpoint::from_shared(address.clone())
            .with_context(|| format!("{address} is no address"))?;
        let connected = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
        match connected {
            Ok(channel) => return Ok(ControlClient::new(channel, root_key(config)?)),
            Err(error) => failure = Some((address, error)),
        }
    }
    let (address, error) = failure.context("CONTROL_GRPC has no address")?;
    Err(error).with_context(|| format!("no control plane answers at {address} (GRPC_PORT)"))
}

/// The root key: given by `ROOT_KEY`, among `INIT_USERS`, or kept in the file of the first start.
fn root_key(config: &Config) -> anyhow::Result<Secret> {
    if let Some(key) = &config.control.root_key {
        return Ok(key.clone());
    }
    if let Some(key) = config.control.init_root_key() {
        return Ok(key);
    }
    let path = config.data_dir.join("root.key");
    let key = fs::read_to_string(&path)
        .with_context(|| format!("ROOT_KEY is not set, and {} cannot be read", path.display()))?;
    Ok(Secret::new(key.trim()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn read_table(file: &Path) -> anyhow::Result<PriceTable> {
    price_file::compose(&read(file)?, None)
        .with_context(|| format!("{} is no price table", file.display()))
}

fn moment(text: Option<&str>) -> anyhow::Result<Option<Millis>> {
    text.map(|text| {
        Millis::from_rfc3339(text)
            .context("--valid-from: must be a moment such as 2026-01-31T00:00:00Z")
    })
    .transpose()
}

fn show(table: &PriceTable, model: Option<&str>) -> anyhow::Result<()> {
    let empty = PriceTable::default();
    let Some(model) = model else {
        print_prices(&prices::diff::compare(&empty, table));
        return Ok(());
    };
    let Some(price) = table.find(model) else {
        bail!("{model} has no price");
    };
    let one = PriceTable {
        models: std::iter::once((model.to_owned(), price.clone())).collect(),
        ..PriceTable::default()
    };
    print_prices(&prices::diff::compare(&empty, &one));
    Ok(())
}

fn print_prices(fields: &[PriceChange]) {
    for field in fields {
        tell!("{}", field.price());
    }
}

fn print_changes(changes: &[PriceChange]) {
    for change in changes {
        let mark = if change.is_absurd() { "  ABSURD" } else { "" };
        tell!("{change}{mark}");
    }
    let absurd = changes.iter().filter(|change| change.is_absurd()).count();
    tell!("{} changes, {absurd} absurd", changes.len());
}

fn import(file: &Path, out: Option<&Path>, zone: &Zone) -> anyhow::Result<()> {
    let today = zone.day(Clock::system().now()).to_string();
    let origin = ListOrigin {
        url: &file.display().to_string(),
        day: &today,
    };
    let imported = prices::import::read(&read(file)?, origin)
        .with_context(|| format!("{} is no price list", file.display()))?;
    let text = format!("{:#}\n", imported.table);
    match out {
        Some(out) => {
            fs::write(out, text).with_context(|| format!("{} cannot be written", out.display()))?;
        }
        None => output::print(format_args!("{text}")),
    }
    complain!("imported {} models", imported.models);
    for (mode, count) in &imported.skipped {
        complain!("skipped {count} of mode {mode}");
    }
    Ok(())
}
