//! The differences between two price tables, field by field, and whether they look like mistakes.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::{collections::BTreeSet, fmt};

use rust_decimal::Decimal;

use proxyxai_contract::{
    Invalid,
    money::Money,
    part::BillPart,
    price::{ModelPrice, PartPrices, PriceTable, TierPrices},
};

/// A price that grows by more than this factor is taken for a typing error.
const GROWTH_MAX: i128 = 100;
/// A price in dollars, for a million tokens or one call, above which it is taken for a mistake.
const DOLLARS_MAX: i64 = 1_000_000;

/// The most models that a new table may leave out.
pub const GONE_MAX: usize = 20;

/// One field of one model that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceChange {
    /// Model name in the table; fine-tuned models as `ft:BASE`.
    pub model: String,
    /// Field name in the file; `Sizes.WxH` for an image size.
    pub field: String,
    /// The unit of the numbers.
    pub unit: ChangeUnit,
    /// The old value; `None` if the table has no such field.
    pub old: Option<i64>,
    /// The new value; `None` if the table has no such field.
    pub new: Option<i64>,
    /// What the old table charges without such a field: the text price of the direction.
    pub fallback: Option<i64>,
}

/// The unit of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeUnit {
    /// Nano-dollars per million tokens, per call or per image.
    NanoDollars,
    /// Millionths of a factor.
    Micros,
    /// Tokens.
    Tokens,
}

/// Every field that differs, by model and in the order of the file's fields.
pub fn compare(old: &PriceTable, new: &PriceTable) -> Vec<PriceChange> {
    let models: BTreeSet<&String> = old.models.keys().chain(new.models.keys()).collect();
    models
        .into_iter()
        .flat_map(|model| of_model(model, old.models.get(model), new.models.get(model)))
        .collect()
}

/// Rejects likely mistakes: an absurd price, or a table that leaves out many models, as one file out of several does.
/// Models left out would have no price any more.
///
/// # Errors
/// Errors with the first mistake.
pub fn check(old: &PriceTable, new: &PriceTable, changes: &[PriceChange]) -> Result<(), Invalid> {
    if let Some(absurd) = changes.iter().find(|change| change.is_absurd()) {
        let problem = format!("is absurd ({absurd}); force it if it is meant");
        return Err(Invalid::new(
            format!("{}.{}", absurd.model, absurd.field),
            problem,
        ));
    }
    let kept = |model: &&String| new.models.contains_key(*model);
    let gone: Vec<_> = old.models.keys().filter(|model| !kept(model)).collect();
    match gone.as_slice() {
        [first, ..] if gone.len() > GONE_MAX => Err(Invalid::new(
            "table",
            format!(
                "leaves out {} models that have a price, {first} first: a table takes the place of the whole one \
                 before it; force it if that is meant",
                gone.len()
            ),
        )),
        _ => Ok(()),
    }
}

// === impl PriceChange ===

impl PriceChange {
    /// Whether it looks like a mistake: more than 100 times the price before, or more than a million dollars.
    pub fn is_absurd(&self) -> bool {
        let Some(new) = self.new.filter(|_| self.unit != ChangeUnit::Tokens) else {
            return false;
        };
        let before = self.old.or(self.fallback).unwrap_or_default();
        let grown = before > 0 && i128::from(new) > i128::from(before).saturating_mul(GROWTH_MAX);
        let most = DOLLARS_MAX.saturating_mul(Money::PER_DOLLAR);
        grown || (self.unit == ChangeUnit::NanoDollars && new > most)
    }

    /// Growth in percent, to one decimal; `None` if there is nothing to compare.
    pub fn percent(&self) -> Option<Decimal> {
        let (old, new) = (Decimal::from(self.old?), Decimal::from(self.new?));
        let grown = new.checked_sub(old)?.checked_mul(Decimal::ONE_HUNDRED)?;
        grown
            .checked_div(old)
            .map(|percent| percent.round_dp(1).normalize())
    }

    /// Only the new value, as a price list shows it.
    pub fn price(&self) -> String {
        format!("{} {} {}", self.model, self.field, self.shown(self.new))
    }

