//! `DATA_DIR/root.key`, where a first start keeps the root key that it made: kept true when that key is replaced
//! here, and told apart from the key of an earlier day where another control plane replaced it.

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
    /// What the file `root.key` in `DATA_DIR` is good for now.
    ///
    /// # Errors
    /// When the database cannot be read.
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

/// Keeps a root key that was made for a new database. The file is written before the commit: a key that is stored
/// but shown nowhere would be lost.
pub(super) fn keep(config: &Config, key: &ClientKey) -> Result<(), Error> {
    let path = config.data_dir.join(ROOT_KEY_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::internal(error)),
        _ => {}
    }
    vault::write_secret(&path, &Secret::new(key.expose()))
}

/// The key in the file. One that cannot be read helps nobody, and is not what stops a start.
pub(super) fn kept(config: &Config) -> Option<Secret> {
    let kept = vault::read_secret(&config.data_dir.join(ROOT_KEY_FILE));
    kept.ok().flatten()
}

/// Puts root's new key into the file, if its former one is there. Called after the commit, since until then it is
/// the former one that counts; whoever asked for the new one is told it in any case. A file with any other key is
/// somebody's own, or that of a control plane which did not hear of a rotation: the start tells.
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
