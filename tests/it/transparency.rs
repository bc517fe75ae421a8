//! Requests reach the upstream, and responses the client, byte for byte as without the gateway. The only differences
//! are those that docs/relaying.md names, each of which is a row here. Every pair of the corpus is sent directly and
//! through the gateway.

mod answers;
mod corpus;
mod families;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    wire::{Framing, Message, Step, Wire, exchange},
    world::{World, documented},
};

use corpus::{Case, corpus};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const AT_ONCE: usize = 8;

/// The side on which a difference occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

/// How a message through the gateway may differ from the direct one. It turns the direct message into the expected one.
/// A value that only the gateway knows is taken from the received message.
struct Difference {
    /// Its name in docs/relaying.md.
    name: &'static str,
    side: Side,
    expect: fn(&Seen<'_>, &mut Message, &mut Message),
}

/// What a difference may depend on.
struct Seen<'s> {
    /// The client's request, as sent directly.
    request: &'s Message,
    /// Host and port of the upstream behind the gateway.
    host: &'s str,
}

/// In the order in which they are applied.
const DIFFERENCES: [Difference; 24] = [
    request("HTTP version", |_, expected, _| {
        expected.start[2] = b"HTTP/1.1".to_vec();
    }),
    request("origin form", |_, expected, _| {
        if expected.start[1].starts_with(b"http://elsewhere.test") {
            expected.start[1].drain(..b"http://elsewhere.test".len());
        }
    }),
    request("aliases", alias),
    request("names in lower case", |_, expected, _| lower_case(expected)),
    request("host", |seen, expected, _| {
        expected.remove("host");
        expected.push("host", seen.host.as_bytes());
    }),
    request("credentials", credentials),
    request("hop-by-hop fields", |_, expected, _| {
        let takes_trailers = expected
            .text("te")
            .to_ascii_lowercase()
            .contains("trailers");
        hop_by_hop(expected);
        if takes_trailers {
            expected.push("te", b"trailers");
            expected.push("connection", b"te");
        }
    }),
    request("expect", |_, expected, _| expected.remove("expect")),
    request("framing", request_framing),
    request("via", |_, expected, got| {
        let own = got.all("via").last().copied().unwrap_or_default().to_vec();
        assert!(own.starts_with(b"1.1 proxyxai-"), "{}", got.text("via"));
        expected.push("via", &own);
    }),
    request("accept-encoding", |seen, expected, _| {
        if is_metered(seen.request) {
            expected.remove("accept-encoding");
            expected.push("accept-encoding", b"identity");
        }
    }),
    request("usage", usage),
    request("model", model),
    request("x-request-id", request_id),
    answer("HTTP version", |seen, expected, _| {
        expected.start[0].clone_from(&seen.request.start[2]);
    }),
    answer("reason phrase", |_, expected, _| {
        if !expected.start[2].is_ascii() {
            expected.start[2].clear();
        }
    }),
    answer("names in lower case", |_, expected, _| lower_case(expected)),
    answer("hop-by-hop fields", |_, expected, got| {
        hop_by_hop(expected);
        hop_by_hop(got);
    }),
    answer("accounts and cookies", |_, expected, _| {
        for name in ["set-cookie", "openai-organization"] {
            expected.remove(name);
        }
    }),
    answer("framing", answer_framing),
    answer("date", |_, expected, got| {
        if !expected.has("date") {
            got.remove("date");
        }
    }),
    answer("informational answers", |_, expected, got| {
        expected.before.clear();
        got.before.retain(|status| *status != 100);
    }),
    answer("cross-origin", |seen, expected, _| {
        if seen.request.has("origin") {
            for name in [
                "access-control-allow-origin",
                "access-control-expose-headers",
            ] {
                expected.remove(name);
                expected.push(name, b"*");
            }
            expected.remove("access-control-allow-credentials");
        }
    }),
    answer("x-request-id", answer_id),
];

