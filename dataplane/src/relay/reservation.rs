//! Reserves what a call may cost at most, and counts it in its windows: the last reasons to refuse it.

use proxyxai_contract::{lease::LeaseShortage, money::Money};

use super::{
    admission::CallerContext, charge::CreditHolds, context::Relay, limit_headers,
    receive::ReadRequest, terms::CallTerms,
};
use crate::{
    decide::{
        admit::{self, KeyRefusal, Refusal},
        ceiling::CostCeiling,
    },
    formats::Route,
    state::{CreditError, CreditHold, FurtherKeyState, WindowReservation, credit_wait},
};

/// What is reserved for a call.
pub(super) struct CallReservation {
    pub(super) credit_holds: CreditHolds,
    pub(super) windows: WindowReservation,
}

/// Reserves credit, then counts the call in its windows.
///
/// # Errors
/// Errors if something does not suffice, or control is out of reach.
pub(super) async fn reserve(
    relay: &Relay,
    context: CallerContext<'_>,
    terms: &CallTerms,
    read: &ReadRequest,
    route: Route,
) -> Result<CallReservation, Refusal> {
    let credit_holds = reserve_credit(relay, context, terms.ceiling).await?;
    // The windows are checked last, so that a call refused for another reason does not count.
    let ReadRequest { received, facts } = read;
    let guess = || limit_headers::guess(route, received.body.len(), facts.max_tokens(route));
    let use_guess = limit_headers::WindowUse {
        model: facts.model.as_deref(),
        tokens: terms.metered.then(guess),
    };
    let windows = limit_headers::count_in_windows(relay, context, use_guess).await?;
    Ok(CallReservation {
        credit_holds,
        windows,
    })
}

/// Reserves the most that the call can cost: from its key's limit, then from its account's credit.
async fn reserve_credit(
    relay: &Relay,
    context: CallerContext<'_>,
    ceiling: CostCeiling,
) -> Result<CreditHolds, Refusal> {
    if ceiling.hold == Money::ZERO {
        return Ok(CreditHolds::default());
    }
    let key = match &context.caller.key {
        Some(key) => reserve_key_credit(relay, key, ceiling.hold).await?,
        None => None,
    };
    let account = reserve_account_credit(relay, context, ceiling).await?;
    Ok(CreditHolds { account, key })
}

/// A key without a limit spends its account's credit.
async fn reserve_key_credit(
    relay: &Relay,
    key: &FurtherKeyState,
    ceiling: Money,
) -> Result<Option<CreditHold>, Refusal> {
    let FurtherKeyState { key, credit, .. } = key;
    let Some(limit) = key.credit_limit else {
        return Ok(None);
    };
    let patience = relay.config.limits.credit_wait;
    let held = credit_wait::reserve(credit, relay.state.reach(), ceiling, patience).await;
    held.map(Some).map_err(|error| match error {
        CreditError::Short(_) => Refusal::Key(KeyRefusal::NotCovered {
            key: key.name.clone(),
            limit,
            left: credit.balance().max(Money::ZERO),
            ceiling,
        }),
        CreditError::OutOfReach => Refusal::Unavailable,
    })
}

/// Root's calls need no credit.
async fn reserve_account_credit(
    relay: &Relay,
    context: CallerContext<'_>,
    ceiling: CostCeiling,
) -> Result<Option<CreditHold>, Refusal> {
    if context.is_root() {
        return Ok(None);
    }
    let CallerContext {
        snapshot,
        caller,
        chain,
    } = context;
    let CostCeiling { hold, open, .. } = ceiling;
    let account = &caller.account;
    let patience = relay.config.limits.credit_wait;
    let held = credit_wait::reserve(&account.credit, relay.state.reach(), hold, patience).await;
    let aside = |mut held: CreditHold| {
        if open {
            held.may_exceed();
        }
        Some(held)
    };
    held.map(aside).map_err(|error| match error {
        CreditError::Short(LeaseShortage::Balance) => Refusal::NotCovered {
            account: account.account.name.clone(),
            balance: account.credit.balance(),
            ceiling: hold,
        },
        CreditError::Short(LeaseShortage::Month) => {
            admit::month_is_over(&snapshot.settings.zone, chain, relay.clock.now())
        }
        CreditError::OutOfReach => Refusal::Unavailable,
    })
}
