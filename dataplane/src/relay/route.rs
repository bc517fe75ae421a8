//! The relay's part of routing: planning a call, and the most any of its models may cost. The rules are in the
//! contract's `plan`.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proxyxai_contract::{
    bill::{self, UsageCeiling},
    load_balancing::KeyAffinity,
    money::Money,
    object::PendingWork,
    plan::{self, RoutePlan, RouteRefusal},
    price::ModelPrice,
    snapshot::AccountConfig,
    tokens::ImageUsage,
};

use super::{
    admission::{CallHead, CallerContext},
    context::Relay,
    objects,
    receive::ReadRequest,
    record, request,
    terms::CallTerms,
};
use crate::{
    decide::{
        admit::{self, CallerScope, Refusal},
        ceiling,
        endpoint_access::{AllowedEndpoint, EndpointRequest},
    },
    formats::{
        Dialect,
        batch::{self, BatchCall},
        conversation::{self, ConversationHash},
        references::Reference,
        request::RequestFacts,
    },
    state::{AccountState, DialectNeed, Snapshot},
};

/// Calls of a batch that are processed in one step: less than a millisecond.
const STEP_CALLS: usize = 1024;

/// The dialect that a key must speak for a call that no model routes. If a key of the plan is sure to speak Anthropic,
/// no other is asked in that dialect.
pub(super) fn dialect_need(
    snapshot: &Snapshot,
    plan: &RoutePlan,
    spoken: Option<Dialect>,
) -> DialectNeed {
    match spoken {
        None => DialectNeed::Any,
        Some(Dialect::OpenAi) => DialectNeed::OpenAi,
        Some(Dialect::Anthropic) => {
            let hops = plan.stages.iter().flat_map(|stage| &stage.hops);
            let keys = hops.flat_map(|hop| snapshot.pool(hop.level).keys());
            let sure = keys.clone().any(|key| key.speaks(DialectNeed::Anthropic));
            if sure {
                DialectNeed::Anthropic
            } else {
                DialectNeed::PerhapsAnthropic
            }
        }
    }
}

/// Hash of what the calls of one conversation share, so that they get the same key. Calls without a model that make an
/// object share their account's.
pub(super) async fn conversation(
    context: CallerContext<'_>,
    head: &CallHead,
    read: &ReadRequest,
    terms: &CallTerms,
) -> Option<ConversationHash> {
    let headers = &head.parts.headers;
    let said = said_conversation(context.snapshot, headers, &read.received.body).await;
    said.or_else(|| {
        let keeps_together = terms.makes_object() && !terms.takes_model;
        keeps_together.then(|| objects::of_account(context.caller.account.account.id))
    })
}

