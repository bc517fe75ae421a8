//! Upstream keys: requests to create or change them, and what is shown of them.

use proxyxai_contract::{
    Invalid,
    clock::Millis,
    id::{KeyId, Level},
    secret::Secret,
    snapshot::{HealthState, KeyConfig},
};

/// An upstream key to be added.
#[derive(Debug)]
pub struct NewUpstreamKey {
    /// At least 20 characters.
    pub secret: Secret,
    /// Free text.
    pub name: String,
    /// Base URL; none means the setting `XAI_BASE`.
    pub provider: Option<String>,
    /// Pool.
    pub level: Level,
    /// False keeps it out of rotation.
    pub enabled: bool,
    /// Dialect.
    pub config: KeyConfig,
}

/// Changes of an upstream key. `None` leaves a field as it is.
#[derive(Debug, Default)]
pub struct UpstreamKeyChange {
    /// A new secret; it also makes the key ready again.
    pub secret: Option<Secret>,
    /// New name.
    pub name: Option<String>,
    /// New base URL.
    pub provider: Option<String>,
    /// New pool.
    pub level: Option<Level>,
    /// In or out of rotation.
    pub enabled: Option<bool>,
    /// New dialect.
    pub config: Option<KeyConfig>,
}

/// The keys to list.
#[derive(Debug, Default)]
pub struct UpstreamKeyFilter {
    /// Only this id.
    pub id: Option<KeyId>,
    /// Only this level.
    pub level: Option<Level>,
    /// Only this provider: a base URL or a host name.
    pub provider: Option<String>,
    /// Only keys whose name, or one of whose models, begins like this in any case, and the one with this id.
    pub search: Option<String>,
    /// Only those in this state.
    pub state: Option<KeyState>,
}

/// The state of a key in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// In rotation.
    Ready,
    /// Out of rotation until its cool-down ends.
    Asleep,
    /// Refused by its provider; checked again later.
    Quarantined,
    /// Refused for too long; an operator has to look.
    Disabled,
    /// Taken out of rotation by an operator.
    Off,
}

impl KeyState {
    /// All states with their text forms.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("ready", Self::Ready),
        ("asleep", Self::Asleep),
        ("quarantined", Self::Quarantined),
        ("disabled", Self::Disabled),
        ("off", Self::Off),
    ];

    /// Reads the text form.
    ///
    /// # Errors
    /// Errors if it is not a state.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        let known = || Self::NAMES.map(|(name, _)| name).join(", ");
        found
            .map(|(_, state)| *state)
            .ok_or_else(|| Invalid::new("state", format!("must be one of {}", known())))
    }

    /// The state of a key.
    pub fn of(view: &UpstreamKey) -> Self {
        match view.health {
            _ if !view.enabled => Self::Off,
            HealthState::Ready => Self::Ready,
            HealthState::Sleeping { .. } => Self::Asleep,
            HealthState::Quarantined { .. } => Self::Quarantined,
            HealthState::Disabled => Self::Disabled,
        }
    }
}

/// An upstream key as it may be shown.
#[derive(Debug, Clone)]
pub struct UpstreamKey {
    /// Its id.
    pub id: KeyId,
    /// Free text.
    pub name: String,
    /// Base URL.
    pub provider: String,
    /// Pool.
    pub level: Level,
    /// False keeps it out of rotation whatever its health.
    pub enabled: bool,
    /// Dialect.
    pub config: KeyConfig,
    /// Last four characters of the secret.
    pub secret_hint: String,
    /// The worst health that data planes reported for the key as a whole.
    pub health: HealthState,
    /// Why it is not ready.
    pub health_reason: String,
    /// When it was added.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// The result of a key check.
#[derive(Debug)]
pub struct ProbeResult {
    /// Whether the provider accepted the key.
    pub accepted: bool,
    /// HTTP status; 0 if the provider could not be reached.
    pub status: u16,
    /// A short description without secrets.
    pub detail: String,
    /// From sending the request to the end of the response.
    pub duration_ms: u64,
}
