//! Tests which names refer to objects and which do not, and that none is missed.

use proptest::prelude::*;

use super::*;

fn found(body: &str, route: Route) -> Vec<(&'static str, String)> {
    let found = find(body.as_bytes(), route, None).unwrap();
    // The cues from names must not change the result.
    let cues = crate::formats::request::read(body.as_bytes(), "application/json", false)
        .ok()
        .and_then(|facts| facts.cues);
    assert_eq!(find(body.as_bytes(), route, cues).unwrap(), found, "{body}");
    found
        .into_iter()
        .map(|(kind, id)| (kind.as_str(), id))
        .collect()
}

proptest! {
    #[test]
    fn no_name_that_refers_is_missed(
        at in prop::sample::select((0..NAMES.len()).collect::<Vec<_>>()),
        upper in any::<u32>(),
        escaped in prop::option::of(0usize..20),
        odd in prop::sample::select(vec!["", " ", "_", "\u{b}", "\\u0000x"]),
        space in "[ \n]{0,70}",
        fill in "[a-z]{0,90}",
        depth in 0usize..4,
        route in prop::sample::select(vec![Route::Chat, Route::Messages, Route::Responses, Route::Other]),
    ) {
        let (known, kind, scope) = NAMES[at];
        let spelled = known.chars().enumerate().map(|(place, char)| match char {
            char if escaped == Some(place) => format!("\\u{:04x}", u32::from(char)),
            char if upper >> place & 1 == 1 => char.to_ascii_uppercase().to_string(),
            char => char.to_string(),
        });
        let name = spelled.collect::<String>() + odd.replace('\u{b}', "\\u000b").as_str();
        let mut value = format!("{{\"{fill}\":1,\"{name}\"{space}:{space}\"X\"}}");
        for _ in 0..depth {
            value = format!("[{{\"a\":{value}}}]");
        }
        let found = found(&format!("{{\"model\":\"m\",\"prompt\":[{value}]}}"), route);
        if scope == ReferenceScope::Everywhere || route == Route::Other {
            prop_assert_eq!(found, [(kind.as_str(), "X".to_owned())]);
        } else {
            prop_assert_eq!(found, []);
        }
    }
}

#[test]
fn repeating_an_own_id_hides_no_other() {
    let mut ids = vec![r#"{"file_id":"MINE"}"#; 300];
    ids.push(r#"{"file_id":"OTHER"}"#);
    let body = format!(r#"{{"input":[{}]}}"#, ids.join(","));
    let found = found(&body, Route::Responses);
    assert_eq!(
        found,
        [("file", "MINE".to_owned()), ("file", "OTHER".to_owned())]
    );
}

#[test]
fn what_could_be_read_by_others_and_not_here_is_refused() {
    let deep = format!(
        r#"{{"a":{}1{},"file_id":"X"}}"#,
        "[".repeat(130),
        "]".repeat(130)
    );
    for body in [
        deep.as_str(),
        r#"{"temperature":1e999,"file_id":"X"}"#,
        r#"{"file_id":"X""#,
        "{\"a\":\"\u{0}\",\"file_id\":\"X\"}",
        "{\"a\":1,,\"file_id\":\"X\"}",
    ] {
        let found = find(body.as_bytes(), Route::Other, None);
        assert_eq!(found, Err(ReferenceError::Unreadable), "{body}");
    }
    let wide: Vec<u8> = r#"{"file_id":"X"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        find(&wide, Route::Other, None),
        Err(ReferenceError::Unreadable)
    );
    for binary in [
        &[0u8, 1, 2, 3, 4][..],
        &[255, 254, 253, 252],
        b"\0\0\0 ftypmp42",
    ] {
        assert_eq!(
            find(binary, Route::Other, None).unwrap(),
            [],
            "no JSON at all"
        );
    }
    let marked = [b"\xEF\xBB\xBF", r#"{"file_id":"X"}"#.as_bytes()].concat();
    assert_eq!(
        find(&marked, Route::Other, None).unwrap(),
        [(ObjectKind::File, "X".to_owned())]
    );
}

#[test]
fn a_text_that_is_cut_within_a_character_is_read_all_the_same() {
    let body = r#"{"user":"\ud83d","b":"\\ud800","input":[{"file_id":"X"}]}"#;
    assert_eq!(found(body, Route::Responses), [("file", "X".to_owned())]);
}

#[test]
fn a_reference_is_found_wherever_a_provider_looks_for_one() {
    for (body, kind) in [
        (
            r#"{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"X"}}]}]}"#,
            "file",
        ),
        (
            r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"X"}}]}]}"#,
            "file",
        ),
        (
            r#"{"messages":[{"content":[{"type":"tool_result","content":[{"source":{"file_id":"X"}}]}]}]}"#,
            "file",
        ),
        (
            r#"{"input":[{"content":[{"type":"input_image","file_id":"X"}]}]}"#,
            "file",
        ),
        (
            r#"{"input":[{"content":[{"type":"input_image","\u0066ile_id":"X"}]}]}"#,
            "file",
        ),
        (
            r#"{"tools":[{"type":"file_search","vector_store_ids":["X"]}]}"#,
            "vector_store",
        ),
        (
            r#"{"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["X"]}}]}"#,
            "file",
        ),
        (
            r#"{"tools":[{"type":"code_interpreter","container":"X"}]}"#,
            "container",
        ),
        (r#"{"container":{"id":"X","skills":[]}}"#, "container"),
        (
            r#"{"input_file_id":"X","endpoint":"/v1/chat/completions"}"#,
            "file",
        ),
        (
            r#"{"prompt":{"id":"pmpt_1","variables":{"a":{"type":"input_file","file_id":"X"}}}}"#,
            "file",
        ),
    ] {
        assert_eq!(found(body, Route::Chat), [(kind, "X".to_owned())], "{body}");
    }
    let job = r#"{"training_file":"X","model":"m"}"#;
    assert_eq!(found(job, Route::Other), [("file", "X".to_owned())]);
    for body in [
        r#"{"input":[{"type":"item_reference","id":"X"}]}"#,
        r#"{"input":[{"id":"X"}]}"#,
        r#"{"input":[{"type":"reasoning","id":"X","summary":[]}]}"#,
        r#"{"input":[{"type":"image_generation_call","id":"X"}]}"#,
    ] {
        assert_eq!(
            found(body, Route::Responses),
            [("item", "X".to_owned())],
            "{body}"
        );
    }
}

