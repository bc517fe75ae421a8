//! What the program prints for people: problems, the table of variables, and the first steps.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's own messages to its operator"
)]

use std::{fmt::Write as _, io::Write as _, net::SocketAddr, path::Path, process::ExitCode};

use proxyxai_contract::{Invalid, client_key::ClientKey};
use proxyxai_control::view::RootKeyFile;

use crate::{ownership::Obstacle, variables::variables};

/// Every problem of the configuration.
pub(crate) fn problems(problems: &[Invalid]) {
    eprintln!("proxyxai: the configuration cannot be used:");
    for problem in problems {
        eprintln!("  {problem}");
    }
}

/// Why the program ends, with its causes; a way out stands on a line of its own, to be copied.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    let way_out = error.downcast_ref::<Obstacle>();
    let causes = error.chain().skip(usize::from(way_out.is_some()));
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    eprintln!("proxyxai: {}", causes.join(": "));
    if let Some(way_out) = way_out {
        eprintln!("{way_out}");
    }
    ExitCode::FAILURE
}

/// The table of variables, as README shows it.
pub(crate) fn config_table() -> ExitCode {
    print!("{}", table());
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
            variable.name, variable.roles, variable.meaning
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

/// Prints a line, unless the disk behind standard output is full: that ends no gateway.
macro_rules! say {
    ($($line:tt)*) => {
        let _unwritten: std::io::Result<()> = writeln!(std::io::stdout(), $($line)*);
    };
}

/// Where the program listens, as seen from this host.
pub(crate) fn listening(http: SocketAddr, grpc: Option<SocketAddr>) {
    say!("ProxyXAI listens on http://{http}");
    if let Some(grpc) = grpc {
        say!("gRPC on {grpc}");
    }
}

/// Where metrics are open.
pub(crate) fn metrics(at: SocketAddr) {
    say!("metrics on http://{at}/metrics");
}

/// Where the root key is kept, and whether the file still tells it.
pub(crate) fn root_key(data_dir: &Path, kept: RootKeyFile) {
    let shown = root_key_file(data_dir);
    match kept {
        // It was given, or another control plane made it.
        RootKeyFile::Missing => {}
        RootKeyFile::Current => {
            say!("The root key is kept in {shown}; to print it: cat {shown}");
        }
        RootKeyFile::Outdated => {
            say!("{shown} holds an earlier root key, or another database's: it is not root's now");
        }
    }
}

/// On the very first start: the root key, and the next commands.
pub(crate) fn first_root_key(data_dir: &Path, http: SocketAddr, key: &ClientKey) {
    let shown = root_key_file(data_dir);
    let (key, base) = (key.expose(), format!("http://{http}"));
    say!("\nThe root key, shown this once:\n\n  {key}\n");
    say!("It is kept in {shown}; to print it again: cat {shown}\n");
    say!("Next, add an upstream key and create an account:\n");
    say!(
        "  curl {base}/x-keys -H 'Authorization: Bearer {key}' \\\n    -d '{{\"SecretKey\":\"sk-your-provider-key...\",\"Provider\":\"https://api.openai.com\"}}'"
    );
    say!(
        "  curl {base}/x-users -H 'Authorization: Bearer {key}' \\\n    -d '{{\"Name\":\"alice\",\"Email\":\"alice@example.com\",\"CreditGranted\":10}}'"
    );
}

fn root_key_file(data_dir: &Path) -> String {
    let file = data_dir.join("root.key");
    let file = std::path::absolute(&file).unwrap_or(file);
    file.display().to_string()
}
