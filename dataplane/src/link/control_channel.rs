//! The channel to control, which may have several replicas. One of them is in use at a time; leaving it moves all calls
//! of this data plane to the next. Which one to leave, and when, is decided by the task that watches it.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri};
use tokio::sync::watch;
use tonic::{
    Status,
    body::Body,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{BoxError, Service, ServiceExt as _};

use crate::Error;

const CONNECT_MAX: Duration = Duration::from_secs(2);
const LOOKUP_MAX: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to whichever replica is in use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlChannel {
    replicas: Arc<Replicas>,
    current: watch::Receiver<ReplicaInUse>,
}

#[derive(Debug)]
struct Replicas {
    /// As configured. Empty if there is one fixed channel.
    addresses: Vec<Uri>,
    /// Number of replicas, as far as names were looked up.
    known: AtomicUsize,
    in_use: watch::Sender<ReplicaInUse>,
}

/// The replica that calls go to.
#[derive(Clone)]
struct ReplicaInUse {
    /// How many were left before.
    turn: u64,
    /// `None` for a fixed channel.
    place: Option<Place>,
    channel: Channel,
}

/// Where a replica listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    address: Uri,
    /// One of the addresses of its name; `None` before the name was looked up.
    socket: Option<SocketAddr>,
}

impl ControlChannel {
    /// A channel to the replicas at these addresses. It connects on first use, to a random one of them, so that data
    /// planes spread over the replicas.
    ///
    /// # Errors
    /// Errors if there is none, or one is no address.
    pub fn to_replicas(addresses: &[String]) -> Result<Self, Error> {
        let parse = |address: &String| address.parse::<Uri>();
        let addresses: Result<Vec<_>, _> = addresses.iter().map(parse).collect();
        let addresses = addresses.map_err(|error| Error::Control(error.into()))?;
        let first = fastrand::usize(..addresses.len().max(1));
        let address = addresses.get(first).cloned();
        let place = Place {
            address: address.ok_or_else(|| Error::Control("there is none".into()))?,
            socket: None,
        };
        let channel = place.channel().map_err(Error::Control)?;
        Ok(Self::new(addresses, Some(place), channel))
    }

    /// A channel that leads to one place only, such as control in the same process.
    pub fn fixed(channel: Channel) -> Self {
        Self::new(Vec::new(), None, channel)
    }

    fn new(addresses: Vec<Uri>, place: Option<Place>, channel: Channel) -> Self {
        let (in_use, current) = watch::channel(ReplicaInUse {
            turn: 0,
            place,
            channel,
        });
        Self {
            replicas: Arc::new(Replicas {
                known: AtomicUsize::new(addresses.len()),
                addresses,
                in_use,
            }),
            current,
        }
    }

    /// Whether control is another process, which may freeze by itself.
    pub(crate) fn is_remote(&self) -> bool {
        !self.replicas.addresses.is_empty()
    }

    /// Whether there is another replica to go to.
    pub(crate) fn has_others(&self) -> bool {
        self.replicas.known.load(Ordering::Relaxed) > 1
    }

    /// How often a replica was left so far.
    pub(crate) fn turn(&self) -> u64 {
        self.current.borrow().turn
    }

    /// Leaves the replica in use for the next one, if control is remote. Calls under way on it fail as unavailable.
    pub(crate) async fn leave(&self) {
        let places = self.replicas.places().await;
        self.replicas.known.store(places.len(), Ordering::Relaxed);
        let now = self.current.borrow().clone();
        // One by one, in an order that all lookups agree on; a replica that is gone by now has no successor.
        let at = places
            .iter()
            .position(|place| Some(place) == now.place.as_ref());
        let next = at.map_or_else(|| fastrand::usize(..places.len().max(1)), |at| at + 1);
        let Some(place) = places.get(next % places.len().max(1)) else {
            return;
        };
        match place.channel() {
            Ok(channel) => {
                let next = ReplicaInUse {
                    turn: now.turn.wrapping_add(1),
                    place: Some(place.clone()),
                    channel,
                };
                self.replicas.in_use.send_replace(next);
            }
            Err(error) => tracing::error!(%error, "a replica of control cannot be used"),
        }
    }

