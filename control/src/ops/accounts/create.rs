//! Creating a child of the caller, with its key and its first card.

use proxyxai_contract::{
    Invalid, client_key::ClientKey, clock::Millis, money::Money, routing::RoutingRules,
    snapshot::AccessLists, window::ModelLimits,
};

use tokio::time::Instant;

use super::{IN_USE_MAX, bounds, change, changed, credit_came_back, give_key};
use crate::{
    Control, Error,
    domain::{
        account::{Dna, check_email, check_name_below_root, check_text},
        bounds::InheritedBounds,
        credit::{self},
        mail::verification,
        rate_limits, setting,
    },
    model::{Account, AccountChangeResult, Caller, Card, NewAccount, VerifiedAddresses},
    ops::{self, circulation, money},
    store::{self, AccountRecord, Tx},
};

const FIRST_REFERENCE: &str = "Initial Funding";

/// Creates a direct child of the caller. The response is the only place that shows the key.
pub(crate) async fn create(
    control: &Control,
    caller: &Caller,
    new: NewAccount,
) -> Result<(AccountChangeResult, ClientKey), Error> {
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

/// The error that names who has the name or address, if that account is below the caller. It explains why a repeated
/// request fails.
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
) -> Result<(AccountChangeResult, ClientKey), Error> {
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
    let dna = Dna::parse(&operator.account.dna).map_err(Error::internal)?;
    store::accounts::insert(&tx, &mut child, Some(&dna)).await?;
    entries.push(money::grant(&mut operator, &mut child, card)?);
    store::accounts::update(&tx, &child).await?;
    store::accounts::update(&tx, &operator).await?;
    circulation::check(control, &tx, &entries).await?;
    store::ledger::post(&tx, now, &entries).await?;
    ops::audit::account(control, &tx, caller, None, Some(&child)).await?;
    ops::mail::welcome(control, &tx, &child.account).await?;
    ops::verification::invite(control, &tx, &operator, &child.account).await?;
    let after = changed(control, &tx, caller.account, child.account.id).await?;
    tx.commit().await?;
    tracing::info!(
        account.id = child.account.id.get(), operator.id = caller.account.get(), credit = %new.credit, "account created"
    );
    ops::published(control).await;
    Ok((after, key))
}

/// An account that inherits everything from its parent and has nothing of its own yet.
pub(crate) fn blank(parent: &Account, name: String, email: String, now: Millis) -> AccountRecord {
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
        account: Account {
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
            // The ancestors' lists and rules apply to every call, so a child starts without its own.
            access: AccessLists::ANY,
            routing: RoutingRules::default(),
            model_limits: ModelLimits::default(),
            children: 0,
            enabled: true,
            suspended: false,
            addresses: VerifiedAddresses::default(),
            created: now,
            updated: now,
            ..parent.clone()
        },
    }
}

fn child(
    parent: &AccountRecord,
    bounds: &InheritedBounds,
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
    let mut record = blank(&parent.account, name, email, now);
    if let Some(alias) = alias {
        record.account.alias = change::alias(alias, &record.account.name)?;
    }
    if let Some(address) = billing_email {
        record.account.billing_email = change::billing_email(address)?;
    }
    if let Some(rates) = change.rates {
        credit::check_rates(rates, parent.account.rates)?;
        record.account.rates = rates;
    }
    record.account.limits = rate_limits::inherit(parent.account.limits, change.limits)?;
    let (hard, soft) = credit::first_limits(*credit);
    record.account.hard_limit = credit::within(Some(hard), bounds.hard_limit);
    record.account.soft_limit = credit::within(Some(soft), record.account.hard_limit);
    let before = record.account.clone();
    record.account.credit_granted = *credit;
    let by_root = parent.account.parent.is_none();
    change::apply(&mut record, change, by_root)?;
    bounds.check(&before, &record.account)?;
    let nothing = Account {
        email: String::new(),
        billing_email: String::new(),
        ..record.account.clone()
    };
    verification::after_change(&nothing, &mut record.account, by_root, now);
    Ok(record)
}

async fn first_card(
    control: &Control,
    tx: &Tx,
    new: &NewAccount,
    now: Millis,
) -> Result<Card, Error> {
    let minimum = ops::settings::value(control, tx, &setting::USER_MIN_BALANCE).await?;
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
    let counts = store::accounts::children(tx, &[operator.account.id]).await?;
    let children = counts
        .get(&operator.account.id)
        .copied()
        .unwrap_or_default();
    if children < operator.account.child_limit {
        Ok(())
    } else {
        Err(Error::Forbidden(
            "the account may not have more children (ChildLimit)",
        ))
    }
}
