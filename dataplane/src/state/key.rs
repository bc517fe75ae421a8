//! An upstream key ready for use: its header values are built once, and its health is kept over configuration changes.

use std::sync::Arc;

use http::HeaderValue;
use proxyxai_contract::{provider::ProviderType, snapshot::UpstreamKey};

use super::{health::KeyHealth, listed_models::ListedModels, load::Load, pool::PickQuery};
use crate::formats::secret_mask::SecretMask;

/// Hosts whose dialect is known regardless of the key's configuration.
const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";

/// The dialect that a call needs a key for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DialectNeed {
    /// Any: its model already leads to keys with the right dialect.
    #[default]
    Any,
    /// A key that does not speak only Anthropic.
    OpenAi,
    /// A key that surely speaks Anthropic.
    Anthropic,
    /// A key that may speak Anthropic: another node, or a provider with both dialects.
    PerhapsAnthropic,
}

/// An upstream key with what every attempt needs of it.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) key: UpstreamKey,
    pub(crate) health: Arc<KeyHealth>,
    pub(crate) load: Arc<Load>,
    pub(crate) offer: Arc<ListedModels>,
    /// `Bearer SECRET`.
    pub(crate) bearer: HeaderValue,
    /// The secret alone.
    pub(crate) bare: HeaderValue,
    /// Finds the secret in what the provider sends.
    pub(crate) mask: SecretMask,
    /// `Host` of its provider.
    pub(crate) host: HeaderValue,
}

/// The parts of a key that survive a change of the configuration.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) health: Arc<KeyHealth>,
    pub(super) load: Arc<Load>,
    pub(super) offer: Arc<ListedModels>,
}

impl KeyState {
    /// Returns `None` if the secret is not a valid header value, which control does not accept.
    pub(super) fn new(
        key: UpstreamKey,
        Lasting {
            health,
            load,
            offer,
        }: Lasting,
    ) -> Option<Self> {
        let secret = key.secret.expose();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        let mut bare = HeaderValue::from_str(secret).ok()?;
        // Marked sensitive, so that debug output does not show them.
        bearer.set_sensitive(true);
        bare.set_sensitive(true);
        let mask = SecretMask::new(secret);
        let host = HeaderValue::from_str(key.provider.authority().as_str()).ok()?;
        Some(Self {
            key,
            health,
            load,
            offer,
            bearer,
            bare,
            mask,
            host,
        })
    }

    /// Whether a call may ask it now.
    pub(super) fn is_usable(&self, ask: &PickQuery<'_>) -> bool {
        let wanted = ask.only.is_none_or(|only| only == self.key.id);
        wanted
            && self.serves(ask.query.dialect_need, ask.query.model)
            && !ask.tried.contains(&self.key.id)
            && self.health.is_usable(ask.query, ask.now)
    }

    /// Whether the key serves such a call: it has the model, and its provider speaks the dialect.
    pub(crate) fn serves(&self, dialect: DialectNeed, model: &str) -> bool {
        self.speaks(dialect) && self.key.config.serves(model)
    }

    /// Whether its provider speaks this dialect.
    pub(crate) fn speaks(&self, dialect: DialectNeed) -> bool {
        let host = || self.key.provider.host();
        let anthropic = match (self.key.config.provider_type, dialect) {
            (_, DialectNeed::Any) => return true,
            (ProviderType::Anthropic, _) => true,
            (ProviderType::Azure, _) => false,
            (ProviderType::Standard, _) => host() == ANTHROPIC,
        };
        match dialect {
            DialectNeed::Any => true,
            DialectNeed::OpenAi => !anthropic,
            DialectNeed::Anthropic => anthropic,
            DialectNeed::PerhapsAnthropic => {
                anthropic
                    || (self.key.config.provider_type == ProviderType::Standard && host() != OPENAI)
            }
        }
    }
}
