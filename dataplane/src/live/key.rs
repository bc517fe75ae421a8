//! An upstream key ready for use: its header values are built once, and its health moves.

use std::sync::Arc;

use http::HeaderValue;
use proxyxai_contract::snapshot::UpstreamKey;

use super::{health::KeyHealth, load::Load, pool::Ask};
use crate::formats::mask::Mask;

/// A key with what every attempt needs of it.
#[derive(Debug)]
pub(crate) struct KeyState {
    pub(crate) key: UpstreamKey,
    pub(crate) health: Arc<KeyHealth>,
    pub(crate) load: Arc<Load>,
    /// `Bearer SECRET`.
    pub(crate) bearer: HeaderValue,
    /// The secret alone.
    pub(crate) bare: HeaderValue,
    /// Finds it in what the provider says.
    pub(crate) mask: Mask,
    /// `Host` of its provider.
    pub(crate) host: HeaderValue,
}

impl KeyState {
    /// None for a secret that cannot be a header value, which control does not let in.
    pub(crate) fn new(
        key: UpstreamKey,
        (health, load): (Arc<KeyHealth>, Arc<Load>),
    ) -> Option<Self> {
        let secret = key.secret.expose();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {secret}")).ok()?;
        let mut bare = HeaderValue::from_str(secret).ok()?;
        // Marked so that no layer shows them in debug output.
        bearer.set_sensitive(true);
        bare.set_sensitive(true);
        let mask = Mask::new(secret);
        let host = HeaderValue::from_str(key.provider.authority().as_str()).ok()?;
        Some(Self {
            key,
            health,
            load,
            bearer,
            bare,
            mask,
            host,
        })
    }

    /// Whether a call may ask it now.
    pub(super) fn is_usable(&self, ask: &Ask<'_>) -> bool {
        let wanted = ask.only.is_none_or(|only| only == self.key.id);
        wanted && !ask.tried.contains(&self.key.id) && self.health.is_usable(ask.want, ask.now)
    }
}
