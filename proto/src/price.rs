//! Prices, and the one place that turns tokens into money.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use std::collections::{BTreeMap, HashMap};

use crate::{
    money::{Money, Multiplier, div_round},
    usage::{Images, Tokens},
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
    /// Prompt text written to the cache for an hour.
    pub cache_write_hour: Option<Money>,
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
    /// Per picture, added for each; none where pictures are charged by their tokens alone.
    pub image: Option<ImagePrice>,
    /// Multiplier of the whole.
    pub rates: Multiplier,
    /// Most tokens the model reads in one call, where that is known.
    pub max_input: Option<u64>,
    /// Most tokens the model writes in one answer, where that is known. A call that asks for several
    /// answers may have this many in each.
    pub max_output: Option<u64>,
}

impl ModelPrice {
    /// A call at a fixed price, whatever it uses.
    pub const fn of_call(call: Money) -> Self {
        Self {
            provider: String::new(),
            input_text: Money::ZERO,
            output_text: Money::ZERO,
            cached_text: None,
            cache_write: None,
            cache_write_hour: None,
            reason_text: None,
            input_audio: None,
            output_audio: None,
            cached_audio: None,
            input_image: None,
            output_image: None,
            call,
            image: None,
            rates: Multiplier::ONE,
            max_input: None,
            max_output: None,
        }
    }
}

/// Price of a picture by its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImagePrice {
    /// Dollars by size, e.g. `1024x1024`.
    pub sizes: BTreeMap<String, Money>,
    /// Of every other size, and of a call that names none.
    pub other: Money,
}

/// Stands for the version of a table in records whose cost no table gave: calls at a fixed price, and work whose
/// end nobody could see. They are never priced anew.
pub const NO_TABLE: &str = "fixed";

/// How names are hashed where each call looks some up. What is in these maps comes from control, so nobody
/// outside can make names collide.
pub type Hashing = foldhash::fast::RandomState;

/// All prices of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    /// Changes whenever a price does.
    pub version: String,
    /// Price by model name.
    pub models: HashMap<String, ModelPrice, Hashing>,
    /// Host names by provider.
    pub provider_hosts: HashMap<String, Vec<String>>,
}

impl PriceTable {
    /// Price of a model: its exact name; else without a `vendor/` prefix; else without a trailing
    /// date or `-latest`. A fine-tuned model, `ft:BASE:owner:name:id`, has the price of `ft:BASE`.
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        if let Some(tuned) = model.strip_prefix("ft:") {
            let base = tuned.split(':').next().unwrap_or_default();
            return [base]
                .into_iter()
                .chain(undated(base))
                .find_map(|base| self.models.get(&format!("ft:{base}")));
        }
        // Mostly it is the name itself, and every call asks.
        self.models.get(model).or_else(|| {
            let bare = model.rsplit_once('/').map_or(model, |(_, bare)| bare);
            let bare_price = self.models.get(bare);
            bare_price.or_else(|| undated(bare).and_then(|name| self.models.get(name)))
        })
    }
}

