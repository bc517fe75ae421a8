//! Rules of reading and rewriting: only the necessary bytes change, and the result is valid JSON.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const JSON: &str = "application/json; charset=utf-8";

fn facts_of(body: &str) -> RequestFacts {
    read(body.as_bytes(), JSON, false).unwrap()
}

fn rewritten(body: &str, model: Option<&str>, ask: bool) -> String {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let segments = rewrite(&bytes, &facts_of(body), model, ask);
    String::from_utf8(segments.into_pieces().concat()).unwrap()
}

fn field_error(body: &str) -> &'static str {
    match read(body.as_bytes(), JSON, false) {
        Err(BadRequest::Field { field, .. }) => field,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn where_a_model_is_read_a_body_has_to_be_what_it_is_said_to_be() {
    let strictly = |body: &[u8], said| read(body, said, true);
    let plain = br#"{"model":"a"}"#;
    assert_eq!(strictly(plain, JSON).unwrap().model.as_deref(), Some("a"));
    for said in ["text/plain", "application/x-www-form-urlencoded"] {
        assert!(strictly(plain, said).is_err(), "{said}");
        assert!(strictly(b"", said).is_ok(), "{said}");
    }
    assert_eq!(strictly(plain, "").unwrap().model.as_deref(), Some("a"));
    assert!(strictly(form("a", "").as_bytes(), "").is_err());
    for body in [
        "[1]",
        "\"model\"",
        "null",
        "\u{feff}{\"model\":\"a\"}",
        "plain text",
    ] {
        assert!(strictly(body.as_bytes(), JSON).is_err(), "{body}");
    }
    assert!(strictly(b"{\"model\":\"a\",\"x\":\"\xff\"}", JSON).is_err());
    assert!(strictly(b"{\"model\":\"a\",\"\xc0\xae\":1}", JSON).is_err());
    let wide: Vec<u8> = r#"{"model":"a"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(strictly(&wide, JSON).is_err());
    let twice = br#"{"model":"a","model":"b"}"#;
    assert_eq!(read(twice, "text/plain", false).unwrap().model, None);
}

#[test]
fn what_is_gone_on_from_is_told_by_a_text_or_by_an_id_and_by_nothing_else() {
    for field in ["conversation", "previous_response_id"] {
        for (said, id) in [
            (r#""x_1""#, Some("x_1")),
            (r#"{"x":[0],"id":"x_1"}"#, Some("x_1")),
            ("null", None),
        ] {
            let body = format!(r#"{{"model":"a","{field}":{said}}}"#);
            let facts = read(body.as_bytes(), JSON, true).unwrap();
            let found = facts.conversation.or(facts.previous);
            assert_eq!(found.as_deref(), id, "{body}");
        }
        for said in [
            r#"{"id":{"id":"x_1"}}"#,
            r#"{"id":"x_1","id":"x_2"}"#,
            r#"{"ID":"x_1"}"#,
            r#"["x_1"]"#,
            r#"{"id":"\ud800"}"#,
            "7",
        ] {
            let body = format!(r#"{{"model":"a","{field}":{said}}}"#);
            for strict in [false, true] {
                let refused = read(body.as_bytes(), JSON, strict);
                let named = |error: &BadRequest| matches!(error, BadRequest::Field { field: named, .. } if *named == field);
                assert!(refused.is_err_and(|error| named(&error)), "{body}");
            }
        }
    }
}

#[test]
fn a_region_is_a_tier_that_is_asked_for() {
    for (asked, tier) in [
        (r#"{"inference_geo":"us"}"#, Some("us")),
        (r#"{"inference_geo":"global"}"#, None),
        (
            r#"{"service_tier":"auto","inference_geo":"us"}"#,
            Some("us"),
        ),
        (
            r#"{"service_tier":"auto","inference_geo":"global"}"#,
            Some("auto"),
        ),
        (r#"{"speed":"fast","inference_geo":"us"}"#, Some("fast")),
        (r#"{"service_tier":"flex"}"#, Some("flex")),
    ] {
        assert_eq!(facts_of(asked).tier.as_deref(), tier, "{asked}");
    }
}

#[test]
fn a_member_that_matters_is_there_once_under_its_very_name() {
    for member in [
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "size",
        "service_tier",
        "messages",
    ] {
        let other = [
            member.to_uppercase(),
            member
                .replace('m', "M")
                .replace('s', "\u{17f}")
                .replace('n', "N"),
            format!("{member} "),
            format!("{member}\\u0000x"),
            format!("\\u{:04X}{}", member.as_bytes()[0] - 32, &member[1..]),
        ];
        for other in other {
            for body in [
                format!(r#"{{"{other}":null}}"#),
                format!(r#"{{"a":1,"{member}":null,"{other}":{{}}}}"#),
                format!(r#"{{"{other}":[],"{member}":null}}"#),
            ] {
                let read = read(body.as_bytes(), JSON, true);
                assert!(
                    matches!(read, Err(BadRequest::Field { field, .. }) if field == member),
                    "{body}: {read:?}"
                );
            }
        }
        for again in [
            member.to_owned(),
            format!("\\u{:04x}{}", member.as_bytes()[0], &member[1..]),
        ] {
            let body = format!(r#"{{"{member}":null,"a":1,"{again}":null}}"#);
            let read = read(body.as_bytes(), JSON, true);
            assert!(
                matches!(read, Err(BadRequest::Malformed { .. })),
                "{body}: {read:?}"
            );
        }
    }
    let other = r#"{"model":"a","stream_options":{"include_usage":true,"Include_Usage":false}}"#;
    assert!(read(other.as_bytes(), JSON, true).is_err());
    // Elsewhere the upstream checks names, except that of the model.
    assert_eq!(facts_of(r#"{"N":1,"Size":2}"#).n, None);
    assert_eq!(field_error(r#"{"Model":"a"}"#), "model");
}

#[test]
fn a_number_that_sets_a_limit_is_one() {
    let limit = |text: &str| {
        let body = format!(r#"{{"model":"a","max_tokens":{text},"n":{text}}}"#);
        let facts = read(body.as_bytes(), JSON, true)?;
        assert_eq!(facts.max_tokens(Route::Chat), facts.n.filter(|n| *n > 0));
        Ok::<_, BadRequest>(facts.n)
    };
    for (text, number) in [
        ("7", Some(7)),
        ("1e3", Some(1000)),
        ("100.0", Some(100)),
        ("-1", None),
        ("null", None),
        ("18446744073709551616", Some(u64::MAX)),
        ("1e300", Some(u64::MAX)),
    ] {
        assert_eq!(limit(text).unwrap(), number, "{text}");
    }
    for text in ["\"7\"", "1.5", "true", "[7]", "{}", "1e400"] {
        assert!(limit(text).is_err(), "{text}");
    }
}

#[test]
fn work_that_ends_after_its_call_is_known() {
    for (more, later) in [
        (r#""background":true"#, Some("background")),
        (r#""background":"yes""#, Some("background")),
        (r#""deferred":1"#, Some("deferred")),
        (r#""background":false"#, None),
        (r#""deferred":null"#, None),
        (r#""metadata":{"background":true}"#, None),
    ] {
        let body = format!(r#"{{"model":"a",{more}}}"#);
        for strict in [true, false] {
            let facts = read(body.as_bytes(), JSON, strict).unwrap();
            assert_eq!(facts.deferred_by, later, "{more}");
        }
    }
}

#[test]
fn a_model_has_nothing_around_its_name() {
    for name in [" a", "a\\n", "\u{a0}a", "a\\u0000"] {
        let body = format!(r#"{{"model":"{name}"}}"#);
        assert!(read(body.as_bytes(), JSON, true).is_err(), "{body}");
    }
    let form = form("a ", "");
    assert!(read(form.as_bytes(), "multipart/form-data; boundary=XX", true).is_err());
}

#[test]
fn a_field_of_a_form_is_there_once_as_plain_text_under_its_very_name() {
    let said = "multipart/form-data; boundary=XX";
    let part = |head: &str| {
        let more = format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\nb\r\n");
        read(form("a", &more).as_bytes(), said, true)
    };
    assert_eq!(part("name=\"prompt\"").unwrap().model.as_deref(), Some("a"));
    for head in [
        "name=\"model\"",
        "name=\"Model\"",
        "name=\"model[]\"",
        "name=\"mod%65l\"",
        "name=\" model\"",
        "name='model'",
        "name=\"stream\"",
        "name=\"n\"; filename=\"n\"",
        "name=\"n\"\r\nContent-Type: application/json",
        "name=\"_charset_\"",
        "name=\"n\"",
        "filename=\"a\"",
    ] {
        assert!(part(head).is_err(), "{head}");
    }
}

#[test]
fn a_model_name_has_an_end() {
    let body = format!(r#"{{"model":"{}"}}"#, "m".repeat(1025));
    assert!(read(body.as_bytes(), JSON, false).is_err());
}

#[test]
fn the_known_fields_are_read() {
    let facts = facts_of(
        r#" {"messages":[{"model":"no"}],"model":"gpt-4o","stream":true,"max_completion_tokens":7,"max_tokens":5} "#,
    );
    assert_eq!(facts.model.as_deref(), Some("gpt-4o"));
    assert!(facts.stream);
    assert_eq!(facts.max_tokens(Route::Chat), Some(7));
    assert!(facts.may_ask_usage(Route::Chat));
    assert!(!facts.may_ask_usage(Route::Responses));
}

#[test]
fn names_are_the_same_however_they_are_escaped() {
    assert_eq!(
        facts_of(r#"{"mod\u0065l":"gpt\u002d4"}"#).model.as_deref(),
        Some("gpt-4")
    );
    assert_eq!(
        facts_of("\u{feff}{\"model\":\"a\"}").model_span,
        Some(12..15)
    );
}

#[test]
fn a_body_without_facts_is_no_error() {
    for (body, content_type) in [
        ("", JSON),
        ("[1,2]", JSON),
        ("\"text\"", JSON),
        ("{}", JSON),
        (r#"{"model":null,"stream":null,"max_tokens":"many"}"#, JSON),
        ("{not json", "application/octet-stream"),
        ("{\"model\":\"a\"}\n{\"model\":\"b\"}", "application/jsonl"),
        ("plain", ""),
    ] {
        let facts = read(body.as_bytes(), content_type, false).unwrap();
        assert_eq!(
            (
                facts.model.clone(),
                facts.stream,
                facts.max_tokens(Route::Chat)
            ),
            (None, false, None),
            "{body}"
        );
    }
}

#[test]
fn json_is_read_whatever_the_content_type_says() {
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        assert_eq!(
            read(br#"{"model":"a"}"#, content_type, false)
                .unwrap()
                .model
                .as_deref(),
            Some("a")
        );
    }
}

#[test]
fn malformed_json_is_refused_with_its_place() {
    for body in [
        "{",
        "[1,",
        "{\"a\":1,}",
        "{\"model\":\"a\",\"model\":\"b\"}",
        "{} x",
        "nul",
    ] {
        let error = read(body.as_bytes(), "application/vnd.x+json", false).unwrap_err();
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    for (body, field) in [
        (r#"{"model":7}"#, "model"),
        (r#"{"model":["a"]}"#, "model"),
        (r#"{"model":"\ud800"}"#, "model"),
        (r#"{"stream":"yes"}"#, "stream"),
        (r#"{"stream":1}"#, "stream"),
        (r#"{"stream_options":[]}"#, "stream_options"),
        (
            r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#,
            "stream_options",
        ),
        (
            r#"{"stream_options":{"include_usage":0}}"#,
            "stream_options.include_usage",
        ),
    ] {
        assert_eq!(field_error(body), field, "{body}");
    }
}

#[test]
fn usage_is_asked_for_wherever_it_fits() {
    for (body, asking) in [
        (
            r#"{"a":1}"#,
            r#"{"stream_options":{"include_usage":true},"a":1}"#,
        ),
        ("{ }", r#"{"stream_options":{"include_usage":true} }"#),
        (
            r#"{"stream_options":null,"a":1}"#,
            r#"{"stream_options":{"include_usage":true},"a":1}"#,
        ),
        (
            r#"{"stream_options":{}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options": {"x":1}}"#,
            r#"{"stream_options": {"include_usage":true,"x":1}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":false}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options":{"include_usage":null}}"#,
            r#"{"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(rewritten(body, None, true), asking);
        assert_eq!(rewritten(body, None, false), body);
    }
    let asked = r#"{"stream_options":{"include_usage":true}}"#;
    assert_eq!(facts_of(asked).usage, UsageAsk::Asked);
    assert_eq!(rewritten(asked, None, true), asked);
    assert_eq!(rewritten("[1]", Some("m"), true), "[1]");
}

#[test]
fn a_body_that_stays_is_the_very_same_bytes() {
    let body = Bytes::from_static(br#"{"model":"a","stream":true}"#);
    let pieces = rewrite(&body, &read(&body, JSON, false).unwrap(), None, false).into_pieces();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].as_ptr(), body.as_ptr());
}

#[test]
fn facts_of_another_body_do_no_harm() {
    let facts = facts_of(r#"{"messages":"a long one","model":"a"}"#);
    let body = Bytes::from_static(b"{}");
    assert_eq!(
        rewrite(&body, &facts, Some("m"), false)
            .into_pieces()
            .concat(),
        b"{}"
    );
}

fn form(model: &str, more: &str) -> String {
    format!(
        "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\n\"name=model\"\r\n\
         --XX\r\ncontent-disposition: form-data; name=model\r\n\r\n{model}\r\n\
         --XX\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n{more}--XX--\r\n"
    )
}

#[test]
fn a_form_names_its_model_and_can_name_another() {
    let content_type = "multipart/form-data; boundary=\"XX\"";
    let body = Bytes::from(form("whisper-1", ""));
    let facts = read(&body, content_type, false).unwrap();
    assert_eq!(
        (facts.model.as_deref(), facts.stream),
        (Some("whisper-1"), true)
    );
    assert_eq!(facts.usage, UsageAsk::Unaskable);
    let out = rewrite(&body, &facts, Some("other\"x"), true)
        .into_pieces()
        .concat();
    assert_eq!(out, form("other\"x", "").as_bytes());
    let twice = form(
        "a",
        "--XX\r\nContent-Disposition: form-data; name=model\r\n\r\nb\r\n",
    );
    assert!(matches!(
        read(twice.as_bytes(), content_type, false),
        Err(BadRequest::Field { field: "model", .. })
    ));
    assert!(read(&body[..body.len() - 30], content_type, false).is_err());
    assert!(
        read(
            form(&"x".repeat(MODEL_BYTES_MAX + 1), "").as_bytes(),
            content_type,
            false
        )
        .is_err()
    );
}

/// Any JSON value, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z\"\\\\]{0,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

fn stream_options() -> impl Strategy<Value = Option<Value>> {
    let asking = prop::option::of(prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from)
    ]);
    let object = (
        asking,
        prop::collection::btree_map("[a-h]{1,4}", value(), 0..3),
    )
        .prop_map(|(asking, others)| {
            let mut map: Map<String, Value> = others.into_iter().collect();
            asking.map(|asking| map.insert("include_usage".to_owned(), asking));
            Value::from(map)
        });
    prop::option::of(prop_oneof![1 => Just(Value::Null), 4 => object])
}

proptest! {
    #[test]
    fn a_rewritten_body_says_what_was_meant_and_nothing_else_changes(
        others in prop::collection::btree_map("[a-z]{1,6}", value(), 0..5),
        model in prop::option::of(any::<String>()),
        options in stream_options(),
        new_model in prop::option::of(any::<String>()),
        ask in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let mut object: Map<String, Value> = others.into_iter().filter(|(name, _)| !["model", "stream"].contains(&name.as_str())).collect();
        model.as_ref().map(|model| object.insert("model".to_owned(), json!(model)));
        options.as_ref().map(|options| object.insert("stream_options".to_owned(), options.clone()));
        let body = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let out = rewritten(&body, new_model.as_deref(), ask);

        let mut expected = object;
        if let (Some(_), Some(new)) = (&model, &new_model) {
            expected.insert("model".to_owned(), json!(new));
        }
        if ask {
            let mut asking = options.and_then(|options| options.as_object().cloned()).unwrap_or_default();
            asking.insert("include_usage".to_owned(), json!(true));
            expected.insert("stream_options".to_owned(), Value::from(asking));
        }
        let read_back: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(read_back, Value::from(expected));
        if !ask && (model.is_none() || new_model.is_none()) {
            prop_assert_eq!(out, body);
        }
    }

    #[test]
    fn only_the_model_changes_when_only_the_model_is_mapped(before in "[ -~]{0,20}", model in "[ -~]{0,12}", new in any::<String>()) {
        let head = format!("{{ {} : 1.50 ,\t\"model\" :\n", json!(format!("x{before}")));
        let tail = ",\"z\":[ 1e3 ] }  ";
        let body = format!("{head}{}{tail}", json!(model));
        prop_assert_eq!(rewritten(&body, Some(&new), false), format!("{head}{}{tail}", json!(new)));
    }

    #[test]
    fn no_bytes_make_it_fail_badly(body in prop::collection::vec(any::<u8>(), 0..60), kind in 0usize..3) {
        let content_type = [JSON, "", "multipart/form-data; boundary=x"][kind];
        if let Ok(facts) = read(&body, content_type, false) {
            let body = Bytes::from(body);
            let pieces = rewrite(&body, &facts, None, false).into_pieces();
            prop_assert_eq!(pieces.concat(), body);
        }
    }
}

#[test]
fn the_number_and_size_of_pictures_are_read_from_json_and_forms() {
    let facts = |body: &str| read(body.as_bytes(), "application/json", true).unwrap();
    let asked = facts(r#"{"model":"m","n":3,"size":"1024x1792"}"#);
    assert_eq!(
        (asked.n, asked.size.as_deref()),
        (Some(3), Some("1024x1792"))
    );
    // The upstream refuses an invalid size.
    assert_eq!(facts(r#"{"model":"m","size":[1]}"#).size, None);
    let form = "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n--b\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n512x512\r\n--b--\r\n";
    let asked = read(form.as_bytes(), "multipart/form-data; boundary=b", true).unwrap();
    assert_eq!((asked.n, asked.size.as_deref()), (Some(2), Some("512x512")));
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for bad in [
        r#"{"a":[/* "] */],"model":"x"}"#,
        r#"{"a":['"'],"model":"x"}"#,
        r#"{/* "model":"y", */"model":"x"}"#,
        r#"{'model':'y',"model":"x"}"#,
        r#"{"a":01,"model":"x"}"#,
        r#"{"a":[1,2,"model":"x"}"#,
        r#"{"a":[1,2},"model":"x"}"#,
        r#"{"a":tru,"model":"x"}"#,
        r#"{"a":1 "model":"x"}"#,
        r#"{"a" 1,"model":"x"}"#,
        r#"{"a":1,,"model":"x"}"#,
        r#"{"a":[),"model":"y","b":[(]],"model":"x"}"#,
        r#"{"model":"x","a":[b"],"model":"y","c":[d"]}"#,
        r#"{"model":"x","a":["\x1"],"model":"y","c":["]}"#,
        r#"{"a":"\q","model":"x"}"#,
        "{\"a\":\"\u{1}\",\"model\":\"x\"}",
        r#"{"model":"x"}}"#,
        r#"{"a":[1}],"model":"x"}"#,
        r#"{"a":1,}"#,
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
    ] {
        let whole = read(bad.as_bytes(), "application/json", true);
        assert!(
            matches!(whole, Err(BadRequest::Malformed { .. })),
            "{bad}: {whole:?}"
        );
    }
}

#[test]
fn a_fault_inside_a_field_that_is_not_read_is_the_upstreams_to_refuse() {
    for body in [
        r#"{"a":[1,,2],"model":"x"}"#,
        r#"{"a":{"b" 1},"model":"x"}"#,
        r#"{"a":[trew,1.2.3],"model":"x"}"#,
    ] {
        assert_eq!(facts_of(body).model.as_deref(), Some("x"), "{body}");
    }
}

#[test]
fn no_depth_is_too_deep_to_be_read() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = 300_000;
        let inner = format!("{}1{}", open.repeat(deep), close.repeat(deep));
        let body = format!(r#"{{"messages":{inner},"model":"x"}}"#);
        let facts = read(body.as_bytes(), "application/json", true);
        // The two parsers may differ on their limits, but each has one.
        assert!(facts.is_err() || facts.unwrap().model.as_deref() == Some("x"));
        let cut = body.get(..body.len() / 2).unwrap_or_default();
        assert!(read(cut.as_bytes(), "application/json", true).is_err());
    }
}

#[test]
fn a_limit_that_the_route_does_not_have_lowers_nothing() {
    let body = r#"{"model":"a","max_tokens":1,"max_completion_tokens":2,"max_output_tokens":3,"n":2,"best_of":5}"#;
    let facts = facts_of(body);
    for (route, most) in [
        (Route::Chat, 2),
        (Route::Completions, 1),
        (Route::Messages, 1),
        (Route::Responses, 3),
    ] {
        assert_eq!(facts.max_tokens(route), Some(most), "{route:?}");
    }
    assert_eq!(facts.choices(), 5, "each that is written is paid");
    let facts = facts_of(r#"{"model":"a","max_tokens":0,"max_output_tokens":1,"n":0}"#);
    assert_eq!((facts.max_tokens(Route::Chat), facts.choices()), (None, 1));
}
