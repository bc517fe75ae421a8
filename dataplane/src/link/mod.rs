//! The link to control: follows the configuration, reports usage and key health, requests credit. The only module that
//! names gRPC and tonic.

pub(crate) mod control_channel;
pub(crate) mod health;
pub(crate) mod lease;
pub(crate) mod objects;
pub(crate) mod refusals;
pub(crate) mod report;
pub(crate) mod watch;
pub(crate) mod windows;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use proxyxai_contract::{
    convert::SpooledReport,
    id::NodeName,
    secret::Secret,
    wire::{self, fleet_client::FleetClient},
};
use tonic::{
    Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
};

use tonic_prost::ProstCodec;

use crate::{Config, Error};
use control_channel::ControlChannel;

/// A snapshot of 100,000 accounts takes some tens of megabytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Backoff between attempts to reach control; doubles from the first value to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(5);

/// A client of the `Fleet` service that authenticates as this node.
#[derive(Debug, Clone)]
pub(crate) struct ControlLink {
    client: FleetClient<InterceptedService<ControlChannel, NodeToken>>,
    /// The same without generated code, for messages that are sent as they are stored.
    raw: Grpc<InterceptedService<ControlChannel, NodeToken>>,
    channel: ControlChannel,
    node: NodeName,
    epoch: u64,
    /// Tells this process from others that were given the same name.
    process: u64,
    /// How long accounts may have to go on without control.
    island: Duration,
}

impl ControlLink {
    /// Makes a client for this node.
    ///
    /// # Errors
    /// Errors if the token is not valid in a header.
    pub(crate) fn new(
        channel: ControlChannel,
        token: &Secret,
        config: &Config,
        epoch: u64,
    ) -> Result<Self, Error> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
            .parse()
            .map_err(|_| Error::Control("NODE_TOKEN must be visible ASCII".into()))?;
        bearer.set_sensitive(true);
        let service = InterceptedService::new(channel.clone(), NodeToken(bearer));
        let client = FleetClient::new(service.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            client,
            raw: Grpc::new(service)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            channel,
            node: config.node.clone(),
            epoch,
            process: fastrand::u64(1..),
            island: config.limits.island,
        })
    }

    /// `Fleet.ReportUsage` with records as they are stored.
    async fn report_usage(
        &self,
        records: Vec<Bytes>,
        limit: Duration,
    ) -> Result<wire::ReportUsageResponse, Status> {
        let mut request = Request::new(SpooledReport {
            node: self.node.to_string(),
            epoch: self.epoch,
            records,
        });
        request.set_timeout(limit);
        let mut raw = self.raw.clone();
        raw.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/proxyxai.v1.Fleet/ReportUsage");
        let answer = raw.unary(request, path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}

/// Adds the node token to each call.
#[derive(Debug, Clone)]
pub(crate) struct NodeToken(MetadataValue<Ascii>);

impl Interceptor for NodeToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Exponential backoff until an attempt succeeds.
pub(crate) struct ReconnectBackoff(Duration);

impl ReconnectBackoff {
    pub(crate) const fn new() -> Self {
        Self(RECONNECT_FIRST)
    }

    pub(crate) fn reset(&mut self) {
        self.0 = RECONNECT_FIRST;
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(RECONNECT_LAST);
    }
}
