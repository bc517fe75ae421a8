//! What a data plane is started with. Read from the environment by the binary, not here.

use std::{path::PathBuf, time::Duration};

use proxyxai_contract::{
    access::IpList, earnings::EarningCounters, egress::EgressPolicy, id::NodeName, secret::Secret,
};

use crate::{decide::ceiling::Assumed, formats::tag::TagMembers, telemetry};

/// What a data plane is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this data plane; unique in the fleet, goes into `Via`.
    pub node: NodeName,
    /// Holds the usage spool.
    pub data_dir: PathBuf,
    /// What calls may take.
    pub limits: Limits,
    /// What reads `/metrics`, besides root's key.
    pub metrics_token: Option<Secret>,
    /// What the control plane of this process has posted; none where there is none.
    pub earned: Option<EarningCounters>,
    /// Where bodies say what their calls are counted under.
    pub tag_members: TagMembers,
    /// What of calls is to be seen.
    pub telemetry: telemetry::TelemetryConfig,
}

/// Limits of calls. Each has a documented response when it is reached.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A longer request body is refused with 413.
    pub body_bytes_max: usize,
    /// Silence inside a request body after which it is refused with 408.
    pub body_idle: Duration,
    /// Until a connection, TLS included, stands.
    pub connect: Duration,
    /// How far providers may be reached.
    pub provider_reach: EgressPolicy,
    /// From sending a request to the first byte of its answer.
    pub first_byte: Duration,
    /// Silence between chunks of an answer; in a stream of events, pings and comments are silence.
    pub idle: Duration,
    /// A stream in which nothing has come for so long gets a comment; none when it gets none.
    pub keepalive: Option<Duration>,
    /// How much of an answer is read on after its client has left, where calls are read on.
    pub abandoned_bytes_max: u64,
    /// How long that may take.
    pub abandoned: Duration,
    /// How much of an answer near its end is read on in any case, if that tells its exact usage.
    pub drain_bytes_max: u64,
    /// How long that may take.
    pub drain: Duration,
    /// No further attempt is started after this long.
    pub retry_deadline: Duration,
    /// Attempts that one call may make in all.
    pub tries_max: u32,
    /// Tokens that a model reads at most, where the price table does not say.
    pub input_tokens_default: u64,
    /// Uses of each tool that the provider runs, where the request does not say how many there may be.
    pub tool_uses_default: u64,
    /// How long a call waits for credit that other calls of its account hold.
    pub credit_wait: Duration,
    /// Idle connections kept for each provider.
    pub idle_connections_max: usize,
    /// Calls that may be open at once; more are refused with 503.
    pub open_calls_max: usize,
    /// What request bodies and unfinished events of all calls may hold together, of those above 64 KiB;
    /// bodies beyond it are refused with 503, events go on in pieces.
    pub buffer_bytes_max: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: IpList,
}

impl Limits {
    /// What counts for the ceilings of calls where nothing tells better.
    pub(crate) const fn assumed(&self) -> Assumed {
        Assumed {
            input: self.input_tokens_default,
            uses: self.tool_uses_default,
        }
    }
}
