//! Settings that may change while the gateway runs. Secret ones are stored sealed, and no response shows them.

use std::{collections::BTreeMap, num::NonZeroU32};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxyxai_contract::{Invalid, client_key::ClientKey, money::Money, secret::Secret};
use serde_json::json;

use crate::{
    Control, Error,
    domain::{
        audit::{AuditAction, AuditField, AuditFields, MASK},
        setting,
    },
    model::Caller,
    ops::{self, audit},
    publish,
    store::{self, Db, accounts::AccountOverride},
};

const ROOT_ONLY: &str = "only root may see and change the settings";
const TEXT_BYTES_MAX: usize = 4096;
/// The context that an operator's sealed texts are bound to.
const TEXT_CONTEXT: &str = "text of an operator";

/// All settings in effect; secret ones masked.
pub(crate) async fn get(
    control: &Control,
    caller: &Caller,
) -> Result<BTreeMap<String, String>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    in_effect(control).await
}

/// The scope of a change of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SettingsScope {
    /// The system; accounts keep their overrides.
    System,
    /// Every account: their overrides of the changed settings are removed.
    AllAccounts,
}

/// Stores some settings of the system and resets others to their defaults; all or nothing.
pub(crate) async fn update(
    control: &Control,
    caller: &Caller,
    set: BTreeMap<String, String>,
    reset: Vec<String>,
) -> Result<BTreeMap<String, String>, Error> {
    change(control, caller, set, reset, SettingsScope::System).await
}

/// Stores some settings and resets others to their defaults; all or nothing.
pub(crate) async fn change(
    control: &Control,
    caller: &Caller,
    mut set: BTreeMap<String, String>,
    reset: Vec<String>,
    scope: SettingsScope,
) -> Result<BTreeMap<String, String>, Error> {
    ops::root_only(caller, ROOT_ONLY)?;
    check(&set, &reset)?;
    // A masked value that is sent back means no change.
    set.retain(|name, value| !(is_secret(name) && value.trim() == MASK));
    seal(control, &mut set)?;
    let names: Vec<_> = set.keys().chain(&reset).cloned().collect();
    let tx = control.store().begin().await?;
    let before = fields(control, &tx, &names).await?;
    let revision = store::revisions::bump(&tx).await?;
    store::settings::drop_names(&tx, &reset).await?;
    store::settings::set(&tx, &set, revision).await?;
    if scope == SettingsScope::AllAccounts {
        for rules in set.keys().filter_map(|name| own_rules(name)) {
            store::accounts::clear_own(&tx, rules, revision).await?;
        }
    }
    let action = if set.is_empty() && !reset.is_empty() {
        AuditAction::DeleteConfig
    } else {
        AuditAction::UpdateConfig
    };
    let mut after = fields(control, &tx, &names).await?;
    if scope == SettingsScope::AllAccounts {
        after.insert("Cascade".to_owned(), AuditField::Open(json!(true)));
    }
    let sides = (before, after);
    let what = (action, audit::AuditTarget::CONFIG);
    audit::record(control, &tx, caller, what, sides).await?;
    if set.contains_key(setting::PRICING) || reset.iter().any(|name| name == setting::PRICING) {
        ops::prices::renew(&tx, control.config(), Some(caller.account), control.now()).await?;
    }
    tx.commit().await?;
    tracing::info!(settings = ?names, revision = revision.0, ?scope, "settings changed");
    ops::published(control).await;
    in_effect(control).await
}

fn check(set: &BTreeMap<String, String>, reset: &[String]) -> Result<(), Error> {
    let bad_values = set
        .iter()
        .filter_map(|(name, value)| setting::check(name, value).err());
    let known = |name: &String| setting::ALL.iter().any(|(known, _)| known == name);
    let bad_names = reset
        .iter()
        .filter(|name| !known(name))
        .map(|name| Invalid::new(name, "is no setting"));
    all_problems(&bad_values.chain(bad_names).collect::<Vec<_>>())
}

/// The balance that each action requires.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BalanceMinimums {
    /// A call.
    pub(crate) call: Money,
    /// Creating an account.
    pub(crate) opening: Money,
    /// Managing accounts.
    pub(crate) managing: Money,
}

/// The minimums, which every account may see.
pub(crate) async fn minimums(control: &Control) -> Result<BalanceMinimums, Error> {
    let db = control.store();
    Ok(BalanceMinimums {
        call: dollars(control, db, setting::CALL_MIN_BALANCE).await?,
        opening: dollars(control, db, setting::USER_MIN_BALANCE).await?,
        managing: dollars(control, db, setting::USER_API_BALANCE).await?,
    })
}

