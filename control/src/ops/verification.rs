//! Links that verify that an address belongs to an account. A link is sealed by the vault, valid for three days and for
//! one use. Opening it changes nothing, so a mail scanner that follows it verifies nothing.

use std::fmt::Write as _;

use proxyxai_contract::{Invalid, id::AccountId, secret::Secret};

use super::mail;
use crate::{
    Control, Error,
    domain::{
        account::Dna,
        mail::{
            MailKind, templates,
            verification::{
                AddressField, DAY_MS, HOUR_MS, LINK_LIFE_MS, LINK_PAUSE_MS, LINKS_A_DAY_MAX,
                VerificationToken,
            },
        },
        setting,
    },
    model::{Account, AddressVerification, Caller, VerifiedBy},
    ops,
    publish::EffectiveSettings,
    store::{
        self, AccountRecord, Tx,
        links::VerificationLink,
        mail::{NewMail, SentCount},
    },
};

/// The context that links are sealed for.
const CONTEXT: &str = "mail-verification";
const NONCE_BYTES: usize = 24;

/// The address that a link verifies.
#[derive(Debug, Clone)]
pub(crate) struct VerificationRequest {
    pub(crate) account: AccountId,
    pub(crate) address: String,
}

/// Sends links to the unverified addresses of the caller or a descendant, and names their fields.
pub(crate) async fn ask(
    control: &Control,
    caller: &Caller,
    identifier: &str,
) -> Result<Vec<&'static str>, Error> {
    let tx = control.store().begin().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let target = ops::visible(control, &tx, &own, identifier).await?.account;
    if target.id != caller.account {
        ops::may_manage(control, &tx, &own).await?;
    }
    let settings = EffectiveSettings::read(&tx, control.config()).await?;
    if !mail::is_on(&settings)? || mail::links(&settings)?.api.is_empty() {
        return Err(Invalid::new("EMAIL_SMTP", "and XAI_API must be set for links").into());
    }
    let mut sent = Vec::new();
    for field in AddressField::ALL
        .into_iter()
        .filter(|field| is_open(*field, &target))
    {
        if let Some(retry_after_ms) = send(control, &tx, &settings, (&own, &target, field)).await? {
            return Err(Error::TooOften {
                name: target.name,
                retry_after_ms,
            });
        }
        sent.push(field.as_str());
    }
    tx.commit().await?;
    Ok(sent)
}

/// Sends links for a new account's addresses, within the rate limits; an account can request a missing one later.
pub(super) async fn invite(
    control: &Control,
    tx: &Tx,
    sender: &AccountRecord,
    view: &Account,
) -> Result<(), Error> {
    for field in AddressField::ALL {
        send_if_open(control, tx, sender, (view, field)).await?;
    }
    Ok(())
}

/// Called after a change of an account: a changed address loses its old link and gets a new one.
pub(super) async fn changed(
    control: &Control,
    tx: &Tx,
    sender: &AccountRecord,
    (before, after): (&Account, &Account),
) -> Result<(), Error> {
    for field in AddressField::ALL {
        if field.of(before) != field.of(after) {
            store::links::remove(tx, after.id, field.as_str()).await?;
            send_if_open(control, tx, sender, (after, field)).await?;
        }
    }
    Ok(())
}

/// What a link is for. Returns `None` if it is not valid.
pub(crate) async fn look(
    control: &Control,
    token: &str,
) -> Result<Option<VerificationRequest>, Error> {
    let tx = control.store().begin_reading().await?;
    let Some(token) = opened(control, token) else {
        return Ok(None);
    };
    let record = store::accounts::childless(&tx, token.account, control.now()).await?;
    let link = store::links::get(&tx, token.account, token.field.as_str()).await?;
    Ok(record.and_then(|record| good(control, &token, &record, link.as_ref())))
}

/// Verifies the address of a link. Returns `None` if the link is not valid, or no longer.
pub(crate) async fn confirm(
    control: &Control,
    token: &str,
) -> Result<Option<VerificationRequest>, Error> {
    let Some(token) = opened(control, token) else {
        return Ok(None);
    };
    let now = control.now();
    let tx = control.store().begin().await?;
    let mut locked = store::accounts::lock(&tx, [token.account], now).await?;
    let Some(mut record) = locked.remove(&token.account) else {
        return Ok(None);
    };
    // Under the lock, so that only one of two simultaneous requests finds it.
    let link = store::links::get(&tx, token.account, token.field.as_str()).await?;
    let Some(wish) = good(control, &token, &record, link.as_ref()) else {
        return Ok(None);
    };
    let before = record.account.clone();
    let verified = AddressVerification {
        at: now,
        by: VerifiedBy::Link,
    };
    token.field.set(&mut record.account, Some(verified));
    record.account.updated = now;
    store::accounts::update(&tx, &record).await?;
    store::links::remove(&tx, token.account, token.field.as_str()).await?;
    let itself = Caller {
        account: token.account,
        client_key: None,
        address: None,
    };
    ops::audit::account(control, &tx, &itself, Some(&before), Some(&record)).await?;
    if token.field == AddressField::Email {
        mail::welcome(control, &tx, &record.account).await?;
    }
    tx.commit().await?;
    tracing::info!(
        account.id = token.account.get(),
        field = token.field.as_str(),
        "address verified"
    );
    Ok(Some(wish))
}

