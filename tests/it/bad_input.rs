//! Mistakes of clients and operators: a clear error in the documented shape, and nothing stored.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    raw,
    upstream::{Script, Upstream},
    world::{ROOT, World, documented, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

async fn world_with(env: &[(&str, &str)]) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

/// All stored state that an operator can see.
async fn stored(world: &World) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/x-keys", "/x-users", "/x-dna", "/x-conf"] {
        all.push(world.read(path).await);
    }
    all
}

async fn send(world: &World, method: &str, path: &str, body: &str) -> reqwest::Response {
    let request = world.http.request(method.parse().unwrap(), world.url(path));
    world
        .root(
            request
                .header("content-type", "application/json")
                .body(body.to_owned()),
        )
        .await
}

#[tokio::test]
async fn what_is_no_json_object_is_refused_everywhere() {
    let (world, upstream, key) = world_with(&[]).await;
    let before = stored(&world).await;
    for bad in [
        "{",
        "",
        "null",
        "[]",
        "7",
        "\"text\"",
        "{\"Name\":}",
        "{\"a\":1}x",
        "\u{0}",
        "{\"Name\":\"\u{1}\"}",
        "{\"CreditGranted\":1e400}",
    ] {
        for (method, path) in [
            ("POST", "/x-keys"),
            ("PUT", "/x-keys/1"),
            ("POST", "/x-users"),
            ("PUT", "/x-users/alice"),
            ("POST", "/x-conf"),
        ] {
            let answer = send(&world, method, path, bad).await;
            assert_eq!(answer.status(), 400, "{method} {path} {bad:?}");
            documented(&answer.json().await.unwrap(), "invalid_request");
        }
    }
    for bad in [
        "{",
        "{\"model\":}",
        "{\"model\":\"m\"",
        "{\"model\":\"m\"}}",
        "{'model':'m'}",
        "{\"model\":\"\\x\"}",
        "[1,",
        "nope",
    ] {
        for path in [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/embeddings",
            "/chat/completions",
        ] {
            let call = world
                .http
                .post(world.url(path))
                .bearer_auth(&key)
                .header("content-type", "application/json");
            let answer = call.body(bad).send().await.unwrap();
            assert_eq!(answer.status(), 400, "{path} {bad:?}");
            let error: Value = answer.json().await.unwrap();
            documented(&error, error["error"]["code"].as_str().unwrap());
        }
    }
    assert_eq!(stored(&world).await, before);
    assert_eq!(upstream.seen_all().len(), 0);
}

