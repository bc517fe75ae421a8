//! What merging a list may change in a table, and what it must not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use proxyxai_contract::{price::PriceTable, price_file};

use crate::prices::{
    diff,
    import::{ListOrigin, read},
};

const ORIGIN: ListOrigin<'_> = ListOrigin {
    url: "https://lists.example/prices.json",
    day: "2030-01-01",
};

fn table() -> String {
    json!({
        "Version": "2029-01-01",
        "Providers": {"openai": ["o.example"], "zhipu": ["z.example"], "qwen": ["q.example"], "groq": ["g.example"]},
        "Sources": {"openai-page": {"Url": "https://o.example", "Date": "2029-01-01"}},
        "ChatPricing": {
            "gpt": {"Provider": "openai", "Source": "openai-page", "InputText": 2, "OutputText": 8, "CachedText": 1,
                "FileSearch": 0.0025, "MaxInput": 7, "Tiers": {"fast": {"Tokens": 2}, "batch": {"Tokens": 0.5}}},
            "old": {"Provider": "openai", "Source": "openai-page", "InputText": 1, "OutputText": 1},
            "glm": {"Provider": "zhipu", "InputText": 1, "OutputText": 1},
            "qwen/glm": {"Provider": "qwen", "InputText": 3, "OutputText": 3},
            "fast": {"Provider": "groq", "InputText": 1, "OutputText": 1},
        },
        "AudioPricing": {"say": {"Provider": "openai", "Input": 1, "Output": 2}},
        "FineTuningPricing": {"gpt": {"Provider": "openai", "InputText": 4, "OutputText": 9}},
    })
    .to_string()
}

fn chat(provider: &str, input: f64, output: f64) -> Value {
    json!({"litellm_provider": provider, "mode": "chat", "input_cost_per_token": input / 1e6,
        "output_cost_per_token": output / 1e6})
}

fn laid(list: &Value, scope: MergeScope<'_>) -> MergedTable {
    let list = read(&list.to_string(), ORIGIN).unwrap();
    merge(&table(), &list, scope).unwrap()
}

fn parsed(laid: &MergedTable) -> (PriceTable, Value) {
    let table = price_file::compose(&laid.text, None).unwrap();
    (table, serde_json::from_str(&laid.text).unwrap())
}

fn changes(laid: &MergedTable) -> Vec<PriceChange> {
    let old = price_file::compose(&table(), None).unwrap();
    diff::compare(&old, &parsed(laid).0)
}

#[test]
fn a_list_that_was_laid_over_with_pruning_changes_nothing_again() {
    // `old` of another provider stood for groq's model, and is removed.
    let list = json!({"gpt": chat("openai", 2.0, 8.0), "groq/old": chat("groq", 5.0, 5.0)});
    let prune = MergeScope {
        prune: true,
        ..MergeScope::default()
    };
    let done = laid(&list, prune);
    assert!(done.gone.contains(&"old".to_owned()));
    assert_eq!(done.added.len(), 1, "{:?}", done.added);
    let list = read(&list.to_string(), ORIGIN).unwrap();
    let again = merge(&done.text, &list, prune).unwrap();
    assert_eq!(again.text, done.text);
    assert!(again.gone.is_empty() && again.added.is_empty(), "{again:?}");
}

#[test]
fn what_the_list_does_not_have_stays() {
    let mut gpt = chat("openai", 3.0, 8.0);
    gpt["input_cost_per_token_batches"] = json!(1e-6);
    gpt["max_input_tokens"] = json!(9);
    let done = laid(&json!({"gpt": gpt}), MergeScope::default());
    let (_, text) = parsed(&done);
    let entry = &text["ChatPricing"]["gpt"];
    let expected = json!({"Provider": "openai", "Source": "sync-litellm-2030-01-01", "InputText": 3.0,
        "OutputText": 8, "CachedText": 1, "FileSearch": 0.0025, "MaxInput": 7,
        "Tiers": {"fast": {"Tokens": 2}, "batch": {"InputText": 1.0}}});
    assert_eq!(entry["InputText"].as_f64(), Some(3.0));
    let fields: Vec<_> = entry.as_object().unwrap().keys().collect();
    let wanted: Vec<_> = expected.as_object().unwrap().keys().collect();
    assert_eq!(fields, wanted);
    assert_eq!(entry["MaxInput"], 7);
    assert_eq!(entry["Tiers"]["fast"], json!({"Tokens": 2}));
    assert_eq!(entry["Source"], expected["Source"]);
    assert_eq!(text["Version"], ORIGIN.day);
    // Its own source is still that of another entry.
    assert_eq!(text["Sources"].as_object().unwrap().len(), 2);
    assert_eq!(done.gone, ["say", "old", "ft:gpt"]);
    assert!(text["ChatPricing"]["old"].is_object());
}

