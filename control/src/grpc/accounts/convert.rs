//! Converts account messages to model types and back, field by field.

use proxyxai_contract::{
    Invalid,
    convert::{access_to_wire, limits_from_wire, limits_to_wire, millis_to_wire, routing_to_wire},
    id::{AccountId, Level},
    money::{Money, Multiplier},
    window::RateLimits,
    wire,
};

use super::count;
use crate::{
    Error,
    model::{
        Account, AccountChange, AccountFilter, AccountLabels, AddressVerification, Card,
        NewAccount, RateLimitsChange, SortOrder,
    },
};

pub(super) fn identifier(account: Option<wire::AccountRef>) -> Result<String, Error> {
    let wire::AccountRef { identifier } = account.unwrap_or_default();
    if identifier.is_empty() {
        return Err(Invalid::new("account", "is missing").into());
    }
    Ok(identifier)
}

pub(in crate::grpc) fn level(level: i32) -> Result<Level, Error> {
    let named = |error: Invalid| error.under("level");
    Ok(Level::new(level.into()).map_err(named)?)
}

pub(super) const fn money(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

pub(super) fn new_from_wire(request: wire::CreateAccountRequest) -> Result<NewAccount, Error> {
    let wire::CreateAccountRequest {
        name,
        email,
        credit_nanos,
        alias,
        billing_email,
        rates_micros,
        days_micros,
        hard_limit_nanos,
        soft_limit_nanos,
        auto_quota_nanos,
        limits,
        access,
        level: own_level,
        gear,
        role,
        tier,
        factor_micros,
        child_limit,
        qr_code,
        routing,
        model_limits,
        calls_max,
    } = request;
    let wire::AccessLists {
        ips,
        models,
        levels,
        resources,
    } = access.unwrap_or_default();
    let wire::RoutingRules {
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = routing.unwrap_or_default();
    Ok(NewAccount {
        name,
        email,
        credit: money(credit_nanos),
        alias: given(alias),
        billing_email: given(billing_email),
        days_micros,
        change: AccountChange {
            rates: multiplier("rates_micros", rates_micros)?,
            hard_limit: amount("hard_limit_nanos", hard_limit_nanos)?,
            soft_limit: amount("soft_limit_nanos", soft_limit_nanos)?,
            auto_quota: amount("auto_quota_nanos", auto_quota_nanos)?,
            limits: limits_change(limits)?,
            allow_ips: given(ips),
            allow_models: given(models),
            allow_levels: given(levels),
            resources: given(resources),
            level: own_level.map(level).transpose()?,
            gear: gear.map(gear_from_wire).transpose()?,
            role,
            tier,
            factor: multiplier("factor_micros", factor_micros)?,
            child_limit: child_limit.map(child_limit_from_wire).transpose()?,
            qr_code: given(qr_code),
            model_mapper: given(model_mapper),
            level_mapper: given(level_mapper),
            switch_over: given(switch_over),
            model_failover: given(model_failover),
            model_limits: given(model_limits),
            calls_max,
            ..AccountChange::default()
        },
    })
}

pub(super) fn change_from_wire(
    request: wire::UpdateAccountRequest,
) -> Result<(String, AccountChange), Error> {
    let wire::UpdateAccountRequest {
        account,
        name,
        email,
        alias,
        billing_email,
        enabled,
        level: new_level,
        gear,
        role,
        tier,
        rates_micros,
        factor_micros,
        hard_limit_nanos,
        soft_limit_nanos,
        auto_quota_nanos,
        child_limit,
        limits,
        allow_ips,
        allow_models,
        allow_levels,
        resources,
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
        qr_code,
        suspended,
        model_limits,
        calls_max,
    } = request;
    let change = AccountChange {
        name,
        email,
        alias,
        billing_email,
        qr_code,
        enabled,
        suspended,
        level: new_level.map(level).transpose()?,
        gear: gear.map(gear_from_wire).transpose()?,
        role,
        tier,
        rates: multiplier("rates_micros", rates_micros)?,
        factor: multiplier("factor_micros", factor_micros)?,
        hard_limit: amount("hard_limit_nanos", hard_limit_nanos)?,
        soft_limit: amount("soft_limit_nanos", soft_limit_nanos)?,
        auto_quota: amount("auto_quota_nanos", auto_quota_nanos)?,
        child_limit: child_limit.map(child_limit_from_wire).transpose()?,
        limits: limits_change(limits)?,
        model_limits,
        calls_max,
        allow_ips,
        allow_models,
        allow_levels,
        resources,
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
        // Credit moves by `GrantCredit`.
        credit: None,
        days_micros: None,
        reference: None,
    };
    Ok((identifier(account)?, change))
}

#[expect(
    clippy::too_many_lines,
    reason = "every field stands here twice, and nothing else does"
)]
pub(super) fn account_to_wire(account: Account) -> wire::Account {
    let Account {
        id,
        parent,
        dna,
        name,
        email,
        alias,
        billing_email,
        qr_code,
        partial_key,
        public_key,
        level,
        gear,
        role,
        tier,
        rates,
        factor,
        cards,
        balance,
        credit_granted,
        credit_used,
        requests,
        hard_limit,
        soft_limit,
        auto_quota,
        limits,
        model_limits,
        calls_max,
        access,
        routing,
        children,
        child_limit,
        enabled,
        suspended,
        addresses,
        created,
        updated,
    } = account;
    let by =
        |verified: Option<AddressVerification>| verified.map_or("", |it| it.by.as_str()).to_owned();
    let since = |verified: Option<AddressVerification>| verified.map(|it| millis_to_wire(it.at));
    wire::Account {
        id: id.get(),
        parent_id: parent.map_or(0, AccountId::get),
        dna,
        name,
        email,
        alias,
        billing_email,
        partial_key,
        level: level.get().into(),
        gear: gear.into(),
        role,
        tier,
        rates_micros: rates.micros(),
        factor_micros: factor.micros(),
        cards: cards.into_iter().map(card_to_wire).collect(),
        balance_nanos: balance.nanos(),
        credit_granted_nanos: credit_granted.nanos(),
        credit_used_nanos: credit_used.nanos(),
        requests: count(requests),
        hard_limit_nanos: hard_limit.map_or(0, Money::nanos),
        soft_limit_nanos: soft_limit.map_or(0, Money::nanos),
        auto_quota_nanos: auto_quota.nanos(),
        limits: Some(limits_to_wire(&limits)),
        access: Some(access_to_wire(&access)),
        routing: Some(routing_to_wire(&routing)),
        children: count(children),
        child_limit: count(child_limit),
        enabled,
        create_time: Some(millis_to_wire(created)),
        update_time: Some(millis_to_wire(updated)),
        qr_code,
        suspended,
        public_key,
        // There is one tenant, and root owns it.
        owner_id: AccountId::ROOT.get(),
        model_limits: model_limits.text(),
        calls_max: calls_max.map_or(0, |most| most.get().into()),
        email_verified_by: by(addresses.email),
        email_verified_time: since(addresses.email),
        billing_email_verified_by: by(addresses.billing),
        billing_email_verified_time: since(addresses.billing),
    }
}

