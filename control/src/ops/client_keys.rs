//! Client keys that an account has beside its first one. An account manages its own and those of the accounts below it.
//! For data planes, a change of a key is a change of its account.

use proxyxai_contract::{
    access::ModelList,
    client_key::{ClientKey, KeyHash},
    clock::Millis,
    id::{AccountId, ClientKeyId},
    money::Money,
};

use crate::{
    Control, Error,
    domain::{
        client_key::{self, KEYS_MAX},
        name,
    },
    model::{Account, Caller, ClientKeyChange, ClientKeyInfo, NewClientKey},
    ops,
    store::{self, AccountRecord, Db, Tx, client_keys::ClientKeyRecord},
};

/// The keys of the caller or of an account below it, newest first.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
) -> Result<Vec<ClientKeyInfo>, Error> {
    let target = target(control, control.store(), caller, identifier).await?;
    let found = store::client_keys::of_account(control.store(), target).await?;
    Ok(found
        .into_iter()
        .map(|record| shown(control, record.key))
        .collect())
}

/// One key of the caller or of an account below it.
pub(crate) async fn get(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
    id: ClientKeyId,
) -> Result<ClientKeyInfo, Error> {
    let target = target(control, control.store(), caller, identifier).await?;
    let found = store::client_keys::find(control.store(), target, id).await?;
    let found = found.ok_or_else(|| no_such_key(id))?;
    Ok(shown(control, found.key))
}

/// The key that the caller presented, if it is a further one.
pub(crate) async fn own(
    control: &Control,
    caller: &Caller,
) -> Result<Option<ClientKeyInfo>, Error> {
    let Some(id) = caller.client_key else {
        return Ok(None);
    };
    let found = store::client_keys::find(control.store(), caller.account, id).await?;
    Ok(found.map(|record| shown(control, record.key)))
}

/// Creates a key. The response is the only place that shows its secret.
pub(crate) async fn create(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
    new: &NewClientKey,
) -> Result<(ClientKeyInfo, ClientKey), Error> {
    let secret = ClientKey::generate().map_err(Error::internal)?;
    let hash = control.vault().hasher().hash(secret.expose());
    let tx = control.store().begin().await?;
    let mut account = locked_target(control, &tx, caller, identifier).await?;
    let now = control.now();
    let name = client_key::name(&new.name)?;
    let tail = ops::accounts::tail(control, &secret);
    let mut record = blank(account.account.id, name, (hash, tail), now);
    client_key::apply(&mut record.key, &new.change, now)?;
    make_room(control, &tx, caller, &account.account).await?;
    let made = store::client_keys::insert(&tx, &mut record).await;
    if let Err(Error::Conflict { field: "Name", .. }) = made {
        return Err(taken(control, account.account.id, &record.key.name).await);
    }
    made?;
    mark(&tx, &mut account).await?;
    ops::audit::client_key(
        control,
        &tx,
        caller,
        &account.account,
        (None, Some(&record)),
    )
    .await?;
    tx.commit().await?;
    tell("client key made", caller, &record.key);
    ops::published(control).await;
    Ok((shown(control, record.key), secret))
}

pub(crate) async fn update(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
    (id, change): (ClientKeyId, &ClientKeyChange),
) -> Result<ClientKeyInfo, Error> {
    let tx = control.store().begin().await?;
    let mut account = locked_target(control, &tx, caller, identifier).await?;
    let before = locked_key(&tx, account.account.id, id).await?;
    let now = control.now();
    let mut record = before.clone();
    client_key::apply(&mut record.key, change, now)?;
    if record == before {
        return Ok(shown(control, record.key));
    }
    record.key.updated = now;
    let changed = store::client_keys::update(&tx, &record).await;
    if let Err(Error::Conflict { field: "Name", .. }) = changed {
        return Err(taken(control, account.account.id, &record.key.name).await);
    }
    changed?;
    mark(&tx, &mut account).await?;
    let sides = (Some(&before), Some(&record));
    ops::audit::client_key(control, &tx, caller, &account.account, sides).await?;
    tx.commit().await?;
    tell("client key changed", caller, &record.key);
    ops::published(control).await;
    if record.key.credit_limit != before.key.credit_limit {
        // Otherwise data planes would first spend what they have on lease of the limit.
        ops::fleet::bring_back_of_key(control, account.account.id, id).await?;
    }
    Ok(shown(control, record.key))
}

/// Deletes a key, which stops at once. Its in-flight calls are still posted.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    identifier: Option<&str>,
    id: ClientKeyId,
) -> Result<ClientKeyInfo, Error> {
    let tx = control.store().begin().await?;
    let mut account = locked_target(control, &tx, caller, identifier).await?;
    let before = locked_key(&tx, account.account.id, id).await?;
    end(control, &tx, caller, &account.account, &before).await?;
    mark(&tx, &mut account).await?;
    tx.commit().await?;
    tell("client key deleted", caller, &before.key);
    ops::published(control).await;
    Ok(shown(control, before.key))
}

/// Keeps an account's former first key as a further key for a while. Its account is locked.
pub(super) async fn keep_former(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &AccountRecord,
    overlap_ms: i64,
) -> Result<(), Error> {
    let Some(hash) = account.key_hash else {
        return Ok(());
    };
    let (id, now) = (account.account.id, control.now());
    make_room(control, tx, caller, &account.account).await?;
    let known = store::client_keys::of_account(tx, id).await?;
    let is_taken = |name: &str| {
        let folded = name::folded(name);
        known
            .iter()
            .any(|record| name::folded(&record.key.name) == folded)
    };
    let name = client_key::former_name(control.zone().day(now), is_taken);
    let mut record = blank(id, name, (hash, account.account.partial_key.clone()), now);
    record.key.expires = Some(now.plus(overlap_ms));
    store::client_keys::insert(tx, &mut record).await
}

