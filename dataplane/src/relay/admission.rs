//! Admission of a call by its head: what it is, who makes it, and whether it may be made at all.

use std::net::IpAddr;

use http::{Request, request::Parts, uri::PathAndQuery};
use proxyxai_contract::{money::Money, snapshot::AccountConfig};

use super::{
    context::Relay,
    headers::{asks_websocket, speaks_anthropic},
    request, terms,
};
use crate::{
    decide::{
        admit::{self, CallerScope, Refusal},
        endpoint_access::{self, AllowedEndpoint, EndpointRequest},
        via,
    },
    formats::{
        Dialect,
        endpoint::{self, EndpointMatch},
        has_dot_segment, tag,
    },
    state::{Caller, Snapshot},
};

/// The endpoint that a request names, and the dialect that its client speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedEndpoint {
    pub(super) found: EndpointMatch,
    /// Whether the client speaks the Anthropic dialect.
    pub(super) says_anthropic: bool,
}

/// The head of a call, and what is known of it by now.
pub(super) struct CallHead {
    pub(super) peer: IpAddr,
    pub(super) endpoint: AskedEndpoint,
    pub(super) parts: Parts,
    /// The model that its body names, for the list of refused calls.
    pub(super) model: Option<String>,
}

/// Who makes a call, in the configuration that it began with.
#[derive(Clone, Copy)]
pub(super) struct CallerContext<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) caller: &'a Caller,
    /// The caller's account, then its ancestors up to root.
    pub(super) chain: &'a [&'a AccountConfig],
}

/// A request that may be made, as far as its head says.
#[derive(Debug, Clone, Copy)]
pub(super) struct AllowedRequest<'a> {
    pub(super) asked: EndpointRequest<'a>,
    pub(super) way: AllowedEndpoint<'a>,
    /// The most that its client wants to pay, if it says so.
    pub(super) cost_max: Option<Money>,
}

impl AskedEndpoint {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let path = endpoint::canonical(request.uri().path());
        Self {
            found: endpoint::find(request.method(), &path),
            says_anthropic: speaks_anthropic(request.headers()),
        }
    }

    /// The dialect of its response.
    pub(super) fn dialect(self, path: &str) -> Dialect {
        self.found.dialect(path, self.says_anthropic)
    }
}

impl CallHead {
    /// Takes out what the request to the provider is made of.
    pub(super) fn take_parts(&mut self) -> Parts {
        std::mem::replace(&mut self.parts, Request::new(()).into_parts().0)
    }
}

impl<'a> CallerContext<'a> {
    /// Whose access lists and limits count.
    pub(super) fn scope(self) -> CallerScope<'a> {
        self.caller.scope(self.chain)
    }

    /// Whether the caller is root, which pays for nothing.
    pub(super) fn is_root(self) -> bool {
        self.caller.account.account.parent.is_none()
    }
}

/// Refuses heads that the gateway does not relay for anybody. Returns the path and query for the upstream.
pub(super) fn check_head(relay: &Relay, parts: &Parts) -> Result<PathAndQuery, Refusal> {
    check_loop(relay, parts)?;
    tag::of_header(&parts.headers).map_err(|error| Refusal::Malformed(error.to_string()))?;
    request::target(&parts.uri, &parts.headers)
}

/// Refuses requests to switch to another protocol.
pub(super) fn check_upgrade(parts: &Parts) -> Result<(), Refusal> {
    if asks_websocket(&parts.headers) {
        return Err(Refusal::NoUpgrade);
    }
    Ok(())
}

/// Whether the caller may call this path at all.
///
/// # Errors
/// Errors with the first reason against it.
pub(super) fn allow<'a>(
    relay: &Relay,
    context: CallerContext<'a>,
    head: &'a CallHead,
    target: &'a PathAndQuery,
) -> Result<AllowedRequest<'a>, Refusal> {
    let CallHead {
        peer,
        endpoint,
        parts,
        ..
    } = head;
    let CallerContext {
        snapshot,
        caller,
        chain,
    } = context;
    let asked = EndpointRequest {
        found: endpoint.found,
        method: &parts.method,
        path: target.path(),
    };
    let way = endpoint_access::allow(asked, chain, &snapshot.settings)?;
    let credit = &caller.account.credit;
    admit::admit(&admit::Admission {
        chain,
        settings: &snapshot.settings,
        ip: relay.client_address(*peer, &parts.headers),
        path: asked.path,
        balance: credit.balance(),
        month_used: credit.month_used(),
        now: relay.clock.now(),
    })?;
    let cost_max = terms::max_cost(&parts.headers)?;
    Ok(AllowedRequest {
        asked,
        way,
        cost_max,
    })
}

/// Refuses calls that passed this node before, and paths that a provider could read as another path.
fn check_loop(relay: &Relay, parts: &Parts) -> Result<(), Refusal> {
    let via = parts.headers.get_all(http::header::VIA);
    via::check(
        via.iter().filter_map(|value| value.to_str().ok()),
        relay.config.node.as_str(),
    )
    .map_err(|_| Refusal::Loop)?;
    if has_dot_segment(parts.uri.path()) {
        return Err(Refusal::Malformed("the path has a dot segment".to_owned()));
    }
    Ok(())
}