/// The conversation that a request names or continues.
async fn said_conversation(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<ConversationHash> {
    let found = match snapshot.settings.rotation.affinity {
        KeyAffinity::Off => return None,
        KeyAffinity::Session => {
            let named = headers
                .get("x-session-id")
                .map_or(&[][..], HeaderValue::as_bytes);
            request::beside(body, named, |body, named| {
                conversation::session(Some(named), body)
            })
            .await
        }
        KeyAffinity::Prefix => {
            request::beside(body, &(), |body, ()| conversation::prefix(body)).await
        }
    };
    // Without one, any key will do.
    found.ok().flatten()
}

/// Plans where a call goes. A model without a price is refused where that is configured, except for root, and is never
/// a substitute.
pub(super) fn plan(
    snapshot: &Snapshot,
    chain: &[&AccountConfig],
    facts: &RequestFacts,
) -> Result<RoutePlan, Refusal> {
    let (account, ancestors) = chain.split_first().ok_or(Refusal::Unauthenticated)?;
    let settings = &snapshot.settings;
    let asked = facts.model.as_deref();
    let plan =
        plan::plan(account, ancestors, settings, asked).map_err(|refusal| match refusal {
            RouteRefusal::Level { account, level } => Refusal::LevelNotAllowed { account, level },
            RouteRefusal::Model { account, model } => Refusal::ModelNotAllowed { account, model },
        })?;
    let is_root = ancestors.is_empty();
    if !settings.refuse_unpriced || is_root {
        return Ok(plan);
    }
    let mut named = facts.named.iter();
    if let Some(model) = named.find(|name| snapshot.prices.find(name).is_none()) {
        let model = model.clone();
        return Err(Refusal::Unpriced { model });
    }
    if facts.model.is_none() {
        return Ok(plan);
    }
    let priced = plan.priced(&snapshot.prices);
    priced.map_err(|model| Refusal::Unpriced { model })
}

/// The most a metered call can cost, with any of its models.
pub(super) fn ceiling(
    relay: &Relay,
    context: CallerContext<'_>,
    asked: EndpointRequest<'_>,
    plan: &RoutePlan,
    read: &ReadRequest,
) -> ceiling::CostCeiling {
    let CallerContext {
        snapshot, caller, ..
    } = context;
    let ReadRequest { received, facts } = read;
    let (route, path) = (asked.found.route(), asked.path);
    let body_bytes = received.body.len();
    let assumed = relay.config.limits.assumed();
    let of = |model: &str| {
        let bounds = ceiling::RequestBounds {
            body_bytes,
            reads_more: facts.reads_more(route),
            max_tokens: facts.max_tokens(route),
            choices: facts.choices(),
            images: record::images(snapshot, model, path, facts.pictures()),
            tier: facts.tier.as_deref(),
            tools: &facts.tools,
            tool_calls_max: facts.tool_calls_max,
            assumed,
        };
        let price = snapshot.prices.find(model);
        ceiling::ceiling(price, &bounds, &caller.account.account)
    };
    let planned = plan.stages.iter().map(|stage| stage.model.as_str());
    // The provider may choose any that the request names.
    let named = facts.named.iter().map(String::as_str);
    ceiling::dearest(planned.chain(named).map(of))
}

/// Returns the calls of a batch and what they refer to, or `None` if it is no batch. Each must be permitted as a call
/// by itself.
pub(super) async fn calls(
    snapshot: &Snapshot,
    scope: CallerScope<'_>,
    way: AllowedEndpoint<'_>,
    body: &Bytes,
) -> Result<(Vec<BatchCall>, Vec<Reference>), Refusal> {
    if !way.takes_calls() {
        return Ok(Default::default());
    }
    let (calls, references) = request::beside(body, &(), |body, ()| batch::messages(body))
        .await?
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    check(snapshot, scope, &calls).await?;
    Ok((calls, references))
}

/// Checks whether a batch may use a file of calls: a provider may send all of them to the batch's endpoint, regardless
/// of what they say.
pub(super) async fn check_made_for(
    context: CallerContext<'_>,
    body: &Bytes,
) -> Result<(), Refusal> {
    let row = request::beside(body, &(), |body, ()| batch::made_for(body))
        .await?
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    row.map_or(Ok(()), |row| {
        admit::resource(context.chain, &context.snapshot.settings, &row.url())
    })
}

/// What the calls in a file may cost, if it is a file for batches and each call is permitted by itself.
pub(super) async fn calls_in_file(
    context: CallerContext<'_>,
    form: &Bytes,
    assumed: ceiling::Assumed,
) -> Result<Option<PendingWork>, Refusal> {
    let calls = request::beside(form, &(), |form, ()| batch::lines(form)).await?;
    let Some(calls) = calls else {
        return Ok(None);
    };
    let Some(first) = calls.first().map(|first| first.model.clone()) else {
        return Ok(None);
    };
    if check(context.snapshot, context.scope(), &calls)
        .await
        .is_err()
    {
        return Ok(None);
    }
    Ok(Some(PendingWork {
        model: first,
        held: ceiling_of_all(context, &calls, assumed).await.hold,
    }))
}

async fn check(
    snapshot: &Snapshot,
    scope: CallerScope<'_>,
    calls: &[BatchCall],
) -> Result<(), Refusal> {
    let chain = scope.chain;
    let is_root = chain.len() == 1;
    let (mut rows, mut seen) = (Vec::new(), BTreeSet::new());
    for some in calls.chunks(STEP_CALLS) {
        for call in some {
            if !rows.contains(&call.row) {
                rows.push(call.row);
                admit::resource(chain, &snapshot.settings, &call.row.url())?;
            }
            for model in call.models().filter(|model| seen.insert(*model)) {
                admit::model(scope, true, Some(model))?;
                // Without a price no credit can be reserved, and no operator's permission changes that.
                if snapshot.prices.find(model).is_none() && !is_root {
                    let model = model.to_owned();
                    return Err(Refusal::Unpriced { model });
                }
            }
        }
        pause(some).await;
    }
    Ok(())
}

/// Yields to other calls between steps.
async fn pause(done: &[BatchCall]) {
    if done.len() == STEP_CALLS {
        tokio::task::yield_now().await;
    }
}

/// The most that all calls of a batch can cost, each with any of its models.
pub(super) async fn ceiling_of_all(
    context: CallerContext<'_>,
    calls: &[BatchCall],
    assumed: ceiling::Assumed,
) -> ceiling::CostCeiling {
    let CallerContext {
        snapshot, caller, ..
    } = context;
    let of = |call: &BatchCall| {
        let path = call.row.url();
        let of = |model: &str| {
            let bounds = ceiling::RequestBounds {
                body_bytes: call.bytes,
                reads_more: call.reads_more,
                max_tokens: call.max_tokens,
                choices: call.choices,
                images: record::images(snapshot, model, &path, call.pictures()),
                // A tier in a batch's line does not apply.
                tier: None,
                tools: &call.tools,
                tool_calls_max: call.tool_calls_max,
                assumed,
            };
            ceiling::ceiling(
                snapshot.prices.find(model),
                &bounds,
                &caller.account.account,
            )
        };
        ceiling::dearest(call.models().map(of))
    };
    let mut all = ceiling::CostCeiling::default();
    for some in calls.chunks(STEP_CALLS) {
        all = ceiling::together([all].into_iter().chain(some.iter().map(of)));
        pause(some).await;
    }
    all
}

/// The same for a call with a fixed price.
pub(super) fn fixed_ceiling(price: &ModelPrice, account: &AccountState) -> ceiling::CostCeiling {
    let none = ImageUsage::default();
    let most = UsageCeiling {
        input: 0,
        output: 0,
        images: &none,
        pieces: &[],
        tier: None,
    };
    let AccountConfig { rates, factor, .. } = *account.account;
    ceiling::CostCeiling {
        hold: bill::ceiling(price, &most, rates, factor).unwrap_or(Money::MAX),
        open: false,
        output: 0,
    }
}
