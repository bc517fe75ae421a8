//! What calls on an upstream key cost the operator: the list price, times a factor, the key's own prices, or a flat
//! amount a month. Pure. What customers pay on top is in the price table and the accounts.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    Invalid,
    money::{Money, Multiplier},
    price::{ModelPrice, PriceTable},
    price_file::{PriceEntries, check_fields},
    usage::UsageRecord,
};

/// More are a mistake.
const MODELS_MAX: usize = 1000;
const NAME_BYTES_MAX: usize = 255;
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The price rule of a key, as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPrice {
    calls: ListFactor,
    /// Fields of single models that override the list.
    models: BTreeMap<String, Map<String, Value>>,
    /// Flat amount of each calendar month, independent of usage.
    monthly: Money,
}

/// The factor on the list price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ListFactor {
    /// Not given: the list price, or nothing if a monthly amount is paid.
    #[default]
    Untold,
    /// Calls cost nothing.
    Free,
    /// The list price times this.
    Factor(Multiplier),
}

/// The price rule of a key, ready to be applied to records.
#[derive(Debug, Clone, Default)]
pub struct ExpenseRule {
    /// Provider of the key, as the price table names it; else its host.
    pub provider: String,
    calls: ListFactor,
    paid_by_month: bool,
    /// The key's own prices, which apply without a factor.
    own: PriceTable,
    /// Entries of the list for this provider only, by the name without the provider.
    listed: PriceTable,
}

// === impl KeyPrice ===

impl KeyPrice {
    /// Reads `{"Factor": 0.7, "Free": true, "Models": {…}, "Monthly": 200}`; an empty text means the list.
    ///
    /// # Errors
    /// Errors if a field is invalid; the error names it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(Invalid::new("price", "is too long"));
        }
        let value =
            serde_json::from_str(text).map_err(|error| Invalid::new("price", error.to_string()))?;
        let field = |inner: &str| format!("price.{inner}").trim_end_matches('.').to_owned();
        Self::of(&value).map_err(|error| Invalid::new(field(&error.field), error.problem))
    }

    fn of(value: &Value) -> Result<Self, Invalid> {
        let fields = value
            .as_object()
            .ok_or_else(|| Invalid::new("", "must be a JSON object"))?;
        let mut price = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "Factor" if price.calls != ListFactor::Free => price.calls = factor(value)?,
                "Factor" => return Err(Invalid::new(name, "is not there beside Free")),
                "Free" => match (value.as_bool(), price.calls) {
                    (Some(false), _) => {}
                    (Some(true), ListFactor::Untold) => price.calls = ListFactor::Free,
                    (Some(true), _) => {
                        return Err(Invalid::new(name, "is not there beside Factor"));
                    }
                    (None, _) => return Err(Invalid::new(name, "must be true or false")),
                },
                "Monthly" => price.monthly = dollars(name, value)?,
                "Models" => price.models = models(value)?,
                _ => return Err(Invalid::new(name, "is no field of a key's price")),
            }
        }
        Ok(price)
    }

    /// The text that `parse` reads; empty for the list.
    pub fn text(&self) -> String {
        let value = self.value();
        if value.as_object().is_none_or(Map::is_empty) {
            return String::new();
        }
        value.to_string()
    }

    /// The same as JSON.
    pub fn value(&self) -> Value {
        let mut fields = Map::new();
        match self.calls {
            ListFactor::Untold => {}
            ListFactor::Free => drop(fields.insert("Free".to_owned(), true.into())),
            ListFactor::Factor(factor) => {
                drop(fields.insert("Factor".to_owned(), factor.number().into()));
            }
        }
        if !self.models.is_empty() {
            let models = self.models.iter();
            let models = models.map(|(name, entry)| (name.clone(), entry.clone().into()));
            fields.insert("Models".to_owned(), Value::Object(models.collect()));
        }
        if self.monthly > Money::ZERO {
            fields.insert("Monthly".to_owned(), self.monthly.dollars().into());
        }
        fields.into()
    }

    /// The flat amount of a calendar month.
    pub const fn monthly(&self) -> Money {
        self.monthly
    }

    /// Whether it has its own prices, which override the list.
    pub fn has_models(&self) -> bool {
        !self.models.is_empty()
    }

    /// The rule, ready to be applied, for a key at this host. Its own prices override `fields`, the entries of the same
    /// table as they are written.
    pub fn terms(&self, host: &str, list: &PriceTable, fields: &PriceEntries) -> ExpenseRule {
        let provider = provider_of(host, list);
        ExpenseRule {
            calls: self.calls,
            paid_by_month: self.monthly > Money::ZERO,
            own: fields.merged_under(&provider, &self.models),
            listed: alone(&provider, list),
            provider,
        }
    }
}

