//! Looks up, on the key that has it, the result of work that ended after its call, if no client has fetched it. Control
//! assigns each piece of work to one data plane at a time, at growing intervals.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use proxyxai_contract::{
    object::{DueWork, ObjectKind, OwnedObject},
    plan::{LevelReason, ModelReason, PlanLevel, PlanStage, RoutePlan},
    usage::UsageMeasure,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer,
    call::Call,
    charge::{Billing, PendingCharge},
    context::Relay,
    follow_up::FollowUp,
    headers,
    objects::key_of,
    open_call::OpenCall,
    receive::ReceivedBody,
    request::{PreparedRequest, RequestOrigin},
};
use crate::{
    RequestId,
    formats::{Dialect, Route, request::RequestFacts},
    state::{AccountState, Caller, DialectNeed, KeyState, Snapshot},
};

/// Interval at which control is asked for work.
const TICK: Duration = Duration::from_secs(1);
/// Look-ups in flight at once.
const LOOKS_MAX: u32 = 8;
/// Time limit of one look-up, retries included.
const LOOK_MAX: Duration = Duration::from_mins(2);

/// Runs until it is cancelled.
pub(crate) async fn run(relay: Relay, stop: CancellationToken) {
    loop {
        let tick = tokio::time::sleep(TICK);
        if stop.run_until_cancelled(tick).await.is_none() {
            return;
        }
        if relay.unready_reason().is_some() {
            continue;
        }
        // Control is asked again at the next tick anyway.
        let Ok(due) = relay.state.objects().claim(LOOKS_MAX).await else {
            continue;
        };
        let looks = join_all(due.into_iter().map(|due| look(&relay, due)));
        if stop.run_until_cancelled(looks).await.is_none() {
            return;
        }
    }
}

/// A piece of work that is looked up, and whose it is.
struct DueLookup {
    snapshot: Arc<Snapshot>,
    account: Arc<AccountState>,
    object: Arc<OwnedObject>,
}

/// Where something is looked up.
struct LookupPlace {
    path: String,
    dialect: Dialect,
    route: Route,
}

impl LookupPlace {
    /// Where to look up an object's work.
    fn of(object: &OwnedObject) -> Option<Self> {
        let id = &object.id;
        let (path, dialect, route) = match object.kind {
            ObjectKind::Response => {
                let path = format!("/v1/responses/{id}");
                (path, Dialect::OpenAi, Route::Responses)
            }
            ObjectKind::Deferred => {
                let path = format!("/v1/chat/deferred-completion/{id}");
                (path, Dialect::OpenAi, Route::Chat)
            }
            ObjectKind::Batch => (format!("/v1/batches/{id}"), Dialect::OpenAi, Route::Other),
            ObjectKind::MessageBatch => {
                let path = format!("/v1/messages/batches/{id}/results");
                (path, Dialect::Anthropic, Route::Other)
            }
            _ => return None,
        };
        Some(Self {
            path,
            dialect,
            route,
        })
    }

    /// A file with results.
    fn of_file(id: &str) -> Self {
        Self {
            path: format!("/v1/files/{id}/content"),
            dialect: Dialect::OpenAi,
            route: Route::Other,
        }
    }
}

/// Looks up the result of some work.
async fn look(relay: &Relay, due: DueWork) {
    let DueWork { object, overdue } = due;
    let Some(snapshot) = relay.state.snapshot() else {
        return;
    };
    let Some(account) = snapshot.account(object.account).cloned() else {
        return;
    };
    relay.state.objects().made(object.clone());
    let lookup = DueLookup {
        object: Arc::new(object),
        account,
        snapshot,
    };
    let object = &lookup.object;
    if let Some(key) = lookup.snapshot.key(object.key).cloned()
        && let Some(place) = LookupPlace::of(object)
    {
        let fetched = fetch_all(relay, &lookup, &key, place);
        let fetched = tokio::time::timeout(LOOK_MAX, fetched).await;
        if fetched.is_err() {
            tracing::debug!(object.id = object.id, "looking for work took too long");
        }
    }
    if overdue && is_pending(relay, object).await {
        tracing::warn!(
            object.id = object.id,
            account.id = object.account.get(),
            "what work has used cannot be found out any more; it is paid with what was set aside"
        );
        settle_unseen(relay, &lookup);
    }
}

