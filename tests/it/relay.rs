//! What crosses the gateway and what does not: methods, paths, bodies, headers, credentials, responses.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    raw::{self, Answer},
    upstream::{Script, Upstream, json_answer},
    world::{ROOT, World, documented, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

/// A gateway with one key that follows this script, and an account.
async fn world_with(script: Script) -> (World, Upstream, String) {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

async fn call(
    world: &World,
    key: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers = [&[("Authorization", bearer.as_str())], headers].concat();
    raw::exchange(
        &world.node.base,
        &raw::request(method, target, &headers, body),
    )
    .await
}

/// Multipart with fields, a binary file and a field after it.
fn multipart(model: &str) -> Vec<u8> {
    let file: Vec<u8> = (0..=255u8).cycle().take(3000).collect();
    let mut body = format!(
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n\
         --XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--Xy-not-the-boundary\r\n\r\n--XyZ\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n");
    body.extend_from_slice("gpt-4 süß\r\n--XyZ--\r\n".as_bytes());
    body
}

#[tokio::test]
async fn any_method_path_query_and_body_goes_through_byte_for_byte() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    let form = multipart("whisper-1");
    let binary: Vec<u8> = (0..=255u8).rev().cycle().take(70_000).collect();
    let odd = b" \r\n\t{ \"model\" :\t\"gpt-4o\" ,\n\"messages\":[ ],\"x\" : 1e2, \"x\":\"\\u00e9\\/\" } \n";
    let table: [(&str, &str, Option<&str>, &[u8]); 20] = [
        ("GET", "/v1/things", None, b""),
        (
            "GET",
            "/v1/things/a%2Fb%20c%C3%A9/content?purpose=x%26y",
            None,
            b"",
        ),
        ("GET", "/v1/anything?a=1&a=2&b=%2F&c=+&&=&d&e==", None, b""),
        ("GET", "/v1/trailing/?", None, b""),
        ("GET", "/v1/a//b///c", None, b""),
        ("GET", "/v1/~user/(x)'!*;,:@&=+$-_.", None, b""),
        (
            "POST",
            "/v1/chat/completions",
            Some("application/json"),
            odd,
        ),
        (
            "POST",
            "/v1/chat/completions?api-version=2024-10-21",
            Some("application/json; charset=utf-8"),
            b"{\"model\":\"m\"}",
        ),
        (
            "POST",
            "/v1/responses",
            Some("application/json"),
            b"{\"model\":\"m\",\"input\":\"\xc3\xa9\",\"stream\":false}",
        ),
        (
            "POST",
            "/v1/messages",
            Some("application/json"),
            b"{\"model\":\"claude\",\"max_tokens\":1}",
        ),
        (
            "POST",
            "/v1/embeddings",
            Some("application/json"),
            b"{\"input\":[[1,2],[3]],\"model\":\"e\"}",
        ),
        (
            "POST",
            "/v1/audio/transcriptions",
            Some("multipart/form-data; boundary=XyZ"),
            &form,
        ),
        (
            "POST",
            "/v1/things/u_1/parts",
            Some("application/octet-stream"),
            &binary,
        ),
        ("POST", "/v1/things/b_1/cancel", None, b""),
        (
            "POST",
            "/v1/of/the/future",
            Some("text/plain"),
            b"not { json",
        ),
        ("PUT", "/v1/things/1", Some("application/json"), b"[1, 2]"),
        (
            "PATCH",
            "/v1/things/1",
            Some("application/merge-patch+json"),
            b"{\"a\":null}",
        ),
        ("DELETE", "/v1/things/f_1", None, b""),
        (
            "DELETE",
            "/v1/things/f_1",
            Some("application/json"),
            b"{\"why\":\"because\"}",
        ),
        ("OPTIONS", "/v1/things", None, b""),
    ];
    for (count, (method, target, kind, body)) in table.into_iter().enumerate() {
        let headers: Vec<_> = kind
            .map(|kind| ("Content-Type", kind))
            .into_iter()
            .collect();
        let answer = call(&world, &key, method, target, &headers, body).await;
        assert_eq!(
            answer.status,
            200,
            "{method} {target}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let all = upstream.seen(UP);
        assert_eq!(all.len(), count + 1, "{method} {target}");
        let seen = &all[count];
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            (method, target)
        );
        assert_eq!(seen.body, body, "the body of {method} {target}");
        assert_eq!(
            seen.headers
                .get("content-type")
                .map(|kind| kind.to_str().unwrap()),
            kind,
            "{method} {target}"
        );
        assert!(
            answer
                .body
                .starts_with(format!("{method} {target}\n").as_bytes()),
            "the echo of {method} {target}"
        );
        assert!(answer.body.ends_with(body), "the echo of {method} {target}");
    }
}

#[tokio::test]
async fn a_chunked_upload_arrives_whole() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    let body: Vec<u8> = (0..=255u8).cycle().take(300_000).collect();
    let bearer = format!("Bearer {key}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/octet-stream"),
    ];
    for size in [977, 64 * 1024, 300_000] {
        let answer = raw::exchange(
            &world.node.base,
            &raw::chunked("POST", "/v1/things", &headers, &body, size),
        )
        .await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            upstream.seen(UP).last().unwrap().body,
            body,
            "in chunks of {size}"
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_served() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    let headers = [("Expect", "100-continue"), ("Content-Type", "text/plain")];
    let answer = call(&world, &key, "POST", "/v1/things", &headers, b"after all").await;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen(UP).remove(0);
    assert_eq!(seen.body, "after all");
    assert!(!seen.headers.contains_key("expect"));
}

#[tokio::test]
async fn unprefixed_aliases_reach_the_same_path_under_v1() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    for (alias, target) in [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v2/chat/completions", "/v1/chat/completions"),
        ("/completions?x=1", "/v1/completions?x=1"),
        ("/responses", "/v1/responses"),
        ("/embeddings", "/v1/embeddings"),
        ("/messages", "/v1/messages"),
        ("/images/generations", "/v1/images/generations"),
        ("/moderations", "/v1/moderations"),
    ] {
        let answer = call(
            &world,
            &key,
            "POST",
            alias,
            &[("Content-Type", "application/json")],
            b"{\"model\":\"m\"}",
        )
        .await;
        assert_eq!(answer.status, 200, "{alias}");
        assert_eq!(upstream.seen(UP).last().unwrap().target, target);
    }
}