/// The accounts' override of a setting, if there is one.
fn own_rules(name: &str) -> Option<AccountOverride> {
    match name {
        setting::MODEL_MAPPER => Some(AccountOverride::ModelMapper),
        setting::LEVEL_MAPPER => Some(AccountOverride::LevelMapper),
        setting::SWITCH_OVER => Some(AccountOverride::SwitchOver),
        setting::MODEL_FAILOVER => Some(AccountOverride::ModelFailover),
        setting::MODEL_LIMITS => Some(AccountOverride::ModelLimits),
        setting::RESOURCES => Some(AccountOverride::Resources),
        _ => None,
    }
}

/// A fresh client key that belongs to no account.
pub(crate) fn generate_client_key() -> Result<ClientKey, Error> {
    ClientKey::generate().map_err(Error::internal)
}

/// Seals a text under the master key.
#[expect(
    clippy::unused_async,
    reason = "the fronts wait for every operation alike"
)]
pub(crate) async fn seal_text(
    control: &Control,
    caller: &Caller,
    text: &Secret,
) -> Result<String, Error> {
    ops::root_only(caller, "only root may seal texts")?;
    if text.expose().is_empty() || text.expose().len() > TEXT_BYTES_MAX {
        let problem = format!("must have 1 to {TEXT_BYTES_MAX} bytes");
        return Err(Invalid::new("text", problem).into());
    }
    control.vault().seal_text(TEXT_CONTEXT, text)
}

/// Opens what `seal_text` made. It opens nothing else, since the context is part of the seal.
#[expect(
    clippy::unused_async,
    reason = "the fronts wait for every operation alike"
)]
pub(crate) async fn open_text(
    control: &Control,
    caller: &Caller,
    sealed: &str,
) -> Result<Secret, Error> {
    ops::root_only(caller, "only root may open sealed texts")?;
    let opened = control.vault().open_text(TEXT_CONTEXT, sealed);
    opened.map_err(|_| Invalid::new("text", "was not sealed by this gateway").into())
}

/// The value of a setting in effect.
pub(super) async fn value(control: &Control, db: &impl Db, name: &str) -> Result<String, Error> {
    let stored = store::settings::all(db).await?;
    Ok(publish::effective(stored.get(name), name, control.config()))
}

/// The value of a setting that is an amount.
pub(super) async fn dollars(control: &Control, db: &impl Db, name: &str) -> Result<Money, Error> {
    let text = value(control, db, name).await?;
    setting::dollars(&text).map_err(|error| error.under(name).into())
}

/// How many administrative requests an account may make a minute. `None` if there is no limit.
pub(super) async fn admin_rate(control: &Control) -> Result<Option<NonZeroU32>, Error> {
    let text = value(control, control.store(), setting::ADMIN_RPM).await?;
    setting::rate(&text).map_err(|error| error.under(setting::ADMIN_RPM).into())
}

/// The value of a setting that is a percentage, as parts of a million.
pub(super) async fn percent(control: &Control, db: &impl Db, name: &str) -> Result<i64, Error> {
    let text = value(control, db, name).await?;
    setting::percent(&text).map_err(|error| error.under(name).into())
}

/// The value of a secret setting. Returns `None` if it is empty.
pub(crate) async fn secret(control: &Control, name: &str) -> Result<Option<Secret>, Error> {
    let stored = store::settings::all(control.store()).await?;
    let clear = match stored.get(name) {
        Some(sealed) if sealed.trim().is_empty() => return Ok(None),
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

/// Seals the secret values under the master key, each for its own name.
fn seal(control: &Control, set: &mut BTreeMap<String, String>) -> Result<(), Error> {
    let given =
        |(name, value): &(&String, &mut String)| is_secret(name) && !value.trim().is_empty();
    for (name, value) in set.iter_mut().filter(given) {
        if value.len() > setting::SECRET_BYTES_MAX {
            let problem = format!("must be at most {} bytes", setting::SECRET_BYTES_MAX);
            return Err(Invalid::new(name, problem).into());
        }
        let sealed = control.vault().seal(name, &Secret::new(value.trim()))?;
        *value = BASE64_STANDARD.encode(sealed);
    }
    Ok(())
}

/// Settings in effect, as the audit log shows them.
async fn fields(control: &Control, db: &impl Db, names: &[String]) -> Result<AuditFields, Error> {
    let stored = store::settings::all(db).await?;
    let field = |name: &String| {
        let value = publish::effective(stored.get(name), name, control.config());
        if is_secret(name) {
            AuditField::Secret(value.into_bytes())
        } else {
            AuditField::Open(json!(value))
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

/// One problem as it is, several as one error that names them all.
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
