//! Which accounts a listing shows, and in which order.

use proxyxai_contract::{Invalid, id::Level, money::Multiplier};

use super::Account;

/// What accounts are told apart by; none takes all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct AccountLabels {
    /// Pool.
    pub level: Option<Level>,
    /// Level switches a request may make.
    pub gear: Option<u8>,
    /// Label of the operator.
    pub role: Option<i32>,
    /// Label of the operator.
    pub tier: Option<i32>,
    /// Price multiplier of root's.
    pub factor: Option<Multiplier>,
}

impl AccountLabels {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an account is among them.
    pub fn fit(&self, account: &Account) -> bool {
        let Self {
            level,
            gear,
            role,
            tier,
            factor,
        } = *self;
        level.is_none_or(|level| level == account.level)
            && gear.is_none_or(|gear| gear == account.gear)
            && role.is_none_or(|role| role == account.role)
            && tier.is_none_or(|tier| tier == account.tier)
            && factor.is_none_or(|factor| factor == account.factor)
    }
}

/// The order of a listing of accounts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SortOrder {
    /// What is compared.
    pub by: SortField,
    /// Smallest first; else greatest first.
    pub ascending: bool,
}

/// What a listing of accounts is ordered by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum SortField {
    /// Which was created when.
    #[default]
    Id,
    /// The unique name.
    Name,
    /// The unique address.
    Email,
    /// What the cards hold, less what is owed.
    Balance,
    /// What was ever used.
    Used,
}

impl SortOrder {
    /// Reads `id`, `name`, `email`, `balance` or `used`, with `-` before it for descending; `asc` and `desc` are of ids.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (name, ascending) = match text.strip_prefix('-') {
            Some(name) => (name, false),
            None => (text, true),
        };
        let (by, ascending) = match name {
            "id" => (SortField::Id, ascending),
            "name" => (SortField::Name, ascending),
            "email" => (SortField::Email, ascending),
            "balance" => (SortField::Balance, ascending),
            "used" => (SortField::Used, ascending),
            "asc" if ascending => (SortField::Id, true),
            "desc" if ascending => (SortField::Id, false),
            _ => {
                let problem =
                    "must be id, name, email, balance or used, with - before it for descending";
                return Err(Invalid::new("order", problem));
            }
        };
        Ok(Self { by, ascending })
    }
}
