//! Every environment variable the program knows: the table in README is printed from here.

mod settings;

use settings::SETTINGS;

/// One variable.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// Empty when there is none.
    pub(crate) default: &'static str,
    /// Meaning, unit and range.
    pub(crate) meaning: &'static str,
    /// Which roles read it.
    pub(crate) roles: &'static str,
    /// It is a secret: the variable that names a file with it.
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

/// A secret. It may also stand in a file that is named by a variable of its own, as containers are given secrets.
macro_rules! secret {
    ($name:literal, $roles:expr, $meaning:literal $(,)?) => {
        crate::variables::Variable {
            file: Some(concat!($name, "_FILE")),
            ..crate::variables::var($name, "", $roles, $meaning)
        }
    };
}
use secret;

/// The variables that are acted on, in the order of the table.
pub(crate) fn variables() -> impl Iterator<Item = &'static Variable> {
    STARTING.iter().chain(SETTINGS).chain(RUNNING)
}

/// The variable that names a file with the value of this one.
pub(crate) fn file_of(name: &str) -> Option<&'static str> {
    variables().find(|variable| variable.name == name)?.file
}

/// Places, identity, and what the first start stores.
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

/// How it behaves, at control and on data planes.
const RUNNING: &[Variable] = &[
    var(
        "PARTIAL_KEY_CHARS",
        "20",
        CONTROL,
        "characters of a client key that are shown again, 0 to 20",
    ),
    var(
        "PUBLISH_WAIT_MS",
        "500",
        CONTROL,
        "how long a change waits for data planes to use it, milliseconds, 0 to 60000",
    ),
    var(
        "USAGE_RETENTION_DAYS",
        "365",
        CONTROL,
        "days for which single usage records are kept, 0 (for good) to 36500; totals and ledger stay",
    ),
    var(
        "LEASE_MS",
        "3600000",
        CONTROL,
        "how long credit stays on lease to a data plane that is not heard of, milliseconds, 10000 to 86400000; as long a data plane serves without control",
    ),
    var(
        "TZ",
        "UTC",
        CONTROL,
        "IANA time zone of day and month borders and of shown times",
    ),
    var(
        "BODY_BYTES_MAX",
        "67108864",
        DATA,
        "longest request body, bytes; longer ones are refused with 413",
    ),
    var(
        "BODY_TIMEOUT_MS",
        "30000",
        DATA,
        "silence inside a request body before it is refused with 408, milliseconds; a tenth of what the whole body may take below 1 KiB/s",
    ),
    var(
        "HEADER_BYTES_MAX",
        "65536",
        BOTH,
        "longest request head, bytes, at least 8192; longer ones are refused with 431",
    ),
    var(
        "HEADER_TIMEOUT_MS",
        "30000",
        BOTH,
        "until a request head is complete, milliseconds; then the connection is closed",
    ),
    var(
        "CONNECT_TIMEOUT_MS",
        "5000",
        DATA,
        "until a connection to a provider stands, milliseconds",
    ),
    var(
        "PROVIDER_PRIVATE",
        "allow",
        BOTH,
        "`allow` or `refuse` providers at private addresses and on this host; link-local addresses and metadata services of clouds are always refused ([relaying](docs/relaying.md#where-keys-may-be-sent))",
    ),
    var(
        "FIRST_BYTE_TIMEOUT_MS",
        "600000",
        DATA,
        "until the first byte of an answer, milliseconds; a stream that has said no more than that it began is then passed on",
    ),
    var(
        "IDLE_TIMEOUT_MS",
        "300000",
        DATA,
        "silence between chunks of an answer, milliseconds; pings and comments of a stream are silence",
    ),
    var(
        "STREAM_KEEPALIVE_MS",
        "0",
        DATA,
        "a stream in which nothing came for so long gets a comment, milliseconds; 0: never",
    ),
    var(
        "DRAIN_BYTES_MAX",
        "65536",
        DATA,
        "of an answer that is near its end, read on after its client left for its exact usage, bytes; 0: nothing",
    ),
    var(
        "DRAIN_MS",
        "2000",
        DATA,
        "how long that may take, milliseconds; 0: not at all",
    ),
    var(
        "RETRY_DEADLINE_MS",
        "60000",
        DATA,
        "no further attempt is started after this, milliseconds",
    ),
    var(
        "TRIES_MAX",
        "8",
        DATA,
        "attempts that one call may make in all, 1 to 100; each key is asked once",
    ),
    var(
        "INPUT_TOKENS_DEFAULT",
        "1048576",
        DATA,
        "tokens set aside for what a call reads beside its own text, where the price table has no `MaxInput` of its model ([usage](docs/usage.md#what-is-set-aside))",
    ),
    var(
        "TOOL_USES_DEFAULT",
        "10",
        DATA,
        "uses set aside for each tool that the provider runs, where a call says neither `max_tool_calls` nor `max_uses`",
    ),
    var(
        "CREDIT_WAIT_MS",
        "10000",
        DATA,
        "how long a call waits for credit that other calls of its account hold, milliseconds",
    ),
    var(
        "IDLE_CONNECTIONS_MAX",
        "512",
        DATA,
        "idle connections kept for each provider",
    ),
    var(
        "OPEN_CALLS_MAX",
        "10000",
        DATA,
        "calls open at once; more are refused with 503",
    ),
    var(
        "BUFFER_BYTES_MAX",
        "1073741824",
        DATA,
        "bytes that request bodies and unfinished events above 64 KiB may hold together, at least 1048576; further bodies are refused with 503, further events go on in pieces",
    ),
    var(
        "CONNECTIONS_MAX",
        "16384",
        BOTH,
        "client connections open at once; more wait to be accepted. With fewer files than these take (`ulimit -n`) it is lowered",
    ),
    var(
        "CONNECTIONS_PER_ADDRESS_MAX",
        "4096",
        BOTH,
        "of them from one address, a /64 of IPv6 being one, and never the last quarter; more are refused with 429. This machine and `TRUSTED_PROXIES` are not counted",
    ),
    var(
        "GRPC_CONNECTIONS_MAX",
        "1024",
        CONTROL,
        "gRPC connections open at once; more wait to be accepted",
    ),
    var(
        "TRUSTED_PROXIES",
        "",
        BOTH,
        "addresses and CIDR blocks whose `X-Forwarded-For` is believed",
    ),
    var(
        "DRAIN_DELAY_MS",
        "1000",
        DATA,
        "how long calls are still taken after SIGTERM while `/readyz` already says no, so that load balancers look elsewhere first, milliseconds; 0: not at all",
    ),
    var(
        "DRAIN_TIMEOUT_MS",
        "30000",
        BOTH,
        "how long open calls may go on after that, milliseconds; then streams end with an error event and calls without an answer with 503",
    ),
    var(
        "WORKER_THREADS",
        "",
        BOTH,
        "threads that serve calls, 1 to 1024; default: one for each core",
    ),
    var(
        "RESPONSE_HEADERS",
        "",
        DATA,
        "headers of its own in answers: a list of `key`, `level`, `tries`, `overhead-us` (each after `x-proxyxai-`)",
    ),
    var(
        "ACCESS_LOG",
        "",
        DATA,
        "a line of JSON for each call to `stdout` or to this file; default: none",
    ),
    var(
        "ACCESS_LOG_SAMPLE",
        "1",
        DATA,
        "which part of the calls is logged, 0 to 1",
    ),
    var(
        "ACCESS_LOG_ERRORS",
        "all",
        DATA,
        "calls that failed are logged `all`, or `sampled` like the others",
    ),
    var(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        DATA,
        "a collector's OTLP address for gRPC, `http://host:4317`, to which traces go; default: none are made",
    ),
    var(
        "OTEL_SERVICE_NAME",
        "proxyxai",
        DATA,
        "the gateway's name in traces; `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_BSP_…` are understood too",
    ),
    var(
        "RUST_LOG",
        "info,sea_orm_migration=warn",
        BOTH,
        "log filter, e.g. `warn,proxyxai_dataplane=debug`",
    ),
    var("LOG_FORMAT", "text", BOTH, "`text` or `json`"),
];

/// Variables of the original that have nothing to act on here. Each that is set is logged once.
pub(crate) const IGNORED: &[&str] = &[
    "STATS_INTERVAL",
    "SINGLE_MODE",
    "SINGLE_TENANT",
    "REDIS_ADDR",
    "REDIS_PASS",
    "LOCK_USER_MAPPER",
];
