//! The one place that turns usage into money: the lines of a bill, whose sum is the cost.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::float_arithmetic)
)]

use crate::{
    money::{Money, Multiplier, div_round},
    part::BillPart,
    price::{self, ModelPrice, PartPrices, TierPrices},
    tokens::{ImageUsage, TokenUsage},
};

/// The billable usage of a call.
#[derive(Debug, Clone, Copy)]
pub struct BilledUsage<'a> {
    /// Tokens by kind.
    pub tokens: &'a TokenUsage,
    /// Images requested.
    pub images: &'a ImageUsage,
    /// Everything else, by part.
    pub pieces: &'a [(BillPart, u64)],
    /// The tier that served, as the response reports it.
    pub tier: &'a str,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLine {
    /// The kind of charge.
    pub part: BillPart,
    /// The quantity, in units of the part.
    pub quantity: u64,
    /// Price of one unit; `None` if the table has none, and the line then costs nothing.
    pub price: Option<Money>,
}

/// All lines of a call's bill, before the multipliers of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallBill {
    /// In the order of their parts.
    pub lines: Vec<PriceLine>,
    /// The prompt length above which these prices apply; `None` if they are the prices for short prompts.
    pub above: Option<u64>,
    /// The model's own multiplier.
    pub rates: Multiplier,
}

/// Sums of lines are kept in this fraction of a nano-dollar, in which the price of every unit is a whole number.
const FINE: u64 = 18_000_000;
/// Denominator of such a sum times three multipliers in millionths.
const SCALE: i128 = 18 * 10i128.pow(24);

// === impl PriceLine ===

impl PriceLine {
    /// Its amount, in units of 1/`FINE` nano-dollar.
    fn exact_sum(&self) -> Option<i128> {
        let Some(price) = self.price else {
            return Some(0);
        };
        let each = FINE.checked_div(self.part.unit().per())?;
        i128::from(self.quantity)
            .checked_mul(i128::from(price.nanos()))?
            .checked_mul(i128::from(each))
    }

    /// Its amount in nano-dollars, rounded. The total is rounded once, so the sum of lines may differ in the last
    /// digit.
    pub fn amount(&self) -> Option<Money> {
        div_round(self.exact_sum()?, i128::from(FINE)).map(Money::from_nanos)
    }
}

// === impl CallBill ===

impl Default for CallBill {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            above: None,
            rates: Multiplier::ONE,
        }
    }
}

impl CallBill {
    /// The cost: the sum of all lines times the multipliers of model, account and system, rounded once, half away from
    /// zero. Returns `None` if it is out of range.
    pub fn cost(&self, rates: Multiplier, factor: Multiplier) -> Option<Money> {
        let base = fine(&self.lines)?;
        multiplied(base, [self.rates, rates, factor])
    }

    /// The sum of all lines times only this multiplier, rounded once.
    pub fn base(&self, factor: Multiplier) -> Option<Money> {
        multiplied(
            fine(&self.lines)?,
            [factor, Multiplier::ONE, Multiplier::ONE],
        )
    }

    /// Parts that were used and have no price.
    pub fn unpriced(&self) -> impl Iterator<Item = BillPart> + '_ {
        let lines = self.lines.iter().filter(|line| line.price.is_none());
        lines.map(|line| line.part)
    }

    /// The quantity of a part that was used.
    pub fn quantity(&self, part: BillPart) -> u64 {
        let line = self.lines.iter().find(|line| line.part == part);
        line.map_or(0, |line| line.quantity)
    }

    /// Quantities that are neither tokens nor requested by the call itself.
    pub fn pieces(&self) -> Vec<(BillPart, u64)> {
        let piece = |line: &&PriceLine| {
            let own = [
                BillPart::Image,
                BillPart::Call,
                BillPart::Minimum,
                BillPart::Tier,
            ];
            !line.part.is_input() && !line.part.is_output() && !own.contains(&line.part)
        };
        let pieces = self.lines.iter().filter(piece);
        pieces.map(|line| (line.part, line.quantity)).collect()
    }
}

