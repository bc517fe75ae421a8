//! Where a call goes, as far as the relay has to do with it: planning it, what any of its models may cost,
//! and turning from one model to the next. The rules are in the contract's `plan`.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proxyxai_contract::{
    id::Level,
    object::Pending,
    plan::{self, Plan},
    price::ModelPrice,
    rotation::{Affinity, Strategy},
    snapshot::Account,
    usage::Images,
};

use super::{Call, bill, request};
use crate::{
    decide::{
        admit::{self, Refusal},
        affinity::Conversation,
        gate::Way,
        spend,
    },
    formats::{
        Family,
        batch::{self, Part},
        conversation,
        request::RequestFacts,
    },
    live::{AccountState, Dialect, Snapshot, Want},
};

impl Call {
    /// The model of the stage it is at.
    pub(super) fn model(&self) -> &str {
        self.plan
            .stages
            .get(self.stage)
            .map_or("", |stage| &stage.model)
    }

    /// What it wants a key for.
    pub(super) fn wants(&self) -> Want<'_> {
        Want {
            model: self.model(),
            account: self.bill.record.account,
            customer: self.bill.account.customer,
            dialect: self.dialect,
        }
    }

    /// The levels of the stage it is at.
    pub(super) fn hops(&self) -> &[plan::Hop] {
        let stage = self.plan.stages.get(self.stage);
        stage.map_or(&[], |stage| &stage.hops)
    }

    /// How keys of a level take turns.
    pub(super) fn strategy(&self, level: Level) -> Strategy {
        self.bill.snapshot.settings.rotation.strategies.of(level)
    }

    /// Goes on to a stage of the plan: from here on everything is of that stage's model.
    pub(super) fn turn_to(&mut self, stage: usize) {
        if self.stage == stage {
            return;
        }
        self.stage = stage;
        if let Some(stage) = self.plan.stages.get(stage) {
            self.request.name_model(&stage.model);
            let (path, facts) = (self.request.path(), &self.request.facts);
            let images = bill::images(&self.bill.snapshot, &stage.model, path, facts);
            self.bill.name_model(&stage.model, images);
        }
    }
}

/// What a key has to speak for a call that no model leads to one. Where one of the plan's speaks Anthropic for sure, no
/// other is asked in that dialect.
pub(super) fn dialect(snapshot: &Snapshot, plan: &Plan, spoken: Option<Family>) -> Dialect {
    match spoken {
        None => Dialect::Any,
        Some(Family::OpenAi) => Dialect::OpenAi,
        Some(Family::Anthropic) => {
            let hops = plan.stages.iter().flat_map(|stage| &stage.hops);
            let keys = hops.flat_map(|hop| snapshot.pool(hop.level).keys());
            let sure = keys.clone().any(|key| key.speaks(Dialect::Anthropic));
            if sure {
                Dialect::Anthropic
            } else {
                Dialect::PerhapsAnthropic
            }
        }
    }
}

/// What others that should get the same key have in common with a call.
pub(super) async fn conversation(
    snapshot: &Snapshot,
    headers: &HeaderMap,
    body: &Bytes,
) -> Option<Conversation> {
    let found = match snapshot.settings.rotation.affinity {
        Affinity::Off => return None,
        Affinity::Session => {
            let named = headers
                .get("x-session-id")
                .map_or(&[][..], HeaderValue::as_bytes);
            request::beside(body, named, |body, named| {
                conversation::session(Some(named), body)
            })
            .await
        }
        Affinity::Prefix => request::beside(body, &(), |body, ()| conversation::prefix(body)).await,
    };
    // Without one it goes wherever there is room.
    found.ok().flatten()
}