#[tokio::test]
async fn a_providers_own_path_is_kept_and_its_v1_is_not_doubled() {
    for (path, target) in [
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/x", "/x/v1/chat/completions"),
    ] {
        let (world, upstream) = (World::start().await, Upstream::start().await);
        upstream.script(UP, Script::Chat);
        world.add_key(UP, &format!("{}{path}", upstream.base)).await;
        let key = world.add_account("alice", 100.0).await;
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        assert_eq!(upstream.seen(UP)[0].target, target);
    }
}

#[tokio::test]
async fn end_to_end_headers_cross_unchanged_and_those_of_the_connection_do_not() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    let bearer = format!("Bearer {key}");
    let text = format!(
        "POST /v1/things HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: {bearer}\r\nContent-Length: 2\r\n\
         Content-Type: text/plain; charset=\"x y\"\r\nAccept: text/event-stream, */*;q=0.5\r\nAccept-Encoding: gzip, br\r\n\
         User-Agent: OpenAI/Python 1.0\r\nOpenAI-Organization: org-1\r\nOpenAI-Beta: assistants=v2\r\n\
         Cookie: a=b; c=d\r\nX-Twice: one\r\nX-Twice: two\r\nX-Empty:\r\nIdempotency-Key: k-1\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nAnthropic-Version: 2023-06-01\r\n\
         Connection: close, X-Mine\r\nX-Mine: secret\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
         Proxy-Authorization: Basic eA==\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\n\r\nhi"
    );
    let answer = raw::exchange(&world.node.base, text.as_bytes()).await;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen(UP).remove(0);
    for (name, value) in [
        ("content-type", "text/plain; charset=\"x y\""),
        ("accept", "text/event-stream, */*;q=0.5"),
        ("accept-encoding", "gzip, br"),
        ("user-agent", "OpenAI/Python 1.0"),
        ("openai-beta", "assistants=v2"),
        ("x-empty", ""),
        ("idempotency-key", "k-1"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("anthropic-version", "2023-06-01"),
        ("host", upstream.base.trim_start_matches("http://")),
        ("content-length", "2"),
        // This part of `TE` is the gateway's own: it passes trailers on.
        ("te", "trailers"),
        ("connection", "te"),
    ] {
        assert_eq!(
            seen.headers.get(name).map(|value| value.to_str().unwrap()),
            Some(value),
            "{name}"
        );
    }
    let twice: Vec<_> = seen.headers.get_all("x-twice").iter().collect();
    assert_eq!(twice, ["one", "two"]);
    for name in [
        "x-mine",
        "cookie",
        "openai-organization",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "transfer-encoding",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_answers_headers_cross_unchanged_and_those_of_its_connection_do_not() {
    let headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-request-id", "req_upstream".to_owned()),
        ("openai-processing-ms", "12".to_owned()),
        ("x-ratelimit-remaining-requests", "59".to_owned()),
        ("set-cookie", "a=b; Path=/".to_owned()),
        ("set-cookie", "c=d".to_owned()),
        ("etag", "\"x\"".to_owned()),
        ("connection", "x-hop".to_owned()),
        ("x-hop", "1".to_owned()),
        ("keep-alive", "timeout=5".to_owned()),
        ("proxy-authenticate", "Basic".to_owned()),
    ];
    let (world, _upstream, key) = world_with(Script::Answer {
        status: 201,
        headers,
        body: "{}".into(),
    })
    .await;
    let answer = call(
        &world,
        &key,
        "POST",
        "/v1/chat/completions",
        &[],
        b"{\"model\":\"m\"}",
    )
    .await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (201, b"{}".as_slice())
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-upstream-request-id", "req_upstream"),
        ("openai-processing-ms", "12"),
        ("x-ratelimit-remaining-requests", "59"),
        ("etag", "\"x\""),
    ] {
        assert_eq!(answer.headers(name), [value]);
    }
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "set-cookie"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_client_key_in_any_form_is_accepted_and_never_reaches_the_upstream() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    let forms = [
        vec![("Authorization", format!("Bearer {key}"))],
        vec![("Authorization", format!("bearer  {key}"))],
        vec![("Authorization", key.clone())],
        vec![("X-Api-Key", key.clone())],
        vec![
            ("x-api-key", key.clone()),
            ("anthropic-version", "2023-06-01".to_owned()),
        ],
        vec![
            ("Authorization", format!("Bearer {key}")),
            ("x-api-key", key.clone()),
            ("api-key", key.clone()),
            ("x-goog-api-key", key.clone()),
            (
                "sec-websocket-protocol",
                format!("realtime, openai-insecure-api-key.{key}"),
            ),
        ],
    ];
    let in_query = format!("/v1/chat/completions?a=1&key={key}&%6Bey=junk&b={key}");
    for (path, own) in [
        (in_query.as_str(), "authorization"),
        ("/v1/chat/completions", "authorization"),
        ("/v1/messages", "x-api-key"),
        ("/v1/things", "authorization"),
    ] {
        for form in &forms {
            let headers: Vec<_> = form
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let request = raw::request("POST", path, &headers, b"{\"model\":\"m\"}");
            let answer = raw::exchange(&world.node.base, &request).await;
            assert_eq!(answer.status, 200, "{path} {form:?}");
            let seen = upstream.seen(UP).pop().unwrap();
            assert!(!seen.target.contains("key"), "{}", seen.target);
            assert!(!seen.target.contains(&key[..20]), "{}", seen.target);
            for (name, value) in &seen.headers {
                assert!(
                    !value.to_str().unwrap().contains(&key[..20]),
                    "{path} {form:?}: {name}"
                );
            }
            assert!(
                seen.headers[own].to_str().unwrap().ends_with(UP),
                "{path} {form:?}"
            );
        }
    }
    assert_eq!(
        upstream.seen_all().len(),
        upstream.count(UP),
        "no call went with another credential"
    );
}

