//! Chooses the master key of a start, and keeps the sealed copies of a generated one in the database, so that root's
//! client key alone restores a database. A key from `MASTER_KEY` is never copied.

use std::path::Path;

use proxyxai_contract::{
    Invalid, client_key::ClientKey, clock::Millis, id::AccountId, secret::Secret,
};

use crate::{
    Control, Error,
    config::Config,
    ops::root_key,
    store::{
        self, Tx,
        master_copies::{MasterCopy, Slot},
    },
    vault::{self, SecretFile, Vault, copies},
};

const MASTER_KEY_FILE: &str = "master.key";
/// Why a file `master.key` is not the expected one.
const UNUSABLE: &str = "holds no usable key";
const OF_ANOTHER: &str = "is of another database";

/// Opens the vault with the first that exists: `MASTER_KEY`, `DATA_DIR/master.key`, a copy in the database that a known
/// root key opens, a new key. Errors if the database was made with another key. Called under the start lock.
pub(super) async fn open(tx: &Tx, config: &Config) -> Result<Vault, Error> {
    let path = config.data_dir.join(MASTER_KEY_FILE);
    let sentinel = store::revisions::sentinel(tx).await?;
    let vault = match (&config.master_key, &sentinel) {
        (Some(given), _) => Vault::new(given)?,
        (None, Some(sentinel)) => return reopened(tx, config, &path, sentinel).await,
        // The file is written before the commit. If the commit fails, its key is as good as a new one.
        (None, None) => Vault::of_generated(vault::kept_secret(&path)?)?,
    };
    match sentinel {
        Some(sealed) => vault.check_sentinel(&sealed)?,
        None => store::revisions::set_sentinel(tx, vault.sentinel()?).await?,
    }
    Ok(vault)
}

/// The generated key of an existing database.
async fn reopened(tx: &Tx, config: &Config, path: &Path, sentinel: &[u8]) -> Result<Vault, Error> {
    let fitting = |text: Secret| {
        let vault = Vault::of_generated(text).ok()?;
        vault.check_sentinel(sentinel).ok().map(|()| vault)
    };
    let misfit = match vault::inspect_secret_file(path)? {
        SecretFile::Nothing => None,
        SecretFile::Unusable => Some(UNUSABLE),
        SecretFile::Secret(kept) => match fitting(kept) {
            Some(vault) => return Ok(vault),
            None => Some(OF_ANOTHER),
        },
    };
    let stored = store::master_copies::all(tx).await?;
    for root_key in known_root_keys(config) {
        for copy in &stored {
            let Some(master) = opened(&root_key, copy).await? else {
                continue;
            };
            let Some(vault) = fitting(master.clone()) else {
                continue;
            };
            if let Some(problem) = misfit {
                // It may be all that opens some other database, so it is not overwritten.
                tracing::warn!(
                    path = %path.display(),
                    "this file {problem} and was left alone; the key came from the copy in this database: move the file away"
                );
            } else {
                vault::write_secret(path, &master)?;
                tracing::info!(path = %path.display(), "the master key was opened with root's key and written");
            }
            return Ok(vault);
        }
    }
    Err(nothing_opens(misfit, !stored.is_empty()).into())
}

/// The error that says what is missing, and each way to provide it.
fn nothing_opens(misfit: Option<&str>, has_copies: bool) -> Invalid {
    let file = misfit.map_or_else(
        || "is not there".to_owned(),
        |problem| format!("{problem} (move it away)"),
    );
    let copies = if has_copies {
        "no root key given here opens the copies that this database holds of it. Bring back that file, or set MASTER_KEY to what it held, or name in INIT_USERS or ROOT_KEY a root key that this database knew"
    } else {
        "this database holds no copies of it. Bring back that file, or set MASTER_KEY to what it held or to the key this database was made with"
    };
    Invalid::new(
        "MASTER_KEY",
        format!("is not given, {MASTER_KEY_FILE} in DATA_DIR {file}, and {copies}"),
    )
}

