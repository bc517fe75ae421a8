//! Settings that may change while the gateway runs.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxyxai_contract::{Invalid, client_key::ClientKey, money::Money, secret::Secret};
use serde_json::json;

use crate::{
    Control, Error,
    domain::{
        audit::{Action, Field, Fields, MASK},
        setting,
    },
    ops::{self, audit},
    publish,
    store::{self, Db},
    view::Caller,
};

const ROOT_ONLY: &str = "only root may see and change the settings";

/// All settings in effect.
pub(crate) async fn get(
    control: &Control,
    caller: &Caller,
) -> Result<BTreeMap<String, String>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    in_effect(control).await
}

/// Stores some, drops others back to their defaults; all or nothing.
pub(crate) async fn update(
    control: &Control,
    caller: &Caller,
    mut set: BTreeMap<String, String>,
    reset: Vec<String>,
) -> Result<BTreeMap<String, String>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    let bad_values = set
        .iter()
        .filter_map(|(name, value)| setting::check(name, value).err());
    let known = |name: &String| setting::ALL.iter().any(|(known, _)| known == name);
    let bad_names = reset
        .iter()
        .filter(|name| !known(name))
        .map(|name| Invalid::new(name, "is no setting"));
    all_problems(&bad_values.chain(bad_names).collect::<Vec<_>>())?;
    // Whoever sends back what was shown means no change.
    set.retain(|name, value| !(is_secret(name) && value.trim() == MASK));
    let names: Vec<_> = set.keys().chain(&reset).cloned().collect();
    let tx = control.store().begin().await?;
    let before = fields(control, &tx, &names).await?;
    let revision = store::revisions::bump(&tx).await?;
    store::settings::drop_names(&tx, &reset).await?;
    seal(control, &mut set)?;
    store::settings::set(&tx, &set, revision).await?;
    let action = if set.is_empty() && !reset.is_empty() {
        Action::DeleteConfig
    } else {
        Action::UpdateConfig
    };
    let sides = (before, fields(control, &tx, &names).await?);
    let what = (action, audit::Target::CONFIG);
    audit::record(control, &tx, caller, what, sides).await?;
    tx.commit().await?;
    tracing::info!(settings = ?names, revision = revision.0, "settings changed");
    ops::published(control).await;
    in_effect(control).await
}

/// A fresh client key that belongs to nobody.
pub(crate) fn generate_client_key() -> Result<ClientKey, Error> {
    ClientKey::generate().map_err(Error::internal)
}

/// One setting in effect.
pub(super) async fn value(control: &Control, db: &impl Db, name: &str) -> Result<String, Error> {
    let stored = store::settings::all(db).await?;
    Ok(publish::effective(stored.get(name), name, control.config()))
}

/// One setting in effect that is an amount.
pub(super) async fn dollars(control: &Control, db: &impl Db, name: &str) -> Result<Money, Error> {
    let text = value(control, db, name).await?;
    setting::dollars(&text).map_err(|error| error.under(name).into())
}

/// A setting in effect that is a secret; none when it is empty.
pub(crate) async fn secret(control: &Control, name: &str) -> Result<Option<Secret>, Error> {
    let stored = store::settings::all(control.store()).await?;
    let clear = match stored.get(name) {
        Some(sealed) => {
            let sealed = BASE64_STANDARD.decode(sealed).map_err(Error::internal)?;
            control.vault().open_sealed(name, &sealed)?
        }
        None => Secret::new(control.config().setting_default(name)),
    };
    Ok(Some(clear).filter(|clear| !clear.expose().is_empty()))
}

fn is_secret(name: &str) -> bool {
    setting::SECRETS.contains(&name)
}

/// Secrets are stored as only the master key opens them, each for its own name.
fn seal(control: &Control, set: &mut BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in set.iter_mut().filter(|(name, _)| is_secret(name)) {
        if value.len() > setting::SECRET_BYTES_MAX {
            let problem = format!("must be at most {} bytes", setting::SECRET_BYTES_MAX);
            return Err(Invalid::new(name, problem).into());
        }
        let sealed = control.vault().seal(name, &Secret::new(value.trim()))?;
        *value = BASE64_STANDARD.encode(sealed);
    }
    Ok(())
}

/// Settings in effect as the audit log sees them.
async fn fields(control: &Control, db: &impl Db, names: &[String]) -> Result<Fields, Error> {
    let stored = store::settings::all(db).await?;
    let field = |name: &String| {
        let value = publish::effective(stored.get(name), name, control.config());
        if is_secret(name) {
            Field::Secret(value.into_bytes())
        } else {
            Field::Open(json!(value))
        }
    };
    Ok(names
        .iter()
        .map(|name| (name.clone(), field(name)))
        .collect())
}

async fn in_effect(control: &Control) -> Result<BTreeMap<String, String>, Error> {
    let stored = store::settings::all(control.store()).await?;
    let value = |name: &str| {
        let value = publish::effective(stored.get(name), name, control.config());
        if is_secret(name) && !value.is_empty() {
            MASK.to_owned()
        } else {
            value
        }
    };
    Ok(setting::ALL
        .iter()
        .map(|(name, _)| ((*name).to_owned(), value(name)))
        .collect())
}

/// One problem as it is, several as one that names them all.
fn all_problems(problems: &[Invalid]) -> Result<(), Error> {
    match problems {
        [] => Ok(()),
        [only] => Err(only.clone().into()),
        several => {
            let texts: Vec<_> = several.iter().map(ToString::to_string).collect();
            Err(Invalid::new("settings", texts.join("; ")).into())
        }
    }
}
