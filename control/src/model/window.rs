//! What accounts have used of their windows.

use proxyxai_contract::{clock::Millis, window::WindowKey};

/// A window that is open now and of which something was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowUsage {
    /// Whose, which of the six, for which limit by model, and since when.
    pub key: WindowKey,
    /// Name of the account.
    pub name: String,
    /// Name of the client key that it is of; empty for the account's own window.
    pub client_key: String,
    /// All there is of it.
    pub limit: u64,
    /// What data planes have taken of it: what calls used, and some ahead of calls.
    pub taken: u64,
    /// When all of it is there again.
    pub resets: Millis,
}
