//! Where servers listen: at a given address, or on a port of all addresses, IPv4 and IPv6.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// As long as tokio's own queue of connections to be accepted.
const BACKLOG: i32 = 1024;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    /// This port of every address, of both families if the system has both.
    Everywhere(u16),
    /// Only this address.
    At(SocketAddr),
}

impl Listen {
    /// Starts to listen.
    ///
    /// # Errors
    /// Errors if it cannot. The error names `variables` as the remedy.
    pub(crate) async fn bind(self, variables: &str) -> anyhow::Result<TcpListener> {
        let bound = match self {
            Self::At(address) => TcpListener::bind(address).await,
            Self::Everywhere(port) => match bind_dual_stack(port) {
                // If the port is taken, do not listen on just one family.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    tracing::debug!(%error, "IPv6 cannot be listened on");
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
                }
                bound => bound,
            },
        };
        let place = match self {
            Self::At(address) => address.to_string(),
            Self::Everywhere(port) => format!("port {port}"),
        };
        match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error).context(format!(
                "{place} cannot be listened on, since something does already: end it, or set {variables}"
            )),
            bound => bound.with_context(|| format!("{variables}: {place} cannot be listened on")),
        }
    }

    /// Where a program on this host reaches a server that listens on this port.
    pub(crate) fn local_address(self, port: u16) -> SocketAddr {
        let ip = match self {
            Self::Everywhere(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::At(address) => match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            },
        };
        SocketAddr::new(ip, port)
    }

    /// The requested port; 0 for any.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Everywhere(port) => port,
            Self::At(address) => address.port(),
        }
    }
}

/// Listens on all addresses of both families, regardless of the system's default.
fn bind_dual_stack(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_port_alone_is_reached_over_both_families() {
        let everywhere = Listen::Everywhere(0);
        let listener = everywhere.bind("`PORT`").await.unwrap();
        let bound = listener.local_addr().unwrap();
        let mut hosts = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        if bound.is_ipv6() {
            hosts.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        for host in hosts {
            let reached = TcpStream::connect((host, bound.port())).await;
            assert!(reached.is_ok(), "{host}");
        }
        let again = Listen::Everywhere(bound.port()).bind("`PORT`").await;
        let said = format!("{:#}", again.unwrap_err());
        assert!(said.contains("end it, or set `PORT`"), "{said}");
    }

    #[test]
    fn what_listens_everywhere_is_reached_seen_from_here() {
        for (listen, reached) in [
            (Listen::Everywhere(1), "127.0.0.1:8080"),
            (Listen::At("0.0.0.0:1".parse().unwrap()), "127.0.0.1:8080"),
            (Listen::At("[::]:1".parse().unwrap()), "[::1]:8080"),
            (Listen::At("10.0.0.1:1".parse().unwrap()), "10.0.0.1:8080"),
        ] {
            assert_eq!(listen.local_address(8080).to_string(), reached);
        }
    }
}
