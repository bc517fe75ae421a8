//! Where the state is stored: a file, or a server by its URL or libpq's `name=value` form. Any of it may hold a
//! password, so errors are fixed texts that quote none of it.

mod dsn;
mod hosts;

use std::{fmt, path::PathBuf};

use proxyxai_contract::secret::Secret;

use super::connect;

/// Where the state is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A `PostgreSQL` server, or several of which one takes writes.
    Postgres(Server),
}

/// A server, or a primary and its standbys, and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// One for each host, never empty.
    urls: Vec<Secret>,
    must_write: bool,
    /// Replaces a password in the URL.
    password: Option<Secret>,
}

/// What is wrong with a value that holds a secret.
type DatabaseProblem = &'static str;

const FORMS: DatabaseProblem = "must be sqlite://path, postgres://… or host=… user=… dbname=…";
const UNREADABLE: DatabaseProblem = "cannot be read as postgres://user@host:port/name; characters like / ? # @ % of a password have to be percent-encoded, or the password given as DATABASE_PASSWORD";
const UNKNOWN_OPTION: DatabaseProblem = "has an option after the ? that is not known; known are sslmode, sslrootcert, sslcert, sslkey, host, hostaddr, port, dbname, user, password, application_name, options, target_session_attrs and statement-cache-capacity";
const SSL_MODE: DatabaseProblem =
    "has an sslmode other than disable, allow, prefer, require, verify-ca and verify-full";

// === impl Database ===

impl Database {
    /// Reads `sqlite://path`, a `PostgreSQL` URL, or libpq's `host=… user=…` form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &Secret) -> Result<Self, DatabaseProblem> {
        let text = text.expose().trim();
        if let Some(path) = text
            .strip_prefix("sqlite://")
            .or_else(|| text.strip_prefix("sqlite:"))
        {
            let path = path.split('?').next().unwrap_or_default();
            return if path.is_empty() {
                Err("names no file")
            } else {
                Ok(Self::Sqlite(path.into()))
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Server::parse(text).map(Self::Postgres);
        }
        if text.contains('=') && !text.contains("://") {
            let url = dsn::url_of(text)?;
            let server = Server::parse(url.expose());
            return server.map(Self::Postgres).map_err(|problem| match problem {
                UNREADABLE => "has a host, a port or an option that cannot be used",
                problem => problem,
            });
        }
        Err(FORMS)
    }

    /// Adds a password that is not in the text.
    ///
    /// # Errors
    /// Errors if there is no user to log in as, or the text has a password as well.
    pub fn with_password(self, password: Secret) -> Result<Self, DatabaseProblem> {
        match self {
            Self::Sqlite(_) => Err("is given, but no server that it is for"),
            Self::Postgres(server) if server.has_password() => Err(
                "is given besides the password in DATABASE_URL or POSTGRES_DSN; give one of them",
            ),
            Self::Postgres(server) => Ok(Self::Postgres(Server {
                password: Some(password),
                ..server
            })),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(***)"),
        }
    }
}

// === impl Server ===

impl Server {
    fn parse(text: &str) -> Result<Self, DatabaseProblem> {
        let hosts = hosts::split(text)?;
        hosts.urls.iter().try_for_each(|url| check_url(url))?;
        let server = Self {
            urls: hosts.urls.into_iter().map(Secret::new).collect(),
            must_write: hosts.must_write,
            password: None,
        };
        if connect::can_read(&server) {
            Ok(server)
        } else {
            Err(UNREADABLE)
        }
    }

    /// A URL for each host, which may hold a password.
    pub(crate) fn urls(&self) -> &[Secret] {
        &self.urls
    }

    /// Whether a server that takes no writes is passed over.
    pub(crate) const fn must_write(&self) -> bool {
        self.must_write
    }

    /// The password that replaces one in the URL.
    pub const fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    fn has_password(&self) -> bool {
        self.urls.iter().any(|url| has_password(url.expose()))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server(***)")
    }
}

/// Checks a URL more strictly than the driver does. An unencoded `/`, `?`, `#` or `@` in a password would otherwise end
/// it; the rest would be read as a port, a name or an option and reach messages and logs.
fn check_url(text: &str) -> Result<(), DatabaseProblem> {
    let (_, rest) = text.split_once("://").ok_or(UNREADABLE)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).ok_or(UNREADABLE)?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
    let unfit =
        text.chars().any(char::is_control) || tail.contains(['#', '@']) || !is_host_and_port(place);
    if unfit {
        return Err(UNREADABLE);
    }
    let options = tail.split_once('?').map_or("", |(_, options)| options);
    let mut options = options.split('&').filter(|option| !option.is_empty());
    options.try_for_each(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        check_option(name, value)
    })
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let login = authority.rsplit_once('@').map_or("", |(login, _)| login);
    let in_login = login
        .split_once(':')
        .is_some_and(|(_, password)| !password.is_empty());
    let options = rest.split_once('?').map_or("", |(_, options)| options);
    in_login
        || options
            .split('&')
            .any(|option| option.starts_with("password="))
}

fn is_host_and_port(place: &str) -> bool {
    // An IPv6 address contains colons.
    let (host, port) = match place.rsplit_once(']') {
        Some((host, port)) => (
            host,
            port.strip_prefix(':').or(port.is_empty().then_some("")),
        ),
        None => match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, Some("")),
        },
    };
    let port_fits =
        port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0));
    let of_host = |char: char| char.is_alphanumeric() || "-._~%:[".contains(char);
    port_fits && host.chars().all(of_host)
}

