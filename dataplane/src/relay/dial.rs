//! New connections to providers: TCP with Nagle off, and TLS if the provider's address says so, all within one timeout.
//! An address is checked after it was resolved and connected to as it was checked, so a name that resolves differently
//! the next time gains nothing.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use proxyxai_contract::{
    egress::{self, AddressClass, EgressPolicy},
    provider::ProviderOrigin,
};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt as _};

use crate::{Config, Error, decide::connect_failure::ConnectFailure};

/// Connects to providers. It has its own timeout: hyper's ends with TCP, and a TLS handshake can hang as well.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    https: HttpsConnector<Tcp>,
    limit: Duration,
}

/// Why there is no connection, passed through the connectors, with the message.
#[derive(Debug)]
struct DialError(ConnectFailure, String);

/// TCP connections to permitted addresses.
#[derive(Debug, Clone)]
struct Tcp {
    http: HttpConnector<Resolver>,
    rule: ReachRule,
}

/// Resolves names and checks their addresses.
#[derive(Debug, Clone)]
struct Resolver {
    rule: ReachRule,
    limit: Duration,
}

/// Which addresses are permitted; `None` permits all, for hosts that the operator named.
#[derive(Debug, Clone)]
struct ReachRule {
    reach: Option<EgressPolicy>,
    /// Whether a provider at a private address was already logged.
    is_logged: Arc<AtomicBool>,
}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, DialError>> + Send>>;

impl Dialer {
    /// For hosts within this reach; `None` permits all that the operator has named.
    ///
    /// # Errors
    /// Errors if the TLS library refuses its protocol versions.
    pub(crate) fn new(config: &Config, reach: Option<EgressPolicy>) -> Result<Self, Error> {
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.into()))?
            .with_root_certificates(roots())
            .with_no_client_auth();
        Ok(Self::with(reach, config.limits.connect, tls))
    }

    fn with(reach: Option<EgressPolicy>, limit: Duration, tls: ClientConfig) -> Self {
        let rule = ReachRule {
            reach,
            is_logged: Arc::default(),
        };
        let resolver = Resolver {
            rule: rule.clone(),
            // Shorter than the whole limit, to distinguish it from a host that does not respond.
            limit: limit / 5 * 4,
        };
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.set_nodelay(true);
        http.enforce_http(false);
        http.set_connect_timeout(Some(limit));
        http.set_keepalive(Some(Duration::from_mins(1)));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Tcp { http, rule });
        Self { https, limit }
    }

    /// Connects.
    ///
    /// # Errors
    /// Errors if there is no connection within the limit. The failure has been logged.
    pub(crate) async fn dial(
        &self,
        to: &ProviderOrigin,
    ) -> Result<MaybeHttpsStream<TokioIo<TcpStream>>, ConnectFailure> {
        let dialled = tokio::time::timeout(self.limit, self.https.clone().oneshot(to.uri())).await;
        let DialError(why, said) = match dialled {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => match error.downcast::<DialError>() {
                Ok(failed) => *failed,
                Err(error) => DialError(tls(error.as_ref()), error.to_string()),
            },
            Err(_) => DialError(ConnectFailure::Timeout, String::new()),
        };
        tracing::warn!(
            host = to.authority().as_str(),
            cause = why.word(),
            said,
            "a provider cannot be reached"
        );
        Err(why)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.word(), self.1)
    }
}

impl std::error::Error for DialError {}

