//! An upstream key ready for use: its header values are built once, and its health moves.

use std::sync::Arc;

use http::HeaderValue;
use proxyxai_contract::{provider::ProviderType, snapshot::UpstreamKey};

use super::{health::KeyHealth, listed_models::ListedModels, load::Load, pool::PickQuery};
use crate::formats::secret_mask::SecretMask;

/// Hosts whose dialect is known whatever the key's configuration says.
const ANTHROPIC: &str = "api.anthropic.com";
const OPENAI: &str = "api.openai.com";

/// The dialect that a call needs a key for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DialectNeed {
    /// Its model leads to keys that have it.
    #[default]
    Any,
    /// One that does not speak Anthropic alone.
    OpenAi,
    /// One that speaks Anthropic for sure.
    Anthropic,
    /// One that nothing is known against: another node, or a provider with both dialects.
    PerhapsAnthropic,
}

/// A key with what every attempt needs of it.
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
    /// Finds it in what the provider says.
    pub(crate) mask: SecretMask,
    /// `Host` of its provider.
    pub(crate) host: HeaderValue,
}

/// What of a key outlives a change of the configuration.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) health: Arc<KeyHealth>,
    pub(super) load: Arc<Load>,
    pub(super) offer: Arc<ListedModels>,
}

impl KeyState {
    /// None for a secret that cannot be a header value, which control does not let in.
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
        // Marked so that no layer shows them in debug output.
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

    /// Whether it is a key for such a call at all: one of its models, in a dialect of its provider.
    pub(crate) fn serves(&self, dialect: DialectNeed, model: &str) -> bool {
        self.speaks(dialect) && self.key.config.serves(model)
    }

    /// Whether its provider may be asked in this dialect.
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
