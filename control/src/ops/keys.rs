//! The pool of upstream keys. Only root manages it.

mod probe;
mod probe_call;

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    egress::{self, AddressClass},
    id::{KeyId, Revision},
    money::Money,
    provider::BaseUrl,
    secret::Secret,
    snapshot::{HealthState, KeyConfig, KeyHealthReport},
};

use crate::{
    Control, Error,
    domain::{account::check_label, setting, upstream_key},
    model::{
        Caller, KeyState, Listing, NewUpstreamKey, Page, ProbeResult, UpstreamKey,
        UpstreamKeyChange, UpstreamKeyFilter,
    },
    ops::{self, audit},
    store::{self, KeyRecord, Tx},
    vault::Vault,
};

const ROOT_ONLY: &str = "only root may see and change upstream keys";
const NAME_BYTES_MAX: usize = 255;
const HINT_CHARS: usize = 4;

/// Adds a key to the pool.
pub(crate) async fn create(
    control: &Control,
    caller: &Caller,
    new: NewUpstreamKey,
) -> Result<UpstreamKey, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    upstream_key::check_secret(&new.secret)?;
    check_config(&new.config)?;
    let name = check_label("Name", &new.name, NAME_BYTES_MAX)?;
    let tx = control.store().begin().await?;
    let provider = match new
        .provider
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        Some(text) => BaseUrl::parse(text)?,
        None => ops::settings::value(control, &tx, &setting::XAI_BASE).await?,
    };
    look_at(control, &provider)?;
    let now = control.now();
    let mut record = sealed(control.vault(), &new.secret, &provider, now)?;
    record.key.name = name;
    record.key.level = new.level;
    record.key.enabled = new.enabled;
    record.key.config = new.config;
    check_unknown(&tx, &record).await?;
    record.revision = store::revisions::bump(&tx).await?.0;
    record.key.id = store::keys::insert(&tx, &record).await?;
    put_flat(control, &tx, &record.key, Money::ZERO).await?;
    audit::key(control, &tx, caller, None, Some(&record)).await?;
    tx.commit().await?;
    tracing::info!(
        key.id = record.key.id.get(),
        provider = record.key.provider,
        "upstream key added"
    );
    ops::published(control).await;
    Ok(record.key)
}

pub(crate) async fn get(
    control: &Control,
    caller: &Caller,
    id: KeyId,
) -> Result<UpstreamKey, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    find(control.store(), id)
        .await
        .map(|record| with_health(control, record.key))
}

/// Keys by ascending id.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    filter: UpstreamKeyFilter,
    page: Page,
) -> Result<Listing<UpstreamKey>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let page = page.bounded();
    let wanted = |view: &UpstreamKey| {
        filter.id.is_none_or(|id| view.id == id)
            && filter.level.is_none_or(|level| view.level == level)
            && filter.provider.as_deref().is_none_or(|text| {
                BaseUrl::parse(&view.provider)
                    .is_ok_and(|provider| upstream_key::host_matches(&provider, text))
            })
            && filter
                .search
                .as_deref()
                .is_none_or(|text| upstream_key::is_found(view, text))
            && filter.state.is_none_or(|state| KeyState::of(view) == state)
    };
    let keys = store::keys::living(control.store())
        .await?
        .into_iter()
        .map(|record| with_health(control, record.key));
    Ok(page.of(keys.filter(wanted).collect()))
}

/// Changes the given fields. A new secret or provider, or a change of `enabled`, makes the key ready again.
pub(crate) async fn update(
    control: &Control,
    caller: &Caller,
    id: KeyId,
    change: UpstreamKeyChange,
) -> Result<UpstreamKey, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let UpstreamKeyChange {
        secret,
        name,
        provider,
        level,
        enabled,
        config,
    } = change;
    let tx = control.store().begin().await?;
    let mut record = find(&tx, id).await?;
    let before = record.clone();
    let now = control.now();
    let moved = secret.is_some() || provider.is_some();
    let wakes = moved || enabled.is_some_and(|enabled| enabled != record.key.enabled);
    if moved {
        reseal(control, &mut record, secret, provider.as_deref(), now)?;
        check_unknown(&tx, &record).await?;
    }
    if let Some(name) = name.filter(|name| *name != record.key.name) {
        record.key.name = check_label("Name", &name, NAME_BYTES_MAX)?;
    }
    if let Some(config) = config {
        check_config(&config)?;
        record.key.config = config;
    }
    record.key.level = level.unwrap_or(record.key.level);
    record.key.enabled = enabled.unwrap_or(record.key.enabled);
    record.key.updated = now;
    record.revision = store::revisions::bump(&tx).await?.0;
    store::keys::update(&tx, &record).await?;
    put_flat(control, &tx, &record.key, before.key.config.price.monthly()).await?;
    audit::key(control, &tx, caller, Some(&before), Some(&record)).await?;
    tx.commit().await?;
    tracing::info!(key.id = id.get(), "upstream key changed");
    if wakes {
        control.publisher().wake_key(id);
    }
    ops::published(control).await;
    Ok(with_health(control, record.key))
}

