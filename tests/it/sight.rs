//! Telemetry of calls: their ids, optional headers, metrics, the access log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tempfile::TempDir;

use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    raw::{self, Answer},
    upstream::{Script, Upstream, event, events_at_once, invalid_key, json_answer, status},
    world::{ROOT, World, metrics, run_to_end, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const UP2: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
const PRICING: &str = r#"{"ChatPricing":{"gpt-4o":{"InputText":2.5,"OutputText":10}}}"#;
const BODY: &[u8] = b"{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

/// A gateway with one key that follows this script, and an account.
async fn world_with(env: &[(&str, &str)], script: Script) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

async fn ask(world: &World, line: (&str, &str), headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let request = raw::request(line.0, line.1, headers, body);
    raw::exchange(&world.node.base, &request).await
}

fn is_new(id: &str) -> bool {
    id.len() == 36 && id.starts_with("req_")
}

#[tokio::test]
async fn an_id_of_the_client_reaches_the_upstream_and_comes_back() {
    let stream = vec![
        event(r#"{"choices":[{"delta":{"content":"a"}}]}"#),
        event("[DONE]"),
    ];
    for script in [Script::Chat, events_at_once(stream)] {
        let (world, upstream, key) = world_with(&[], script).await;
        let bearer = format!("Bearer {key}");
        for (given, kept) in [
            ("my-very/own:id", true),
            ("", false),
            ("two words", false),
            (&*"x".repeat(128), true),
            (&*"x".repeat(129), false),
        ] {
            let headers = [("Authorization", &*bearer), ("X-Request-Id", given)];
            let answer = ask(&world, ("POST", "/v1/chat/completions"), &headers, BODY).await;
            assert_eq!(answer.status, 200);
            let [id] = answer.headers("x-request-id")[..] else {
                panic!("{given:?}: not one id but {:?}", answer.headers);
            };
            assert!(
                if kept { id == given } else { is_new(id) },
                "{given:?}: {id}"
            );
            let seen = upstream.seen(UP).pop().unwrap();
            let sent: Vec<_> = seen.headers.get_all("x-request-id").iter().collect();
            assert_eq!(sent, [id], "the upstream has the same");
        }
        world.posted("alice", 5).await;
        let mut answered: Vec<_> = upstream
            .seen(UP)
            .iter()
            .map(|seen| seen.headers["x-request-id"].to_str().unwrap().to_owned())
            .collect();
        let records = world.grpc().usage("alice").await;
        let mut booked: Vec<_> = records
            .into_iter()
            .map(|posted| posted.record.unwrap().request_id)
            .collect();
        answered.sort();
        booked.sort();
        assert_eq!(booked, answered, "and so have the books");
    }
}

#[tokio::test]
async fn every_answer_carries_an_id_also_refusals_and_pages() {
    let (world, _upstream, key) = world_with(
        &[("RETRY_DEADLINE_MS", "200"), ("BODY_BYTES_MAX", "1024")],
        status(503),
    )
    .await;
    let bearer = format!("Bearer {key}");
    let long = vec![b' '; 2000];
    let chat = "/v1/chat/completions";
    let table: [(&str, &str, &str, &[u8], u16); 12] = [
        ("POST", chat, &bearer, BODY, 503),
        ("POST", chat, "Bearer wrong", BODY, 401),
        ("POST", chat, &bearer, b"{", 400),
        ("POST", chat, &bearer, &long, 413),
        ("POST", "/v1/messages", "Bearer wrong", BODY, 401),
        ("GET", "/v1/models", &bearer, b"", 200),
        ("GET", "/nowhere", &bearer, b"", 404),
        ("GET", "/metrics", &bearer, b"", 401),
        ("GET", "/healthz", "", b"", 200),
        ("GET", "/", "", b"", 200),
        ("GET", "/dashboard/info", &bearer, b"", 200),
        ("GET", "/x-users", "Bearer wrong", b"", 401),
    ];
    for (method, path, bearer, body, status) in table {
        for own in [None, Some("own-id")] {
            let mut headers = vec![("Authorization", bearer)];
            headers.extend(own.map(|id| ("X-Request-Id", id)));
            let answer = ask(&world, (method, path), &headers, body).await;
            assert_eq!(answer.status, status, "{path}");
            let [id] = answer.headers("x-request-id")[..] else {
                panic!("{path}: {:?}", answer.headers);
            };
            match own {
                Some(own) => assert_eq!(id, own, "{path}"),
                None => assert!(is_new(id), "{path}: {id}"),
            }
        }
    }
}

#[tokio::test]
async fn the_provider_s_own_id_is_told_beside_the_call_s() {
    let script = Script::Answer {
        status: 400,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("x-request-id", "req_provider".to_owned()),
        ],
        body: json!({"error": {"message": "no"}}).to_string().into(),
    };
    let (world, _upstream, key) = world_with(&[], script).await;
    let bearer = format!("Bearer {key}");
    let headers = [("Authorization", &*bearer), ("X-Request-Id", "ours")];
    let answer = ask(&world, ("POST", "/v1/chat/completions"), &headers, BODY).await;
    assert_eq!(answer.headers("x-request-id"), ["ours"]);
    assert_eq!(answer.headers("x-upstream-request-id"), ["req_provider"]);
}

#[tokio::test]
async fn control_by_itself_answers_with_an_id_too() {
    let control = World::control(&[]).await;
    for path in ["/x-users", "/healthz"] {
        let answer = ask(&control, ("GET", path), &[("X-Request-Id", "own-id")], b"").await;
        assert_eq!(answer.headers("x-request-id"), ["own-id"], "{path}");
    }
}

#[tokio::test]
async fn an_answer_tells_its_key_level_tries_and_overhead_only_where_that_is_wanted() {
    const NAMES: [&str; 4] = [
        "x-proxyxai-key",
        "x-proxyxai-level",
        "x-proxyxai-tries",
        "x-proxyxai-overhead-us",
    ];
    let pause = Duration::from_millis(300);
    for wanted in ["", "key,level,tries,overhead-us", "x-proxyxai-tries"] {
        let env = [("RESPONSE_HEADERS", wanted)];
        let (world, upstream) = (World::with(&env).await, Upstream::start().await);
        upstream.script(UP, status(500));
        upstream.script(UP2, Script::Slow { pause });
        let mut good = 0;
        for secret in [UP, UP2] {
            let body = json!({"SecretKey": secret, "Provider": upstream.base, "Level": 1});
            good = world.add_key_with(body).await;
        }
        world.conf(json!({"LevelMapper": "gpt-4o=1"})).await;
        let key = world.add_account("alice", 100.0).await;
        let answer = world.chat(&key, "gpt-4o").await;
        assert_eq!(answer.status(), 200);
        let text = |name: &str| {
            let value = answer.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        match wanted {
            "" => assert_eq!(NAMES.map(text), [const { None }; 4]),
            "x-proxyxai-tries" => {
                assert_eq!(
                    NAMES.map(|name| text(name).is_some()),
                    [false, false, true, false]
                );
            }
            _ => {
                let [by, level, tries, overhead] = NAMES.map(|name| text(name).unwrap());
                assert_eq!((by, level.as_str()), (good.to_string(), "1"));
                assert_eq!(tries, upstream.seen_all().len().to_string());
                let overhead = Duration::from_micros(overhead.parse().unwrap());
                assert!(
                    overhead > Duration::ZERO && overhead < pause,
                    "the provider's {pause:?} are not the gateway's: {overhead:?}"
                );
            }
        }
        let refused = world.chat("wrong", "gpt-4o").await;
        assert!(!refused.headers().contains_key(NAMES[0]));
        assert_eq!(refused.headers().contains_key(NAMES[2]), !wanted.is_empty());
    }
}

/// A page of metrics.
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    async fn read(world: &World) -> Self {
        Self::at(&world.node.base).await
    }

    async fn at(base: &str) -> Self {
        Self::parse(&metrics(base).await)
    }

    fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let parsed = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(parsed.collect())
    }

    /// The value of a line, named without the prefix; 0 if it is missing.
    fn of(&self, name: &str) -> f64 {
        let value = self.0.get(&format!("proxyxai_{name}"));
        value.copied().unwrap_or_default()
    }

    fn count(&self, name: &str) -> u64 {
        format!("{}", self.of(name)).parse().unwrap()
    }
}

