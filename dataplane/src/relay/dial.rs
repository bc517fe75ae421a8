//! New connections to providers: TCP with Nagle off, TLS where the provider's address says so, all of it
//! within one bound.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use proxyxai_contract::provider::Origin;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceExt as _};

use crate::{Config, Error};

/// Connects to providers. It gives up by itself: hyper's own limit ends with TCP, and a TLS handshake
/// can hang as well.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    https: HttpsConnector<HttpConnector>,
    limit: Duration,
}

impl Dialer {
    /// # Errors
    /// When the TLS library refuses its protocol versions.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(config.connect));
        http.set_keepalive(Some(Duration::from_mins(1)));
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.into()))?
            .with_root_certificates(roots())
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            https,
            limit: config.connect,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// When there is no connection within the limit.
    pub(crate) async fn dial(
        &self,
        to: &Origin,
    ) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError> {
        tokio::time::timeout(self.limit, self.https.clone().oneshot(to.uri())).await?
    }
}

/// The system's certificates, so that a private authority can be added the usual way, and Mozilla's
/// list, so that an image without a certificate store works as well.
fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots
}
