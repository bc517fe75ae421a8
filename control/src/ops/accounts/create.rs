//! Creating a child of the caller, with its key and its first card.

use proxyxai_contract::{
    Invalid, client_key::ClientKey, clock::Millis, money::Money, routing::RoutingRules,
    snapshot::Access, window::ModelLimits,
};

use tokio::time::Instant;

use super::{IN_USE_MAX, bounds, change, changed, credit_came_back, give_key};
use crate::{
    Control, Error,
    domain::{
        account::{Dna, check_email, check_name_below_root, check_text},
        bounds::Bounds,
        credit::{self, Card},
        mail::verification,
        quota, setting,
    },
    ops::{self, circulation, money},
    store::{self, AccountRecord, Tx},
    view::{AccountView, Addresses, Caller, Changed, NewAccount},
};

const FIRST_REFERENCE: &str = "Initial Funding";

/// Creates a direct child of the caller. The answer is the only place that shows the key.
pub(crate) async fn create(
    control: &Control,
    caller: &Caller,
    new: NewAccount,
) -> Result<(Changed, ClientKey), Error> {
    let until = Instant::now() + IN_USE_MAX;
    loop {
        let made = Box::pin(create_once(control, caller, &new)).await;
        if let Err(Error::Conflict { field, .. }) = made {
            return Err(conflict(control, caller, field, &new).await);
        }
        if !credit_came_back(control, caller.account, &made, until).await? {
            return made;
        }
    }
}

/// Tells who has the name or address, if that is an account below the caller: a step that is done twice is no riddle.
async fn conflict(
    control: &Control,
    caller: &Caller,
    field: &'static str,
    new: &NewAccount,
) -> Error {
    let identifier = if field == "Name" {
        &new.name
    } else {
        &new.email
    };
    let found = super::find(control, caller, identifier.trim()).await;
    let with = found.map_or_else(
        |_| String::new(),
        |account| {
            format!(
                " by account {}{}",
                account.id,
                ops::in_brackets(&account.name)
            )
        },
    );
    Error::Conflict { field, with }
}

async fn create_once(
    control: &Control,
    caller: &Caller,
    new: &NewAccount,
) -> Result<(Changed, ClientKey), Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let mut locked = store::accounts::lock(&tx, [caller.account], now).await?;
    let mut operator = locked
        .remove(&caller.account)
        .ok_or(Error::Unauthenticated)?;
    let mut entries = Vec::new();
    entries.extend(money::clear_expired(&mut operator, now)?);
    ops::may_manage(control, &tx, &operator).await?;
    check_room(&tx, &operator).await?;
    let key = ClientKey::generate().map_err(Error::internal)?;
    let bounds = bounds::below(control, &tx, &operator).await?;
    let mut child = child(&operator, &bounds, new, now)?;
    give_key(control, &mut child, &key);
    let card = first_card(control, &tx, new, now).await?;
    let revision = store::revisions::bump(&tx).await?.0;
    (child.revision, operator.revision) = (revision, revision);
    let dna = Dna::parse(&operator.view.dna).map_err(Error::internal)?;
    store::accounts::insert(&tx, &mut child, Some(&dna)).await?;
    entries.push(money::grant(&mut operator, &mut child, card)?);
    store::accounts::update(&tx, &child).await?;
    store::accounts::update(&tx, &operator).await?;
    circulation::check(control, &tx, &entries).await?;
    store::ledger::post(&tx, now, &entries).await?;
    ops::audit::account(control, &tx, caller, None, Some(&child)).await?;
    ops::mail::welcome(control, &tx, &child.view).await?;
    ops::verification::invite(control, &tx, &operator, &child.view).await?;
    let after = changed(control, &tx, caller.account, child.view.id).await?;
    tx.commit().await?;
    tracing::info!(
        account.id = child.view.id.get(), operator.id = caller.account.get(), credit = %new.credit, "account created"
    );
    ops::published(control).await;
    Ok((after, key))
}