#[test]
fn a_list_that_says_the_same_changes_nothing() {
    let list = json!({"gpt": chat("openai", 2.0, 8.0), "gpt-2030-01-01": chat("openai", 2.0, 8.0),
        "zai/glm": chat("zai", 1.0, 1.0), "say": {"litellm_provider": "openai", "mode": "audio_speech",
            "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}});
    let done = laid(&list, MergeScope::default());
    assert_eq!(done.text, table());
    assert_eq!(changes(&done), []);
}

#[test]
fn a_name_of_two_providers_is_each_ones_own() {
    let list =
        json!({"dashscope/glm": chat("dashscope", 4.0, 3.0), "zai/glm": chat("zai", 1.5, 1.0)});
    let done = laid(&list, MergeScope::default());
    let told: Vec<_> = changes(&done).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "glm InputText 1 -> 1.5 (+50 %)",
            "qwen/glm InputText 3 -> 4 (+33.3 %)"
        ]
    );
    assert_eq!(done.added, Vec::<String>::new());
}

#[test]
fn a_model_under_its_makers_name_elsewhere_does_not_say_what_the_name_costs() {
    let list = json!({"groq/openai/gpt": chat("groq", 9.0, 9.0), "groq/new": chat("groq", 9.0, 9.0),
        "groq/gpt": chat("groq", 5.0, 5.0), "elsewhere/new": chat("elsewhere", 1.0, 1.0)});
    let done = laid(&list, MergeScope::default());
    let (prices, _) = parsed(&done);
    assert_eq!(done.added, ["groq/gpt", "new"]);
    assert_eq!(prices.find("openai/gpt"), prices.models.get("gpt"));
}

#[test]
fn a_release_is_told_where_its_price_is_its_own() {
    let list = json!({"gpt": chat("openai", 2.0, 8.0), "gpt-2030-01-01": chat("openai", 1.0, 8.0)});
    assert_eq!(laid(&list, MergeScope::default()).added, ["gpt-2030-01-01"]);
}

#[test]
fn models_are_taken_out_when_that_is_asked_and_only_of_providers_that_the_list_has() {
    let list = json!({"gpt": chat("openai", 2.0, 8.0)});
    let scope = MergeScope {
        prune: true,
        ..MergeScope::default()
    };
    let done = laid(&list, scope);
    let (prices, _) = parsed(&done);
    assert_eq!(done.gone, ["say", "old", "ft:gpt"]);
    for (model, there) in [
        ("old", false),
        ("say", false),
        ("ft:gpt", false),
        ("gpt", true),
        ("glm", true),
    ] {
        assert_eq!(prices.models.contains_key(model), there, "{model}");
    }
}

#[test]
fn a_provider_can_be_asked_for() {
    let list = json!({"gpt": chat("openai", 3.0, 8.0), "zai/glm": chat("zai", 9.0, 9.0)});
    let asked = ["zhipu".to_owned()];
    let scope = MergeScope {
        providers: &asked,
        ..MergeScope::default()
    };
    let models: Vec<_> = changes(&laid(&list, scope))
        .into_iter()
        .map(|change| change.model)
        .collect();
    assert_eq!(models, ["glm", "glm"]);
    let unknown = ["nobody".to_owned()];
    let scope = MergeScope {
        providers: &unknown,
        ..MergeScope::default()
    };
    let list = read(&list.to_string(), ORIGIN).unwrap();
    assert!(merge(&table(), &list, scope).is_err());
}

#[test]
fn a_price_that_moves_too_far_needs_a_word() {
    let far = |input: f64, output: f64| {
        let done = laid(
            &json!({"gpt": chat("openai", input, output)}),
            MergeScope::default(),
        );
        PriceBounds::default().objections(&changes(&done), 0).len()
    };
    // Tiers given as factors change along.
    assert_eq!(far(4.0, 4.0), 0);
    assert_eq!(far(4.1, 8.0), 3);
    assert_eq!(far(0.9, 8.0), 3);
    assert_eq!(far(0.0, 8.0), 3);
    let bounds = PriceBounds::default();
    assert_eq!(bounds.objections(&[], 20).len(), 0);
    assert_eq!(bounds.objections(&[], 21).len(), 1);
}

proptest! {
    #[test]
    fn a_list_laid_twice_changes_nothing_more(
        prices in proptest::collection::btree_map("(gpt|old|glm|new|qwen/glm)(-2030-01-01)?", (0u32..50, 0u32..50), 0..8),
        provider in "(openai|zai|dashscope|groq)",
    ) {
        let list: Map<_, _> = prices
            .into_iter()
            .map(|(name, (input, output))| (name, chat(&provider, input.into(), output.into())))
            .chain([("one".to_owned(), chat("openai", 1.0, 1.0))])
            .collect();
        let list = read(&Value::Object(list).to_string(), ORIGIN).unwrap();
        let scope = MergeScope::default();
        let once = merge(&table(), &list, scope).unwrap();
        let twice = merge(&once.text, &list, scope).unwrap();
        let prices = |laid: &MergedTable| price_file::compose(&laid.text, None).unwrap();
        prop_assert_eq!(prices(&once), prices(&twice));
        prop_assert_eq!(twice.added, Vec::<String>::new());
    }
}
