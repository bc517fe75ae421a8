//! Why there is no connection to a provider: what each cause is called, and whether waiting is of any use.

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectFailure {
    /// The host's name has no address.
    Name,
    /// It may not be connected to.
    Forbidden,
    /// Nothing listens there.
    Refused,
    /// The certificate is not the host's, or nobody's who is trusted.
    Certificate,
    /// There was no agreement on TLS.
    Tls,
    /// Nothing came of it in time.
    Timeout,
    /// The network has no way there, or something else.
    Network,
}

impl ConnectFailure {
    /// For logs.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Name => "DNS",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Certificate | Self::Tls => "TLS",
            Self::Timeout => "time-out",
            Self::Network => "network",
        }
    }

    /// For root, who knows the host. Nobody else is told it.
    pub(crate) fn about(self, host: &str) -> String {
        match self {
            Self::Name => format!("DNS has no address for {host}"),
            Self::Forbidden => format!("no provider may be where {host} is"),
            Self::Refused => format!("{host} refused the connection"),
            Self::Certificate => {
                format!("TLS failed, the certificate of {host} is not valid for it")
            }
            Self::Tls => format!("TLS failed with {host}"),
            Self::Timeout => format!("time-out, {host} took no connection"),
            Self::Network => format!("the network does not reach {host}"),
        }
    }

    /// Whether it lies in how the host is called, so that no call should wait for another try.
    pub(crate) const fn is_lasting(self) -> bool {
        match self {
            Self::Name | Self::Forbidden | Self::Certificate => true,
            Self::Refused | Self::Tls | Self::Timeout | Self::Network => false,
        }
    }
}
