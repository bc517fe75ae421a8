//! Every environment variable of the program. The table in docs/configuration.md is printed from here.

mod runtime_variables;
mod setting_variables;

use runtime_variables::RUNNING;
use setting_variables::SETTINGS;

/// One variable.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// Empty if there is none.
    pub(crate) default: &'static str,
    /// Meaning, unit and range.
    pub(crate) meaning: &'static str,
    /// Which roles read it.
    pub(crate) roles: &'static str,
    /// For a secret: the variable that names a file with it.
    pub(crate) file: Option<&'static str>,
}

const BOTH: &str = "all";
const CONTROL: &str = "control";
const DATA: &str = "dataplane";

const fn var(
    name: &'static str,
    default: &'static str,
    roles: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        meaning,
        roles,
        file: None,
    }
}

/// A secret. It may also be in a file named by a second variable, as container secrets are.
macro_rules! secret {
    ($name:literal, $roles:expr, $meaning:literal $(,)?) => {
        crate::variables::Variable {
            file: Some(concat!($name, "_FILE")),
            ..crate::variables::var($name, "", $roles, $meaning)
        }
    };
}
use secret;

/// The variables that have an effect, in the order of the table.
pub(crate) fn variables() -> impl Iterator<Item = &'static Variable> {
    STARTING.iter().chain(SETTINGS).chain(RUNNING)
}

/// The variable that names a file with the value of this one.
pub(crate) fn file_of(name: &str) -> Option<&'static str> {
    variables().find(|variable| variable.name == name)?.file
}

/// Addresses, identity, and what the first start stores.
const STARTING: &[Variable] = &[
    var(
        "PORT",
        "3443",
        BOTH,
        "HTTP port on all addresses of both families, 0 (any free one) to 65535",
    ),
    var(
        "LISTEN",
        "",
        BOTH,
        "HTTP `address:port` instead of `PORT` on all addresses",
    ),
    var(
        "GRPC_PORT",
        "3444",
        CONTROL,
        "gRPC port on 127.0.0.1, 0 (any free one) to 65535",
    ),
    var(
        "GRPC_LISTEN",
        "",
        CONTROL,
        "gRPC `address:port` instead of `GRPC_PORT` on 127.0.0.1",
    ),
    var(
        "METRICS_LISTEN",
        "",
        DATA,
        "`address:port` on which `/metrics` is open to everybody who reaches it; default: it is on the HTTP port alone, for root's key or `METRICS_TOKEN`",
    ),
    secret!(
        "METRICS_TOKEN",
        DATA,
        "reads `/metrics` and nothing else, at least 16 characters, sent like a client key",
    ),
    var(
        "DATA_DIR",
        "./data",
        BOTH,
        "directory of the SQLite database, generated secrets and the usage spool",
    ),
    secret!(
        "DATABASE_URL",
        CONTROL,
        "`postgres://…` or `sqlite://path`; default: SQLite in `DATA_DIR`",
    ),
    secret!(
        "POSTGRES_DSN",
        CONTROL,
        "the same in `host=… user=… dbname=…` form",
    ),
    secret!(
        "DATABASE_PASSWORD",
        CONTROL,
        "password for a `DATABASE_URL` or `POSTGRES_DSN` that has none; any characters, nothing is encoded",
    ),
    secret!(
        "MASTER_KEY",
        CONTROL,
        "seals upstream keys, at least 16 bytes; default: generated into `DATA_DIR/master.key`, with copies in the database that root's key opens (docs/backup.md)",
    ),
    secret!(
        "NODE_TOKEN",
        BOTH,
        "admits data planes, at least 16 characters; default: generated into `DATA_DIR/node.token`",
    ),
    var(
        "NODE_NAME",
        "",
        DATA,
        "unique name of the data plane, 1 to 63 of `a-z 0-9 -`; default: generated into `DATA_DIR/node.name`",
    ),
    var(
        "CONTROL_GRPC",
        "",
        DATA,
        "gRPC address of control, `http://host:3444`",
    ),
    var(
        "CONTROL_HTTP",
        "",
        DATA,
        "HTTP address of control, to which `/x-*` and `/dashboard/*` are forwarded",
    ),
    secret!(
        "ROOT_KEY",
        "control, prices",
        "root's client key, for `proxyxai prices` and for a start without `DATA_DIR/master.key`; default: `INIT_USERS`, else `DATA_DIR/root.key`",
    ),
    secret!(
        "INIT_USERS",
        CONTROL,
        "first accounts, `root::mail::key`, several separated by commas; default: a generated root key. Root's also opens a database whose `master.key` is gone",
    ),
    secret!(
        "INIT_KEYS",
        CONTROL,
        "first upstream keys, `key::baseURL`, several separated by commas",
    ),
];

/// Variables of the original that have no effect here. Each that is set is logged once.
pub(crate) const IGNORED: &[&str] = &[
    "STATS_INTERVAL",
    "SINGLE_MODE",
    "SINGLE_TENANT",
    "REDIS_ADDR",
    "REDIS_PASS",
    "LOCK_USER_MAPPER",
];
