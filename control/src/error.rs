//! The error type of the control plane. Each kind says who is at fault and what the caller may see.

use proxyxai_contract::{Invalid, money::Money};

/// Why an operation failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The credential is missing or unknown.
    #[error("Unauthorized: the key is missing or not valid")]
    Unauthenticated,
    /// The caller's account is disabled.
    #[error("Unauthorized: account {name} is suspended")]
    Suspended {
        /// Name of the account.
        name: String,
    },
    /// An access list does not allow the caller's address.
    #[error("Unauthorized: the address is not allowed by account {name}")]
    IpNotAllowed {
        /// The account that the list belongs to.
        name: String,
    },
    /// The caller's balance is below the minimum for the account API.
    #[error(
        "Unauthorized: the balance {balance} is below the minimum {minimum} for managing accounts"
    )]
    ManagementBalance {
        /// The caller's balance.
        balance: Money,
        /// Setting `USER_API_BALANCE`.
        minimum: Money,
    },
    /// The caller, or the tree of one account, exceeds the rate in setting `ADMIN_RPM`.
    #[error(
        "Too many requests to the administration of account {name}: try again in {} s",
        (retry_after_ms + 999) / 1000
    )]
    TooOften {
        /// Name of the account whose rate was exceeded.
        name: String,
        /// How long to wait for the next request.
        retry_after_ms: i64,
    },
    /// The caller may not do this.
    #[error("Forbidden: {0}")]
    Forbidden(&'static str),
    /// The object does not exist, or the caller may not see it.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `Key`, `User`, `Setting`.
        kind: &'static str,
        /// The name that the caller used.
        name: String,
    },
    /// A field that must be unique is taken.
    #[error("{field} is already in use{with}")]
    Conflict {
        /// The field.
        field: &'static str,
        /// Its owner after ` by `, if the caller may know it; otherwise empty.
        with: String,
    },
    /// The same long operation is already running.
    #[error("{0} is under way: try again when it has ended")]
    Busy(&'static str),
    /// The payer has too little credit.
    #[error("Insufficient balance: {balance} available, {needed} needed{}", held(*in_use))]
    InsufficientBalance {
        /// The available credit.
        balance: Money,
        /// The required credit.
        needed: Money,
        /// Credit held by in-flight calls, if that is the reason.
        in_use: Money,
    },
    /// The database failed, for example by a full disk or a lost connection. The cause is logged and shown on
    /// `/readyz`. If the connection is lost during a commit, the change may or may not be stored.
    #[error("the database is not available: try again later")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An internal failure. The cause is logged and not shown.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps a failure that the caller cannot do anything about.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(cause.into())
    }

    /// A stable code for programs.
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

/// The part of the message about credit held by in-flight calls, if any.
fn held(in_use: Money) -> String {
    if in_use <= Money::ZERO {
        return String::new();
    }
    format!("; {in_use} is in use by calls under way and comes back when they end")
}
