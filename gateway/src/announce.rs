//! What the program prints for people: problems, the table of variables, and the first steps.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the program's own messages to its operator"
)]

use std::{fmt::Write as _, net::SocketAddr, process::ExitCode};

use proxyxai_contract::{Invalid, client_key::ClientKey};

use crate::variables::variables;

/// Every problem of the configuration.
pub(crate) fn problems(problems: &[Invalid]) {
    eprintln!("proxyxai: the configuration cannot be used:");
    for problem in problems {
        eprintln!("  {problem}");
    }
}

/// Why the program ends, with its causes.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("proxyxai: {error:#}");
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
    }
    table
}

/// Where the program listens; on the very first start also the root key and the next commands.
pub(crate) fn listening(http: SocketAddr, grpc: Option<SocketAddr>, root_key: Option<&ClientKey>) {
    let host = if http.ip().is_unspecified() {
        "127.0.0.1".to_owned()
    } else {
        http.ip().to_string()
    };
    let base = format!("http://{host}:{}", http.port());
    println!("ProxyXAI listens on {base}");
    if let Some(grpc) = grpc {
        println!("gRPC on {grpc}");
    }
    let Some(key) = root_key else { return };
    let key = key.expose();
    println!("\nThe root key, shown this once and kept in DATA_DIR/root.key:\n\n  {key}\n");
    println!("Next, add an upstream key and create an account:\n");
    println!(
        "  curl {base}/x-keys -H 'Authorization: Bearer {key}' \\\n    -d '{{\"SecretKey\":\"sk-your-provider-key...\",\"Provider\":\"https://api.openai.com\"}}'"
    );
    println!(
        "  curl {base}/x-users -H 'Authorization: Bearer {key}' \\\n    -d '{{\"Name\":\"alice\",\"Email\":\"alice@example.com\",\"CreditGranted\":10}}'"
    );
}
