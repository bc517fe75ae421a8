//! Rules of hiding usage: only what was not asked for is removed, and nothing else changes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::{tests::noise, without_usage};

#[test]
fn only_the_usage_chunk_is_kept_back() {
    for (event, only) in [
        (
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
            true,
        ),
        (
            "data: {\"id\":\"x\",\"choices\":[ ],\"usage\": {\"a\":1},\"timings\":{}}\r\n\r\n",
            true,
        ),
        (
            "data: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}\n\n",
            false,
        ),
        ("data: {\"choices\":[],\"usage\":null}\n\n", false),
        (
            "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
            false,
        ),
        ("data: {\"usage\":{\"prompt_tokens\":1}}\n\n", false),
        ("data: [DONE]\n\n", false),
        ("data: {\"choices\":[],\"usage\":{\n\n", false),
    ] {
        assert_eq!(without_usage(Bytes::from(event)).is_none(), only, "{event}");
    }
}

#[test]
fn a_null_usage_is_taken_out_with_its_comma() {
    for (event, stripped) in [
        ("data: {\"a\":1,\"usage\":null}\n\n", "data: {\"a\":1}\n\n"),
        (
            "data: {\"a\":1 , \"usage\" : null , \"b\":2}\n\n",
            "data: {\"a\":1  , \"b\":2}\n\n",
        ),
        (
            "data: {\"usage\":null, \"b\":2}\n\n",
            "data: { \"b\":2}\n\n",
        ),
        ("data: {\"usage\":null}\n\n", "data: {}\n\n"),
        (
            "id: 1\ndata: {\"a\":\"\\\"usage\\\":null\",\"usage\":null}\n\n",
            "id: 1\ndata: {\"a\":\"\\\"usage\\\":null\"}\n\n",
        ),
    ] {
        assert_eq!(
            without_usage(Bytes::from(event)).unwrap(),
            stripped,
            "{event}"
        );
    }
    for event in [
        "data: {\"a\":1}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"a\":{\"usage\":null}}\n\n",
        "data: {\"usage\":null,\n\n",
        "data: [DONE]\n\n",
    ] {
        let bytes = Bytes::from(event);
        assert_eq!(without_usage(bytes.clone()), Some(bytes), "{event}");
    }
}

#[test]
fn of_a_run_only_the_usage_goes() {
    let run = "data: {\"a\":1}\n\ndata: {\"b\":2,\"usage\":null}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"x\":1}}\n\n: c\n\ndata: [DONE]\n\n";
    let left = "data: {\"a\":1}\n\ndata: {\"b\":2}\r\n\r\n: c\n\ndata: [DONE]\n\n";
    assert_eq!(without_usage(Bytes::from(run)).unwrap(), left);
    let bytes = Bytes::from(left);
    let out = without_usage(bytes.clone()).unwrap();
    assert_eq!((out.as_ptr(), out.len()), (bytes.as_ptr(), bytes.len()));
}

proptest! {
    #[test]
    fn stripping_takes_nothing_but_the_null(before in noise(), after in noise(), spaced in any::<bool>()) {
        let mut members = before.as_object().unwrap().clone();
        let kept_before = members.clone();
        members.insert("usage".to_owned(), Value::Null);
        members.insert("z".to_owned(), after.clone());
        let data = if spaced { format!("{{ \"usage\" : null , \"z\" : {after} }}") } else { Value::from(members).to_string() };
        let out = without_usage(Bytes::from(format!("data: {data}\n\n"))).unwrap();
        let mut expected = if spaced { serde_json::Map::new() } else { kept_before };
        expected.insert("z".to_owned(), after);
        let read: Value = serde_json::from_slice(&crate::formats::sse::data_of(&out)).unwrap();
        prop_assert_eq!(read, Value::from(expected));
    }
}