/// The bill of a call: every token at the price of its kind, every other quantity at the price of its part. Usage
/// without a price is listed and costs nothing.
pub fn lines(price: &ModelPrice, used: &BilledUsage<'_>) -> CallBill {
    lines_of_many(price, used, used.tokens.input)
}

/// Like [`lines`], for the sum of several calls whose longest prompt has `longest` tokens.
pub fn lines_of_many(price: &ModelPrice, used: &BilledUsage<'_>, longest: u64) -> CallBill {
    let (scale, known) = price.scale(used.tier);
    let (units, above) = scale.at(longest);
    let mut sum = CallBill {
        lines: Vec::with_capacity(4),
        above,
        rates: price.rates,
    };
    for (part, quantity) in partition(used.tokens) {
        push(&mut sum.lines, units, part, quantity);
    }
    for (part, quantity) in used.pieces {
        let quantity = match part {
            BillPart::AudioHour if *quantity > 0 => (*quantity).max(price.audio_ms_min),
            _ => *quantity,
        };
        push(&mut sum.lines, units, *part, quantity);
    }
    hours_in_tokens(units, used, &mut sum.lines);
    size_lines(price, used, &mut sum.lines);
    if units
        .get(BillPart::Call)
        .is_some_and(|call| call > Money::ZERO)
    {
        push(&mut sum.lines, units, BillPart::Call, 1);
    }
    if !known {
        push(&mut sum.lines, units, BillPart::Tier, 1);
    }
    let missing = missing(&sum.lines, price.minimum);
    if missing > 0 {
        sum.lines.push(PriceLine {
            part: BillPart::Minimum,
            quantity: missing,
            price: Some(Money::from_nanos(1)),
        });
    }
    sum
}

/// The bill of a call whose model has no price.
pub fn without_price(used: &BilledUsage<'_>) -> CallBill {
    let nothing = ModelPrice {
        standard: TierPrices::default(),
        ..ModelPrice::of_call(Money::ZERO)
    };
    let mut sum = lines(&nothing, used);
    sum.lines.retain(|line| line.part != BillPart::Tier);
    sum
}

/// Cost of a call. Returns `None` if it is out of range.
pub fn cost(
    price: &ModelPrice,
    used: &BilledUsage<'_>,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    lines(price, used).cost(rates, factor)
}

fn push(lines: &mut Vec<PriceLine>, units: &PartPrices, part: BillPart, quantity: u64) {
    if quantity == 0 {
        return;
    }
    match lines.iter_mut().find(|line| line.part == part) {
        Some(line) => line.quantity = line.quantity.saturating_add(quantity),
        None => lines.push(PriceLine {
            part,
            quantity,
            price: units.get(part),
        }),
    }
}

/// If audio tokens have their own price, reported tokens of a recording count as audio. The price per hour is for calls
/// whose provider reports no tokens.
fn hours_in_tokens(units: &PartPrices, used: &BilledUsage<'_>, lines: &mut [PriceLine]) {
    if used.tokens.input == 0 || units.own(BillPart::InputAudio).is_none() {
        return;
    }
    let hours = lines
        .iter_mut()
        .filter(|line| line.part == BillPart::AudioHour);
    for line in hours {
        line.price = line.price.map(|_| Money::ZERO);
    }
}

/// Images and video, which are priced by size.
fn size_lines(price: &ModelPrice, used: &BilledUsage<'_>, lines: &mut Vec<PriceLine>) {
    let ImageUsage { count, size } = used.images;
    if let Some(by_size) = price.image.as_ref().filter(|_| *count > 0) {
        lines.push(PriceLine {
            part: BillPart::Image,
            quantity: *count,
            price: Some(by_size.of(size)),
        });
    }
    if let Some(by_size) = &price.video {
        let video = lines
            .iter_mut()
            .filter(|line| line.part == BillPart::VideoSecond);
        for line in video {
            line.price = Some(by_size.of(size));
        }
    }
}

