//! Settings that may change while the gateway runs. Secret ones are stored sealed, and no response shows them.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxyxai_contract::{Invalid, client_key::ClientKey, money::Money, secret::Secret};
use serde_json::json;

use crate::{
    Control, Error,
    domain::{
        audit::{AuditAction, AuditField, AuditFields, MASK},
        setting::{self, SealedSecret, Setting},
    },
    model::Caller,
    ops::{self, audit},
    publish::EffectiveSettings,
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
        for (_, rules) in OVERRIDES.iter().filter(|(name, _)| set.contains_key(*name)) {
            store::accounts::clear_own(&tx, *rules, revision).await?;
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
    if set.contains_key(setting::PRICING.name)
        || reset.iter().any(|name| name == setting::PRICING.name)
    {
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
    let bad_names = reset
        .iter()
        .filter(|name| setting::find(name).is_none())
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
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    Ok(BalanceMinimums {
        call: settings.get(&setting::CALL_MIN_BALANCE)?,
        opening: settings.get(&setting::USER_MIN_BALANCE)?,
        managing: settings.get(&setting::USER_API_BALANCE)?,
    })
}

/// Settings that accounts may override.
const OVERRIDES: [(&str, AccountOverride); 6] = [
    (setting::MODEL_MAPPER.name, AccountOverride::ModelMapper),
    (setting::LEVEL_MAPPER.name, AccountOverride::LevelMapper),
    (setting::SWITCH_OVER.name, AccountOverride::SwitchOver),
    (setting::MODEL_FAILOVER.name, AccountOverride::ModelFailover),
    (setting::MODEL_LIMITS.name, AccountOverride::ModelLimits),
    (setting::RESOURCES.name, AccountOverride::Resources),
];

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

/// The value of one setting in effect.
pub(super) async fn value<T>(
    control: &Control,
    db: &impl Db,
    setting: &Setting<T>,
) -> Result<T, Error> {
    let settings = EffectiveSettings::read(db, control.config()).await?;
    settings.get(setting).map_err(Error::from)
}

/// The value of a secret setting. Returns `None` if it is empty.
pub(crate) async fn secret(
    control: &Control,
    setting: &Setting<SealedSecret>,
) -> Result<Option<Secret>, Error> {
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    let clear = match settings.stored(setting) {
        Some(sealed) if sealed.trim().is_empty() => return Ok(None),
        Some(sealed) => {
            let sealed = BASE64_STANDARD.decode(sealed).map_err(Error::internal)?;
            control.vault().open_sealed(setting.name, &sealed)?
        }
        None => Secret::new(control.config().setting_default(setting)),
    };
    Ok(Some(clear).filter(|clear| !clear.expose().is_empty()))
}

fn is_secret(name: &str) -> bool {
    setting::find(name).is_some_and(Setting::is_secret)
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

/// Those settings in effect, as the audit log shows them.
async fn fields(control: &Control, db: &impl Db, names: &[String]) -> Result<AuditFields, Error> {
    let settings = EffectiveSettings::read(db, control.config()).await?;
    let field = |setting: &Setting<()>| {
        let value = settings.text(setting);
        if setting.is_secret() {
            AuditField::Secret(value.as_bytes().to_vec())
        } else {
            AuditField::Open(json!(value))
        }
    };
    let changed = names.iter().filter_map(|name| setting::find(name));
    Ok(changed
        .map(|setting| (setting.name.to_owned(), field(setting)))
        .collect())
}

async fn in_effect(control: &Control) -> Result<BTreeMap<String, String>, Error> {
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    let shown = |setting: &Setting<()>| match settings.text(setting) {
        value if setting.is_secret() && !value.is_empty() => MASK.to_owned(),
        value => value.to_owned(),
    };
    Ok(setting::ALL
        .iter()
        .map(|setting| (setting.name.to_owned(), shown(setting)))
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
