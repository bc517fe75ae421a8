//! The fault matrix: all kinds of provider faults, streamed or not, with another key in the pool or without.
//!
//! With another key, a client sees no fault from before the first byte. After it, the client gets its protocol's form
//! of a failed response. Each call is charged for what it got.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use proxyxai_contract::clock::Clock;
use proxyxai_contract::wire::{Measure, UsageRecord};
use serde_json::{Value, json};

use crate::{
    wire::{Framing, Message, Step, Wire, exchange},
    world::{World, documented},
};

/// Each fault is a row; each row four calls.
struct Fault {
    name: &'static str,
    at: At,
    /// The provider's steps, for a streamed call and for one that is not.
    does: fn(stream: bool) -> Vec<Step>,
    /// The outcome of either.
    then: [Then; 2],
}

/// Where the provider is.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Http,
    /// The steps replace TLS's first message.
    Tls,
    /// Nothing listens there.
    Nowhere,
}

/// The outcome of a call.
#[derive(Clone, Copy)]
enum Then {
    /// Another key serves it. Without one, the client gets this status, and this `Retry-After`.
    Elsewhere(u16, [u64; 2]),
    /// The response had begun, so it ends as its protocol demands: with an error event, or a broken body.
    CutInWords,
    Broken,
    /// The call succeeds.
    Fine,
}
use Then::{Broken, CutInWords, Elsewhere, Fine};

/// `Retry-After` of calls that the gateway's own cool-down refuses: one second, or none if the time is unknown.
const SOON: [u64; 2] = [0, 1];
const HALF_MINUTE: [u64; 2] = [27, 30];

const TOKENS: (i64, i64) = (11, 7);
const JSON: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
const EVENTS: [&str; 5] = [
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello there\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}\n\n",
    "data: [DONE]\n\n",
];
const JSON_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
const EVENTS_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
/// The most time for one cell.
const CELL_MAX: Duration = Duration::from_secs(6);
/// The most that the gateway's memory may grow by.
const GROWTH_KIB_MAX: u64 = 160 * 1024;

