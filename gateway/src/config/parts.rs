//! Which variables make which part of the configuration: of control, of telemetry, and the data plane's limits.

use std::{collections::BTreeMap, num::NonZero, path::Path, time::Duration};

use proxyxai_contract::{
    Invalid,
    access::{AllowList, IpList},
    clock::Zone,
    egress::EgressPolicy,
    provider::BaseUrl,
    secret::Secret,
};
use proxyxai_control::{config::Database, domain::setting};
use proxyxai_dataplane::{Limits, TagMembers, telemetry};

use super::env_reader::EnvReader;

impl EnvReader<'_> {
    fn database(&mut self, data_dir: &Path) -> Database {
        let url = self.of_secret("DATABASE_URL", Database::parse);
        let dsn = self.of_secret("POSTGRES_DSN", Database::parse);
        if url.is_some() && dsn.is_some() {
            self.problem(
                "POSTGRES_DSN",
                "is given besides DATABASE_URL; give one of them",
            );
        }
        let read = url.or(dsn);
        // A value that could not be read has already been reported.
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

    pub(super) fn control(&mut self, data_dir: &Path) -> proxyxai_control::config::Config {
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
        config.partial_key_chars = self.number("PARTIAL_KEY_CHARS");
        config.publish_wait_ms = self.number("PUBLISH_WAIT_MS");
        config.usage_retention_days = NonZero::new(self.number("USAGE_RETENTION_DAYS"));
        config.lease_ms = self.number("LEASE_MS");
        config
    }

    /// Defaults of the settings, under any of their names.
    fn settings(&mut self) -> BTreeMap<&'static str, String> {
        let mut settings = BTreeMap::new();
        for setting in setting::ALL {
            for name in std::iter::once(&setting.name).chain(setting.older_names) {
                if let Some(value) = self.text(name) {
                    settings.entry(setting.name).or_insert(value);
                }
            }
        }
        settings
    }

    pub(super) fn telemetry(&mut self) -> telemetry::TelemetryConfig {
        telemetry::TelemetryConfig {
            headers: self
                .parsed("RESPONSE_HEADERS", telemetry::GatewayHeader::list)
                .unwrap_or_default(),
            log: self.access_log(),
            traces: self.tracing(),
        }
    }

    pub(super) fn tag_members(&mut self) -> TagMembers {
        let text = self.or_default("TAG_MEMBERS");
        TagMembers::parse(&text).unwrap_or_else(|error| {
            self.problems.push(error);
            TagMembers::default()
        })
    }

    fn tracing(&mut self) -> Option<telemetry::Tracing> {
        let endpoint = self.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", BaseUrl::parse)?;
        Some(telemetry::Tracing {
            endpoint: endpoint.text(),
            service: self.or_default("OTEL_SERVICE_NAME"),
        })
    }

    fn access_log(&mut self) -> Option<telemetry::AccessLog> {
        let to = self.text("ACCESS_LOG")?;
        let bad = || Invalid::new("sample", "must be a number from 0 to 1");
        let sample = self.parsed("ACCESS_LOG_SAMPLE", |text| {
            let sample = text.parse().ok();
            sample
                .filter(|part| (0.0..=1.0).contains(part))
                .ok_or_else(bad)
        });
        Some(telemetry::AccessLog {
            to: match to.as_str() {
                "stdout" => telemetry::LogDestination::Stdout,
                path => telemetry::LogDestination::File(path.into()),
            },
            sample: sample.unwrap_or(1.0),
            all_errors: self.choice("ACCESS_LOG_ERRORS", ["all", "sampled"]) == "all",
        })
    }

    pub(super) fn metrics_token(&mut self) -> Option<Secret> {
        self.of_secret("METRICS_TOKEN", |token| {
            let text = token.expose();
            let fits = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
            if fits {
                Ok(token.clone())
            } else {
                Err("must have at least 16 visible ASCII characters")
            }
        })
    }

    fn provider_reach(&mut self) -> EgressPolicy {
        match self.choice("PROVIDER_PRIVATE", ["allow", "refuse"]) {
            "refuse" => EgressPolicy::Public,
            _ => EgressPolicy::Private,
        }
    }

    pub(super) fn limits(&mut self) -> Limits {
        Limits {
            body_bytes_max: self.number("BODY_BYTES_MAX"),
            body_idle: self.millis("BODY_TIMEOUT_MS"),
            connect: self.millis("CONNECT_TIMEOUT_MS"),
            provider_reach: self.provider_reach(),
            first_byte: self.millis("FIRST_BYTE_TIMEOUT_MS"),
            idle: self.millis("IDLE_TIMEOUT_MS"),
            keepalive: self.millis_or_off("STREAM_KEEPALIVE_MS"),
            abandoned_bytes_max: self.number("ABANDONED_BYTES_MAX"),
            abandoned: self.millis_or_off("ABANDONED_MS").unwrap_or_default(),
            drain_bytes_max: self.number("DRAIN_BYTES_MAX"),
            drain: self.millis_or_off("DRAIN_MS").unwrap_or_default(),
            retry_deadline: self.millis("RETRY_DEADLINE_MS"),
            tries_max: self.number("TRIES_MAX"),
            input_tokens_default: self.number("INPUT_TOKENS_DEFAULT"),
            tool_uses_default: self.number("TOOL_USES_DEFAULT"),
            credit_wait: self.millis("CREDIT_WAIT_MS"),
            island: Duration::from_secs(self.number("ISLAND_S")),
            idle_connections_max: self.number("IDLE_CONNECTIONS_MAX"),
            open_calls_max: self.number("OPEN_CALLS_MAX"),
            buffer_bytes_max: self.number("BUFFER_BYTES_MAX"),
            trusted_proxies: self
                .parsed("TRUSTED_PROXIES", IpList::parse)
                .unwrap_or_else(|| AllowList::Only(Vec::new())),
        }
    }
}