fn check_option(name: &str, value: &str) -> Result<(), DatabaseProblem> {
    let fits = match name {
        "sslmode" | "ssl-mode" => {
            let modes = [
                "disable",
                "allow",
                "prefer",
                "require",
                "verify-ca",
                "verify-full",
            ];
            return if modes.contains(&value) {
                Ok(())
            } else {
                Err(SSL_MODE)
            };
        }
        "port" => value.parse::<u16>().is_ok_and(|port| port > 0),
        "hostaddr" => value.parse::<std::net::IpAddr>().is_ok(),
        "statement-cache-capacity" => value.parse::<usize>().is_ok(),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey"
        | "ssl-key" | "host" | "dbname" | "user" | "password" | "application_name" | "options" => {
            true
        }
        name if name.starts_with("options[") && name.ends_with(']') => true,
        _ => return Err(UNKNOWN_OPTION),
    };
    if fits { Ok(()) } else { Err(UNREADABLE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{dsn::percent_encoded, *};

    fn parsed(text: &str) -> Result<Database, DatabaseProblem> {
        Database::parse(&Secret::new(text))
    }

    fn url(text: &str) -> String {
        match parsed(text).unwrap() {
            Database::Postgres(server) => {
                let urls = server.urls().iter().map(|url| url.expose().to_owned());
                urls.collect::<Vec<_>>().join(" ")
            }
            Database::Sqlite(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn databases_are_named_by_url_or_dsn() {
        for (text, file) in [
            ("sqlite:///var/lib/x.db", "/var/lib/x.db"),
            ("sqlite://data/x.db?mode=rwc", "data/x.db"),
        ] {
            assert_eq!(parsed(text), Ok(Database::Sqlite(file.into())));
        }
        for good in [
            "postgresql://u:p@h/d",
            "postgres://h",
            "postgres://[::1]:5432/d?sslmode=disable",
            "postgres:///d?host=/run/postgresql&user=u",
            "postgres://u:p%40ss%2f@10.0.0.1:5432/d?options[search_path]=x",
            "postgres://u:p@ss@%2Frun%2Fpostgresql/d",
        ] {
            assert_eq!(url(good), good);
        }
        assert_eq!(
            url(
                "host=db port=5433 user=xai password='p@ s/w' dbname=xai sslmode=disable TimeZone=Asia/Shanghai"
            ),
            "postgres://xai:p%40%20s%2Fw@db:5433/xai?sslmode=disable"
        );
        assert_eq!(
            url("host=h1,/run/b port=5432,5433 user=u dbname=d target_session_attrs=read-write"),
            "postgres://u@h1:5432/d postgres://u@%2Frun%2Fb:5433/d"
        );
        for bad in ["", "mysql://h/d", "sqlite://", "host", "host=a password='x"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_that_ends_its_url_early_is_refused_and_not_taken_for_something_else() {
        for bad in [
            "postgres://user:pa/ss@host/db",
            "postgres://user:12/ss@host/db",
            "postgres://user:12?ss@host/db",
            "postgres://user:12?ss=@host/db",
            "postgres://user:12#ss@host/db",
            "postgres://user:12#ss",
            "postgres://u:p@ss@h:port/x",
            "postgres://u:p@h:99999/x",
            "postgres://u:p@h:0/x",
            "postgres://u:p@h x/x",
            "postgres://u:p@h/x?passwort=x",
            "postgres://u:p@h/x?sslmode=maybe",
            "postgres://u:p@h/x?port=x",
            "postgres://u:p@[::1]x/x",
            "postgres://u:p@[x]/x",
            "postgres://u:%ff@h/x",
            "postgres:/u:p@h",
            "postgres:/u:p=x@h",
            "postgre://u:p@h/d",
            "u:p@h/d",
            "postgres://u:pa/ss@h1,h2/db",
            "postgres://u:p@h1,h 2/db",
            "postgres://u:p@h1:1,h2:x/db",
            "host=h1,h2,h3 port=1,2 password=p",
            "host=h:x password=p",
            "host=h port=x password=p",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_given_once_and_for_a_server() {
        let with = |text: &str| parsed(text).unwrap().with_password(Secret::new("x"));
        assert!(with("sqlite://x.db").is_err());
        for twice in [
            "postgres://u:p@h/d",
            "postgres://h/d?user=u&password=p",
            "host=h password=p",
        ] {
            assert!(with(twice).is_err(), "{twice}");
        }
        for once in ["postgres://u@h/d", "postgres://u:@h/d", "host=h user=u"] {
            assert!(with(once).is_ok(), "{once}");
        }
    }

    proptest! {
        #[test]
        fn no_debug_output_shows_a_password(password in "[ -~]{4,20}") {
            let database = Database::Postgres(Server {
                urls: vec![Secret::new("postgres://h")],
                must_write: false,
                password: Some(Secret::new(password.as_str())),
            });
            prop_assert_eq!(format!("{database:?}"), "Postgres(***)");
            let encoded = percent_encoded(&password);
            let url = url(&format!("postgres://u:{encoded}@h/d"));
            prop_assert!(url.contains(&encoded));
        }
    }
}
