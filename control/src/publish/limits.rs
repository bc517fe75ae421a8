//! The limit of a window, as control knows it: it binds a data plane that does not know of a lower limit yet. Data
//! planes ask for the windows of ancestors separately.

use proxyxai_contract::{
    snapshot::AccountConfig,
    window::{LimitWindow, ModelLimits, WindowKey},
};

/// The limit of a window of the first account of a chain. Returns `None` if it has no such limit, or it is not known.
/// The chain goes from the account to root.
pub(super) fn most(chain: &[&AccountConfig], system: &ModelLimits, key: &WindowKey) -> Option<u64> {
    let own = chain.first()?;
    if let Some(id) = key.client_key {
        let known = own.further_keys.iter().find(|known| known.id == id)?;
        return known.rpm.filter(|_| key.window == LimitWindow::Rpm);
    }
    if key.model.is_empty() {
        return Some(own.limits.of(key.window));
    }
    let by_model = by_model(chain, system).find(&key.model);
    by_model
        .filter(|limit| limit.pattern() == key.model)
        .and_then(|limit| limit.of(key.window))
}

/// The limits by model of the first account: its own, else those of the nearest ancestor that has some, else the
/// system's.
fn by_model<'a>(chain: &[&'a AccountConfig], system: &'a ModelLimits) -> &'a ModelLimits {
    let own = chain.iter().map(|account| &account.model_limits);
    own.clone().find(|own| !own.is_empty()).unwrap_or(system)
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::{
        clock::Millis,
        id::{AccountId, Level},
        money::Multiplier,
        routing::RoutingRules,
        snapshot::AccessLists,
        window::RateLimits,
    };

    use super::*;

    fn account(id: i64, rpm: u64, by_model: &str) -> AccountConfig {
        AccountConfig {
            id: AccountId::new(id).unwrap(),
            parent: None,
            name: String::new(),
            key_hash: None,
            enabled: true,
            level: Level::ZERO,
            gear: 0,
            rates: Multiplier::ONE,
            factor: Multiplier::ONE,
            hard_limit: None,
            limits: RateLimits {
                rpm,
                ..RateLimits::WIDE
            },
            model_limits: ModelLimits::parse(by_model).unwrap(),
            calls_max: None,
            access: AccessLists::ANY.into(),
            routing: RoutingRules::default().into(),
            further_keys: Vec::new(),
        }
    }

    fn rpm(chain: &[AccountConfig], system: &str, model: &str) -> Option<u64> {
        let key = WindowKey {
            client_key: None,
            account: AccountId::new(2).unwrap(),
            window: LimitWindow::Rpm,
            model: model.to_owned(),
            start: Millis(0),
        };
        let chain: Vec<_> = chain.iter().collect();
        most(&chain, &ModelLimits::parse(system).unwrap(), &key)
    }

    #[test]
    fn an_accounts_window_is_its_own() {
        let parent = account(1, 7, r#"{"*":{"rpm":50}}"#);
        assert_eq!(rpm(&[account(2, 10, ""), parent], "", ""), Some(10));
        assert_eq!(rpm(&[], "", ""), None);
    }

    #[test]
    fn a_pattern_is_looked_up_where_its_limits_come_from() {
        let own = account(2, 10, "");
        let parent = account(1, 70, r#"{"gpt-4*":{"rpm":50},"o3":{"tpm":1}}"#);
        let system = r#"{"claude*":{"rpm":4}}"#;
        let chain = [own.clone(), parent];
        assert_eq!(rpm(&chain, system, "gpt-4*"), Some(50));
        for unknown in ["o3", "claude*", "gpt-4o"] {
            assert_eq!(rpm(&chain, system, unknown), None, "{unknown}");
        }
        assert_eq!(rpm(&[own], system, "claude*"), Some(4));
    }
}
