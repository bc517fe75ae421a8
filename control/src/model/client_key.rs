//! Client keys that an account has beside its first one.

use proxyxai_contract::{
    access::ModelList,
    clock::Millis,
    id::{AccountId, ClientKeyId},
    money::Money,
};

/// A further client key. Its secret is shown when it is made, and never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKeyInfo {
    /// Its id.
    pub id: ClientKeyId,
    /// Whose it is.
    pub account: AccountId,
    /// Unique among the account's keys, in any case.
    pub name: String,
    /// The last characters of the secret.
    pub partial_key: String,
    /// False refuses it.
    pub enabled: bool,
    /// From when on it is refused; none means never.
    pub expires: Option<Millis>,
    /// What its calls may cost in all; none means as much as the account may.
    pub credit_limit: Option<Money>,
    /// Requests per minute; none means as many as the account may.
    pub rpm: Option<u64>,
    /// Models that may be asked for with it.
    pub models: ModelList,
    /// What its calls have cost, in the account's units.
    pub credit_used: Money,
    /// Answered calls.
    pub requests: u64,
    /// When its latest call began, as far as that is posted.
    pub used: Option<Millis>,
    /// When it was made.
    pub created: Millis,
    /// When it was last changed.
    pub updated: Millis,
}

/// A further client key that is to be.
#[derive(Debug, Clone, Default)]
pub struct NewClientKey {
    /// Its name.
    pub name: String,
    /// What else is not as usual.
    pub change: ClientKeyChange,
}

/// What is to change of a further client key; none leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct ClientKeyChange {
    /// Another name.
    pub name: Option<String>,
    /// Whether it counts.
    pub enabled: Option<bool>,
    /// Until when.
    pub expires: Option<Expiry>,
    /// 0 takes the limit away.
    pub credit_limit: Option<Money>,
    /// 0 takes the limit away.
    pub rpm: Option<u64>,
    /// Models in the grammar of an account's access lists.
    pub allow_models: Option<String>,
}

/// When a key comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// At this moment.
    At(Millis),
    /// So many millionths of a day from now.
    In(i64),
}
