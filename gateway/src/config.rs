//! The environment, read once. Every problem is collected, so that one start names them all.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use proxyxai_contract::{
    Invalid,
    access::{AllowList, IpList},
    clock::Zone,
    id::NodeName,
    provider::BaseUrl,
    secret::Secret,
};
use proxyxai_control::config::Database;
use proxyxai_dataplane::sight;

use crate::variables::{IGNORED, variables};

/// Settings that may also be stored; the environment gives their defaults.
const SETTINGS: [&str; 30] = [
    "MODEL_MAPPER",
    "LEVEL_MAPPER",
    "SWITCH_OVER",
    "MODEL_LIMITS",
    "RESOURCES",
    "PRICING",
    "UNPRICED",
    "CALL_MIN_BALANCE",
    "USER_MIN_BALANCE",
    "USER_API_BALANCE",
    "XAI_BASE",
    "MODEL_FAILOVER",
    "KEY_STRATEGY",
    "AFFINITY",
    "HEDGE",
    "COMMISSION_PERCENT",
    "AUDIT_RETENTION_DAYS",
    "EMAIL_SMTP",
    "EMAIL_PORT",
    "EMAIL_AUTH",
    "EMAIL_PASS",
    "EMAIL_SENDER",
    "EMAIL_TLS",
    "EMAIL_BALANCE",
    "EMAIL_BILL",
    "XAI_MAIL",
    "XAI_SVC",
    "XAI_API",
    "XAI_CHAT",
    "XAI_DOCS",
];

/// The configuration of the whole process.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) grpc_listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) control: proxyxai_control::config::Config,
    pub(crate) node_name: Option<NodeName>,
    pub(crate) control_grpc: Option<String>,
    pub(crate) control_http: Option<BaseUrl>,
    pub(crate) root_key: Option<Secret>,
    pub(crate) limits: Limits,
    pub(crate) sight: sight::Config,
    pub(crate) server: Server,
    /// Between saying that no more calls are wanted and taking no more.
    pub(crate) drain_delay: Duration,
    pub(crate) drain: Duration,
    pub(crate) worker_threads: Option<usize>,
    pub(crate) log_filter: String,
    pub(crate) log_json: bool,
    /// Variables that are set and not acted on.
    pub(crate) ignored: Vec<&'static str>,
}

/// Limits of a data plane, as `proxyxai_dataplane::Config` takes them.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) body_bytes_max: usize,
    pub(crate) body_idle: Duration,
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) drain_bytes_max: u64,
    pub(crate) drain: Duration,
    pub(crate) retry_deadline: Duration,
    pub(crate) tries_max: u32,
    pub(crate) credit_wait: Duration,
    pub(crate) idle_connections_max: usize,
    pub(crate) open_calls_max: usize,
    pub(crate) buffer_bytes_max: usize,
    pub(crate) trusted_proxies: IpList,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) header_bytes_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) connections_max: usize,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Every problem there is.
    pub(crate) fn read(
        get: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, Vec<Invalid>> {
        let mut reader = Reader {
            get: &get,
            problems: Vec::new(),
        };
        let data_dir = PathBuf::from(reader.or_default("DATA_DIR"));
        let config = Self {
            listen: reader.listen("LISTEN", "PORT", Ipv4Addr::UNSPECIFIED),
            grpc_listen: reader.listen("GRPC_LISTEN", "GRPC_PORT", Ipv4Addr::LOCALHOST),
            control: reader.control(&data_dir),
            node_name: reader.parsed("NODE_NAME", NodeName::new),
            control_grpc: reader.parsed("CONTROL_GRPC", |text| {
                BaseUrl::parse(text).map(|base| base.text())
            }),
            control_http: reader.parsed("CONTROL_HTTP", BaseUrl::parse),
            root_key: reader.text("ROOT_KEY").map(Secret::new),
            limits: reader.limits(),
            sight: reader.sight(),
            server: Server {
                header_bytes_max: reader.number("HEADER_BYTES_MAX", 8192, 16 * 1024 * 1024),
                header_timeout: reader.millis("HEADER_TIMEOUT_MS"),
                connections_max: reader.number("CONNECTIONS_MAX", 1, 1_000_000),
            },
            drain_delay: reader.millis_or_off("DRAIN_DELAY_MS").unwrap_or_default(),
            drain: reader.millis("DRAIN_TIMEOUT_MS"),
            worker_threads: reader
                .text("WORKER_THREADS")
                .is_some()
                .then(|| reader.number("WORKER_THREADS", 1, 1024)),
            log_filter: reader.or_default("RUST_LOG"),
            log_json: reader.choice("LOG_FORMAT", ["text", "json"]) == "json",
            ignored: IGNORED
                .iter()
                .copied()
                .filter(|name| reader.text(name).is_some())
                .collect(),
            data_dir,
        };
        let mut problems = reader.problems;
        problems.extend(config.control.check());
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

/// Reads single variables and remembers what was wrong.
struct Reader<'a> {
    get: &'a dyn Fn(&'static str) -> Option<OsString>,
    problems: Vec<Invalid>,
}

