//! Changing an account: a descendant's fields and credit, or a few fields of the caller's own.

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::AccountId,
    money::{Money, Multiplier},
    window::RateLimits,
};

use tokio::time::Instant;

use super::{IN_USE_MAX, LockedParties, bounds, change, changed, credit_came_back, lock_parties};
use crate::{
    Control, Error,
    domain::{
        account::{check_email, check_name_below_root, check_text},
        credit::{self},
        mail::verification,
        rate_limits, setting,
    },
    model::{Account, AccountChange, AccountChangeResult, Caller, Card, RateLimitsChange},
    ops::{self, circulation, money},
    store::{self, AccountRecord, Tx},
};

const NEXT_REFERENCE: &str = "Recharge";
const COMMISSION_REFERENCE: &str = "Commission";

/// Changes the given fields. The caller may change only its own alias and bill address.
pub(crate) async fn update(
    control: &Control,
    caller: &Caller,
    identifier: &str,
    change: AccountChange,
) -> Result<AccountChangeResult, Error> {
    let credit = change.credit.unwrap_or_default();
    let mut payer = caller.account;
    if credit.is_negative() || change.rates.is_some() {
        let own = ops::caller_account(control, control.store(), caller).await?;
        let target = ops::visible(control, control.store(), &own, identifier)
            .await?
            .account;
        if change.rates.is_some_and(|rates| rates > target.rates) {
            // What stays on lease has to be covered as if calls reserved all of it.
            ops::fleet::bring_back(control, target.id).await?;
        }
        if credit <= Money::ZERO {
            payer = target.id;
        }
    }
    let until = Instant::now() + IN_USE_MAX;
    loop {
        let done = Box::pin(update_once(control, caller, identifier, change.clone())).await;
        if !credit_came_back(control, payer, &done, until).await? {
            return done;
        }
    }
}

async fn update_once(
    control: &Control,
    caller: &Caller,
    identifier: &str,
    mut change: AccountChange,
) -> Result<AccountChangeResult, Error> {
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let target = ops::visible(control, &tx, &own, identifier).await?.account;
    // Old pages send the identifier they were given as the name, even if it is an id.
    if change
        .name
        .as_deref()
        .is_some_and(|name| name.trim() == identifier.trim() || name == target.name)
    {
        change.name = None;
    }
    let revision = if target.id == caller.account {
        update_own(control, &tx, caller, &change).await?
    } else {
        ops::may_manage(control, &tx, &own).await?;
        Box::pin(update_descendant(control, &tx, caller, &target, &change)).await?
    };
    let after = changed(control, &tx, caller.account, target.id).await?;
    tx.commit().await?;
    tracing::info!(
        account.id = target.id.get(),
        operator.id = caller.account.get(),
        revision,
        "account changed"
    );
    ops::published(control).await;
    Ok(after)
}

async fn update_own(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    change: &AccountChange,
) -> Result<u64, Error> {
    if !is_for_oneself(change) {
        return Err(Error::Forbidden(
            "the own account may change Alias and BillingEmail only",
        ));
    }
    let mut locked = store::accounts::lock(tx, [caller.account], control.now()).await?;
    let mut record = locked
        .remove(&caller.account)
        .ok_or(Error::Unauthenticated)?;
    let before = record.account.clone();
    apply_texts(&mut record, change)?;
    verification::after_change(
        &before,
        &mut record.account,
        caller.is_root(),
        control.now(),
    );
    record.account.updated = control.now();
    record.revision = store::revisions::bump(tx).await?.0;
    store::accounts::update(tx, &record).await?;
    ops::audit::account(control, tx, caller, Some(&before), Some(&record)).await?;
    ops::verification::changed(control, tx, &record, (&before, &record.account)).await?;
    Ok(record.revision)
}

