//! The client's address: that of the socket, or the one that trusted proxies report.

use std::net::{IpAddr, SocketAddr};

use proxyxai_contract::access::IpList;

/// The right-most address of the `X-Forwarded-For` values and the peer that is not trusted; if all are trusted, the
/// left-most. A value that is no address ends the walk: nothing before it can be believed.
pub(crate) fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &IpList,
) -> IpAddr {
    let mut client = peer.to_canonical();
    for entry in forwarded.rev().flat_map(|value| value.rsplit(',')) {
        if !trusted.allows(client) {
            break;
        }
        match parse(entry.trim()) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address, with or without brackets and port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seen(peer: &str, forwarded: &[&str]) -> IpAddr {
        let trusted = IpList::parse("10.0.0.0/8,::1").unwrap();
        client(ip(peer), forwarded.iter().copied(), &trusted)
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(seen("1.2.3.4", &["9.9.9.9"]), ip("1.2.3.4"));
        assert_eq!(seen("::ffff:1.2.3.4", &[]), ip("1.2.3.4"));
    }

    #[test]
    fn the_right_most_untrusted_entry_is_the_client() {
        assert_eq!(
            seen("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]),
            ip("1.2.3.4")
        );
        assert_eq!(
            seen("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"]),
            ip("1.2.3.4")
        );
        assert_eq!(seen("::1", &["10.0.0.3,10.0.0.2"]), ip("10.0.0.3"));
        assert_eq!(seen("10.0.0.1", &[]), ip("10.0.0.1"));
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        assert_eq!(
            seen("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"]),
            ip("10.0.0.2")
        );
        assert_eq!(seen("10.0.0.1", &[""]), ip("10.0.0.1"));
    }

    #[test]
    fn ports_and_brackets_are_read() {
        assert_eq!(seen("::1", &["1.2.3.4:5678"]), ip("1.2.3.4"));
        assert_eq!(seen("::1", &["[2001:db8::1]:5"]), ip("2001:db8::1"));
        assert_eq!(seen("::1", &["[2001:db8::1]"]), ip("2001:db8::1"));
    }

    proptest! {
        #[test]
        fn what_a_client_sends_itself_changes_nothing(forged in "[0-9., a-f:]{0,40}", real in 1u8..255) {
            let real = format!("192.0.2.{real}");
            let line = format!("{forged}, {real}, 10.0.0.9");
            prop_assert_eq!(seen("10.0.0.1", &[&forged, &line]), ip(&real));
        }
    }
}
