//! The one error of the control plane. Each kind says whose fault it is and what its caller may see.

use proxyxai_contract::{Invalid, money::Money};

/// Why an operation was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No credential, or one that is not known.
    #[error("Unauthorized: the key is missing or not valid")]
    Unauthenticated,
    /// The caller's account is switched off.
    #[error("Unauthorized: account {name} is suspended")]
    Suspended {
        /// Name of the account.
        name: String,
    },
    /// An access list does not allow the address that the call comes from.
    #[error("Unauthorized: the address is not allowed by account {name}")]
    IpNotAllowed {
        /// Whose list it is.
        name: String,
    },
    /// The caller's balance is below what the account API asks for.
    #[error(
        "Unauthorized: the balance {balance} is below the minimum {minimum} for managing accounts"
    )]
    ManagementBalance {
        /// What the caller has.
        balance: Money,
        /// Setting `USER_API_BALANCE`.
        minimum: Money,
    },
    /// The caller, or all below one account, ask more often than the setting `ADMIN_RPM` allows.
    #[error(
        "Too many requests to the administration of account {name}: try again in {} s",
        (retry_after_ms + 999) / 1000
    )]
    TooOften {
        /// Name of the account whose rate it is.
        name: String,
        /// When another request will be taken.
        retry_after_ms: i64,
    },
    /// The caller may not do this.
    #[error("Forbidden: {0}")]
    Forbidden(&'static str),
    /// There is no such thing, or none that the caller may see.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `Key`, `User`, `Setting`.
        kind: &'static str,
        /// As the caller named it.
        name: String,
    },
    /// Another one has it already.
    #[error("{field} is already in use{with}")]
    Conflict {
        /// The field that must be unique.
        field: &'static str,
        /// Who has it, after ` by `, where the caller may know; else empty.
        with: String,
    },
    /// It is done already at this moment, and takes long.
    #[error("{0} is under way: try again when it has ended")]
    Busy(&'static str),
    /// The payer has too little.
    #[error("Insufficient balance: {balance} available, {needed} needed{}", held(*in_use))]
    InsufficientBalance {
        /// What is there.
        balance: Money,
        /// What is asked for.
        needed: Money,
        /// What calls under way may still cost, where that is why.
        in_use: Money,
    },
    /// The database fails: a full disk, a lost connection. The cause is logged and shown on `/readyz`. A
    /// connection that is lost during a commit leaves open whether it was done.
    #[error("the database is not available: try again later")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something of ours failed; the cause is logged, not shown.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps a failure that the caller can do nothing about.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// Stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Unauthenticated => "invalid_api_key",
            Self::Suspended { .. } => "account_suspended",
            Self::IpNotAllowed { .. } => "ip_not_allowed",
            Self::ManagementBalance { .. } => "management_balance",
            Self::TooOften { .. } => "rate_limit_exceeded",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::Busy(_) => "busy",
            Self::InsufficientBalance { .. } => "insufficient_quota",
            Self::Storage(_) => "storage_unavailable",
            Self::Internal(_) => "internal_error",
        }
    }
}

/// Names what calls under way hold, if they do.
fn held(in_use: Money) -> String {
    if in_use <= Money::ZERO {
        return String::new();
    }
    format!("; {in_use} is in use by calls under way and comes back when they end")
}