#[tokio::test]
async fn root_may_call_models_and_manage_with_one_key_in_all_forms() {
    let (world, _upstream, _) = world_with(Script::Chat).await;
    for form in [
        ("Authorization", format!("Bearer {ROOT}")),
        ("Authorization", ROOT.to_owned()),
        ("x-api-key", ROOT.to_owned()),
    ] {
        for path in [
            "/x-users",
            "/x-keys",
            "/x-conf",
            "/dashboard/info",
            "/v1/models",
        ] {
            let answer = world
                .http
                .get(world.url(path))
                .header(form.0, &form.1)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{path} by {}", form.0);
        }
        let call = world
            .http
            .post(world.url("/v1/chat/completions"))
            .header(form.0, &form.1);
        assert_eq!(
            call.json(&json!({"model": "m"}))
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }
}

#[tokio::test]
async fn the_upstream_key_never_reaches_the_client() {
    let said = format!(
        r#"{{"error":{{"message":"Incorrect API key provided: {UP}. Bearer {UP}","code":"x"}}}}"#
    );
    for status in [401, 403, 429, 500, 503] {
        let (world, upstream) = (
            World::with(&[("RETRY_DEADLINE_MS", "50")]).await,
            Upstream::start().await,
        );
        upstream.script(UP, json_answer(status, said.clone()));
        world.add_key(UP, &upstream.base).await;
        let key = world.add_account("alice", 100.0).await;
        for path in ["/v1/chat/completions", "/v1/messages"] {
            let answer = world.post(path, &key, &json!({"model": "gpt-4o"})).await;
            assert!(answer.status().as_u16() >= 400);
            for (name, value) in answer.headers() {
                assert!(!value.to_str().unwrap().contains(UP), "{status} {name}");
            }
            let text = answer.text().await.unwrap();
            assert!(!text.contains(UP), "{status}: {text}");
        }
        for path in ["/x-keys", "/x-conf", "/x-users"] {
            assert!(
                !world.read(path).await.to_string().contains(UP),
                "{path} after {status}"
            );
        }
        assert!(!world.node.log().contains(UP), "the log after {status}");
    }
}

#[tokio::test]
async fn an_upstreams_refusal_of_the_request_arrives_as_it_came() {
    let odd = Bytes::from_static(b"{ \"error\" : {\"message\":\"no \\u00e9\", \"code\":null}}\n");
    for status in [400, 404, 405, 409, 413, 415, 422] {
        let headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            ("x-own", "1".to_owned()),
            ("retry-after", "7".to_owned()),
        ];
        let (world, upstream, key) = world_with(Script::Answer {
            status,
            headers,
            body: odd.clone(),
        })
        .await;
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/unknown"] {
            let answer = call(
                &world,
                &key,
                "POST",
                path,
                &[("Content-Type", "application/json")],
                b"{\"model\":\"m\",\"stream\":true}",
            )
            .await;
            assert_eq!(
                (answer.status, &answer.body[..]),
                (status, &odd[..]),
                "{path}"
            );
            for (name, value) in [
                ("content-type", "application/problem+json"),
                ("x-own", "1"),
                ("retry-after", "7"),
            ] {
                assert_eq!(answer.headers(name), [value], "{path} {status}");
            }
        }
        assert_eq!(upstream.count(UP), 3, "each was asked once");
    }
}

