//! Limits of connections: of all clients together, and of each address. Checked once for each connection, never for a
//! call.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use proxyxai_contract::access::IpList;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A client with one IPv6 address has all that share its first half.
const IPV6_PREFIX: u32 = 64;

/// The limits and counts of connections. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits(Arc<ConnectionCounts>);

#[derive(Debug)]
struct ConnectionCounts {
    slots: Arc<Semaphore>,
    address_max: usize,
    /// Addresses of proxies, whose connections carry the calls of many clients.
    proxies: IpList,
    counts: Mutex<HashMap<IpAddr, usize>>,
    warned: AtomicBool,
}

/// Permission for one connection; released on drop.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limits: ConnectionLimits,
    address: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionLimits {
    /// One address never gets the last quarter, even if the setting allows more.
    pub(crate) fn new(connections_max: usize, address_max: usize, proxies: IpList) -> Self {
        let most = connections_max - connections_max / 4;
        Self(Arc::new(ConnectionCounts {
            slots: Arc::new(Semaphore::new(connections_max)),
            address_max: address_max.min(most),
            proxies,
            counts: Mutex::default(),
            warned: AtomicBool::new(false),
        }))
    }

    /// Waits until one more connection is allowed. Never returns `None`.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.slots).acquire_owned().await.ok()
    }

    /// A permit for a connection from an address. Returns `None` if the address has too many. Connections from this
    /// machine, or from a trusted proxy, are not counted: many clients share such an address.
    pub(crate) fn admit(
        &self,
        peer: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<ConnectionPermit> {
        let peer = peer.to_canonical();
        let counts = !peer.is_loopback() && !self.is_trusted_proxy(peer);
        let address = counts.then(|| address_block(peer));
        if let Some(address) = address {
            let mut counts = self.counts();
            let count = counts.entry(address).or_default();
            if *count >= self.0.address_max {
                drop(counts);
                self.warn_limit_reached(peer);
                return None;
            }
            *count += 1;
        }
        Some(ConnectionPermit {
            limits: self.clone(),
            address,
            _permit: permit,
        })
    }

    fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        self.0.proxies.allows(peer)
    }

    fn warn_limit_reached(&self, peer: IpAddr) {
        if self.0.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%peer, "an address has as many connections as it may");
        } else {
            tracing::warn!(
                %peer, most = self.0.address_max,
                "an address has as many connections as it may (CONNECTIONS_PER_ADDRESS_MAX); a reverse proxy belongs into TRUSTED_PROXIES"
            );
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Counts are consistent even after a panic.
        let counts = self.0.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut counts = self.limits.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// The address block that counts as one address.
const fn address_block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => {
            let kept = six.to_bits() >> IPV6_PREFIX << IPV6_PREFIX;
            IpAddr::V6(Ipv6Addr::from_bits(kept))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn enter(connection_limits: &ConnectionLimits, from: &str) -> Option<ConnectionPermit> {
        let permit = connection_limits.acquire().await.unwrap();
        connection_limits.admit(ip(from), permit)
    }

    #[tokio::test]
    async fn an_address_has_no_more_connections_than_it_may_and_others_have_theirs() {
        let connection_limits = ConnectionLimits::new(100, 3, IpList::parse("10.0.0.0/8").unwrap());
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(enter(&connection_limits, "192.0.2.1").await.unwrap());
        }
        assert!(enter(&connection_limits, "192.0.2.1").await.is_none());
        assert!(
            enter(&connection_limits, "::ffff:192.0.2.1")
                .await
                .is_none()
        );
        assert!(enter(&connection_limits, "192.0.2.2").await.is_some());
        places.pop();
        assert!(enter(&connection_limits, "192.0.2.1").await.is_some());
        for lifted in ["127.0.0.1", "::1", "10.1.2.3"] {
            for _ in 0..10 {
                places.push(enter(&connection_limits, lifted).await.unwrap());
            }
        }
        drop(places);
        assert!(connection_limits.counts().is_empty());
        assert_eq!(connection_limits.0.slots.available_permits(), 100);
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_address() {
        let connection_limits = ConnectionLimits::new(100, 2, IpList::parse("10.0.0.1").unwrap());
        let _one = enter(&connection_limits, "2001:db8::1").await.unwrap();
        let _other = enter(&connection_limits, "2001:db8::ffff:2").await.unwrap();
        assert!(enter(&connection_limits, "2001:db8::3").await.is_none());
        assert!(enter(&connection_limits, "2001:db8:0:1::1").await.is_some());
    }

    #[tokio::test]
    async fn one_address_never_has_the_last_quarter() {
        let connection_limits = ConnectionLimits::new(8, 1000, IpList::parse("10.0.0.1").unwrap());
        let mut places = Vec::new();
        while let Some(place) = enter(&connection_limits, "192.0.2.1").await {
            places.push(place);
        }
        assert_eq!(places.len(), 6);
        assert!(
            enter(
                &ConnectionLimits::new(1, 1, IpList::parse("::1").unwrap()),
                "192.0.2.1"
            )
            .await
            .is_some()
        );
    }
}
