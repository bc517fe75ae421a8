//! Laws of ceilings: use that is not in the body counts, and no report costs more than was reserved.

use proptest::prelude::*;
use proxyxai_contract::{bill::BilledUsage, money::Multiplier, tokens::TokenUsage};
use serde_json::{Value, json};

use super::*;
use crate::formats::{Route, request::read};

const fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

const CONTEXT: u64 = 200_000;
const ASSUMED: Assumed = Assumed {
    input: 1 << 20,
    uses: 10,
};

#[test]
fn the_dearest_of_several_models_is_covered_and_any_may_exceed_it() {
    // As many output tokens as its price has nano-dollars.
    let of = |hold: i64, open| CostCeiling {
        hold: nanos(hold),
        open,
        output: hold.unsigned_abs(),
    };
    assert_eq!(dearest([]), CostCeiling::default());
    assert_eq!(dearest([of(5, false)]), of(5, false));
    assert_eq!(
        dearest([of(5, false), of(7, false), of(1, true)]),
        of(7, true)
    );
    assert_eq!(together([of(5, false), of(7, true)]), of(12, true));
}

fn model(max_input: Option<u64>) -> ModelPrice {
    let mut price = ModelPrice::of_call(Money::ZERO);
    let parts = [
        (BillPart::InputText, 1000),
        (BillPart::InputImage, 3000),
        (BillPart::OutputText, 4000),
        (BillPart::WebSearch, 10),
        (BillPart::FileSearch, 20),
    ];
    for (part, nanos) in parts {
        price
            .standard
            .units
            .set(part, Some(Money::from_nanos(nanos)));
    }
    (price.max_input, price.max_output) = (max_input, Some(8_000));
    price
}

fn uses_of(price: &ModelPrice, route: Route, body: &Value) -> MaxUsage {
    let text = body.to_string();
    let facts = read(text.as_bytes(), "application/json", true).unwrap();
    uses(
        price,
        &RequestBounds {
            body_bytes: text.len(),
            reads_more: facts.reads_more(route),
            max_tokens: facts.max_tokens(route),
            choices: facts.choices(),
            images: ImageUsage::default(),
            tier: None,
            tools: &facts.tools,
            tool_calls_max: facts.tool_calls_max,
            assumed: ASSUMED,
        },
    )
}

fn with(more: &Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 100, "max_output_tokens": 100});
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

#[test]
fn whatever_is_not_in_the_body_may_fill_the_context() {
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    for (route, more) in [
        (Route::Responses, json!({"previous_response_id": "resp_1"})),
        (Route::Responses, json!({"conversation": {"id": "conv_1"}})),
        (Route::Responses, json!({"prompt": {"id": "pmpt_1"}})),
        (
            Route::Responses,
            json!({"input": [{"content": [{"type": "input_image", "image_url": "https://x/y"}]}]}),
        ),
        (
            Route::Responses,
            json!({"input": [{"content": [{"type": "input_file", "file_url": "https://x/y"}]}]}),
        ),
        (
            Route::Responses,
            json!({"input": [{"content": [{"type": "input_file", "file_data": "data:;base64,AA"}]}]}),
        ),
        (
            Route::Responses,
            json!({"tools": [{"type": "computer_use_preview"}]}),
        ),
        (
            Route::Chat,
            part(json!({"type": "image_url", "image_url": {"url": "https://x/y"}})),
        ),
        (
            Route::Chat,
            part(json!({"type": "input_audio", "input_audio": {"data": "AA"}})),
        ),
        (
            Route::Chat,
            part(json!({"type": "video_url", "video_url": {"url": "https://x/y"}})),
        ),
        (
            Route::Chat,
            part(json!({"Image_URL": {"url": "https://x/y"}})),
        ),
        (Route::Chat, part(json!({"image": "https://x/y"}))),
        (
            Route::Messages,
            part(json!({"type": "image", "source": {"type": "url", "url": "https://x/y"}})),
        ),
        (
            Route::Messages,
            part(json!({"type": "document", "source": {"type": "base64", "data": "AA"}})),
        ),
        (
            Route::Embeddings,
            json!({"input": [{"image": "https://x/y"}]}),
        ),
    ] {
        let found = uses_of(&model(Some(CONTEXT)), route, &with(&more));
        assert_eq!((found.input, found.open), (CONTEXT, false), "{more}");
        let found = uses_of(&model(None), route, &with(&more));
        assert_eq!((found.input, found.open), (ASSUMED.input, true), "{more}");
    }
}

