//! Every environment variable of the program. The table in docs/configuration.md is printed from here. Variables that
//! are also settings come from control's table: each counts until root stores another value.

mod runtime_variables;

use std::{borrow::Cow, fmt};

use proxyxai_control::domain::setting::{self, Setting};
use runtime_variables::RUNNING;

/// One variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// Empty if there is none.
    pub(crate) default: &'static str,
    /// Meaning and unit. `{range}` stands for the range.
    meaning: Cow<'static, str>,
    /// Of a whole number.
    pub(crate) range: Option<NumberRange>,
    /// Which roles read it.
    pub(crate) roles: &'static str,
    /// For a secret: the variable that names a file with it.
    pub(crate) file: Option<&'static str>,
}

/// The values that a whole number may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberRange {
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// The special meaning of 0.
    zero: Option<&'static str>,
}

/// In a meaning, the place of the range.
const RANGE: &str = "{range}";

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
        meaning: Cow::Borrowed(meaning),
        range: None,
        roles,
        file: None,
    }
}

/// A whole number.
const fn number(
    name: &'static str,
    default: &'static str,
    range: NumberRange,
    roles: &'static str,
    meaning: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        meaning: Cow::Borrowed(meaning),
        range: Some(range),
        roles,
        file: None,
    }
}

const fn range(least: u64, most: u64) -> NumberRange {
    NumberRange {
        least,
        most,
        zero: None,
    }
}

/// A range from 0, which has a meaning of its own.
const fn or_zero(meaning: &'static str, most: u64) -> NumberRange {
    NumberRange {
        least: 0,
        most,
        zero: Some(meaning),
    }
}

/// A secret. It may also be in a file named by a second variable, as container secrets are.
macro_rules! secret {
    ($name:literal, $roles:expr, $meaning:literal $(,)?) => {
        Variable {
            name: $name,
            default: "",
            meaning: Cow::Borrowed($meaning),
            range: None,
            roles: $roles,
            file: Some(concat!($name, "_FILE")),
        }
    };
}

// === impl Variable ===

impl Variable {
    /// Meaning, unit and range.
    pub(crate) fn meaning(&self) -> String {
        match self.range {
            Some(range) => self.meaning.replace(RANGE, &range.to_string()),
            None => self.meaning.clone().into_owned(),
        }
    }
}

// === impl NumberRange ===

impl fmt::Display for NumberRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most, zero } = self;
        match zero {
            Some(zero) => write!(f, "{least} ({zero}) to {most}"),
            None => write!(f, "{least} to {most}"),
        }
    }
}

/// The variables that have an effect, in the order of the table.
pub(crate) fn variables() -> impl Iterator<Item = Variable> {
    let settings = setting::ALL.iter().flat_map(of_setting);
    let running = RUNNING.iter().cloned();
    STARTING.iter().cloned().chain(settings).chain(running)
}

/// The variable of a setting, and its older names.
fn of_setting(setting: &'static Setting<()>) -> impl Iterator<Item = Variable> {
    let older = setting.older_names.iter().map(|name| Variable {
        meaning: Cow::Owned(format!("older name of `{}`", setting.name)),
        ..var(name, "", CONTROL, "")
    });
    let present = Variable {
        file: setting.file,
        ..var(setting.name, setting.default, CONTROL, setting.meaning)
    };
    std::iter::once(present).chain(older)
}

/// The variable with this name.
pub(crate) fn find(name: &str) -> Option<Variable> {
    variables().find(|variable| variable.name == name)
}

/// Addresses, identity, and what the first start stores.
const STARTING: &[Variable] = &[
    number(
        "PORT",
        "3443",
        or_zero("any free one", 65_535),
        BOTH,
        "HTTP port on all addresses, IPv4 and IPv6, {range}",
    ),
    var(
        "LISTEN",
        "",
        BOTH,
        "HTTP `address:port` instead of `PORT` on all addresses",
    ),
    number(
        "GRPC_PORT",
        "3444",
        or_zero("any free one", 65_535),
        CONTROL,
        "gRPC port on 127.0.0.1, {range}",
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
        "`address:port` that serves `/metrics` without authentication; default: only the HTTP port serves it, for root's key or `METRICS_TOKEN`",
    ),
    secret!(
        "METRICS_TOKEN",
        DATA,
        "token that may read `/metrics` and nothing else, at least 16 characters; sent like a client key",
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
        "`postgres://…`, with several hosts if one stands by for another ([docs](docs/fleet.md#a-database-that-fails-over)), or `sqlite://path`; default: SQLite in `DATA_DIR`",
    ),
    secret!(
        "POSTGRES_DSN",
        CONTROL,
        "the same in `host=… user=… dbname=…` form",
    ),
    secret!(
        "DATABASE_PASSWORD",
        CONTROL,
        "password for a `DATABASE_URL` or `POSTGRES_DSN` that has none; any characters, without encoding",
    ),
    secret!(
        "MASTER_KEY",
        CONTROL,
        "encrypts upstream keys, at least 16 bytes; default: generated into `DATA_DIR/master.key`, with encrypted copies in the database that root's key opens (docs/backup.md)",
    ),
    secret!(
        "NODE_TOKEN",
        BOTH,
        "token that authenticates data planes, at least 16 characters; default: generated into `DATA_DIR/node.token`",
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
        "gRPC addresses of control, `http://host:3444`, one for each replica, comma separated; a name with several addresses stands for as many",
    ),
    var(
        "CONTROL_HTTP",
        "",
        DATA,
        "HTTP address of the control plane, to which `/x-*` and `/dashboard/*` are forwarded",
    ),
    secret!(
        "ROOT_KEY",
        "control, prices",
        "root's client key, for `proxyxai prices` and for a start without `DATA_DIR/master.key`; default: `INIT_USERS`, else `DATA_DIR/root.key`",
    ),
    secret!(
        "INIT_USERS",
        CONTROL,
        "first accounts, `root::mail::key`, several separated by commas; default: a generated root key. Root's key also opens a database whose `master.key` is lost",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_documented() {
        for variable in variables() {
            let is_shown = variable.meaning.contains(RANGE);
            assert_eq!(is_shown, variable.range.is_some(), "{}", variable.name);
        }
    }

    #[test]
    fn the_console_shows_each_setting_with_its_default() {
        let page = include_str!("../../pages/console/settings-data.js");
        for Setting { name, default, .. } in setting::ALL {
            let row = format!("setting(\"{name}\", \"{default}\"");
            assert!(page.contains(&row), "{row}");
        }
    }
}
