//! How entries of public lists are converted.

use serde_json::{Value, json};

use proxyxai_contract::{money::Money, part::BillPart, price_file};

use crate::prices::import::{Imported, ListOrigin, read};

const ORIGIN: ListOrigin<'_> = ListOrigin {
    url: "https://lists.example/prices.json",
    day: "2030-01-01",
};

fn from(text: &str) -> Imported {
    read(text, ORIGIN).unwrap()
}

const LIST: &str = r#"{
    "sample_spec": {"mode": "one of: chat, embedding", "input_cost_per_token": 0.0},
    "gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
        "max_input_tokens": 128000, "max_output_tokens": 16384, "input_cost_per_token_batches": 1.25e-06},
    "openai/gpt-4o": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 9e-06},
    "gemini/gemini-x": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 3e-07,
        "output_cost_per_token": 2.5e-06, "output_cost_per_reasoning_token": 3.5e-06, "input_cost_per_audio_token": 1e-06},
    "azure/gpt-4o": {"litellm_provider": "azure", "mode": "chat", "input_cost_per_token": 2.75e-06},
    "claude-x": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06},
    "gemini-x": {"litellm_provider": "vertex_ai", "mode": "chat", "input_cost_per_token": 9e-07},
    "draw": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_token": 5e-06, "output_cost_per_image_token": 4e-05},
    "1024-x-1024/draw": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.01},
    "hd/1024-x-1792/dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 6.539e-08},
    "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08, "max_input_tokens": 8191},
    "speak": {"litellm_provider": "openai", "mode": "audio_speech", "input_cost_per_token": 6e-07, "output_cost_per_audio_token": 1.2e-05},
    "rank": {"litellm_provider": "cohere", "mode": "rerank", "input_cost_per_query": 0.002},
    "paint": {"litellm_provider": "xai", "mode": "image_generation", "output_cost_per_image": 0.07},
    "512-x-512/dall-e-2": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 6.86e-08},
    "standard/1024-x-1792/dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_pixel": 4.359e-08},
    "ft:gpt-4o-2024-08-06": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 3.75e-06, "output_cost_per_token": 1.5e-05},
    "film": {"litellm_provider": "openai", "mode": "video_generation", "output_cost_per_second": 0.1},
    "whisper": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "odd": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": -1}
}"#;

#[test]
fn a_public_price_list_becomes_a_table() {
    let imported = from(LIST);
    let table = price_file::compose(&imported.table.to_string(), None).unwrap();
    let dollars = |number| Money::from_dollars(number).unwrap();
    let of = |model: &str| table.models.get(model).unwrap_or_else(|| panic!("{model}"));
    let gpt = of("gpt-4o");
    assert_eq!(
        (
            gpt.of(BillPart::InputText).unwrap(),
            gpt.of(BillPart::OutputText).unwrap()
        ),
        (dollars(2.5), dollars(10.0))
    );
    assert_eq!(
        (gpt.of(BillPart::CachedText), gpt.max_input),
        (Some(dollars(1.25)), Some(128_000))
    );
    assert_eq!(of("gemini-x").provider, "google");
    assert_eq!(of("gemini-x").of(BillPart::Reasoning), Some(dollars(3.5)));
    assert_eq!(of("gemini-x").of(BillPart::InputAudio), Some(dollars(1.0)));
    assert_eq!(
        of("azure/gpt-4o").of(BillPart::InputText).unwrap(),
        dollars(2.75)
    );
    assert_eq!(of("claude-x").of(BillPart::CacheWrite), Some(dollars(3.75)));
    assert_eq!(
        (
            of("embed").max_input,
            of("embed").of(BillPart::InputText).unwrap()
        ),
        (None, dollars(0.02))
    );
    assert_eq!(of("speak").of(BillPart::OutputAudio), Some(dollars(12.0)));
    assert_eq!(of("rank").of(BillPart::SearchUnit), Some(dollars(0.002)));
    assert_eq!(of("paint").image.as_ref().unwrap().other, dollars(0.07));
    assert_eq!(
        (
            of("draw").of(BillPart::OutputText).unwrap(),
            of("draw").image.is_none()
        ),
        (dollars(40.0), true)
    );
    let tall = of("dall-e-3")
        .image
        .as_ref()
        .unwrap()
        .sizes
        .get("1024x1792");
    assert_eq!(tall, Some(&dollars(0.079_988)));
    assert_eq!(
        table
            .find("ft:gpt-4o-2024-08-06:me::1")
            .unwrap()
            .of(BillPart::OutputText)
            .unwrap(),
        dollars(15.0)
    );
    let skipped: Vec<_> = imported
        .skipped
        .iter()
        .map(|(mode, count)| (mode.as_str(), *count))
        .collect();
    assert_eq!(skipped, [("chat", 1)]);
    assert_eq!(imported.models, table.models.len());
}

