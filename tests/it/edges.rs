//! Checks that precede the handling of a request: framing, hosts, protocols, ports, and files at their size limit.

use std::{
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

use bytes::Bytes;

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    raw,
    upstream::{Script, Upstream},
    world::{Node, ROOT, World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

async fn said(base: &str, text: &str) -> raw::Answer {
    raw::exchange(base, text.as_bytes()).await
}

#[tokio::test]
async fn a_websocket_is_refused_at_once_and_never_asked_for_as_something_else() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    for (line, protocol) in [
        ("GET /v1/responses", "websocket"),
        ("GET /v1/realtime?model=gpt-4o", "WebSocket"),
        ("GET /v1/files", "h2c, websocket"),
        ("GET /v1/models", "websocket/13"),
        ("GET /v1/messages", "websocket"),
        ("GET /x-info", "websocket"),
        ("GET /", "websocket"),
        ("POST /v1/chat/completions", "websocket"),
    ] {
        let mut socket = raw::connect(&world.node.base).await;
        let ask = format!(
            "{line} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
        );
        // The connection stays open.
        for _ in 0..2 {
            socket.write_all(ask.as_bytes()).await.unwrap();
            let answer = raw::read(&mut socket, "GET").await;
            assert_eq!(answer.status, 426, "{line}");
            assert_eq!(answer.header("upgrade"), Some("HTTP/1.1"), "{line}");
            assert_eq!(answer.header("connection"), Some("upgrade"), "{line}");
            assert!(answer.header("x-request-id").is_some(), "{line}");
            let error = answer.json();
            if line.ends_with("messages") {
                assert_eq!(error["type"], "error", "{error}");
            } else {
                assert_eq!(error["error"]["code"], "upgrade_required", "{error}");
            }
        }
    }
    assert!(upstream.seen(UP).is_empty());
    // What may be ignored is ignored.
    let body = r#"{"model":"gpt-4o","messages":[]}"#;
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Type", "application/json"),
        ("Upgrade", "h2c"),
        ("Connection", "Upgrade, HTTP2-Settings"),
    ];
    let call = raw::request("POST", "/v1/chat/completions", &headers, body.as_bytes());
    let answer = raw::exchange(&world.node.base, &call).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_preflight_has_an_id_and_is_answered_alike_by_every_role() {
    for world in [World::start().await, World::control(&[]).await] {
        let ask = |id: &'static str| {
            world
                .http
                .request(Method::OPTIONS, world.url("/x-users/child"))
                .header("origin", "https://page.example.com")
                .header("access-control-request-method", "DELETE")
                .header("access-control-request-headers", "x-stainless-os")
                .header("x-request-id", id)
        };
        let answer = ask("mine").send().await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()["x-request-id"], "mine");
        let allowed = &answer.headers()["access-control-allow-headers"];
        assert_eq!(allowed, "x-stainless-os");
        let answer = world
            .http
            .get(world.url("/x-info"))
            .header("origin", "null");
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "*"),
        ] {
            assert_eq!(answer.headers()[name], value);
            assert_eq!(answer.headers().get_all(name).iter().count(), 1);
        }
    }
}