/// The difference to the minimum price of a call, in nano-dollars. Half a nano-dollar counts as none, so that the sum
/// rounds to exactly the minimum.
fn missing(lines: &[PriceLine], minimum: Money) -> u64 {
    if minimum == Money::ZERO {
        return 0;
    }
    let least = i128::from(minimum.nanos()).checked_mul(i128::from(FINE));
    let missing = least
        .zip(fine(lines))
        .and_then(|(least, sum)| least.checked_sub(sum))
        .and_then(|missing| missing.checked_mul(2)?.checked_sub(1))
        .filter(|twice| *twice > 0);
    let whole = missing.and_then(|twice| div_round(twice, i128::from(FINE).checked_mul(2)?));
    whole.map_or(0, |nanos| u64::try_from(nanos).unwrap_or_default())
}

fn fine(lines: &[PriceLine]) -> Option<i128> {
    lines
        .iter()
        .try_fold(0i128, |sum, line| sum.checked_add(line.exact_sum()?))
}

/// The most that a call can use, by any kind of token.
#[derive(Debug, Clone, Copy)]
pub struct UsageCeiling<'a> {
    /// Tokens that it reads.
    pub input: u64,
    /// Tokens that it generates.
    pub output: u64,
    /// Images that it requests.
    pub images: &'a ImageUsage,
    /// Everything else, by part. Web searches may turn out to be of any context size.
    pub pieces: &'a [(BillPart, u64)],
    /// The tier that it requests; `None` if it requests none.
    pub tier: Option<&'a str>,
}

/// The most a call can cost: each token at the highest price of its direction, the highest step it can reach and the
/// most expensive tier that may serve. Never below `cost` of the call. Returns `None` if it is out of range.
pub fn ceiling(
    price: &ModelPrice,
    most: &UsageCeiling<'_>,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    let mut dearest = [Money::ZERO; 3];
    let each = |units: &PartPrices| {
        let [input, output] = units.dearest();
        let call = units.get(BillPart::Call).unwrap_or_default();
        for (most, price) in dearest.iter_mut().zip([input, output, call]) {
            *most = price.max(*most);
        }
    };
    for_each_units(price, most, each);
    let counts = [most.input, most.output, 1];
    let parts = [BillPart::InputText, BillPart::OutputText, BillPart::Call];
    let mut sum: i128 = 0;
    let mut add = |part, quantity, price| {
        let line = PriceLine {
            part,
            quantity,
            price: Some(price),
        };
        sum = sum.checked_add(line.exact_sum()?)?;
        Some(())
    };
    for ((part, quantity), price) in parts.into_iter().zip(counts).zip(dearest) {
        add(part, quantity, price)?;
    }
    for (part, quantity) in most.pieces {
        let quantity = match part {
            BillPart::AudioHour => (*quantity).max(price.audio_ms_min),
            _ => *quantity,
        };
        let dearest = match (part, &price.video) {
            (BillPart::VideoSecond, Some(video)) => video.of(&most.images.size),
            // The context size is only known from the response.
            (BillPart::WebSearch, _) => SEARCHES
                .into_iter()
                .map(|size| dearest_of(price, most, size))
                .fold(Money::ZERO, Money::max),
            _ => dearest_of(price, most, *part),
        };
        add(*part, quantity, dearest)?;
    }
    if let Some(by_size) = &price.image {
        add(
            BillPart::Image,
            most.images.count,
            by_size.of(&most.images.size),
        )?;
    }
    // The difference to the minimum is rounded to whole nano-dollars.
    let least = match price.minimum {
        Money::ZERO => 0,
        least => i128::from(least.nanos()).checked_add(1)?,
    };
    multiplied(
        sum.max(least.checked_mul(FINE.into())?),
        [price.rates, rates, factor],
    )
}

