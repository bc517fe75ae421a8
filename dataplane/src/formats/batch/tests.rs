//! Rules of batches: a call in a batch may do no more than the same call alone.

use proptest::prelude::*;

use super::*;

#[test]
fn each_call_of_a_batch_has_its_model_and_its_bound() {
    let body = r#"{"requests":[{"custom_id":"a","params":{"model":"one","max_tokens":5,"messages":[]}},{"params":{"max_tokens":7,"model":"two"}}]}"#;
    let (parts, references) = messages(body.as_bytes()).unwrap();
    assert_eq!(references, []);
    let parts: Vec<_> = parts
        .iter()
        .map(|part| (part.model.as_str(), part.max_tokens))
        .collect();
    assert_eq!(parts, [("one", Some(5)), ("two", Some(7))]);
}

#[test]
fn a_batch_that_can_be_read_otherwise_is_refused() {
    for body in [
        "",
        "{}",
        r#"{"requests":[]}"#,
        r#"{"requests":[{"params":{}}]}"#,
        r#"{"requests":[{"params":{"model":""}}]}"#,
        r#"{"requests":[{"params":{"model":" one"}}]}"#,
        r#"{"requests":[{"params":{"model":"one","model":"two"}}]}"#,
        r#"{"requests":[{"params":{"model":"one"},"params":{"model":"two"}}]}"#,
        r#"{"requests":[{"params":{"model":"one"}}],"requests":[]}"#,
        r#"{"requests":[{"params":{"model":"one","max_tokens":"5"}}]}"#,
        r#"{"requests":[{"params":{"model":"one"},"Params":{"model":"two"}}]}"#,
        r#"{"requests":[{"params":{"model":"one","Model":"two"}}]}"#,
        r#"{"requests":[{"params":{"model":"one\u0000"}}]}"#,
        r#"{"requests":[{"params":{"model":"one","fallbacks":7}}]}"#,
        r#"{"requests":[{"params":{"model":"one","background":true}}]}"#,
        r#"{"requests":[{"params":[]}]}"#,
    ] {
        assert!(messages(body.as_bytes()).is_err(), "{body}");
    }
}

/// A file in the form that it is sent in.
fn form(lines: &str) -> Vec<u8> {
    format!(
        "--x\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{lines}\r\n--x--\r\n"
    )
    .into_bytes()
}

const GOOD: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"one","max_tokens":5,"n":2,"messages":[]}}"#;

#[test]
fn the_calls_of_a_file_are_found_in_its_form_or_it_is_not_for_a_batch() {
    let call = GOOD;
    let parts = lines(&form(&format!("{call}\n{call}"))).unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(
        (
            parts[0].model.as_str(),
            parts[0].max_tokens,
            parts[0].choices
        ),
        ("one", Some(5), 2)
    );
    for bad in [
        "",
        "text",
        r#"{"custom_id":"a"}"#,
        &format!("{call}\n{{"),
        &format!("{call}\n{call}{call}"),
        &format!("{call}\n x{call}"),
        &format!("{call}\n\u{b}{{\"custom\\u005fid\":\"b\"}}"),
        &format!("Content-Transfer-Encoding: quoted-printable\n{call}"),
    ] {
        assert_eq!(lines(&form(bad)), None, "{bad}");
    }
}