impl DialError {
    /// The cause of a failed TCP connection.
    fn tcp(error: &(dyn std::error::Error + 'static)) -> Self {
        let (mut cause, mut why, mut said) =
            (Some(error), ConnectFailure::Network, error.to_string());
        while let Some(error) = cause {
            if let Some(Self(why, said)) = error.downcast_ref() {
                return Self(*why, said.clone());
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                said = error.to_string();
                why = match error.kind() {
                    io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
                    io::ErrorKind::TimedOut => ConnectFailure::Timeout,
                    _ => ConnectFailure::Network,
                };
            }
            cause = error.source();
        }
        Self(why, said)
    }
}

impl ReachRule {
    fn check(&self, host: &str, ips: impl Iterator<Item = IpAddr>) -> Result<(), DialError> {
        let Some(reach) = self.reach else {
            return Ok(());
        };
        for ip in ips {
            if !reach.allows(ip) {
                return Err(DialError(ConnectFailure::Forbidden, ip.to_string()));
            }
            if egress::classify(ip) == AddressClass::Private
                && !self.is_logged.swap(true, Ordering::Relaxed)
            {
                tracing::warn!(
                    host,
                    %ip,
                    "a provider is at a private address; if others than the operator add keys, set PROVIDER_PRIVATE=refuse"
                );
            }
        }
        Ok(())
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = DialError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { rule, limit } = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            if rule.reach.is_some() && egress::classify_host(host) == Some(AddressClass::Forbidden)
            {
                return Err(DialError(ConnectFailure::Forbidden, String::new()));
            }
            let unknown = |said: String| DialError(ConnectFailure::Name, said);
            let lookup = tokio::net::lookup_host((host, 0));
            let found: Vec<_> = tokio::time::timeout(limit, lookup)
                .await
                .map_err(|_| unknown("no answer in time".to_owned()))?
                .map_err(|error| unknown(error.to_string()))?
                .collect();
            if found.is_empty() {
                return Err(unknown("no address".to_owned()));
            }
            rule.check(host, found.iter().map(SocketAddr::ip))?;
            Ok(found.into_iter())
        })
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.http
            .poll_ready(cx)
            .map_err(|error| DialError::tcp(&error))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let host = to.host().unwrap_or_default();
        // Literal addresses do not go through the resolver.
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
        if let Err(failed) = self.rule.check(host, ip.into_iter()) {
            return Box::pin(async { Err(failed) });
        }
        let connecting = self.http.call(to);
        Box::pin(async { connecting.await.map_err(|error| DialError::tcp(&error)) })
    }
}

/// What failed once the TCP connection stood.
fn tls(error: &(dyn std::error::Error + 'static)) -> ConnectFailure {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return ConnectFailure::Certificate;
        }
        // This kind of error skips itself when asked for its source.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause = inside.map_or_else(
            || error.source(),
            |inside| Some(inside as &(dyn std::error::Error + 'static)),
        );
    }
    ConnectFailure::Tls
}

/// The system's certificates, so that a private authority can be added the usual way, and Mozilla's list, so that an
/// image without a certificate store works as well.
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

#[cfg(test)]
mod tests {
    use proxyxai_contract::provider::BaseUrl;
    use tokio::net::TcpListener;

    use super::*;

    fn dialer(reach: Option<EgressPolicy>) -> Dialer {
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Dialer::with(reach, Duration::from_millis(500), tls)
    }

    async fn dial(reach: Option<EgressPolicy>, url: &str) -> Option<ConnectFailure> {
        let to = BaseUrl::parse(url).unwrap();
        dialer(reach).dial(to.origin()).await.err()
    }

    #[tokio::test]
    async fn what_a_name_resolves_to_is_looked_at_before_it_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "127.1",
            "[::ffff:127.0.0.1]",
        ] {
            let url = format!("http://{host}:{port}");
            assert_eq!(
                dial(Some(EgressPolicy::Private), &url).await,
                None,
                "{host}"
            );
            assert_eq!(dial(None, &url).await, None, "{host}");
            let refused = dial(Some(EgressPolicy::Public), &url).await;
            assert_eq!(refused, Some(ConnectFailure::Forbidden), "{host}");
        }
        let localhost = format!("http://localhost:{port}");
        let refused = dial(Some(EgressPolicy::Public), &localhost).await;
        assert_eq!(refused, Some(ConnectFailure::Forbidden));
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xa9.0376.43518",
            "[fe80::1]",
            "metadata.google.internal.",
        ] {
            let refused = dial(
                Some(EgressPolicy::Private),
                &format!("http://{host}:{port}"),
            )
            .await;
            assert_eq!(refused, Some(ConnectFailure::Forbidden), "{host}");
        }
    }

    #[tokio::test]
    async fn each_cause_is_told_apart() {
        let any = Some(EgressPolicy::Private);
        assert_eq!(
            dial(any, "http://no-such-host.invalid").await,
            Some(ConnectFailure::Name)
        );
        assert_eq!(
            dial(any, "http://127.0.0.1:1").await,
            Some(ConnectFailure::Refused)
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        assert_eq!(dial(any, &url).await, Some(ConnectFailure::Timeout));
        tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        assert_eq!(dial(any, &url).await, Some(ConnectFailure::Tls));
    }
}
