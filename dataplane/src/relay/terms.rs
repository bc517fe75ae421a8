//! The terms of a call, once its body is read: what it refers to, where it may go, what it may cost, and what to do
//! with its response.

use bytes::Bytes;
use http::HeaderMap;
use proxyxai_contract::{
    id::KeyId, money::Money, object::PendingWork, part::BillPart, plan::RoutePlan,
    price::ModelPrice,
};

use super::{
    admission::{AllowedRequest, CallerContext},
    context::Relay,
    follow_up::{self, FollowUp},
    objects::{self, ReferencedObjects},
    receive::ReadRequest,
    route,
};
use crate::{
    decide::{
        admit::{self, Refusal},
        ceiling::CostCeiling,
        endpoint_access::{self, DeferredWork},
    },
    formats::{batch::BatchCall, request::RequestFacts, usage},
    state::{Caller, Snapshot},
};

/// The most a client wants to pay for its call, in dollars.
pub(super) const MAX_COST: &str = "x-proxyxai-max-cost";

/// The terms.
pub(super) struct CallTerms {
    pub(super) plan: RoutePlan,
    /// What it may cost at most.
    pub(super) ceiling: CostCeiling,
    /// What it costs regardless of its use, where the price is fixed.
    pub(super) fixed_price: Option<Box<ModelPrice>>,
    /// Whether its request names a model, by which it is priced.
    pub(super) takes_model: bool,
    /// Whether its response carries usage, or a price.
    pub(super) metered: bool,
    pub(super) follow_up: Option<Box<FollowUp>>,
    /// The one key that can serve it, if any.
    pub(super) pinned_key: Option<KeyId>,
}

/// The calls that a batch makes.
struct BatchedCalls {
    /// Those in its body.
    calls: Vec<BatchCall>,
    /// Those in a file that it names.
    in_file: Option<PendingWork>,
}

impl CallTerms {
    /// Returns who is billed instead of the caller, if the response may report the end of another account's work.
    pub(super) fn billed_caller(&self, snapshot: &Snapshot) -> Option<Caller> {
        self.follow_up.as_ref()?.billed_caller(snapshot)
    }

    /// Whether it makes an object.
    pub(super) fn makes_object(&self) -> bool {
        self.follow_up.as_ref().is_some_and(|follow| follow.makes())
    }
}

/// Checks access to the named models, and finds the terms.
///
/// # Errors
/// Errors with the first reason against the call.
pub(super) async fn plan(
    relay: &Relay,
    context: CallerContext<'_>,
    allowed: AllowedRequest<'_>,
    read: &mut ReadRequest,
) -> Result<CallTerms, Refusal> {
    let AllowedRequest {
        asked,
        way,
        cost_max,
    } = allowed;
    let CallerContext {
        snapshot, chain, ..
    } = context;
    let ReadRequest { received, facts } = read;
    let (body, takes_model, scope) = (&received.body, way.takes_model(), context.scope());
    admit::model(scope, takes_model, facts.model.as_deref())?;
    admit::named(scope, &facts.named)?;
    let (calls, references) = route::calls(snapshot, scope, way, body).await?;
    if let Some(first) = calls.first() {
        facts.model = Some(first.model.clone());
    }
    let deferred =
        endpoint_access::deferred_work(asked, facts.deferred_by, chain, &snapshot.settings)?;
    let named = objects::named_in_body(asked.found, facts, body, references).await?;
    let referred = objects::find_references(relay, context, asked, facts, &named).await?;
    facts.reads_more |= referred.is_some();
    let in_file = if way.takes_file() {
        Some(calls_of_file(context, &referred, body, facts).await?)
    } else {
        None
    };
    let batched = BatchedCalls { calls, in_file };
    let deferred = match deferred {
        _ if batched.is_some() => DeferredWork::Held,
        deferred => deferred,
    };
    let mut follow_up = follow_up::follow_up(
        relay,
        asked.found,
        facts,
        &deferred,
        referred.about.as_ref(),
    );
    if let Some(follow) = follow_up.as_mut().filter(|follow| follow.makes_file()) {
        let assumed = relay.config.limits.assumed();
        follow.calls = route::calls_in_file(context, body, assumed).await?;
    }
    let fixed_price = deferred.fixed_price().or_else(|| way.fixed_price());
    let mut plan = route::plan(snapshot, chain, facts)?;
    referred.pin(&mut plan, snapshot);
    check_recording(context, asked.path, &plan, facts)?;
    let ceiling = match &fixed_price {
        Some(price) => route::fixed_ceiling(price, &context.caller.account),
        None if takes_model => route::ceiling(relay, context, asked, &plan, read),
        None => batched.ceiling(relay, context).await,
    };
    check_cost(ceiling, cost_max)?;
    Ok(CallTerms {
        plan,
        ceiling,
        takes_model,
        metered: takes_model || batched.is_some() || fixed_price.is_some(),
        fixed_price,
        follow_up,
        pinned_key: referred.only,
    })
}

