//! Request bodies: what is read of them, and what is sent in their place.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    formats::conversation::ConversationHash,
    formats::{
        Route, conversation, model_list,
        own_bodies::{Page, anthropic_model, anthropic_models},
        request::{
            BadRequest, RequestFacts, UsageAsk,
            decompress::{ContentCoding, Decompressor},
            in_query, in_target, read, rewrite,
        },
        usage::estimate_prompt,
    },
};

const NEW_MODEL: &str = "vendor/another-model";
/// The texts that may be put in: a model's name, and asking for usage.
const ADDED_BYTES_MAX: usize = 100;
/// A picture, which a request of few bytes may have many of.
const TOKENS_PER_BYTE_MAX: u64 = 765;
const UNPACKED_BYTES_MAX: usize = 256 * 1024;
const STEP_BYTES: usize = 4096;
const CODINGS: [ContentCoding; 4] = [
    ContentCoding::Brotli,
    ContentCoding::Deflate,
    ContentCoding::Gzip,
    ContentCoding::Zstd,
];
const ROUTES: [Route; 6] = [
    Route::Chat,
    Route::Completions,
    Route::Responses,
    Route::Messages,
    Route::Embeddings,
    Route::Other,
];

/// A byte that chooses, a line with the content type when it says so, then the body.
pub fn request(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else {
        return;
    };
    let (said, body) = match choice & 3 {
        0 => ("application/json", rest),
        1 => ("multipart/form-data; boundary=b", rest),
        2 => ("", rest),
        _ => {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, body) = rest.split_at(end.unwrap_or(rest.len()));
            let Ok(line) = std::str::from_utf8(line) else {
                return;
            };
            (line, body.get(1..).unwrap_or_default())
        }
    };
    let _listed = model_list::names(body);
    conversations(body);
    names_in_a_query(body);
    comes_apart_in_steps(CODINGS[usize::from(choice >> 3) % CODINGS.len()], body);
    let route = ROUTES[usize::from(choice >> 3) % ROUTES.len()];
    let most = (body.len() as u64 + 1) * TOKENS_PER_BYTE_MAX;
    assert!(estimate_prompt(route, body) <= most);
    let strict = choice & 4 != 0;
    let read = |body: &[u8]| read(body, said, strict);
    if let Ok(facts) = read(body) {
        agrees_with_a_tree(body, said, &facts);
        can_be_rewritten(body, read, &facts);
    }
}

fn names_in_a_query(query: &[u8]) {
    let query = String::from_utf8_lossy(query);
    let named = in_target("/v1/x", Some(&format!("{query}&%4dodel=x")));
    assert_eq!(named.last().map(String::as_str), Some("x"));
    let (all, page) = (
        BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        Page::of(&query),
    );
    let listed: Value = serde_json::from_slice(&anthropic_models(&all, &page)).expect("it is JSON");
    assert!(
        listed["data"]
            .as_array()
            .is_some_and(|data| data.len() <= all.len())
    );
    assert!(!anthropic_model(&query).is_empty());
    assert!(in_query(&format!("{query}&%4dodel=x")).is_some());
    if !query.contains(['&', ';', '=']) {
        assert_eq!(in_query(&format!("x={query}")), None);
    }
}

fn comes_apart_in_steps(coding: ContentCoding, packed: &[u8]) {
    let Ok(mut unpacking) = Decompressor::new(coding, Bytes::copy_from_slice(packed)) else {
        return;
    };
    let mut body = Vec::new();
    while body.len() < UNPACKED_BYTES_MAX {
        let before = body.len();
        match unpacking.step(STEP_BYTES, &mut body) {
            Ok(0) => assert_eq!(body.len(), before),
            Ok(made) => assert!(made <= STEP_BYTES && body.len() == before + made),
            Err(_) => return,
        }
        if body.len() == before {
            return;
        }
    }
}

/// What a full parser makes of the body, where it takes it at all.
fn agrees_with_a_tree(body: &[u8], said: &str, facts: &RequestFacts) {
    if !said.starts_with("application/json") {
        return;
    }
    let plain = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let Ok(Value::Object(tree)) = serde_json::from_slice(plain) else {
        return;
    };
    assert_eq!(
        tree.get("model").and_then(Value::as_str),
        facts.model.as_deref()
    );
    let stream = tree.get("stream").and_then(Value::as_bool);
    assert_eq!(stream.unwrap_or_default(), facts.stream);
    let has = |name: &Value| {
        name.as_str()
            .is_none_or(|name| facts.named.iter().any(|one| one == name))
    };
    for list in ["models", "fallbacks"] {
        let list = tree.get(list).and_then(Value::as_array);
        assert!(list.into_iter().flatten().all(has), "each name is found");
    }
    let tools = tree.get("tools").and_then(Value::as_array);
    let tools = tools
        .into_iter()
        .flatten()
        .filter_map(|tool| tool.get("model"));
    assert!(tools.into_iter().all(has), "each name is found");
    let asked = tree
        .get("stream_options")
        .and_then(|it| it.get("include_usage"));
    assert_eq!(
        asked == Some(&Value::Bool(true)),
        facts.usage == UsageAsk::Asked
    );
}

fn can_be_rewritten(
    body: &[u8],
    read: impl Fn(&[u8]) -> Result<RequestFacts, BadRequest>,
    facts: &RequestFacts,
) {
    let body = Bytes::copy_from_slice(body);
    let sent = |model, ask| rewrite(&body, facts, model, ask).into_pieces().concat();
    assert_eq!(sent(None, false), body, "nothing was to be changed");
    let changed = sent(Some(NEW_MODEL), true);
    assert!(changed.len() <= body.len() + ADDED_BYTES_MAX);
    let again = read(&changed).expect("what is sent can be read");
    let model = facts.model.as_ref().map(|_| NEW_MODEL);
    assert_eq!(again.model.as_deref(), model);
    assert_eq!(
        (again.stream, again.choices(), again.n),
        (facts.stream, facts.choices(), facts.n)
    );
    assert_eq!(again.size, facts.size);
    match facts.usage {
        UsageAsk::Unaskable => assert_eq!(again.usage, UsageAsk::Unaskable),
        UsageAsk::Asked | UsageAsk::NotAsked(_) => assert_eq!(again.usage, UsageAsk::Asked),
    }
}

fn conversations(body: &[u8]) {
    let named = conversation::session(Some(b"session"), body);
    assert_eq!(named, Some(ConversationHash::new([&b"session"[..]])));
    let unnamed = conversation::session(None, body);
    let beginning = conversation::prefix(body);
    // Blanks around it say nothing.
    let spaced = [b" \n", body, b" "].concat();
    assert_eq!(conversation::session(None, &spaced), unnamed);
    assert_eq!(conversation::prefix(&spaced), beginning);
}
