//! Which query parameters cross the gateway: all but credentials. A client that puts its key there, or a key of its
//! own, would have it count against the pool's.

use std::borrow::Cow;

use crate::formats::{parameters, percent_decoded};

/// Names that providers accept for a credential, in lower case.
const CREDENTIALS: [&str; 11] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth_token",
    "authorization",
    "key",
    "oauth_token",
    "subscription-key",
    "x-api-key",
    "x-goog-api-key",
];

/// Path and query without the parameters that are a credential or contain the client's key. The rest is kept byte for
/// byte.
pub(super) fn without_credentials<'t, 'k>(
    target: &'t str,
    presented: impl FnOnce() -> Option<&'k str>,
) -> Cow<'t, str> {
    let Some((path, query)) = target.split_once('?') else {
        return Cow::Borrowed(target);
    };
    let presented = presented();
    let goes = |parameter: &str| is_credential(parameter, presented);
    if !parameters(query).any(|(parameter, _)| goes(parameter)) {
        return Cow::Borrowed(target);
    }
    let (mut stays, mut before) = (path.to_owned(), "");
    for (parameter, separator) in parameters(query) {
        if !goes(parameter) {
            stays.push_str(if stays.len() == path.len() {
                "?"
            } else {
                before
            });
            stays.push_str(parameter);
            before = separator;
        }
    }
    Cow::Owned(stays)
}

fn is_credential(parameter: &str, presented: Option<&str>) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let (name, value) = (spelled(name), spelled(value));
    let held = presented.filter(|key| !key.is_empty());
    held.is_some_and(|key| value.contains(key) || name.contains(key))
        || CREDENTIALS.contains(&name.trim().to_ascii_lowercase().as_str())
}

/// Decoded as a provider would.
fn spelled(text: &str) -> Cow<'_, str> {
    if text.contains('%') {
        Cow::Owned(percent_decoded(text))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_credential_does_not_cross_however_it_is_spelled() {
        for (target, crosses) in [
            ("/v1/x", "/v1/x"),
            ("/v1/x?limit=2&after=a%20b", "/v1/x?limit=2&after=a%20b"),
            ("/v1/x?key=junk", "/v1/x"),
            ("/v1/x?limit=2&KEY=junk&after=a", "/v1/x?limit=2&after=a"),
            ("/v1/x?%6bey=junk&a=1", "/v1/x?a=1"),
            ("/v1/x?%4B%65y=junk", "/v1/x"),
            ("/v1/x?key", "/v1/x"),
            ("/v1/x?monkey=1&keys=2", "/v1/x?monkey=1&keys=2"),
            ("/v1/x?a=sk-own&b=1", "/v1/x?b=1"),
            ("/v1/x?a=pre%73k-ownpost&b=1", "/v1/x?b=1"),
            ("/v1/x?a=1;key=junk;b=2&c=3", "/v1/x?a=1;b=2&c=3"),
            ("/v1/x?key=junk;b=2", "/v1/x?b=2"),
            ("/v1/x?b=2;%6bey=junk", "/v1/x?b=2"),
            ("/v1/x?a=1;b=2;", "/v1/x?a=1;b=2;"),
            ("/v1/x?", "/v1/x?"),
        ] {
            assert_eq!(without_credentials(target, || Some("sk-own")), crosses);
        }
        for target in ["/v1/x?sk-Own", "/v1/x?a%73k-Own=1", "/v1/x?SK;sk-Own;"] {
            let crosses = without_credentials(target, || Some("sk-Own"));
            assert!(!crosses.contains("Own"), "{target}: {crosses}");
        }
    }

    proptest! {
        #[test]
        fn what_is_no_credential_crosses_byte_for_byte(query in "[a-z0-9%&;=+.-]{0,40}") {
            let target = format!("/v1/x?{query}");
            let crosses = without_credentials(&target, || None).into_owned();
            prop_assert_eq!(without_credentials(&crosses, || None), crosses.as_str());
            for (one, _) in parameters(crosses.split_once('?').map_or("", |(_, query)| query)) {
                prop_assert!(parameters(&query).any(|(known, _)| known == one));
            }
        }

        #[test]
        fn the_clients_own_key_does_not_cross_and_all_else_does(
            key in "sk-[A-Z][A-Za-z0-9]{3,12}",
            others in prop::collection::vec(("[a-z]{1,2}=[0-9]{0,3}", any::<bool>()), 0..5),
            (at, semicolon, in_name) in (any::<prop::sample::Index>(), any::<bool>(), any::<bool>()),
        ) {
            let holds = if in_name { format!("a{key}=1") } else { format!("a=1{key}") };
            let mut all = others.clone();
            all.insert(at.index(others.len() + 1), (holds, semicolon));
            let query: String = all
                .iter()
                .flat_map(|(one, semicolon)| [one.as_str(), if *semicolon { ";" } else { "&" }])
                .collect();
            let target = format!("/v1/x?{query}");
            let crosses = without_credentials(&target, || Some(&key));
            prop_assert!(!crosses.contains(&key), "{}", crosses);
            let crossed = parameters(crosses.split_once('?').map_or("", |(_, query)| query));
            prop_assert!(crossed.map(|(one, _)| one).eq(others.iter().map(|(one, _)| one)));
        }
    }
}
