//! Filters and orders of account listings.

use proxyxai_contract::{Invalid, id::Level, money::Multiplier};

use super::Account;

/// Labels to filter accounts by; `None` matches all.
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
    /// Price multiplier that only root sets.
    pub factor: Option<Multiplier>,
}

impl AccountLabels {
    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an account matches.
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
    /// The field to compare.
    pub by: SortField,
    /// Smallest first; otherwise greatest first.
    pub ascending: bool,
}

/// The field that a listing of accounts is ordered by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum SortField {
    /// Order of creation.
    #[default]
    Id,
    /// The unique name.
    Name,
    /// The unique address.
    Email,
    /// The sum of the cards less debt.
    Balance,
    /// All-time use.
    Used,
}

impl SortOrder {
    /// Reads `id`, `name`, `email`, `balance` or `used`, with `-` in front for descending. `asc` and `desc` order by
    /// id.
    ///
    /// # Errors
    /// Errors if it is none of these.
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
