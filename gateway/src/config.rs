//! The environment, read once. All problems are collected, so that one start reports them all.

mod env_reader;
mod parts;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use env_reader::EnvReader;
use proxyxai_contract::{Invalid, id::NodeName, provider::BaseUrl, secret::Secret};
use proxyxai_dataplane::{Limits, TagMembers, telemetry};

use crate::{listen::Listen, variables::IGNORED};

/// The configuration of the whole process.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    /// Where `/metrics` is served without a credential.
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) grpc_listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) control: proxyxai_control::config::Config,
    pub(crate) node_name: Option<NodeName>,
    pub(crate) control_grpc: Option<Vec<String>>,
    pub(crate) control_http: Option<BaseUrl>,
    pub(crate) limits: Limits,
    pub(crate) telemetry: telemetry::TelemetryConfig,
    /// Members of request bodies that hold the tag of a call.
    pub(crate) tag_members: TagMembers,
    /// Token that may read `/metrics`, besides root's key.
    pub(crate) metrics_token: Option<Secret>,
    pub(crate) server: ServerLimits,
    pub(crate) grpc_connections_max: usize,
    /// Time between announcing that no more calls are wanted and refusing them.
    pub(crate) drain_delay: Duration,
    pub(crate) drain: Duration,
    pub(crate) worker_threads: Option<usize>,
    pub(crate) log_filter: String,
    pub(crate) log_json: bool,
    /// Variables that are set but have no effect.
    pub(crate) ignored: Vec<&'static str>,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    pub(crate) header_bytes_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) connections_max: usize,
    pub(crate) address_connections_max: usize,
}