fn card_to_wire(card: Card) -> wire::CreditCard {
    let Card {
        amount,
        balance,
        reference,
        granted,
        expires,
    } = card;
    wire::CreditCard {
        amount_nanos: amount.nanos(),
        balance_nanos: balance.nanos(),
        reference,
        grant_time: Some(millis_to_wire(granted)),
        expire_time: Some(millis_to_wire(expires)),
    }
}

/// A window of 0 counts as absent.
fn limits_change(limits: Option<wire::RateLimits>) -> Result<RateLimitsChange, Error> {
    let RateLimits {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = limits_from_wire(limits.unwrap_or_default())?;
    let some = |window| (window > 0).then_some(window);
    Ok(RateLimitsChange {
        rpm: some(rpm),
        rph: some(rph),
        rpd: some(rpd),
        tpm: some(tpm),
        tph: some(tph),
        tpd: some(tpd),
    })
}

fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub(in crate::grpc) fn multiplier(
    field: &str,
    micros: Option<i64>,
) -> Result<Option<Multiplier>, Error> {
    let read = micros.map(Multiplier::from_micros).transpose();
    Ok(read.map_err(|error| error.under(field))?)
}

fn amount(field: &str, nanos: Option<i64>) -> Result<Option<Money>, Error> {
    match nanos.map(money) {
        Some(amount) if amount.is_negative() => {
            Err(Invalid::new(field, "must not be negative").into())
        }
        amount => Ok(amount),
    }
}

fn child_limit_from_wire(limit: i64) -> Result<u64, Error> {
    let limit = u64::try_from(limit);
    Ok(limit.map_err(|_| Invalid::new("child_limit", "must not be negative"))?)
}

/// The accounts to list, and their order.
pub(super) fn filter_from_wire(
    request: wire::ListAccountsRequest,
) -> Result<(AccountFilter, Option<wire::PageRequest>), Error> {
    let wire::ListAccountsRequest {
        page,
        descendants,
        level: own_level,
        gear,
        role,
        tier,
        factor_micros,
        order,
        search,
        dna,
    } = request;
    let order = given(order)
        .map(|order| SortOrder::parse(&order))
        .transpose()?;
    let filter = AccountFilter {
        descendants,
        identifier: None,
        subtree: Some(dna).filter(|text| !text.is_empty()),
        search: Some(search).filter(|text| !text.is_empty()),
        labels: AccountLabels {
            level: own_level.map(level).transpose()?,
            gear: gear.map(gear_from_wire).transpose()?,
            role,
            tier,
            factor: multiplier("factor_micros", factor_micros)?,
        },
        order: order.unwrap_or_default(),
    };
    Ok((filter, page))
}

pub(in crate::grpc) fn gear_from_wire(gear: i32) -> Result<u8, Error> {
    let gear = u8::try_from(gear).ok().filter(|gear| *gear <= 10);
    Ok(gear.ok_or_else(|| Invalid::new("gear", "must be from 0 to 10"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> wire::UpdateAccountRequest {
        wire::UpdateAccountRequest {
            account: Some(wire::AccountRef {
                identifier: "anna".to_owned(),
            }),
            ..wire::UpdateAccountRequest::default()
        }
    }

    fn refused(change: impl FnOnce(&mut wire::UpdateAccountRequest)) -> String {
        let mut request = update();
        change(&mut request);
        match change_from_wire(request).unwrap_err() {
            Error::Invalid(invalid) => invalid.field,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        assert_eq!(refused(|r| r.level = Some(11)), "level");
        assert_eq!(refused(|r| r.gear = Some(11)), "gear");
        assert_eq!(refused(|r| r.rates_micros = Some(0)), "rates_micros");
        assert_eq!(
            refused(|r| r.hard_limit_nanos = Some(-1)),
            "hard_limit_nanos"
        );
        assert_eq!(refused(|r| r.child_limit = Some(-1)), "child_limit");
        assert_eq!(refused(|r| r.account = None), "account");
    }

    #[test]
    fn what_is_absent_stays_as_it_is() {
        let (account, change) = change_from_wire(update()).unwrap();
        assert_eq!(account, "anna");
        assert_eq!(
            format!("{change:?}"),
            format!("{:?}", AccountChange::default())
        );
    }

    #[test]
    fn a_window_of_zero_is_inherited() {
        let limits = wire::RateLimits {
            rpm: 5,
            ..wire::RateLimits::default()
        };
        let change = limits_change(Some(limits)).unwrap();
        assert_eq!((change.rpm, change.tpd), (Some(5), None));
    }
}
