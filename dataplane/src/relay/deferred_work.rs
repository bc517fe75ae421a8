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
    Call, OpenCall, Relay,
    charge::{Billing, CreditHolds, PendingCharge},
    headers,
    objects::{FollowUp, key_of},
    request::{PreparedRequest, ReceivedBody},
};
use crate::{
    RequestId,
    formats::{Dialect, Route, request::RequestFacts},
    state::{AccountState, Caller, DialectNeed, KeyState, Snapshot, WindowReservation},
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
        let looks = join_all(due.into_iter().map(|due| relay.look(due)));
        if stop.run_until_cancelled(looks).await.is_none() {
            return;
        }
    }
}

/// Where to look up an object's work.
fn place(object: &OwnedObject) -> Option<(String, Dialect, Route)> {
    let id = &object.id;
    match object.kind {
        ObjectKind::Response => {
            let path = format!("/v1/responses/{id}");
            Some((path, Dialect::OpenAi, Route::Responses))
        }
        ObjectKind::Deferred => {
            let path = format!("/v1/chat/deferred-completion/{id}");
            Some((path, Dialect::OpenAi, Route::Chat))
        }
        ObjectKind::Batch => {
            let path = format!("/v1/batches/{id}");
            Some((path, Dialect::OpenAi, Route::Other))
        }
        ObjectKind::MessageBatch => {
            let path = format!("/v1/messages/batches/{id}/results");
            Some((path, Dialect::Anthropic, Route::Other))
        }
        _ => None,
    }
}

impl Relay {
    /// Looks up the result of some work.
    async fn look(&self, DueWork { object, overdue }: DueWork) {
        let Some(snapshot) = self.state.snapshot() else {
            return;
        };
        let Some(account) = snapshot.account(object.account).cloned() else {
            return;
        };
        self.state.objects().made(object.clone());
        let object = Arc::new(object);
        if let Some(key) = snapshot.key(object.key).cloned()
            && let Some(place) = place(&object)
        {
            let whose = (&snapshot, &account, &*key);
            let fetched = self.fetch_all(whose, place, &object);
            let fetched = tokio::time::timeout(LOOK_MAX, fetched).await;
            if fetched.is_err() {
                tracing::debug!(object.id = object.id, "looking for work took too long");
            }
        }
        if overdue && self.is_pending(&object).await {
            tracing::warn!(
                object.id = object.id,
                account.id = object.account.get(),
                "what work has used cannot be found out any more; it is paid with what was set aside"
            );
            self.settle_unseen(&snapshot, account, &object);
        }
    }

    /// Makes a request, and where the response says that the results are elsewhere, one for them.
    async fn fetch_all(
        &self,
        whose: (&Arc<Snapshot>, &Arc<AccountState>, &KeyState),
        place: (String, Dialect, Route),
        object: &Arc<OwnedObject>,
    ) {
        if let Some(call) = self.call_for(whose, place, object) {
            self.fetch(call).await;
        }
        let Some(file) = self.state.objects().results_of(object) else {
            return;
        };
        let place = (
            format!("/v1/files/{file}/content"),
            Dialect::OpenAi,
            Route::Other,
        );
        if let Some(call) = self.call_for(whose, place, object) {
            self.fetch(call).await;
        }
    }

    /// Makes a request and reads the response to its end, which settles what it reports.
    async fn fetch(&self, call: Box<Call>) {
        let mut body = Box::pin(self.retry_loop(call)).await.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }

    async fn is_pending(&self, object: &OwnedObject) -> bool {
        let known = self.state.objects().find(&[&object.id]).await;
        let known = known.unwrap_or_default();
        let same = known.iter().find(|one| one.key == object.key);
        same.is_some_and(|one| one.pending.is_some())
    }

    /// A call that the gateway makes itself.
    fn call_for(
        &self,
        (snapshot, account, key): (&Arc<Snapshot>, &Arc<AccountState>, &KeyState),
        (path, family, route): (String, Dialect, Route),
        object: &Arc<OwnedObject>,
    ) -> Option<Box<Call>> {
        let target = PathAndQuery::try_from(path).ok()?;
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
        let request = self.request_for((target, route, family));
        let bill = self.bill_for(snapshot, Arc::clone(account), (&request, &plan), object);
        Some(Box::new(Call {
            request,
            plan,
            stage: 0,
            conversation: None,
            dialect_need: DialectNeed::Any,
            pinned_key: Some(object.key),
            metered: false,
            charge: bill,
        }))
    }

    fn request_for(&self, asked: (PathAndQuery, Route, Dialect)) -> PreparedRequest {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::GET;
        let mut fields = HeaderMap::new();
        drop(RequestId::settle(&mut fields));
        if asked.2 == Dialect::Anthropic {
            let version = HeaderValue::from_static("2023-06-01");
            fields.insert("anthropic-version", version);
        }
        headers::prepare_for_upstream(&mut fields, self.via.clone(), true);
        parts.headers = fields;
        let nothing = ReceivedBody {
            body: Bytes::new(),
            packed: None,
            trailers: None,
        };
        let facts = RequestFacts::default();
        PreparedRequest::new(parts, asked, nothing, facts, ("", self.clock.now()))
    }

    fn bill_for(
        &self,
        snapshot: &Arc<Snapshot>,
        account: Arc<AccountState>,
        (request, plan): (&PreparedRequest, &RoutePlan),
        object: &Arc<OwnedObject>,
    ) -> Box<PendingCharge> {
        let (open, _) = OpenCall::enter(&self.sinks, self.buffer_budget.reservation());
        let payer = Billing {
            caller: Caller {
                account,
                key: key_of(snapshot, object),
            },
            credit_holds: CreditHolds::default(),
            windows: WindowReservation::default(),
            open,
            metered: false,
            output_max: 0,
            fixed_price: None,
        };
        let mut bill = PendingCharge::new(self, Arc::clone(snapshot), payer, request, plan);
        bill.follow_up = Some(Box::new(FollowUp::of_work(&self.state, Arc::clone(object))));
        bill.is_own();
        bill
    }

    /// Charges work with the credit that was reserved for it.
    fn settle_unseen(
        &self,
        snapshot: &Arc<Snapshot>,
        account: Arc<AccountState>,
        object: &Arc<OwnedObject>,
    ) {
        let path = place(object).map_or_else(|| "/".to_owned(), |(path, ..)| path);
        let target = PathAndQuery::try_from(path);
        let target = target.unwrap_or_else(|_| PathAndQuery::from_static("/"));
        let request = self.request_for((target, Route::Other, Dialect::OpenAi));
        let plan = RoutePlan { stages: Vec::new() };
        let mut bill = self.bill_for(snapshot, account, (&request, &plan), object);
        bill.settles(object);
        let record = &mut bill.record;
        record.key = Some(object.key);
        record.status = http::StatusCode::OK.as_u16();
        record.measure = UsageMeasure::Estimated;
        let held = object.pending.as_ref().map(|pending| pending.held);
        self.state.objects().settled(object.key, &object.id);
        bill.close_at(held.unwrap_or_default());
    }
}
