//! Every golden usage in its protocol, as one body and as a stream: complete, interrupted anywhere, and abandoned by
//! the client anywhere. It costs what the provider charges, or is labelled as an estimate, and delivered text is never
//! free.

use proxyxai_contract::{part::BillPart, price::PriceTable, usage::UsageMeasure};
use serde_json::{Value, json};

use super::{
    golden_tests::{golden, nanos, prices, schema, stream, sum, wire},
    *,
};

/// The text delivered before the usage.
const TEXT: [&str; 3] = ["The prompt ", "has been ", "answered."];
/// Upper bound on the positions at which a body is cut off.
const CUTS: usize = 60;

const USAGE: &str = r#""usage":{"#;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Cut,
    Left,
}

/// The same as a stream of its protocol, if it has one.
fn streamed(row: &Value) -> Option<String> {
    if row["events"].is_array() || row["path"] == "/v1/embeddings" {
        return None;
    }
    let body = &row["body"];
    let events = match schema(row) {
        UsageSchema::Completions if body["usage"].is_object() => {
            let mut last = body.clone();
            last["choices"] = json!([]);
            let delta = |text| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
            let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
            [TEXT.map(delta).to_vec(), vec![end, last]].concat()
        }
        UsageSchema::Responses => {
            let created = json!({"type": "response.created", "response": {"status": "in_progress", "usage": null}});
            let delta = |text| json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": text});
            let last = json!({"type": "response.completed", "response": body});
            [vec![created], TEXT.map(delta).to_vec(), vec![last]].concat()
        }
        UsageSchema::Messages => {
            let start = json!({"type": "message_start", "message": {"role": "assistant", "content": [], "usage": null}});
            let delta = |text| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
            let last = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": body["usage"]});
            let stop = json!({"type": "message_stop"});
            [vec![start], TEXT.map(delta).to_vec(), vec![last, stop]].concat()
        }
        _ => return None,
    };
    let done = if schema(row) == UsageSchema::Completions {
        "data: [DONE]\n\n"
    } else {
        ""
    };
    Some(stream(&events) + done)
}

/// The outcome of an answer of which this much was received.
fn settled(row: &Value, heard: &[u8], end: End, prices: &PriceTable) -> (UsageMeasure, i64, bool) {
    let mut reader = UsageReader::new(schema(row));
    reader.push(heard);
    // Nothing is missing if the client disconnects after the end.
    let complete = match end {
        End::Whole => true,
        End::Cut => false,
        End::Left => reader.finished(),
    };
    let known = ResolvedUsage::of(&reader, complete, ModelBounds::default);
    let tokens = known.tokens(&estimate(400, reader.delivered_bytes()));
    let sum = sum(row, &reader, &tokens, prices);
    (known.measure, nanos(&sum), reader.delivered_bytes() > 0)
}

fn holds(row: &Value, wire: &str, prices: &PriceTable) {
    let cost = row["cost"].as_i64().unwrap();
    let whole = settled(row, wire.as_bytes(), End::Whole, prices);
    assert_eq!(
        (whole.0, whole.1),
        (UsageMeasure::Measured, cost),
        "{row} {wire}"
    );
    let price = prices.find(row["price"].as_str().unwrap()).unwrap();
    let pays_text = price
        .of(BillPart::OutputText)
        .is_some_and(|price| price.nanos() > 0);
    let step = (wire.len() / CUTS).max(1);
    // Some report all usage repeatedly. A client that leaves between two reports pays for the earlier one.
    let again = schema(row) == UsageSchema::Completions && wire.matches(USAGE).count() > 1;
    for at in (0..wire.len()).step_by(step) {
        let heard = wire.as_bytes().get(..at).unwrap();
        for end in [End::Cut, End::Left] {
            let (measure, paid, delivered) = settled(row, heard, end, prices);
            let what = (row, String::from_utf8_lossy(heard), end);
            assert!(
                end != End::Cut || measure == UsageMeasure::Partial,
                "{what:?}"
            );
            assert!(
                measure != UsageMeasure::Measured || paid == cost || again,
                "{paid} {what:?}"
            );
            assert!(!delivered || !pays_text || paid > 0, "{what:?}");
        }
    }
}

#[test]
fn an_answer_with_text_whose_usage_is_nothing_at_all_is_counted() {
    let body = r#"{"choices":[{"message":{"content":"Some text."}}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
    let (measure, paid, _) = settled(
        &json!({"path": "/v1/chat/completions", "price": "own"}),
        body.as_bytes(),
        End::Whole,
        &prices(),
    );
    assert_eq!(measure, UsageMeasure::Estimated);
    assert!(paid > 0);
}

#[test]
fn each_usage_costs_what_its_provider_charges_or_is_labelled() {
    let prices = prices();
    let (mut shapes, mut streams) = (0, 0);
    for row in golden().iter().filter(|row| row["cost"].is_i64()) {
        shapes += 1;
        holds(row, &wire(row), &prices);
        // With text, a usage of zero does not count.
        let stream = streamed(row).filter(|_| row["counts"] != json!({}));
        if let Some(stream) = stream {
            streams += 1;
            holds(row, &stream, &prices);
        }
    }
    assert!(shapes >= 200 && streams >= 150, "{shapes} {streams}");
}
