//! models.dev's list: prices for a million tokens, by provider and model.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    CHAT, Groups, VENDORS, decimal, number,
    tiers::{Fields, ImportedTier},
};

const PRICES: [(&str, &str); 7] = [
    ("InputText", "input"),
    ("OutputText", "output"),
    ("CachedText", "cache_read"),
    ("CacheWrite", "cache_write"),
    ("ReasonText", "reasoning"),
    ("InputAudio", "input_audio"),
    ("OutputAudio", "output_audio"),
];

pub(super) fn read(list: &Map<String, Value>, mut groups: Groups) -> Groups {
    let ours = |theirs: &str| VENDORS.iter().find(|(.., name)| *name == theirs);
    let mut providers: Vec<_> = list.iter().collect();
    // A vendor's own price takes precedence over resellers'.
    providers.sort_by_key(|(name, _)| {
        let place = VENDORS.iter().position(|(.., theirs)| theirs == name);
        place.unwrap_or(VENDORS.len())
    });
    for (theirs, provider) in providers {
        let Some(models) = provider.get("models").and_then(Value::as_object) else {
            continue;
        };
        for (name, model) in models {
            let Some(fields) = entry(model) else {
                groups.skip("without a price");
                continue;
            };
            // Resellers list models under the vendors' names.
            match ours(theirs) {
                Some((ours, ..)) => groups.add(CHAT, name, ours, fields),
                None => groups.add(CHAT, &format!("{theirs}/{name}"), theirs, fields),
            }
        }
    }
    groups
}

fn entry(model: &Value) -> Option<Map<String, Value>> {
    let cost = model.get("cost")?;
    let mut scale = ImportedTier {
        fields: prices(cost),
        steps: BTreeMap::new(),
    };
    if let Some(over) = cost.get("context_over_200k") {
        scale.steps.insert(200_000, prices(over));
    }
    for tier in cost
        .get("tiers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let size = tier.get("tier").and_then(|tier| tier.get("size"));
        if let Some(size) = size.and_then(Value::as_u64) {
            scale.steps.insert(size, prices(tier));
        }
    }
    scale.tidy();
    if ["InputText", "OutputText"]
        .iter()
        .any(|name| !scale.fields.contains_key(name))
    {
        return None;
    }
    // Both at zero means that a plan covers the model, or that the price is unknown.
    if scale.fields.values().all(rust_decimal::Decimal::is_zero) {
        return None;
    }
    let mut fields = scale.write(&BTreeMap::new());
    if let Some(limit) = model.get("limit") {
        for (ours, theirs) in [
            ("MaxInput", "input"),
            ("MaxInput", "context"),
            ("MaxOutput", "output"),
        ] {
            let most = decimal(limit, theirs).filter(|most| !most.is_zero());
            if let Some(most) = most.and_then(number)
                && !fields.contains_key(ours)
            {
                fields.insert(ours.to_owned(), most);
            }
        }
    }
    if model.get("reasoning") == Some(&Value::Bool(true)) {
        fields.insert("Reasons".to_owned(), true.into());
    }
    Some(fields)
}

fn prices(cost: &Value) -> Fields {
    PRICES
        .into_iter()
        .filter_map(|(ours, theirs)| Some((ours, decimal(cost, theirs)?)))
        .collect()
}
