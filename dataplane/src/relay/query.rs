//! Which parameters of a query cross the gateway: all but credentials. A client that puts its key there, or
//! a key of its own, would have it held against the pool's.

use std::borrow::Cow;

use crate::formats::percent_decoded;

/// Names under which providers take a credential, in lower case.
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

/// Path and query without the parameters that are a credential, or hold the key that the client has
/// presented. What stays is not written anew.
pub(super) fn without_credentials<'t, 'k>(
    target: &'t str,
    presented: impl FnOnce() -> Option<&'k str>,
) -> Cow<'t, str> {
    let Some((path, query)) = target.split_once('?') else {
        return Cow::Borrowed(target);
    };
    let presented = presented();
    let goes = |parameter: &&str| is_credential(parameter, presented);
    if !query.split('&').any(|parameter| goes(&parameter)) {
        return Cow::Borrowed(target);
    }
    let stays: Vec<_> = query.split('&').filter(|one| !goes(one)).collect();
    if stays.is_empty() {
        return Cow::Owned(path.to_owned());
    }
    Cow::Owned(format!("{path}?{}", stays.join("&")))
}

fn is_credential(parameter: &str, presented: Option<&str>) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let name = spelled(name).trim().to_ascii_lowercase();
    let held = presented.filter(|key| !key.is_empty());
    CREDENTIALS.contains(&name.as_str())
        || held.is_some_and(|key| spelled(value).contains(key) || name.contains(key))
}

/// As a provider reads it.
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
            ("/v1/x?", "/v1/x?"),
        ] {
            assert_eq!(without_credentials(target, || Some("sk-own")), crosses);
        }
    }

    proptest! {
        #[test]
        fn what_is_no_credential_crosses_byte_for_byte(query in "[a-z0-9%&=+.-]{0,40}") {
            let target = format!("/v1/x?{query}");
            let crosses = without_credentials(&target, || None).into_owned();
            prop_assert_eq!(without_credentials(&crosses, || None), crosses.as_str());
            for parameter in crosses.split_once('?').map_or("", |(_, query)| query).split('&') {
                prop_assert!(query.split('&').any(|one| one == parameter));
            }
        }
    }
}