impl Reader<'_> {
    /// The value, trimmed; none when it is unset or empty.
    fn text(&mut self, name: &'static str) -> Option<String> {
        let value = (self.get)(name)?;
        let Ok(text) = value.into_string() else {
            self.problem(name, "is not UTF-8");
            return None;
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn problem(&mut self, name: &'static str, problem: &str) {
        self.problems.push(Invalid::new(name, problem));
    }

    /// The value, or the default that the table names.
    fn or_default(&mut self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| {
            let variable = variables().find(|variable| variable.name == name);
            variable
                .map(|variable| variable.default)
                .unwrap_or_default()
                .to_owned()
        })
    }

    fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.text(name)?;
        parse(&text)
            .map_err(|error| self.problems.push(error.under(name)))
            .ok()
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        name: &'static str,
        least: T,
        most: T,
    ) -> T {
        match self.or_default(name).parse::<T>() {
            Ok(number) if number >= least && number <= most => number,
            _ => {
                self.problem(
                    name,
                    &format!("must be a whole number from {least} to {most}"),
                );
                least
            }
        }
    }

    fn millis(&mut self, name: &'static str) -> Duration {
        // A day: longer than any call, short enough for every timer.
        Duration::from_millis(self.number(name, 1, 86_400_000))
    }

    /// None for 0.
    fn millis_or_off(&mut self, name: &'static str) -> Option<Duration> {
        let millis = self.number(name, 0, 86_400_000);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    fn choice<'c>(&mut self, name: &'static str, choices: [&'c str; 2]) -> &'c str {
        let text = self.or_default(name);
        if let Some(choice) = choices.into_iter().find(|choice| *choice == text) {
            return choice;
        }
        let [first, second] = choices;
        self.problem(name, &format!("must be {first} or {second}"));
        first
    }

    fn listen(&mut self, address: &'static str, port: &'static str, host: Ipv4Addr) -> SocketAddr {
        let fallback = SocketAddr::from((host, self.number(port, 0u16, u16::MAX)));
        let bad = |_| Invalid::new(address, "must be an address and a port, e.g. 0.0.0.0:3443");
        self.parsed(address, |text| text.parse().map_err(bad))
            .unwrap_or(fallback)
    }

    fn database(&mut self, data_dir: &std::path::Path) -> Database {
        let url = self.parsed("DATABASE_URL", Database::parse);
        let dsn = self.parsed("POSTGRES_DSN", Database::parse);
        if url.is_some() && dsn.is_some() {
            self.problem(
                "POSTGRES_DSN",
                "is given besides DATABASE_URL; give one of them",
            );
        }
        url.or(dsn)
            .unwrap_or_else(|| Database::Sqlite(data_dir.join("proxyxai.db")))
    }

    fn control(&mut self, data_dir: &std::path::Path) -> proxyxai_control::config::Config {
        let mut config =
            proxyxai_control::config::Config::new(self.database(data_dir), data_dir.to_owned());
        config.settings = self.settings();
        config.master_key = self.text("MASTER_KEY").map(Secret::new);
        config.node_token = self.text("NODE_TOKEN").map(Secret::new);
        config.zone = self
            .parsed("TZ", |name| Zone::new(name.trim_start_matches(':')))
            .unwrap_or(Zone::UTC);
        config.init_users = self.text("INIT_USERS");
        config.init_keys = self.text("INIT_KEYS");
        config.partial_key_chars = self.number("PARTIAL_KEY_CHARS", 0, 20);
        config.publish_wait_ms = self.number("PUBLISH_WAIT_MS", 0, 60_000);
        config.usage_retention_days = NonZero::new(self.number("USAGE_RETENTION_DAYS", 0, 36_500));
        config.lease_ms = self.number("LEASE_MS", 10_000, 86_400_000);
        config
    }

    /// Defaults of the settings, under whichever of their names they are given.
    fn settings(&mut self) -> BTreeMap<&'static str, String> {
        let older = [
            ("USER_API_BALANCE", "USER_API_MIN_BALANCE"),
            ("USER_API_BALANCE", "SUB_MIN_BALANCE"),
            ("XAI_BASE", "OPENAI_API_BASE"),
            ("XAI_MAIL", "XAI_INFO"),
            ("XAI_SVC", "XAI_SERVICE"),
        ];
        let mut settings = BTreeMap::new();
        for name in SETTINGS {
            if let Some(value) = self.text(name) {
                settings.insert(name, value);
            }
        }
        for (name, old) in older {
            if let Some(value) = self.text(old) {
                settings.entry(name).or_insert(value);
            }
        }
        settings
    }

    fn sight(&mut self) -> sight::Config {
        sight::Config {
            headers: self
                .parsed("RESPONSE_HEADERS", sight::OwnHeader::list)
                .unwrap_or_default(),
            log: self.access_log(),
            traces: self.tracing(),
        }
    }

    fn tracing(&mut self) -> Option<sight::Tracing> {
        let endpoint = self.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", BaseUrl::parse)?;
        Some(sight::Tracing {
            endpoint: endpoint.text(),
            service: self.or_default("OTEL_SERVICE_NAME"),
        })
    }

    fn access_log(&mut self) -> Option<sight::AccessLog> {
        let to = self.text("ACCESS_LOG")?;
        let bad = || Invalid::new("sample", "must be a number from 0 to 1");
        let sample = self.parsed("ACCESS_LOG_SAMPLE", |text| {
            let sample = text.parse().ok();
            sample
                .filter(|part| (0.0..=1.0).contains(part))
                .ok_or_else(bad)
        });
        Some(sight::AccessLog {
            to: match to.as_str() {
                "stdout" => sight::LogTo::Stdout,
                path => sight::LogTo::File(path.into()),
            },
            sample: sample.unwrap_or(1.0),
            all_errors: self.choice("ACCESS_LOG_ERRORS", ["all", "sampled"]) == "all",
        })
    }

    fn limits(&mut self) -> Limits {
        Limits {
            body_bytes_max: self.number("BODY_BYTES_MAX", 1024, 4 * 1024 * 1024 * 1024),
            body_idle: self.millis("BODY_TIMEOUT_MS"),
            connect: self.millis("CONNECT_TIMEOUT_MS"),
            first_byte: self.millis("FIRST_BYTE_TIMEOUT_MS"),
            idle: self.millis("IDLE_TIMEOUT_MS"),
            keepalive: self.millis_or_off("STREAM_KEEPALIVE_MS"),
            drain_bytes_max: self.number("DRAIN_BYTES_MAX", 0, 1 << 30),
            drain: self.millis_or_off("DRAIN_MS").unwrap_or_default(),
            retry_deadline: self.millis("RETRY_DEADLINE_MS"),
            tries_max: self.number("TRIES_MAX", 1, 100),
            credit_wait: self.millis("CREDIT_WAIT_MS"),
            idle_connections_max: self.number("IDLE_CONNECTIONS_MAX", 0, 65_536),
            open_calls_max: self.number("OPEN_CALLS_MAX", 1, 1_000_000),
            buffer_bytes_max: self.number("BUFFER_BYTES_MAX", 1 << 20, 1 << 40),
            trusted_proxies: self
                .parsed("TRUSTED_PROXIES", IpList::parse)
                .unwrap_or_else(|| AllowList::Only(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<Invalid>> {
        let values: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Config::read(|name| values.get(name).map(OsString::from))
    }

    #[test]
    fn nothing_needs_to_be_configured() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen.port(), 3443);
        assert!(config.grpc_listen.ip().is_loopback());
        assert_eq!(
            config.control.database,
            Database::Sqlite("./data/proxyxai.db".into())
        );
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = read(&[
            ("PORT", "99999"),
            ("TZ", "Nowhere/City"),
            ("NODE_NAME", "Über"),
            ("MODEL_MAPPER", "nonsense"),
            ("DATABASE_URL", "mysql://h/d"),
            ("IDLE_TIMEOUT_MS", "0"),
            ("LOG_FORMAT", "xml"),
            ("MASTER_KEY", "short"),
        ])
        .unwrap_err();
        let mut named: Vec<_> = problems
            .iter()
            .map(|problem| problem.field.as_str())
            .collect();
        named.sort_unstable();
        let expected = [
            "DATABASE_URL",
            "IDLE_TIMEOUT_MS",
            "LOG_FORMAT",
            "MASTER_KEY",
            "MODEL_MAPPER",
            "NODE_NAME",
            "PORT",
            "TZ",
        ];
        assert_eq!(named, expected);
    }

    #[test]
    fn older_names_are_understood() {
        let config = read(&[
            ("SUB_MIN_BALANCE", "7"),
            ("OPENAI_API_BASE", "api.example.com"),
            ("XAI_INFO", "ops@example.com"),
            ("REDIS_ADDR", "h"),
        ])
        .unwrap();
        assert_eq!(
            config
                .control
                .settings
                .get("USER_API_BALANCE")
                .map(String::as_str),
            Some("7")
        );
        assert_eq!(
            config.control.settings.get("XAI_BASE").map(String::as_str),
            Some("api.example.com")
        );
        assert_eq!(
            config.control.settings.get("XAI_MAIL").map(String::as_str),
            Some("ops@example.com")
        );
        assert_eq!(config.ignored, ["REDIS_ADDR"]);
    }

    #[test]
    fn every_variable_of_the_table_is_known_once() {
        let mut names: Vec<_> = variables()
            .map(|variable| variable.name)
            .chain(IGNORED.iter().copied())
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
