//! One function for each administrative request. Each checks the caller's rights, owns its transaction, makes ids and
//! times, and publishes what it changed. No wire formats, no rows, no JSON.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod calls;
pub(crate) mod circulation;
pub(crate) mod client_keys;
pub(crate) mod earnings;
pub(crate) mod expiry;
pub(crate) mod export;
pub(crate) mod fleet;
pub(crate) mod keys;
pub(crate) mod mail;
mod master_key;
mod money;
pub(crate) mod news;
pub(crate) mod prices;
pub(crate) mod refusals;
pub(crate) mod replicas;
pub(crate) mod reports;
pub(crate) mod retention;
mod root_key;
pub(crate) mod routes;
pub(crate) mod seed;
pub(crate) mod settings;
pub(crate) mod spend;
#[cfg(test)]
mod tests;
mod usage_additions;
pub(crate) mod verification;
pub(crate) mod windows;

use proxyxai_contract::id::AccountId;

use crate::{
    Control, Error,
    domain::{
        account::{AccountIdentifier, Dna},
        setting,
    },
    model::{Account, Caller},
    store::{self, AccountRecord, Db},
    vault,
};

/// The greatest page size; larger requests are cut to it.
const PAGE_SIZE_MAX: u64 = 1000;

impl crate::model::Page {
    /// The page within the documented bounds.
    fn bounded(self) -> Self {
        Self {
            page: self.page.max(1),
            size: self.size.clamp(1, PAGE_SIZE_MAX),
        }
    }
}

/// A name in brackets after an id; empty without a name.
fn in_brackets(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    }
}

/// Refuses every caller but root.
pub(crate) fn root_only(caller: &Caller, what: &'static str) -> Result<(), Error> {
    if caller.is_root() {
        Ok(())
    } else {
        Err(Error::Forbidden(what))
    }
}

/// The caller's account, if it is alive, without the number of its children.
async fn caller_account(
    control: &Control,
    db: &impl Db,
    caller: &Caller,
) -> Result<AccountRecord, Error> {
    let found = store::accounts::childless(db, caller.account, control.now()).await?;
    found
        .filter(|record| record.deleted.is_none())
        .ok_or(Error::Unauthenticated)
}

/// An account that the caller may see: itself or a descendant.
async fn visible(
    control: &Control,
    db: &impl Db,
    caller: &AccountRecord,
    identifier: &str,
) -> Result<AccountRecord, Error> {
    let found =
        store::accounts::find(db, &AccountIdentifier::parse(identifier)?, control.now()).await?;
    found
        .filter(|record| is_at_or_below(caller, record))
        .ok_or_else(|| no_such_account(identifier))
}

fn is_at_or_below(caller: &AccountRecord, record: &AccountRecord) -> bool {
    match (
        Dna::parse(&caller.account.dna),
        Dna::parse(&record.account.dna),
    ) {
        (Ok(caller), Ok(record)) => caller.is_ancestor_or_self_of(&record),
        _ => false,
    }
}

fn no_such_account(identifier: &str) -> Error {
    Error::NotFound {
        kind: "User",
        name: identifier.to_owned(),
    }
}

/// Managing descendants requires a balance, except for root.
async fn may_manage(control: &Control, db: &impl Db, caller: &AccountRecord) -> Result<(), Error> {
    if caller.account.id == AccountId::ROOT {
        return Ok(());
    }
    let minimum = settings::value(control, db, &setting::USER_API_BALANCE).await?;
    let balance = caller.account.balance;
    if balance >= minimum {
        Ok(())
    } else {
        Err(Error::ManagementBalance { balance, minimum })
    }
}

/// The account as it is shown now.
fn shown(control: &Control, record: AccountRecord) -> Account {
    let now = control.now();
    let mut view = record.account;
    view.public_key = record.key_hash.map(vault::public_key).unwrap_or_default();
    view.cards.retain(|card| card.is_live(now));
    view.partial_key = hint(control, &view.partial_key);
    view
}

/// The part of a client key that is shown now.
fn hint(control: &Control, partial_key: &str) -> String {
    let hidden = partial_key
        .len()
        .saturating_sub(control.partial_key_chars());
    partial_key.get(hidden..).unwrap_or_default().to_owned()
}

/// Called after a commit: publishes the change, and usually waits until data planes apply it before the response.
async fn published(control: &Control) {
    let (store, vault, now) = (control.store(), control.vault(), control.now());
    if let Err(error) = control.publisher().changed(store, vault, now).await {
        // The change is committed, and the background check of the revision publishes it.
        tracing::warn!(error = ?error, "a change could not be published at once");
    }
}