#[test]
fn a_line_is_read_as_the_same_call_would_be_by_itself() {
    let line = |url: &str, body: &str| {
        format!(r#"{{"custom_id":"a","method":"POST","url":"{url}","body":{body}}}"#)
    };
    let usable = |text: &str| lines(&form(&format!("{GOOD}\n{text}"))).is_some();
    assert!(usable(&line(
        "/v1/responses",
        r#"{"model":"m","input":"hi"}"#
    )));
    for body in [
        "[]",
        r#""text""#,
        r#"{"input":"hi"}"#,
        r#"{"model":""}"#,
        r#"{"model":" m"}"#,
        r#"{"model":"m\u0007"}"#,
        r#"{"model":["m"]}"#,
        r#"{"model":"m","model":"k"}"#,
        r#"{"model":"m","Model":"k"}"#,
        r#"{"model":"m","Max_Tokens":9}"#,
        r#"{"model":"m","max_tokens":"9"}"#,
        r#"{"model":"m","models":7}"#,
        r#"{"model":"m","route":"fallback"}"#,
        r#"{"model":"m","background":true}"#,
        r#"{"model":"m","deferred":true}"#,
    ] {
        assert!(!usable(&line("/v1/responses", body)), "{body}");
    }
    for url in [
        "",
        "/v1/files",
        "/v1/batches",
        "/v1/videos",
        "/v1/Responses",
        "/v1/responses/",
        "/v1/responses?model=k",
        "https://a/v1/responses",
        "/v1/responses/resp_1/cancel",
    ] {
        assert!(!usable(&line(url, r#"{"model":"m"}"#)), "{url}");
    }
    let body = r#""body":{"model":"m"}"#;
    for other in [
        format!(r#"{{"custom_id":"a","method":"GET","url":"/v1/responses",{body}}}"#),
        format!(r#"{{"custom_id":"a","method":"POST",{body}}}"#),
        format!(r#"{{"url":"/v1/responses",{body},{body}}}"#),
        format!(r#"{{"url":"/v1/responses",{body},"Body":{{"model":"k"}}}}"#),
    ] {
        assert!(!usable(&other), "{other}");
    }
}

#[test]
fn the_models_that_a_line_names_are_all_known() {
    let body = r#"{"model":"m","models":["k"],"tools":[{"type":"image_generation","model":"l"}]}"#;
    let text = format!(r#"{{"custom_id":"a","url":"/v1/responses","body":{body}}}"#);
    let parts = lines(&form(&text)).unwrap();
    assert_eq!((parts[0].model.as_str(), parts[0].named.len()), ("m", 2));
    assert_eq!(parts[0].row.url(), "/v1/responses");
}

#[test]
fn a_call_of_a_batch_that_refers_to_an_object_is_known_by_it() {
    for (member, kind) in [
        (r#""previous_response_id":"X""#, ObjectKind::Response),
        (r#""conversation":"X""#, ObjectKind::Conversation),
        (r#""conversation":{"id":"X"}"#, ObjectKind::Conversation),
        (
            r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"X"}]}]"#,
            ObjectKind::File,
        ),
        (
            r#""input":[{"type":"item_reference","id":"X"}]"#,
            ObjectKind::Item,
        ),
        (
            r#""messages":[{"content":[{"type":"file","file":{"\u0066ile_id":"X"}}]}]"#,
            ObjectKind::File,
        ),
        (r#""container":"X""#, ObjectKind::Container),
        (
            r#""tools":[{"type":"file_search","vector_store_ids":["X"]}]"#,
            ObjectKind::VectorStore,
        ),
    ] {
        let body = format!(r#"{{"model":"m",{member}}}"#);
        // The provider may ignore the endpoint of a line.
        for url in [
            "/v1/responses",
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/completions",
        ] {
            let line = format!(r#"{{"custom_id":"a","url":"{url}","body":{body}}}"#);
            assert_eq!(lines(&form(&line)), None, "{line}");
        }
        let batch = format!(r#"{{"requests":[{{"custom_id":"a","params":{body}}}]}}"#);
        let (_, references) = messages(batch.as_bytes()).unwrap();
        let own = (kind, "X".to_owned());
        assert!(references.contains(&own), "{batch}: {references:?}");
    }
}

#[test]
fn a_batch_is_made_for_one_endpoint_that_is_paid_by_its_model() {
    let made = |body: &str| made_for(body.as_bytes()).map(|row| row.map(Endpoint::url));
    let chat = "/v1/chat/completions".to_owned();
    let body = format!(r#"{{"input_file_id":"X","endpoint":"{chat}"}}"#);
    assert_eq!(made(&body), Ok(Some(chat)));
    assert_eq!(made(r#"{"input_file_id":"X"}"#), Ok(None));
    for body in [
        "",
        r#"{"endpoint":7}"#,
        r#"{"endpoint":"/v1/videos"}"#,
        r#"{"endpoint":"/v1/Responses"}"#,
        r#"{"endpoint":"/v1/responses","endpoint":"/v1/embeddings"}"#,
    ] {
        assert!(made(body).is_err(), "{body}");
    }
}

proptest! {
    #[test]
    fn a_line_is_usable_only_if_its_body_would_be_taken_alone(
        name in "[Mm]odel|model|models|[Mm]ax_tokens|n|stream|metadata",
        value in prop::sample::select(vec!["\"m\"", "\" m\"", "7", "-1", "1.5", "null", "[]", "{}", "true"]),
    ) {
        let body = format!(r#"{{"model":"m","{name}":{value}}}"#);
        let alone = request::read(body.as_bytes(), "application/json", true);
        let line = format!(r#"{{"custom_id":"a","url":"/v1/responses","body":{body}}}"#);
        prop_assert_eq!(lines(&form(&line)).is_some(), alone.is_ok(), "{}", line);
    }
}