fn send(text: impl Into<Bytes>) -> Step {
    Step::Send(text.into())
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A whole response, in one piece.
fn whole(stream: bool) -> String {
    if stream {
        let events: String = EVENTS.map(chunk).concat();
        format!("{EVENTS_HEAD}{CHUNKED}{events}0\r\n\r\n")
    } else {
        format!("{JSON_HEAD}Content-Length: {}\r\n\r\n{JSON}", JSON.len())
    }
}

/// Head and first part of a response, followed by `then`.
fn begun(stream: bool, then: Vec<Step>) -> Vec<Step> {
    let start = if stream {
        format!(
            "{EVENTS_HEAD}{CHUNKED}{}",
            EVENTS[..2]
                .iter()
                .map(|event| chunk(event))
                .collect::<Vec<_>>()
                .concat()
        )
    } else {
        format!("{JSON_HEAD}{CHUNKED}{}", chunk(&JSON[..60]))
    };
    let pause = Step::Pause(Duration::from_millis(30));
    [vec![send(start), pause], then].concat()
}

/// The head of a response, followed by `then`.
fn headed(stream: bool, framing: &str, then: Vec<Step>) -> Vec<Step> {
    let head = if stream { EVENTS_HEAD } else { JSON_HEAD };
    [vec![send(format!("{head}{framing}"))], then].concat()
}

/// A rate limit with a retry hint in its head, and one in its body.
fn limited(hint: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![send(format!(
        "HTTP/1.1 429 Too Many Requests\r\n{hint}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    ))]
}

fn in_half_a_minute() -> String {
    let then = Clock::system().now().plus(30_000);
    let then = jiff::Timestamp::from_millisecond(then.0).unwrap();
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

const fn both(then: Then) -> [Then; 2] {
    [then, then]
}

const fn fault(name: &'static str, does: fn(bool) -> Vec<Step>, then: [Then; 2]) -> Fault {
    let at = At::Http;
    Fault {
        name,
        at,
        does,
        then,
    }
}

const fn tls(name: &'static str, does: fn(bool) -> Vec<Step>) -> Fault {
    let then = both(Elsewhere(502, SOON));
    Fault {
        name,
        at: At::Tls,
        does,
        then,
    }
}

/// Faults before a response.
const BEFORE: [Fault; 27] = [
    Fault {
        name: "refuse",
        at: At::Nowhere,
        does: |_| vec![],
        then: both(Elsewhere(502, SOON)),
    },
    tls("no TLS", |_| {
        vec![send("HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Close]
    }),
    tls("TLS that hangs", |_| vec![Step::Hang]),
    tls("TLS that resets", |_| vec![Step::Reset]),
    fault("reset", |_| vec![Step::Reset], both(Elsewhere(502, SOON))),
    fault("close", |_| vec![Step::Close], both(Elsewhere(502, SOON))),
    fault(
        "hang before headers",
        |_| vec![Step::Hang],
        both(Elsewhere(504, SOON)),
    ),
    fault(
        "headers that never end",
        |_| {
            vec![
                send(JSON_HEAD),
                Step::Flood("X-More: and more\r\n".repeat(500).into()),
            ]
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a header that never ends",
        |_| {
            vec![
                send(format!("{JSON_HEAD}X-Long: ")),
                Step::Flood("a".repeat(9000).into()),
            ]
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "headers that drip",
        |_| {
            let drip = || [send("X-A: b\r\n"), Step::Pause(Duration::from_millis(40))];
            [
                vec![send(JSON_HEAD)],
                (0..80).flat_map(|_| drip()).collect(),
            ]
            .concat()
        },
        both(Elsewhere(504, SOON)),
    ),
    fault(
        "no HTTP",
        |_| vec![send("SSH-2.0-OpenSSH_9.2\r\n\r\n")],
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "another protocol",
        |_| {
            vec![send(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            )]
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a length that is none",
        |stream| headed(stream, "Content-Length: abc\r\n\r\n", vec![]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "two lengths",
        |stream| {
            headed(
                stream,
                "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
                vec![],
            )
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "1xx then 5xx",
        |_| {
            vec![
                send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"),
                send(UNAVAILABLE),
            ]
        },
        both(Elsewhere(503, SOON)),
    ),
    fault(
        "1xx then reset",
        |_| vec![send("HTTP/1.1 103 Early Hints\r\n\r\n"), Step::Reset],
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "1xx that never end",
        |_| {
            let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(20);
            let drip = [send(hint), Step::Pause(Duration::from_millis(5))];
            (0..400).flat_map(|_| drip.clone()).collect()
        },
        both(Elsewhere(504, SOON)),
    ),
    fault(
        "5xx",
        |_| vec![send(UNAVAILABLE)],
        both(Elsewhere(503, SOON)),
    ),
    fault(
        "5xx that hangs",
        |_| {
            vec![
                send("HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n{\"a\":"),
                Step::Hang,
            ]
        },
        both(Elsewhere(500, SOON)),
    ),
    fault(
        "5xx that is cut",
        |_| {
            vec![
                send("HTTP/1.1 502 Oops\r\nContent-Length: 9\r\n\r\n{\"a\":"),
                Step::Reset,
            ]
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "429 with seconds",
        |_| limited("Retry-After: 30\r\n", "{}"),
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 with a date",
        |_| limited(&format!("Retry-After: {}\r\n", in_half_a_minute()), "{}"),
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 with milliseconds",
        |_| limited("retry-after-ms: 30000\r\n", "{}"),
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 with resets",
        |_| {
            limited(
                "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 30s\r\nx-ratelimit-remaining-tokens: 9\r\nx-ratelimit-reset-tokens: 6m0s\r\n",
                "{}",
            )
        },
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 with a delay in JSON",
        |_| {
            limited(
                "",
                r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"30s"}]}}"#,
            )
        },
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 with a delay in words",
        |_| {
            limited(
                "",
                r#"{"error":{"message":"Rate limit reached. Please try again in 29.5s.","code":"rate_limit_exceeded"}}"#,
            )
        },
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "429 without a hint",
        |_| limited("", r#"{"error":{"message":"slow down"}}"#),
        both(Elsewhere(429, [1, 1])),
    ),
];

const ERROR: &str = r#"{"error":{"message":"The server had an error","type":"server_error","code":"server_error"}}"#;

/// Faults after a response that begins well.
const AFTER: [Fault; 20] = [
    fault(
        "headers, then a hang",
        |stream| headed(stream, CHUNKED, vec![Step::Hang]),
        both(Elsewhere(504, SOON)),
    ),
    fault(
        "headers, then a reset",
        |stream| headed(stream, CHUNKED, vec![Step::Reset]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "headers, then the end",
        |stream| headed(stream, CHUNKED, vec![Step::Close]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a length and nothing of it",
        |stream| headed(stream, "Content-Length: 9\r\n\r\n", vec![Step::Close]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a chunk of no size",
        |stream| headed(stream, CHUNKED, vec![send("xyz\r\n")]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a chunk too large for a number",
        |stream| headed(stream, CHUNKED, vec![send("fffffffffffffffff\r\n")]),
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "a huge chunk of which nothing comes",
        |stream| {
            headed(
                stream,
                CHUNKED,
                vec![send("7fffffffffffffff\r\n"), Step::Close],
            )
        },
        both(Elsewhere(502, SOON)),
    ),
    fault(
        "200 with an error",
        |stream| {
            let event = format!("event: error\ndata: {ERROR}\n\n");
            let body = if stream { event.as_str() } else { ERROR };
            headed(
                stream,
                &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                vec![],
            )
        },
        both(Elsewhere(500, SOON)),
    ),
    fault(
        "200 with an error in pieces",
        |stream| {
            let event = format!("event: error\ndata: {ERROR}\n\n");
            let body = if stream { event.as_str() } else { ERROR };
            let (one, other) = body.split_at(40);
            let pause = Step::Pause(Duration::from_millis(30));
            headed(
                stream,
                CHUNKED,
                vec![
                    send(chunk(one)),
                    pause,
                    send(chunk(other)),
                    send("0\r\n\r\n"),
                ],
            )
        },
        both(Elsewhere(500, SOON)),
    ),
    fault(
        "200 with a rate limit",
        |stream| {
            let error = r#"{"error":{"message":"Try again in 30s","type":"rate_limit_exceeded","code":"rate_limit_exceeded"}}"#;
            let event = format!("data: {error}\n\n");
            let body = if stream { event.as_str() } else { error };
            headed(
                stream,
                &format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                vec![],
            )
        },
        both(Elsewhere(429, HALF_MINUTE)),
    ),
    fault(
        "hang mid-body",
        |stream| begun(stream, vec![Step::Hang]),
        [Broken, CutInWords],
    ),
    fault(
        "reset mid-body",
        |stream| begun(stream, vec![Step::Reset]),
        [Broken, CutInWords],
    ),
    fault(
        "cut mid-event",
        |stream| {
            let half = if stream {
                chunk("data: {\"choices\":[{\"ind")
            } else {
                chunk(&JSON[60..70])
            };
            begun(stream, vec![send(half), Step::Close])
        },
        [Broken, CutInWords],
    ),
    fault(
        "a huge chunk that is cut",
        |stream| {
            begun(
                stream,
                vec![
                    send(format!(
                        "7fffffffffffffff\r\n{}",
                        if stream { "d" } else { &JSON[60..61] }
                    )),
                    Step::Close,
                ],
            )
        },
        [Broken, CutInWords],
    ),
    fault(
        "a chunk of no size mid-body",
        |stream| begun(stream, vec![send("zz\r\n")]),
        [Broken, CutInWords],
    ),
    fault(
        "a length longer than the body",
        |stream| {
            let body = if stream {
                EVENTS[..2].concat()
            } else {
                JSON[..60].to_owned()
            };
            headed(
                stream,
                &format!("Content-Length: 9000\r\n\r\n{body}"),
                vec![Step::Pause(Duration::from_millis(30)), Step::Close],
            )
        },
        [Broken, Broken],
    ),
    fault(
        "a length shorter than what comes",
        |stream| {
            let body = if stream {
                EVENTS.concat()
            } else {
                JSON.to_owned()
            };
            headed(
                stream,
                &format!(
                    "Content-Length: {}\r\n\r\n{body}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
                    body.len()
                ),
                vec![],
            )
        },
        both(Fine),
    ),
    fault(
        "slow drip",
        |stream| {
            let text = whole(stream);
            let piece =
                |bytes: &[u8]| [send(bytes.to_vec()), Step::Pause(Duration::from_millis(15))];
            text.as_bytes()
                .chunks(text.len() / 60)
                .flat_map(piece)
                .collect()
        },
        both(Fine),
    ),
    fault(
        "signs of life only",
        |stream| {
            let alive = if stream {
                chunk(": still here\n\n")
            } else {
                String::new()
            };
            let drip = [send(alive), Step::Pause(Duration::from_millis(50))];
            begun(stream, (0..100).flat_map(|_| drip.clone()).collect())
        },
        [Broken, CutInWords],
    ),
    fault("none", |stream| vec![send(whole(stream))], both(Fine)),
];

/// One level for each account; cells of different accounts run concurrently.
const SLOTS: usize = 10;

struct Bench {
    world: World,
    http: Wire,
    nowhere: String,
    good: Wire,
}

/// One call of the matrix.
#[derive(Clone, Copy)]
struct Cell {
    fault: &'static Fault,
    row: usize,
    stream: bool,
    /// Whether another key of the pool works.
    rescue: bool,
}

static FAULTS: [&[Fault]; 2] = [&BEFORE, &AFTER];

fn faults() -> impl Iterator<Item = &'static Fault> {
    FAULTS.into_iter().flatten()
}

impl Cell {
    fn name(self) -> String {
        let Self {
            fault,
            stream,
            rescue,
            ..
        } = self;
        format!("{}, stream {stream}, rescue {rescue}", fault.name)
    }

    fn secret(self) -> String {
        format!(
            "sk-fault-{:04}-{}-{}-end",
            self.row, self.stream, self.rescue
        )
    }

    fn then(self) -> Then {
        self.fault.then[usize::from(self.stream)]
    }

    fn request(self, key: &str) -> Vec<u8> {
        let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
        if self.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        let body = body.to_string();
        let (length, id) = (body.len(), self.secret());
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\
             X-Request-Id: {id}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into()
    }
}

/// The steps of the faulty provider for a request.
fn misbehave(request: &Message) -> Vec<Step> {
    let bearer = request.text("authorization");
    let mut parts = bearer.trim_start_matches("Bearer sk-fault-").split('-');
    let row: usize = parts.next().unwrap().parse().unwrap();
    let stream = parts.next().unwrap() == "true";
    (faults().nth(row).unwrap().does)(stream)
}

impl Bench {
    async fn start() -> (Self, Vec<String>) {
        let settings = [
            // Keys come and go; each has to be published, even on a busy machine.
            ("PUBLISH_WAIT_MS", "10000"),
            ("CONNECT_TIMEOUT_MS", "400"),
            ("FIRST_BYTE_TIMEOUT_MS", "600"),
            ("IDLE_TIMEOUT_MS", "600"),
            // A key cools down for a second, which the gateway must not wait for.
            ("RETRY_DEADLINE_MS", "970"),
        ];
        let world = World::with(&settings).await;
        let strategy = json!({"KeyStrategy": "weighted"});
        world.conf(strategy).await;
        let good = |request: &Message| {
            let stream = request.json()["stream"] == true;
            vec![send(whole(stream))]
        };
        let bench = Self {
            http: Wire::start(misbehave).await,
            nowhere: Wire::blurting(vec![]).await.base.clone(),
            good: Wire::start(good).await,
            world,
        };
        let mut keys = Vec::new();
        for slot in 0..SLOTS {
            let name = account(slot);
            keys.push(bench.world.add_account(&name, 100.0).await);
            bench.world.change(&name, json!({"Level": slot + 1})).await;
        }
        (bench, keys)
    }

    async fn add(&self, slot: usize, secret: &str, provider: &str, weight: u32) -> i64 {
        let config = json!({"weight": weight});
        let key =
            json!({"SecretKey": secret, "Provider": provider, "Level": slot + 1, "Config": config});
        self.world.add_key_with(key).await
    }

    async fn remove(&self, id: i64) {
        let url = self.world.url(&format!("/x-keys/{id}"));
        let gone = self.world.root(self.world.http.delete(url)).await;
        assert_eq!(gone.status(), 200, "{}", gone.text().await.unwrap());
    }

    /// Makes one call and checks everything about it. Returns its record, or `None` if a check fails.
    async fn run(&self, slot: usize, key: &str, cell: Cell) -> Option<UsageRecord> {
        let tls = match cell.fault.at {
            At::Tls => Some(Wire::blurting((cell.fault.does)(cell.stream)).await),
            At::Http | At::Nowhere => None,
        };
        let provider = match (&tls, cell.fault.at) {
            (Some(tls), _) => tls.base.replace("http:", "https:"),
            (None, At::Nowhere) => self.nowhere.clone(),
            (None, _) => self.http.base.clone(),
        };
        let faulty = self.add(slot, &cell.secret(), &provider, 1000).await;
        let spare = format!("{}-spare", cell.secret());
        let rescue = if cell.rescue {
            Some(self.add(slot, &spare, &self.good.base, 1).await)
        } else {
            None
        };
        let called = self.call(slot, key, cell, (faulty, rescue));
        // All failures of the matrix are reported together.
        let record = std::panic::AssertUnwindSafe(called).catch_unwind().await;
        for id in [Some(faulty), rescue].into_iter().flatten() {
            self.remove(id).await;
        }
        record.ok()
    }

    async fn call(
        &self,
        slot: usize,
        key: &str,
        cell: Cell,
        keys: (i64, Option<i64>),
    ) -> UsageRecord {
        let name = cell.name();
        let start = Instant::now();
        let request = cell.request(key);
        let answer = exchange(&self.world.node.base, &request).await;
        let took = start.elapsed();
        assert!(took < CELL_MAX, "{name}: {took:?}");
        let answer = answer.unwrap_or_else(|| panic!("{name}: no answer"));
        check_answer(cell, &answer);
        let record = self.record(slot, &cell.secret()).await;
        check_record(cell, &record, keys);
        record
    }

    async fn record(&self, slot: usize, id: &str) -> UsageRecord {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let posted = self.world.grpc().usage(&account(slot)).await;
            let mut records = posted.into_iter().filter_map(|posted| posted.record);
            if let Some(record) = records.find(|record| record.request_id == id) {
                return record;
            }
            assert!(Instant::now() < deadline, "no record of {id}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Peak memory of the gateway, in KiB.
    fn peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.world.node.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn account(slot: usize) -> String {
    format!("account-{slot}")
}

fn expected_body(stream: bool) -> String {
    if stream {
        EVENTS.concat()
    } else {
        JSON.to_owned()
    }
}

fn check_answer(cell: Cell, answer: &Message) {
    let name = cell.name();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    match cell.then() {
        Elsewhere(status, rest) if !cell.rescue => {
            assert_eq!(answer.status(), status, "{name}: {text}");
            assert_ne!(answer.framing, Framing::Broken, "{name}");
            documented(&answer.json(), "upstream_error");
            let told = answer.text("retry-after").parse().unwrap_or(0);
            assert!(
                (rest[0]..=rest[1]).contains(&told),
                "{name}: rests for {told}"
            );
        }
        Elsewhere(..) | Fine => {
            assert_eq!(answer.status(), 200, "{name}: {text}");
            assert_ne!(answer.framing, Framing::Broken, "{name}");
            assert_eq!(text, expected_body(cell.stream), "{name}");
        }
        CutInWords => {
            assert_eq!(answer.status(), 200, "{name}: {text}");
            assert_eq!(answer.framing, Framing::Chunked, "{name}");
            let rest = text.strip_prefix(&EVENTS[..2].concat());
            let rest = rest.unwrap_or_else(|| panic!("{name}: {text}"));
            let last = rest.trim_start_matches(": still here\n\n");
            let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(error["error"]["code"], "upstream_error", "{name}: {text}");
        }
        Broken => {
            assert_eq!(answer.status(), 200, "{name}: {text}");
            assert_eq!(answer.framing, Framing::Broken, "{name}");
            assert!(
                expected_body(cell.stream).starts_with(&text) && !text.is_empty(),
                "{name}: {text}"
            );
        }
    }
}

fn check_record(cell: Cell, record: &UsageRecord, (faulty, rescue): (i64, Option<i64>)) {
    let name = cell.name();
    let tokens = record.tokens.unwrap_or_default();
    let (status, key, tries) = (record.status, record.key_id, record.tries);
    match (cell.then(), rescue) {
        (Elsewhere(told, _), None) => {
            assert_eq!((status, key, tries), (i32::from(told), 0, 1), "{name}");
            assert_eq!(
                (tokens.input, tokens.output, record.cost_nanos),
                (0, 0, 0),
                "{name}"
            );
        }
        (Elsewhere(..), Some(rescue)) => {
            assert_eq!((status, key, tries), (200, rescue, 2), "{name}");
            assert_eq!((tokens.input, tokens.output), TOKENS, "{name}");
            assert_eq!(record.measure(), Measure::Measured, "{name}");
        }
        (Fine, _) => {
            assert_eq!((status, key, tries), (200, faulty, 1), "{name}");
            assert_eq!((tokens.input, tokens.output), TOKENS, "{name}");
            assert_eq!(record.measure(), Measure::Measured, "{name}");
        }
        (CutInWords | Broken, _) => {
            assert_eq!((status, key, tries), (200, faulty, 1), "{name}");
            assert_eq!(record.measure(), Measure::Partial, "{name}");
            // The one that is not streamed had delivered no text.
            assert!(
                tokens.input > 0 && (tokens.output > 0) == cell.stream,
                "{name}: {tokens:?}"
            );
        }
    }
}

#[tokio::test]
async fn no_fault_before_the_first_byte_is_seen_while_a_key_is_good_and_each_call_is_charged_right()
{
    let (bench, keys) = Bench::start().await;
    let before = bench.peak();
    let mut cells = Vec::new();
    for (row, fault) in faults().enumerate() {
        for (stream, rescue) in [(false, false), (false, true), (true, false), (true, true)] {
            cells.push(Cell {
                fault,
                row,
                stream,
                rescue,
            });
        }
    }
    let wrong = Mutex::new(Vec::new());
    let slots = keys.iter().enumerate().map(async |(slot, key)| {
        let mut records = Vec::new();
        for cell in cells.iter().skip(slot).step_by(SLOTS) {
            match bench.run(slot, key, *cell).await {
                Some(record) => records.push(record),
                None => wrong.lock().unwrap().push(cell.name()),
            }
        }
        if !wrong.lock().unwrap().is_empty() {
            return records;
        }
        let spent: i64 = records.iter().map(|record| record.cost_nanos).sum();
        // Calls without a response are recorded but do not count as requests.
        let answered = records.iter().filter(|record| record.status == 200);
        let answered = answered.count() as u64;
        let account = bench.world.posted(&account(slot), answered).await;
        let told = account["CreditUsed"].as_f64().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "some thousand nano-dollars")]
        let spent = spent as f64 / 1e9;
        assert!((spent - told).abs() < 1e-8, "{spent} spent, {told} told");
        records
    });
    let records: Vec<_> = futures_util::future::join_all(slots).await.concat();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(records.len(), cells.len());
    let priced = |record: &&UsageRecord| {
        record.measure() == Measure::Measured && record.tries > 0 && record.status == 200
    };
    let costs: std::collections::BTreeSet<_> = records
        .iter()
        .filter(priced)
        .map(|record| record.cost_nanos)
        .collect();
    assert!(costs.len() == 1 && !costs.contains(&0), "{costs:?}");
    let partial = records
        .iter()
        .filter(|record| record.measure() == Measure::Partial);
    assert!(partial.clone().count() > 0 && partial.clone().all(|record| record.cost_nanos > 0));
    let growth = bench.peak() - before;
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
    assert_eq!(bench.world.node.log().matches("panicked").count(), 0);
}

#[tokio::test]
async fn what_a_provider_sends_too_much_is_no_answer_to_the_next_call() {
    let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let upstream = Wire::start(move |_| {
        let later = Step::Pause(Duration::from_millis(1));
        vec![send(whole(false) + surplus), later, send(surplus)]
    })
    .await;
    let world = World::start().await;
    world
        .add_key("sk-upstream-0123456789", &upstream.base)
        .await;
    let key = world.add_account("alice", 100.0).await;
    for call in 0..20 {
        let answer = world.chat(&key, "gpt-4o").await;
        assert_eq!(answer.status(), 200, "{call}");
        assert_eq!(answer.text().await.unwrap(), JSON, "{call}");
    }
    assert_eq!(upstream.seen().len(), 20);
}
