//! Prices: what a model's parts cost, by the tier that serves and the length of the prompt.

use std::collections::{BTreeMap, HashMap};

use crate::{
    model_aliases,
    money::{Money, Multiplier},
    part::{BillPart, PARTS},
};

/// Prices of the parts of one model, in nano-dollars per unit of the part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPrices([Option<Money>; PARTS]);

/// Prices of one tier, by the length of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierPrices {
    /// Prices of every call that no step applies to.
    pub units: PartPrices,
    /// Prices of whole calls whose prompt is longer than a step, in ascending order.
    pub steps: Vec<LongPromptPrices>,
}

/// Prices of calls with long prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongPromptPrices {
    /// The longest prompt, in tokens with cached ones included, that these prices do not apply to.
    pub above: u64,
    /// The complete prices.
    pub units: PartPrices,
}

/// Price of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrice {
    /// Provider that sells it, as named in the price table.
    pub provider: String,
    /// Prices if the response names no other tier.
    pub standard: TierPrices,
    /// Prices by tier, as responses name it.
    pub tiers: BTreeMap<String, TierPrices>,
    /// Per image, added for each; `None` if images are charged only by tokens.
    pub image: Option<SizePrice>,
    /// Per second of video.
    pub video: Option<SizePrice>,
    /// The minimum price of a call.
    pub minimum: Money,
    /// The minimum duration of a recording that is charged, in milliseconds.
    pub audio_ms_min: u64,
    /// Multiplier of the whole price.
    pub rates: Multiplier,
    /// The most tokens the model reads in one call, if known.
    pub max_input: Option<u64>,
    /// The most tokens the model generates in one choice, if known. A call that asks for several choices may get this
    /// many in each.
    pub max_output: Option<u64>,
    /// Whether it is known to generate hidden reasoning before it answers.
    pub reasons: bool,
}

/// Price of an image or a second of video by its size, and by its quality if that matters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SizePrice {
    /// Dollars by `1024x1024`, `high/1024x1024` or `high`.
    pub sizes: BTreeMap<String, Money>,
    /// For all other sizes, and for calls that name none.
    pub other: Money,
}

/// The table version in records whose cost no table gave: calls at a fixed price, and work whose end was not seen. They
/// are never re-priced.
pub const NO_TABLE: &str = "fixed";

/// Names of the standard tier in responses.
const STANDARD: [&str; 5] = ["", "default", "standard", "on_demand", "auto"];

/// The tier of the calls of a batch, which are recorded as one sum.
pub const BATCH_TIER: &str = "batch";

/// Hash of names that each call looks up. Only control fills these maps, so outsiders cannot cause collisions.
pub type FastHashState = foldhash::fast::RandomState;

/// All prices of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceTable {
    /// Changes with every price change.
    pub version: String,
    /// Price by model name.
    pub models: HashMap<String, ModelPrice, FastHashState>,
    /// Host names by provider.
    pub provider_hosts: HashMap<String, Vec<String>>,
}

// === impl PartPrices ===

impl Default for PartPrices {
    fn default() -> Self {
        Self([None; PARTS])
    }
}

impl PartPrices {
    /// The price of a part in the table itself.
    pub fn own(&self, part: BillPart) -> Option<Money> {
        self.0.get(part as usize).copied().flatten()
    }

    /// The price that applies to a part: its own, or that of the part that replaces it.
    pub fn get(&self, part: BillPart) -> Option<Money> {
        self.own(part).or_else(|| match part {
            // If cache writes have their own price, keeping them for an hour costs twice the price of input text, as
            // for all models of Anthropic.
            BillPart::CacheWriteHour => {
                let text = self.get(BillPart::InputText)?;
                let short = self.own(BillPart::CacheWrite);
                Some(short.map_or(text, |short| text.saturating_add(text).max(short)))
            }
            _ => self.get(part.instead()?),
        })
    }

    /// The highest price of input, and of output.
    pub(crate) fn dearest(&self) -> [Money; 2] {
        let most = |parts: &mut dyn Iterator<Item = BillPart>| {
            let prices = parts.filter_map(|part| self.own(part));
            prices.max().unwrap_or_default()
        };
        let hour = self.get(BillPart::CacheWriteHour).unwrap_or_default();
        let input = most(&mut BillPart::all().filter(|part| part.is_input()));
        let output = most(&mut BillPart::all().filter(|part| part.is_output()));
        [input.max(hour), output]
    }

    /// Sets the price of a part.
    pub fn set(&mut self, part: BillPart, price: Option<Money>) {
        if let Some(place) = self.0.get_mut(part as usize) {
            *place = price;
        }
    }

    /// All parts that have their own price.
    pub fn all(&self) -> impl Iterator<Item = (BillPart, Money)> + '_ {
        BillPart::all().filter_map(|part| Some((part, self.own(part)?)))
    }
}

// === impl TierPrices ===

impl TierPrices {
    /// The prices of a call with a prompt of this length, and the step that it exceeds.
    pub fn at(&self, input: u64) -> (&PartPrices, Option<u64>) {
        let step = self.steps.iter().rev().find(|step| input > step.above);
        step.map_or((&self.units, None), |step| (&step.units, Some(step.above)))
    }

    /// All prices that apply to some prompt of at most this length.
    pub(crate) fn up_to(&self, input: u64) -> impl Iterator<Item = &PartPrices> {
        let steps = self.steps.iter().filter(move |step| input > step.above);
        std::iter::once(&self.units).chain(steps.map(|step| &step.units))
    }
}