#[tokio::test]
async fn only_the_model_changes_when_a_mapping_applies() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    world
        .conf(json!({"ModelMapper": "gpt-4=gpt-4o-mini,gpt-3.5*=gpt-4o, whisper-1=whisper-large"}))
        .await;
    let long = "x".repeat(50_000);
    for (sent, got) in [
        (r#"{ "model" : "gpt-4" , "messages":[] }"#.to_owned(), r#"{ "model" : "gpt-4o-mini" , "messages":[] }"#.to_owned()),
        (r#"{"messages":[{"model":"gpt-4","content":"\"model\":\"gpt-4\""}],"model":"gpt-4"}"#.to_owned(),
         r#"{"messages":[{"model":"gpt-4","content":"\"model\":\"gpt-4\""}],"model":"gpt-4o-mini"}"#.to_owned()),
        (r#"{"model":"gpt\u002d4","n":1e0}"#.to_owned(), r#"{"model":"gpt-4o-mini","n":1e0}"#.to_owned()),
        (r#"{"model":"gpt-3.5-turbo"}"#.to_owned(), r#"{"model":"gpt-4o"}"#.to_owned()),
        (format!(r#"{{"input":"{long}","model":"gpt-4"}}"#), format!(r#"{{"input":"{long}","model":"gpt-4o-mini"}}"#)),
        (r#"{"model":"GPT-4"}"#.to_owned(), r#"{"model":"GPT-4"}"#.to_owned()),
        (r#"{"model":"gpt-4o-mini"}"#.to_owned(), r#"{"model":"gpt-4o-mini"}"#.to_owned()),
    ] {
        let answer = call(&world, &key, "POST", "/v1/embeddings", &[("Content-Type", "application/json")], sent.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(upstream.seen(UP).pop().unwrap().body, got);
    }
    let headers = [("Content-Type", "multipart/form-data; boundary=\"XyZ\"")];
    let answer = call(
        &world,
        &key,
        "POST",
        "/v1/audio/transcriptions",
        &headers,
        &multipart("whisper-1"),
    )
    .await;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen(UP).pop().unwrap();
    assert_eq!(seen.body, multipart("whisper-large"));
    assert_eq!(
        seen.headers["content-type"],
        "multipart/form-data; boundary=\"XyZ\""
    );
}

#[tokio::test]
async fn an_accounts_own_mapping_comes_before_the_systems_and_neither_is_chained() {
    let (world, upstream, key) = world_with(Script::Echo).await;
    world.conf(json!({"ModelMapper": "a=b,b=c"})).await;
    let model = async || {
        let answer = call(
            &world,
            &key,
            "POST",
            "/v1/embeddings",
            &[("Content-Type", "application/json")],
            b"{\"model\":\"a\"}",
        )
        .await;
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_slice(&upstream.seen(UP).pop().unwrap().body).unwrap();
        body["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(model().await, "b");
    world.change("alice", json!({"ModelMapper": "a=own"})).await;
    assert_eq!(model().await, "own");
    world.change("alice", json!({"ModelMapper": ""})).await;
    assert_eq!(model().await, "b");
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    for status in [204, 304] {
        let headers = vec![("etag", "\"x\"".to_owned())];
        let (world, _upstream, key) = world_with(Script::Answer {
            status,
            headers,
            body: Bytes::new(),
        })
        .await;
        for method in ["GET", "DELETE"] {
            let answer = call(&world, &key, method, "/v1/things/f", &[], b"").await;
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{method}");
            assert_eq!(answer.headers("etag"), ["\"x\""]);
            assert_eq!(answer.header("transfer-encoding"), None);
        }
    }
    let headers = vec![
        ("content-type", "text/plain".to_owned()),
        ("content-length", "5".to_owned()),
    ];
    let (world, upstream, key) = world_with(Script::Answer {
        status: 200,
        headers,
        body: "hello".into(),
    })
    .await;
    let answer = call(&world, &key, "HEAD", "/v1/things/f?x", &[], b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), Some("5"));
    let seen = upstream.seen(UP).remove(0);
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("HEAD", "/v1/things/f?x")
    );
    // An empty 200 is not an error either.
    upstream.script(
        UP,
        Script::Answer {
            status: 200,
            headers: vec![],
            body: Bytes::new(),
        },
    );
    let answer = call(
        &world,
        &key,
        "POST",
        "/v1/chat/completions",
        &[],
        b"{\"model\":\"m\"}",
    )
    .await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn models_are_listed_as_far_as_the_caller_may_use_them() {
    let (world, upstream, key) = world_with(Script::Chat).await;
    let config = json!({"models": ["house-large", "house-small"]});
    let other = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
    world
        .add_key_with(json!({"SecretKey": other, "Provider": upstream.base, "Config": config}))
        .await;
    world
        .conf(json!({"ModelMapper": "nickname=house-small,wild*=house-small"}))
        .await;
    let list = async |path: &str| {
        let answer = world
            .http
            .get(world.url(path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let listed: Value = answer.json().await.unwrap();
        assert_eq!(listed["object"], "list");
        let models = listed["data"].as_array().unwrap().iter().map(|model| {
            assert_eq!(model["object"], "model");
            assert!(model["created"].is_i64());
            assert!(model["owned_by"].is_string());
            model["id"].as_str().unwrap().to_owned()
        });
        models.collect::<Vec<_>>()
    };
    for path in ["/v1/models", "/models", "/dashboard/models"] {
        assert_eq!(
            list(path).await,
            ["house-large", "house-small", "nickname"],
            "{path}"
        );
    }
    world
        .change("alice", json!({"AllowModels": "nick* house-small"}))
        .await;
    assert_eq!(list("/v1/models").await, ["house-small", "nickname"]);
    assert_eq!(
        world
            .http
            .get(world.url("/v1/models"))
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    for seen in upstream.seen_all() {
        assert_eq!(seen.target, "/v1/models", "the list is the gateway's own");
    }
}

#[tokio::test]
async fn errors_on_anthropics_routes_have_anthropics_shape() {
    let (world, upstream) = (
        World::with(&[("RETRY_DEADLINE_MS", "50")]).await,
        Upstream::start().await,
    );
    let key = world.add_account("alice", 100.0).await;
    let check = async |path: &str, key: &str, status: u16, kind: &str| {
        let answer = world
            .http
            .post(world.url(path))
            .header("x-api-key", key)
            .json(&json!({"model": "claude"}));
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    };
    for path in ["/v1/messages", "/messages", "/v1/messages/count_tokens"] {
        check(path, "sk-XvsNobody", 401, "authentication_error").await;
        check(path, &key, 503, "overloaded_error").await;
    }
    world.add_key(UP, &upstream.base).await;
    upstream.script(
        UP,
        json_answer(
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
    );
    check("/v1/messages", &key, 529, "overloaded_error").await;
    world.change("alice", json!({"AllowModels": "gpt-*"})).await;
    check("/v1/messages", &key, 403, "permission_error").await;
}

#[tokio::test]
async fn access_lists_refuse_what_they_do_not_name() {
    let (world, upstream, key) = world_with(Script::Chat).await;
    world.conf(json!({"ModelMapper": "nickname=gpt-4o"})).await;
    world
        .change("alice", json!({"AllowModels": "nickname gpt-4o-mini"}))
        .await;
    for (model, allowed) in [
        ("nickname", true),
        ("gpt-4o-mini", true),
        ("gpt-4o", false),
        ("o3", false),
    ] {
        let answer = world.chat(&key, model).await;
        if allowed {
            assert_eq!(
                answer.status(),
                200,
                "{model}: the asked name counts, before mapping"
            );
        } else {
            let message = refused(answer, 403, "model_not_allowed").await;
            assert!(
                message.contains(model) && message.contains("alice"),
                "{message}"
            );
        }
    }
    world
        .change("alice", json!({"AllowModels": "-gpt-4o-mini"}))
        .await;
    refused(
        world.chat(&key, "gpt-4o-mini").await,
        403,
        "model_not_allowed",
    )
    .await;
    world.change("alice", json!({"AllowModels": "-*"})).await;
    refused(world.chat(&key, "nickname").await, 403, "model_not_allowed").await;
    world
        .change(
            "alice",
            json!({"AllowModels": "*", "Resources": "/v1/chat/completions,/v1/embeddings"}),
        )
        .await;
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    for path in ["/v1/things", "/v1/completions", "/v1/images/generations"] {
        let answer = world.post(path, &key, &json!({"model": "gpt-4o"})).await;
        refused(answer, 403, "resource_not_allowed").await;
    }
    // An alias is treated like the path it stands for.
    assert_eq!(
        world
            .post("/chat/completions", &key, &json!({"model": "m"}))
            .await
            .status(),
        200
    );
    world
        .change("alice", json!({"Resources": "*", "AllowIPs": "10.0.0.0/8"}))
        .await;
    refused(world.chat(&key, "gpt-4o").await, 401, "ip_not_allowed").await;
    let get = |path: &str| world.http.get(world.url(path)).bearer_auth(&key).send();
    let own = ["/dashboard/models", "/dashboard/info", "/x-users"];
    for path in ["/v1/models", "/models", "/v1/things"].iter().chain(&own) {
        refused(get(path).await.unwrap(), 401, "ip_not_allowed").await;
    }
    world
        .change("alice", json!({"AllowIPs": "127.0.0.1"}))
        .await;
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    let spoofed = world
        .http
        .post(world.url("/v1/chat/completions"))
        .bearer_auth(&key)
        .header("x-forwarded-for", "10.1.1.1");
    world
        .change("alice", json!({"AllowIPs": "-127.0.0.1"}))
        .await;
    world
        .change("alice", json!({"AllowIPs": "10.0.0.0/8"}))
        .await;
    refused(
        spoofed.json(&json!({"model": "m"})).send().await.unwrap(),
        401,
        "ip_not_allowed",
    )
    .await;
    world
        .change("alice", json!({"AllowIPs": "*", "Status": false}))
        .await;
    refused(world.chat(&key, "gpt-4o").await, 401, "account_suspended").await;
    world.conf(json!({"Resources": "/v1/embeddings"})).await;
    world.change("alice", json!({"Status": true})).await;
    refused(get("/models").await.unwrap(), 403, "resource_not_allowed").await;
    assert_eq!(get("/dashboard/models").await.unwrap().status(), 200);
    refused(
        world.chat(&key, "gpt-4o").await,
        403,
        "resource_not_allowed",
    )
    .await;
    let seen = upstream.seen(UP);
    let calls = seen.iter().filter(|seen| seen.target != "/v1/models");
    assert_eq!(calls.count(), 5, "refused calls stay here");
}

#[tokio::test]
async fn a_trusted_proxy_tells_the_clients_address() {
    let env = [("TRUSTED_PROXIES", "127.0.0.0/8, 10.9.0.0/16")];
    let (world, upstream) = (World::with(&env).await, Upstream::start().await);
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    world
        .change("alice", json!({"AllowIPs": "203.0.113.7"}))
        .await;
    for (forwarded, status) in [
        ("203.0.113.7", 200),
        ("198.51.100.1, 203.0.113.7", 200),
        ("203.0.113.7, 10.9.0.4", 200),
        ("203.0.113.7, 198.51.100.1", 401),
        ("198.51.100.1", 401),
    ] {
        let call = world
            .http
            .post(world.url("/v1/chat/completions"))
            .bearer_auth(&key)
            .header("x-forwarded-for", forwarded);
        assert_eq!(
            call.json(&json!({"model": "m"}))
                .send()
                .await
                .unwrap()
                .status(),
            status,
            "{forwarded}"
        );
    }
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_401_everywhere() {
    let (world, upstream, key) = world_with(Script::Chat).await;
    let mut flipped = key.clone().into_bytes();
    *flipped.last_mut().unwrap() ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    for path in [
        "/v1/chat/completions",
        "/v1/things",
        "/chat/completions",
        "/x-keys",
        "/x-users",
        "/x-conf",
    ] {
        for wrong in [
            "",
            "sk-XvsWrong",
            "Bearer",
            flipped.as_str(),
            &key[..50],
            UP,
        ] {
            let request = world
                .http
                .post(world.url(path))
                .header("authorization", format!("Bearer {wrong}"));
            let message = refused(
                request.json(&json!({})).send().await.unwrap(),
                401,
                "invalid_api_key",
            )
            .await;
            assert!(
                wrong.is_empty() || wrong == "Bearer" || !message.contains(wrong),
                "{message}"
            );
        }
        let nothing = world.http.post(world.url(path)).json(&json!({}));
        refused(nothing.send().await.unwrap(), 401, "invalid_api_key").await;
    }
    for path in [
        "/dashboard/info",
        "/dashboard/status",
        "/x-gkey",
        "/v1/models",
    ] {
        refused(
            world.http.get(world.url(path)).send().await.unwrap(),
            401,
            "invalid_api_key",
        )
        .await;
    }
    assert_eq!(upstream.seen_all().len(), 0);
}

#[tokio::test]
async fn an_unknown_path_is_404_in_json() {
    let (world, upstream, key) = world_with(Script::Chat).await;
    for path in [
        "/nothing",
        "/v1",
        "/v3/chat/completions",
        "/x-nothing",
        "/dashboard/nothing",
        "/v1/../x-keys",
        "/v1/%2e%2e/x",
    ] {
        let answer = call(&world, &key, "GET", path, &[], b"").await;
        assert!(
            answer.status == 404 || (answer.status == 400 && path.contains("/v1/")),
            "{path}: {}",
            answer.status
        );
        let code = if answer.status == 404 {
            "not_found".to_owned()
        } else {
            answer.json()["error"]["code"].as_str().unwrap().to_owned()
        };
        documented(&answer.json(), &code);
    }
    assert_eq!(upstream.seen_all().len(), 0);
}

#[tokio::test]
async fn a_request_id_is_kept_from_the_client_to_the_record() {
    let (world, upstream, key) = world_with(Script::Chat).await;
    let body = b"{\"model\":\"m\"}";
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Request-Id", "my-very-own-id"),
    ];
    assert_eq!(
        call(&world, &key, "POST", "/v1/chat/completions", &headers, body)
            .await
            .status,
        200
    );
    assert_eq!(
        call(
            &world,
            &key,
            "POST",
            "/v1/chat/completions",
            &headers[..1],
            body
        )
        .await
        .status,
        200
    );
    assert_eq!(
        upstream.seen(UP)[0].headers["x-request-id"],
        "my-very-own-id"
    );
    world.posted("alice", 2).await;
    let records = world.grpc().usage("alice").await;
    let ids: Vec<_> = records
        .iter()
        .rev()
        .map(|posted| posted.record.clone().unwrap().request_id)
        .collect();
    assert_eq!(ids[0], "my-very-own-id");
    assert!(
        !ids[1].is_empty(),
        "the gateway gives one to a call that has none"
    );
}

#[tokio::test]
async fn provider_types_decide_where_the_credential_goes() {
    for (kind, header, value) in [
        ("standard", "authorization", format!("Bearer {UP}")),
        ("anthropic", "x-api-key", UP.to_owned()),
        ("azure", "api-key", UP.to_owned()),
    ] {
        let (world, upstream) = (World::start().await, Upstream::start().await);
        upstream.script(UP, Script::Chat);
        let config = json!({"provider_type": kind});
        world
            .add_key_with(json!({"SecretKey": UP, "Provider": upstream.base, "Config": config}))
            .await;
        let key = world.add_account("alice", 100.0).await;
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200, "{kind}");
        let seen = upstream.seen(UP).remove(0);
        let carriers = ["authorization", "x-api-key", "api-key"]
            .into_iter()
            .filter(|name| seen.headers.contains_key(*name));
        assert_eq!(carriers.collect::<Vec<_>>(), [header], "{kind}");
        assert_eq!(seen.headers[header], value, "{kind}");
        assert_eq!(
            seen.headers.contains_key("anthropic-version"),
            kind == "anthropic"
        );
    }
}

#[tokio::test]
async fn the_pages_of_other_origins_may_manage() {
    let (world, _upstream, _) = world_with(Script::Chat).await;
    for path in ["/x-users", "/x-keys", "/dashboard/info"] {
        let preflight = world.http.request(http::Method::OPTIONS, world.url(path));
        let preflight = preflight
            .header("origin", "https://m.example.com")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let answer = preflight.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let allowed = answer.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap()
            .to_lowercase();
        assert!(
            allowed.contains("authorization") && allowed.contains("content-type"),
            "{allowed}"
        );
    }
    let answer = world
        .root(
            world
                .http
                .get(world.url("/x-users"))
                .header("origin", "https://m.example.com"),
        )
        .await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
}
