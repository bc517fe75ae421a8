//! The addresses that public price lists may be fetched from.

use std::net::IpAddr;

use http::Uri;
use proxyxai_contract::Invalid;

/// Checks the address of a list.
///
/// # Errors
/// Errors if it is not an address, contains a password, or is another machine's without TLS.
pub fn check(address: &str) -> Result<(), Invalid> {
    let problem = |text: &str| Err(Invalid::new("list", text));
    let Ok(uri) = address.trim().parse::<Uri>() else {
        return problem("is no address");
    };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return problem("must not carry a name or a password");
    }
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let own = host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    // Without TLS, an attacker on the network could set prices.
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if own => Ok(()),
        _ => problem("must begin with https:// unless it is this machine's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_over_tls_or_from_this_machine() {
        for good in [
            "https://lists.example/a.json",
            "http://127.0.0.1:8/a",
            "http://localhost/a",
            "http://[::1]:9/a",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "list.json",
            "http://lists.example/a.json",
            "http://127.0.0.1.example/a",
            "https://me:word@lists.example/",
            "file:///etc/passwd",
            "ftp://localhost/a",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
