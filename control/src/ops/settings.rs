//! Settings that may change while the gateway runs.

use std::collections::BTreeMap;

use proxyxai_contract::{Invalid, client_key::ClientKey, money::Money};

use crate::{
    Control, Error,
    domain::setting,
    ops, publish,
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
    set: BTreeMap<String, String>,
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
    let tx = control.store().begin().await?;
    let revision = store::revisions::bump(&tx).await?;
    store::settings::drop_names(&tx, &reset).await?;
    store::settings::set(&tx, &set, revision).await?;
    if set.contains_key(setting::PRICING) || reset.iter().any(|name| name == setting::PRICING) {
        ops::prices::renew(&tx, control.config(), Some(caller.account), control.now()).await?;
    }
    tx.commit().await?;
    let names: Vec<_> = set.keys().chain(&reset).collect();
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

async fn in_effect(control: &Control) -> Result<BTreeMap<String, String>, Error> {
    let stored = store::settings::all(control.store()).await?;
    let value = |name: &str| publish::effective(stored.get(name), name, control.config());
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
