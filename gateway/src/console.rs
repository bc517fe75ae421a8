//! What the program prints for people: problems, the table of variables, and the first steps.

use std::{fmt::Write as _, net::SocketAddr, path::Path, process::ExitCode};

use proxyxai_contract::{Invalid, client_key::ClientKey};
use proxyxai_control::model::RootKeyFile;

use crate::{
    listen::Listen,
    output::{self, complain, tell},
    ownership::OwnershipProblem,
    variables::variables,
};

/// Prints every problem of the configuration.
pub(crate) fn print_config_problems(problems: &[Invalid]) {
    complain!("proxyxai: the configuration cannot be used:");
    for problem in problems {
        complain!("  {problem}");
    }
}

/// Prints why the program ends, with its causes. A remedy is printed on its own line, to be copied.
pub(crate) fn print_failure(error: &anyhow::Error) -> ExitCode {
    let way_out = error.downcast_ref::<OwnershipProblem>();
    let causes = error.chain().skip(usize::from(way_out.is_some()));
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    complain!("proxyxai: {}", causes.join(": "));
    if let Some(way_out) = way_out {
        complain!("{way_out}");
    }
    ExitCode::FAILURE
}

/// The table of variables, as docs/configuration.md shows it.
pub(crate) fn print_config_table() -> ExitCode {
    output::print(format_args!("{}", table()));
    ExitCode::SUCCESS
}

fn table() -> String {
    let mut table = String::from("| variable | default | read by | meaning |\n|---|---|---|---|\n");
    for variable in variables() {
        let default = if variable.default.is_empty() {
            String::new()
        } else {
            format!("`{}`", variable.default)
        };
        // Writing to a string cannot fail.
        let _written: Result<(), std::fmt::Error> = writeln!(
            table,
            "| `{}` | {default} | {} | {} |",
            variable.name,
            variable.roles,
            variable.meaning()
        );
        if let Some(file) = variable.file {
            let _written: Result<(), std::fmt::Error> = writeln!(
                table,
                "| `{file}` |  | {} | file with `{}`, in place of it |",
                variable.roles, variable.name
            );
        }
    }
    table
}

/// Prints where the program listens. Returns the address as seen from this host.
pub(crate) fn print_addresses(
    listen: Listen,
    bound: SocketAddr,
    grpc: Option<SocketAddr>,
) -> SocketAddr {
    let here = listen.local_address(bound.port());
    tell!("ProxyXAI {}", version());
    tell!("ProxyXAI listens on http://{here}");
    if bound.ip().is_unspecified() {
        tell!(
            "and on every other address of this host, port {}",
            bound.port()
        );
    }
    if let Some(grpc) = grpc {
        tell!("gRPC on {grpc}");
        tell!("Console: http://{here}/console/");
    }
    here
}

/// Version of the program.
pub(crate) const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Prints where metrics are served.
pub(crate) fn print_metrics_address(at: SocketAddr) {
    tell!("metrics on http://{at}/metrics");
}

/// Prints where the root key is kept, and whether that file is still current.
pub(crate) fn print_root_key_file(data_dir: &Path, kept: RootKeyFile) {
    let shown = root_key_file(data_dir);
    match kept {
        // The key was given, or another control plane made it.
        RootKeyFile::Missing => {}
        RootKeyFile::Current => {
            tell!("The root key is kept in {shown}; to print it: cat {shown}");
        }
        RootKeyFile::Outdated => {
            tell!("{shown} holds an earlier root key, or another database's: it is not root's now");
        }
    }
}

/// Prints the root key and the next commands, on the very first start.
pub(crate) fn print_first_root_key(data_dir: &Path, http: SocketAddr, key: &ClientKey) {
    let shown = root_key_file(data_dir);
    let (key, base) = (key.expose(), format!("http://{http}"));
    tell!("\nThe root key, shown this once:\n\n  {key}\n");
    tell!("It is kept in {shown}; to print it again: cat {shown}\n");
    tell!(
        "Next, sign in with it at {base}/console/, or add an upstream key and create an account here:\n"
    );
    tell!(
        "  curl {base}/x-keys -H 'Authorization: Bearer {key}' \\\n    -d '{{\"SecretKey\":\"sk-your-provider-key...\",\"Provider\":\"https://api.openai.com\"}}'"
    );
    tell!(
        "  curl {base}/x-users -H 'Authorization: Bearer {key}' \\\n    -d '{{\"Name\":\"alice\",\"Email\":\"alice@example.com\",\"CreditGranted\":10}}'"
    );
}

fn root_key_file(data_dir: &Path) -> String {
    let file = data_dir.join("root.key");
    let file = std::path::absolute(&file).unwrap_or(file);
    file.display().to_string()
}