const fn request(
    name: &'static str,
    expect: fn(&Seen<'_>, &mut Message, &mut Message),
) -> Difference {
    let side = Side::Request;
    Difference { name, side, expect }
}

const fn answer(
    name: &'static str,
    expect: fn(&Seen<'_>, &mut Message, &mut Message),
) -> Difference {
    let side = Side::Answer;
    Difference { name, side, expect }
}

fn is_metered(request: &Message) -> bool {
    let path = String::from_utf8_lossy(&request.start[1]).to_ascii_lowercase();
    let path = path.replace("%2f", "/").replace("//", "/");
    let endpoints = [
        "chat/completions",
        "completions",
        "responses",
        "messages",
        "embeddings",
        "audio/",
        "images/",
        "moderations",
        "rerank",
    ];
    let path = path.trim_start_matches("/v1").trim_start_matches("/v2");
    let path = path.trim_start_matches('/');
    request.start[0] == b"POST" && endpoints.iter().any(|end| path.starts_with(end))
}

fn alias(_: &Seen<'_>, expected: &mut Message, _: &mut Message) {
    let target = String::from_utf8_lossy(&expected.start[1]).into_owned();
    if let Some(rest) = target.strip_prefix("/v2/chat/completions") {
        expected.start[1] = format!("/v1/chat/completions{rest}").into_bytes();
    } else if !target.starts_with("/v1") && target.starts_with('/') {
        expected.start[1] = format!("/v1{target}").into_bytes();
    }
    // Known endpoints have one spelling.
    let known = [
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/organization/costs/", "/v1/organization/costs"),
        ("/v1/organization/costs/?", "/v1/organization/costs?"),
    ];
    if let Some((_, own)) = known.iter().find(|(spelt, _)| *spelt == target) {
        expected.start[1] = own.as_bytes().to_vec();
    }
}

fn lower_case(message: &mut Message) {
    for (name, _) in message.fields.iter_mut().chain(&mut message.trailers) {
        name.make_ascii_lowercase();
    }
}

fn credentials(seen: &Seen<'_>, expected: &mut Message, _: &mut Message) {
    for name in [
        "authorization",
        "x-api-key",
        "api-key",
        "cookie",
        "openai-organization",
        "openai-project",
    ] {
        expected.remove(name);
    }
    expected.push("authorization", format!("Bearer {UP}").as_bytes());
    let path = &seen.request.start[1];
    let says_anthropic = !seen.request.all("anthropic-version").is_empty();
    // For unknown endpoints the client's header tells the dialect.
    if path.starts_with(b"/v1/messages") || (says_anthropic && path.starts_with(b"/v1/things")) {
        expected.push("x-api-key", UP.as_bytes());
    }
}

fn hop_by_hop(message: &mut Message) {
    let named = message.all("connection").concat();
    let named = String::from_utf8_lossy(&named).into_owned();
    for name in named.split(',').map(str::trim) {
        message.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        message.remove(name);
    }
}

/// A body is read before it is forwarded, so its length is known; only trailers need chunks.
fn request_framing(_: &Seen<'_>, expected: &mut Message, _: &mut Message) {
    if expected.framing != Framing::Chunked {
        once(expected, "content-length");
        return;
    }
    let announced = expected.text("trailer").to_ascii_lowercase();
    if !expected.trailers.is_empty() {
        expected.remove("transfer-encoding");
        expected.push("transfer-encoding", b"chunked");
        let name = expected.trailers[0].0.clone();
        if !announced.as_bytes().starts_with(&name.to_ascii_lowercase())
            && expected.all("trailer").len() < 2
        {
            expected.push("trailer", &name);
        }
        return;
    }
    expected.remove("transfer-encoding");
    expected.push("content-length", b"");
    expected.framing = Framing::Length;
    set_length(expected);
}

/// The same length may be given twice, and is forwarded once.
fn once(message: &mut Message, name: &str) {
    if message.all(name).len() > 1 {
        let value = message.text(name);
        message.remove(name);
        message.push(name, value.as_bytes());
    }
}

fn set_length(message: &mut Message) {
    message.remove("content-length");
    let length = message.body.len().to_string();
    message.push("content-length", length.as_bytes());
}

/// Responses to a client are framed anew, which loses what the framing cannot carry.
fn answer_framing(seen: &Seen<'_>, expected: &mut Message, got: &mut Message) {
    if expected.framing == Framing::Chunked {
        expected.remove("content-length");
    }
    if got.framing != Framing::Broken {
        expected.framing = got.framing;
    }
    once(expected, "content-length");
    let announced = expected.all("trailer").join(&b", "[..]);
    if !announced.is_empty() {
        expected.remove("trailer");
        expected.push("trailer", &announced);
    }
    expected.remove("transfer-encoding");
    got.remove("transfer-encoding");
    let taken = seen.request.text("te").contains("trailers");
    if !taken || !expected.has("trailer") {
        expected.trailers.clear();
    }
}

/// Usage is requested if that is left to the client and it did not ask.
fn usage(seen: &Seen<'_>, expected: &mut Message, _: &mut Message) {
    let path = seen.request.start[1].as_slice();
    let optional = path == b"/v1/chat/completions" || path == b"/v1/completions";
    let body = String::from_utf8_lossy(&expected.body).into_owned();
    if optional && body.contains("\"stream\":true") && !body.contains("stream_options") {
        let asks = r#"{"stream_options":{"include_usage":true},"#;
        expected.body = body.replacen('{', asks, 1).into_bytes();
        set_length(expected);
    }
}

/// A mapped model is renamed, and nothing else that looks like it.
fn model(_: &Seen<'_>, expected: &mut Message, _: &mut Message) {
    let body = String::from_utf8_lossy(&expected.body).into_owned();
    let new = body
        .replace(r#"{"model":"mapped-one""#, r#"{"model":"gpt-4o""#)
        .replace(r#""model" : "mapped-two""#, r#""model" : "gpt-4o""#);
    if new != body {
        expected.body = new.into_bytes();
        set_length(expected);
    }
}

fn request_id(_: &Seen<'_>, expected: &mut Message, got: &mut Message) {
    if got.has("x-request-id") {
        let id = got.text("x-request-id");
        expected.remove("x-request-id");
        expected.push("x-request-id", id.as_bytes());
    }
}

/// The response has the call's id; the provider's own id gets another name.
fn answer_id(seen: &Seen<'_>, expected: &mut Message, got: &mut Message) {
    let theirs = expected.all("x-request-id").first().map(|id| id.to_vec());
    request_id(seen, expected, got);
    if let Some(theirs) = theirs.filter(|id| *id != got.text("x-request-id").as_bytes()) {
        expected.push("x-upstream-request-id", &theirs);
    }
}

/// Sorts the fields by name; those with the same name keep their order.
fn ordered(mut message: Message) -> Message {
    message.fields.sort_by(|one, other| one.0.cmp(&other.0));
    message.trailers.sort_by(|one, other| one.0.cmp(&other.0));
    message
}

fn shown(message: &Message) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let fields = |fields: &[crate::wire::Field]| -> String {
        let line =
            |(name, value): &crate::wire::Field| format!("  {}: {}\n", text(name), text(value));
        fields.iter().map(line).collect()
    };
    format!(
        "{:?} {:?} before {:?}\n{}  [{} bytes] {}\n{}",
        message.start.each_ref().map(|part| text(part)),
        message.framing,
        message.before,
        fields(&message.fields),
        message.body.len(),
        text(&message.body),
        fields(&message.trailers)
    )
}

fn script(
    cases: &Arc<HashMap<String, Case>>,
) -> impl Fn(&Message) -> Vec<Step> + Send + Sync + 'static {
    let cases = Arc::clone(cases);
    move |request| {
        let case = &cases[&request.text("x-case")];
        let asks = String::from_utf8_lossy(&request.body).contains("\"include_usage\":true");
        let say = case.say_usage.as_ref().filter(|_| asks);
        say.unwrap_or(&case.say).steps()
    }
}

/// Compares one side of all pairs, and returns the differences that are not allowed.
fn compare(
    side: Side,
    host: &str,
    pairs: &BTreeMap<String, (Message, Message, Message)>,
    used: &mut BTreeSet<&'static str>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, (request, direct, through)) in pairs {
        let seen = Seen { request, host };
        let (mut expected, mut got) = (direct.clone(), through.clone());
        for difference in DIFFERENCES
            .iter()
            .filter(|difference| difference.side == side)
        {
            let before = (expected.clone(), got.clone());
            (difference.expect)(&seen, &mut expected, &mut got);
            if before != (expected.clone(), got.clone()) {
                used.insert(difference.name);
            }
        }
        let (expected, got) = (ordered(expected), ordered(got));
        if expected != got {
            wrong.push(format!(
                "--- {side:?} of {id}\nexpected {}\ngot {}",
                shown(&expected),
                shown(&got)
            ));
        }
    }
    wrong
}

#[tokio::test]
async fn every_pair_crosses_the_gateway_as_it_goes_directly_save_what_is_documented() {
    let cases = corpus();
    assert!(cases.len() >= 300, "{} pairs", cases.len());
    assert!(corpus::are_different(&cases));
    let by_id = cases.iter().map(|case| (case.id.clone(), case.clone()));
    let by_id: Arc<HashMap<_, _>> = Arc::new(by_id.collect());
    let plain = Wire::start(script(&by_id)).await;
    let behind = Wire::start(script(&by_id)).await;
    let world = World::with(&[("MODEL_MAPPER", "mapped-*=gpt-4o")]).await;
    world.add_key(UP, &behind.base).await;
    let key = world.add_account("alice", 1000.0).await;

    let both = stream::iter(&cases).map(async |case| {
        let request = case.request("client.test", &key);
        let direct = exchange(&plain.base, &request).await;
        let through = exchange(&world.node.base, &request).await;
        let direct = direct.unwrap_or_else(|| panic!("{} has no direct answer", case.id));
        let through = through.unwrap_or_default();
        (case.id.clone(), direct, through)
    });
    let answers: Vec<_> = both.buffer_unordered(AT_ONCE).collect().await;

    let (mut direct, mut through) = (plain.seen_by("x-case"), behind.seen_by("x-case"));
    let (mut requests, mut replies) = (BTreeMap::new(), BTreeMap::new());
    let mut wrong = Vec::new();
    for (id, said, got) in answers {
        let mut request = direct.remove(&id).unwrap();
        let arrived = through.remove(&id).unwrap_or_default();
        assert_eq!(request.len(), 1, "{id}");
        let request = request.remove(0);
        let [arrived] = &arrived[..] else {
            wrong.push(format!(
                "--- {id} arrived {} times: {}",
                arrived.len(),
                shown(&got)
            ));
            continue;
        };
        assert!(!format!("{arrived:?}").contains(&key), "{id}");
        requests.insert(
            id.clone(),
            (request.clone(), request.clone(), arrived.clone()),
        );
        replies.insert(id, (request, said, got));
    }
    let host = behind.base.trim_start_matches("http://");
    let mut used = BTreeSet::new();
    wrong.extend(compare(Side::Request, host, &requests, &mut used));
    wrong.extend(compare(Side::Answer, host, &replies, &mut used));
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    let named: BTreeSet<_> = DIFFERENCES
        .iter()
        .map(|difference| difference.name)
        .collect();
    assert_eq!(used, named, "a difference that no pair has is none");
}

#[test]
fn every_difference_is_documented_by_its_name() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/relaying.md");
    let page = std::fs::read_to_string(page).expect("docs/relaying.md");
    for difference in &DIFFERENCES {
        let title = format!("| {} |", difference.name);
        assert!(page.contains(&title), "{title}");
    }
}

