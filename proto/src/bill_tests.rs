//! Costs computed by hand, and properties that hold for all of them.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::{
    part::PARTS,
    price::{LongPromptPrices, SizePrice},
};

static NO_IMAGES: ImageUsage = ImageUsage {
    count: 0,
    size: String::new(),
};
static NOTHING: LazyLock<TokenUsage> = LazyLock::new(TokenUsage::default);
const ONE: Multiplier = Multiplier::ONE;

fn priced(prices: &[(BillPart, i64)]) -> ModelPrice {
    let mut price = ModelPrice::of_call(Money::ZERO);
    for (part, nanos) in prices {
        price
            .standard
            .units
            .set(*part, Some(Money::from_nanos(*nanos)));
    }
    price
}

fn text(input: i64, output: i64) -> ModelPrice {
    priced(&[(BillPart::InputText, input), (BillPart::OutputText, output)])
}

fn of(tokens: &TokenUsage) -> BilledUsage<'_> {
    BilledUsage {
        tokens,
        images: &NO_IMAGES,
        pieces: &[],
        tier: "",
    }
}

fn tokens_cost(
    price: &ModelPrice,
    tokens: &TokenUsage,
    rates: Multiplier,
    factor: Multiplier,
) -> Option<Money> {
    cost(price, &of(tokens), rates, factor)
}

fn most(input: u64, output: u64) -> UsageCeiling<'static> {
    UsageCeiling {
        input,
        output,
        images: &NO_IMAGES,
        pieces: &[],
        tier: None,
    }
}