/// The customer of root that mails caused by an account count for, so that sub-accounts cannot evade a rate limit.
/// `None` for root.
pub(crate) fn customer(dna: &str) -> Option<AccountId> {
    Dna::parse(dna).ok()?.ids().get(1).copied()
}

/// How many more mails a customer may cause now.
pub(crate) async fn mails_left(
    control: &Control,
    tx: &Tx,
    settings: &EffectiveSettings<'_>,
    customer: Option<AccountId>,
) -> Result<u64, Error> {
    let rate = settings.get(&setting::EMAIL_RPH)?;
    let (Some(customer), Some(rate)) = (customer, rate) else {
        return Ok(u64::MAX);
    };
    let since = control.now().plus(-HOUR_MS);
    let sent = store::mail::sent_by(tx, customer, since).await?;
    Ok(u64::from(rate.get()).saturating_sub(sent))
}

fn is_open(field: AddressField, view: &Account) -> bool {
    !field.of(view).is_empty() && field.verified(view).is_none()
}

async fn send_if_open(
    control: &Control,
    tx: &Tx,
    sender: &AccountRecord,
    (view, field): (&Account, AddressField),
) -> Result<(), Error> {
    if !is_open(field, view) {
        return Ok(());
    }
    let settings = EffectiveSettings::read(tx, control.config()).await?;
    if mail::is_on(&settings)? && !mail::links(&settings)?.api.is_empty() {
        send(control, tx, &settings, (sender, view, field)).await?;
    }
    Ok(())
}

/// Queues a link. Returns when to retry if there were too many already.
async fn send(
    control: &Control,
    tx: &Tx,
    settings: &EffectiveSettings<'_>,
    (sender, view, field): (&AccountRecord, &Account, AddressField),
) -> Result<Option<i64>, Error> {
    let now = control.now();
    let address = field.of(view).to_owned();
    let SentCount { count, latest } =
        store::mail::sent_to(tx, MailKind::Verify.as_str(), &address, now.plus(-DAY_MS)).await?;
    if count >= LINKS_A_DAY_MAX {
        return Ok(Some(DAY_MS));
    }
    let since = latest.map_or(LINK_PAUSE_MS, |latest| now.since(latest));
    if since < LINK_PAUSE_MS {
        return Ok(Some(LINK_PAUSE_MS.saturating_sub(since)));
    }
    let customer = customer(&sender.account.dna);
    if mails_left(control, tx, settings, customer).await? == 0 {
        return Ok(Some(HOUR_MS));
    }
    let mut bytes = [0u8; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(error.to_string()))?;
    let nonce = bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    });
    let token = VerificationToken {
        account: view.id,
        field,
        nonce: nonce.clone(),
    };
    let sealed = control
        .vault()
        .seal_text(CONTEXT, &Secret::new(token.text()))?;
    let link = VerificationLink {
        address: address.clone(),
        nonce,
        expires: now.plus(LINK_LIFE_MS),
    };
    store::links::put(tx, view.id, field.as_str(), &link).await?;
    let footer = mail::links(settings)?;
    let url = format!("{}/x-verify/{sealed}", footer.api);
    let mail = NewMail {
        account: Some(view.id),
        sender: customer,
        recipient: address,
        message: templates::verify(view.id, &url, &footer),
    };
    store::mail::queue(tx, now, vec![mail]).await?;
    Ok(None)
}

/// The content of a token, if this gateway sealed it.
fn opened(control: &Control, token: &str) -> Option<VerificationToken> {
    let text = control.vault().open_text(CONTEXT, token).ok()?;
    VerificationToken::parse(text.expose())
}

/// What a link is for, if it is the latest one for an address that the account still has.
fn good(
    control: &Control,
    token: &VerificationToken,
    record: &AccountRecord,
    link: Option<&VerificationLink>,
) -> Option<VerificationRequest> {
    let link = link.filter(|link| link.nonce == token.nonce && link.expires > control.now())?;
    let has_it = token.field.of(&record.account) == link.address;
    (record.deleted.is_none() && has_it).then(|| VerificationRequest {
        account: token.account,
        address: link.address.clone(),
    })
}
