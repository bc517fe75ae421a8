//! Which limits apply to a call: those of its account, and of each account above it that has some. Each account also
//! counts the calls of all accounts below it.

use proxyxai_contract::{
    snapshot::{AccountConfig, FurtherKey},
    window::{LimitWindow, ModelLimit, ModelLimits},
};

use super::super::admit::CallerScope;

/// A limit on a call, set by one account of its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EffectiveLimit<'a> {
    pub(crate) window: LimitWindow,
    /// Units that it allows.
    pub(crate) most: u64,
    /// Index in the chain of the account that counts it, with all below it; 0 is the caller's.
    pub(crate) at: usize,
    /// The further client key that counts it by itself; `None` if the account does.
    pub(crate) key: Option<&'a str>,
    /// The account that set it; `None` for the system's limits by model.
    pub(crate) owner: Option<&'a str>,
    /// The model or pattern that is counted together; empty for an account's window.
    pub(crate) model: &'a str,
}

/// The limits that apply to a call: its key's own first, then those of the nearest account. At each account, a limit by
/// model replaces the window of the same kind.
///
/// Root counts only its own calls: what the system allows a model, it allows each account.
pub(crate) fn effective_limits<'a>(
    CallerScope { chain, key }: CallerScope<'a>,
    system: &'a ModelLimits,
    model: Option<&str>,
) -> Vec<EffectiveLimit<'a>> {
    let unlimited =
        |account: &&AccountConfig| account.limits.is_wide() && account.model_limits.is_empty();
    let own = key.and_then(|key| of_key(chain, key));
    if chain.iter().all(unlimited) && system.is_empty() {
        return own.into_iter().collect();
    }
    let find = |limits: &'a ModelLimits| model.and_then(|model| limits.find(model));
    // From root down: an account without limits by model has those of its nearest ancestor.
    let mut of_model = InheritedLimit {
        limit: find(system),
        set_by: None,
    };
    let mut limits = Vec::new();
    for (at, account) in chain.iter().enumerate().rev() {
        if !account.model_limits.is_empty() {
            of_model = InheritedLimit {
                limit: find(&account.model_limits),
                set_by: Some(account.name.as_str()),
            };
        }
        if at == 0 || account.parent.is_some() {
            let windows = LimitWindow::ALL.into_iter().rev();
            limits.extend(windows.filter_map(|window| of(window, at, account, of_model)));
        }
    }
    // A key is below its account, and so is counted first.
    limits.extend(own);
    limits.reverse();
    limits
}

/// The limit of a further client key.
fn of_key<'a>(chain: &[&'a AccountConfig], key: &'a FurtherKey) -> Option<EffectiveLimit<'a>> {
    let window = LimitWindow::Rpm;
    let most = key.rpm.filter(|rpm| !window.is_unlimited(*rpm))?;
    Some(EffectiveLimit {
        window,
        most,
        at: 0,
        key: Some(&key.name),
        owner: chain.first().map(|account| account.name.as_str()),
        model: "",
    })
}

/// The limit of the call's model that counts for an account.
#[derive(Clone, Copy)]
struct InheritedLimit<'a> {
    limit: Option<&'a ModelLimit>,
    /// The account that set it; `None` for the system's.
    set_by: Option<&'a str>,
}

/// One account's limit for a window; `None` if it is as good as unlimited.
fn of<'a>(
    window: LimitWindow,
    at: usize,
    account: &'a AccountConfig,
    of_model: InheritedLimit<'a>,
) -> Option<EffectiveLimit<'a>> {
    let by_model = of_model.limit.and_then(|own| Some((own, own.of(window)?)));
    let (most, owner, model) = match by_model {
        Some((own, most)) => (most, of_model.set_by, own.pattern()),
        None => (account.limits.of(window), Some(account.name.as_str()), ""),
    };
    (!window.is_unlimited(most)).then_some(EffectiveLimit {
        window,
        most,
        at,
        key: None,
        owner,
        model,
    })
}