/// An account that has everything from its parent, and nothing of its own yet.
pub(crate) fn blank(
    parent: &AccountView,
    name: String,
    email: String,
    now: Millis,
) -> AccountRecord {
    AccountRecord {
        debt: Money::ZERO,
        leased: Money::ZERO,
        key_hash: None,
        deleted: None,
        gone: false,
        heir: None,
        fee_due: Money::ZERO,
        closing: false,
        revision: 0,
        stored_name_key: String::new(),
        stored_cards: Vec::new(),
        view: AccountView {
            parent: Some(parent.id),
            alias: name.clone(),
            name,
            email,
            billing_email: String::new(),
            qr_code: String::new(),
            partial_key: String::new(),
            public_key: String::new(),
            role: 0,
            tier: 0,
            cards: Vec::new(),
            balance: Money::ZERO,
            credit_granted: Money::ZERO,
            credit_used: Money::ZERO,
            requests: 0,
            hard_limit: None,
            soft_limit: None,
            auto_quota: Money::ZERO,
            // Lists and rules count through the ancestors' at use, so a child begins without its own.
            access: Access::ANY,
            routing: RoutingRules::default(),
            model_limits: ModelLimits::default(),
            children: 0,
            enabled: true,
            suspended: false,
            addresses: Addresses::default(),
            created: now,
            updated: now,
            ..parent.clone()
        },
    }
}

fn child(
    parent: &AccountRecord,
    bounds: &Bounds,
    new: &NewAccount,
    now: Millis,
) -> Result<AccountRecord, Error> {
    let NewAccount {
        name,
        email,
        credit,
        alias,
        billing_email,
        days_micros: _,
        change,
    } = new;
    let (name, email) = (check_name_below_root(name)?, check_email(email)?);
    let mut record = blank(&parent.view, name, email, now);
    if let Some(alias) = alias {
        record.view.alias = change::alias(alias, &record.view.name)?;
    }
    if let Some(address) = billing_email {
        record.view.billing_email = change::billing_email(address)?;
    }
    if let Some(rates) = change.rates {
        credit::check_rates(rates, parent.view.rates)?;
        record.view.rates = rates;
    }
    record.view.limits = quota::inherit(parent.view.limits, change.limits)?;
    let (hard, soft) = credit::first_limits(*credit);
    record.view.hard_limit = credit::within(Some(hard), bounds.hard_limit);
    record.view.soft_limit = credit::within(Some(soft), record.view.hard_limit);
    let before = record.view.clone();
    record.view.credit_granted = *credit;
    let by_root = parent.view.parent.is_none();
    change::apply(&mut record, change, by_root)?;
    bounds.check(&before, &record.view)?;
    let nothing = AccountView {
        email: String::new(),
        billing_email: String::new(),
        ..record.view.clone()
    };
    verification::after_change(&nothing, &mut record.view, by_root, now);
    Ok(record)
}

async fn first_card(
    control: &Control,
    tx: &Tx,
    new: &NewAccount,
    now: Millis,
) -> Result<Card, Error> {
    let minimum = ops::settings::dollars(control, tx, setting::USER_MIN_BALANCE).await?;
    if new.credit < minimum || new.credit <= Money::ZERO {
        return Err(Invalid::new("CreditGranted", format!("must be at least {minimum}")).into());
    }
    let life_ms = credit::life(new.days_micros.or(new.change.days_micros))?;
    let given = new.change.reference.as_deref().unwrap_or_default();
    let reference = check_text("Reference", given, change::TEXT_BYTES_MAX)?;
    let reference = if reference.is_empty() {
        FIRST_REFERENCE.to_owned()
    } else {
        reference
    };
    Ok(Card::new(new.credit, reference, now, life_ms))
}

async fn check_room(tx: &Tx, operator: &AccountRecord) -> Result<(), Error> {
    let counts = store::accounts::children(tx, &[operator.view.id]).await?;
    let children = counts.get(&operator.view.id).copied().unwrap_or_default();
    if children < operator.view.child_limit {
        Ok(())
    } else {
        Err(Error::Forbidden(
            "the account may not have more children (ChildLimit)",
        ))
    }
}