#[tokio::test]
async fn what_two_readers_could_take_apart_differently_is_refused_by_every_server() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for world in [World::start().await, World::control(&[]).await] {
        for (head, body) in [
            ("GET /healthz HTTP/1.1\r\n", ""),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n", ""),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n", ""),
            ("GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n", ""),
            ("GET /healthz HTTP/1.1\r\nHost: a b\r\n", ""),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
            (
                "POST /x-keys HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
        ] {
            let answer = said(&world.node.base, &format!("{head}\r\n{body}")).await;
            assert_eq!(answer.status, 400, "{head}");
        }
        // Nor is a later request on the connection.
        let mut socket = raw::connect(&world.node.base).await;
        let fine = format!(
            "POST /x-conf HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ROOT}\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{{\"LoadKeys\":true}}\r\n0\r\n\r\n"
        );
        for _ in 0..2 {
            socket.write_all(fine.as_bytes()).await.unwrap();
            let answer = raw::read(&mut socket, "POST").await;
            assert_eq!((answer.status, answer.header("connection")), (200, None));
        }
        let bad = "POST /x-keys HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        socket
            .write_all(format!("{bad}{chunks}").as_bytes())
            .await
            .unwrap();
        let answer = raw::read(&mut socket, "POST").await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("connection"), Some("close"));
        let error = answer.json();
        assert_eq!(error["error"]["code"], "invalid_request", "{error}");
        assert_eq!(
            said(&world.node.base, "GET /healthz HTTP/1.0\r\n\r\n")
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn a_head_is_not_judged_by_its_tail_and_ordinary_requests_share_a_connection() {
    let world = World::control(&[]).await;
    let head = format!("POST /x-conf HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ROOT}\r\n");
    let sized = format!("{head}Content-Length: 17\r\n\r\n{{\"LoadKeys\":true}}");
    let coded = "Transfer-Encoding: chunked\r\n\r\n11\r\n{\"LoadKeys\":true}\r\n0\r\n\r\n";
    let chunked = format!("{head}{coded}");
    let get = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut socket = raw::connect(&world.node.base).await;
    for request in [
        get, &sized, &chunked, &sized, &chunked, &chunked, get, &chunked,
    ] {
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = raw::read(&mut socket, "POST").await;
        let kept = (answer.status, answer.header("connection"));
        assert_eq!(kept, (200, None), "{request}");
    }
    let befores = [get, &sized, &chunked].into_iter();
    for (before, field) in befores.flat_map(|it| [(it, "X-A: b"), (it, "Content-Length: 3")]) {
        let mut socket = raw::connect(&world.node.base).await;
        let begun = format!("{before}{head}{field}\r\n");
        socket.write_all(begun.as_bytes()).await.unwrap();
        assert_eq!(raw::read(&mut socket, "POST").await.status, 200);
        socket.write_all(coded.as_bytes()).await.unwrap();
        let answer = raw::read(&mut socket, "POST").await;
        let ended = (answer.status, answer.header("connection"));
        assert_eq!(ended, (200, Some("close")), "{before}{field}");
    }
}

#[tokio::test]
async fn a_port_alone_is_open_to_both_families_and_every_announced_address_is_a_url() {
    let root = format!("root::root@example.com::{ROOT}");
    let http = crate::world::client();
    for (listen, start) in [
        ("[::1]:0", "http://[::1]:"),
        ("[::]:0", "http://[::1]:"),
        ("", "http://127.0.0.1:"),
    ] {
        let dir = TempDir::new().unwrap();
        let env = [("LISTEN", listen), ("PORT", "0"), ("INIT_USERS", &root)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let node = Node::start(None, dir.path(), &env).await;
        assert!(node.base.starts_with(start), "{}", node.base);
        if listen.is_empty() {
            let other = node.base.replace("127.0.0.1", "[::1]");
            for base in [&node.base, &other] {
                let answer = http.get(format!("{base}/healthz")).send().await;
                assert_eq!(answer.unwrap().status(), 200, "{base}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_may_not_grow_ends_a_write_and_not_the_gateway() {
    let world = World::start().await;
    if world.database_url().is_some() {
        // With a database server, the file belongs to another process.
        return;
    }
    let limit = |bytes: &str| {
        let pid = world.node.pid().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(set.unwrap().success());
    };
    limit("4096");
    let body = json!({"Name": "alice", "Email": "alice@example.com", "CreditGranted": 10});
    let create = async || {
        let request = world.http.post(world.url("/x-users")).json(&body);
        world.root(request).await.status()
    };
    assert_eq!(create().await, 503);
    limit("unlimited");
    let mut status = create().await;
    for _ in 0..100 {
        if status.is_success() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = create().await;
    }
    assert!(status.is_success(), "{status}");
}

#[tokio::test]
async fn metrics_need_a_key_except_on_an_address_of_their_own() {
    let token = "a-token-of-the-scraper";
    let env = [("METRICS_LISTEN", "127.0.0.1:0"), ("METRICS_TOKEN", token)];
    let world = World::with(&env).await;
    let alice = world.add_account("alice", 100.0).await;
    let asked = async |key: &str| {
        let page = world.http.get(world.url("/metrics")).bearer_auth(key);
        page.send().await.unwrap().status().as_u16()
    };
    let bare = world.http.get(world.url("/metrics")).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    for (key, status) in [
        (ROOT, 200),
        (token, 200),
        (alice.as_str(), 401),
        ("a-token-of-the-scrapeR", 401),
        ("a-token", 401),
    ] {
        assert_eq!(asked(key).await, status, "{key}");
    }
    // The metrics token is good for nothing else.
    assert_eq!(world.chat(token, "gpt-4o").await.status(), 401);
    let out = world.node.out();
    let own = out
        .lines()
        .find_map(|line| line.strip_prefix("metrics on "));
    let own = own.unwrap();
    let page = world.http.get(own).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("proxyxai_open_calls"));
    for path in ["/", "/v1/models", "/x-info", "/metrics/x"] {
        let other = own.replace("/metrics", path);
        let answer = world.http.get(&other).bearer_auth(ROOT).send().await;
        assert_eq!(answer.unwrap().status(), 404, "{other}");
    }
    for path in ["/healthz", "/readyz"] {
        let answer = world.http.get(world.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn root_is_told_why_a_provider_is_not_reached_and_nobody_waits_for_a_name_that_is_none() {
    let (silent, upstream) = (
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        Upstream::start().await,
    );
    let silent = format!("https://{}", silent.local_addr().unwrap());
    let plain = upstream.base.replace("http://", "https://");
    for (provider, host, cause) in [
        (
            "http://no-such-host.invalid:81",
            "no-such-host.invalid:81",
            "DNS",
        ),
        ("http://127.0.0.1:1", "127.0.0.1:1", "refused"),
        (&plain, plain.trim_start_matches("https://"), "TLS"),
        (&silent, silent.trim_start_matches("https://"), "time-out"),
    ] {
        let world = World::with(&[("CONNECT_TIMEOUT_MS", "1000")]).await;
        world.add_key(UP, provider).await;
        let alice = world.add_account("alice", 100.0).await;
        let begun = Instant::now();
        let answer = world.chat(ROOT, "gpt-4o").await;
        assert_eq!(answer.status(), 502, "{provider}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(host) && text.contains(cause), "{text}");
        let told = format!("cause=\"{cause}\"");
        until("the log tells the cause and the host", async || {
            let log = world.node.log();
            log.contains(&told) && log.contains(host)
        })
        .await;
        for _ in 0..2 {
            if cause != "DNS" {
                tokio::time::sleep(Duration::from_millis(2100)).await;
            }
            let text = world.chat(&alice, "gpt-4o").await.text().await.unwrap();
            assert!(!text.contains(host), "{text}");
        }
        if cause == "DNS" {
            let text = world.chat(ROOT, "gpt-4o").await.text().await.unwrap();
            assert!(text.contains(host) && text.contains(cause), "{text}");
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}

#[tokio::test]
async fn no_key_goes_where_clouds_tell_their_hosts_secrets_nor_to_private_addresses_against_the_setting()
 {
    let mut world = World::start().await;
    let add = async |world: &World, provider: &str| {
        let body = json!({"SecretKey": UP, "Provider": provider});
        let answer = world.http.post(world.url("/x-keys")).json(&body);
        let answer = world.root(answer).await;
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "100.100.100.200",
    ] {
        let (status, text) = add(&world, &format!("http://{host}/v1")).await;
        assert_eq!(status, 400, "{host}");
        assert!(text.contains("Provider"), "{text}");
    }
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let id = world.add_key(UP, &upstream.base).await;
    assert!(world.node.log().contains("private address"));
    let moved = world.http.put(world.url(&format!("/x-keys/{id}")));
    let moved = moved.json(&json!({"Provider": "http://169.254.169.254"}));
    assert_eq!(world.root(moved).await.status(), 400);
    assert_eq!(world.chat(ROOT, "gpt-4o").await.status(), 200);
    // A stored key is not used any more.
    world.stop().await;
    world.set("PROVIDER_PRIVATE", "refuse");
    world.restart().await;
    let before = upstream.count(UP);
    let answer = world.chat(ROOT, "gpt-4o").await;
    assert_eq!(answer.status(), 502);
    assert_eq!(upstream.count(UP), before);
    let (status, text) = add(&world, "http://10.1.2.3").await;
    assert_eq!(status, 400);
    assert!(text.contains("PROVIDER_PRIVATE"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    let elsewhere = Upstream::start().await;
    elsewhere.script(UP, Script::Chat);
    let to = format!("{}/v1/chat/completions", elsewhere.base);
    upstream.script(
        UP,
        Script::Answer {
            status: 307,
            headers: vec![("location", to)],
            body: Bytes::new(),
        },
    );
    world.add_key(UP, &upstream.base).await;
    let answer = world.chat(ROOT, "gpt-4o").await;
    assert!(!answer.status().is_success());
    assert!(elsewhere.seen(UP).is_empty());
}

#[tokio::test]
async fn no_sum_of_credit_leaves_the_range_that_the_books_are_kept_in() {
    let world = World::start().await;
    let mut refused = 0;
    for count in 0..10 {
        let name = format!("account{count}");
        let body = json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": 999_999_999});
        let request = world.http.post(world.url("/x-users")).json(&body);
        let answer = world.root(request).await;
        if answer.status() != 200 {
            assert_eq!(answer.status(), 400);
            let text = answer.text().await.unwrap();
            assert!(text.contains("CreditGranted"), "{text}");
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
    world.add_account("small", 5.0).await;
    let verified = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .arg("verify")
        .env_clear()
        .env("DATA_DIR", world.dir())
        .envs(world.database_url().map(|url| ("DATABASE_URL", url)))
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