async fn update_descendant(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    target: &Account,
    change: &AccountChange,
) -> Result<u64, Error> {
    let now = control.now();
    let commission = commission(control, tx, caller, target, change).await?;
    let patron = commission.map(|(patron, _)| patron);
    let mut sides = lock_parties(control, tx, caller, target.id, patron).await?;
    let before = sides.target.account.clone();
    let parent = parent_of(control, tx, &sides.target).await?;
    let bounds = bounds::below(control, tx, &parent).await?;
    let record = &mut sides.target;
    // A name that older versions allowed stays until it is changed.
    if let Some(name) = &change.name
        && *name != record.account.name
    {
        record.account.name = check_name_below_root(name)?;
    }
    if let Some(email) = &change.email {
        record.account.email = check_email(email)?;
    }
    apply_texts(record, change)?;
    record.account.limits = changed_limits(record, &parent, change.limits)?;
    if let Some(rates) = change.rates.filter(|rates| *rates != record.account.rates) {
        credit::check_rates(rates, parent.account.rates)?;
        let from = record.account.rates;
        sides.entries.push(money::rescale(record, rates, now)?);
        // What is on lease is spent in the new units. There may be fewer of them, and in-flight calls need more.
        money::not_on_lease(record, Money::ZERO)?;
        let cover = ops::fleet::cover_rise(control, tx, record, from).await?;
        sides.entries.extend(cover);
    }
    move_credit(&mut sides, change, now)?;
    if let Some((_, share)) = commission {
        let above = control.publisher().month_limit_above(parent.account.id);
        pay_commission(&mut sides, (share, above), now)?;
    }
    let LockedParties {
        mut operator,
        target: mut record,
        parent: patron,
        entries,
    } = sides;
    // A limit that was set low by hand stays until credit is added.
    if change.rates.is_some() || change.credit.unwrap_or_default() > Money::ZERO {
        let (hard, balance) = (record.account.hard_limit, record.account.balance);
        record.account.hard_limit = credit::hard_limit_below(hard, balance, bounds.hard_limit);
    }
    change::apply(&mut record, change, caller.is_root())?;
    bounds.check(&before, &record.account)?;
    verification::after_change(&before, &mut record.account, caller.is_root(), now);
    record.account.updated = now;
    let revision = store::revisions::bump(tx).await?.0;
    (record.revision, operator.revision) = (revision, revision);
    store::accounts::update(tx, &record).await?;
    store::accounts::update(tx, &operator).await?;
    if let Some(mut patron) = patron {
        patron.revision = revision;
        store::accounts::update(tx, &patron).await?;
    }
    circulation::check(control, tx, &entries).await?;
    store::ledger::post(tx, now, &entries).await?;
    ops::audit::account(control, tx, caller, Some(&before), Some(&record)).await?;
    ops::verification::changed(control, tx, &operator, (&before, &record.account)).await?;
    Ok(revision)
}

/// The account that gets a commission on a grant, and its share: the parent, if another ancestor grants.
async fn commission(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    target: &Account,
    change: &AccountChange,
) -> Result<Option<(AccountId, Multiplier)>, Error> {
    if change.credit.unwrap_or_default() <= Money::ZERO {
        return Ok(None);
    }
    let Some(parent) = target.parent.filter(|parent| *parent != caller.account) else {
        return Ok(None);
    };
    let share = ops::settings::value(control, tx, &setting::COMMISSION_PERCENT).await?;
    // A share of zero is not a valid multiplier.
    Ok(Multiplier::from_micros(share)
        .ok()
        .map(|share| (parent, share)))
}

/// Grants the target's parent its share of the new credit, in the parent's own units.
fn pay_commission(
    sides: &mut LockedParties,
    (share, above): (Multiplier, Option<Money>),
    now: Millis,
) -> Result<(), Error> {
    let LockedParties {
        operator,
        target,
        parent: patron,
        entries,
    } = sides;
    let Some(patron) = patron else {
        return Ok(());
    };
    let worth = target
        .account
        .credit_granted
        .scale(patron.account.rates, target.account.rates);
    let amount = worth.and_then(|worth| worth.scale(share, Multiplier::ONE));
    let amount = amount.ok_or_else(|| Invalid::new("CreditGranted", "is out of range"))?;
    if amount > Money::ZERO {
        let card = Card::new(amount, COMMISSION_REFERENCE, now, credit::life(None)?);
        entries.push(money::grant(operator, patron, card)?);
        let (hard, balance) = (patron.account.hard_limit, patron.account.balance);
        patron.account.hard_limit = credit::hard_limit_below(hard, balance, above);
    }
    Ok(())
}

