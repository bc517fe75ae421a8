//! One model's entry of a price table: its fields, and the prices of longer prompts and other tiers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    Invalid,
    money::{Money, Multiplier},
    part::BillPart,
    price::{LongPromptPrices, ModelPrice, PartPrices, SizePrice, TierPrices},
};

pub(crate) const CHAT: &str = "ChatPricing";
pub(crate) const IMAGES: &str = "ImgPricing";
pub(crate) const VIDEO: &str = "VideoPricing";
pub(crate) const FINE_TUNING: &str = "FineTuningPricing";

/// Other names of fields.
const ALIASES: [(&str, &str); 3] = [
    ("Input", "InputText"),
    ("Output", "OutputText"),
    ("Find", "FileSearch"),
];

/// The most steps of one tier, so that a table stays small.
const STEPS_MAX: usize = 8;
const TIERS_MAX: usize = 16;

/// Reads an entry of a group.
///
/// # Errors
/// Errors if a field is invalid; the error names it.
pub(crate) fn read(group: &str, fields: &Map<String, Value>) -> Result<ModelPrice, Invalid> {
    let mut price = ModelPrice::of_call(Money::ZERO);
    let units = &mut price.standard.units;
    *units = PartPrices::default();
    let mut sizes = SizePrice::default();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(part) = part(name) {
            units.set(part, Some(amount(name, value)?));
            continue;
        }
        match name.as_str() {
            "Provider" => price.provider = text(name, value)?,
            "Source" => drop(text(name, value)?),
            "Rates" => price.rates = multiplier(name, value)?,
            "MaxInput" => price.max_input = Some(count(name, value)?),
            "MaxOutput" => price.max_output = Some(count(name, value)?),
            "Reasons" => price.reasons = flag(name, value)?,
            "Minimum" => price.minimum = amount(name, value)?,
            "MinSeconds" => price.audio_ms_min = count(name, value)?.saturating_mul(1000),
            "Sizes" if [IMAGES, VIDEO].contains(&group) => {
                for (size, value) in object(name, value)? {
                    let price = amount(&format!("Sizes.{size}"), value)?;
                    sizes.sizes.insert(size.clone(), price);
                }
            }
            "Sizes" => return Err(Invalid::new(name, "belongs to ImgPricing or VideoPricing")),
            "Second" if group == VIDEO => sizes.other = amount(name, value)?,
            // Read after the fields that they modify.
            "Above" | "Tiers" => {}
            // In older tables, with any number of sizes.
            _ if name.starts_with("Size") => drop(amount(name, value)?),
            _ => return Err(Invalid::new(name, "is no field of a price")),
        }
    }
    whole(group, &mut price, sizes)?;
    price.standard.steps = steps(&price.standard.units, fields)?;
    price.tiers = tiers(&price.standard, fields)?;
    Ok(price)
}

/// Makes sure that a missing price makes nothing free, and sets the prices that are special to a group.
fn whole(group: &str, price: &mut ModelPrice, mut sizes: SizePrice) -> Result<(), Invalid> {
    let units = &mut price.standard.units;
    let (input, output) = (
        units.own(BillPart::InputText),
        units.own(BillPart::OutputText),
    );
    let (mut input, mut output) = (input, output);
    if [CHAT, FINE_TUNING].contains(&group) {
        // Both are required. A missing one must not make half of each call free.
        (input, output) = (input.or(output), output.or(input));
        if input.is_none() {
            let problem =
                "is missing; a model that costs by the call alone belongs into CallPricing";
            return Err(Invalid::new("InputText", problem));
        }
    }
    units.set(BillPart::InputText, input.or(Some(Money::ZERO)));
    units.set(BillPart::OutputText, output.or(Some(Money::ZERO)));
    let call = units.own(BillPart::Call).unwrap_or_default();
    units.set(BillPart::Call, Some(call));
    if group == IMAGES {
        sizes.other = call;
        units.set(BillPart::Call, Some(Money::ZERO));
        price.image = Some(sizes);
    } else if group == VIDEO {
        price.video = Some(sizes);
    }
    Ok(())
}

