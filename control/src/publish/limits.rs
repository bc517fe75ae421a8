//! How far a window can reach, as control knows it: a data plane that has not heard of a lower limit is held
//! to that all the same. The exact limit depends on the model of the call, which only data planes know, so
//! this is the smallest of what counts whatever the model.

use proxyxai_contract::{
    snapshot::Account,
    window::{ModelLimits, WindowKey},
};

/// The most that a window of the first account of a chain can have; none when that depends on the model, or
/// nothing is known. The chain is from the account to root.
pub(super) fn most(chain: &[&Account], system: &ModelLimits, key: &WindowKey) -> Option<u64> {
    let mut most: Option<u64> = None;
    for (at, account) in chain.iter().enumerate() {
        let own = account.limits.of(key.window);
        let by_model = by_model(chain.get(at..).unwrap_or_default(), system);
        let limit = if at == 0 && !key.model.is_empty() {
            by_model
                .find(&key.model)
                .filter(|limit| limit.pattern() == key.model)
                .and_then(|limit| limit.of(key.window))
        } else {
            // Above the account another pattern may fit the model, and take the place of the window.
            (at == 0 || by_model.is_empty()).then_some(own)
        };
        most = [most, limit].into_iter().flatten().min();
    }
    most
}

/// The limits by model of the first account: its own, else those of the next that has some, else the
/// system's.
fn by_model<'a>(chain: &[&'a Account], system: &'a ModelLimits) -> &'a ModelLimits {
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
        snapshot::{Access, RateLimits},
        window::Window,
    };

    use super::*;

    fn account(id: i64, rpm: u64, by_model: &str) -> Account {
        Account {
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
            access: Access::ANY,
            routing: RoutingRules::default(),
        }
    }

    fn rpm(chain: &[Account], system: &str, model: &str) -> Option<u64> {
        let key = WindowKey {
            account: AccountId::new(2).unwrap(),
            window: Window::Rpm,
            model: model.to_owned(),
            start: Millis(0),
        };
        let chain: Vec<_> = chain.iter().collect();
        most(&chain, &ModelLimits::parse(system).unwrap(), &key)
    }

    #[test]
    fn the_smallest_window_of_the_chain_counts() {
        let (own, parent) = (account(2, 10, ""), account(1, 7, ""));
        assert_eq!(rpm(&[own.clone(), parent], "", ""), Some(7));
        assert_eq!(rpm(&[own, account(1, 70, "")], "", ""), Some(10));
        assert_eq!(rpm(&[], "", ""), None);
    }

    #[test]
    fn an_ancestors_limits_by_model_may_take_the_place_of_its_window() {
        let own = account(2, 10, r#"{"o3":{"rpm":3}}"#);
        let parent = account(1, 7, r#"{"*":{"rpm":50}}"#);
        assert_eq!(rpm(&[own.clone(), parent], "", ""), Some(10));
        assert_eq!(rpm(&[own, account(1, 7, "")], "", ""), Some(7));
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
