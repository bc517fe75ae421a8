//! Where keys may be sent: which hosts and addresses a provider may have. Clouds serve credentials at certain addresses
//! to any process inside. Those are never providers, in any notation and under any name that resolves to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Invalid, provider::BaseUrl};

/// Which providers may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EgressPolicy {
    /// Private addresses too, for models on the local network.
    #[default]
    Private,
    /// The public internet only.
    Public,
}

/// The class of an address that a key might be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressClass {
    /// On the internet.
    Public,
    /// On this host or in its own networks.
    Private,
    /// Link-local, or a metadata service of a cloud.
    Forbidden,
}

/// Names of metadata services: <https://cloud.google.com/compute/docs/metadata/overview>, and their aliases in the
/// images of several clouds.
const METADATA_NAMES: [&str; 6] = [
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
];
/// Metadata services that are not link-local: Alibaba Cloud, Oracle's older one, Azure's
/// (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>, and Google's.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

// === impl EgressPolicy ===

impl EgressPolicy {
    /// Whether an address may be connected to.
    pub fn allows(self, ip: IpAddr) -> bool {
        match classify(ip) {
            AddressClass::Public => true,
            AddressClass::Private => self == Self::Private,
            AddressClass::Forbidden => false,
        }
    }

    /// Checks the base URL itself. What its name resolves to is checked when it is called.
    ///
    /// # Errors
    /// Errors if no key may be sent there.
    pub fn check(self, provider: &BaseUrl) -> Result<(), Invalid> {
        let bad = |problem: &str| Err(Invalid::new("Provider", problem));
        match classify_host(provider.host()) {
            Some(AddressClass::Forbidden) => {
                bad("is a link-local address or a cloud's metadata service")
            }
            Some(AddressClass::Private) if self == Self::Public => {
                bad("is a private address, and PROVIDER_PRIVATE=refuse does not allow them")
            }
            Some(AddressClass::Private | AddressClass::Public) | None => Ok(()),
        }
    }
}

/// The class of a host, if it is an address. Returns `None` for names that need a resolver.
pub fn classify_host(host: &str) -> Option<AddressClass> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if METADATA_NAMES.contains(&host.as_str()) {
        return Some(AddressClass::Forbidden);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(AddressClass::Private);
    }
    // A zone (`fe80::1%eth0`) is link-local.
    let bare = host.split('%').next().unwrap_or_default();
    let ip = bare.parse().ok().or_else(|| loose_v4(bare).map(IpAddr::V4));
    ip.map(classify)
}

/// The class of an address. An address that embeds another has the class of that one.
pub fn classify(ip: IpAddr) -> AddressClass {
    match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = ip.octets();
    if ip.is_link_local() || METADATA_V4.contains(&ip) {
        return AddressClass::Forbidden;
    }
    let private = ip.is_loopback()
        || ip.is_private()
        || ip.is_multicast()
        || ip.is_documentation()
        // This host, carrier-grade NAT, protocol assignments, benchmarks, and reserved addresses including broadcast.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    if private {
        AddressClass::Private
    } else {
        AddressClass::Public
    }
}

fn place_v6(ip: Ipv6Addr) -> AddressClass {
    if ip.is_unicast_link_local() || METADATA_V6.contains(&ip) {
        return AddressClass::Forbidden;
    }
    let private = ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_unique_local()
        || ip.is_multicast()
        // Site-local, which is deprecated.
        || ip.segments().first().is_some_and(|first| first & 0xffc0 == 0xfec0);
    let own = if private {
        AddressClass::Private
    } else {
        AddressClass::Public
    };
    let inner = embedded_v4(ip).into_iter().map(place_v4);
    // A private IPv4 address embedded in IPv6 does not become public by that.
    inner.max().map_or(own, |inner| inner.max(own))
}

/// IPv4 addresses embedded in IPv6: mapped, compatible, translated (RFC 6052, RFC 8215), 6to4, Teredo.
fn embedded_v4(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let parts = ip.segments();
    let joined = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    let last = joined(parts[6], parts[7]);
    match parts {
        _ if ip.is_loopback() || ip.is_unspecified() => Vec::new(),
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, ..] => {
            vec![last]
        }
        [0x2002, high, low, ..] => vec![joined(high, low)],
        [0x2001, 0, high, low, ..] => vec![joined(high, low), joined(!parts[6], !parts[7])],
        _ => Vec::new(),
    }
}

/// An IPv4 address as old resolvers read it: one to four parts, each decimal, octal or hexadecimal. The last part fills
/// the remaining bytes.
fn loose_v4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(loose_number).collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|part| *part > 255) {
        return None;
    }
    let shift = 8 * u32::try_from(front.len()).ok()?;
    let fits = u64::from(*last) < 1 << (32 - shift);
    let high = front
        .iter()
        .zip([24, 16, 8])
        .fold(0u32, |sum, (part, by)| sum | (part << by));
    fits.then(|| Ipv4Addr::from(high | last))
}

fn loose_number(text: &str) -> Option<u32> {
    let plain = |digits: &str, radix| {
        let signed = digits.starts_with(['+', '-']);
        u32::from_str_radix(digits, radix).ok().filter(|_| !signed)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return if digits.is_empty() {
            Some(0)
        } else {
            plain(digits, 16)
        };
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => plain(digits, 8),
        _ => plain(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(url: &str, reach: EgressPolicy) -> bool {
        reach.check(&BaseUrl::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn what_clouds_tell_their_hosts_is_no_provider_in_any_spelling() {
        for host in [
            "169.254.169.254",
            "169.254.1.1",
            "100.100.100.200",
            "192.0.0.192",
            "2852039166",
            "0xa9fea9fe",
            "0xA9.0xFE.0xA9.0xFE",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.16689662",
            "0251.254.0xa9fe",
            "169.254.169.254.",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[::ffff:0:a9fe:a9fe]",
            "metadata.google.internal",
            "Metadata.Google.Internal.",
            "metadata",
            "instance-data",
        ] {
            for reach in [EgressPolicy::Private, EgressPolicy::Public] {
                assert!(!check(&format!("http://{host}/v1"), reach), "{host}");
            }
        }
    }

    #[test]
    fn private_addresses_are_a_matter_of_the_setting() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "[::1]",
            "[::]",
            "[fd12::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            let url = format!("http://{host}:8080");
            assert!(check(&url, EgressPolicy::Private), "{host}");
            assert!(!check(&url, EgressPolicy::Public), "{host}");
        }
        for host in [
            "8.8.8.8",
            "api.openai.com",
            "[2606:4700::1111]",
            "169.253.0.1",
            "x.metadata.example",
        ] {
            let url = format!("https://{host}");
            assert!(
                check(&url, EgressPolicy::Private) && check(&url, EgressPolicy::Public),
                "{host}"
            );
        }
    }

    proptest! {
        #[test]
        fn however_an_address_is_wrapped_it_stays_what_it_is(bits: u32) {
            let ip = Ipv4Addr::from(bits);
            let own = place_v4(ip);
            let [a, b, c, d] = ip.octets();
            let last = u32::from_be_bytes([0, b, c, d]);
            for host in [
                bits.to_string(),
                format!("{bits:#x}"),
                format!("0{bits:o}"),
                format!("{a}.{last}"),
                format!("{a:#x}.0{b:o}.{c}.{d:#x}"),
            ] {
                prop_assert_eq!(classify_host(&host), Some(own), "{}", host);
            }
            prop_assert_eq!(classify(ip.to_ipv6_mapped().into()), own);
        }

        #[test]
        fn no_text_breaks_it(host in "\\PC{0,40}") {
            let _place = classify_host(&host);
        }
    }
}
