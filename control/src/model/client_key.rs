//! The further client keys of an account.

use proxyxai_contract::{
    access::ModelList,
    clock::Millis,
    id::{AccountId, ClientKeyId},
    money::Money,
};

/// A further client key. Its secret is shown only when it is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKeyInfo {
    /// Its id.
    pub id: ClientKeyId,
    /// The account that it belongs to.
    pub account: AccountId,
    /// Unique among the account's keys, in any case.
    pub name: String,
    /// The last characters of the secret.
    pub partial_key: String,
    /// False disables it.
    pub enabled: bool,
    /// The moment from which it is refused; `None` means never.
    pub expires: Option<Millis>,
    /// The most that its calls may cost in total; `None` means as much as the account may spend.
    pub credit_limit: Option<Money>,
    /// Requests per minute; `None` means as many as the account may make.
    pub rpm: Option<u64>,
    /// Models that it may ask for.
    pub models: ModelList,
    /// What its calls have cost, in the account's units.
    pub credit_used: Money,
    /// Answered calls.
    pub requests: u64,
    /// When its latest posted call began.
    pub used: Option<Millis>,
    /// When it was created.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// A further client key to create.
#[derive(Debug, Clone, Default)]
pub struct NewClientKey {
    /// Its name.
    pub name: String,
    /// Everything that differs from the defaults.
    pub change: ClientKeyChange,
}

/// Changes of a further client key. `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ClientKeyChange {
    /// Another name.
    pub name: Option<String>,
    /// Whether it is enabled.
    pub enabled: Option<bool>,
    /// When it expires.
    pub expires: Option<Expiry>,
    /// 0 removes the limit.
    pub credit_limit: Option<Money>,
    /// 0 removes the limit.
    pub rpm: Option<u64>,
    /// Models in the grammar of an account's access lists.
    pub allow_models: Option<String>,
}

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At this moment.
    At(Millis),
    /// This many millionths of a day from now.
    In(i64),
}
