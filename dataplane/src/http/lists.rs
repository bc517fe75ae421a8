//! Lists of objects: what the caller has made, as far as this gateway remembers it. The provider's own list would show
//! the objects of all who share the key.

use std::net::IpAddr;

use axum::body::Body;
use http::{HeaderMap, Method, Response, Uri};
use proxyxai_contract::object::{LIST_MAX, ObjectKind, OwnedObject};

use super::json;
use crate::{
    decide::admit::{self, Refusal},
    formats::{
        endpoint::{self, EndpointMatch},
        object_list, percent_decoded, upstream_path,
    },
    relay::{Relay, refuse, speaks_anthropic},
    state::ObjectListQuery,
};

const LIMIT_DEFAULT: u32 = 20;

/// The kind of object that a path lists, and its endpoint; `None` for other paths.
pub(super) fn find(path: &str) -> Option<(ObjectKind, EndpointMatch)> {
    let found = endpoint::find(&Method::GET, &endpoint::canonical(path));
    match found {
        EndpointMatch::Row(row) => row.lists.map(|kind| (kind, found)),
        EndpointMatch::Misspelt | EndpointMatch::Unknown => None,
    }
}

/// A request for a page of a list.
#[derive(Clone, Copy)]
pub(super) struct ListRequest<'a> {
    pub(super) kind: ObjectKind,
    pub(super) found: EndpointMatch,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

/// A page of a list, in the dialect of the caller. Access is checked as for a call.
pub(super) async fn answer(relay: &Relay, peer: IpAddr, asked: ListRequest<'_>) -> Response<Body> {
    let dialect = asked
        .found
        .dialect(asked.uri.path(), speaks_anthropic(asked.headers));
    match page(relay, peer, asked).await {
        Ok((objects, more)) => json(object_list::page(dialect, &objects, more)),
        Err(refusal) => refuse(dialect, &refusal),
    }
}

async fn page(
    relay: &Relay,
    peer: IpAddr,
    asked: ListRequest<'_>,
) -> Result<(Vec<OwnedObject>, bool), Refusal> {
    let ListRequest {
        kind, uri, headers, ..
    } = asked;
    let snapshot = relay.state.snapshot().ok_or(Refusal::Unavailable)?;
    let account = relay.authenticate(&snapshot, headers)?.account;
    let chain = snapshot.chain(&account.account);
    admit::state(&chain)?;
    admit::address(&chain, relay.client_address(peer, headers))?;
    let path = upstream_path(uri.path());
    admit::resource(&chain, &snapshot.settings, &path)?;
    let wanted = wanted(uri.query().unwrap_or_default())?;
    let wanted = ObjectListQuery {
        account: account.account.id,
        kind,
        ..wanted
    };
    let listed = relay.state.objects().list(wanted).await;
    listed.map_err(|_| Refusal::Unavailable)
}

/// Parses the query. The caller's account is not set yet.
fn wanted(query: &str) -> Result<ObjectListQuery, Refusal> {
    let mut wanted = ObjectListQuery {
        account: proxyxai_contract::id::AccountId::ROOT,
        kind: ObjectKind::File,
        limit: LIMIT_DEFAULT,
        after: String::new(),
        before: String::new(),
        ascending: false,
    };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value);
        match name {
            "limit" => {
                let limit = value.parse::<u32>().ok().filter(|limit| *limit > 0);
                let wrong = || Refusal::Malformed("limit must be a positive number".to_owned());
                wanted.limit = limit.ok_or_else(wrong)?.min(LIST_MAX);
            }
            "after" | "after_id" => wanted.after = value,
            "before" | "before_id" => wanted.before = value,
            "order" => wanted.ascending = value == "asc",
            _ => {}
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_in_the_words_of_both_dialects() {
        for query in ["limit=2&after=a%20b", "after_id=a%20b&limit=2&x"] {
            let wanted = wanted(query).unwrap();
            assert_eq!((wanted.limit, wanted.after.as_str()), (2, "a b"), "{query}");
        }
        assert_eq!(wanted("limit=100000").unwrap().limit, LIST_MAX);
        for query in ["limit=0", "limit=-1", "limit=x", "limit"] {
            assert!(wanted(query).is_err(), "{query}");
        }
    }
}