#[test]
fn what_a_client_or_a_model_made_up_refers_to_nothing() {
    for body in [
        r#"{"metadata":{"file_id":"X"}}"#,
        r#"{"tools":[{"parameters":{"properties":{"file_id":{"default":"X"}}}}]}"#,
        r#"{"messages":[{"content":[{"type":"tool_use","id":"t","input":{"file_id":"X"}}]}]}"#,
        r#"{"messages":[{"content":"\"file_id\":\"X\""}]}"#,
        r#"{"input":[{"type":"message","id":"X","content":[]}]}"#,
        r#"{"input":[{"type":"reasoning","id":"X","encrypted_content":"e"}]}"#,
        r#"{"input":[{"type":"function_call_output","id":"X","call_id":"c","output":"o"}]}"#,
        r#"{"id":"X","input":"hi"}"#,
        "",
        "no JSON: file_id",
    ] {
        assert_eq!(found(body, Route::Responses), [], "{body}");
    }
}

#[test]
fn nothing_beside_a_reference_hides_it() {
    for (body, kind) in [
        (
            r#"{"input":[{"type":"reasoning","id":"X","summary":[],"encrypted_content":null}]}"#,
            "item",
        ),
        (
            r#"{"input":[{"type":"image_generation_call","id":"X","result":null}]}"#,
            "item",
        ),
        (
            r#"{"input":[{"type":"item_reference","id":"X","content":"x","name":"x"}]}"#,
            "item",
        ),
        (
            r#"{"input":[{"type":"message","type":"item_reference","id":"X","content":"x"}]}"#,
            "item",
        ),
        (r#"{"input":[{"id":"X","content":[],"name":"x"}]}"#, "item"),
        (r#"{"container":{"id":"","id":"X"}}"#, "container"),
        (r#"{"container":{"id":"X","id":7}}"#, "container"),
        (r#"{"type":"tool_use","input":[{"file_id":"X"}]}"#, "file"),
        (
            r#"{"messages":[{"type":"tool_use","content":[{"file":{"File_ID":"X"}}]}]}"#,
            "file",
        ),
        (
            r#"{"messages":[{"type":"tool_use","input":{"file_id":"Y"},"content":[{"file":{"FileId":"X"}}]}]}"#,
            "file",
        ),
        (
            r#"{"prompt":{"variables":{"schema":{"type":"input_file","file_id":"X"}}}}"#,
            "file",
        ),
    ] {
        assert_eq!(
            found(body, Route::Responses),
            [(kind, "X".to_owned())],
            "{body}"
        );
    }
    let form = "--b\r\nContent-Disposition: form-data; name=\"file_id\"\r\n\r\nX\r\n--b--\r\n";
    let facts =
        crate::formats::request::read(form.as_bytes(), "multipart/form-data; boundary=b", false);
    assert_eq!(
        facts.unwrap().in_form,
        [(ObjectKind::File, "X".to_owned())],
        "a field of a form"
    );
}

#[test]
fn too_many_references_are_refused() {
    let ids: Vec<_> = (0..1000).map(|at| format!("\"f{at}\"")).collect();
    let body = format!(r#"{{"file_ids":[{}]}}"#, ids.join(","));
    assert_eq!(
        find(body.as_bytes(), Route::Chat, None),
        Err(ReferenceError::TooMany)
    );
}