/// The parent, which may be deleted by now; what it had still bounds its children.
async fn parent_of(
    control: &Control,
    tx: &Tx,
    record: &AccountRecord,
) -> Result<AccountRecord, Error> {
    let parent = record
        .account
        .parent
        .ok_or(Error::Forbidden("root has no parent to change it"))?;
    let found = store::accounts::get(tx, parent, control.now()).await?;
    found.ok_or_else(|| Error::internal("an account has lost its parent"))
}

fn changed_limits(
    record: &AccountRecord,
    parent: &AccountRecord,
    change: RateLimitsChange,
) -> Result<RateLimits, Error> {
    rate_limits::changed(record.account.limits, parent.account.limits, change).map_err(Into::into)
}

/// Grants or deducts the credit of a change. A change without money posts a mark of zero.
fn move_credit(
    sides: &mut LockedParties,
    change: &AccountChange,
    now: Millis,
) -> Result<(), Error> {
    let LockedParties {
        operator,
        target,
        parent: _,
        entries,
    } = sides;
    let credit = change.credit.unwrap_or_default();
    target.account.credit_granted = credit;
    if credit > Money::ZERO {
        let life_ms = credit::life(change.days_micros)?;
        let given = change.reference.as_deref().unwrap_or_default();
        let reference = check_text("Reference", given, change::TEXT_BYTES_MAX)?;
        let reference = if reference.is_empty() {
            NEXT_REFERENCE.to_owned()
        } else {
            reference
        };
        entries.push(money::grant(
            operator,
            target,
            Card::new(credit, reference, now, life_ms),
        )?);
    } else if credit < Money::ZERO {
        entries.push(money::deduct(operator, target, credit.negated(), now)?);
    }
    Ok(())
}

fn apply_texts(record: &mut AccountRecord, change: &AccountChange) -> Result<(), Error> {
    if let Some(alias) = &change.alias
        && *alias != record.account.alias
    {
        record.account.alias = change::alias(alias, &record.account.name)?;
    }
    if let Some(address) = &change.billing_email {
        record.account.billing_email = change::billing_email(address)?;
    }
    Ok(())
}

/// Whether all given fields are ones that an account may change of itself.
fn is_for_oneself(change: &AccountChange) -> bool {
    let AccountChange {
        name,
        email,
        alias: _,
        billing_email: _,
        qr_code,
        enabled,
        suspended,
        credit,
        days_micros: _,
        reference: _,
        level,
        gear,
        role,
        tier,
        rates,
        factor,
        hard_limit,
        soft_limit,
        auto_quota,
        child_limit,
        limits,
        calls_max,
        model_limits,
        allow_ips,
        allow_models,
        allow_levels,
        resources,
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
    } = change;
    let RateLimitsChange {
        rpm,
        rph,
        rpd,
        tpm,
        tph,
        tpd,
    } = limits;
    let texts = [
        name,
        email,
        qr_code,
        allow_ips,
        allow_models,
        allow_levels,
        resources,
        model_mapper,
        level_mapper,
        switch_over,
        model_failover,
        model_limits,
    ];
    let amounts = [hard_limit, soft_limit, auto_quota]
        .into_iter()
        .all(Option::is_none);
    let money = credit.unwrap_or_default() == Money::ZERO && rates.is_none() && factor.is_none();
    let windows = [rpm, rph, rpd, tpm, tph, tpd, child_limit]
        .into_iter()
        .all(Option::is_none);
    let windows = windows && calls_max.is_none();
    let labels = role.is_none() && tier.is_none() && gear.is_none() && level.is_none();
    let states = [enabled, suspended].into_iter().all(Option::is_none);
    texts.into_iter().all(Option::is_none) && amounts && money && windows && labels && states
}
