//! The terms of a call, once its body is read: what it refers to, where it may go, what it may cost, and what to do
//! with its response.

use bytes::Bytes;
use http::{HeaderMap, Method};
use proxyxai_contract::{
    id::KeyId, money::Money, part::BillPart, plan::RoutePlan, price::ModelPrice,
};

use super::{Relay, objects::FollowUp, route};
use crate::{
    decide::{
        admit::{self, CallerScope, Refusal},
        ceiling::CostCeiling,
        endpoint_access::{self, AllowedEndpoint, DeferredWork},
    },
    formats::{endpoint::EndpointMatch, request::RequestFacts, usage},
    state::{AccountState, Snapshot},
};

/// The most a client wants to pay for its call, in dollars.
pub(super) const MAX_COST: &str = "x-proxyxai-max-cost";

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct TermsRequest<'a> {
    pub(super) found: EndpointMatch,
    pub(super) way: AllowedEndpoint<'a>,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
}

/// The terms.
pub(super) struct CallTerms {
    pub(super) plan: RoutePlan,
    /// What it may cost at most.
    pub(super) ceiling: CostCeiling,
    /// What it costs regardless of its use, where the price is fixed.
    pub(super) fixed_price: Option<Box<ModelPrice>>,
    /// Whether its response carries usage, or a price.
    pub(super) metered: bool,
    pub(super) follow_up: Option<Box<FollowUp>>,
    /// The one key that can serve it, if any.
    pub(super) pinned_key: Option<KeyId>,
}

impl Relay {
    /// Finds the terms.
    ///
    /// # Errors
    /// Errors with the first reason against the call.
    pub(super) async fn terms(
        &self,
        snapshot: &Snapshot,
        (account, lists): (&AccountState, CallerScope<'_>),
        asked: TermsRequest<'_>,
        (facts, body): (&mut RequestFacts, &Bytes),
    ) -> Result<CallTerms, Refusal> {
        let TermsRequest {
            found,
            way,
            method,
            path,
        } = asked;
        let chain = lists.chain;
        let (calls, inside) = route::calls(snapshot, lists, way, body).await?;
        if let Some(first) = calls.first() {
            facts.model = Some(first.model.clone());
        }
        let settings = &snapshot.settings;
        let assumed = self.config.limits.assumed();
        let call = (method, path);
        let later =
            endpoint_access::deferred_work(call, found, facts.deferred_by, chain, settings)?;
        let said = (&*facts, body, inside);
        let place = (found, path);
        let referred = self.find_references(snapshot, &account.account, place, said);
        let referred = referred.await?;
        facts.reads_more |= referred.is_some();
        let in_file = way.takes_file().then(|| referred.calls()).transpose()?;
        if let Some(calls) = &in_file {
            route::check_made_for(snapshot, chain, body).await?;
            // The file may have been sent with another key of the account.
            admit::model(lists, true, Some(&calls.model))?;
            facts.model = Some(calls.model.clone());
        }
        let is_batch = !calls.is_empty() || in_file.is_some();
        let later = if is_batch { DeferredWork::Held } else { later };
        let mut follow = self.follow(found, facts, &later, referred.about.as_ref());
        if let Some(follow) = follow.as_mut().filter(|follow| follow.makes_file()) {
            let form = (body, assumed);
            follow.calls = route::calls_in_file(snapshot, (account, lists), form).await?;
        }
        let fixed_price = match later {
            DeferredWork::Fixed(price) => price,
            DeferredWork::No | DeferredWork::Held => None,
        };
        let fixed_price = fixed_price.or_else(|| way.fixed_price());
        let mut plan = route::plan(snapshot, chain, facts)?;
        referred.pin(&mut plan, snapshot);
        if account.account.parent.is_some() {
            check_recording(snapshot, path, &plan, facts)?;
        }
        let takes_model = way.takes_model();
        let ceiling = match &fixed_price {
            Some(price) => route::fixed_ceiling(price, account),
            None if takes_model => {
                let asked = ((found.route(), path), body.len(), assumed);
                route::ceiling(snapshot, account, &plan, asked, facts)
            }
            None => match &in_file {
                Some(calls) => CostCeiling {
                    hold: calls.held,
                    open: false,
                    output: 0,
                },
                None => route::ceiling_of_all(snapshot, account, &calls, assumed).await,
            },
        };
        Ok(CallTerms {
            plan,
            ceiling,
            metered: takes_model || is_batch || fixed_price.is_some(),
            fixed_price,
            follow_up: follow,
            pinned_key: referred.only,
        })
    }
}

/// Refuses a call that is charged by the length of a recording that is missing: its cost would stay unknown.
fn check_recording(
    snapshot: &Snapshot,
    path: &str,
    plan: &RoutePlan,
    facts: &RequestFacts,
) -> Result<(), Refusal> {
    if facts.has_file || usage::RequestMeasure::of(path) != Some(usage::RequestMeasure::Recording) {
        return Ok(());
    }
    let by_hour = |model: &str| {
        let price = snapshot.prices.find(model);
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
pub(super) fn check_cost(
    CostCeiling { hold, open, .. }: CostCeiling,
    most: Option<Money>,
) -> Result<(), Refusal> {
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
    let said = said.to_str().ok().filter(|_| all.next().is_none());
    let said = said.and_then(|text| text.trim().parse().ok());
    let money = said.and_then(|dollars| Money::from_dollars(dollars).ok());
    let money = money.filter(|money| !money.is_negative());
    money.map(Some).ok_or_else(|| {
        Refusal::Malformed(format!(
            "{MAX_COST} must be one amount in dollars, such as 0.25"
        ))
    })
}