// === impl SizePrice ===

impl SizePrice {
    /// The price of `SIZE` or `QUALITY/SIZE`: by the whole, else by quality, else by size, else `other`.
    pub fn of(&self, asked: &str) -> Money {
        let found = self.sizes.get(asked).or_else(|| {
            let (quality, size) = asked.split_once('/')?;
            self.sizes.get(quality).or_else(|| self.sizes.get(size))
        });
        *found.unwrap_or(&self.other)
    }
}

// === impl PriceTable ===

impl PriceTable {
    /// Price of a model by its exact name, else by the nearest of its other names: without `vendor/`, a trailing date
    /// or `-latest`, a router's mark. A fine-tuned model, `ft:BASE:owner:name:id`, has the price of `ft:BASE`.
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        if let Some(tuned) = model.strip_prefix("ft:") {
            let base = tuned.split(':').next().unwrap_or_default();
            return [base]
                .into_iter()
                .chain(model_aliases::undated(base))
                .find_map(|base| self.models.get(&format!("ft:{base}")));
        }
        // The exact name matches in most cases, and every call looks it up.
        let itself = self.models.get(model);
        itself.or_else(|| model_aliases::aliases(model).find_map(|name| self.models.get(&*name)))
    }
}

// === impl ModelPrice ===

impl ModelPrice {
    /// A call at a fixed price, independent of its usage.
    pub fn of_call(call: Money) -> Self {
        let mut units = PartPrices::default();
        for part in [BillPart::InputText, BillPart::OutputText] {
            units.set(part, Some(Money::ZERO));
        }
        units.set(BillPart::Call, Some(call));
        Self {
            provider: String::new(),
            standard: TierPrices {
                units,
                steps: Vec::new(),
            },
            tiers: BTreeMap::new(),
            image: None,
            video: None,
            minimum: Money::ZERO,
            audio_ms_min: 0,
            rates: Multiplier::ONE,
            max_input: None,
            max_output: None,
            reasons: false,
        }
    }

    /// The standard price of a part, or of the part that replaces it.
    pub fn of(&self, part: BillPart) -> Option<Money> {
        self.standard.units.get(part)
    }

    /// The fixed price of a call.
    pub fn call(&self) -> Money {
        self.of(BillPart::Call).unwrap_or_default()
    }

    /// The prices of the tier that served, and whether the table knows the tier. Unknown tiers have the standard
    /// prices.
    pub fn scale(&self, tier: &str) -> (&TierPrices, bool) {
        match self.tiers.get(tier) {
            Some(scale) => (scale, true),
            None => (&self.standard, is_standard(tier)),
        }
    }
}

/// Whether a response with this tier was served at the standard one.
pub fn is_standard(tier: &str) -> bool {
    STANDARD.contains(&tier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: i64, output: i64) -> ModelPrice {
        let mut price = ModelPrice::of_call(Money::ZERO);
        for (part, nanos) in [(BillPart::InputText, input), (BillPart::OutputText, output)] {
            price
                .standard
                .units
                .set(part, Some(Money::from_nanos(nanos)));
        }
        price
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
    fn what_has_no_price_of_its_own_has_that_of_its_direction() {
        let mut units = PartPrices::default();
        assert_eq!(units.get(BillPart::CachedAudio), None);
        units.set(BillPart::InputText, Some(Money::from_nanos(10)));
        for part in BillPart::all().filter(|part| part.is_input()) {
            assert_eq!(units.get(part), Some(Money::from_nanos(10)), "{part:?}");
        }
        assert_eq!(units.get(BillPart::OutputText), None);
        assert_eq!(units.get(BillPart::WebSearchHigh), None);
        units.set(BillPart::WebSearch, Some(Money::from_nanos(3)));
        assert_eq!(
            units.get(BillPart::WebSearchHigh),
            Some(Money::from_nanos(3))
        );
        units.set(BillPart::CachedText, Some(Money::from_nanos(1)));
        assert_eq!(units.get(BillPart::CachedAudio), Some(Money::from_nanos(1)));
        assert_eq!(units.get(BillPart::InputAudio), Some(Money::from_nanos(10)));
    }

    #[test]
    fn a_size_is_found_with_its_quality_without_and_by_it() {
        let dollars = |number| Money::from_dollars(number).unwrap();
        let price = SizePrice {
            sizes: [("1x1", 1.0), ("high/1x1", 2.0), ("low", 3.0)]
                .map(|(size, price)| (size.to_owned(), dollars(price)))
                .into(),
            other: dollars(9.0),
        };
        for (asked, expected) in [
            ("1x1", 1.0),
            ("high/1x1", 2.0),
            ("low/1x1", 3.0),
            ("medium/1x1", 1.0),
            ("low", 3.0),
            ("", 9.0),
            ("high/2x2", 9.0),
        ] {
            assert_eq!(price.of(asked), dollars(expected), "{asked}");
        }
    }

    #[test]
    fn a_step_is_for_prompts_that_are_longer() {
        let at = |above: u64| LongPromptPrices {
            above,
            units: PartPrices::default(),
        };
        let scale = TierPrices {
            units: PartPrices::default(),
            steps: vec![at(100), at(200)],
        };
        let steps = [0, 100, 101, 200, 201].map(|input| scale.at(input).1);
        assert_eq!(steps, [None, None, Some(100), Some(100), Some(200)]);
    }
}