/// `Above`: prices of whole calls with longer prompts; missing fields are the standard ones.
fn steps(base: &PartPrices, fields: &Map<String, Value>) -> Result<Vec<LongPromptPrices>, Invalid> {
    let Some(value) = fields.get("Above").filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let given = object("Above", value)?;
    if given.len() > STEPS_MAX {
        return Err(Invalid::new("Above", format!("has more than {STEPS_MAX}")));
    }
    let mut steps = Vec::new();
    for (tokens, over) in given {
        let field = format!("Above.{tokens}");
        let above = tokens
            .parse()
            .map_err(|_| Invalid::new(&field, "is no number of tokens"))?;
        let mut units = base.clone();
        lay_over(&field, &mut units, object(&field, over)?)?;
        steps.push(LongPromptPrices { above, units });
    }
    steps.sort_by_key(|step| step.above);
    Ok(steps)
}

/// `Tiers`: all token prices times `Tokens`, then single fields, then steps of the tier.
fn tiers(
    base: &TierPrices,
    fields: &Map<String, Value>,
) -> Result<BTreeMap<String, TierPrices>, Invalid> {
    let Some(value) = fields.get("Tiers").filter(|value| !value.is_null()) else {
        return Ok(BTreeMap::new());
    };
    let given = object("Tiers", value)?;
    if given.len() > TIERS_MAX {
        return Err(Invalid::new("Tiers", format!("has more than {TIERS_MAX}")));
    }
    let mut tiers = BTreeMap::new();
    for (tier, over) in given {
        let field = format!("Tiers.{tier}");
        let over = object(&field, over)?;
        let factor = match over.get("Tokens") {
            Some(value) => multiplier(&format!("{field}.Tokens"), value)?,
            None => Multiplier::ONE,
        };
        let mut scale = TierPrices {
            units: scaled(&base.units, factor),
            steps: Vec::new(),
        };
        let single = over
            .iter()
            .filter(|(name, _)| !["Tokens", "Above"].contains(&name.as_str()));
        let single: Map<_, _> = single.map(|(k, v)| (k.clone(), v.clone())).collect();
        lay_over(&field, &mut scale.units, &single)?;
        scale.steps = if over.contains_key("Above") {
            steps(&scale.units, over).map_err(|error| error.under(&field))?
        } else {
            let of = |step: &LongPromptPrices| {
                let mut units = scaled(&step.units, factor);
                lay_over(&field, &mut units, &single)?;
                Ok(LongPromptPrices {
                    above: step.above,
                    units,
                })
            };
            base.steps.iter().map(of).collect::<Result<_, Invalid>>()?
        };
        tiers.insert(tier.to_lowercase(), scale);
    }
    Ok(tiers)
}

fn scaled(units: &PartPrices, factor: Multiplier) -> PartPrices {
    let mut scaled = units.clone();
    for (part, price) in units
        .all()
        .filter(|(part, _)| part.is_input() || part.is_output())
    {
        scaled.set(part, price.scale(factor, Multiplier::ONE));
    }
    scaled
}

fn lay_over(field: &str, units: &mut PartPrices, over: &Map<String, Value>) -> Result<(), Invalid> {
    for (name, value) in over {
        let field = format!("{field}.{name}");
        let part = part(name).ok_or_else(|| Invalid::new(&field, "is no field of a price"))?;
        units.set(part, Some(amount(&field, value)?));
    }
    Ok(())
}

pub(crate) fn part(field: &str) -> Option<BillPart> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == field);
    BillPart::of_field(alias.map_or(field, |(_, name)| name))
}

fn object<'a>(field: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Invalid> {
    let object = value.as_object();
    object.ok_or_else(|| Invalid::new(field, "must be an object"))
}

fn text(field: &str, value: &Value) -> Result<String, Invalid> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| Invalid::new(field, "must be a text"))
}

fn count(field: &str, value: &Value) -> Result<u64, Invalid> {
    let count = value.as_u64();
    count.ok_or_else(|| Invalid::new(field, "must be a whole number, zero or more"))
}

fn flag(field: &str, value: &Value) -> Result<bool, Invalid> {
    let flag = value.as_bool();
    flag.ok_or_else(|| Invalid::new(field, "must be true or false"))
}

fn number(field: &str, value: &Value) -> Result<f64, Invalid> {
    let number = value.as_f64();
    number.ok_or_else(|| Invalid::new(field, "must be a number"))
}

fn multiplier(field: &str, value: &Value) -> Result<Multiplier, Invalid> {
    Multiplier::from_number(number(field, value)?).map_err(|error| error.under(field))
}

fn amount(field: &str, value: &Value) -> Result<Money, Invalid> {
    match Money::from_dollars(number(field, value)?) {
        Ok(money) if !money.is_negative() => Ok(money),
        Ok(_) => Err(Invalid::new(field, "must not be negative")),
        Err(error) => Err(error.under(field)),
    }
}