impl BatchedCalls {
    /// Whether there are any.
    fn is_some(&self) -> bool {
        !self.calls.is_empty() || self.in_file.is_some()
    }

    /// The most that they cost.
    async fn ceiling(&self, relay: &Relay, context: CallerContext<'_>) -> CostCeiling {
        if let Some(calls) = &self.in_file {
            return CostCeiling {
                hold: calls.held,
                open: false,
                output: 0,
            };
        }
        let assumed = relay.config.limits.assumed();
        route::ceiling_of_all(context, &self.calls, assumed).await
    }
}

/// The calls in the file that a batch names, whose model is that of the batch.
async fn calls_of_file(
    context: CallerContext<'_>,
    referred: &ReferencedObjects,
    body: &Bytes,
    facts: &mut RequestFacts,
) -> Result<PendingWork, Refusal> {
    let calls = referred.calls()?;
    route::check_made_for(context, body).await?;
    // The file may have been sent with another key of the account.
    admit::model(context.scope(), true, Some(&calls.model))?;
    facts.model = Some(calls.model.clone());
    Ok(calls)
}

/// Refuses a call that is charged by the length of a recording that is missing: its cost would stay unknown.
fn check_recording(
    context: CallerContext<'_>,
    path: &str,
    plan: &RoutePlan,
    facts: &RequestFacts,
) -> Result<(), Refusal> {
    let needs_recording = usage::RequestMeasure::of(path) == Some(usage::RequestMeasure::Recording);
    if context.is_root() || facts.has_file || !needs_recording {
        return Ok(());
    }
    let by_hour = |model: &str| {
        let price = context.snapshot.prices.find(model);
        price.is_some_and(|price| price.standard.units.own(BillPart::AudioHour).is_some())
    };
    if plan.stages.iter().any(|stage| by_hour(&stage.model)) {
        let problem = "the recording must be uploaded as `file`: it is paid by its length, and one that is elsewhere cannot be measured";
        return Err(Refusal::Malformed(problem.to_owned()));
    }
    Ok(())
}

/// Refuses a call that may cost more than its client wants to pay. The cost is only known at the end, so nothing else
/// would enforce that.
///
/// # Errors
/// Errors if that is so, or the most it can cost is unknown.
fn check_cost(ceiling: CostCeiling, most: Option<Money>) -> Result<(), Refusal> {
    let CostCeiling { hold, open, .. } = ceiling;
    match most {
        Some(most) if hold > most || open => Err(Refusal::CostAbove {
            ceiling: hold,
            open,
            most,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Reads the header.
///
/// # Errors
/// Errors if it is no amount, or is given twice.
pub(super) fn max_cost(headers: &HeaderMap) -> Result<Option<Money>, Refusal> {
    let mut all = headers.get_all(MAX_COST).iter();
    let Some(said) = all.next() else {
        return Ok(None);
    };
    let amount = said
        .to_str()
        .ok()
        .filter(|_| all.next().is_none())
        .and_then(|text| text.trim().parse().ok())
        .and_then(|dollars| Money::from_dollars(dollars).ok())
        .filter(|money| !money.is_negative());
    amount.map(Some).ok_or_else(|| {
        Refusal::Malformed(format!(
            "{MAX_COST} must be one amount in dollars, such as 0.25"
        ))
    })
}
