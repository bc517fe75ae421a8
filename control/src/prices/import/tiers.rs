//! Token prices by step and tier, in the form of our tables.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::number;

/// Prices by field, in dollars per million.
pub(super) type Fields = BTreeMap<&'static str, Decimal>;

/// Prices for all prompts, and for those above a number of tokens. A step names only what differs.
#[derive(Default)]
pub(super) struct ImportedTier {
    pub(super) fields: Fields,
    pub(super) steps: BTreeMap<u64, Fields>,
}

// === impl ImportedTier ===

impl ImportedTier {
    /// Removes fields that repeat the default or modify nothing.
    pub(super) fn tidy(&mut self) {
        let text = |fields: &Fields, name| fields.get(name).copied();
        for (kind, same) in [
            ("ReasonText", "OutputText"),
            ("OutputAudio", "OutputText"),
            ("OutputImage", "OutputText"),
            ("InputAudio", "InputText"),
            ("InputImage", "InputText"),
            ("InputVideo", "InputText"),
        ] {
            if text(&self.fields, kind) == text(&self.fields, same) {
                self.fields.remove(kind);
            }
        }
        // Lists write zero if a vendor charges writes like reads.
        if text(&self.fields, "CacheWrite").is_some_and(|price| price.is_zero()) {
            self.fields.remove("CacheWrite");
        }
        for step in self.steps.values_mut() {
            step.retain(|name, price| {
                let base = text(&self.fields, name);
                (base.is_some() || *name == "CachedText") && base != Some(*price)
            });
        }
        self.steps.retain(|_, step| !step.is_empty());
    }

    pub(super) fn write(&self, tiers: &BTreeMap<&'static str, Self>) -> Map<String, Value> {
        let mut written = written(&self.fields);
        if !self.steps.is_empty() {
            written.insert("Above".to_owned(), written_steps(&self.steps));
        }
        let tiers: Map<String, Value> = tiers
            .iter()
            .filter_map(|(name, tier)| Some(((*name).to_owned(), self.tier(tier)?)))
            .collect();
        if !tiers.is_empty() {
            written.insert("Tiers".to_owned(), tiers.into());
        }
        written
    }

    /// A tier as a factor, if all of the list's prices for it fit one and none is missing; else price by price. Missing
    /// prices are those outside the tier.
    fn tier(&self, tier: &Self) -> Option<Value> {
        let known = |name: &&'static str| self.fields.contains_key(*name);
        let fields: Fields = tier
            .fields
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, price)| (*name, *price))
            .collect();
        if fields.is_empty() {
            return None;
        }
        if let Some(factor) = self.factor(tier).filter(|factor| !factor.is_zero()) {
            let tokens = [("Tokens".to_owned(), number(factor)?)];
            let differs = factor != Decimal::ONE;
            return differs.then(|| Value::Object(tokens.into_iter().collect()));
        }
        let mut written = written(&fields);
        let mut steps = BTreeMap::new();
        for (above, base) in &self.steps {
            let own = tier.steps.get(above);
            let whole = self.fields.iter().map(|(name, price)| {
                let listed = own.and_then(|own| own.get(name));
                let price = listed.or_else(|| base.get(name)).unwrap_or(price);
                (*name, *price)
            });
            steps.insert(*above, whole.collect());
        }
        if !steps.is_empty() {
            written.insert("Above".to_owned(), written_steps(&steps));
        }
        Some(Value::Object(written))
    }

    fn factor(&self, tier: &Self) -> Option<Decimal> {
        let input = self.fields.get("InputText")?;
        let factor = tier.fields.get("InputText")?.checked_div(*input)?;
        let factor = factor.round_dp(4);
        let fits = |base: Option<&Decimal>, price: Option<&Decimal>| {
            let product = base.and_then(|base| base.checked_mul(factor));
            // Lists round their prices.
            let near = Decimal::new(1, 7);
            matches!((product, price), (Some(product), Some(price)) if (product - price).abs() <= near)
        };
        // Writes kept for an hour go with those kept for minutes.
        let needed = |name: &&'static str| {
            *name != "CacheWriteHour" || !tier.fields.contains_key("CacheWrite")
        };
        let all = self.fields.keys().filter(|name| needed(name));
        let mut all = all.map(|name| fits(self.fields.get(name), tier.fields.get(name)));
        let steps = tier.steps.iter().all(|(above, step)| {
            let base = self.steps.get(above);
            step.iter().all(|(name, price)| {
                let base = base.and_then(|base| base.get(name));
                let base = base.or_else(|| self.fields.get(name));
                base.is_none() || fits(base, Some(price))
            })
        });
        (all.all(|fits| fits) && steps).then_some(factor)
    }
}

fn written(fields: &Fields) -> Map<String, Value> {
    fields
        .iter()
        .filter_map(|(name, price)| Some(((*name).to_owned(), number(*price)?)))
        .collect()
}

fn written_steps(steps: &BTreeMap<u64, Fields>) -> Value {
    let steps = steps
        .iter()
        .map(|(above, fields)| (above.to_string(), Value::Object(written(fields))));
    Value::Object(steps.collect())
}