#[tokio::test]
async fn a_known_field_of_the_wrong_type_is_refused_by_name() {
    let (world, upstream, key) = world_with(&[]).await;
    for (field, body) in [
        ("model", json!({"model": 5})),
        ("model", json!({"model": ["gpt-4o"]})),
        ("stream", json!({"model": "m", "stream": "yes"})),
        ("stream", json!({"model": "m", "stream": 1})),
        (
            "stream_options",
            json!({"model": "m", "stream": true, "stream_options": true}),
        ),
        (
            "include_usage",
            json!({"model": "m", "stream": true, "stream_options": {"include_usage": "x"}}),
        ),
    ] {
        let answer = world.post("/v1/chat/completions", &key, &body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let error: Value = answer.json().await.unwrap();
        let message = documented(&error, error["error"]["code"].as_str().unwrap());
        assert!(message.contains(field), "{message}");
    }
    assert_eq!(upstream.seen_all().len(), 0);
    // The upstream judges fields that the gateway does not act on.
    let body = json!({"model": "m", "messages": 7, "temperature": "hot", "tools": {}});
    assert_eq!(
        world
            .post("/v1/chat/completions", &key, &body)
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_bad_upstream_key_is_refused_by_field_and_never_repeated() {
    let (world, _upstream, _) = world_with(&[]).await;
    let before = stored(&world).await;
    let good = "sk-another-key-0123456789";
    for (field, body) in [
        ("SecretKey", json!({"Provider": "https://api.example.com"})),
        (
            "SecretKey",
            json!({"SecretKey": 12_345_678_901_234_567_890_u64}),
        ),
        ("SecretKey", json!({"SecretKey": "sk-19-characters-xx"})),
        (
            "SecretKey",
            json!({"SecretKey": "sk-with a blank inside it"}),
        ),
        (
            "SecretKey",
            json!({"SecretKey": "sk-with-a-line\r\nX-Evil: yes"}),
        ),
        ("SecretKey", json!({"SecretKey": "x".repeat(5000)})),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "http://"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "http://exa mple.com"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "https://api.example.com:99999"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "ftp://api.example.com"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "file:///etc/passwd"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "https://user:hidden@api.example.com"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "https://hidden@api.example.com"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "https://api.example.com/?k=hidden"}),
        ),
        (
            "Provider",
            json!({"SecretKey": good, "Provider": "https://api.example.com/#hidden"}),
        ),
        ("Provider", json!({"SecretKey": good, "Provider": 7})),
        ("Level", json!({"SecretKey": good, "Level": 11})),
        ("Level", json!({"SecretKey": good, "Level": -1})),
        ("Level", json!({"SecretKey": good, "Level": 1.5})),
        ("Level", json!({"SecretKey": good, "Level": "1"})),
        ("Status", json!({"SecretKey": good, "Status": "on"})),
        ("Name", json!({"SecretKey": good, "Name": 7})),
        ("Config", json!({"SecretKey": good, "Config": "azure"})),
        (
            "provider_type",
            json!({"SecretKey": good, "Config": {"provider_type": "mystery"}}),
        ),
        (
            "include_usage",
            json!({"SecretKey": good, "Config": {"include_usage": "no"}}),
        ),
        (
            "models",
            json!({"SecretKey": good, "Config": {"models": "gpt-4o"}}),
        ),
    ] {
        for (method, path) in [("POST", "/x-keys"), ("PUT", "/x-keys/1")] {
            if method == "PUT" && body.get("SecretKey").is_none() {
                continue;
            }
            let answer = send(&world, method, path, &body.to_string()).await;
            let message = refused(answer, 400, "invalid_request").await;
            assert!(message.contains(field), "{method} {body}: {message}");
            assert!(
                !message.contains("hidden") && !message.contains(good),
                "{message}"
            );
            if let Some(secret) = body["SecretKey"].as_str() {
                assert!(!message.contains(secret), "{message}");
            }
        }
    }
    // The same secret for the same provider.
    let twice = json!({"SecretKey": UP, "Provider": world.read("/x-keys").await[0]["Provider"]});
    refused(
        send(&world, "POST", "/x-keys", &twice.to_string()).await,
        409,
        "conflict",
    )
    .await;
    for (method, path) in [
        ("GET", "/x-keys/999"),
        ("PUT", "/x-keys/999"),
        ("DELETE", "/x-keys/999"),
    ] {
        let answer = send(&world, method, path, "{}").await;
        assert!(
            answer.status() == 404
                || (method == "GET" && answer.json::<Value>().await.unwrap() == json!([])),
            "{method}"
        );
    }
    assert_eq!(stored(&world).await, before);
    assert!(!world.node.log().contains("hidden") && !world.node.log().contains(good));
}

