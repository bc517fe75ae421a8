//! `DATA_DIR/root.key`, where a first start writes the generated root key. A rotation in this process updates the file;
//! after one in another control plane, the start reports the file as outdated.

use std::{fs, io::ErrorKind};

use proxyxai_contract::{
    client_key::{ClientKey, KeyHash},
    id::AccountId,
    secret::Secret,
};

use crate::{
    Control, Error,
    config::Config,
    model::RootKeyFile,
    store,
    vault::{self, SecretFile},
};

const ROOT_KEY_FILE: &str = "root.key";

impl Control {
    /// Whether the file `root.key` in `DATA_DIR` has root's current key.
    ///
    /// # Errors
    /// Errors if the database cannot be read.
    pub async fn root_key_file(&self) -> Result<RootKeyFile, Error> {
        let kept = match vault::inspect_secret_file(&self.config().data_dir.join(ROOT_KEY_FILE)) {
            Ok(SecretFile::Secret(kept)) => kept,
            Ok(SecretFile::Nothing) => return Ok(RootKeyFile::Missing),
            Ok(SecretFile::Unusable) | Err(_) => return Ok(RootKeyFile::Outdated),
        };
        let root = store::accounts::get(self.store(), AccountId::ROOT, self.now()).await?;
        let current = root.and_then(|root| root.key_hash);
        let is_current = current == Some(self.vault().hasher().hash(kept.expose()));
        Ok(if is_current {
            RootKeyFile::Current
        } else {
            RootKeyFile::Outdated
        })
    }
}

/// Writes a root key that was generated for a new database. The file is written before the commit: a key that is stored
/// but shown nowhere would be lost.
pub(super) fn keep(config: &Config, key: &ClientKey) -> Result<(), Error> {
    let path = config.data_dir.join(ROOT_KEY_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::internal(error)),
        _ => {}
    }
    vault::write_secret(&path, &Secret::new(key.expose()))
}

/// The key in the file. A file that cannot be read is ignored and does not stop a start.
pub(super) fn kept(config: &Config) -> Option<Secret> {
    let kept = vault::read_secret(&config.data_dir.join(ROOT_KEY_FILE));
    kept.ok().flatten()
}

/// Writes root's new key into the file, if its former one is there. Called after the commit, since the former key
/// counts until then.
/// A file with any other key may be an operator's own, or outdated by another control plane: the start reports it.
pub(super) fn replace(control: &Control, former: Option<KeyHash>, key: &ClientKey) {
    let path = control.config().data_dir.join(ROOT_KEY_FILE);
    let hash = |kept: &Secret| control.vault().hasher().hash(kept.expose());
    let holds_former = kept(control.config())
        .is_some_and(|kept| former.is_some_and(|former| former == hash(&kept)));
    if !holds_former {
        return;
    }
    if let Err(error) = vault::replace_secret(&path, &Secret::new(key.expose())) {
        tracing::warn!(%error, "root's key was replaced, and this file still holds the former one");
    }
}
