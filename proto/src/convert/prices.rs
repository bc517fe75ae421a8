//! The price table between the wire and the domain. A price that cannot be read is left out and
//! named; the others stand. Nothing is computed from a price here.

use super::{signed, unsigned};
use crate::{
    Invalid,
    money::{Money, Multiplier},
    price::{ImagePrice, ModelPrice, PriceTable},
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
    let wire::ModelPrice {
        model: _,
        provider,
        input_text,
        output_text,
        cached_text,
        cache_write,
        reason_text,
        input_audio,
        output_audio,
        cached_audio,
        input_image,
        output_image,
        call,
        rates_micros,
        max_input,
        max_output,
        image,
        cache_write_hour,
    } = price;
    let amount = |field: &str, nanos: i64| match Money::from_nanos(nanos) {
        money if money.is_negative() => Err(Invalid::new(field, "must not be negative")),
        money => Ok(money),
    };
    let optional =
        |field: &str, nanos: Option<i64>| nanos.map(|nanos| amount(field, nanos)).transpose();
    let count =
        |field: &str, tokens: Option<i64>| tokens.map(|tokens| unsigned(field, tokens)).transpose();
    Ok(ModelPrice {
        provider,
        input_text: amount("input_text", input_text)?,
        output_text: amount("output_text", output_text)?,
        cached_text: optional("cached_text", cached_text)?,
        cache_write: optional("cache_write", cache_write)?,
        cache_write_hour: optional("cache_write_hour", cache_write_hour)?,
        reason_text: optional("reason_text", reason_text)?,
        input_audio: optional("input_audio", input_audio)?,
        output_audio: optional("output_audio", output_audio)?,
        cached_audio: optional("cached_audio", cached_audio)?,
        input_image: optional("input_image", input_image)?,
        output_image: optional("output_image", output_image)?,
        call: amount("call", call)?,
        image: image
            .map(|image| image_from_wire(image, amount))
            .transpose()?,
        rates: Multiplier::from_micros(rates_micros)?,
        max_input: count("max_input", max_input)?,
        max_output: count("max_output", max_output)?,
    })
}

fn image_from_wire(
    image: wire::ImagePrice,
    amount: impl Fn(&str, i64) -> Result<Money, Invalid>,
) -> Result<ImagePrice, Invalid> {
    let wire::ImagePrice { sizes, other } = image;
    let sizes = sizes
        .into_iter()
        .map(|(size, nanos)| Ok((size, amount("image.sizes", nanos)?)))
        .collect::<Result<_, Invalid>>()?;
    Ok(ImagePrice {
        sizes,
        other: amount("image.other", other)?,
    })
}

fn image_to_wire(image: &ImagePrice) -> wire::ImagePrice {
    let ImagePrice { sizes, other } = image;
    wire::ImagePrice {
        sizes: sizes
            .iter()
            .map(|(size, price)| (size.clone(), price.nanos()))
            .collect(),
        other: other.nanos(),
    }
}

fn price_to_wire(model: &str, price: &ModelPrice) -> wire::ModelPrice {
    let ModelPrice {
        provider,
        input_text,
        output_text,
        cached_text,
        cache_write,
        cache_write_hour,
        reason_text,
        input_audio,
        output_audio,
        cached_audio,
        input_image,
        output_image,
        call,
        image,
        rates,
        max_input,
        max_output,
    } = price;
    wire::ModelPrice {
        model: model.to_owned(),
        provider: provider.clone(),
        input_text: input_text.nanos(),
        output_text: output_text.nanos(),
        cached_text: cached_text.map(Money::nanos),
        cache_write: cache_write.map(Money::nanos),
        reason_text: reason_text.map(Money::nanos),
        input_audio: input_audio.map(Money::nanos),
        output_audio: output_audio.map(Money::nanos),
        cached_audio: cached_audio.map(Money::nanos),
        input_image: input_image.map(Money::nanos),
        output_image: output_image.map(Money::nanos),
        call: call.nanos(),
        rates_micros: rates.micros(),
        max_input: max_input.map(signed),
        max_output: max_output.map(signed),
        image: image.as_ref().map(image_to_wire),
        cache_write_hour: cache_write_hour.map(Money::nanos),
    }
}