#[tokio::test]
async fn a_bad_account_is_refused_by_field() {
    let (world, _upstream, _) = world_with(&[]).await;
    world.add_account("bobby", 50.0).await;
    let before = stored(&world).await;
    let with = |changes: Value| {
        let mut body = json!({"Name": "carol", "Email": "carol@example.com", "CreditGranted": 10});
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (field, changes) in [
        ("Name", json!({"Name": null})),
        ("Name", json!({"Name": 7})),
        ("Name", json!({"Name": "abc"})),
        ("Name", json!({"Name": "12345"})),
        ("Name", json!({"Name": "n".repeat(64)})),
        ("Email", json!({"Email": null})),
        ("Email", json!({"Email": "nobody"})),
        ("Email", json!({"Email": "a b@example.com"})),
        ("CreditGranted", json!({"CreditGranted": null})),
        ("CreditGranted", json!({"CreditGranted": "10"})),
        ("CreditGranted", json!({"CreditGranted": 1.99})),
        ("CreditGranted", json!({"CreditGranted": -5})),
        ("CreditGranted", json!({"CreditGranted": 1e300})),
        ("Rates", json!({"Rates": 0})),
        ("Rates", json!({"Rates": 0.5})),
        ("Rates", json!({"Rates": "1"})),
        ("Days", json!({"Days": -1})),
        ("Days", json!({"Days": 366})),
        ("HardLimit", json!({"HardLimit": -1})),
        ("Level", json!({"Level": 11})),
        ("RPM", json!({"RPM": -1})),
        ("RPM", json!({"RPM": 1.5})),
        ("AllowIPs", json!({"AllowIPs": "300.1.1.1"})),
        ("AllowIPs", json!({"AllowIPs": 7})),
        ("Resources", json!({"Resources": "v1/chat"})),
        ("ModelMapper", json!({"ModelMapper": "nonsense"})),
        ("LevelMapper", json!({"LevelMapper": "gpt=11"})),
    ] {
        let answer = send(
            &world,
            "POST",
            "/x-users",
            &with(changes.clone()).to_string(),
        )
        .await;
        let message = refused(answer, 400, "invalid_request").await;
        assert!(message.contains(field), "{changes}: {message}");
        // `Days` is the lifetime of a grant; an update that grants nothing has none.
        let same_on_update =
            !changes[field].is_null() && !["CreditGranted", "Days"].contains(&field);
        if same_on_update {
            let answer = send(&world, "PUT", "/x-users/alice", &changes.to_string()).await;
            assert_eq!(answer.status(), 400, "update {changes}");
            let message = refused(answer, 400, "invalid_request").await;
            assert!(message.contains(field), "update {changes}: {message}");
        }
    }
    for (field, changes) in [
        ("Name", json!({"Name": "alice"})),
        ("Email", json!({"Email": "alice@example.com"})),
        ("Email", json!({"Email": "ALICE@example.com"})),
        ("Name", json!({"Name": "root"})),
    ] {
        let message = refused(
            send(
                &world,
                "POST",
                "/x-users",
                &with(changes.clone()).to_string(),
            )
            .await,
            409,
            "conflict",
        )
        .await;
        assert!(message.contains(field), "{message}");
        refused(
            send(&world, "PUT", "/x-users/bobby", &changes.to_string()).await,
            409,
            "conflict",
        )
        .await;
    }
    for (method, path) in [
        ("GET", "/x-users/nobody"),
        ("PUT", "/x-users/nobody"),
        ("DELETE", "/x-users/nobody"),
        ("PUT", "/x-users/999"),
    ] {
        refused(send(&world, method, path, "{}").await, 404, "not_found").await;
    }
    assert_eq!(stored(&world).await, before);
    world.grpc().verify_books().await;
}

#[tokio::test]
async fn bad_settings_are_refused_as_a_whole() {
    let (world, _upstream, _) = world_with(&[]).await;
    let before = stored(&world).await;
    for (field, body) in [
        ("ModelMapper", json!({"ModelMapper": 7})),
        ("ModelMapper", json!({"ModelMapper": "nonsense"})),
        ("ModelMapper", json!({"ModelMapper": {"a": true}})),
        ("LevelMapper", json!({"LevelMapper": "gpt=11"})),
        ("LevelMapper", json!({"LevelMapper": ["gpt=1"]})),
        ("SwitchOver", json!({"SwitchOver": "1"})),
        ("SwitchOver", json!({"SwitchOver": "1=x"})),
        ("Resources", json!({"Resources": "v1/chat"})),
        ("Resources", json!({"Resources": false})),
        ("LoadKeys", json!({"LoadKeys": "yes"})),
        (
            "SwitchOver",
            json!({"ModelMapper": "a=b", "LevelMapper": "a=1", "SwitchOver": "broken"}),
        ),
    ] {
        let message = refused(
            send(&world, "POST", "/x-conf", &body.to_string()).await,
            400,
            "invalid_request",
        )
        .await;
        assert!(message.contains(field), "{body}: {message}");
    }
    assert_eq!(stored(&world).await, before);
}

#[tokio::test]
async fn only_root_may_touch_keys_and_settings() {
    let (world, _upstream, key) = world_with(&[]).await;
    let before = stored(&world).await;
    for (method, path, body) in [
        ("GET", "/x-keys", json!({})),
        (
            "POST",
            "/x-keys",
            json!({"SecretKey": "sk-another-key-0123456789"}),
        ),
        ("PUT", "/x-keys/1", json!({"Status": false})),
        ("DELETE", "/x-keys/1", json!({})),
        ("GET", "/x-conf", json!({})),
        ("POST", "/x-conf", json!({"ModelMapper": "a=b"})),
        ("POST", "/x-conf", json!({"LoadKeys": true})),
    ] {
        let request = world
            .http
            .request(method.parse().unwrap(), world.url(path))
            .bearer_auth(&key)
            .json(&body);
        refused(request.send().await.unwrap(), 403, "forbidden").await;
    }
    // Another customer's account does not exist for it.
    world.add_account("bobby", 50.0).await;
    for method in ["GET", "PUT", "DELETE"] {
        let request = world
            .http
            .request(method.parse().unwrap(), world.url("/x-users/bobby"))
            .bearer_auth(&key);
        refused(
            request
                .json(&json!({"Status": false}))
                .send()
                .await
                .unwrap(),
            404,
            "not_found",
        )
        .await;
    }
    assert_eq!(stored(&world).await[0], before[0]);
}

const HUGE: usize = 100 * 1024 * 1024;

/// Writes a whole body of 100 MB before it reads the response, as simple clients do.
async fn upload(world: &World, head: &str, piece: &[u8], times: usize, end: &[u8]) -> raw::Answer {
    let mut socket = raw::connect(&world.node.base).await;
    let sending = async {
        socket.write_all(head.as_bytes()).await?;
        for _ in 0..times {
            socket.write_all(piece).await?;
        }
        socket.write_all(end).await
    };
    let sent = tokio::time::timeout(Duration::from_secs(30), sending)
        .await
        .expect("the gateway stopped reading");
    if let Err(error) = sent {
        panic!("the connection was reset while the client was sending to {head}: {error}");
    }
    raw::read(&mut socket, "POST").await
}

/// A body of 100 MB to a path, with a declared length and in chunks: both get a documented 413.
async fn huge_is_refused(path: &str, as_root: bool) {
    let (world, upstream, alice) = world_with(&[]).await;
    let key = if as_root { ROOT } else { &alice };
    let data = vec![b'x'; 1024 * 1024];
    let head = |framing: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
        )
    };
    let declared = head(&format!("Content-Length: {HUGE}"));
    let framed = [b"100000\r\n", &data[..], b"\r\n"].concat();
    let times = HUGE / data.len();
    let by_length = upload(&world, &declared, &data, times, b"").await;
    let in_chunks = head("Transfer-Encoding: chunked");
    let in_chunks = upload(&world, &in_chunks, &framed, times, b"0\r\n\r\n").await;
    for answer in [by_length, in_chunks] {
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 413, "{path}: {text}");
        if path == "/v1/messages" {
            assert_eq!(answer.json()["error"]["type"], "request_too_large");
        } else {
            documented(&answer.json(), "request_too_large");
        }
    }
    assert_eq!(upstream.seen_all().len(), 0);
    let after = world.chat(&alice, "gpt-4o").await;
    assert_eq!(after.status(), 200, "the gateway is as well as before");
}

