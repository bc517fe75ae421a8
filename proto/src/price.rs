//! Prices, and the one place that turns tokens into money.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::collections::HashMap;

use crate::{
    money::{Money, Multiplier, div_round},
    usage::Tokens,
};

/// Price of one model in nano-dollars per million tokens. `None` falls back to the text price of
/// the same direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrice {
    /// Provider that sells it, as named in the price table.
    pub provider: String,
    /// Prompt text.
    pub input_text: Money,
    /// Generated text.
    pub output_text: Money,
    /// Prompt text read from the cache.
    pub cached_text: Option<Money>,
    /// Prompt text written to the cache.
    pub cache_write: Option<Money>,
    /// Reasoning.
    pub reason_text: Option<Money>,
    /// Prompt audio.
    pub input_audio: Option<Money>,
    /// Generated audio.
    pub output_audio: Option<Money>,
    /// Prompt audio read from the cache.
    pub cached_audio: Option<Money>,
    /// Prompt images.
    pub input_image: Option<Money>,
    /// Generated images.
    pub output_image: Option<Money>,
    /// Per call, added once.
    pub call: Money,
    /// Multiplier of the whole.
    pub rates: Multiplier,
}

/// All prices of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    /// Changes whenever a price does.
    pub version: String,
    /// Price by model name.
    pub models: HashMap<String, ModelPrice>,
    /// Host names by provider.
    pub provider_hosts: HashMap<String, Vec<String>>,
}

impl PriceTable {
    /// Price of a model: its exact name; else without a `vendor/` prefix; else without a trailing
    /// date or `-latest`.
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        let bare = model.rsplit_once('/').map_or(model, |(_, bare)| bare);
        [model, bare]
            .into_iter()
            .chain(undated(bare))
            .find_map(|name| self.models.get(name))
    }
}

/// The name without what marks one release of a model.
fn undated(model: &str) -> Option<&str> {
    if let Some(base) = model.strip_suffix("-latest") {
        return Some(base);
    }
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some((base, date)) = model.rsplit_once('@') {
        return digits(date, &[8]).then_some(base);
    }
    let (base, last) = model.rsplit_once('-')?;
    if digits(last, &[8]) || (digits(last, &[4]) && is_month_and_day(last)) {
        return Some(base);
    }
    let (base, month) = base.rsplit_once('-')?;
    let (base, year) = base.rsplit_once('-')?;
    (digits(last, &[2]) && digits(month, &[2]) && digits(year, &[4])).then_some(base)
}

/// Four digits that are no day, such as the `-2512` of a yearly release, are part of the name.
fn is_month_and_day(digits: &str) -> bool {
    digits
        .split_at_checked(2)
        .is_some_and(|(month, day)| ("01"..="12").contains(&month) && ("01"..="31").contains(&day))
}

/// Cost of a call: every token at the price of its kind, times the model's, the account's and the
/// system's multipliers, rounded once, half away from zero. `None` when it is out of range.
pub fn cost(
    price: &ModelPrice,
    tokens: &Tokens,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    let per_million =
        parts(price, tokens)
            .into_iter()
            .try_fold(0i128, |total, (count, unit)| {
                i128::from(count)
                    .checked_mul(i128::from(unit.nanos()))
                    .and_then(|part| total.checked_add(part))
            })?;
    let call = i128::from(price.call.nanos()).checked_mul(1_000_000)?;
    let base = per_million.checked_add(call)?;
    let multiplied = [price.rates, rates, factor]
        .into_iter()
        .try_fold(base, |total, multiplier| {
            total.checked_mul(i128::from(multiplier.micros()))
        })?;
    div_round(multiplied, 10i128.pow(24)).map(Money::from_nanos)
}