#[test]
fn what_is_no_list_is_refused() {
    for bad in ["", "[]", "{", "NaN"] {
        assert!(read(bad, ORIGIN).is_err(), "{bad}");
    }
}

/// Fields of an entry, in any group.
fn entry(imported: &Imported, group: &str, model: &str) -> Value {
    let found = &imported.table[group][model];
    assert!(
        found.is_object(),
        "{model} is not in {group}: {}",
        imported.table
    );
    let mut found = found.clone();
    let fields = found.as_object_mut().unwrap();
    let source = fields.remove("Source").unwrap();
    assert!(
        imported.table["Sources"][source.as_str().unwrap()].is_object(),
        "{source}"
    );
    fields.remove("Provider");
    found
}

fn one(entry: &Value) -> Imported {
    from(&json!({"m": entry}).to_string())
}

#[test]
fn a_tier_that_halves_all_is_a_factor_and_any_other_is_told_price_by_price() {
    let mut listed = json!({"litellm_provider": "openai", "mode": "chat",
        "input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6, "cache_read_input_token_cost": 2e-7,
        "input_cost_per_token_above_200k_tokens": 4e-6, "output_cost_per_token_above_200k_tokens": 1e-5,
        "input_cost_per_token_flex": 1e-6, "output_cost_per_token_flex": 4e-6, "cache_read_input_token_cost_flex": 1e-7,
        "input_cost_per_token_above_200k_tokens_flex": 2e-6,
        "input_cost_per_token_batches": 1e-6, "output_cost_per_token_batches": 4e-6});
    let read = entry(&one(&listed), "ChatPricing", "m");
    let expected = json!({"InputText": 2, "OutputText": 8, "CachedText": 0.2,
        "Above": {"200000": {"InputText": 4, "OutputText": 10}},
        "Tiers": {"flex": {"Tokens": 0.5},
            // Cached tokens cost there what they cost elsewhere: the list has no price for them.
            "batch": {"InputText": 1, "OutputText": 4,
                "Above": {"200000": {"InputText": 4, "OutputText": 10, "CachedText": 0.2}}}}});
    assert_eq!(read, expected);
    listed["input_cost_per_token_above_200k_tokens_flex"] = json!(3e-6);
    let read = entry(&one(&listed), "ChatPricing", "m");
    let steps = json!({"200000": {"InputText": 3, "OutputText": 10, "CachedText": 0.2}});
    assert_eq!(read["Tiers"]["flex"]["Above"], steps);
}

#[test]
fn a_tier_that_writes_for_minutes_has_its_hours_too() {
    let listed = json!({"litellm_provider": "anthropic", "mode": "chat",
        "input_cost_per_token": 2e-6, "output_cost_per_token": 8e-6,
        "cache_creation_input_token_cost": 2.5e-6, "cache_creation_input_token_cost_above_1hr": 4e-6,
        "cache_creation_input_token_cost_above_1hr_above_100k_tokens": 9e-6,
        "input_cost_per_token_above_100k_tokens": 5e-6,
        "input_cost_per_token_batches": 1e-6, "output_cost_per_token_batches": 4e-6,
        "cache_creation_input_token_cost_batches": 1.25e-6,
        "provider_specific_entry": {"fast": 3, "us": 1.1}});
    let read = entry(&one(&listed), "ChatPricing", "m");
    assert_eq!(
        read["Tiers"],
        json!({"batch": {"Tokens": 0.5}, "fast": {"Tokens": 3}})
    );
    let steps = json!({"100000": {"InputText": 5, "CacheWriteHour": 9}});
    assert_eq!(read["Above"], steps);
}

#[test]
fn ranges_of_the_prompt_are_steps() {
    let listed = json!({"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
        {"range": [32000.0, 128_000.0], "input_cost_per_token": 2e-6, "output_cost_per_token": 6e-6},
        {"range": [0, 32000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 6e-6}]});
    let read = entry(&one(&listed), "ChatPricing", "m");
    let expected = json!({"InputText": 1, "OutputText": 6, "Above": {"32000": {"InputText": 2}}});
    assert_eq!(read, expected);
}

