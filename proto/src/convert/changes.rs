//! Differences between price tables.

use crate::{
    Invalid,
    price_diff::{Change, Unit},
    wire,
};

impl From<&Change> for wire::PriceChange {
    fn from(change: &Change) -> Self {
        let Change {
            model,
            field,
            unit,
            old,
            new,
            fallback,
        } = change;
        let unit = match unit {
            Unit::NanoDollars => wire::PriceUnit::NanoDollars,
            Unit::Micros => wire::PriceUnit::Micros,
            Unit::Tokens => wire::PriceUnit::Tokens,
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

impl TryFrom<wire::PriceChange> for Change {
    type Error = Invalid;

    fn try_from(change: wire::PriceChange) -> Result<Self, Invalid> {
        let unit = match change.unit() {
            wire::PriceUnit::NanoDollars => Unit::NanoDollars,
            wire::PriceUnit::Micros => Unit::Micros,
            wire::PriceUnit::Tokens => Unit::Tokens,
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
