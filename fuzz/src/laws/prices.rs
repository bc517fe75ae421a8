//! Price lists: our own form, laid over the table that ships, and `LiteLLM`'s.

use proxyxai_contract::{
    bill::{BilledUsage, UsageCeiling, ceiling, cost},
    convert::{update_from_wire, update_to_wire},
    id::Revision,
    money::{Money, Multiplier},
    price::PriceTable,
    price_file,
    snapshot::SnapshotUpdate,
    tokens::{ImageUsage, TokenUsage},
};

use crate::prices::import::{self, ListOrigin};

/// A byte that chooses, then the list.
pub fn prices(input: &[u8]) {
    let Some((choice, list)) = input.split_first() else {
        return;
    };
    let Ok(list) = std::str::from_utf8(list) else {
        return;
    };
    let origin = ListOrigin {
        url: "list",
        day: "2026-11-22",
    };
    let table = match choice % 3 {
        0 => price_file::load(Some(list)),
        1 => price_file::compose(list, None),
        _ => match import::read(list, origin) {
            Ok(imported) => {
                let table = price_file::compose(&imported.table.to_string(), None)
                    .expect("what was imported can be loaded");
                assert!(table.models.len() <= imported.models);
                Ok(table)
            }
            Err(error) => Err(error),
        },
    };
    match table {
        Ok(table) => can_be_used(table),
        Err(error) => assert!(!error.field.is_empty() && !error.problem.is_empty()),
    }
}

fn can_be_used(table: PriceTable) {
    let tokens = TokenUsage {
        input: 1_000,
        cached: 100,
        output: 1_000,
        reasoning: 100,
        ..TokenUsage::default()
    };
    let (images, one) = (ImageUsage::default(), Multiplier::ONE);
    let used = BilledUsage {
        tokens: &tokens,
        images: &images,
        pieces: &[],
        tier: "",
    };
    let most = UsageCeiling {
        input: 1_000,
        output: 1_000,
        images: &images,
        pieces: &[],
        tier: None,
    };
    for (model, price) in &table.models {
        assert_eq!(table.find(model), Some(price), "{model}");
        let prices = price.standard.units.all();
        assert!(
            prices.into_iter().all(|(_, price)| !price.is_negative()),
            "{model}"
        );
        let cost = cost(price, &used, one, one);
        assert!(cost.is_none_or(|cost| cost >= Money::ZERO), "{model}");
        if let (Some(cost), Some(most)) = (cost, ceiling(price, &most, one, one)) {
            assert!(
                cost <= most,
                "{model}: {cost} is more than the ceiling {most}"
            );
        }
    }
    let update = SnapshotUpdate {
        prices: Some(table.into()),
        ..SnapshotUpdate::empty(Revision(1))
    };
    let (read, rejected) = update_from_wire(update_to_wire(&update));
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!(read, update);
}
