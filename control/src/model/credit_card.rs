//! Prepaid credit of an account.

use proxyxai_contract::{clock::Millis, money::Money};

/// Credit with an expiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Face value.
    pub amount: Money,
    /// The credit left on it.
    pub balance: Money,
    /// A note; may be empty.
    pub reference: String,
    /// When it was granted.
    pub granted: Millis,
    /// The first moment at which it has expired.
    pub expires: Millis,
}
