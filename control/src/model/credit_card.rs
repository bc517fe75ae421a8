//! Prepaid credit of an account.

use proxyxai_contract::{clock::Millis, money::Money};

/// A piece of credit with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Face value.
    pub amount: Money,
    /// What is left of it.
    pub balance: Money,
    /// A note; may be empty.
    pub reference: String,
    /// When it was granted.
    pub granted: Millis,
    /// The first moment at which it is worth nothing.
    pub expires: Millis,
}
