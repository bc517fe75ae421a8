//! The way of a call: admit, plan, attempt until the first event, relay, settle. This file has the sequence; each step
//! has a file of its own.

mod abandoned;
mod admission;
mod attempt;
mod attempts;
mod body;
mod buffer_budget;
mod call;
mod charge;
mod context;
mod cutoff;
pub(crate) mod deferred_work;
mod dial;
mod first_event;
mod follow_up;
mod headers;
mod hedge;
mod key_check;
mod key_mask;
mod limit_headers;
mod meter;
pub(crate) mod model_discovery;
mod objects;
mod open_call;
mod packed;
mod prepare;
mod query;
mod receive;
mod record;
mod request;
mod reservation;
mod response;
mod retry;
mod route;
mod segments;
mod terms;
mod timeouts;
mod token_counter;
mod upstream_client;

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use tower::BoxError;

use crate::{
    decide::admit::Refusal,
    telemetry::{CallRecorder, RefusedRequest},
};

use abandoned::PendingResponse;
use admission::{AllowedRequest, AskedEndpoint, CallHead, CallerContext};
use call::Call;
pub(crate) use context::{ControlOutbox, HEALTH_QUEUE_MAX, Relay, RelayParts};
pub use headers::client_address;
pub(crate) use headers::{
    X_FORWARDED_FOR, asks_websocket, credential_from, speaks_anthropic, strip_hop_by_hop,
};
use open_call::OpenCall;
use prepare::AdmittedCall;
use receive::{BodyIntake, ReadRequest};
use reservation::CallReservation;
pub(crate) use response::refuse;
use retry::RetryOutcome;
pub(crate) use segments::BodySegments;
use terms::CallTerms;

/// Handles one call.
pub(crate) async fn call<B>(relay: &Arc<Relay>, peer: IpAddr, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let endpoint = AskedEndpoint::of(&request);
    let dialect = endpoint.dialect(request.uri().path());
    let mut recorder = relay.telemetry.begin(endpoint.found.route(), &request);
    let cutoff = &relay.sinks.cutoff;
    let admission = Box::pin(admit(relay, peer, endpoint, request, &mut recorder));
    let admitted = cutoff.unless_over(admission).await;
    let mut call = match admitted.unwrap_or(Err(Refusal::Unavailable)) {
        Ok(call) => call,
        Err(refusal) => return response::refuse_call(dialect, &refusal, Some(&mut recorder)),
    };
    call.charge.state.recorder = Some(recorder);
    let has_to_be_heard = call.may_go_on();
    let response = if has_to_be_heard || call.reads_on() {
        let relay = Arc::clone(relay);
        let pending = PendingResponse::new(Arc::clone(&relay), has_to_be_heard, async move {
            answer(&relay, call).await
        });
        cutoff.unless_over(pending).await
    } else {
        cutoff.unless_over(Box::pin(answer(relay, call))).await
    };
    response.unwrap_or_else(|| refuse(dialect, &Refusal::Unavailable))
}

/// Admits a call. What a refused call asked for is left for its recorder.
async fn admit<B>(
    relay: &Relay,
    peer: IpAddr,
    endpoint: AskedEndpoint,
    request: Request<B>,
    recorder: &mut CallRecorder,
) -> Result<Box<Call>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let mut head = CallHead {
        peer,
        endpoint,
        parts,
        model: None,
    };
    let admitted = admit_and_plan(relay, &mut head, body, recorder).await;
    if admitted.is_err() {
        recorder.wanted(RefusedRequest::of(&head.parts, head.model));
    }
    admitted
}

/// Finds out who calls, what is asked for, where it may go and what it may cost. The first reason against it is its
/// response.
async fn admit_and_plan<B>(
    relay: &Relay,
    head: &mut CallHead,
    body: B,
    recorder: &mut CallRecorder,
) -> Result<Box<Call>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    admission::check_upgrade(&head.parts)?;
    let mut open = OpenCall::begin(relay)?;
    let snapshot = relay.state.snapshot().ok_or(Refusal::Unavailable)?;
    let caller = relay.authenticate(&snapshot, &head.parts.headers)?;
    recorder.set_account(caller.account.account.id);
    let chain = snapshot.chain(&caller.account.account);
    let context = CallerContext {
        snapshot: &snapshot,
        caller: &caller,
        chain: &chain,
    };
    let target = admission::check_head(relay, &head.parts)?;
    let allowed = admission::allow(relay, context, head, &target)?;
    open.enter_share(context, relay.config.limits.open_calls_max)?;
    let intake = BodyIntake {
        config: &relay.config,
        reservation: &mut open.reservation,
        recorder,
    };
    let mut read = receive::receive(head, allowed.way.takes_model(), body, intake).await?;
    let (terms, reserved) = match plan_and_reserve(relay, context, allowed, &mut read).await {
        Ok(planned) => planned,
        Err(refusal) => {
            head.model = read.facts.model.take();
            return Err(refusal);
        }
    };
    let conversation = route::conversation(context, head, &read, &terms).await;
    let billed = terms.billed_caller(&snapshot).unwrap_or(caller);
    let admitted = AdmittedCall {
        endpoint: head.endpoint,
        parts: head.take_parts(),
        snapshot,
        target,
        read,
        terms,
        conversation,
        billed,
        reserved,
        open,
    };
    Ok(prepare::prepare(relay, admitted))
}

/// Plans where a call may go, then reserves what it may cost at most and counts it in its windows.
async fn plan_and_reserve(
    relay: &Relay,
    context: CallerContext<'_>,
    allowed: AllowedRequest<'_>,
    read: &mut ReadRequest,
) -> Result<(CallTerms, CallReservation), Refusal> {
    let terms = terms::plan(relay, context, allowed, read).await?;
    let route = allowed.asked.found.route();
    let reserved = reservation::reserve(relay, context, &terms, read, route).await?;
    Ok((terms, reserved))
}

/// Attempts a call until a key gives the first event, and relays the response, whose end settles the charge.
async fn answer(relay: &Relay, mut call: Box<Call>) -> Response<Body> {
    match retry::attempt_until_first_event(relay, &mut call).await {
        RetryOutcome::Answered { response, tries } => {
            response::relay_response(relay, call, tries, *response)
        }
        RetryOutcome::Failed(progress) => response::all_failed(relay, call, progress),
        RetryOutcome::Unrecorded => response::refuse_unrecorded(call),
    }
}
