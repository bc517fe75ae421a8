//! Settings in effect: what is stored, else the environment's default, else the built-in one.

use std::collections::BTreeMap;

use proxyxai_contract::Invalid;

use super::log_setting;
use crate::{
    Error,
    config::Config,
    domain::setting::Setting,
    store::{self, Db},
};

/// The settings in effect, read once.
pub(crate) struct EffectiveSettings<'a> {
    stored: BTreeMap<String, String>,
    config: &'a Config,
}

// === impl EffectiveSettings ===

impl<'a> EffectiveSettings<'a> {
    /// Reads what is stored.
    pub(crate) async fn read(db: &impl Db, config: &'a Config) -> Result<Self, Error> {
        Ok(Self {
            stored: store::settings::all(db).await?,
            config,
        })
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// Errors if the default is invalid, which a start refuses.
    pub(crate) fn get<T>(&self, setting: &Setting<T>) -> Result<T, Invalid> {
        match self.valid(setting) {
            Some((_, value)) => Ok(value),
            None => setting.parse(self.config.setting_default(setting)),
        }
    }

    /// The text of a setting.
    pub(crate) fn text<T>(&self, setting: &Setting<T>) -> &str {
        match self.valid(setting) {
            Some((text, _)) => text,
            None => self.config.setting_default(setting),
        }
    }

    /// What is stored, without looking whether it is valid: the text of a secret is sealed.
    pub(crate) fn stored<T>(&self, setting: &Setting<T>) -> Option<&str> {
        self.stored.get(setting.name).map(String::as_str)
    }

    /// What is stored. An invalid value must not keep the program from starting, so it is ignored.
    fn valid<T>(&self, setting: &Setting<T>) -> Option<(&str, T)> {
        let text = self.stored(setting)?;
        let value = setting.parse(text).inspect_err(log_setting).ok()?;
        Some((text, value))
    }
}
