//! Whether a call is admitted: checks the account and its ancestors, in the documented order of the refusals. Rate
//! limit windows, which come last, are in `limit`.

use std::net::IpAddr;

use proxyxai_contract::{
    clock::{Millis, Zone},
    id::AccountId,
    money::Money,
    snapshot::{AccountConfig, FurtherKey, ProxySettings},
};

pub(crate) use super::refusal::{Refusal, key::KeyRefusal};

/// The caller, whose lists and limits count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallerScope<'a> {
    /// The caller's account, then its ancestors up to root.
    pub(crate) chain: &'a [&'a AccountConfig],
    /// The further client key that was presented; `None` for the account's first key.
    pub(crate) key: Option<&'a FurtherKey>,
}

/// What the admission of a call depends on.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    /// The caller's account, then its ancestors up to root.
    pub(crate) chain: &'a [&'a AccountConfig],
    /// The system's settings.
    pub(crate) settings: &'a ProxySettings,
    /// The client's address.
    pub(crate) ip: IpAddr,
    /// The path for the upstream, without query.
    pub(crate) path: &'a str,
    /// The account's balance.
    pub(crate) balance: Money,
    /// The account's cost of this month.
    pub(crate) month_used: Money,
    /// The time of the call.
    pub(crate) now: Millis,
}

/// Admits a call.
///
/// # Errors
/// Errors with the first reason against it.
pub(crate) fn admit(call: &Admission<'_>) -> Result<(), Refusal> {
    let account = call.chain.first().ok_or(Refusal::Unauthenticated)?;
    state(call.chain)?;
    address(call.chain, call.ip)?;
    resource(call.chain, call.settings, call.path)?;
    money(call, account)
}

