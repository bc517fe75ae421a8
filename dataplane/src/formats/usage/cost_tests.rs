//! Usage objects as providers document them, and what they cost, computed by hand: tokens of each
//! kind × nano-dollars per token. A change of either reader or pricing shows here.

use proxyxai_contract::{
    bill::{self, Used},
    money::Multiplier,
    price_file,
    usage::Images,
};
use serde_json::{Value, json};

use super::*;

/// Dollars per million tokens; a thousandth of a dollar per million is a nano-dollar per token.
const PRICES: &str = r#"{"ChatPricing": {
    "t-gpt-5": {"InputText": 1.25, "OutputText": 10, "CachedText": 0.125},
    "t-gpt-4.1": {"InputText": 2, "OutputText": 8, "CachedText": 0.5},
    "t-audio": {"InputText": 2.5, "OutputText": 10, "InputAudio": 40, "OutputAudio": 80},
    "t-image": {"InputText": 5, "OutputText": 40, "InputImage": 10, "OutputImage": 40},
    "t-sonnet": {"InputText": 3, "OutputText": 15, "CachedText": 0.3, "CacheWrite": 3.75},
    "t-gemini": {"InputText": 0.3, "OutputText": 2.5, "CachedText": 0.03},
    "t-deepseek": {"InputText": 0.28, "OutputText": 0.42, "CachedText": 0.028},
    "t-grok": {"InputText": 3, "OutputText": 15, "CachedText": 0.75},
    "t-reason": {"InputText": 1, "OutputText": 2, "ReasonText": 8},
    "t-embed": {"InputText": 0.1, "OutputText": 0},
    "t-half": {"InputText": 0.0005, "OutputText": 0}
}}"#;

fn nanos(model: &str, schema: Schema, usage: &Value) -> i64 {
    let table = price_file::load(Some(PRICES)).unwrap();
    let tokens = Report::read(usage.to_string().as_bytes())
        .unwrap()
        .unwrap()
        .reported(schema)
        .tokens;
    let one = Multiplier::ONE;
    let used = Used {
        tokens: &tokens,
        images: &Images::default(),
        pieces: &[],
        tier: "",
    };
    let cost = bill::cost(table.find(model).unwrap(), &used, one, one);
    cost.unwrap().nanos()
}

#[test]
fn openai_usage_costs_what_the_price_list_says() {
    let cached_and_reasoning = json!({
        "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    });
    let audio = json!({
        "prompt_tokens": 130, "completion_tokens": 90, "total_tokens": 220,
        "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": 30, "audio_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 0, "text_tokens": 20, "audio_tokens": 70}
    });
    let responses = json!({
        "input_tokens": 328, "input_tokens_details": {"cached_tokens": 128},
        "output_tokens": 52, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 380
    });
    let image = json!({
        "input_tokens": 50, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens": 4160, "total_tokens": 4210
    });
    let reasoning = json!({
        "prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 25}
    });
    for (model, usage, expected) in [
        // 86 × 1,250 + 1,920 × 125 + 300 × 10,000
        ("t-gpt-5", &cached_and_reasoning, 3_347_500),
        // 30 × 2,500 + 100 × 40,000 + 20 × 10,000 + 70 × 80,000
        ("t-audio", &audio, 9_875_000),
        // 200 × 2,000 + 128 × 500 + 52 × 8,000
        ("t-gpt-4.1", &responses, 880_000),
        // 10 × 5,000 + 40 × 10,000 + 4,160 × 40,000
        ("t-image", &image, 166_850_000),
        // 10 × 1,000 + 5 × 2,000 + 25 × 8,000
        ("t-reason", &reasoning, 220_000),
    ] {
        assert_eq!(
            nanos(model, Schema::Completions, usage),
            expected,
            "{model}"
        );
    }
}

#[test]
fn anthropic_usage_costs_its_three_kinds_of_input() {
    let written = json!({
        "input_tokens": 21, "cache_creation_input_tokens": 188_086,
        "cache_read_input_tokens": 0, "output_tokens": 393
    });
    let both = json!({
        "input_tokens": 4, "cache_creation_input_tokens": 248,
        "cache_read_input_tokens": 1800, "output_tokens": 503,
        "cache_creation": {"ephemeral_5m_input_tokens": 248, "ephemeral_1h_input_tokens": 0}
    });
    // 21 × 3,000 + 188,086 × 3,750 + 393 × 15,000
    assert_eq!(nanos("t-sonnet", Schema::Messages, &written), 711_280_500);
    // 4 × 3,000 + 248 × 3,750 + 1,800 × 300 + 503 × 15,000
    assert_eq!(nanos("t-sonnet", Schema::Messages, &both), 9_027_000);
}

#[test]
fn other_providers_usage_costs_what_their_price_lists_say() {
    // The thinking of Gemini and Grok is in the total alone.
    let gemini = json!({
        "prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1250,
        "prompt_tokens_details": {"cached_tokens": 600}
    });
    let grok = json!({
        "prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
        "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0},
        "num_sources_used": 0
    });
    let deepseek = json!({
        "prompt_tokens": 118, "completion_tokens": 512, "total_tokens": 630,
        "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 54,
        "completion_tokens_details": {"reasoning_tokens": 300}
    });
    let embed = json!({"prompt_tokens": 15, "total_tokens": 15, "completion_tokens": 0});
    for (model, usage, expected) in [
        // 400 × 300 + 600 × 30 + 250 × 2,500
        ("t-gemini", &gemini, 763_000),
        // 26 × 3,000 + 6 × 750 + (9 + 94) × 15,000
        ("t-grok", &grok, 1_627_500),
        // 54 × 280 + 64 × 28 + 512 × 420
        ("t-deepseek", &deepseek, 231_952),
        ("t-embed", &embed, 1_500),
        // 15 × ½: half a nano-dollar rounds away from zero, once for the whole call
        ("t-half", &embed, 8),
    ] {
        assert_eq!(
            nanos(model, Schema::Completions, usage),
            expected,
            "{model}"
        );
    }
}