#[test]
fn a_text_has_no_more_tokens_than_bytes() {
    let schema =
        json!({"type": "object", "properties": {"source": {}, "image": {}, "file_url": {}}});
    for (route, more) in [
        (
            Route::Chat,
            json!({"messages": [{"role": "user", "content": "image_url"}]}),
        ),
        (Route::Completions, json!({"prompt": "hi"})),
        (
            Route::Responses,
            json!({"input": "hi", "prompt": null, "previous_response_id": null, "conversation": null}),
        ),
        (
            Route::Chat,
            json!({"audio": {"voice": "x"}, "response_format": {"json_schema": {"schema": schema}}}),
        ),
        (
            Route::Responses,
            json!({"text": {"format": {"schema": schema}}, "metadata": {"source": "x"}}),
        ),
    ] {
        let body = with(&more);
        let found = uses_of(&model(Some(CONTEXT)), route, &body);
        assert_eq!(found.input, body.to_string().len() as u64, "{more}");
        assert!(!found.open, "{more}");
    }
    let tools = with(&json!({"tools": [{"name": "a", "input_schema": schema}]}));
    let found = uses_of(&model(Some(CONTEXT)), Route::Messages, &tools);
    assert_eq!(found.input, tools.to_string().len() as u64 + TOOL_TOKENS);
}

#[test]
fn with_each_use_of_a_tool_the_context_is_read_once_more() {
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let mut bound = search.clone();
    bound["max_uses"] = json!(2);
    let both = json!([{"type": "web_search"}, {"type": "file_search"}]);
    for (more, passes, fees, open) in [
        (
            json!({"tools": [search]}),
            11,
            vec![(BillPart::WebSearch, 10)],
            true,
        ),
        (
            json!({"tools": [bound]}),
            3,
            vec![(BillPart::WebSearch, 2)],
            false,
        ),
        (
            json!({"tools": [bound], "max_tool_calls": 1}),
            2,
            vec![(BillPart::WebSearch, 1)],
            false,
        ),
        (
            json!({"tools": both}),
            21,
            vec![(BillPart::WebSearch, 10), (BillPart::FileSearch, 10)],
            true,
        ),
        (
            json!({"tools": both, "max_tool_calls": 3}),
            4,
            vec![(BillPart::WebSearch, 3), (BillPart::FileSearch, 3)],
            false,
        ),
        (
            json!({"tools": [{"type": "mcp"}], "max_tool_calls": 0}),
            1,
            vec![],
            false,
        ),
    ] {
        let found = uses_of(&model(Some(CONTEXT)), Route::Responses, &with(&more));
        assert_eq!(found.input, passes * CONTEXT, "{more}");
        assert_eq!(found.output, passes * 100, "{more}");
        assert_eq!((found.pieces, found.open), (fees, open), "{more}");
    }
}

#[test]
fn answers_are_counted_under_every_name() {
    for name in ["n", "best_of", "candidate_count", "num_generations"] {
        let found = uses_of(&model(None), Route::Chat, &with(&json!({name: 3})));
        assert_eq!(found.output, 300, "{name}");
    }
}

#[test]
fn an_answer_without_a_bound_is_open() {
    let mut price = model(None);
    price.max_output = None;
    let body = json!({"model": "m", "messages": []});
    let found = uses_of(&price, Route::Chat, &body);
    assert_eq!((found.output, found.open), (OUTPUT_TOKENS_DEFAULT, true));
}

proptest! {
    /// A provider may report as much as the model can do in each pass, of any kind, and a fee for each use.
    #[test]
    fn no_report_costs_more_than_was_set_aside(
        cued in prop::sample::select(vec!["previous_response_id", "conversation", "image_url"]),
        max_uses in 0u64..20,
        searches in any::<bool>(),
        passes in 0u64..20,
        shares in prop::array::uniform4(0u64..=100),
        max_tokens in 1u64..10_000,
    ) {
        let mut more = json!({cued: "x", "max_output_tokens": max_tokens});
        if searches {
            more["tools"] = json!([{"type": "web_search"}, {"type": "file_search"}]);
            more["max_tool_calls"] = json!(max_uses);
        }
        let price = model(Some(CONTEXT));
        let most = uses_of(&price, Route::Responses, &with(&more));
        prop_assert!(!most.open);
        let passes = if searches { passes.min(max_uses) } else { 0 };
        let [read, pictures, written, first] = shares;
        let input = CONTEXT * (passes + 1) * read / 100;
        let tokens = TokenUsage {
            input,
            input_image: input * pictures / 100,
            output: max_tokens.min(8_000) * (passes + 1) * written / 100,
            ..TokenUsage::default()
        };
        let first = passes * first / 100;
        let used = BilledUsage {
            tokens: &tokens,
            images: &ImageUsage::default(),
            pieces: &[(BillPart::WebSearch, first), (BillPart::FileSearch, passes - first)],
            tier: "",
        };
        let cost = bill::cost(&price, &used, Multiplier::ONE, Multiplier::ONE).unwrap();
        let ceiling = bill::ceiling(&price, &UsageCeiling {
            input: most.input,
            output: most.output,
            images: &ImageUsage::default(),
            pieces: &most.pieces,
            tier: None,
        }, Multiplier::ONE, Multiplier::ONE).unwrap();
        prop_assert!(cost <= ceiling, "{cost} {ceiling}");
    }
}
