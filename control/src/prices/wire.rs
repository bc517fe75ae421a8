//! Differences between price tables.

use proxyxai_contract::{Invalid, wire};

use crate::prices::diff::{ChangeUnit, PriceChange};

impl From<&PriceChange> for wire::PriceChange {
    fn from(change: &PriceChange) -> Self {
        let PriceChange {
            model,
            field,
            unit,
            old,
            new,
            fallback,
        } = change;
        let unit = match unit {
            ChangeUnit::NanoDollars => wire::PriceUnit::NanoDollars,
            ChangeUnit::Micros => wire::PriceUnit::Micros,
            ChangeUnit::Tokens => wire::PriceUnit::Tokens,
        };
        Self {
            model: model.clone(),
            field: field.clone(),
            unit: unit.into(),
            old: *old,
            new: *new,
            fallback: *fallback,
        }
    }
}

impl TryFrom<wire::PriceChange> for PriceChange {
    type Error = Invalid;

    fn try_from(change: wire::PriceChange) -> Result<Self, Invalid> {
        let unit = match change.unit() {
            wire::PriceUnit::NanoDollars => ChangeUnit::NanoDollars,
            wire::PriceUnit::Micros => ChangeUnit::Micros,
            wire::PriceUnit::Tokens => ChangeUnit::Tokens,
            wire::PriceUnit::Unspecified => return Err(Invalid::new("unit", "is missing")),
        };
        let wire::PriceChange {
            model,
            field,
            unit: _,
            old,
            new,
            fallback,
        } = change;
        Ok(Self {
            model,
            field,
            unit,
            old,
            new,
            fallback,
        })
    }
}