    fn shown(&self, number: Option<i64>) -> String {
        let digits = match self.unit {
            ChangeUnit::NanoDollars => 9,
            ChangeUnit::Micros => 6,
            ChangeUnit::Tokens => 0,
        };
        number.map_or_else(
            || "-".to_owned(),
            |number| Decimal::new(number, digits).normalize().to_string(),
        )
    }
}

impl fmt::Display for PriceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.shown(self.old), self.shown(self.new));
        write!(f, "{} {} {old} -> {new}", self.model, self.field)?;
        match self.percent() {
            Some(percent) if percent > Decimal::ZERO => write!(f, " (+{percent} %)"),
            Some(percent) => write!(f, " ({percent} %)"),
            None => Ok(()),
        }
    }
}

fn of_model(model: &str, old: Option<&ModelPrice>, new: Option<&ModelPrice>) -> Vec<PriceChange> {
    let (before, after) = (old.map(fields), new.map(fields));
    let names: Vec<&String> = [&before, &after]
        .into_iter()
        .flatten()
        .flat_map(|fields| fields.iter().map(|field| &field.name))
        .collect();
    let mut seen = BTreeSet::new();
    let find = |fields: &Option<Vec<PriceField>>, name: &str| {
        let found = fields.iter().flatten().find(|field| field.name == name);
        found.map(|field| (field.unit, field.value, field.fallback))
    };
    names
        .into_iter()
        .filter(|name| seen.insert(name.as_str()))
        .filter_map(|name| {
            let (old, new) = (find(&before, name), find(&after, name));
            let (unit, ..) = new.or(old)?;
            let change = PriceChange {
                model: model.to_owned(),
                field: name.clone(),
                unit,
                old: old.and_then(|(_, value, _)| value),
                new: new.and_then(|(_, value, _)| value),
                fallback: old.and_then(|(.., fallback)| fallback),
            };
            (change.old != change.new).then_some(change)
        })
        .collect()
}

struct PriceField {
    name: String,
    unit: ChangeUnit,
    value: Option<i64>,
    fallback: Option<i64>,
}

fn fields(price: &ModelPrice) -> Vec<PriceField> {
    let ModelPrice {
        provider: _,
        standard,
        tiers,
        image,
        video,
        minimum,
        audio_ms_min,
        rates,
        max_input,
        max_output,
        // Not a price.
        reasons: _,
    } = price;
    let money = |name: String, value: Money, fallback: Option<Money>| PriceField {
        name,
        unit: ChangeUnit::NanoDollars,
        value: Some(value.nanos()),
        fallback: fallback.map(Money::nanos),
    };
    let count = |name: &str, value: Option<u64>| PriceField {
        name: name.to_owned(),
        unit: ChangeUnit::Tokens,
        value: value.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
        fallback: None,
    };
    let mut fields = of_scale("", standard, image.as_ref().map(|by_size| by_size.other));
    if *minimum > Money::ZERO {
        fields.push(money("Minimum".to_owned(), *minimum, None));
    }
    fields.push(PriceField {
        name: "Rates".to_owned(),
        unit: ChangeUnit::Micros,
        value: Some(rates.micros()),
        fallback: None,
    });
    let seconds = audio_ms_min.checked_div(1000).filter(|least| *least > 0);
    fields.extend([
        count("MinSeconds", seconds),
        count("MaxInput", *max_input),
        count("MaxOutput", *max_output),
    ]);
    if let Some(video) = video {
        fields.push(money("Second".to_owned(), video.other, None));
    }
    for by_size in image.iter().chain(video) {
        let size = |(size, price): (&String, &Money)| {
            money(format!("Sizes.{size}"), *price, Some(by_size.other))
        };
        fields.extend(by_size.sizes.iter().map(size));
    }
    for (tier, scale) in tiers {
        fields.extend(of_scale(&format!("Tiers.{tier}."), scale, None));
    }
    fields
}

