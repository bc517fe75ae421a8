//! Whole answers, and what we write ourselves with words from outside in it.

use serde_json::Value;

use crate::{
    formats::{
        Dialect, Route,
        first_event::FirstEvent,
        own_bodies::{broken_stream, error_body, models_list},
        sse::events,
        usage::{UsageReader, UsageSchema},
    },
    pieces,
};

/// Two bytes that choose, then the body of an answer, or a text.
pub fn answer(input: &[u8]) {
    let [choice, seed, body @ ..] = input else {
        return;
    };
    let family = if choice & 1 == 0 {
        Dialect::OpenAi
    } else {
        Dialect::Anthropic
    };
    let schema = match (choice >> 1) % 4 {
        0 => UsageSchema::Completions,
        1 => UsageSchema::Responses,
        2 => UsageSchema::Messages,
        _ => UsageSchema::Pictures,
    };
    heard_in_pieces(schema, body, *seed);
    let text = String::from_utf8_lossy(body);
    said(family, u16::from(*seed) * 3, &text);
}

/// However it is cut, the same usage is heard.
fn heard_in_pieces(schema: UsageSchema, body: &[u8], seed: u8) {
    let mut whole = UsageReader::new(schema);
    whole.push_last(body);
    let mut cut = UsageReader::new(schema);
    let mut pieces = pieces(body, seed).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_some() {
            cut.push(piece);
        } else {
            cut.push_last(piece);
        }
    }
    assert_eq!(whole.reported(), cut.reported());
    // What is said in the last bytes is heard only when it is needed: when no usage is told.
    if whole.reported().is_none() {
        assert_eq!(whole.is_near_end(), cut.is_near_end());
        assert_eq!(whole.delivered_bytes(), cut.delivered_bytes());
        assert_eq!(
            whole.take_output_text().tokens(),
            cut.take_output_text().tokens()
        );
    }
    assert!(whole.delivered_bytes() <= body.len() as u64);
}

/// Whatever it is about, an error of ours is one JSON object, and one event that readers take for an error.
fn said(family: Dialect, status: u16, text: &str) {
    let body = error_body(family, status, text, text, text);
    let read: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(read["error"]["message"], *text);
    assert_eq!(read["message"], *text);
    for route in [
        Route::Chat,
        Route::Completions,
        Route::Responses,
        Route::Messages,
    ] {
        let event =
            broken_stream(route, status, "upstream_error", text).expect("its streams have events");
        assert_eq!(events(&event).count(), 1);
        assert!(matches!(FirstEvent::of(&event), FirstEvent::Error(_)));
    }
    let names: Vec<_> = text.lines().collect();
    let list: Value = serde_json::from_slice(&models_list(names.iter().copied(), 1)).expect("JSON");
    let listed = list["data"].as_array().expect("a list").iter();
    assert_eq!(listed.map(|model| &model["id"]).collect::<Vec<_>>(), names);
}
