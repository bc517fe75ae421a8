//! What a data plane is started with. The binary reads it from the environment.

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
    /// Limits of calls.
    pub limits: Limits,
    /// Token that may read `/metrics`, besides root's key.
    pub metrics_token: Option<Secret>,
    /// Counters of what the control plane in this process has posted; `None` without one.
    pub earned: Option<EarningCounters>,
    /// Members of request bodies that name the tag a call is counted under.
    pub tag_members: TagMembers,
    /// Settings of logs, traces and metrics.
    pub telemetry: telemetry::TelemetryConfig,
}

/// Limits of calls. Each has a documented response when it is reached.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A longer request body is refused with 413.
    pub body_bytes_max: usize,
    /// A request body that is silent for longer is refused with 408.
    pub body_idle: Duration,
    /// Timeout for connecting to a provider, TLS included.
    pub connect: Duration,
    /// Which addresses providers may have.
    pub provider_reach: EgressPolicy,
    /// Timeout from sending a request to the first byte of the response.
    pub first_byte: Duration,
    /// Idle timeout between chunks of a response. In an event stream, pings and comments count as silence.
    pub idle: Duration,
    /// Silence after which an event stream gets a comment to keep it alive; `None` turns that off.
    pub keepalive: Option<Duration>,
    /// Bytes of a response that are read after its client has left, where abandoned calls are read on.
    pub abandoned_bytes_max: u64,
    /// Time limit for reading on an abandoned response.
    pub abandoned: Duration,
    /// Bytes that are always read of a response near its end, if that yields its exact usage.
    pub drain_bytes_max: u64,
    /// Time limit for that drain.
    pub drain: Duration,
    /// No new attempt is started after this time.
    pub retry_deadline: Duration,
    /// Attempts per call, over all keys and models.
    pub tries_max: u32,
    /// Most tokens that a model reads, where the price table does not say.
    pub input_tokens_default: u64,
    /// Uses of each tool that the provider runs, where the request does not limit them.
    pub tool_uses_default: u64,
    /// How long a call waits for credit that other calls of its account hold.
    pub credit_wait: Duration,
    /// How long accounts may have to go on without control, so that much of their spending is kept on lease.
    pub island: Duration,
    /// Idle connections kept for each provider.
    pub idle_connections_max: usize,
    /// Open calls; more are refused with 503.
    pub open_calls_max: usize,
    /// Bytes that request bodies and unfinished events above 64 KiB may hold together. Beyond it, bodies are refused
    /// with 503, and events are forwarded in pieces.
    pub buffer_bytes_max: usize,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: IpList,
}

impl Limits {
    /// Values for cost ceilings where neither request nor price table has one.
    pub(crate) const fn assumed(&self) -> Assumed {
        Assumed {
            input: self.input_tokens_default,
            uses: self.tool_uses_default,
        }
    }
}