/// Prices of all parts at each prompt length. Optional fields are shown if the table has them, with the price that
/// applies otherwise.
fn of_scale(under: &str, scale: &TierPrices, picture: Option<Money>) -> Vec<PriceField> {
    let of_units = |under: String, units: &PartPrices| {
        let field = move |part: BillPart, name: &str| {
            let own = match part {
                BillPart::Call => picture.or_else(|| units.own(part)),
                _ => units.own(part),
            };
            let without = part.instead().and_then(|_| {
                let mut others = units.clone();
                others.set(part, None);
                others.get(part)
            });
            PriceField {
                name: format!("{under}{name}"),
                unit: ChangeUnit::NanoDollars,
                value: own.map(Money::nanos),
                fallback: without.map(Money::nanos),
            }
        };
        let named = BillPart::all().filter_map(|part| Some((part, part.field()?)));
        let fields = named.map(|(part, name)| field(part, name));
        fields.collect::<Vec<_>>()
    };
    let mut fields = of_units(under.to_owned(), &scale.units);
    for step in &scale.steps {
        fields.extend(of_units(
            format!("{under}Above.{}.", step.above),
            &step.units,
        ));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxyxai_contract::price_file;

    fn changes(pricing: &str) -> Vec<PriceChange> {
        let old = price_file::load(None).unwrap();
        compare(&old, &price_file::load(Some(pricing)).unwrap())
    }

    #[test]
    fn a_change_is_told_with_both_prices_and_the_percentage() {
        let text = r#"{"ChatPricing":{"gpt-4o":{"InputText":3,"Rates":1.1,"MaxOutput":9},"own":{"InputText":1}}}"#;
        let told: Vec<_> = changes(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "gpt-4o InputText 2.5 -> 3 (+20 %)",
                "gpt-4o Rates 1 -> 1.1 (+10 %)",
                "gpt-4o MaxOutput 16384 -> 9 (-99.9 %)",
                // A tier given as a factor changes along.
                "gpt-4o Tiers.priority.InputText 4.25 -> 5.1 (+20 %)",
                "own InputText - -> 1",
                "own OutputText - -> 1",
                "own Call - -> 0",
                "own Rates - -> 1",
            ]
        );
    }

    #[test]
    fn a_hundred_times_is_absurd_and_so_is_a_million_dollars() {
        let absurd = |pricing: &str| changes(pricing).iter().any(PriceChange::is_absurd);
        for (pricing, expected) in [
            (r#"{"ChatPricing":{"gpt-4o":{"InputText":250}}}"#, false),
            (r#"{"ChatPricing":{"gpt-4o":{"InputText":250.1}}}"#, true),
            (r#"{"ChatPricing":{"gpt-4o":{"InputText":0}}}"#, false),
            // Without their own price, cached tokens cost as much as text.
            (r#"{"ChatPricing":{"gpt-4":{"CachedText":3001}}}"#, true),
            (r#"{"ChatPricing":{"gpt-4o":{"Rates":101}}}"#, true),
            (r#"{"ChatPricing":{"own":{"InputText":1000000}}}"#, false),
            (r#"{"ChatPricing":{"own":{"InputText":1000001}}}"#, true),
            (
                r#"{"ImgPricing":{"dall-e-3":{"Sizes":{"1024x1024":5}}}}"#,
                true,
            ),
            (r#"{"ImgPricing":{"dall-e-3":{"Call":5}}}"#, true),
            (
                r#"{"ChatPricing":{"gpt-4o":{"MaxOutput":99999999}}}"#,
                false,
            ),
        ] {
            assert_eq!(absurd(pricing), expected, "{pricing}");
        }
    }

    #[test]
    fn a_table_that_leaves_out_many_models_has_to_be_forced() {
        let old = price_file::load(None).unwrap();
        let few = |left_out: usize| {
            let models = old.models.iter().skip(left_out);
            PriceTable {
                models: models
                    .map(|(name, price)| (name.clone(), price.clone()))
                    .collect(),
                ..PriceTable::default()
            }
        };
        assert_eq!(check(&old, &few(GONE_MAX), &[]), Ok(()));
        let refused = check(&old, &few(GONE_MAX + 1), &[]).unwrap_err();
        assert!(
            refused.problem.contains("leaves out 21 models"),
            "{refused}"
        );
        assert_eq!(check(&PriceTable::default(), &old, &[]), Ok(()));
    }

    #[test]
    fn equal_tables_do_not_differ() {
        assert_eq!(changes(""), []);
    }
}