fn factor(value: &Value) -> Result<ListFactor, Invalid> {
    let number = value.as_f64();
    let number = number.ok_or_else(|| Invalid::new("Factor", "must be a number"))?;
    if number == 0.0 {
        return Ok(ListFactor::Free);
    }
    let factor = Multiplier::from_number(number);
    factor
        .map(ListFactor::Factor)
        .map_err(|_| Invalid::new("Factor", "must be from 0 to 1000000"))
}

fn dollars(name: &str, value: &Value) -> Result<Money, Invalid> {
    let number = value.as_f64();
    let number = number.ok_or_else(|| Invalid::new(name, "must be a number"))?;
    match Money::from_dollars(number) {
        Ok(money) if !money.is_negative() => Ok(money),
        Ok(_) => Err(Invalid::new(name, "must not be negative")),
        Err(error) => Err(error.under(name)),
    }
}

fn models(value: &Value) -> Result<BTreeMap<String, Map<String, Value>>, Invalid> {
    let given = value
        .as_object()
        .ok_or_else(|| Invalid::new("Models", "must be an object"))?;
    if given.len() > MODELS_MAX {
        return Err(Invalid::new(
            "Models",
            format!("must be at most {MODELS_MAX}"),
        ));
    }
    let entry = |(name, entry): (&String, &Value)| {
        let field = || format!("Models.{name}");
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Invalid::new("Models", "must have names of 1 to 255 bytes"));
        }
        let entry = entry.as_object();
        let entry = entry.ok_or_else(|| Invalid::new(field(), "must be an object"))?;
        if entry.contains_key("Rates") {
            return Err(Invalid::new(
                field(),
                "has no Rates: they are the customers'",
            ));
        }
        // Reject invalid prices now, not when the first call is priced.
        check_fields(entry)
            .map_err(|error| Invalid::new(format!("{}.{}", field(), error.field), error.problem))?;
        Ok((name.clone(), entry.clone()))
    };
    given.iter().map(entry).collect()
}

// === impl ExpenseRule ===

impl ExpenseRule {
    /// What the call of a record cost the operator, in dollars of the list: without the multipliers of model, account
    /// and system, which customers pay on top. Usage without a price and calls that were not charged cost nothing.
    pub fn expense(&self, record: &UsageRecord) -> Money {
        let unpaid = record.sum.lines.is_empty() && record.cost == Money::ZERO;
        if record.key.is_none() || unpaid {
            return Money::ZERO;
        }
        let by = |price: &ModelPrice, factor| record.bill(price).base(factor);
        let model = &record.model_used;
        let expense = if let Some(own) = find(&self.own, model) {
            by(own, Multiplier::ONE)
        } else if let Some(factor) = self.factor() {
            match find(&self.listed, model) {
                Some(listed) => by(listed, factor),
                None if record.sum.lines.is_empty() => {
                    back(record).and_then(|cost| cost.scale(factor, Multiplier::ONE))
                }
                None => record.sum.base(factor),
            }
        } else {
            None
        };
        // A cost out of range was not charged either.
        expense.unwrap_or_default()
    }

    /// The factor on the list price; `None` if calls cost nothing.
    const fn factor(&self) -> Option<Multiplier> {
        match self.calls {
            ListFactor::Untold if !self.paid_by_month => Some(Multiplier::ONE),
            ListFactor::Untold | ListFactor::Free => None,
            ListFactor::Factor(factor) => Some(factor),
        }
    }
}

/// The provider that the table assigns to a host; else the host itself.
fn provider_of(host: &str, list: &PriceTable) -> String {
    let mine = |hosts: &Vec<String>| hosts.iter().any(|one| one == host);
    let known = list.provider_hosts.iter().filter(|(_, hosts)| mine(hosts));
    let first = known.map(|(provider, _)| provider).min();
    first.map_or_else(|| host.to_owned(), Clone::clone)
}

/// The entries of the table for this provider only, `PROVIDER/NAME`, by `NAME`.
fn alone(provider: &str, list: &PriceTable) -> PriceTable {
    let entry = |(name, price): (&String, &ModelPrice)| {
        let name = name.strip_prefix(provider)?.strip_prefix('/')?;
        Some((name.to_owned(), price.clone()))
    };
    PriceTable {
        models: list.models.iter().filter_map(entry).collect(),
        ..PriceTable::default()
    }
}

fn find<'t>(own: &'t PriceTable, model: &str) -> Option<&'t ModelPrice> {
    if own.models.is_empty() {
        return None;
    }
    own.find(model)
}

/// The list price of a cost that has no lines: that of work whose end was not seen.
fn back(record: &UsageRecord) -> Option<Money> {
    let rates = record.rates.unwrap_or(Multiplier::ONE);
    let factor = record.factor.unwrap_or(Multiplier::ONE);
    record
        .cost
        .scale(Multiplier::ONE, rates)?
        .scale(Multiplier::ONE, factor)
}

#[cfg(test)]
#[path = "key_price_tests.rs"]
mod tests;