/// Updates the copies: one under the root key of `INIT_USERS`, which the next start will have again, and one under
/// root's current key if its plain text is known. Called under the start lock, once root exists.
pub(super) async fn keep_copies(
    tx: &Tx,
    vault: &Vault,
    config: &Config,
    now: Millis,
) -> Result<(), Error> {
    // The lock keeps this from undoing a rotation in another process.
    let locked = store::accounts::lock(tx, [AccountId::ROOT], now).await?;
    let current = locked.get(&AccountId::ROOT).and_then(|root| root.key_hash);
    let mut stored = store::master_copies::all(tx).await?;
    let Some(master) = vault.generated() else {
        // Operators who set `MASTER_KEY` rely on the database not holding it.
        if !stored.is_empty() {
            store::master_copies::remove_all(tx).await?;
            tracing::info!("MASTER_KEY is given: the copies of it in the database were removed");
        }
        return Ok(());
    };
    let hash = |key: &Secret| vault.hasher().hash(key.expose());
    let root_key = known_root_keys(config)
        .into_iter()
        .find(|key| Some(hash(key)) == current);
    let wanted = [
        (Slot::InitUsers, config.init_root_key()),
        (Slot::Root, root_key),
    ];
    for (slot, key) in wanted {
        let Some(key) = key else { continue };
        let key_hash = hash(&key);
        let fits = |copy: &&MasterCopy| copy.key_hash == key_hash.0;
        if stored
            .iter()
            .filter(fits)
            .any(|copy| copy.slot == Some(slot))
        {
            continue;
        }
        let sealed = match stored.iter().find(fits) {
            Some(copy) => copy.sealed.clone(),
            None => sealed(&key, master).await?,
        };
        store::master_copies::put(tx, slot, key_hash, sealed.clone()).await?;
        stored.push(MasterCopy {
            slot: Some(slot),
            key_hash: key_hash.0.to_vec(),
            sealed,
        });
    }
    Ok(())
}

/// Root has a new key: the copy under its old one is replaced. The one under the key of `INIT_USERS` stays until
/// another is set there, since it may be all that the next start has.
pub(super) async fn follow_root(control: &Control, tx: &Tx, key: &ClientKey) -> Result<(), Error> {
    let vault = control.vault();
    let Some(master) = vault.generated() else {
        return store::master_copies::remove(tx, Slot::Root).await;
    };
    let key_hash = vault.hasher().hash(key.expose());
    let sealed = sealed(&Secret::new(key.expose()), master).await?;
    store::master_copies::put(tx, Slot::Root, key_hash, sealed).await?;
    let stored = store::master_copies::all(tx).await?;
    let others = |copy: &MasterCopy| copy.key_hash != key_hash.0;
    if stored.iter().any(others) {
        tracing::info!(
            "the root key of INIT_USERS still opens a copy of the master key: put the new one there and restart, to replace that copy"
        );
    }
    Ok(())
}

/// Root's keys that this start was given or finds, each once.
fn known_root_keys(config: &Config) -> Vec<Secret> {
    let given = [
        config.init_root_key(),
        config.root_key.clone(),
        root_key::kept(config),
    ];
    let mut keys = Vec::new();
    for key in given.into_iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Seals on a blocking thread: it takes as long as some hundred calls.
async fn sealed(root_key: &Secret, master: &Secret) -> Result<Vec<u8>, Error> {
    let (root_key, master) = (root_key.clone(), master.clone());
    let work = tokio::task::spawn_blocking(move || copies::seal(&root_key, &master));
    work.await.map_err(Error::internal)?
}

/// Opens a copy on a blocking thread. Returns `None` if this key does not open it.
async fn opened(root_key: &Secret, copy: &MasterCopy) -> Result<Option<Secret>, Error> {
    let (root_key, sealed) = (root_key.clone(), copy.sealed.clone());
    let work = tokio::task::spawn_blocking(move || copies::open(&root_key, &sealed).ok());
    work.await.map_err(Error::internal)
}