/// Removes a key from the pool for good. Usage records keep its id.
pub(crate) async fn delete(
    control: &Control,
    caller: &Caller,
    id: KeyId,
) -> Result<UpstreamKey, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let tx = control.store().begin().await?;
    let mut record = find(&tx, id).await?;
    audit::key(control, &tx, caller, Some(&record), None).await?;
    let now = control.now();
    record.deleted = Some(now);
    record.key.updated = now;
    // The secret is no longer needed, so it is not kept.
    record.sealed = Vec::new();
    record.revision = store::revisions::bump(&tx).await?.0;
    store::keys::update(&tx, &record).await?;
    if record.key.config.price.monthly() != Money::ZERO {
        // Its last day is still paid.
        let tomorrow = ops::reports::today(control).saturating_add(jiff::Span::new().days(1));
        store::earnings::put_flat(&tx, id, tomorrow, Money::ZERO).await?;
    }
    tx.commit().await?;
    tracing::info!(key.id = id.get(), "upstream key deleted");
    ops::published(control).await;
    Ok(record.key)
}

/// Checks the key at its provider: lists its models, or calls one. A key that works becomes ready again.
pub(crate) async fn probe(
    control: &Control,
    caller: &Caller,
    id: KeyId,
    model: Option<&str>,
) -> Result<ProbeResult, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let model = model.map(str::trim).filter(|model| !model.is_empty());
    model.map_or(Ok(()), ops::routes::check_model)?;
    let record = find(control.store(), id).await?;
    let secret = control
        .vault()
        .open_sealed(&record.key.provider, &record.sealed)?;
    let provider = BaseUrl::parse(&record.key.provider)?;
    let target = probe::ProbeTarget {
        reach: control.config().provider_reach,
        provider: &provider,
        secret: &secret,
        config: &record.key.config,
    };
    let probe = Box::pin(probe::ask(target, model)).await?;
    tracing::info!(
        key.id = id.get(),
        model,
        accepted = probe.accepted,
        status = probe.status,
        "upstream key probed"
    );
    if probe.accepted {
        control.publisher().wake_key(id);
    }
    Ok(probe)
}

/// A warning if a key is placed oddly. Any call may go to any key of its level, so a key beside keys of another
/// provider should list the models it serves.
pub(crate) async fn mixed_level(
    control: &Control,
    caller: &Caller,
    key: &UpstreamKey,
) -> Result<Option<String>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let host = |view: &UpstreamKey| {
        let provider = BaseUrl::parse(&view.provider);
        provider.map_or_else(|_| view.provider.clone(), |url| url.authority().to_string())
    };
    let own = host(key);
    let keys = store::keys::living(control.store()).await?;
    let other = keys.into_iter().map(|record| record.key).find(|view| {
        view.level == key.level
            && view.enabled
            && key.enabled
            && (view.config.models.is_empty() || key.config.models.is_empty())
            && host(view) != own
    });
    let warning = other.map(|other| {
        format!(
            "level {} has keys of {own} and of {}: a call may go to either; give each provider a level of its own, or \
             name in Config.models what each key serves",
            key.level,
            host(&other)
        )
    });
    if let Some(warning) = &warning {
        tracing::warn!(key.id = key.id.get(), warning, "two providers in one level");
    }
    Ok(warning)
}

/// Sends the pool to all data planes again and makes every key ready.
pub(crate) async fn reload(control: &Control, caller: &Caller) -> Result<(u64, Revision), Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    reload_for(control, Some(caller)).await
}

/// Like `reload`, without a caller.
pub(crate) async fn reload_pool(control: &Control) -> Result<(u64, Revision), Error> {
    reload_for(control, None).await
}

async fn reload_for(control: &Control, caller: Option<&Caller>) -> Result<(u64, Revision), Error> {
    let tx = control.store().begin().await?;
    if let Some(caller) = caller {
        audit::reload(control, &tx, caller).await?;
    }
    let standing = store::revisions::bump_reload(&tx).await?;
    let keys = store::keys::count_enabled(&tx).await?;
    tx.commit().await?;
    tracing::info!(
        keys,
        revision = standing.revision.0,
        "upstream keys reloaded"
    );
    control.publisher().wake_all();
    ops::published(control).await;
    Ok((keys, standing.revision))
}