#[tokio::test]
async fn calls_tries_refusals_tokens_and_cost_are_counted_once_each() {
    let env = [("PRICING", PRICING), ("CALL_MIN_BALANCE", "5")];
    let (world, upstream, key) = world_with(&env, status(503)).await;
    upstream.script(UP2, Script::Chat);
    world.add_key(UP2, &upstream.base).await;
    let poor = world.add_account("poor", 2.0).await;
    // The first key fails once, and then cools down.
    let mut failed = 0;
    for _ in 0..3 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        failed = upstream.count(UP);
    }
    assert_eq!(world.chat("wrong", "gpt-4o").await.status(), 401);
    assert_eq!(world.chat(&poor, "gpt-4o").await.status(), 402);
    let bad = world
        .http
        .post(world.url("/v1/embeddings"))
        .bearer_auth(&key);
    assert_eq!(bad.body("{").send().await.unwrap().status(), 400);
    for path in ["/v1/models", "/x-users", "/nowhere"] {
        world.root(world.http.get(world.url(path))).await;
    }
    world.posted("alice", 3).await;
    let metrics = Metrics::read(&world).await;
    let failed = u64::try_from(failed).unwrap();
    assert!(failed >= 1);
    for (name, count) in [
        (r#"requests_total{route="chat",status="200"}"#, 3),
        (r#"requests_total{route="chat",status="401"}"#, 1),
        (r#"requests_total{route="chat",status="402"}"#, 1),
        (r#"requests_total{route="embeddings",status="400"}"#, 1),
        (r#"requests_total{route="models",status="200"}"#, 1),
        (r#"requests_total{route="unknown",status="404"}"#, 1),
        (r#"tries_total{outcome="answered"}"#, 3),
        (r#"tries_total{outcome="failed"}"#, failed),
        (r#"tries_total{outcome="cancelled"}"#, 0),
        ("retries_total", failed),
        ("hedges_total", 0),
        (r#"refusals_total{code="invalid_api_key"}"#, 1),
        (r#"refusals_total{code="insufficient_quota"}"#, 1),
        (r#"refusals_total{code="invalid_request"}"#, 1),
        (r#"refusals_total{code="unavailable"}"#, 0),
        (r#"answers_total{ending="complete"}"#, 3),
        (r#"usage_records_total{measure="measured"}"#, 3),
        ("unpriced_records_total", 0),
        (r#"tokens_total{kind="input"}"#, 33),
        (r#"tokens_total{kind="output"}"#, 21),
        (r#"time_to_first_byte_seconds_count{stream="false"}"#, 3),
        (r#"call_duration_seconds_count{stream="false"}"#, 6),
        ("overhead_seconds_count", 6),
        (r#"keys{state="ready"}"#, 1),
        ("accounts", 3),
        ("open_calls", 0),
    ] {
        assert_eq!(metrics.count(name), count, "{name}");
    }
    let resting: f64 = ["sleeping", "returning"]
        .iter()
        .map(|state| metrics.of(&format!(r#"keys{{state="{state}"}}"#)))
        .sum();
    assert!((resting - 1.0).abs() < 1e-9);
    assert!((metrics.of("cost_usd_total") - 3.0 * 0.000_097_5).abs() < 1e-12);
    assert!(metrics.of(r#"requests_total{route="administration",status="200"}"#) >= 1.0);
}

#[tokio::test]
async fn the_pace_of_a_stream_is_measured_and_open_ones_are_counted() {
    let chunk = |at: usize| {
        event(&format!(
            r#"{{"choices":[{{"delta":{{"content":"{at}"}}}}]}}"#
        ))
    };
    let paced = Script::Stream {
        chunks: (0..6).map(chunk).collect(),
        pause: Duration::from_millis(60),
        breaks: false,
    };
    let (world, upstream, key) = world_with(&[("ABANDONED", "cancel")], paced).await;
    let answer = world.chat_stream(&key, "gpt-4o").await;
    answer.bytes().await.unwrap();
    world.posted("alice", 1).await;
    let metrics = Metrics::read(&world).await;
    let gaps = metrics.count("stream_gap_seconds_count");
    assert!((4..=6).contains(&gaps), "{gaps}");
    let slow = gaps - metrics.count(r#"stream_gap_seconds_bucket{le="0.05"}"#);
    assert!(slow >= 4, "{slow} of {gaps} took longer than 50 ms");
    let long = metrics.of("stream_gap_seconds_sum");
    assert!((0.24..3.0).contains(&long), "{long}");
    assert_eq!(
        metrics.count(r#"time_to_first_byte_seconds_count{stream="true"}"#),
        1
    );
    assert_eq!(
        metrics.count(r#"call_duration_seconds_bucket{stream="true",le="0.25"}"#),
        0
    );

    upstream.script(
        UP,
        Script::Stalled {
            chunks: vec![chunk(0)],
        },
    );
    let open = world.chat_stream(&key, "gpt-4o").await;
    until("a stream is open", async || {
        Metrics::read(&world).await.count("open_streams") == 1
    })
    .await;
    drop(open);
    until("it was abandoned", async || {
        let metrics = Metrics::read(&world).await;
        metrics.count("open_streams") == 0
            && metrics.count(r#"answers_total{ending="abandoned"}"#) == 1
    })
    .await;
    let breaking = Script::Stream {
        chunks: vec![chunk(0), chunk(1)],
        pause: Duration::from_millis(20),
        breaks: true,
    };
    upstream.script(UP, breaking);
    let cut = world.chat_stream(&key, "gpt-4o").await;
    cut.bytes().await.unwrap();
    until("it was cut", async || {
        Metrics::read(&world)
            .await
            .count(r#"answers_total{ending="cut"}"#)
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_before_there_is_an_answer_is_counted_as_gone() {
    let (world, upstream, key) = world_with(&[("ABANDONED", "cancel")], Script::Mute).await;
    for path in ["/v1/chat/completions", "/v1/things"] {
        let url = world.url(path);
        let request = world.http.post(url).bearer_auth(&key).body(BODY);
        let request = request.header("content-type", "application/json");
        tokio::time::timeout(Duration::from_millis(200), request.send())
            .await
            .unwrap_err();
    }
    upstream.all_closed().await;
    until("both are counted", async || {
        let metrics = Metrics::read(&world).await;
        metrics.count(r#"requests_total{route="chat",status="499"}"#) == 1
            && metrics.count(r#"requests_total{route="other",status="499"}"#) == 1
            && metrics.count(r#"tries_total{outcome="cancelled"}"#) == 2
            && metrics.count("open_calls") == 0
    })
    .await;
}

#[tokio::test]
async fn keys_and_keys_for_one_model_are_counted_by_how_they_rest() {
    let limited = Script::Answer {
        status: 429,
        headers: vec![("retry-after", "600".to_owned())],
        body: r#"{"error":{"message":"slow down"}}"#.into(),
    };
    let env = [("RETRY_DEADLINE_MS", "300")];
    let (world, upstream, key) = world_with(&env, limited).await;
    upstream.script(UP2, invalid_key());
    world.add_key(UP2, &upstream.base).await;
    for model in ["gpt-4o", "gpt-5"] {
        assert_eq!(world.chat(&key, model).await.status(), 429);
    }
    let metrics = Metrics::read(&world).await;
    for (name, count) in [
        (r#"keys{state="ready"}"#, 1),
        (r#"keys{state="quarantined"}"#, 1),
        (r#"keys{state="disabled"}"#, 0),
        (r#"key_models{state="sleeping"}"#, 2),
        (r#"tries_total{outcome="rate_limited"}"#, 2),
        (r#"tries_total{outcome="refused"}"#, 1),
    ] {
        assert_eq!(metrics.count(name), count, "{name}");
    }
}

#[tokio::test]
async fn usage_that_control_has_not_posted_shows_with_its_age() {
    let env = [("NODE_TOKEN", TOKEN), ("PRICING", PRICING)];
    let (mut control, upstream) = (World::control(&env).await, Upstream::start().await);
    upstream.script(UP, Script::Chat);
    control.add_key(UP, &upstream.base).await;
    let plane = Plane::start(&control, "plane-a", &[]).await;
    let call = || plane.node.chat(&control.http, ROOT, "gpt-4o");
    assert_eq!(call().await.status(), 200);
    let spooled = async || {
        let metrics = Metrics::at(&plane.node.base).await;
        let waiting = metrics.count(r#"spool_records{place="disk"}"#)
            + metrics.count(r#"spool_records{place="memory"}"#);
        (waiting, metrics.of("spool_oldest_age_seconds"))
    };
    until("it is posted", async || spooled().await == (0, 0.0)).await;
    let before = Metrics::at(&plane.node.base).await;
    assert!(before.of("control_silence_seconds") < 60.0);
    assert!(before.of("config_revision") >= 1.0 && before.of("config_age_seconds") < 60.0);
    assert_eq!(
        before.count(&format!(
            r#"build_info{{version="{}"}}"#,
            env!("CARGO_PKG_VERSION")
        )),
        1
    );
    control.kill().await;
    let http = &control.http;
    for _ in 0..2 {
        assert_eq!(plane.node.chat(http, ROOT, "gpt-4o").await.status(), 200);
    }
    until("two records wait", async || spooled().await.0 == 2).await;
    let (_, young) = spooled().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (_, old) = spooled().await;
    assert!(young < old && old < 60.0, "{young} {old}");
}

#[tokio::test]
async fn metrics_name_no_account_no_key_and_no_model() {
    let answers = json_answer(299, r#"{"error":{"message":"made-up"}}"#);
    let (world, _upstream, key) = world_with(&[], answers).await;
    world.change("alice", json!({"RPM": 1_000})).await;
    for model in ["made-up-model", "another\"model{}"] {
        world.chat(&key, model).await;
    }
    let odd = ask(
        &world,
        ("BREW", "/v1/made-up/path"),
        &[("Authorization", &key)],
        b"",
    )
    .await;
    assert_eq!(odd.status, 299);
    until("all are counted", async || {
        let metrics = Metrics::read(&world).await;
        metrics.count(r#"requests_total{route="chat",status="2xx"}"#) == 2
            && metrics.count(r#"requests_total{route="other",status="2xx"}"#) == 1
    })
    .await;
    let page = metrics(&world.node.base).await;
    for secret in [
        UP,
        &key,
        "alice",
        "made-up",
        "another",
        "BREW",
        "127.0.0.1",
        // Not the digits of some measured time.
        "\"299\"",
    ] {
        assert!(!page.contains(secret), "{secret}");
    }
    let labels: BTreeSet<_> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once('{')?.1.split_once('}')?.0))
        .flat_map(|labels| labels.split(','))
        .map(|label| label.split_once('=').unwrap().0)
        .collect();
    let known = [
        "code", "ending", "kind", "le", "measure", "outcome", "place", "route", "state", "status",
        "stream", "version",
    ];
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), known);
}

/// Lines of an access log.
fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn an_access_log_line_tells_the_call_and_no_secret() {
    let env = [("ACCESS_LOG", "stdout"), ("PRICING", PRICING)];
    let (world, _upstream, key) = world_with(&env, Script::Chat).await;
    let id = world.account("alice").await["ID"].clone();
    let bearer = format!("Bearer {key}");
    let body = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"my secret prompt"}]}"#;
    let headers = [
        ("Authorization", &*bearer),
        ("X-Request-Id", "my-\"own\"-id"),
    ];
    let target = "/v1/chat/completions?api_key=hidden&x=1";
    let answer = ask(&world, ("POST", target), &headers, body).await;
    assert_eq!(answer.status, 200);
    ask(
        &world,
        ("GET", "/v1/things"),
        &[("Authorization", "Bearer sk-wrong-key")],
        b"",
    )
    .await;
    until("both are logged", async || {
        lines(&world.node.out()).len() == 2
    })
    .await;
    let out = world.node.out();
    let [call, refused] = &lines(&out)[..] else {
        panic!("{out}");
    };
    let mut call = call.clone();
    let took = ["duration_us", "first_byte_us", "overhead_us"].map(|name| {
        call.as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap()
            .as_u64()
            .unwrap()
    });
    assert!(
        took[0] >= took[1] && took[1] >= took[2] && took[2] > 0,
        "{took:?}"
    );
    let time = call.as_object_mut().unwrap().remove("time").unwrap();
    let time = time.as_str().unwrap();
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.starts_with("20"),
        "{time}"
    );
    assert_eq!(
        call,
        json!({
            "request_id": "my-\"own\"-id", "method": "POST", "path": "/v1/chat/completions",
            "account": id, "key": 1, "level": 0, "model_asked": "gpt-4o", "model": "gpt-4o",
            "tries": 1, "hedges": 0, "status": 200, "ending": "complete", "stream": false,
            "input_tokens": 11, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 7,
            "reasoning_tokens": 0, "measure": "measured", "cost_usd": 0.000_097_5,
        })
    );
    for (name, value) in [
        ("status", json!(401)),
        ("refusal", json!("invalid_api_key")),
        ("method", json!("GET")),
        ("path", json!("/v1/things")),
        ("account", Value::Null),
        ("key", Value::Null),
        ("tries", json!(0)),
    ] {
        assert_eq!(refused[name], value, "{name}");
    }
    for secret in [UP, &*key, "secret prompt", "hidden", "sk-wrong-key", ROOT] {
        assert!(!out.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_access_log_is_off_by_default_and_samples_all_but_failed_calls() {
    let (world, _upstream, key) = world_with(&[], Script::Chat).await;
    world.chat(&key, "gpt-4o").await;
    world.posted("alice", 1).await;
    assert!(!world.node.out().contains("request_id"));
    for (errors, logged) in [("all", true), ("sampled", false)] {
        let env = [
            ("ACCESS_LOG", "stdout"),
            ("ACCESS_LOG_SAMPLE", "0"),
            ("ACCESS_LOG_ERRORS", errors),
        ];
        let (mut world, upstream, key) = world_with(&env, Script::Chat).await;
        let chunk = event(r#"{"choices":[{"delta":{"content":"a"}}]}"#);
        for _ in 0..20 {
            assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        }
        world.chat("wrong", "gpt-4o").await;
        let breaking = Script::Stream {
            chunks: vec![chunk.clone(), chunk],
            pause: Duration::from_millis(20),
            breaks: true,
        };
        upstream.script(UP, breaking);
        world
            .chat_stream(&key, "gpt-4o")
            .await
            .bytes()
            .await
            .unwrap();
        world.stop().await;
        let mut told: Vec<_> = lines(&world.node.out())
            .iter()
            .map(|line| (line["status"].as_u64().unwrap(), line["ending"].to_string()))
            .collect();
        told.sort();
        let cut = (200, r#""cut""#.to_owned());
        let refused = (401, r#""complete""#.to_owned());
        assert_eq!(told, if logged { vec![cut, refused] } else { vec![] });
    }
}

#[tokio::test]
async fn an_access_log_that_was_renamed_is_begun_anew_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("access.log");
    let env = [("ACCESS_LOG", path.to_str().unwrap())];
    let (mut world, _upstream, key) = world_with(&env, Script::Chat).await;
    let count =
        |path: &std::path::Path| std::fs::read_to_string(path).map_or(0, |text| lines(&text).len());
    assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    until("the first is logged", async || count(&path) == 1).await;
    let old = dir.path().join("access.log.1");
    std::fs::rename(&path, &old).unwrap();
    let mut calls = 1;
    until("the file is there again", async || {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        calls += 1;
        path.exists()
    })
    .await;
    world.stop().await;
    assert_eq!(count(&old) + count(&path), calls);
}

#[test]
fn an_access_log_that_cannot_be_is_a_reason_not_to_start() {
    let (code, _, log) = run_to_end(
        None,
        &[("ACCESS_LOG", "stdout"), ("ACCESS_LOG_SAMPLE", "2")],
    );
    assert_eq!(code, 64);
    assert!(log.contains("ACCESS_LOG_SAMPLE"), "{log}");
    let (code, _, log) = run_to_end(None, &[("ACCESS_LOG", "/nowhere/at/all")]);
    assert_ne!(code, 0);
    assert!(log.contains("access log"), "{log}");
    let (code, _, log) = run_to_end(None, &[("RESPONSE_HEADERS", "secret")]);
    assert_eq!(code, 64);
    assert!(log.contains("RESPONSE_HEADERS"), "{log}");
}