/// Refuses a secret that a further key has already: it would belong to two keys. An expired key of the same account is
/// deleted instead.
pub(super) async fn check_free(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &Account,
    hash: KeyHash,
) -> Result<(), Error> {
    let Some(found) = store::client_keys::by_hash(tx, hash).await? else {
        return Ok(());
    };
    if found.key.account == account.id && is_over(&found, control.now()) {
        return end(control, tx, caller, account, &found).await;
    }
    Err(Error::Conflict {
        field: "key",
        with: format!(" by client key {}", found.key.id),
    })
}

fn blank(
    account: AccountId,
    name: String,
    (key_hash, partial_key): (KeyHash, String),
    now: Millis,
) -> ClientKeyRecord {
    ClientKeyRecord {
        key: ClientKeyInfo {
            // The database assigns the id; this one is never shown.
            id: ClientKeyId::FIRST,
            account,
            name,
            partial_key,
            enabled: true,
            expires: None,
            credit_limit: None,
            rpm: None,
            models: ModelList::Any,
            credit_used: Money::ZERO,
            requests: 0,
            used: None,
            created: now,
            updated: now,
        },
        key_hash,
        leased: Money::ZERO,
        deleted: None,
    }
}

/// The caller, or an account below it that it may manage.
async fn target(
    control: &Control,
    db: &impl Db,
    caller: &Caller,
    identifier: Option<&str>,
) -> Result<AccountId, Error> {
    let Some(identifier) = identifier else {
        return Ok(caller.account);
    };
    let own = ops::caller_account(control, db, caller).await?;
    let found = ops::visible(control, db, &own, identifier)
        .await?
        .account
        .id;
    if found != caller.account {
        ops::may_manage(control, db, &own).await?;
    }
    Ok(found)
}

/// Like `target`, locked, so that of two changes of its keys the second sees the first.
async fn locked_target(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    identifier: Option<&str>,
) -> Result<AccountRecord, Error> {
    let target = target(control, tx, caller, identifier).await?;
    let mut locked = store::accounts::lock(tx, [target], control.now()).await?;
    locked
        .remove(&target)
        .ok_or_else(|| ops::no_such_account(&target.to_string()))
}

async fn locked_key(
    tx: &Tx,
    account: AccountId,
    id: ClientKeyId,
) -> Result<ClientKeyRecord, Error> {
    let mut locked = store::client_keys::lock(tx, [id]).await?;
    let found = locked.remove(&id);
    let found = found.filter(|key| key.key.account == account && key.deleted.is_none());
    found.ok_or_else(|| no_such_key(id))
}

fn is_over(record: &ClientKeyRecord, now: Millis) -> bool {
    record.key.expires.is_some_and(|end| end <= now)
}

/// Deletes the key that expired first to make room for another, if the account has as many as allowed.
async fn make_room(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &Account,
) -> Result<(), Error> {
    if store::client_keys::count(tx, account.id).await? < KEYS_MAX {
        return Ok(());
    }
    let known = store::client_keys::of_account(tx, account.id).await?;
    let over = known.iter().filter(|record| is_over(record, control.now()));
    match over.min_by_key(|record| record.key.expires) {
        Some(first) => end(control, tx, caller, account, first).await,
        None => Err(Error::Forbidden(
            "the account has 100 client keys beside its first one; delete some",
        )),
    }
}

/// Deletes a key. A key that was never used is removed without a trace, so that creating keys cannot fill the table.
async fn end(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &Account,
    key: &ClientKeyRecord,
) -> Result<(), Error> {
    if key.was_never_used() {
        store::client_keys::remove(tx, key.key.id).await?;
    } else {
        let mut ended = key.clone();
        ended.deleted = Some(control.now());
        store::client_keys::update(tx, &ended).await?;
    }
    ops::audit::client_key(control, tx, caller, account, (Some(key), None)).await
}

/// Marks the account as changed, so that data planes get it with its keys.
async fn mark(tx: &Tx, account: &mut AccountRecord) -> Result<(), Error> {
    account.revision = store::revisions::bump(tx).await?.0;
    store::accounts::update_revision(tx, account).await
}

/// The error that names the key which has a name already.
async fn taken(control: &Control, account: AccountId, name: &str) -> Error {
    let known = store::client_keys::of_account(control.store(), account).await;
    let folded = name::folded(name);
    let same = |record: &ClientKeyRecord| name::folded(&record.key.name) == folded;
    let found = known.unwrap_or_default().into_iter().find(same);
    Error::Conflict {
        field: "Name",
        with: found.map_or_else(String::new, |record| {
            format!(" by client key {}", record.key.id)
        }),
    }
}

fn shown(control: &Control, mut view: ClientKeyInfo) -> ClientKeyInfo {
    view.partial_key = ops::hint(control, &view.partial_key);
    view
}

fn no_such_key(id: ClientKeyId) -> Error {
    Error::NotFound {
        kind: "Client key",
        name: id.to_string(),
    }
}

fn tell(what: &str, caller: &Caller, view: &ClientKeyInfo) {
    tracing::info!(
        client_key.id = view.id.get(),
        account.id = view.account.get(),
        operator.id = caller.account.get(),
        "{what}"
    );
}