/// Disjoint parts of the tokens, each with its price. Their counts add up to input plus output,
/// whatever nonsense a provider reports: a part is never larger than what is left of its total.
fn parts(price: &ModelPrice, tokens: &Tokens) -> [(u64, Money); 9] {
    let mut input = tokens.input;
    let mut output = tokens.output;
    let take = |left: &mut u64, wanted: u64| {
        let taken = wanted.min(*left);
        *left = left.saturating_sub(taken);
        taken
    };
    let cached = take(&mut input, tokens.cached);
    let cache_write = take(&mut input, tokens.cache_write);
    let input_audio = take(&mut input, tokens.input_audio);
    let input_image = take(&mut input, tokens.input_image);
    let output_audio = take(&mut output, tokens.output_audio);
    let output_image = take(&mut output, tokens.output_image);
    let reasoning = take(&mut output, tokens.reasoning);
    [
        (input, price.input_text),
        (cached, price.cached_text.unwrap_or(price.input_text)),
        (cache_write, price.cache_write.unwrap_or(price.input_text)),
        (input_audio, price.input_audio.unwrap_or(price.input_text)),
        (input_image, price.input_image.unwrap_or(price.input_text)),
        (output, price.output_text),
        (
            output_audio,
            price.output_audio.unwrap_or(price.output_text),
        ),
        (
            output_image,
            price.output_image.unwrap_or(price.output_text),
        ),
        (reasoning, price.reason_text.unwrap_or(price.output_text)),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn price(input: i64, output: i64) -> ModelPrice {
        ModelPrice {
            provider: "openai".to_owned(),
            input_text: Money::from_nanos(input),
            output_text: Money::from_nanos(output),
            cached_text: None,
            cache_write: None,
            reason_text: None,
            input_audio: None,
            output_audio: None,
            cached_audio: None,
            input_image: None,
            output_image: None,
            call: Money::ZERO,
            rates: Multiplier::ONE,
        }
    }

    #[test]
    fn a_call_costs_its_tokens_at_their_prices() {
        // gpt-4o: $2.50 in, $1.25 cached, $10 out per million.
        let gpt = ModelPrice {
            cached_text: Some(Money::from_nanos(1_250_000_000)),
            ..price(2_500_000_000, 10_000_000_000)
        };
        let tokens = Tokens {
            input: 1000,
            cached: 400,
            output: 200,
            ..Tokens::default()
        };
        // 600 * 2.5 + 400 * 1.25 + 200 * 10 = 4000 micro-dollars.
        let plain = cost(&gpt, &tokens, Multiplier::ONE, Multiplier::ONE).unwrap();
        assert_eq!(plain.nanos(), 4_000_000);
        let rates = Multiplier::from_number(1.5).unwrap();
        let factor = Multiplier::from_number(2.0).unwrap();
        assert_eq!(
            cost(&gpt, &tokens, rates, factor).unwrap().nanos(),
            12_000_000
        );
    }

    #[test]
    fn a_release_costs_what_its_model_costs() {
        let mut table = PriceTable::default();
        table.models.insert("gpt-4o".to_owned(), price(1, 2));
        table
            .models
            .insert("claude-3-5-haiku".to_owned(), price(3, 4));
        for name in [
            "gpt-4o",
            "openai/gpt-4o",
            "gpt-4o-2024-08-06",
            "gpt-4o-latest",
            "gpt-4o-0613",
        ] {
            assert_eq!(table.find(name), Some(&price(1, 2)), "{name}");
        }
        for name in [
            "claude-3-5-haiku-20241022",
            "claude-3-5-haiku@20241022",
            "claude-3-5-haiku-latest",
        ] {
            assert_eq!(table.find(name), Some(&price(3, 4)), "{name}");
        }
        for name in [
            "gpt-4o-mini",
            "gpt-4",
            "",
            "-",
            "gpt-4o-2512",
            "gpt-4o-2024-13",
            "gpt-4o-12",
        ] {
            assert_eq!(table.find(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn with_one_price_only_the_totals_count(
            input in 0u64..1_000_000, output in 0u64..1_000_000, parts in proptest::array::uniform7(0u64..2_000_000),
        ) {
            let tokens = Tokens {
                input, output, cached: parts[0], cache_write: parts[1], reasoning: parts[2],
                input_audio: parts[3], output_audio: parts[4], input_image: parts[5], output_image: parts[6],
            };
            let flat = cost(&price(1_000_000, 1_000_000), &tokens, Multiplier::ONE, Multiplier::ONE).unwrap();
            prop_assert_eq!(flat.nanos(), i64::try_from(input + output).unwrap());
        }

        #[test]
        fn more_tokens_never_cost_less(input in 0u64..1_000_000, more in 0u64..1_000_000, unit in 0i64..100_000_000_000) {
            let of = |input| cost(
                &price(unit, unit), &Tokens { input, ..Tokens::default() }, Multiplier::ONE, Multiplier::ONE,
            ).unwrap();
            prop_assert!(of(input) <= of(input + more));
        }
    }
}
