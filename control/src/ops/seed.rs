//! Seeds a new store: the sentinel of the master key, root, and what `INIT_USERS` and `INIT_KEYS` name. An existing
//! store is only checked and brought up to date.

use proxyxai_contract::{
    client_key::ClientKey,
    clock::Millis,
    id::{AccountId, Level},
    money::{Money, Multiplier},
    routing::RoutingRules,
    snapshot::AccessLists,
    window::{ModelLimits, RateLimits},
};

use super::{accounts::blank, keys::sealed, master_key, root_key};
use crate::{
    Error,
    config::{Config, InitUser},
    domain::{account::Dna, setting},
    model::{Account, AddressVerification, VerifiedAddresses, VerifiedBy},
    publish::EffectiveSettings,
    store::{self, AccountRecord, Store, Tx},
    vault::Vault,
};

const CHILD_LIMIT: u64 = 88_888_888;
const ROOT_EMAIL: &str = "root@localhost";

/// The result of a start.
pub(crate) struct BootstrapResult {
    pub(crate) vault: Vault,
    /// The root key, if it was generated here.
    pub(crate) root_key: Option<ClientKey>,
}

/// Opens the vault and seeds a new store, in one transaction, so that a first start happens entirely or not at all.
pub(crate) async fn first_start(
    store: &Store,
    config: &Config,
    now: Millis,
) -> Result<BootstrapResult, Error> {
    let tx = store.begin().await?;
    tx.lock_start().await?;
    let vault = master_key::open(&tx, config).await?;
    let is_new = store::accounts::get(&tx, AccountId::ROOT, now)
        .await?
        .is_none();
    let generated = if is_new {
        seed_accounts(&tx, &vault, config, now).await?
    } else {
        tell_of_another_root_key(&tx, &vault, config, now).await?;
        None
    };
    master_key::keep_copies(&tx, &vault, config, now).await?;
    seed_keys(&tx, &vault, config, now).await?;
    if super::prices::renew(&tx, config, None, now).await? {
        store::revisions::bump(&tx).await?;
    }
    tx.commit().await?;
    Ok(BootstrapResult {
        vault,
        root_key: generated,
    })
}

/// Warns that `INIT_USERS` counts for a new database only, if its root key differs from root's.
async fn tell_of_another_root_key(
    tx: &Tx,
    vault: &Vault,
    config: &Config,
    now: Millis,
) -> Result<(), Error> {
    let Some(given) = config.init_root_key() else {
        return Ok(());
    };
    let root = store::accounts::get(tx, AccountId::ROOT, now).await?;
    let current = root.and_then(|root| root.key_hash);
    if current != Some(vault.hasher().hash(given.expose())) {
        tracing::warn!(
            "the root key in INIT_USERS is not root's: INIT_USERS counts for a new database alone. To change the key: POST /x-root"
        );
    }
    Ok(())
}

async fn seed_accounts(
    tx: &Tx,
    vault: &Vault,
    config: &Config,
    now: Millis,
) -> Result<Option<ClientKey>, Error> {
    let mut users = config.init_users()?.into_iter();
    let (root_user, generated) = if let Some(user) = users.next() {
        (user, None)
    } else {
        let key = ClientKey::generate().map_err(Error::internal)?;
        root_key::keep(config, &key)?;
        let (name, email) = ("root".to_owned(), ROOT_EMAIL.to_owned());
        (
            InitUser {
                name,
                email,
                key: key.clone(),
            },
            Some(key),
        )
    };
    let revision = store::revisions::bump(tx).await?.0;
    let key_of = |record: &mut AccountRecord, key: &ClientKey| {
        record.key_hash = Some(vault.hasher().hash(key.expose()));
        key.tail(config.partial_key_chars)
            .clone_into(&mut record.account.partial_key);
        record.revision = revision;
    };
    let mut root = root(&root_user, now);
    key_of(&mut root, &root_user.key);
    store::accounts::insert(tx, &mut root, None).await?;
    for user in users {
        let mut child = blank(&root.account, user.name, user.email, now);
        child.account.addresses = by_root(now);
        key_of(&mut child, &user.key);
        store::accounts::insert(tx, &mut child, Some(&Dna::root())).await?;
    }
    Ok(generated)
}

/// Addresses of the first start are verified by root.
const fn by_root(now: Millis) -> VerifiedAddresses {
    VerifiedAddresses {
        email: Some(AddressVerification {
            at: now,
            by: VerifiedBy::Root,
        }),
        billing: None,
    }
}

fn root(user: &InitUser, now: Millis) -> AccountRecord {
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
            id: AccountId::ROOT,
            parent: None,
            dna: Dna::root().as_str().to_owned(),
            name: user.name.clone(),
            email: user.email.clone(),
            alias: user.name.clone(),
            billing_email: String::new(),
            qr_code: String::new(),
            partial_key: String::new(),
            public_key: String::new(),
            level: Level::ZERO,
            // One, so that a level in `SWITCH_OVER` takes over without further settings.
            gear: 1,
            role: 0,
            tier: 0,
            rates: Multiplier::ONE,
            factor: Multiplier::ONE,
            cards: Vec::new(),
            balance: Money::ZERO,
            credit_granted: Money::ZERO,
            credit_used: Money::ZERO,
            requests: 0,
            hard_limit: None,
            soft_limit: None,
            auto_quota: Money::ZERO,
            limits: RateLimits::WIDE,
            model_limits: ModelLimits::default(),
            calls_max: None,
            access: AccessLists::ANY,
            routing: RoutingRules::default(),
            children: 0,
            child_limit: CHILD_LIMIT,
            enabled: true,
            suspended: false,
            addresses: by_root(now),
            created: now,
            updated: now,
        },
    }
}

/// Adds keys that the store has never had; a key that was deleted does not come back.
async fn seed_keys(tx: &Tx, vault: &Vault, config: &Config, now: Millis) -> Result<(), Error> {
    let keys = config.init_keys()?;
    if keys.is_empty() {
        return Ok(());
    }
    let settings = EffectiveSettings::read(tx, config).await?;
    let base = settings.get(&setting::XAI_BASE)?;
    let mut revision = None;
    for key in keys {
        let mut record = sealed(
            vault,
            &key.secret,
            key.provider.as_ref().unwrap_or(&base),
            now,
        )?;
        if store::keys::knows(tx, &record.fingerprint, &record.key.provider, true)
            .await?
            .is_some()
        {
            continue;
        }
        if revision.is_none() {
            revision = Some(store::revisions::bump(tx).await?.0);
        }
        record.revision = revision.unwrap_or_default();
        store::keys::insert(tx, &record).await?;
    }
    Ok(())
}
