//! An upstream key ready for use: its header values are built once, and its health moves.

use std::sync::Arc;

use http::HeaderValue;
use proxyxai_contract::{clock::Millis, id::KeyId, snapshot::UpstreamKey};

use super::health::KeyHealth;

/// A key with what every attempt needs of it.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) key: UpstreamKey,
    pub(crate) health: Arc<KeyHealth>,
    /// `Bearer SECRET`.
    pub(crate) bearer: HeaderValue,
    /// The secret alone.
    pub(crate) bare: HeaderValue,
    /// `Host` of its provider.
    pub(crate) host: HeaderValue,
}

impl KeyState {
    /// None for a secret that cannot be a header value, which control does not let in.
    pub(crate) fn new(key: UpstreamKey, health: Arc<KeyHealth>) -> Option<Self> {
        let secret = key.secret.expose();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        let mut bare = HeaderValue::from_str(secret).ok()?;
        // Marked so that no layer shows them in debug output.
        bearer.set_sensitive(true);
        bare.set_sensitive(true);
        let host = HeaderValue::from_str(key.provider.authority().as_str()).ok()?;
        Some(Self {
            key,
            health,
            bearer,
            bare,
            host,
        })
    }

    /// Whether a call that tried those keys already may ask it for this model now.
    pub(crate) fn is_usable(&self, model: &str, now: Millis, tried: &[KeyId]) -> bool {
        !tried.contains(&self.key.id) && self.health.is_usable(model, now)
    }
}