#[test]
fn a_call_costs_its_tokens_at_their_prices() {
    // gpt-4o: $2.50 in, $1.25 cached, $10 out per million.
    let gpt = priced(&[
        (BillPart::InputText, 2_500_000_000),
        (BillPart::CachedText, 1_250_000_000),
        (BillPart::OutputText, 10_000_000_000),
    ]);
    let tokens = TokenUsage {
        input: 1000,
        cached: 400,
        output: 200,
        ..TokenUsage::default()
    };
    // 600 * 2.5 + 400 * 1.25 + 200 * 10 = 4000 micro-dollars.
    let plain = tokens_cost(&gpt, &tokens, ONE, ONE).unwrap();
    assert_eq!(plain.nanos(), 4_000_000);
    let rates = Multiplier::from_number(1.5).unwrap();
    let factor = Multiplier::from_number(2.0).unwrap();
    let dear = tokens_cost(&gpt, &tokens, rates, factor).unwrap();
    assert_eq!(dear.nanos(), 12_000_000);
    let told: Vec<_> = lines(&gpt, &of(&tokens))
        .lines
        .iter()
        .map(|line| {
            (
                line.part.name(),
                line.quantity,
                line.amount().unwrap().nanos(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("input_text", 600, 1_500_000),
            ("cached_text", 400, 500_000),
            ("output_text", 200, 2_000_000),
        ]
    );
}

#[test]
fn what_is_kept_for_an_hour_costs_twice_the_input_where_writing_has_a_price() {
    let tokens = TokenUsage {
        input: 1_000_000,
        cache_write: 1_000_000,
        cache_write_hour: 400_000,
        ..TokenUsage::default()
    };
    let short = (BillPart::InputText, 1_000);
    let write = (BillPart::CacheWrite, 1_250);
    let own = (BillPart::CacheWriteHour, 3_000);
    for (prices, nanos) in [
        (&[short][..], 1_000),
        (&[short, write], 750 + 800),
        (&[short, write, own], 750 + 1_200),
    ] {
        let cost = tokens_cost(&priced(prices), &tokens, ONE, ONE);
        assert_eq!(cost.unwrap().nanos(), nanos);
    }
}

#[test]
fn pictures_cost_what_their_size_costs() {
    // dall-e-3: $0.04, and $0.08 for the tall and the wide one.
    let dollars = |number| Money::from_dollars(number).unwrap();
    let dall_e = ModelPrice {
        image: Some(SizePrice {
            sizes: [("1024x1792".to_owned(), dollars(0.08))].into(),
            other: dollars(0.04),
        }),
        ..text(0, 0)
    };
    let double = Multiplier::from_number(2.0).unwrap();
    for (count, size, nanos) in [
        (0, "1024x1792", 0),
        (1, "", 80_000_000),
        (3, "1024x1024", 240_000_000),
        (3, "1024x1792", 480_000_000),
        (3, "hd/1024x1792", 480_000_000),
    ] {
        let images = &ImageUsage {
            count,
            size: size.to_owned(),
        };
        let used = BilledUsage {
            images,
            ..of(&NOTHING)
        };
        let cost = cost(&dall_e, &used, double, ONE).unwrap();
        assert_eq!(cost.nanos(), nanos, "{count} of {size:?}");
        let most = UsageCeiling {
            images,
            ..most(9, 9)
        };
        assert_eq!(ceiling(&dall_e, &most, double, ONE), Some(cost));
    }
}

#[test]
fn a_dear_call_with_high_multipliers_is_priced_all_the_same() {
    // o1-pro: $150 in, $600 out per million; 200,000 in, 100,000 out is $90.
    let dear = text(150_000_000_000, 600_000_000_000);
    let tokens = TokenUsage {
        input: 200_000,
        output: 100_000,
        ..TokenUsage::default()
    };
    let [rates, factor] = [75.25, 99.75].map(|number| Multiplier::from_number(number).unwrap());
    let cost = tokens_cost(&dear, &tokens, rates, factor).unwrap();
    assert_eq!(cost.nanos(), 675_556_875_000_000);
}

#[test]
fn the_whole_of_a_long_prompt_costs_what_its_step_says() {
    let mut price = text(1_000_000_000, 2_000_000_000);
    let mut units = price.standard.units.clone();
    units.set(BillPart::InputText, Some(Money::from_nanos(3_000_000_000)));
    price.standard.steps = vec![LongPromptPrices {
        above: 1_000,
        units,
    }];
    for (input, nanos, above) in [(1_000, 1_000_000, None), (1_001, 3_003_000, Some(1_000))] {
        let tokens = TokenUsage {
            input,
            ..TokenUsage::default()
        };
        let sum = lines(&price, &of(&tokens));
        assert_eq!(
            (sum.cost(ONE, ONE).unwrap().nanos(), sum.above),
            (nanos, above)
        );
    }
}

#[test]
fn the_tier_that_served_has_its_prices_and_one_without_is_named() {
    let mut price = text(1_000_000_000, 0);
    let half = text(500_000_000, 0).standard;
    price.tiers.insert("flex".to_owned(), half);
    let tokens = TokenUsage {
        input: 1_000,
        ..TokenUsage::default()
    };
    for (tier, nanos, named) in [
        ("", 1_000_000, false),
        ("default", 1_000_000, false),
        ("flex", 500_000, false),
        ("priority", 1_000_000, true),
    ] {
        let used = BilledUsage {
            tier,
            ..of(&tokens)
        };
        let sum = lines(&price, &used);
        assert_eq!(sum.cost(ONE, ONE).unwrap().nanos(), nanos, "{tier}");
        let unpriced: Vec<_> = sum.unpriced().collect();
        assert_eq!(unpriced == [BillPart::Tier], named, "{tier}");
    }
}

#[test]
fn what_was_used_and_has_no_price_is_named() {
    let pieces = [(BillPart::WebSearch, 3), (BillPart::FileSearch, 2)];
    let used = BilledUsage {
        pieces: &pieces,
        ..of(&NOTHING)
    };
    let sum = lines(&priced(&[(BillPart::FileSearch, 7)]), &used);
    assert_eq!(sum.cost(ONE, ONE).unwrap().nanos(), 14);
    assert_eq!(sum.unpriced().collect::<Vec<_>>(), [BillPart::WebSearch]);
    assert_eq!(sum.pieces(), pieces);
    assert_eq!(without_price(&used).unpriced().count(), 2);
}

#[test]
fn units_other_than_tokens_have_prices_of_their_own_size() {
    // $15 for a million characters, $0.36 an hour.
    let speech = priced(&[(BillPart::Character, 15_000_000_000)]);
    let mut listen = priced(&[(BillPart::AudioHour, 360_000_000)]);
    let of = |price: &ModelPrice, part, quantity| {
        let used = BilledUsage {
            pieces: &[(part, quantity)],
            ..of(&NOTHING)
        };
        cost(price, &used, ONE, ONE).unwrap().nanos()
    };
    assert_eq!(of(&speech, BillPart::Character, 1_234), 18_510_000);
    // A minute and a half at $0.006 a minute.
    assert_eq!(of(&listen, BillPart::AudioHour, 90_000), 9_000_000);
    listen.audio_ms_min = 10_000;
    assert_eq!(of(&listen, BillPart::AudioHour, 1), 1_000_000);
    assert_eq!(of(&listen, BillPart::AudioHour, 0), 0);
}

#[test]
fn a_call_costs_no_less_than_its_minimum() {
    let mut price = text(1, 1_500_000);
    price.minimum = Money::from_nanos(10);
    for (output, nanos) in [(0, 10), (1, 10), (3, 10), (6, 10), (7, 11), (100, 150)] {
        let tokens = TokenUsage {
            output,
            ..TokenUsage::default()
        };
        let cost = tokens_cost(&price, &tokens, ONE, ONE).unwrap();
        assert_eq!(cost.nanos(), nanos, "{output}");
        assert!(cost <= ceiling(&price, &most(0, output), ONE, ONE).unwrap());
    }
}

#[test]
fn the_dearest_tier_that_may_serve_is_set_aside() {
    let mut price = text(1_000_000, 0);
    for (tier, nanos) in [
        ("flex", 500_000),
        ("priority", 2_000_000),
        ("fast", 6_000_000),
    ] {
        price.tiers.insert(tier.to_owned(), text(nanos, 0).standard);
    }
    for (tier, nanos) in [
        (None, 10),
        (Some("default"), 10),
        (Some("flex"), 10),
        (Some("priority"), 20),
        (Some("auto"), 60),
        (Some("whatever"), 60),
    ] {
        let most = UsageCeiling {
            tier,
            ..most(10, 0)
        };
        assert_eq!(
            ceiling(&price, &most, ONE, ONE).unwrap().nanos(),
            nanos,
            "{tier:?}"
        );
    }
}

#[test]
fn sound_that_is_told_in_tokens_is_not_charged_by_the_hour_as_well() {
    let table = crate::price_file::load(None).unwrap();
    let both: Vec<_> = table
        .models
        .iter()
        .filter(|(_, price)| {
            let own = |part| price.standard.units.own(part).is_some();
            own(BillPart::AudioHour) && own(BillPart::InputAudio)
        })
        .collect();
    assert!(both.iter().any(|(name, _)| *name == "gpt-4o-transcribe"));
    let tokens = TokenUsage {
        input: 122,
        input_audio: 122,
        output: 47,
        ..TokenUsage::default()
    };
    let hour = [(BillPart::AudioHour, 3_600_000)];
    for (name, price) in both {
        let cost = |tokens: &TokenUsage, pieces: &[(BillPart, u64)]| {
            let sum = lines(
                price,
                &BilledUsage {
                    pieces,
                    ..of(tokens)
                },
            );
            assert_eq!(sum.unpriced().count(), 0, "{name}");
            assert_eq!(
                sum.quantity(BillPart::AudioHour),
                pieces.iter().map(|(_, ms)| ms).sum::<u64>()
            );
            sum.cost(ONE, ONE).unwrap()
        };
        assert_eq!(cost(&tokens, &hour), cost(&tokens, &[]), "{name}");
        let hours = price.of(BillPart::AudioHour).unwrap();
        assert_eq!(cost(&TokenUsage::default(), &hour), hours, "{name}");
    }
}

/// A price of everything, with a step and a tier.
fn any_price() -> impl Strategy<Value = ModelPrice> {
    let units = || proptest::collection::vec(proptest::option::of(0i64..1_000_000_000_000), PARTS);
    let whole = (1i64..5_000, 0i64..3, 0u64..3_000_000, 0u64..100_000);
    (units(), units(), units(), whole).prop_map(
        |(base, step, tier, (rates, minimum, above, audio_ms_min))| {
            let of = |given: &[Option<i64>]| {
                let mut units = PartPrices::default();
                for (part, nanos) in BillPart::all()
                    .zip(given)
                    .filter(|(part, _)| part.field().is_some())
                {
                    units.set(part, nanos.map(Money::from_nanos));
                }
                units
            };
            let scale = |base: &[Option<i64>]| TierPrices {
                units: of(base),
                steps: vec![LongPromptPrices {
                    above,
                    units: of(&step),
                }],
            };
            ModelPrice {
                standard: scale(&base),
                tiers: [("flex".to_owned(), scale(&tier))].into(),
                minimum: Money::from_nanos(minimum * 1_000_000_000),
                audio_ms_min,
                rates: Multiplier::from_micros(rates * 1000).unwrap(),
                ..ModelPrice::of_call(Money::ZERO)
            }
        },
    )
}

fn any_tokens() -> impl Strategy<Value = TokenUsage> {
    let count = || 0u64..3_000_000;
    (count(), count(), proptest::array::uniform11(count())).prop_map(|(input, output, parts)| {
        TokenUsage {
            input,
            output,
            cached: parts[0],
            cache_write: parts[1],
            cache_write_hour: parts[2],
            reasoning: parts[3],
            input_audio: parts[4],
            output_audio: parts[5],
            input_image: parts[6],
            output_image: parts[7],
            input_video: parts[8],
            cached_audio: parts[9],
            cached_image: parts[10],
        }
    })
}

fn any_pieces() -> impl Strategy<Value = Vec<(BillPart, u64)>> {
    let pieces: Vec<_> = BillPart::all()
        .filter(|part| {
            *part > BillPart::OutputImage && *part < BillPart::Call && *part != BillPart::Image
        })
        .collect();
    proptest::collection::vec((proptest::sample::select(pieces), 0u64..1_000), 0..5)
}

proptest! {
    #[test]
    fn nothing_that_is_used_costs_more_than_the_ceiling(
        price in any_price(), tokens in any_tokens(), pieces in any_pieces(), less in (0u64..5_000, 0u64..5_000),
        rates in 1i64..1_000, factor in 1i64..1_000, tier in proptest::sample::select(vec!["", "flex", "other"]),
    ) {
        let [rates, factor] = [rates, factor].map(|hundredths| Multiplier::from_micros(hundredths * 10_000).unwrap());
        let used = BilledUsage { pieces: &pieces, tier, ..of(&tokens) };
        let cost = cost(&price, &used, rates, factor).unwrap();
        let most = UsageCeiling { pieces: &pieces, tier: Some(tier), ..most(tokens.input, tokens.output) };
        let exact = ceiling(&price, &most, rates, factor).unwrap();
        let wider = UsageCeiling { input: tokens.input + less.0, output: tokens.output + less.1, ..most };
        prop_assert!(cost <= exact && exact <= ceiling(&price, &wider, rates, factor).unwrap());
    }

    #[test]
    fn the_lines_partition_what_was_used(price in any_price(), tokens in any_tokens(), pieces in any_pieces()) {
        let sum = lines(&price, &BilledUsage { pieces: &pieces, ..of(&tokens) });
        let of = |chosen: fn(BillPart) -> bool| {
            let lines = sum.lines.iter().filter(|line| chosen(line.part));
            lines.map(|line| line.quantity).sum::<u64>()
        };
        prop_assert_eq!(of(BillPart::is_input), tokens.input);
        prop_assert_eq!(of(BillPart::is_output), tokens.output);
        for part in BillPart::all() {
            prop_assert!(sum.lines.iter().filter(|line| line.part == part).count() <= 1, "nothing is priced twice");
        }
        for (part, _) in &pieces {
            let all = pieces.iter().filter(|(other, _)| other == part).map(|(_, count)| count).sum::<u64>();
            let least = if *part == BillPart::AudioHour { price.audio_ms_min } else { 0 };
            prop_assert!(sum.quantity(*part) >= all && (all == 0 || sum.quantity(*part) <= all + 5 * least));
        }
    }

    #[test]
    fn the_cost_is_the_sum_of_the_lines(price in any_price(), tokens in any_tokens(), pieces in any_pieces()) {
        let mut price = price;
        price.rates = ONE;
        let sum = lines(&price, &BilledUsage { pieces: &pieces, ..of(&tokens) });
        let amounts: i64 = sum.lines.iter().map(|line| line.amount().unwrap().nanos()).sum();
        let cost = sum.cost(ONE, ONE).unwrap().nanos();
        // Each line is rounded for itself.
        prop_assert!((amounts - cost).unsigned_abs() <= sum.lines.len() as u64);
    }

    #[test]
    fn with_one_price_only_the_totals_count(tokens in any_tokens()) {
        let flat = tokens_cost(&text(1_000_000, 1_000_000), &tokens, ONE, ONE).unwrap();
        prop_assert_eq!(flat.nanos(), i64::try_from(tokens.input + tokens.output).unwrap());
    }

    #[test]
    fn more_tokens_never_cost_less(input in 0u64..1_000_000, more in 0u64..1_000_000, unit in 0i64..100_000_000_000) {
        let of = |input| {
            let tokens = TokenUsage { input, ..TokenUsage::default() };
            tokens_cost(&text(unit, unit), &tokens, ONE, ONE).unwrap()
        };
        prop_assert!(of(input) <= of(input + more));
    }
}
