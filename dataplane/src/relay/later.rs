//! Looks, on the key that it was given to, for what work has come to that is done after its call, when nobody else
//! has. Control hands it out, to one data plane at a time and more and more seldom.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, Request, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use proxyxai_contract::{
    object::{Due, Kind, Owned},
    plan::{Hop, LevelReason, ModelReason, Plan, Stage},
    usage::Measure,
};
use tokio_util::sync::CancellationToken;

use super::{
    Call, OpenCall, Relay,
    bill::{Bill, Holds, Payer},
    headers,
    objects::{Follow, key_of},
    request::{Prepared, Received},
};
use crate::{
    RequestId,
    formats::{Family, Route, request::RequestFacts},
    live::{AccountState, Caller, Counted, Dialect, KeyState, Snapshot},
};

/// Between two questions for work.
const TICK: Duration = Duration::from_secs(1);
/// Looks under way at the same moment.
const LOOKS_MAX: u32 = 8;
/// How long one may take, its retries included.
const LOOK_MAX: Duration = Duration::from_mins(2);

/// Runs until it is cancelled.
pub(crate) async fn run(relay: Relay, stop: CancellationToken) {
    loop {
        let tick = tokio::time::sleep(TICK);
        if stop.run_until_cancelled(tick).await.is_none() {
            return;
        }
        if relay.obstacle().is_some() {
            continue;
        }
        // Control will be asked again anyway.
        let Ok(due) = relay.live.objects().claim(LOOKS_MAX).await else {
            continue;
        };
        let looks = join_all(due.into_iter().map(|due| relay.look(due)));
        if stop.run_until_cancelled(looks).await.is_none() {
            return;
        }
    }
}

/// Where to look for what became of an object's work.
fn place(object: &Owned) -> Option<(String, Family, Route)> {
    let id = &object.id;
    match object.kind {
        Kind::Response => {
            let path = format!("/v1/responses/{id}");
            Some((path, Family::OpenAi, Route::Responses))
        }
        Kind::Deferred => {
            let path = format!("/v1/chat/deferred-completion/{id}");
            Some((path, Family::OpenAi, Route::Chat))
        }
        Kind::Batch => {
            let path = format!("/v1/batches/{id}");
            Some((path, Family::OpenAi, Route::Other))
        }
        Kind::MessageBatch => {
            let path = format!("/v1/messages/batches/{id}/results");
            Some((path, Family::Anthropic, Route::Other))
        }
        _ => None,
    }
}

impl Relay {
    /// Looks for what some work has come to.
    async fn look(&self, Due { object, overdue }: Due) {
        let Some(snapshot) = self.live.snapshot() else {
            return;
        };
        let Some(account) = snapshot.account(object.account).cloned() else {
            return;
        };
        self.live.objects().made(object.clone());
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

    /// Asks at a place, and, where that says that the results are elsewhere, there.
    async fn fetch_all(
        &self,
        whose: (&Arc<Snapshot>, &Arc<AccountState>, &KeyState),
        place: (String, Family, Route),
        object: &Arc<Owned>,
    ) {
        if let Some(call) = self.call_for(whose, place, object) {
            self.fetch(call).await;
        }
        let Some(file) = self.live.objects().results_of(object) else {
            return;
        };
        let place = (
            format!("/v1/files/{file}/content"),
            Family::OpenAi,
            Route::Other,
        );
        if let Some(call) = self.call_for(whose, place, object) {
            self.fetch(call).await;
        }
    }

    /// Asks, and hears the answer to its end, which settles what it tells.
    async fn fetch(&self, call: Box<Call>) {
        let mut body = Box::pin(self.rounds(call)).await.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }

    async fn is_pending(&self, object: &Owned) -> bool {
        let known = self.live.objects().find(&[&object.id]).await;
        let known = known.unwrap_or_default();
        let same = known.iter().find(|one| one.key == object.key);
        same.is_some_and(|one| one.pending.is_some())
    }

    /// A call of the gateway's own.
    fn call_for(
        &self,
        (snapshot, account, key): (&Arc<Snapshot>, &Arc<AccountState>, &KeyState),
        (path, family, route): (String, Family, Route),
        object: &Arc<Owned>,
    ) -> Option<Box<Call>> {
        let target = PathAndQuery::try_from(path).ok()?;
        let hop = Hop {
            level: key.key.level,
            why: LevelReason::Account,
        };
        let plan = Plan {
            stages: vec![Stage {
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
            dialect: Dialect::Any,
            only: Some(object.key),
            metered: false,
            bill,
        }))
    }

    fn request_for(&self, asked: (PathAndQuery, Route, Family)) -> Prepared {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = Method::GET;
        let mut fields = HeaderMap::new();
        drop(RequestId::settle(&mut fields));
        if asked.2 == Family::Anthropic {
            let version = HeaderValue::from_static("2023-06-01");
            fields.insert("anthropic-version", version);
        }
        headers::for_upstream(&mut fields, self.via.clone(), true);
        parts.headers = fields;
        let nothing = Received {
            body: Bytes::new(),
            packed: None,
            trailers: None,
        };
        let facts = RequestFacts::default();
        Prepared::new(parts, asked, nothing, facts, ("", self.clock.now()))
    }

    fn bill_for(
        &self,
        snapshot: &Arc<Snapshot>,
        account: Arc<AccountState>,
        (request, plan): (&Prepared, &Plan),
        object: &Arc<Owned>,
    ) -> Box<Bill> {
        let (open, _) = OpenCall::enter(&self.office, self.memory.room());
        let payer = Payer {
            caller: Caller {
                account,
                key: key_of(snapshot, object),
            },
            holds: Holds::default(),
            counted: Counted::default(),
            open,
            metered: false,
            output_max: 0,
            fixed_price: None,
        };
        let mut bill = Bill::new(self, Arc::clone(snapshot), payer, request, plan);
        bill.follow = Some(Box::new(Follow::of_work(&self.live, Arc::clone(object))));
        bill.is_own();
        bill
    }

    /// Pays work with what was set aside for it.
    fn settle_unseen(
        &self,
        snapshot: &Arc<Snapshot>,
        account: Arc<AccountState>,
        object: &Arc<Owned>,
    ) {
        let path = place(object).map_or_else(|| "/".to_owned(), |(path, ..)| path);
        let target = PathAndQuery::try_from(path);
        let target = target.unwrap_or_else(|_| PathAndQuery::from_static("/"));
        let request = self.request_for((target, Route::Other, Family::OpenAi));
        let plan = Plan { stages: Vec::new() };
        let mut bill = self.bill_for(snapshot, account, (&request, &plan), object);
        bill.settles(object);
        let record = &mut bill.record;
        record.key = Some(object.key);
        record.status = http::StatusCode::OK.as_u16();
        record.measure = Measure::Estimated;
        let held = object.pending.as_ref().map(|pending| pending.held);
        self.live.objects().settled(object.key, &object.id);
        bill.close_at(held.unwrap_or_default());
    }
}