impl ModelPrice {
    /// Price of what is written to the cache for an hour. Where writing has a price of its own at all, it is
    /// twice that of reading, as Anthropic has it for all its models.
    pub fn hour(&self) -> Money {
        let twice = || match self.cache_write {
            Some(short) => self.input_text.saturating_add(self.input_text).max(short),
            None => self.input_text,
        };
        self.cache_write_hour.unwrap_or_else(twice)
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

/// Cost of a call: every token at the price of its kind, every picture at that of its size, and the
/// call itself, times the model's, the account's and the system's multipliers, rounded once, half
/// away from zero. `None` when it is out of range.
pub fn cost(
    price: &ModelPrice,
    tokens: &Tokens,
    images: &Images,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    let pictures = pictures(price, images)?;
    total(price, parts(price, tokens), pictures, [rates, factor])
}

/// What the pictures of a call cost before multipliers.
fn pictures(price: &ModelPrice, images: &Images) -> Option<i128> {
    let Some(by_size) = &price.image else {
        return Some(0);
    };
    let each = by_size.sizes.get(&images.size).unwrap_or(&by_size.other);
    i128::from(each.nanos()).checked_mul(i128::from(images.count))
}

/// The most a call can cost that reads up to `input_max` tokens and writes up to `output_max`:
/// each at the dearest price of its direction, whatever kinds they turn out to be. Never below
/// `cost` of such a call without pictures. `None` when it is out of range.
pub fn ceiling(
    price: &ModelPrice,
    input_max: u64,
    output_max: u64,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    total(
        price,
        dearest(price, input_max, output_max),
        0,
        [rates, factor],
    )
}

/// The same for a call that asks for pictures, which cost what they cost.
pub fn ceiling_with_images(
    price: &ModelPrice,
    [input_max, output_max]: [u64; 2],
    images: &Images,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    let tokens = dearest(price, input_max, output_max);
    total(price, tokens, pictures(price, images)?, [rates, factor])
}

fn dearest(price: &ModelPrice, input_max: u64, output_max: u64) -> [(u64, Money); 2] {
    let dearest = |text: Money, others: &[Option<Money>]| {
        others.iter().flatten().copied().fold(text, Money::max)
    };
    let input = dearest(
        price.input_text,
        &[
            price.cached_text,
            price.cache_write,
            Some(price.hour()),
            price.input_audio,
            price.cached_audio,
            price.input_image,
        ],
    );
    let output = dearest(
        price.output_text,
        &[price.reason_text, price.output_audio, price.output_image],
    );
    [(input_max, input), (output_max, output)]
}

/// Counts at their prices per million, pictures and the price of the call, multiplied and rounded
/// once.
fn total(
    price: &ModelPrice,
    parts: impl IntoIterator<Item = (u64, Money)>,
    pictures: i128,
    [rates, factor]: [Multiplier; 2],
) -> Option<Money> {
    let per_million = parts.into_iter().try_fold(0i128, |total, (count, unit)| {
        i128::from(count)
            .checked_mul(i128::from(unit.nanos()))
            .and_then(|part| total.checked_add(part))
    })?;
    let pieces = i128::from(price.call.nanos()).checked_add(pictures)?;
    let base = pieces
        .checked_mul(1_000_000)
        .and_then(|pieces| per_million.checked_add(pieces))?;
    let [one, two, three] =
        [price.rates, rates, factor].map(|multiplier| i128::from(multiplier.micros()));
    let factors = [base, one, two, three];
    // Dear models with high multipliers leave the range on the way, though the result is in it.
    product_over(factors, SCALE)
        .or_else(|| {
            let (factors, scale) = reduced(factors, SCALE);
            product_over(factors, scale)
        })
        .map(Money::from_nanos)
}

/// What stands under tokens × price per million × three multipliers in millionths.
const SCALE: i128 = 10i128.pow(24);

fn product_over(factors: [i128; 4], scale: i128) -> Option<i64> {
    let product = factors.into_iter().try_fold(1, i128::checked_mul)?;
    div_round(product, scale)
}

/// The same fraction without what its two sides share.
fn reduced(mut factors: [i128; 4], mut scale: i128) -> ([i128; 4], i128) {
    for factor in &mut factors {
        let (mut shared, mut rest) = (scale, *factor);
        while let Some(next) = shared.checked_rem(rest) {
            (shared, rest) = (rest, next);
        }
        *factor = factor.checked_div(shared).unwrap_or(*factor);
        scale = scale.checked_div(shared).unwrap_or(scale);
    }
    (factors, scale)
}

/// Disjoint parts of the tokens, each with its price. Their counts add up to input plus output,
/// whatever nonsense a provider reports: a part is never larger than what is left of its total.
fn parts(price: &ModelPrice, tokens: &Tokens) -> [(u64, Money); 10] {
    let mut input = tokens.input;
    let mut output = tokens.output;
    let take = |left: &mut u64, wanted: u64| {
        let taken = wanted.min(*left);
        *left = left.saturating_sub(taken);
        taken
    };
    let cached = take(&mut input, tokens.cached);
    let mut cache_write = take(&mut input, tokens.cache_write);
    let hour = take(&mut cache_write, tokens.cache_write_hour);
    let input_audio = take(&mut input, tokens.input_audio);
    let input_image = take(&mut input, tokens.input_image);
    let output_audio = take(&mut output, tokens.output_audio);
    let output_image = take(&mut output, tokens.output_image);
    let reasoning = take(&mut output, tokens.reasoning);
    [
        (input, price.input_text),
        (cached, price.cached_text.unwrap_or(price.input_text)),
        (cache_write, price.cache_write.unwrap_or(price.input_text)),
        (hour, price.hour()),
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

    const NO_IMAGES: Images = Images {
        count: 0,
        size: String::new(),
    };

    pub(crate) fn price(input: i64, output: i64) -> ModelPrice {
        ModelPrice {
            provider: "openai".to_owned(),
            input_text: Money::from_nanos(input),
            output_text: Money::from_nanos(output),
            ..ModelPrice::of_call(Money::ZERO)
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
        let plain = cost(&gpt, &tokens, &NO_IMAGES, Multiplier::ONE, Multiplier::ONE).unwrap();
        assert_eq!(plain.nanos(), 4_000_000);
        let rates = Multiplier::from_number(1.5).unwrap();
        let factor = Multiplier::from_number(2.0).unwrap();
        assert_eq!(
            cost(&gpt, &tokens, &NO_IMAGES, rates, factor)
                .unwrap()
                .nanos(),
            12_000_000
        );
    }

    #[test]
    fn what_is_kept_for_an_hour_costs_twice_the_input_where_writing_has_a_price() {
        let tokens = Tokens {
            input: 1_000_000,
            cache_write: 1_000_000,
            cache_write_hour: 400_000,
            ..Tokens::default()
        };
        let short = price(1_000, 0);
        let both = ModelPrice {
            cache_write: Some(Money::from_nanos(1_250)),
            ..short.clone()
        };
        let own = ModelPrice {
            cache_write_hour: Some(Money::from_nanos(3_000)),
            ..both.clone()
        };
        for (price, nanos) in [(&short, 1_000), (&both, 750 + 800), (&own, 750 + 1_200)] {
            let cost = cost(price, &tokens, &NO_IMAGES, Multiplier::ONE, Multiplier::ONE);
            assert_eq!(cost.unwrap().nanos(), nanos);
        }
    }

    #[test]
    fn pictures_cost_what_their_size_costs() {
        // dall-e-3: $0.04, and $0.08 for the tall and the wide one.
        let dollars = |number| Money::from_dollars(number).unwrap();
        let dall_e = ModelPrice {
            image: Some(ImagePrice {
                sizes: BTreeMap::from([("1024x1792".to_owned(), dollars(0.08))]),
                other: dollars(0.04),
            }),
            ..price(0, 0)
        };
        let double = Multiplier::from_number(2.0).unwrap();
        for (count, size, nanos) in [
            (0, "1024x1792", 0),
            (1, "", 80_000_000),
            (3, "1024x1024", 240_000_000),
            (3, "1024x1792", 480_000_000),
        ] {
            let images = Images {
                count,
                size: size.to_owned(),
            };
            let none = Tokens::default();
            let cost = cost(&dall_e, &none, &images, double, Multiplier::ONE).unwrap();
            assert_eq!(cost.nanos(), nanos, "{count} of {size:?}");
            let most = ceiling_with_images(&dall_e, [9, 9], &images, double, Multiplier::ONE);
            assert_eq!(most, Some(cost));
        }
    }

    #[test]
    fn a_fine_tuned_model_costs_what_tuned_models_of_its_base_cost() {
        let mut table = PriceTable::default();
        table.models.insert("gpt-4o".to_owned(), price(1, 2));
        table.models.insert("ft:gpt-4o".to_owned(), price(3, 4));
        for name in [
            "ft:gpt-4o:acme::8Xyz",
            "ft:gpt-4o-2024-08-06:acme:mine:8Xyz",
            "ft:gpt-4o",
        ] {
            assert_eq!(table.find(name), Some(&price(3, 4)), "{name}");
        }
        for name in ["ft:gpt-4:acme::8Xyz", "ft:", "ft::x", "ft:gpt-4o-mini:a::b"] {
            assert_eq!(table.find(name), None, "{name}");
        }
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

    #[test]
    fn a_dear_call_with_high_multipliers_is_priced_all_the_same() {
        // o1-pro: $150 in, $600 out per million; 200,000 in, 100,000 out is $90.
        let dear = price(150_000_000_000, 600_000_000_000);
        let tokens = Tokens {
            input: 200_000,
            output: 100_000,
            ..Tokens::default()
        };
        let [rates, factor] = [75.25, 99.75].map(|number| Multiplier::from_number(number).unwrap());
        let cost = cost(&dear, &tokens, &NO_IMAGES, rates, factor).unwrap();
        assert_eq!(cost.nanos(), 675_556_875_000_000);
    }

    fn any_price() -> impl Strategy<Value = ModelPrice> {
        let unit = || (0i64..1_000_000_000_000).prop_map(Money::from_nanos);
        let some = || proptest::option::of(unit());
        let input = (unit(), some(), some(), some(), some());
        let output = (unit(), some(), some(), some());
        let whole = (unit(), 1i64..5_000);
        (input, output, whole).prop_map(|(input, output, (call, rates))| ModelPrice {
            cached_text: input.1,
            cache_write: input.2,
            cache_write_hour: input.2.filter(|hour| hour.nanos() % 2 == 0),
            input_audio: input.3,
            input_image: input.4,
            reason_text: output.1,
            output_audio: output.2,
            output_image: output.3,
            call,
            rates: Multiplier::from_micros(rates * 1000).unwrap(),
            ..price(input.0.nanos(), output.0.nanos())
        })
    }

    fn any_tokens() -> impl Strategy<Value = Tokens> {
        let count = || 0u64..3_000_000;
        let parts = proptest::array::uniform8(count());
        (count(), count(), parts).prop_map(|(input, output, parts)| Tokens {
            input,
            output,
            cached: parts[0],
            cache_write: parts[1],
            reasoning: parts[2],
            input_audio: parts[3],
            output_audio: parts[4],
            input_image: parts[5],
            output_image: parts[6],
            cache_write_hour: parts[7],
        })
    }

    proptest! {
        #[test]
        fn no_split_of_the_tokens_costs_more_than_the_ceiling(
            price in any_price(), tokens in any_tokens(), less in (0u64..5_000, 0u64..5_000),
            rates in 1i64..1_000, factor in 1i64..1_000,
        ) {
            let [rates, factor] = [rates, factor].map(|hundredths| Multiplier::from_micros(hundredths * 10_000).unwrap());
            let cost = cost(&price, &tokens, &NO_IMAGES, rates, factor).unwrap();
            let exact = ceiling(&price, tokens.input, tokens.output, rates, factor).unwrap();
            let wider = ceiling(&price, tokens.input + less.0, tokens.output + less.1, rates, factor).unwrap();
            prop_assert!(cost <= exact && exact <= wider);
        }

        #[test]
        fn the_priced_parts_partition_the_tokens(price in any_price(), tokens in any_tokens()) {
            let parts = parts(&price, &tokens);
            let of = |range: std::ops::Range<usize>| parts[range].iter().map(|(count, _)| count).sum::<u64>();
            prop_assert_eq!(of(0..6), tokens.input);
            prop_assert_eq!(of(6..10), tokens.output);
        }

        #[test]
        fn with_one_price_only_the_totals_count(
            input in 0u64..1_000_000, output in 0u64..1_000_000, parts in proptest::array::uniform7(0u64..2_000_000),
        ) {
            let tokens = Tokens {
                input, output, cached: parts[0], cache_write: parts[1], reasoning: parts[2],
                input_audio: parts[3], output_audio: parts[4], input_image: parts[5], output_image: parts[6], cache_write_hour: parts[3],
            };
            let flat = cost(&price(1_000_000, 1_000_000), &tokens, &NO_IMAGES, Multiplier::ONE, Multiplier::ONE).unwrap();
            prop_assert_eq!(flat.nanos(), i64::try_from(input + output).unwrap());
        }

        #[test]
        fn more_tokens_never_cost_less(input in 0u64..1_000_000, more in 0u64..1_000_000, unit in 0i64..100_000_000_000) {
            let of = |input| cost(
                &price(unit, unit), &Tokens { input, ..Tokens::default() }, &NO_IMAGES, Multiplier::ONE, Multiplier::ONE,
            ).unwrap();
            prop_assert!(of(input) <= of(input + more));
        }
    }
}
