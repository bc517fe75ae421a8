//! The price table between the wire and the domain. A price that cannot be read is left out and named; the others are
//! kept. Nothing is computed from prices here.

use std::collections::BTreeMap;

use super::{part_from_wire, part_to_wire, signed, unsigned};
use crate::{
    Invalid,
    money::{Money, Multiplier},
    part::BillPart,
    price::{LongPromptPrices, ModelPrice, PartPrices, PriceTable, SizePrice, TierPrices},
    wire,
};

pub(super) fn prices_from_wire(table: wire::PriceTable) -> (PriceTable, Vec<(String, Invalid)>) {
    let wire::PriceTable {
        version,
        models,
        provider_hosts,
    } = table;
    let mut read = PriceTable {
        version,
        ..PriceTable::default()
    };
    let mut bad = Vec::new();
    for entry in models {
        let model = entry.model.clone();
        match price_from_wire(entry) {
            Ok(price) => drop(read.models.insert(model, price)),
            Err(error) => bad.push((model, error)),
        }
    }
    for line in provider_hosts {
        if let Some((provider, hosts)) = line.split_once('=') {
            read.provider_hosts.insert(
                provider.to_owned(),
                hosts.split(',').map(str::to_owned).collect(),
            );
        }
    }
    (read, bad)
}

pub(super) fn prices_to_wire(table: &PriceTable) -> wire::PriceTable {
    let PriceTable {
        version,
        models,
        provider_hosts,
    } = table;
    wire::PriceTable {
        version: version.clone(),
        models: models
            .iter()
            .map(|(model, price)| price_to_wire(model, price))
            .collect(),
        provider_hosts: provider_hosts
            .iter()
            .map(|(provider, hosts)| format!("{provider}={}", hosts.join(",")))
            .collect(),
    }
}

fn price_from_wire(price: wire::ModelPrice) -> Result<ModelPrice, Invalid> {
    let standard = match price.standard.clone() {
        Some(scale) => scale_from_wire(scale)?,
        None => TierPrices {
            units: units_from_wire(named(&price))?,
            steps: Vec::new(),
        },
    };
    let mut tiers = BTreeMap::new();
    for wire::Tier { name, scale } in price.tiers {
        tiers.insert(name, scale_from_wire(scale.unwrap_or_default())?);
    }
    let count =
        |field: &str, tokens: Option<i64>| tokens.map(|tokens| unsigned(field, tokens)).transpose();
    Ok(ModelPrice {
        provider: price.provider,
        standard,
        tiers,
        image: price.image.map(sizes_from_wire).transpose()?,
        video: price.video.map(sizes_from_wire).transpose()?,
        minimum: amount("minimum_nanos", price.minimum_nanos)?,
        audio_ms_min: unsigned("audio_ms_min", price.audio_ms_min)?,
        rates: Multiplier::from_micros(price.rates_micros)?,
        max_input: count("max_input", price.max_input)?,
        max_output: count("max_output", price.max_output)?,
        reasons: price.reasons,
    })
}

fn amount(field: &str, nanos: i64) -> Result<Money, Invalid> {
    match Money::from_nanos(nanos) {
        money if money.is_negative() => Err(Invalid::new(field, "must not be negative")),
        money => Ok(money),
    }
}

fn scale_from_wire(scale: wire::Scale) -> Result<TierPrices, Invalid> {
    let wire::Scale { parts, steps } = scale;
    let step = |step: wire::Step| {
        Ok(LongPromptPrices {
            above: unsigned("above", step.above)?,
            units: units_from_wire(priced(&step.parts))?,
        })
    };
    Ok(TierPrices {
        units: units_from_wire(priced(&parts))?,
        steps: steps
            .into_iter()
            .map(step)
            .collect::<Result<_, Invalid>>()?,
    })
}

/// Prices of the parts that this program knows. Unknown parts are skipped.
fn priced(parts: &[wire::PartPrice]) -> impl Iterator<Item = (BillPart, i64)> + '_ {
    let known = |price: &wire::PartPrice| Some((part_from_wire(price.part)?, price.nanos));
    parts.iter().filter_map(known)
}