    /// Waits until a replica was left since that turn.
    pub(crate) async fn left(&self, turn: u64) {
        let mut current = self.current.clone();
        // The sender lives as long as this.
        let _left = current.wait_for(|current| current.turn != turn).await;
    }
}

impl Replicas {
    /// All places behind the configured names, in order. A name that cannot be looked up stands for itself.
    async fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for address in &self.addresses {
            let host = address.host().unwrap_or_default();
            let port = address.port_u16().unwrap_or_else(|| default_port(address));
            let lookup = tokio::net::lookup_host((host.trim_matches(['[', ']']), port));
            let found: BTreeSet<_> = match tokio::time::timeout(LOOKUP_MAX, lookup).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(_)) | Err(_) => BTreeSet::new(),
            };
            let place = |socket| Place {
                address: address.clone(),
                socket,
            };
            if found.is_empty() {
                places.push(place(None));
            }
            places.extend(found.into_iter().map(|socket| place(Some(socket))));
        }
        places
    }
}

fn default_port(address: &Uri) -> u16 {
    if is_tls(address) { 443 } else { 80 }
}

fn is_tls(address: &Uri) -> bool {
    address.scheme_str() == Some("https")
}

impl Place {
    fn channel(&self) -> Result<Channel, BoxError> {
        let endpoint = match self.socket {
            Some(socket) => Endpoint::from_shared(format!(
                "{}://{socket}",
                self.address.scheme_str().unwrap_or("http")
            ))?
            .origin(self.address.clone()),
            None => Endpoint::from(self.address.clone()),
        };
        let endpoint = if is_tls(&self.address) {
            let tls = ClientTlsConfig::new().with_native_roots();
            let host = self.address.host().unwrap_or_default();
            endpoint.tls_config(tls.domain_name(host))?
        } else {
            endpoint
        };
        Ok(endpoint
            .connect_timeout(CONNECT_MAX)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true)
            .connect_lazy())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.address.authority().map_or("", |name| name.as_str());
        match self.socket {
            Some(socket) if socket.to_string() != authority => write!(f, "{authority} ({socket})"),
            Some(_) | None => f.write_str(authority),
        }
    }
}

impl fmt::Debug for ReplicaInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaInUse")
            .field("turn", &self.turn)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ControlChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.current.borrow().place {
            Some(place) => place.fmt(f),
            None => f.write_str("this process"),
        }
    }
}

impl Service<Request<Body>> for ControlChannel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // The channel of the moment is made ready within the call.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ReplicaInUse { turn, channel, .. } = self.current.borrow().clone();
        let this = self.clone();
        Box::pin(async move {
            tokio::select! {
                response = channel.oneshot(request) => Ok(response?),
                () = this.left(turn) => Err(Status::unavailable("this replica of control was left").into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(addresses: &[&str]) -> ControlChannel {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|&address| address.to_owned())
            .collect();
        ControlChannel::to_replicas(&addresses).unwrap()
    }

    #[tokio::test]
    async fn each_replica_has_its_turn() {
        let channel = channel(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://[::1]:3"]);
        let mut seen = BTreeSet::new();
        for turn in 1..=4 {
            channel.leave().await;
            assert_eq!(channel.turn(), turn);
            seen.insert(channel.to_string());
        }
        assert!(channel.has_others());
        assert_eq!(seen.len(), 3, "{seen:?}");
    }

    #[tokio::test]
    async fn one_address_is_gone_back_to() {
        let channel = channel(&["http://127.0.0.1:1"]);
        channel.leave().await;
        assert!(!channel.has_others());
        assert_eq!(channel.to_string(), "127.0.0.1:1");
    }

    #[tokio::test]
    async fn a_call_on_a_replica_that_is_left_fails_at_once() {
        // Accepts connections and never answers.
        let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", frozen.local_addr().unwrap());
        let channel = channel(&[&address]);
        let request = Request::new(Body::empty());
        let call = tokio::spawn(channel.clone().oneshot(request));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!call.is_finished());
        channel.leave().await;
        let failed = call.await.unwrap().unwrap_err();
        assert_eq!(Status::from_error(failed).code(), tonic::Code::Unavailable);
    }
}
