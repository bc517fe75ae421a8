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
const SETTINGS: [&str; 31] = [
    "MODEL_MAPPER",
    "LEVEL_MAPPER",
    "SWITCH_OVER",
    "MODEL_LIMITS",
    "RESOURCES",
    "PASSTHROUGH",
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
        let value = self.exact(name)?;
        let text = value.expose().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The same of a variable that holds a secret.
    fn secret(&mut self, name: &'static str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A secret with the blanks around it: a password may have some.
    fn exact(&mut self, name: &'static str) -> Option<Secret> {
        let value = (self.get)(name)?;
        let Ok(text) = value.into_string() else {
            self.problem(name, "is not UTF-8");
            return None;
        };
        (!text.is_empty()).then(|| Secret::new(text))
    }

    /// What is read from a variable that holds a secret. Whoever reads it has no words for what is wrong but those of
    /// the program: a message made of the value could not be returned.
    fn of_secret<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&Secret) -> Result<T, &'static str>,
    ) -> Option<T> {
        let secret = self.secret(name)?;
        parse(&secret)
            .map_err(|problem| self.problem(name, problem))
            .ok()
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
        let url = self.of_secret("DATABASE_URL", Database::parse);
        let dsn = self.of_secret("POSTGRES_DSN", Database::parse);
        if url.is_some() && dsn.is_some() {
            self.problem(
                "POSTGRES_DSN",
                "is given besides DATABASE_URL; give one of them",
            );
        }
        let read = url.or(dsn);
        // What could not be read has been named already.
        let unread = read.is_none()
            && ["DATABASE_URL", "POSTGRES_DSN"]
                .iter()
                .any(|name| self.text(name).is_some());
        let database = read.unwrap_or_else(|| Database::Sqlite(data_dir.join("proxyxai.db")));
        match self.exact("DATABASE_PASSWORD") {
            Some(password) if !unread => {
                database
                    .clone()
                    .with_password(password)
                    .unwrap_or_else(|problem| {
                        self.problem("DATABASE_PASSWORD", problem);
                        database
                    })
            }
            Some(_) | None => database,
        }
    }

    fn control(&mut self, data_dir: &std::path::Path) -> proxyxai_control::config::Config {
        let mut config =
            proxyxai_control::config::Config::new(self.database(data_dir), data_dir.to_owned());
        config.settings = self.settings();
        config.master_key = self.secret("MASTER_KEY");
        config.root_key = self.secret("ROOT_KEY");
        config.node_token = self.secret("NODE_TOKEN");
        config.zone = self
            .parsed("TZ", |name| Zone::new(name.trim_start_matches(':')))
            .unwrap_or(Zone::UTC);
        config.init_users = self.secret("INIT_USERS");
        config.init_keys = self.secret("INIT_KEYS");
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
    use proptest::prelude::*;

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
    fn the_password_of_the_database_has_a_variable_of_its_own() {
        let fields = |pairs: &[(&str, &str)]| -> Vec<String> {
            let problems = read(pairs).err().unwrap_or_default();
            problems.into_iter().map(|problem| problem.field).collect()
        };
        let password = ("DATABASE_PASSWORD", " a/b@c%d#e:f'g ");
        for place in [
            ("DATABASE_URL", "postgres://u@h/d"),
            ("POSTGRES_DSN", "host=h user=u"),
        ] {
            assert!(fields(&[place, password]).is_empty(), "{place:?}");
            let Ok(config) = read(&[place, password]) else {
                panic!("{place:?}")
            };
            let Database::Postgres(server) = config.control.database else {
                panic!("{place:?}")
            };
            assert_eq!(server.password().map(Secret::expose), Some(password.1));
        }
        for place in [
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("DATABASE_URL", "sqlite://x.db"),
            ("POSTGRES_DSN", "host=h password=p"),
            ("DATABASE_URL", ""),
        ] {
            assert_eq!(
                fields(&[place, password]),
                ["DATABASE_PASSWORD"],
                "{place:?}"
            );
        }
        let unread = ("DATABASE_URL", "postgres://u:p@h:x/d");
        assert_eq!(fields(&[unread, password]), ["DATABASE_URL"]);
    }

    /// Whose values are rules that everybody may see. What is wrong with them is quoted; with any other value, never.
    const QUOTED: [&str; 9] = [
        "TRUSTED_PROXIES",
        "KEY_STRATEGY",
        "MODEL_MAPPER",
        "LEVEL_MAPPER",
        "SWITCH_OVER",
        "MODEL_FAILOVER",
        "MODEL_LIMITS",
        "RESOURCES",
        "PRICING",
    ];

    proptest! {
        // Each reads the whole configuration some thousand times.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn no_message_repeats_the_value_of_a_variable(
            word in "[a-zA-Z0-9]{10}",
            before in "[ -~]{0,6}",
            after in "[ -~é]{0,6}",
        ) {
            let secret = format!("{before}{word}{after}");
            let shapes = [
                secret.clone(),
                format!("postgres://u:{secret}@h/d"),
                format!("postgres://u:{secret}@h:port/d"),
                format!("postgres://u:1/{secret}@h/d"),
                format!("postgres://u:1?{secret}@h/d"),
                format!("postgres://h/d?sslmode={secret}"),
                format!("postgres://h/d?{secret}=1"),
                format!("postgres:/u:{secret}@h"),
                format!("u:{secret}@h"),
                format!("host=h password='{secret}"),
                format!("host={secret} x"),
                format!("https://u:{secret}@h"),
                format!("ftp://u:{secret}@h/?{secret}#{secret}"),
                format!("root::mail::{secret}"),
                format!("{secret}::ftp://u:{secret}@h"),
            ];
            for name in variables().map(|variable| variable.name) {
                if QUOTED.contains(&name) {
                    continue;
                }
                for shape in &shapes {
                    for problem in read(&[(name, shape)]).err().unwrap_or_default() {
                        prop_assert!(!problem.to_string().contains(&word), "{}: {}", shape, problem);
                    }
                }
            }
        }
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
