//! Headers and paths of a request: credentials, where it comes from, where it has been, what it asks for.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderValue, Method, uri::PathAndQuery};
use proxyxai_contract::{
    access::IpList,
    client_key::{ClientKey, credential_from},
    provider::BaseUrl,
};

use crate::{
    decide::{address, via},
    formats::{Dialect, endpoint, has_dot_segment, is_relayed, upstream_path},
    request_id::{RequestId, X_REQUEST_ID},
};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const NODES_MAX: usize = 8;

/// Lines: a path and query, then values of headers.
pub fn headers(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.split('\n');
    path(lines.next().unwrap_or_default());
    // What a header cannot hold does not come as one.
    let values: Vec<_> = lines
        .filter(|line| HeaderValue::from_str(line).is_ok_and(|value| value.to_str().is_ok()))
        .collect();
    credentials(&values);
    origin(&values);
    travelled(&values);
    named(&values);
}

/// A call has one well-formed id, which is the client's own when that is one.
fn named(values: &[&str]) {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(
            X_REQUEST_ID,
            HeaderValue::from_str(value).expect("a header's value"),
        );
    }
    let id = RequestId::settle(&mut headers);
    assert_eq!(headers.get_all(X_REQUEST_ID).iter().count(), 1);
    let kept = headers[X_REQUEST_ID].as_bytes().to_vec();
    assert!((1..=128).contains(&kept.len()) && kept.iter().all(u8::is_ascii_graphic));
    let own = values
        .first()
        .filter(|id| values.len() == 1 && id.as_bytes() == kept);
    assert!(own.is_some() || kept.starts_with(b"req_"));
    assert_eq!(RequestId::settle(&mut headers), id);
}

fn credentials(values: &[&str]) {
    let (first, second) = (values.first().copied(), values.get(1).copied());
    let Some(key) = credential_from(first, second) else {
        return;
    };
    assert!(!key.is_empty() && key.trim() == key);
    assert!(
        [first, second]
            .into_iter()
            .flatten()
            .any(|value| value.contains(key))
    );
    if let Ok(key) = ClientKey::parse(key) {
        for value in [key.expose().to_owned(), format!("Bearer {}", key.expose())] {
            assert_eq!(credential_from(Some(&value), None), Some(key.expose()));
        }
        assert_eq!(
            credential_from(None, Some(key.expose())),
            Some(key.expose())
        );
        assert!(
            !format!("{key:?}").contains(key.tail(20)),
            "a key shows itself"
        );
    }
}

fn origin(values: &[&str]) {
    let none = IpList::Only(Vec::new());
    assert_eq!(address::client(PEER, values.iter().copied(), &none), PEER);
    let private = IpList::parse("10.0.0.0/8").expect("a block");
    let client = address::client(PEER, values.iter().copied(), &private);
    assert_eq!(client, client.to_canonical());
    // Whatever an untrusted client says of itself stands left of what is known, and changes nothing.
    if !private.allows(client) {
        let lied: Vec<_> = ["6.6.6.6, 10.9.9.9"]
            .iter()
            .chain(values)
            .copied()
            .collect();
        assert_eq!(
            address::client(PEER, lied.iter().copied(), &private),
            client
        );
    }
}

fn travelled(values: &[&str]) {
    let before = values.iter().copied();
    let own = via::own("this-node");
    assert_eq!(
        via::check(before.clone().chain([own.as_str()]), "this-node"),
        Err(via::Loop)
    );
    let other = via::own("other");
    let far = std::iter::repeat_n(other.as_str(), NODES_MAX + 1);
    assert_eq!(via::check(before.chain(far), "this-node"), Err(via::Loop));
}

fn path(text: &str) {
    let Ok(target) = PathAndQuery::try_from(text) else {
        return;
    };
    let asked = target.as_str();
    let upstream = upstream_path(asked);
    assert_eq!(upstream_path(&upstream), upstream, "once is enough");
    let (path, canonical) = (target.path(), endpoint::canonical(target.path()));
    assert_eq!(
        upstream.split('?').next(),
        Some(&*canonical),
        "one spelling"
    );
    assert_eq!(is_relayed(path), is_relayed(&canonical));
    for method in [Method::GET, Method::POST] {
        let found = endpoint::find(&method, &canonical);
        assert_eq!(found.dialect(path, false), Dialect::of(path));
    }
    for base in ["https://host", "https://host/v1", "https://host/deep/er"] {
        let base = BaseUrl::parse(base).expect("a base");
        let joined = base.join(&target).expect("two paths make one");
        assert!(joined.as_str().starts_with(['/', '*', '?']) || base.text() == "https://host");
        assert_eq!(joined.query(), target.query());
        if !has_dot_segment(asked) {
            assert!(
                !decoded(joined.path())
                    .split('/')
                    .any(|segment| segment == "..")
            );
        }
    }
}

/// As a careless upstream might read it.
fn decoded(path: &str) -> String {
    let lower = path.to_ascii_lowercase().replace('\\', "/");
    let lower = lower.replace("%2e", ".").replace("%2f", "/");
    lower.replace("%5c", "/")
}