#[test]
fn a_fee_of_a_tool_keeps_its_unit() {
    let chat = |more: Value| {
        let mut listed = json!({"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6});
        listed
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        listed
    };
    let searches = |low: f64, high: f64| {
        json!({"search_context_cost_per_query": {"search_context_size_low": low,
            "search_context_size_medium": low, "search_context_size_high": high}})
    };
    let text = json!({"InputText": 1, "OutputText": 1});
    for (group, listed, expected) in [
        (
            "ChatPricing",
            chat(searches(0.01, 0.01)),
            json!({"WebSearch": 0.01}),
        ),
        (
            "ChatPricing",
            chat(searches(0.01, 0.02)),
            json!({"WebSearchLow": 0.01, "WebSearchMedium": 0.01, "WebSearchHigh": 0.02}),
        ),
        (
            "ChatPricing",
            chat(
                json!({"code_interpreter_cost_per_session": 0.03, "file_search_cost_per_1k_calls": 0.0025,
            "google_maps_grounding_cost_per_query": 0.014, "citation_cost_per_token": 2e-6}),
            ),
            json!({"CodeSession": 0.03, "FileSearch": 0.0025, "Maps": 0.014, "CitationText": 2}),
        ),
    ] {
        let mut whole = text.clone();
        whole
            .as_object_mut()
            .unwrap()
            .extend(expected.as_object().unwrap().clone());
        assert_eq!(entry(&one(&listed), group, "m"), whole);
    }
}

#[test]
fn what_has_no_tokens_keeps_its_unit() {
    let of = |mode: &str, more: Value| {
        let mut listed = json!({"litellm_provider": "openai", "mode": mode});
        listed
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        listed
    };
    for (group, listed, expected) in [
        (
            "AudioPricing",
            of("audio_speech", json!({"input_cost_per_character": 1.5e-5})),
            json!({"Character": 15}),
        ),
        (
            "AudioPricing",
            of(
                "audio_transcription",
                json!({"input_cost_per_second": 0.000_030_83, "output_cost_per_second": 0}),
            ),
            json!({"AudioHour": 0.111}),
        ),
        (
            "VideoPricing",
            of(
                "video_generation",
                json!({"output_cost_per_second": 0.1, "output_cost_per_second_1080p": 0.2}),
            ),
            json!({"Second": 0.1, "Sizes": {"1080p": 0.2}}),
        ),
        (
            "CallPricing",
            of(
                "ocr",
                json!({"ocr_cost_per_page": 0.004, "ocr_cost_per_page_batches": 0.002}),
            ),
            json!({"Page": 0.004, "Tiers": {"batch": {"Page": 0.002}}}),
        ),
        (
            "RerankPricing",
            of(
                "rerank",
                json!({"input_cost_per_query": 0.002, "input_cost_per_token": 0, "output_cost_per_token": 0}),
            ),
            json!({"SearchUnit": 0.002}),
        ),
        (
            "ImgPricing",
            of(
                "image_generation",
                json!({"output_cost_per_image": 0.06, "output_cost_per_image_1K": 0.04}),
            ),
            json!({"Call": 0.06, "Sizes": {"1k": 0.04}}),
        ),
    ] {
        assert_eq!(entry(&one(&listed), group, "m"), expected);
    }
}

#[test]
fn a_quality_of_a_picture_stands_before_its_size() {
    let picture = |price: f64| json!({"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": price});
    let list = json!({"standard/16-x-16/draw": picture(0.01), "hd/16-x-16/draw": picture(0.02), "8-x-16/draw": picture(0.03)});
    let read = entry(&from(&list.to_string()), "ImgPricing", "draw");
    assert_eq!(
        read["Sizes"],
        json!({"16x16": 0.01, "hd/16x16": 0.02, "8x16": 0.03})
    );
}

#[test]
fn the_other_list_is_told_by_what_is_in_it() {
    let cost = json!({"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75, "reasoning": 15,
        "input_audio": 4, "context_over_200k": {"input": 6, "output": 22.5, "cache_read": 0.3}});
    let limit = json!({"context": 1000, "output": 100});
    let list = json!({
        "anthropic": {"models": {"claude-x": {"cost": cost, "limit": limit}, "unknown": {"limit": limit}}},
        "moonshotai": {"models": {"kimi-x": {"cost": {"input": 1, "output": 2}}}},
        "elsewhere": {"models": {"claude-x": {"cost": {"input": 1, "output": 2}}, "plan": {"cost": {"input": 0, "output": 0}}}},
    });
    let imported = from(&list.to_string());
    let expected = json!({"InputText": 3, "OutputText": 15, "CachedText": 0.3, "CacheWrite": 3.75, "InputAudio": 4,
        "Above": {"200000": {"InputText": 6, "OutputText": 22.5}}, "MaxInput": 1000, "MaxOutput": 100});
    assert_eq!(entry(&imported, "ChatPricing", "claude-x"), expected);
    assert_eq!(
        imported.table["ChatPricing"]["kimi-x"]["Provider"],
        "moonshot"
    );
    assert_eq!(
        imported.table["ChatPricing"]["elsewhere/claude-x"]["InputText"],
        1
    );
    assert_eq!(imported.models, 3);
    assert_eq!(imported.skipped.get("without a price"), Some(&2));
    assert_eq!(
        imported.table["Sources"]["sync-models.dev-2030-01-01"],
        json!({"Url": ORIGIN.url, "Date": ORIGIN.day})
    );
}