/// Every key, and key for one model, that data planes reported as not ready.
#[expect(
    clippy::unused_async,
    reason = "the fronts wait for every operation alike"
)]
pub(crate) async fn health(
    control: &Control,
    caller: &Caller,
) -> Result<Vec<KeyHealthReport>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    Ok(control.publisher().healths(control.now()))
}

/// A record for a new key, its secret sealed for its provider.
pub(super) fn sealed(
    vault: &Vault,
    secret: &Secret,
    provider: &BaseUrl,
    now: Millis,
) -> Result<KeyRecord, Error> {
    let provider = provider.text();
    Ok(KeyRecord {
        sealed: vault.seal(&provider, secret)?,
        fingerprint: vault.fingerprint(secret)?,
        deleted: None,
        revision: 0,
        key: UpstreamKey {
            // The store assigns the real id.
            id: KeyId::new(1)?,
            name: String::new(),
            provider,
            level: proxyxai_contract::id::Level::ZERO,
            enabled: true,
            config: KeyConfig::default(),
            secret_hint: secret.tail(HINT_CHARS).to_owned(),
            health: HealthState::Ready,
            health_reason: String::new(),
            created: now,
            updated: now,
        },
    })
}

fn reseal(
    control: &Control,
    record: &mut KeyRecord,
    secret: Option<Secret>,
    provider: Option<&str>,
    now: Millis,
) -> Result<(), Error> {
    let vault = control.vault();
    let provider = match provider {
        Some(text) => {
            let provider = BaseUrl::parse(text)?;
            look_at(control, &provider)?;
            provider
        }
        None => BaseUrl::parse(&record.key.provider)?,
    };
    let secret = match secret {
        Some(secret) => {
            upstream_key::check_secret(&secret)?;
            secret
        }
        None => vault.open_sealed(&record.key.provider, &record.sealed)?,
    };
    let fresh = sealed(vault, &secret, &provider, now)?;
    record.sealed = fresh.sealed;
    record.fingerprint = fresh.fingerprint;
    record.key.provider = fresh.key.provider;
    record.key.secret_hint = fresh.key.secret_hint;
    Ok(())
}

async fn find(db: &impl store::Db, id: KeyId) -> Result<KeyRecord, Error> {
    let found = store::keys::find(db, id).await?;
    found.ok_or_else(|| Error::NotFound {
        kind: "Key",
        name: id.to_string(),
    })
}

async fn check_unknown(tx: &Tx, record: &KeyRecord) -> Result<(), Error> {
    let same = store::keys::knows(tx, &record.fingerprint, &record.key.provider, false).await?;
    match same {
        Some(id) if id != record.key.id || record.revision == 0 => {
            let name = find(tx, id).await?.key.name;
            Err(Error::Conflict {
                field: "SecretKey",
                with: format!(" by upstream key {id}{}", ops::in_brackets(&name)),
            })
        }
        _ => Ok(()),
    }
}

fn check_config(config: &KeyConfig) -> Result<(), Error> {
    config
        .check_models()
        .map_err(|Invalid { field, problem }| Invalid::new(format!("Config.{field}"), problem))?;
    Ok(())
}

/// Stores the day from which a key's monthly price changes.
async fn put_flat(
    control: &Control,
    tx: &Tx,
    key: &UpstreamKey,
    before: Money,
) -> Result<(), Error> {
    let monthly = key.config.price.monthly();
    if monthly == before {
        return Ok(());
    }
    let today = ops::reports::today(control);
    store::earnings::put_flat(tx, key.id, today, monthly).await
}

/// Whether the egress policy allows this provider. Doubtful URLs are logged.
fn look_at(control: &Control, provider: &BaseUrl) -> Result<(), Invalid> {
    control.config().provider_reach.check(provider)?;
    if egress::classify_host(provider.host()) == Some(AddressClass::Private) {
        tracing::warn!(
            provider = provider.text(),
            "this provider is at a private address, which PROVIDER_PRIVATE=allow lets keys be sent to"
        );
    }
    if provider.is_exposed() {
        tracing::warn!(
            provider = provider.text(),
            "keys for this provider cross the open network in clear"
        );
    }
    Ok(())
}

pub(super) fn with_health(control: &Control, mut view: UpstreamKey) -> UpstreamKey {
    (view.health, view.health_reason) = control.publisher().health_of(view.id, control.now());
    view
}
