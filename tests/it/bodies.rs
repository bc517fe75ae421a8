//! Bodies that providers could parse differently from the gateway are refused. Compressed bodies are parsed and
//! forwarded unchanged.

use serde_json::{Value, json};

use crate::{
    raw,
    upstream::{Script, Upstream},
    world::{World, documented},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
type Fields<'a> = &'a [(&'a str, &'a str)];

const JSON: (&str, &str) = ("Content-Type", "application/json");
/// `{"model":"house"}` in each coding.
const CODED: [(&str, &[u8]); 4] = [
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56\xca\xcd\x4f\x49\xcd\x51\xb2\x52\xca\xc8\x2f\x2d\x4e\x55\xaa\x05\x00\xf5\xb7\xff\x4d\x11\x00\x00\x00"),
    ("deflate", b"\x78\x9c\xab\x56\xca\xcd\x4f\x49\xcd\x51\xb2\x52\xca\xc8\x2f\x2d\x4e\x55\xaa\x05\x00\x35\x2a\x05\xf0"),
    ("br", b"\x1b\x10\x00\xf8\xa5\x45\x74\xf6\xfa\xa6\x24\x93\x6c\x52\x2e\x0c\xd1\x5c\x70"),
    ("zstd", b"\x28\xb5\x2f\xfd\x04\x58\x89\x00\x00\x7b\x22\x6d\x6f\x64\x65\x6c\x22\x3a\x22\x68\x6f\x75\x73\x65\x22\x7d\x91\xc2\x38\x45"),
];
/// 80 MiB of blanks.
const BLANKS: &[u8] = b"\xcb\xff\xff\x3f\xf8\x25\x40\xe2\xb1\x40\x20\xf7\xfe\x8f\xff\xff\x7f\xf0\x4b\x00\xc4\x61\x11\x80\xee\xfd\x1f\xff\xff\xff\xe0\x97\x00\x88\xc3\x02\x00\xdd\xfb\x3f\xfe\xff\xff\xc1\x2f\x01\x10\x87\x05\x00\xba\xf7\x7f\xfc\xff\xff\x83\x5f\x02\x20\x0e\x0b\x00\x74\xef\xff\xf8\xff\xff\x07\xbf\x04\x40\x1c\x16\x00\xe8\xde\xff\xf1\xff\xff\x0f\x7e\x09\x80\x38\x2c\x00\xd0\xbd\xff\xe3\xff\xff\x1f\xfc\x12\x00\x71\x58\x00\xa0\x7b\xff\xc7\xff\xff\x3f\xf8\x25\x00\xe2\xb0\x00\x40\xf7\xfe\x2f\xff\xff\xff\xf0\x4b\x00\xc4\x61\x01\x80\xee\xfd\x1f";

async fn world() -> (World, Upstream, String) {
    let (world, upstream) = (World::start().await, Upstream::start().await);
    upstream.script(UP, Script::Chat);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

async fn post(
    (world, key): (&World, &str),
    target: &str,
    headers: Fields<'_>,
    body: &[u8],
) -> raw::Answer {
    let bearer = format!("Bearer {key}");
    let headers = [&[("Authorization", bearer.as_str())], headers].concat();
    let request = raw::request("POST", target, &headers, body);
    raw::exchange(&world.node.base, &request).await
}

/// Asserts that a body is refused with this status and code.
async fn refused(
    to: (&World, &str),
    target: &str,
    headers: Fields<'_>,
    body: &[u8],
) -> (u16, String) {
    let answer = post(to, target, headers, body).await;
    let error = answer.json();
    let code = error["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    documented(&error, &code);
    (answer.status, code)
}

#[tokio::test]
async fn a_body_or_head_that_could_be_read_in_two_ways_does_not_get_to_a_provider() {
    let (world, upstream, key) = world().await;
    let (chat, to) = ("/v1/chat/completions", (&world, key.as_str()));
    let plain = br#"{"model":"house"}"#;
    let cases: &[(&str, Fields<'_>, &[u8])] = &[
        (chat, &[JSON], br#"{"model":"house","Model":"other"}"#),
        (chat, &[JSON], br#"{"\u006dODEL":"other"}"#),
        (chat, &[JSON], br#"{"model":"house","Max_Tokens":1}"#),
        (chat, &[JSON], b"\xef\xbb\xbf{\"model\":\"house\"}"),
        (chat, &[JSON], b"{\"model\":\"house\",\"x\":\"\xff\"}"),
        (chat, &[JSON], br#"[{"model":"house"}]"#),
        ("/v1/chat/completions?model=other", &[JSON], plain),
        ("/v1/chat/completions?a=1&%6DODEL=other", &[JSON], plain),
        (chat, &[JSON, JSON], plain),
        (chat, &[("Content-Type", "")], plain),
        (chat, &[("Content-Type", "text/plain")], plain),
        (
            chat,
            &[("Content-Type", "application/x-www-form-urlencoded")],
            plain,
        ),
        (
            chat,
            &[("Content-Type", "application/json; charset=utf-16")],
            plain,
        ),
        (chat, &[JSON, ("Connection", "close, Content-Type")], plain),
        (
            chat,
            &[
                JSON,
                ("Connection", "content-encoding"),
                ("Content-Encoding", "gzip"),
            ],
            CODED[0].1,
        ),
        (
            chat,
            &[JSON, ("Content-Encoding", "gzip, gzip")],
            CODED[0].1,
        ),
        (
            chat,
            &[
                JSON,
                ("Content-Encoding", "gzip"),
                ("Content-Encoding", "br"),
            ],
            CODED[0].1,
        ),
        (chat, &[JSON, ("Content-Encoding", "gzip")], plain),
        (chat, &[JSON, ("Content-Encoding", "br")], CODED[0].1),
        ("/v1/files", &[JSON, ("Connection", "content-type")], b"{}"),
        ("/v1/threads/t/runs", &[JSON], br#"{"Model":"other"}"#),
    ];
    for (target, headers, body) in cases {
        let answer = refused(to, target, headers, body).await;
        assert_eq!(
            answer,
            (400, "invalid_request".to_owned()),
            "{target} {headers:?}"
        );
    }
    let headers = [JSON, ("Content-Encoding", "compress")];
    let answer = refused(to, chat, &headers, plain).await;
    assert_eq!(answer, (415, "unsupported_content_encoding".to_owned()));
    assert!(upstream.seen_all().is_empty());
}

#[tokio::test]
async fn a_body_that_is_said_to_be_nothing_goes_on_as_the_json_it_was_read_as() {
    let (world, upstream, key) = world().await;
    let body = br#"{"model":"house"}"#;
    let answer = post((&world, &key), "/v1/chat/completions", &[], body).await;
    assert_eq!(answer.status, 200);
    let seen = upstream.seen(UP).remove(0);
    assert_eq!(seen.headers["content-type"], "application/json");
    let answer = post((&world, &key), "/v1/files", &[], b"{}").await;
    assert_eq!(answer.status, 200);
    assert!(
        !upstream
            .seen(UP)
            .remove(1)
            .headers
            .contains_key("content-type")
    );
}

#[tokio::test]
async fn a_compressed_body_is_read_and_goes_on_as_it_came_unless_it_has_to_change() {
    let (world, upstream, key) = world().await;
    for (coding, body) in CODED {
        let headers = [JSON, ("Content-Encoding", coding)];
        let answer = post((&world, &key), "/v1/chat/completions", &headers, body).await;
        assert_eq!(answer.status, 200, "{coding}");
        let seen = upstream.seen(UP).pop().unwrap();
        assert_eq!(
            (
                seen.headers["content-encoding"].to_str().unwrap(),
                seen.body.as_ref()
            ),
            (coding, body)
        );
    }
    world
        .change("alice", json!({"ModelMapper": "house=castle"}))
        .await;
    for (coding, body) in CODED {
        let headers = [JSON, ("Content-Encoding", coding)];
        let answer = post((&world, &key), "/v1/chat/completions", &headers, body).await;
        assert_eq!(answer.status, 200, "{coding}");
        let seen = upstream.seen(UP).pop().unwrap();
        assert!(!seen.headers.contains_key("content-encoding"), "{coding}");
        let sent: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(sent, json!({"model": "castle"}));
    }
    world
        .change(
            "alice",
            json!({"ModelMapper": "", "AllowModels": "cottage"}),
        )
        .await;
    for (coding, body) in CODED {
        let headers = [JSON, ("Content-Encoding", coding)];
        let answer = refused((&world, &key), "/v1/chat/completions", &headers, body).await;
        assert_eq!(answer, (403, "model_not_allowed".to_owned()), "{coding}");
    }
}

#[tokio::test]
async fn a_body_that_grows_beyond_its_limit_is_given_up() {
    let (world, upstream, key) = world().await;
    let headers = [JSON, ("Content-Encoding", "br")];
    let answer = refused((&world, &key), "/v1/chat/completions", &headers, BLANKS).await;
    assert_eq!(answer, (413, "request_too_large".to_owned()));
    assert!(upstream.seen_all().is_empty());
}