/// Web searches, by context size.
const SEARCHES: [BillPart; 4] = [
    BillPart::WebSearch,
    BillPart::WebSearchLow,
    BillPart::WebSearchMedium,
    BillPart::WebSearchHigh,
];

fn dearest_of(price: &ModelPrice, most: &UsageCeiling<'_>, part: BillPart) -> Money {
    let mut dearest = Money::ZERO;
    for_each_units(price, most, |units| {
        dearest = units.get(part).unwrap_or_default().max(dearest);
    });
    dearest
}

/// Visits the prices that may apply to a call. The tier that serves may differ from the one requested.
fn for_each_units(price: &ModelPrice, most: &UsageCeiling<'_>, mut each: impl FnMut(&PartPrices)) {
    price.standard.up_to(most.input).for_each(&mut each);
    let Some(tier) = most.tier else {
        return;
    };
    let chosen_by_provider = !price.tiers.contains_key(tier) && !price::is_standard(tier);
    for (name, scale) in &price.tiers {
        if name == tier || tier == "auto" || chosen_by_provider {
            scale.up_to(most.input).for_each(&mut each);
        }
    }
}

fn multiplied(base: i128, multipliers: [Multiplier; 3]) -> Option<Money> {
    let [one, two, three] = multipliers.map(|multiplier| i128::from(multiplier.micros()));
    let factors = [base, one, two, three];
    // Expensive models with high multipliers overflow on the way, though the result is in range.
    product_over(factors, SCALE)
        .or_else(|| {
            let (factors, scale) = reduced(factors, SCALE);
            product_over(factors, scale)
        })
        .map(Money::from_nanos)
}

fn product_over(factors: [i128; 4], scale: i128) -> Option<i64> {
    let product = factors.into_iter().try_fold(1, i128::checked_mul)?;
    div_round(product, scale)
}

/// The same fraction without common factors.
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

/// Splits the tokens into disjoint parts, which add up to input plus output. A part is never larger than what is left
/// of its total, so inconsistent provider reports do no harm.
fn partition(tokens: &TokenUsage) -> [(BillPart, u64); 13] {
    let mut input = tokens.input;
    let mut output = tokens.output;
    let take = |left: &mut u64, wanted: u64| {
        let taken = wanted.min(*left);
        *left = left.saturating_sub(taken);
        taken
    };
    let mut cached = take(&mut input, tokens.cached);
    let cached_audio = take(&mut cached, tokens.cached_audio);
    let cached_image = take(&mut cached, tokens.cached_image);
    let mut cache_write = take(&mut input, tokens.cache_write);
    let hour = take(&mut cache_write, tokens.cache_write_hour);
    let fresh = |all: u64, cached: u64| all.saturating_sub(cached);
    let input_audio = take(&mut input, fresh(tokens.input_audio, cached_audio));
    let input_image = take(&mut input, fresh(tokens.input_image, cached_image));
    let input_video = take(&mut input, tokens.input_video);
    let output_audio = take(&mut output, tokens.output_audio);
    let output_image = take(&mut output, tokens.output_image);
    let reasoning = take(&mut output, tokens.reasoning);
    [
        (BillPart::InputText, input),
        (BillPart::CachedText, cached),
        (BillPart::CacheWrite, cache_write),
        (BillPart::CacheWriteHour, hour),
        (BillPart::InputAudio, input_audio),
        (BillPart::CachedAudio, cached_audio),
        (BillPart::InputImage, input_image),
        (BillPart::CachedImage, cached_image),
        (BillPart::InputVideo, input_video),
        (BillPart::OutputText, output),
        (BillPart::Reasoning, reasoning),
        (BillPart::OutputAudio, output_audio),
        (BillPart::OutputImage, output_image),
    ]
}

#[cfg(test)]
#[path = "bill_tests.rs"]
mod tests;
