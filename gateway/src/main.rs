//! ProxyXAI: reads the configuration, starts the role that was asked for, serves until it is told to
//! stop, drains, and returns an exit code. Everything else lives in the packages below.

mod announce;
mod books;
mod channel;
mod config;
mod document;
mod doors;
mod files;
mod full;
mod grpc;
mod healthcheck;
mod listen;
mod memory;
mod out;
mod ownership;
mod pages;
mod polite;
mod prices;
mod roles;
mod serve;
mod variables;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::civil::Date;

// Linked, it is the allocator of everything (see Cargo.toml).
use mimalloc as _;

/// An open gateway for AI API keys. Without a command it runs both planes in one process. Configured by environment
/// variables: see `config-table`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
}

/// What to run or to ask.
#[derive(Clone, Subcommand)]
enum Role {
    /// The control plane alone: keys, accounts, credit, settings.
    Control,
    /// A data plane alone; it needs `CONTROL_GRPC` and `NODE_TOKEN`.
    Dataplane,
    /// Prints the version.
    Version,
    /// Prints the table of environment variables as Markdown.
    ConfigTable,
    /// Shows, loads and corrects prices; asks the control plane on `GRPC_PORT` as root.
    #[command(subcommand)]
    Prices(prices::Command),
    /// Recomputes all balances and totals: exits with 0 when the books balance, 1 when they do not.
    Verify,
    /// Prints usage or ledger of some days as CSV.
    Export {
        what: books::What,
        /// First day, `YYYY-MM-DD` in `TZ`; default: the first of this month.
        #[arg(long)]
        from: Option<Date>,
        /// Last day; default: today.
        #[arg(long)]
        to: Option<Date>,
    },
    /// Exits with 0 when the gateway on `PORT` answers `/healthz`.
    Healthcheck,
}

/// Exit code of a bad configuration (`EX_USAGE` of sysexits.h).
const EXIT_BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let role = Arguments::parse().role;
    match role {
        Some(Role::ConfigTable) => return printed(announce::config_table()),
        Some(Role::Version) => {
            out::print(format_args!("proxyxai {}\n", announce::version()));
            return printed(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let config = match config::Config::read(std::env::var_os) {
        Ok(config) => config,
        Err(problems) => {
            announce::problems(&problems);
            return EXIT_BAD_CONFIGURATION.into();
        }
    };
    let ended = match role {
        Some(Role::Verify) => return printed(books::verify(&config)),
        Some(Role::Export { what, from, to }) => {
            return printed(books::export(&config, what, from, to));
        }
        Some(Role::Prices(command)) => match prices::run(command, &config) {
            Ok(()) => return printed(ExitCode::SUCCESS),
            failed => failed,
        },
        role => roles::run(role.map_or(roles::Role::AllInOne, Role::into), config),
    };
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    let failed = announce::failure(&error);
    // Some of it shows only against the state that is there: a master key that does not fit, a `DATA_DIR` of
    // somebody else.
    match error.downcast_ref() {
        Some(proxyxai_control::Error::Invalid(_)) => EXIT_BAD_CONFIGURATION.into(),
        _ if error.is::<ownership::Obstacle>() => EXIT_BAD_CONFIGURATION.into(),
        _ => failed,
    }
}

/// A command whose output is not all there has failed.
fn printed(ended: ExitCode) -> ExitCode {
    match out::problem() {
        Some(problem) => announce::failure(&anyhow::anyhow!("standard output: {problem}")),
        None => ended,
    }
}

impl From<Role> for roles::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Control => Self::Control,
            Role::Dataplane => Self::Dataplane,
            Role::Healthcheck
            | Role::ConfigTable
            | Role::Version
            | Role::Prices(_)
            | Role::Verify
            | Role::Export { .. } => Self::Healthcheck,
        }
    }
}
