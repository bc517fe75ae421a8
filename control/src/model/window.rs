//! Use of accounts' windows.

use proxyxai_contract::{clock::Millis, window::WindowKey};

/// An open window of which something was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowUsage {
    /// The account, which of the six windows, the limit by model, and the start.
    pub key: WindowKey,
    /// Name of the account.
    pub name: String,
    /// Name of the client key; empty for the account's own window.
    pub client_key: String,
    /// Units of the whole window.
    pub limit: u64,
    /// Units that data planes took: what calls used, and some taken ahead of calls.
    pub taken: u64,
    /// When the window resets.
    pub resets: Millis,
}