#[tokio::test]
async fn a_failure_that_no_key_is_spared_keeps_its_status_in_our_words() {
    let statuses = [
        401, 402, 408, 425, 429, 500, 501, 502, 503, 504, 507, 529, 599,
    ];
    let upstream = Wire::start(|request| {
        let status = request.text("x-status");
        let head =
            format!("HTTP/1.1 {status} Whatever\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\n{{}}");
        vec![Step::Send(head.into())]
    })
    .await;
    let world = World::with(&[("RETRY_DEADLINE_MS", "50")]).await;
    let key = world.add_account("alice", 1000.0).await;
    world.add_key(UP, &upstream.base).await;
    for status in statuses {
        // A reload ends the cool-down of a key.
        world.conf(json!({"LoadKeys": true})).await;
        let request = format!(
            "GET /v1/things HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nX-Status: {status}\r\n\r\n"
        );
        let answer = exchange(&world.node.base, request.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{}", shown(&answer));
        documented(&answer.json(), "upstream_error");
        assert!(!answer.has("x-own"), "{status}");
    }
}

#[tokio::test]
async fn what_could_mean_something_else_upstream_is_refused_and_does_not_get_there() {
    let upstream = Wire::start(|_| {
        vec![Step::Send(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
        )]
    })
    .await;
    let world = World::start().await;
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 1000.0).await;
    let json = "Content-Type: application/json\r\n";
    let form = "Content-Type: multipart/form-data; boundary=XyZ\r\n";
    let refused = [
        ("GET /v1/../admin", "", ""),
        ("GET /v1/%2e%2e/admin", "", ""),
        ("GET /v1/a/..%2f..%2fadmin", "", ""),
        ("POST /v1/things", json, "{\"a\":1"),
        ("POST /v1/things", json, "{\"model\":1}"),
        ("POST /v1/chat/completions", "", "{\"model\":\"m\""),
        ("POST /v1/things", form, "--XyZ\r\nno end"),
        (
            "POST /v1/chat/completions",
            "Content-Encoding: gzip\r\n",
            "\u{1f}...",
        ),
    ];
    for (line, fields, body) in refused {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = exchange(&world.node.base, request.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{line} {body}: {}", shown(&answer));
        documented(&answer.json(), "invalid_request");
    }
    // These are neither URIs nor HTTP.
    let garbage = [
        "GET /v1/a`b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /v1/<a> HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /v1/things HTTP/1.1\r\nHost: h\r\nX-Fold: a\r\n b\r\n\r\n",
        "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST /v1/things HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
    ];
    for request in garbage {
        let answer = exchange(&world.node.base, request.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{request}");
    }
    assert!(upstream.seen().is_empty());
}