/// Makes a request, and where the response says that the results are elsewhere, one for them.
async fn fetch_all(relay: &Relay, lookup: &DueLookup, key: &KeyState, place: LookupPlace) {
    if let Some(call) = call_for(relay, lookup, key, place) {
        fetch(relay, call).await;
    }
    let Some(file) = relay.state.objects().results_of(&lookup.object) else {
        return;
    };
    let place = LookupPlace::of_file(&file);
    if let Some(call) = call_for(relay, lookup, key, place) {
        fetch(relay, call).await;
    }
}

/// Makes a request and reads the response to its end, which settles what it reports.
async fn fetch(relay: &Relay, call: Box<Call>) {
    let mut body = Box::pin(answer(relay, call)).await.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

async fn is_pending(relay: &Relay, object: &OwnedObject) -> bool {
    let known = relay.state.objects().find(&[&object.id]).await;
    known
        .unwrap_or_default()
        .iter()
        .find(|one| one.key == object.key)
        .is_some_and(|one| one.pending.is_some())
}

/// A call that the gateway makes itself.
fn call_for(
    relay: &Relay,
    lookup: &DueLookup,
    key: &KeyState,
    place: LookupPlace,
) -> Option<Box<Call>> {
    let target = PathAndQuery::try_from(place.path).ok()?;
    let hop = PlanLevel {
        level: key.key.level,
        why: LevelReason::Account,
    };
    let plan = RoutePlan {
        stages: vec![PlanStage {
            model: String::new(),
            why: ModelReason::Asked,
            hops: vec![hop],
        }],
    };
    let request = request_for(relay, target, place.route, place.dialect);
    let charge = charge_for(relay, lookup, &request, &plan);
    let work = Arc::clone(&lookup.object);
    Some(Box::new(Call {
        request,
        plan,
        stage: 0,
        conversation: None,
        dialect_need: DialectNeed::Any,
        pinned_key: Some(lookup.object.key),
        follow_up: Some(Box::new(FollowUp::of_work(&relay.state, work))),
        charge,
        open: OpenCall::begin_own(relay),
    }))
}

fn request_for(
    relay: &Relay,
    target: PathAndQuery,
    route: Route,
    dialect: Dialect,
) -> PreparedRequest {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::GET;
    let mut fields = HeaderMap::new();
    drop(RequestId::settle(&mut fields));
    if dialect == Dialect::Anthropic {
        let version = HeaderValue::from_static("2023-06-01");
        fields.insert("anthropic-version", version);
    }
    headers::prepare_for_upstream(&mut fields, relay.via.clone(), true);
    parts.headers = fields;
    let origin = RequestOrigin {
        target,
        route,
        dialect,
        model: "",
        start: relay.clock.now(),
    };
    let nothing = ReceivedBody {
        body: Bytes::new(),
        packed: None,
        trailers: None,
    };
    PreparedRequest::new(parts, origin, nothing, RequestFacts::default())
}

fn charge_for(
    relay: &Relay,
    lookup: &DueLookup,
    request: &PreparedRequest,
    plan: &RoutePlan,
) -> Box<PendingCharge> {
    let DueLookup {
        snapshot,
        account,
        object,
    } = lookup;
    let billing = Billing::of_own(Caller {
        account: Arc::clone(account),
        key: key_of(snapshot, object),
    });
    let mut charge = PendingCharge::new(relay, Arc::clone(snapshot), billing, request, plan);
    charge.is_own();
    charge
}

/// Charges work with the credit that was reserved for it.
fn settle_unseen(relay: &Relay, lookup: &DueLookup) {
    let object = &lookup.object;
    let target = LookupPlace::of(object)
        .and_then(|place| PathAndQuery::try_from(place.path).ok())
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let request = request_for(relay, target, Route::Other, Dialect::OpenAi);
    let plan = RoutePlan { stages: Vec::new() };
    let mut charge = charge_for(relay, lookup, &request, &plan);
    charge.settles(object);
    let record = &mut charge.record;
    record.key = Some(object.key);
    record.status = http::StatusCode::OK.as_u16();
    record.measure = UsageMeasure::Estimated;
    let held = object.pending.as_ref().map(|pending| pending.held);
    relay.state.objects().settled(object.key, &object.id);
    charge.close_at(held.unwrap_or_default());
}
