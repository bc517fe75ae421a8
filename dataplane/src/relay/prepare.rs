//! Puts a call together from all that was found out and reserved.

use std::sync::Arc;

use http::{request::Parts, uri::PathAndQuery};

use super::{
    admission::AskedEndpoint,
    call::Call,
    charge::{Billing, PendingCharge},
    context::Relay,
    headers,
    open_call::OpenCall,
    receive::ReadRequest,
    request::{self, PreparedRequest, RequestOrigin},
    reservation::CallReservation,
    route,
    terms::CallTerms,
};
use crate::{
    formats::{conversation::ConversationHash, tag},
    state::{Caller, Snapshot},
};

/// A call that may be made.
pub(super) struct AdmittedCall {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) endpoint: AskedEndpoint,
    pub(super) parts: Parts,
    /// Path and query for the upstream.
    pub(super) target: PathAndQuery,
    pub(super) read: ReadRequest,
    pub(super) terms: CallTerms,
    pub(super) conversation: Option<ConversationHash>,
    /// Whose account and client key are charged.
    pub(super) billed: Caller,
    pub(super) reserved: CallReservation,
    pub(super) open: OpenCall,
}

/// Puts the call together.
pub(super) fn prepare(relay: &Relay, admitted: AdmittedCall) -> Box<Call> {
    let AdmittedCall {
        snapshot,
        endpoint,
        mut parts,
        target,
        read: ReadRequest { received, facts },
        terms,
        conversation,
        billed,
        reserved,
        open,
    } = admitted;
    let CallTerms {
        plan,
        ceiling,
        fixed_price,
        takes_model,
        metered,
        follow_up,
        pinned_key,
    } = terms;
    // An object is addressed in the dialect in which it was made at its key.
    let spoken = match pinned_key {
        Some(_) => None,
        None => endpoint.found.spoken(endpoint.says_anthropic),
    };
    let dialect_need = route::dialect_need(&snapshot, &plan, spoken);
    let tag = match tag::of_header(&parts.headers) {
        Ok(Some(tag)) => tag.to_owned(),
        _ => tag::of_body(&received.body, &facts, &relay.config.tag_members),
    };
    if takes_model {
        request::say_json(&mut parts.headers, &received.body);
    }
    let identity = takes_model || follow_up.is_some();
    headers::prepare_for_upstream(&mut parts.headers, relay.via.clone(), identity);
    let origin = RequestOrigin {
        route: endpoint.found.route(),
        dialect: endpoint.dialect(target.path()),
        target,
        model: plan.model(),
        start: relay.clock.now(),
    };
    let request = PreparedRequest::new(parts, origin, received, facts);
    let billing = Billing {
        billed,
        credit_holds: reserved.credit_holds,
        windows: reserved.windows,
        metered,
        output_max: ceiling.output,
        fixed_price,
    };
    let mut charge = PendingCharge::new(relay, snapshot, billing, &request, &plan);
    charge.record.tag = tag;
    Box::new(Call {
        request,
        plan,
        stage: 0,
        conversation,
        dialect_need,
        pinned_key,
        follow_up,
        charge,
        open,
    })
}