fn units_from_wire(
    prices: impl IntoIterator<Item = (BillPart, i64)>,
) -> Result<PartPrices, Invalid> {
    let mut units = PartPrices::default();
    for (part, nanos) in prices {
        units.set(part, Some(amount(part.name(), nanos)?));
    }
    Ok(units)
}

/// Prices from control planes that know only these parts.
fn named(price: &wire::ModelPrice) -> impl Iterator<Item = (BillPart, i64)> + use<> {
    let named = [
        (BillPart::InputText, Some(price.input_text)),
        (BillPart::OutputText, Some(price.output_text)),
        (BillPart::CachedText, price.cached_text),
        (BillPart::CacheWrite, price.cache_write),
        (BillPart::CacheWriteHour, price.cache_write_hour),
        (BillPart::Reasoning, price.reason_text),
        (BillPart::InputAudio, price.input_audio),
        (BillPart::OutputAudio, price.output_audio),
        (BillPart::CachedAudio, price.cached_audio),
        (BillPart::InputImage, price.input_image),
        (BillPart::OutputImage, price.output_image),
        (BillPart::Call, Some(price.call)),
    ];
    named
        .into_iter()
        .filter_map(|(part, nanos)| Some((part, nanos?)))
}

fn sizes_from_wire(price: wire::ImagePrice) -> Result<SizePrice, Invalid> {
    let wire::ImagePrice { sizes, other } = price;
    let sizes = sizes
        .into_iter()
        .map(|(size, nanos)| Ok((size, amount("sizes", nanos)?)))
        .collect::<Result<_, Invalid>>()?;
    Ok(SizePrice {
        sizes,
        other: amount("other", other)?,
    })
}

fn sizes_to_wire(price: &SizePrice) -> wire::ImagePrice {
    let SizePrice { sizes, other } = price;
    wire::ImagePrice {
        sizes: sizes
            .iter()
            .map(|(size, price)| (size.clone(), price.nanos()))
            .collect(),
        other: other.nanos(),
    }
}

fn units_to_wire(units: &PartPrices) -> Vec<wire::PartPrice> {
    let price = |(part, price): (BillPart, Money)| wire::PartPrice {
        part: part_to_wire(part),
        nanos: price.nanos(),
    };
    units.all().map(price).collect()
}

fn scale_to_wire(scale: &TierPrices) -> wire::Scale {
    let step = |step: &LongPromptPrices| wire::Step {
        above: signed(step.above),
        parts: units_to_wire(&step.units),
    };
    wire::Scale {
        parts: units_to_wire(&scale.units),
        steps: scale.steps.iter().map(step).collect(),
    }
}

fn price_to_wire(model: &str, price: &ModelPrice) -> wire::ModelPrice {
    let ModelPrice {
        provider,
        standard,
        tiers,
        image,
        video,
        minimum,
        audio_ms_min,
        rates,
        max_input,
        max_output,
        reasons,
    } = price;
    let own = |part| standard.units.own(part).map(Money::nanos);
    let tier = |(name, scale): (&String, &TierPrices)| wire::Tier {
        name: name.clone(),
        scale: Some(scale_to_wire(scale)),
    };
    wire::ModelPrice {
        model: model.to_owned(),
        provider: provider.clone(),
        input_text: own(BillPart::InputText).unwrap_or_default(),
        output_text: own(BillPart::OutputText).unwrap_or_default(),
        cached_text: own(BillPart::CachedText),
        cache_write: own(BillPart::CacheWrite),
        reason_text: own(BillPart::Reasoning),
        input_audio: own(BillPart::InputAudio),
        output_audio: own(BillPart::OutputAudio),
        cached_audio: own(BillPart::CachedAudio),
        input_image: own(BillPart::InputImage),
        output_image: own(BillPart::OutputImage),
        call: own(BillPart::Call).unwrap_or_default(),
        rates_micros: rates.micros(),
        max_input: max_input.map(signed),
        max_output: max_output.map(signed),
        reasons: *reasons,
        image: image.as_ref().map(sizes_to_wire),
        cache_write_hour: own(BillPart::CacheWriteHour),
        standard: Some(scale_to_wire(standard)),
        tiers: tiers.iter().map(tier).collect(),
        video: video.as_ref().map(sizes_to_wire),
        minimum_nanos: minimum.nanos(),
        audio_ms_min: signed(*audio_ms_min),
    }
}
