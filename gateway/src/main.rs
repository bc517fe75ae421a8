//! ProxyXAI: reads the configuration, starts the requested role, serves until it is stopped, drains, and returns an exit
//! code. Everything else is in the packages below.

mod allocator;
mod config;
mod connection_limits;
mod console;
mod file_size_limit;
mod framing;
mod grpc;
mod healthcheck;
mod in_process;
mod ledger;
mod lingering;
mod listen;
mod open_files;
mod openapi;
mod output;
mod ownership;
mod pages;
mod prices;
mod roles;
mod serve;
mod variables;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jiff::civil::Date;

// Linking it makes it the global allocator (see Cargo.toml).
use mimalloc as _;

/// An open gateway for AI API keys. Without a command it runs both planes in one process. Configured by environment
/// variables: see `config-table`.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Option<CliCommand>,
}

/// What to run or to ask.
#[derive(Clone, Subcommand)]
enum CliCommand {
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
    Prices(prices::PricesCommand),
    /// Recomputes all balances and totals: exits with 0 when the books balance, 1 when they do not.
    Verify,
    /// Prints usage or ledger of some days as CSV.
    Export {
        what: ledger::ExportKind,
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
    let role = Cli::parse().role;
    match role {
        Some(CliCommand::ConfigTable) => return exit_after_output(console::print_config_table()),
        Some(CliCommand::Version) => {
            output::print(format_args!("proxyxai {}\n", console::version()));
            return exit_after_output(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let config = match config::Config::read(std::env::var_os) {
        Ok(config) => config,
        Err(problems) => {
            console::print_config_problems(&problems);
            return EXIT_BAD_CONFIGURATION.into();
        }
    };
    let ended = match role {
        Some(CliCommand::Verify) => return exit_after_output(ledger::verify(&config)),
        Some(CliCommand::Export { what, from, to }) => {
            return exit_after_output(ledger::export(&config, what, from, to));
        }
        Some(CliCommand::Prices(command)) => match prices::run(command, &config) {
            Ok(()) => return exit_after_output(ExitCode::SUCCESS),
            failed => failed,
        },
        role => roles::run(role.map_or(roles::Role::AllInOne, CliCommand::into), config),
    };
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    let failed = console::print_failure(&error);
    // Some problems show only against the stored state: a master key that does not fit, or a `DATA_DIR` of another
    // user.
    match error.downcast_ref() {
        Some(proxyxai_control::Error::Invalid(_)) => EXIT_BAD_CONFIGURATION.into(),
        _ if error.is::<ownership::OwnershipProblem>() => EXIT_BAD_CONFIGURATION.into(),
        _ => failed,
    }
}

/// A command whose output was not fully written has failed.
fn exit_after_output(ended: ExitCode) -> ExitCode {
    match output::first_write_error() {
        Some(problem) => console::print_failure(&anyhow::anyhow!("standard output: {problem}")),
        None => ended,
    }
}

impl From<CliCommand> for roles::Role {
    fn from(role: CliCommand) -> Self {
        match role {
            CliCommand::Control => Self::Control,
            CliCommand::Dataplane => Self::Dataplane,
            CliCommand::Healthcheck
            | CliCommand::ConfigTable
            | CliCommand::Version
            | CliCommand::Prices(_)
            | CliCommand::Verify
            | CliCommand::Export { .. } => Self::Healthcheck,
        }
    }
}