/// Where a call goes. A model without a price is refused where that is wanted, save to root, and none is
/// substituted.
pub(super) fn plan(
    snapshot: &Snapshot,
    chain: &[&Account],
    facts: &RequestFacts,
) -> Result<Plan, Refusal> {
    let (account, ancestors) = chain.split_first().ok_or(Refusal::Unauthenticated)?;
    let settings = &snapshot.settings;
    let plan = plan::plan(account, ancestors, settings, facts.model.as_deref());
    let plan = plan.map_err(|not| Refusal::LevelNotAllowed {
        account: not.account,
        level: not.level,
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

/// The most a metered call can cost, whichever of its models answers it.
pub(super) fn ceiling(
    snapshot: &Snapshot,
    account: &AccountState,
    plan: &Plan,
    (path, body_bytes): (&str, usize),
    facts: &RequestFacts,
) -> spend::Ceiling {
    let of = |model: &str| {
        let bounds = spend::Bounds {
            body_bytes,
            max_tokens: facts.max_tokens,
            choices: facts.n.unwrap_or(1),
            images: bill::images(snapshot, model, path, facts),
        };
        let price = snapshot.prices.find(model);
        spend::ceiling(price, &bounds, &account.account)
    };
    let planned = plan.stages.iter().map(|stage| stage.model.as_str());
    // The provider may turn to any that the request names.
    let named = facts.named.iter().map(String::as_str);
    spend::dearest(planned.chain(named).map(of))
}

/// The calls of a batch; none for what is no batch. Each has to be one that could be made by itself.
pub(super) async fn calls(
    snapshot: &Snapshot,
    chain: &[&Account],
    way: Way<'_>,
    body: &Bytes,
) -> Result<Vec<Part>, Refusal> {
    if !way.takes_calls() {
        return Ok(Vec::new());
    }
    let calls = request::beside(body, &(), |body, ()| batch::messages(body)).await?;
    let calls = calls.map_err(|error| Refusal::Malformed(error.to_string()))?;
    check(snapshot, chain, &calls)?;
    Ok(calls)
}

/// What the calls in a file may cost, if it is one for a batch, and each of them could be made by itself.
pub(super) async fn calls_in_file(
    snapshot: &Snapshot,
    (account, chain): (&AccountState, &[&Account]),
    form: &Bytes,
) -> Result<Option<Pending>, Refusal> {
    let calls = request::beside(form, &(), |form, ()| batch::lines(form)).await?;
    let usable = calls.filter(|calls| check(snapshot, chain, calls).is_ok());
    Ok(usable.and_then(|calls| {
        Some(Pending {
            model: calls.first()?.model.clone(),
            held: ceiling_of_all(snapshot, account, &calls).hold,
        })
    }))
}

fn check(snapshot: &Snapshot, chain: &[&Account], calls: &[Part]) -> Result<(), Refusal> {
    let is_root = chain.len() == 1;
    let mut seen = BTreeSet::new();
    for call in calls {
        if !seen.insert(&call.model) {
            continue;
        }
        admit::model(chain, true, Some(&call.model))?;
        // Without a price nothing could be set aside, and no operator's leave makes that good.
        if snapshot.prices.find(&call.model).is_none() && !is_root {
            return Err(Refusal::Unpriced {
                model: call.model.clone(),
            });
        }
    }
    Ok(())
}

/// The most that all calls of a batch can cost.
pub(super) fn ceiling_of_all(
    snapshot: &Snapshot,
    account: &AccountState,
    calls: &[Part],
) -> spend::Ceiling {
    let of = |call: &Part| {
        let bounds = spend::Bounds {
            body_bytes: call.bytes,
            max_tokens: call.max_tokens,
            choices: call.choices,
            images: Images::default(),
        };
        spend::ceiling(snapshot.prices.find(&call.model), &bounds, &account.account)
    };
    spend::together(calls.iter().map(of))
}

/// The same for a call with a fixed price.
pub(super) fn fixed_ceiling(price: &ModelPrice, account: &AccountState) -> spend::Ceiling {
    let bounds = spend::Bounds {
        body_bytes: 0,
        max_tokens: Some(0),
        choices: 1,
        images: Images::default(),
    };
    spend::ceiling(Some(price), &bounds, &account.account)
}
