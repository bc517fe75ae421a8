//! Why there is no connection to a provider: the name of each cause, and whether a retry can help.

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectFailure {
    /// The host name has no address.
    Name,
    /// The address is not permitted.
    Forbidden,
    /// The host refused the connection.
    Refused,
    /// The certificate is not for the host, or not from a trusted authority.
    Certificate,
    /// The TLS handshake failed.
    Tls,
    /// It timed out.
    Timeout,
    /// There is no route to the network, or another error.
    Network,
}

impl ConnectFailure {
    /// The word for logs.
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

    /// The message for root, who knows the host. No other caller sees it.
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

    /// Whether the host is misconfigured, so that calls should not wait for a retry.
    pub(crate) const fn is_lasting(self) -> bool {
        match self {
            Self::Name | Self::Forbidden | Self::Certificate => true,
            Self::Refused | Self::Tls | Self::Timeout | Self::Network => false,
        }
    }
}
