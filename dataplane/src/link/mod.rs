//! The link to control: follows the configuration, hands in usage, passes on what is learnt about
//! keys. The only module that names the wire and tonic.

pub(crate) mod health;
pub(crate) mod lease;
pub(crate) mod report;
pub(crate) mod watch;

use std::time::Duration;

use proxyxai_contract::{id::NodeName, secret::Secret, wire::fleet_client::FleetClient};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::Error;

/// A snapshot of 100,000 accounts is some tens of megabytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Between attempts to reach control: doubling from the first to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(5);

/// A channel to a control plane elsewhere. It connects when first used and again when it must.
///
/// # Errors
/// When the address cannot be used.
pub fn connect(address: &str) -> Result<Channel, Error> {
    let endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|error| Error::Control(error.into()))?;
    let tls = tonic::transport::ClientTlsConfig::new().with_native_roots();
    let endpoint = if address.starts_with("https://") {
        endpoint
            .tls_config(tls)
            .map_err(|error| Error::Control(error.into()))?
    } else {
        endpoint
    };
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// A client of `Fleet`, and as whom it speaks.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    client: FleetClient<InterceptedService<Channel, NodeToken>>,
    node: NodeName,
    epoch: u64,
}

impl Link {
    /// Speaks as this node.
    ///
    /// # Errors
    /// When the token cannot be a header.
    pub(crate) fn new(
        channel: Channel,
        token: &Secret,
        node: NodeName,
        epoch: u64,
    ) -> Result<Self, Error> {
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
            .parse()
            .map_err(|_| Error::Control("NODE_TOKEN must be visible ASCII".into()))?;
        bearer.set_sensitive(true);
        let client = FleetClient::with_interceptor(channel, NodeToken(bearer))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self {
            client,
            node,
            epoch,
        })
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

/// Waits that double until something works.
pub(crate) struct Patience(Duration);

impl Patience {
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
