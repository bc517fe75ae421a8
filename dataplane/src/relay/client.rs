//! The HTTP client towards providers: hyper's own, with a pool by provider, Nagle off, and a bound
//! on how long a connection, TLS included, may take. It is lower than reqwest because a relayed call
//! needs none of reqwest's layers, and each of them costs every call (see `bench/`).

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::{Config, Error};

/// A client for provider calls.
pub(crate) type Upstream = Client<Dialer, Segments>;

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

    /// A client with a pool of its own.
    pub(crate) fn client(&self, config: &Config) -> Upstream {
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .pool_max_idle_per_host(config.idle_connections_max)
            // A pooled connection may have been closed by its provider just now; then nothing has
            // been sent yet, and a new one is tried.
            .retry_canceled_requests(true)
            .build(self.clone())
    }
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(tokio::time::timeout(self.limit, self.https.call(to)).map(|in_time| in_time?))
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

/// A request body of a few pieces: the client's own bytes with what must change laid between them.
/// Cloning it counts references, so each attempt gets its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    pieces: std::collections::VecDeque<Bytes>,
    left: u64,
}

impl Segments {
    /// The pieces in order; empty ones are left out.
    pub(crate) fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: std::collections::VecDeque<_> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, left }
    }

    /// Bytes in all.
    pub(crate) const fn len(&self) -> u64 {
        self.left
    }
}

impl Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.pop_front();
        self.left = self
            .left
            .saturating_sub(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