impl Config {
    /// Reads all variables.
    ///
    /// # Errors
    /// Errors with every problem found.
    pub(crate) fn read(
        get: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, Vec<Invalid>> {
        let mut reader = EnvReader {
            get: &get,
            problems: Vec::new(),
        };
        let data_dir = PathBuf::from(reader.or_default("DATA_DIR"));
        let mut config = Self {
            listen: reader.listen_http(),
            metrics_listen: reader.address("METRICS_LISTEN"),
            grpc_listen: reader.listen_grpc(),
            control: reader.control(&data_dir),
            node_name: reader.parsed("NODE_NAME", NodeName::new),
            control_grpc: reader.parsed("CONTROL_GRPC", addresses),
            control_http: reader.parsed("CONTROL_HTTP", BaseUrl::parse),
            limits: reader.limits(),
            telemetry: reader.telemetry(),
            tag_members: reader.tag_members(),
            metrics_token: reader.metrics_token(),
            server: ServerLimits {
                header_bytes_max: reader.number("HEADER_BYTES_MAX"),
                header_timeout: reader.millis("HEADER_TIMEOUT_MS"),
                send_timeout: reader.millis("SEND_TIMEOUT_MS"),
                connections_max: reader.number("CONNECTIONS_MAX"),
                address_connections_max: reader.number("CONNECTIONS_PER_ADDRESS_MAX"),
            },
            grpc_connections_max: reader.number("GRPC_CONNECTIONS_MAX"),
            drain_delay: reader.millis_or_off("DRAIN_DELAY_MS").unwrap_or_default(),
            drain: reader.millis("DRAIN_TIMEOUT_MS"),
            worker_threads: reader
                .text("WORKER_THREADS")
                .is_some()
                .then(|| reader.number("WORKER_THREADS")),
            log_filter: reader.or_default("RUST_LOG"),
            log_json: reader.choice("LOG_FORMAT", ["text", "json"]) == "json",
            ignored: IGNORED
                .iter()
                .copied()
                .filter(|name| reader.text(name).is_some())
                .collect(),
            data_dir,
        };
        config.control.provider_reach = config.limits.provider_reach;
        let mut problems = reader.problems;
        problems.extend(config.control.check());
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

/// Addresses of control's replicas, comma separated.
fn addresses(text: &str) -> Result<Vec<String>, Invalid> {
    text.split(',')
        .map(|address| BaseUrl::parse(address.trim()).map(|base| base.text()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proxyxai_control::{config::Database, domain::setting::ALL};

    use super::*;
    use crate::variables::variables;

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

    /// Variables whose values are public rules. Errors quote only these values.
    const QUOTED: [&str; 10] = [
        "TRUSTED_PROXIES",
        "KEY_STRATEGY",
        "MODEL_MAPPER",
        "LEVEL_MAPPER",
        "SWITCH_OVER",
        "MODEL_FAILOVER",
        "MODEL_LIMITS",
        "RESOURCES",
        "PASSTHROUGH",
        "PRICING",
    ];

    proptest! {
        // Each case reads the whole configuration some thousand times.
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
    fn every_secret_may_stand_in_a_file() {
        let path = std::env::temp_dir().join(format!("proxyxai-secret-{}", std::process::id()));
        let from_file = |name: &str, text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&[(name, path.to_str().unwrap())])
        };
        let token = "a token of sixteen and more";
        for text in [
            token.to_owned(),
            format!("{token}\n"),
            format!("{token}\r\n"),
        ] {
            let config = from_file("MASTER_KEY_FILE", &text).unwrap();
            assert_eq!(
                config.control.master_key.as_ref().map(Secret::expose),
                Some(token)
            );
        }
        // One line break is the editor's; everything else belongs to the secret.
        let url = [
            ("DATABASE_URL", "postgres://u@h/d"),
            ("DATABASE_PASSWORD_FILE", path.to_str().unwrap()),
        ];
        std::fs::write(&path, " a b \n\n").unwrap();
        let Database::Postgres(server) = read(&url).unwrap().control.database else {
            panic!("no server")
        };
        assert_eq!(server.password().map(Secret::expose), Some(" a b \n"));
        let email = from_file("EMAIL_PASS_FILE", "word\n").unwrap();
        assert_eq!(
            email.control.settings.get("EMAIL_PASS").map(String::as_str),
            Some("word")
        );
        for file in variables().filter_map(|variable| variable.file) {
            for text in ["", "\n"] {
                let problems = from_file(file, text).unwrap_err();
                assert!(
                    problems.iter().any(|problem| problem.field == file),
                    "{file}"
                );
            }
            let name = file.strip_suffix("_FILE").unwrap();
            let both = read(&[(name, "secret-value-of-20-chars"), (file, "/nowhere")]).unwrap_err();
            let besides = both.iter().find(|problem| problem.field == file);
            assert!(
                besides.is_some_and(|problem| problem.problem.contains("one of them")),
                "{both:?}"
            );
            let nowhere = read(&[(file, "/nowhere")]).unwrap_err();
            assert_eq!(
                nowhere
                    .iter()
                    .filter(|problem| problem.field == file)
                    .count(),
                1,
                "{nowhere:?}"
            );
        }
        std::fs::remove_file(&path).unwrap();
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
    fn every_range_of_the_table_is_the_one_that_is_checked() {
        for variable in variables() {
            let Some(range) = variable.range else {
                continue;
            };
            let accepts = |number: u64| read(&[(variable.name, &number.to_string())]).is_ok();
            assert!(accepts(range.least), "{}", variable.name);
            assert!(accepts(range.most), "{}", variable.name);
            assert!(!accepts(range.most + 1), "{}", variable.name);
            let below = range.least.checked_sub(1);
            assert!(
                below.is_none_or(|below| !accepts(below)),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn every_setting_can_be_given_as_a_variable_under_each_of_its_names() {
        for setting in ALL {
            for name in setting.older_names.iter().chain([&setting.name]) {
                let given = [(*name, setting.default)];
                let settings = read(&given).unwrap().control.settings;
                let expected = (!setting.default.is_empty()).then_some(setting.default);
                let found = settings.get(setting.name).map(String::as_str);
                assert_eq!(found, expected, "{name}");
            }
        }
    }

    #[test]
    fn every_variable_of_the_table_is_known_once() {
        let mut names: Vec<_> = variables()
            .flat_map(|variable| [Some(variable.name), variable.file])
            .flatten()
            .chain(IGNORED.iter().copied())
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
