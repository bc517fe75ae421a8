//! Properties of the price files that ship.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    money::Money,
    part::BillPart,
    price::{PartPrices, PriceTable, TierPrices},
    price_file,
};

const TUNED: &str = "FineTuningPricing";
const LABELS: [&str; 3] = ["Version", "Providers", "Sources"];

fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("prices");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        files.insert(name, fs::read_to_string(path).unwrap());
    }
    files
}

/// Group, model and entry of a file.
fn entries(text: &str) -> Vec<(String, String, Value)> {
    let file: Value = serde_json::from_str(text).unwrap();
    let groups = file.as_object().unwrap().iter();
    groups
        .filter(|(group, _)| !LABELS.contains(&group.as_str()))
        .flat_map(|(group, models)| {
            let models = models.as_object().unwrap().iter();
            models.map(|(model, entry)| (group.clone(), model.clone(), entry.clone()))
        })
        .collect()
}

fn scales(table: &PriceTable) -> Vec<(String, &TierPrices)> {
    let of = |(model, price): (&String, _)| {
        let price: &crate::price::ModelPrice = price;
        let tiers = price
            .tiers
            .iter()
            .map(move |(tier, scale)| (tier.clone(), scale));
        let all = std::iter::once((String::new(), &price.standard)).chain(tiers);
        all.map(|(tier, scale)| (format!("{model} {tier}"), scale))
            .collect::<Vec<_>>()
    };
    table.models.iter().flat_map(of).collect()
}

#[test]
fn each_file_is_a_table_of_one_provider_that_can_be_reached() {
    for (name, text) in files() {
        let table = price_file::compose(&text, None).unwrap();
        let hosts: Vec<_> = table.provider_hosts.iter().collect();
        assert_eq!(hosts.len(), 1, "{name}");
        assert_eq!(*hosts[0].0, name);
        assert!(!hosts[0].1.is_empty(), "{name}");
        assert!(!table.models.is_empty(), "{name}");
        for (model, price) in &table.models {
            assert_eq!(price.provider, name, "{model}");
        }
    }
}

#[test]
fn each_price_tells_where_it_was_read_and_when() {
    for (name, text) in files() {
        let file: Value = serde_json::from_str(&text).unwrap();
        let sources = file["Sources"].as_object().unwrap();
        for (source, told) in sources {
            assert!(source.starts_with(&format!("{name}-")), "{source}");
            let url = told["Url"].as_str().unwrap();
            assert!(url.starts_with("https://"), "{source}");
            let date: jiff::civil::Date = told["Date"].as_str().unwrap().parse().unwrap();
            let version: jiff::civil::Date = file["Version"].as_str().unwrap().parse().unwrap();
            assert!(date <= version, "{source}");
        }
        for (group, model, entry) in entries(&text) {
            let source = entry["Source"].as_str().unwrap_or_default();
            assert!(
                sources.contains_key(source),
                "{name} {group} {model} {source}"
            );
        }
    }
}

#[test]
fn no_name_stands_in_two_places() {
    let mut seen = BTreeMap::new();
    for (name, text) in files() {
        for (group, model, _) in entries(&text) {
            // Fine-tuned models are named by their base.
            let key = (group == TUNED, model);
            let before = seen.insert(key.clone(), format!("{name} {group}"));
            assert_eq!(before, None, "{} in {name} {group}", key.1);
        }
    }
    // All files are in the table that ships.
    assert_eq!(seen.len(), price_file::load(None).unwrap().models.len());
}

#[test]
fn what_is_cached_costs_no_more_than_what_is_read() {
    let table = price_file::load(None).unwrap();
    for (name, scale) in scales(&table) {
        let steps = scale.steps.iter().map(|step| &step.units);
        for units in std::iter::once(&scale.units).chain(steps) {
            let at_most = |part: BillPart, other: BillPart| {
                let none = Money::ZERO;
                let (price, most) = (units.get(part), units.get(other));
                assert!(
                    price.unwrap_or(none) <= most.unwrap_or(none),
                    "{name}{part:?}"
                );
            };
            at_most(BillPart::CachedText, BillPart::InputText);
            at_most(BillPart::CachedAudio, BillPart::InputAudio);
            at_most(BillPart::CachedImage, BillPart::InputImage);
            at_most(BillPart::CacheWrite, BillPart::CacheWriteHour);
        }
    }
}

#[test]
fn a_longer_prompt_costs_no_less_and_a_slower_tier_no_more() {
    let cheaper = |few: &PartPrices, many: &PartPrices| {
        BillPart::all().find(|part| {
            let (few, many) = (few.get(*part), many.get(*part));
            (part.is_input() || part.is_output()) && few > many && many.is_some()
        })
    };
    let table = price_file::load(None).unwrap();
    for (name, scale) in scales(&table) {
        let mut below = &scale.units;
        for step in &scale.steps {
            assert_eq!(cheaper(below, &step.units), None, "{name}{}", step.above);
            below = &step.units;
        }
    }
    for (model, price) in &table.models {
        for (tier, scale) in &price.tiers {
            let slower = ["batch", "flex"].contains(&tier.as_str());
            let (few, many) = if slower {
                (scale, &price.standard)
            } else {
                (&price.standard, scale)
            };
            for input in [1, 1_000_000_000] {
                let told = cheaper(few.at(input).0, many.at(input).0);
                assert_eq!(told, None, "{model} {tier} {input}");
            }
        }
    }
}