/// A suspended account suspends its descendants. A deleted one does not: it is kept for them.
///
/// # Errors
/// Errors if the account, or one above it, is suspended.
pub(crate) fn state(chain: &[&AccountConfig]) -> Result<(), Refusal> {
    let suspended = chain
        .iter()
        .find(|account| !account.enabled && account.key_hash.is_some());
    let own = chain.first().filter(|account| !account.enabled);
    match own.or(suspended) {
        Some(account) => Err(Refusal::Suspended {
            account: account.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Every account of the chain limits the addresses from which its keys are used.
///
/// # Errors
/// Errors if a list does not allow the address.
pub(crate) fn address(chain: &[&AccountConfig], ip: IpAddr) -> Result<(), Refusal> {
    match chain.iter().find(|account| !account.access.ips.allows(ip)) {
        Some(account) => Err(Refusal::IpNotAllowed {
            account: account.name.clone(),
            ip,
        }),
        None => Ok(()),
    }
}

/// The system's list and that of every account of the chain limit the paths.
///
/// # Errors
/// Errors if a list does not allow the path.
pub(crate) fn resource(
    chain: &[&AccountConfig],
    settings: &ProxySettings,
    path: &str,
) -> Result<(), Refusal> {
    let refuse = |account| {
        Err(Refusal::ResourceNotAllowed {
            account,
            path: path.to_owned(),
        })
    };
    if !settings.resources.allows(path) {
        return refuse(None);
    }
    match chain
        .iter()
        .find(|account| !account.access.resources.allows(path))
    {
        Some(account) => refuse(Some(account.name.clone())),
        None => Ok(()),
    }
}

/// Without a model the provider would choose one, and the cost would be unknown.
///
/// # Errors
/// Errors if the call names no model and has to, or one that a list does not allow.
pub(crate) fn model(
    CallerScope { chain, key }: CallerScope<'_>,
    takes_model: bool,
    model: Option<&str>,
) -> Result<(), Refusal> {
    let lists = || {
        chain
            .iter()
            .map(|account| (account, &account.access.models))
    };
    let named = model.filter(|name| !takes_model || !name.trim().is_empty());
    let Some(model) = named else {
        return if takes_model {
            Err(Refusal::ModelMissing)
        } else {
            Ok(())
        };
    };
    if let Some((account, _)) = lists().find(|(_, models)| !models.allows(model)) {
        return Err(Refusal::ModelNotAllowed {
            account: account.name.clone(),
            model: model.to_owned(),
        });
    }
    match key.filter(|key| !key.models.allows(model)) {
        Some(key) => Err(Refusal::Key(KeyRefusal::ModelNotAllowed {
            key: key.name.clone(),
            model: model.to_owned(),
        })),
        None => Ok(()),
    }
}

/// The same for further models that a call names.
///
/// # Errors
/// Errors if a list does not allow one of them.
pub(crate) fn named(scope: CallerScope<'_>, names: &[String]) -> Result<(), Refusal> {
    names
        .iter()
        .try_for_each(|name| model(scope, false, Some(name)))
}

fn money(call: &Admission<'_>, account: &AccountConfig) -> Result<(), Refusal> {
    let minimum = call.settings.call_min_balance;
    if account.id != AccountId::ROOT && call.balance < minimum {
        let (account, balance) = (account.name.clone(), call.balance);
        return Err(Refusal::InsufficientBalance {
            account,
            balance,
            minimum,
        });
    }
    match month_limit(call.chain) {
        Some((_, limit)) if call.month_used >= limit => {
            Err(month_is_over(&call.settings.zone, call.chain, call.now))
        }
        Some(_) | None => Ok(()),
    }
}

/// The lowest monthly limit along the chain, with its account: no account has more than one above it. Of equal limits
/// it is the nearest.
fn month_limit<'a>(chain: &[&'a AccountConfig]) -> Option<(&'a AccountConfig, Money)> {
    let limits = chain
        .iter()
        .map(|account| Some((*account, account.hard_limit?)));
    limits.flatten().min_by_key(|(_, limit)| *limit)
}

/// The refusal of a call that the monthly limit leaves nothing for.
pub(crate) fn month_is_over(zone: &Zone, chain: &[&AccountConfig], now: Millis) -> Refusal {
    let next = next_month(zone, now);
    let limit = month_limit(chain);
    Refusal::HardLimit {
        account: limit
            .map(|(account, _)| account.name.clone())
            .unwrap_or_default(),
        limit: limit.map(|(_, limit)| limit).unwrap_or_default(),
        resets: zone.rfc3339(next),
        retry_after_ms: next.since(now),
    }
}

/// Start of the next calendar month. At the end of time there is none, and `now` is returned.
fn next_month(zone: &Zone, now: Millis) -> Millis {
    let last = zone.day(now).last_of_month();
    last.tomorrow().map_or(now, |first| zone.start_of(first))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use proxyxai_contract::access::{IpList, ModelList, ResourceList};

    use super::*;
    use crate::decide::samples::{account, settings};

    const DOLLAR: Money = Money::from_nanos(1_000_000_000);
    /// 2025-01-31 23:59:59 UTC.
    const NOW: Millis = Millis(1_738_367_999_000);

    struct Case {
        chain: Vec<AccountConfig>,
        key: Option<FurtherKey>,
        settings: ProxySettings,
        ip: IpAddr,
        path: &'static str,
        model: Option<&'static str>,
        balance: Money,
        month_used: Money,
    }

    impl Case {
        fn new() -> Self {
            Self {
                chain: vec![account(7), account(3), account(1)],
                key: None,
                settings: settings(),
                ip: [10, 0, 0, 1].into(),
                path: "/v1/chat/completions",
                model: Some("gpt-4o"),
                balance: DOLLAR,
                month_used: Money::ZERO,
            }
        }

        fn admit(&self) -> Result<(), Refusal> {
            let chain = self.chain.iter().collect::<Vec<_>>();
            admit(&Admission {
                chain: &chain,
                settings: &self.settings,
                ip: self.ip,
                path: self.path,
                balance: self.balance,
                month_used: self.month_used,
                now: NOW,
            })?;
            let scope = CallerScope {
                chain: &chain,
                key: self.key.as_ref(),
            };
            model(scope, self.path != "/v1/files", self.model)
        }

        fn code(&self) -> &'static str {
            self.admit()
                .map_or_else(|refusal| refusal.code(), |()| "ok")
        }
    }

    #[test]
    fn a_plain_call_is_let_in() {
        assert_eq!(Case::new().admit(), Ok(()));
    }

    #[test]
    fn every_ancestor_has_a_say() {
        for at in 0..3 {
            let mut case = Case::new();
            case.chain[at].enabled = false;
            assert_eq!(
                case.admit(),
                Err(Refusal::Suspended {
                    account: case.chain[at].name.clone()
                })
            );
            let mut case = Case::new();
            Arc::make_mut(&mut case.chain[at].access).ips = IpList::parse("10.0.0.2").unwrap();
            assert_eq!(case.code(), "ip_not_allowed");
            let mut case = Case::new();
            Arc::make_mut(&mut case.chain[at].access).resources =
                ResourceList::parse("/v1/embeddings").unwrap();
            assert_eq!(case.code(), "resource_not_allowed");
            let mut case = Case::new();
            Arc::make_mut(&mut case.chain[at].access).models = ModelList::parse("gpt-4").unwrap();
            assert_eq!(case.code(), "model_not_allowed");
        }
    }

    #[test]
    fn a_deleted_ancestor_does_not_suspend_its_descendants() {
        let mut case = Case::new();
        case.chain[1].enabled = false;
        case.chain[1].key_hash = None;
        assert_eq!(case.code(), "ok");
    }

    #[test]
    fn a_call_that_is_paid_by_its_model_must_name_one() {
        let mut case = Case::new();
        case.model = None;
        assert_eq!(case.admit(), Err(Refusal::ModelMissing));
        for nameless in ["", " \n"] {
            case.model = Some(nameless);
            assert_eq!(case.admit(), Err(Refusal::ModelMissing));
        }
        case.model = None;
        case.path = "/v1/files";
        assert_eq!(case.code(), "ok");
    }

    #[test]
    fn root_is_never_refused_for_its_balance() {
        let mut case = Case::new();
        case.balance = Money::from_nanos(999_999_999);
        assert_eq!(case.code(), "insufficient_quota");
        case.chain.drain(..2);
        assert_eq!(case.code(), "ok");
    }

    #[test]
    fn the_months_limit_resets_with_the_month() {
        let mut case = Case::new();
        case.chain[0].hard_limit = Some(DOLLAR);
        case.month_used = Money::from_nanos(999_999_999);
        assert_eq!(case.code(), "ok");
        case.month_used = DOLLAR;
        let refusal = case.admit().unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.retry_after_ms()),
            ("hard_limit_reached", Some(1000))
        );
        assert!(
            refusal.message().contains("2025-02-01T00:00:00"),
            "{}",
            refusal.message()
        );
    }

    #[test]
    fn no_account_may_spend_more_of_a_month_than_one_above_it() {
        let mut case = Case::new();
        case.month_used = DOLLAR;
        case.chain[0].hard_limit = Some(Money::from_nanos(5_000_000_000));
        case.chain[1].hard_limit = Some(DOLLAR);
        let refusal = case.admit().unwrap_err();
        assert_eq!(refusal.code(), "hard_limit_reached");
        assert!(refusal.message().contains("account-3"), "{refusal:?}");
        case.chain[0].hard_limit = None;
        assert_eq!(case.code(), "hard_limit_reached");
        case.month_used = Money::from_nanos(999_999_999);
        assert_eq!(case.code(), "ok");
    }

    #[test]
    fn reasons_are_given_in_the_documented_order() {
        let mut case = Case::new();
        case.chain[0].enabled = false;
        Arc::make_mut(&mut case.chain[1].access).ips = IpList::Only(vec![]);
        case.settings.resources = ResourceList::Only(vec![]);
        Arc::make_mut(&mut case.chain[0].access).models = ModelList::Only(vec![]);
        case.balance = Money::ZERO;
        case.chain[0].hard_limit = Some(Money::ZERO);
        assert_eq!(case.code(), "account_suspended");
        case.chain[0].enabled = true;
        assert_eq!(case.code(), "ip_not_allowed");
        Arc::make_mut(&mut case.chain[1].access).ips = IpList::Any;
        assert_eq!(case.code(), "resource_not_allowed");
        case.settings.resources = ResourceList::Any;
        assert_eq!(case.code(), "insufficient_quota");
        case.balance = DOLLAR;
        assert_eq!(case.code(), "hard_limit_reached");
        case.chain[0].hard_limit = None;
        assert_eq!(case.code(), "model_not_allowed");
        Arc::make_mut(&mut case.chain[0].access).models = ModelList::Any;
        assert_eq!(case.code(), "ok");
    }

    #[test]
    fn a_further_key_has_a_say_in_models_beside_its_account() {
        let mut case = Case::new();
        let key = |models: &str| FurtherKey {
            models: ModelList::parse(models).unwrap(),
            ..crate::decide::samples::further_key("ci")
        };
        case.key = Some(key("*"));
        assert_eq!(case.code(), "ok");
        case.key = Some(key("gpt-4*"));
        assert_eq!(case.code(), "ok");
        case.key = Some(key("claude-*"));
        let refusal = case.admit().unwrap_err();
        assert_eq!(refusal.code(), "model_not_allowed");
        assert!(refusal.message().contains("\"ci\""), "{refusal:?}");
        // A key opens nothing that its account has shut.
        case.key = Some(key("*"));
        Arc::make_mut(&mut case.chain[1].access).models = ModelList::parse("claude-*").unwrap();
        assert_eq!(case.code(), "model_not_allowed");
    }

    #[test]
    fn nobody_is_not_let_in() {
        let mut case = Case::new();
        case.chain.clear();
        assert_eq!(case.code(), "invalid_api_key");
    }

    proptest! {
        #[test]
        fn less_money_never_lets_more_in(balance in -10i64..10, month in -10i64..10, limit in prop::option::of(-10i64..10), less in 0i64..10) {
            let mut case = Case::new();
            case.settings.call_min_balance = Money::from_nanos(1);
            case.chain[0].hard_limit = limit.map(Money::from_nanos);
            (case.balance, case.month_used) = (Money::from_nanos(balance), Money::from_nanos(month));
            let rich = case.admit().is_ok();
            (case.balance, case.month_used) = (Money::from_nanos(balance - less), Money::from_nanos(month + less));
            prop_assert!(rich || case.admit().is_err());
        }
    }
}