#[tokio::test]
async fn a_100_mb_call_is_refused_in_words_not_by_a_reset() {
    huge_is_refused("/v1/things", false).await;
}

#[tokio::test]
async fn a_100_mb_call_on_anthropics_route_is_refused_in_its_words() {
    huge_is_refused("/v1/messages", false).await;
}

#[tokio::test]
async fn a_100_mb_change_is_refused_in_words_not_by_a_reset() {
    huge_is_refused("/x-keys", true).await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_at_once_that_its_body_is_too_large() {
    let (world, _upstream, key) = world_with(&[]).await;
    let mut socket = raw::connect(&world.node.base).await;
    let head = format!(
        "POST /v1/things HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {HUGE}\r\nExpect: 100-continue\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let start = Instant::now();
    let answer = raw::read(&mut socket, "POST").await;
    assert_eq!(answer.status, 413);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    documented(&answer.json(), "request_too_large");
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_served() {
    let (world, upstream, key) = world_with(&[("BODY_BYTES_MAX", "100000")]).await;
    for (size, status) in [(100_000, 200), (100_001, 413)] {
        let body = vec![b'x'; size];
        let bearer = format!("Bearer {key}");
        let headers = [("Authorization", bearer.as_str())];
        let declared = raw::exchange(
            &world.node.base,
            &raw::request("POST", "/v1/things", &headers, &body),
        )
        .await;
        let chunked = raw::exchange(
            &world.node.base,
            &raw::chunked("POST", "/v1/things", &headers, &body, 7000),
        )
        .await;
        assert_eq!(
            (declared.status, chunked.status),
            (status, status),
            "{size} bytes"
        );
    }
    assert_eq!(upstream.seen_all().len(), 2);
}

#[tokio::test]
async fn a_slow_loris_is_cut_off_and_others_are_served_meanwhile() {
    let (world, _upstream, key) = world_with(&[("HEADER_TIMEOUT_MS", "300")]).await;
    let mut loris = Vec::new();
    for _ in 0..50 {
        let mut socket = raw::connect(&world.node.base).await;
        socket
            .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
            .await
            .unwrap();
        loris.push(socket);
    }
    let start = Instant::now();
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    for mut socket in loris {
        let drip = async {
            let mut buffer = [0; 1024];
            loop {
                match tokio::time::timeout(Duration::from_millis(50), socket.read(&mut buffer))
                    .await
                {
                    // A final 408 is as good as closing without a response.
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(_)) => {}
                    Err(_) => {
                        if socket.write_all(b"X").await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), drip)
            .await
            .expect("a slow client is still connected");
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_stalls_is_refused_with_408() {
    let (world, upstream, key) = world_with(&[("BODY_TIMEOUT_MS", "300")]).await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut socket = raw::connect(&world.node.base).await;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{framing}\r\n\r\n5\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let start = Instant::now();
        let answer = raw::read(&mut socket, "POST").await;
        assert_eq!(answer.status, 408, "{framing}");
        let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
        documented(&answer.json(), &code);
        assert!(
            start.elapsed() >= Duration::from_millis(290)
                && start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
    // Slow but steady is accepted.
    let mut socket = raw::connect(&world.node.base).await;
    let body = b"{\"model\":\"gpt-4o\"}";
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    for byte in body {
        tokio::time::sleep(Duration::from_millis(30)).await;
        socket.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(raw::read(&mut socket, "POST").await.status, 200);
    assert_eq!(upstream.count(UP), 1);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_fields_is_431() {
    let (world, upstream, key) = world_with(&[]).await;
    let bearer = format!("Bearer {key}");
    // The limit is 64 KiB. How much of a longer head the server reads before it notices is not specified.
    let (long, longer) = ("x".repeat(65_536), "x".repeat(200_000));
    let names: Vec<_> = (0..300).map(|index| format!("X-Field-{index}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    for headers in [
        vec![("X-Long", long.as_str())],
        vec![("X-Long", longer.as_str())],
        many,
    ] {
        let headers = [&[("Authorization", bearer.as_str())], &headers[..]].concat();
        let answer = raw::exchange(
            &world.node.base,
            &raw::request("GET", "/v1/things", &headers, b""),
        )
        .await;
        assert_eq!(answer.status, 431, "{} fields", headers.len());
    }
    // A client that is still sending the body gets the response all the same.
    let headers = [("Authorization", bearer.as_str()), ("X-Long", &long)];
    let body = vec![b' '; 4 * 1024 * 1024];
    let request = raw::request("POST", "/v1/chat/completions", &headers, &body);
    assert_eq!(raw::exchange(&world.node.base, &request).await.status, 431);
    let fine = "x".repeat(40_000);
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-Long", fine.as_str()),
    ];
    assert_eq!(
        raw::exchange(
            &world.node.base,
            &raw::request("GET", "/v1/things", &headers, b"")
        )
        .await
        .status,
        200
    );
    assert_eq!(upstream.seen(UP)[0].headers["x-long"], fine);
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_does_no_harm() {
    let (world, _upstream, key) = world_with(&[]).await;
    for bad in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET /v1/things HTTP/9.9\r\n\r\n",
        b"POST /v1/things HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/things HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /v1/things HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut socket = raw::connect(&world.node.base).await;
        socket.write_all(bad).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        let reading = socket.read_to_end(&mut said);
        // A reset counts as a response too.
        let _read = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .expect("the connection stays open");
        let said = String::from_utf8_lossy(&said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
}
