//! Windows of calls and tokens: exact under concurrency, over several data planes and restarts; limits by model; the
//! headers of refusals and responses.

use std::time::Duration;
use tempfile::TempDir;

use futures_util::future::join_all;
use proxyxai_contract::clock::{Clock, WindowLength, Zone};
use reqwest::Response;
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream},
    world::{Node, ROOT, World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const TOKEN: &str = "the-node-token-of-the-tests";
/// Tokens of a scripted chat call.
const CALL_TOKENS: u64 = 11 + 7;

/// A time zone in which it is about noon now, so that no day ends during a test.
fn noonish() -> Zone {
    let hour = Clock::system().now().0 / 3_600_000 % 24;
    let ahead = 12 - hour;
    let name = if ahead >= 0 {
        format!("Etc/GMT-{ahead}")
    } else {
        format!("Etc/GMT+{}", -ahead)
    };
    Zone::new(&name).unwrap()
}

struct Rig {
    world: World,
    upstream: Upstream,
    zone: Zone,
    key: String,
}

impl Rig {
    /// An all-in-one gateway with the account `alice` that has these windows.
    async fn start(limits: Value) -> Self {
        let zone = noonish();
        let world = World::with(&[("TZ", zone.name())]).await;
        Self::set_up(world, zone, limits).await
    }

    async fn set_up(world: World, zone: Zone, limits: Value) -> Self {
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        world.add_key(UP, &upstream.base).await;
        let key = world.add_account("alice", 100.0).await;
        world.change("alice", limits).await;
        Self {
            world,
            upstream,
            zone,
            key,
        }
    }

    async fn chat(&self, model: &str) -> Response {
        self.world.chat(&self.key, model).await
    }

    /// The statuses of this many calls, one after another, with their responses read to the end.
    async fn statuses(&self, model: &str, calls: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..calls {
            let answer = self.chat(model).await;
            statuses.push(answer.status().as_u16());
            answer.bytes().await.unwrap();
        }
        statuses
    }
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

fn admitted(statuses: &[u16]) -> usize {
    assert!(
        statuses.iter().all(|status| [200, 429].contains(status)),
        "{statuses:?}"
    );
    statuses.iter().filter(|status| **status == 200).count()
}

#[tokio::test]
async fn a_window_has_as_many_calls_as_its_limit_however_many_come_at_once() {
    let rig = Rig::start(json!({"RPD": 25})).await;
    let calls = (0..100).map(|_| rig.chat("gpt-4o"));
    let answers = join_all(calls).await;
    let statuses: Vec<_> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    assert_eq!(admitted(&statuses), 25);
    assert_eq!(rig.upstream.count(UP), 25);
    assert_eq!(rig.statuses("gpt-4o", 3).await, [429, 429, 429]);
}

#[tokio::test]
async fn a_refusal_says_whose_limit_it_is_and_when_it_resets() {
    let rig = Rig::start(json!({"RPD": 1})).await;
    assert_eq!(rig.statuses("gpt-4o", 1).await, [200]);
    let now = Clock::system().now();
    let answer = rig.chat("gpt-4o").await;
    let end = rig.zone.period(WindowLength::Day, now).end;
    let seconds = u64::try_from(end.since(now)).unwrap().div_ceil(1000);
    let after: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!(
        (seconds - 5..=seconds).contains(&after),
        "{after} {seconds}"
    );
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "1");
    assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), "0");
    assert!(header(&answer, "x-ratelimit-reset-requests").ends_with('s'));
    assert_eq!(header(&answer, "x-ratelimit-limit-tokens"), "");
    let message = refused(answer, 429, "rate_limit_exceeded").await;
    for part in [
        "account alice",
        "1 requests per day",
        "RPD",
        &rig.zone.rfc3339(end),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn an_answer_tells_what_is_left_in_place_of_what_the_upstream_says_of_its_key() {
    let rig = Rig::start(json!({"RPD": 10, "RPH": 1000, "TPD": 5000})).await;
    let body = json!({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}});
    rig.upstream.script(
        UP,
        Script::Answer {
            status: 200,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("x-ratelimit-limit-requests", "777".to_owned()),
                ("x-ratelimit-remaining-tokens", "777".to_owned()),
                ("x-ratelimit-limit-project", "777".to_owned()),
            ],
            body: body.to_string().into(),
        },
    );
    for left in ["9", "8"] {
        let answer = rig.chat("gpt-4o").await;
        assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "10");
        assert_eq!(header(&answer, "x-ratelimit-remaining-requests"), left);
        assert_eq!(header(&answer, "x-ratelimit-limit-tokens"), "5000");
        let tokens: u64 = header(&answer, "x-ratelimit-remaining-tokens")
            .parse()
            .unwrap();
        assert!((4900..5000).contains(&tokens), "{tokens}");
        assert!(header(&answer, "x-ratelimit-reset-tokens").contains('h'));
        assert_eq!(header(&answer, "x-ratelimit-limit-project"), "");
        answer.bytes().await.unwrap();
    }
    // Root has no limits, so it gets the upstream's headers.
    let answer = rig.world.chat(ROOT, "gpt-4o").await;
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "777");
    assert_eq!(header(&answer, "x-ratelimit-limit-project"), "777");
}

#[tokio::test]
async fn tokens_are_counted_when_they_are_known() {
    let rig = Rig::start(json!({"TPD": 2 * CALL_TOKENS + 1})).await;
    for _ in 0..3 {
        // The previous call is settled when its response has ended, a moment after the client has read it.
        until("a call is let in", async || {
            rig.statuses("gpt-4o", 1).await == [200]
        })
        .await;
    }
    let answer = rig.chat("gpt-4o").await;
    assert_eq!(header(&answer, "x-ratelimit-remaining-tokens"), "0");
    let message = refused(answer, 429, "rate_limit_exceeded").await;
    assert!(message.contains("37 tokens per day"), "{message}");
    assert_eq!(rig.upstream.count(UP), 3);
}

#[tokio::test]
async fn calls_at_once_cannot_all_spend_the_same_tokens() {
    let rig = Rig::start(json!({"TPD": 100})).await;
    rig.upstream.script(UP, Script::Silent);
    let body = json!({"model": "gpt-4o", "max_tokens": 90, "messages": [{"role": "user", "content": "hi"}]});
    let call = || {
        let post = rig.world.http.post(rig.world.url("/v1/chat/completions"));
        post.bearer_auth(&rig.key)
            .json(&body)
            .timeout(Duration::from_secs(2))
            .send()
    };
    let held = join_all((0..20).map(|_| call())).await;
    let refused = held
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.status() == 429))
        .count();
    assert_eq!((refused, rig.upstream.count(UP)), (19, 1));
}

/// Creates a child of alice. Returns its key.
async fn child_of(rig: &Rig, name: &str) -> String {
    let new = json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": 10});
    let added = rig.world.post("/x-users", &rig.key, &new).await;
    assert_eq!(added.status(), 200);
    let added: Value = added.json().await.unwrap();
    added["User"]["SecretKey"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_parents_limit_bites_the_child_and_counts_the_calls_of_all_below_it() {
    let rig = Rig::start(json!({"CreditGranted": 100})).await;
    let child = child_of(&rig, "berta").await;
    rig.world.change("alice", json!({"RPD": 3})).await;
    for _ in 0..2 {
        assert_eq!(rig.world.chat(&child, "gpt-4o").await.status(), 200);
    }
    assert_eq!(rig.statuses("gpt-4o", 2).await, [200, 429]);
    let message = refused(
        rig.world.chat(&child, "gpt-4o").await,
        429,
        "rate_limit_exceeded",
    )
    .await;
    assert!(message.contains("account alice allows 3"), "{message}");
}

#[tokio::test]
async fn children_that_inherit_a_limit_share_their_parents() {
    let rig =
        Rig::start(json!({"CreditGranted": 100, "RPD": 10, "ModelLimits": {"o3": {"rpd": 5}}}))
            .await;
    let mut keys = vec![rig.key.clone()];
    for name in ["berta", "carla", "diana", "emilia"] {
        keys.push(child_of(&rig, name).await);
    }
    for (model, limit) in [("gpt-4o", 10), ("o3", 5)] {
        let calls = (0..5)
            .flat_map(|_| keys.iter())
            .map(|key| rig.world.chat(key, model));
        let statuses: Vec<_> = join_all(calls)
            .await
            .iter()
            .map(|answer| answer.status().as_u16())
            .collect();
        assert_eq!(admitted(&statuses), limit, "{model}");
    }
    assert_eq!(rig.upstream.count(UP), 15);
}

#[tokio::test]
async fn a_child_that_is_refused_takes_nothing_from_its_parents_window() {
    let rig = Rig::start(json!({"CreditGranted": 100, "RPD": 4})).await;
    let child = child_of(&rig, "berta").await;
    rig.world.change("berta", json!({"RPD": 1})).await;
    assert_eq!(rig.world.chat(&child, "gpt-4o").await.status(), 200);
    for _ in 0..5 {
        let refusal = rig.world.chat(&child, "gpt-4o").await;
        let message = refused(refusal, 429, "rate_limit_exceeded").await;
        assert!(message.contains("account berta allows 1"), "{message}");
    }
    assert_eq!(rig.statuses("gpt-4o", 4).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn tokens_of_a_child_count_for_its_parent() {
    let rig = Rig::start(json!({"CreditGranted": 100, "TPD": CALL_TOKENS})).await;
    let child = child_of(&rig, "berta").await;
    rig.world
        .change("berta", json!({"TPD": CALL_TOKENS - 1}))
        .await;
    assert_eq!(rig.world.chat(&child, "gpt-4o").await.status(), 200);
    // Settled when its response has ended, a moment after the client has read it.
    until("the parent has none left", async || {
        rig.statuses("gpt-4o", 1).await == [429]
    })
    .await;
}

#[tokio::test]
async fn a_model_has_a_window_of_its_own() {
    let rig = Rig::start(json!({
        "RPD": 3, "ModelLimits": {"gpt-4*": {"rpd": 1}, "o3": {"rpd": 5}},
    }))
    .await;
    assert_eq!(rig.statuses("gpt-4o", 1).await, [200]);
    let message = refused(rig.chat("gpt-4.1").await, 429, "rate_limit_exceeded").await;
    assert!(
        message.contains("account alice allows 1 requests per day for the model \"gpt-4*\""),
        "{message}"
    );
    assert_eq!(admitted(&rig.statuses("o3", 7).await), 5);
    assert_eq!(admitted(&rig.statuses("claude", 5).await), 3);
    // The model requested counts, not the one sent.
    rig.world.conf(json!({"ModelMapper": "mine=gpt-4o"})).await;
    rig.world.change("alice", json!({"RPD": 4})).await;
    assert_eq!(rig.statuses("mine", 2).await, [200, 429]);
    // The system's limits apply to accounts that have none.
    rig.world
        .conf(json!({"ModelLimits": {"o3": {"rpd": 0}}}))
        .await;
    rig.world.change("alice", json!({"ModelLimits": ""})).await;
    let message = refused(rig.chat("o3").await, 429, "rate_limit_exceeded").await;
    assert!(message.contains("this server allows 0"), "{message}");
}

#[tokio::test]
async fn a_changed_limit_counts_with_the_next_call() {
    let rig = Rig::start(json!({"RPD": 2})).await;
    assert_eq!(rig.statuses("gpt-4o", 3).await, [200, 200, 429]);
    rig.world.change("alice", json!({"RPD": 3})).await;
    assert_eq!(rig.statuses("gpt-4o", 2).await, [200, 429]);
    rig.world.change("alice", json!({"RPD": 1})).await;
    assert_eq!(rig.statuses("gpt-4o", 1).await, [429]);
    rig.world.change("alice", json!({"RPD": 666_666_666})).await;
    let answer = rig.chat("gpt-4o").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header(&answer, "x-ratelimit-limit-requests"), "");
}

#[tokio::test]
async fn what_is_refused_for_another_reason_does_not_count() {
    let rig = Rig::start(json!({"RPD": 1, "AllowModels": "gpt-4o"})).await;
    refused(rig.chat("o3").await, 403, "model_not_allowed").await;
    rig.world.change("alice", json!({"Level": 3})).await;
    refused(rig.chat("gpt-4o").await, 503, "no_upstream_key").await;
    rig.world.change("alice", json!({"Level": 0})).await;
    assert_eq!(rig.statuses("gpt-4o", 2).await, [200, 429]);
}

#[tokio::test]
async fn a_restart_brings_no_second_allowance() {
    let mut rig = Rig::start(json!({"RPD": 40})).await;
    assert_eq!(admitted(&rig.statuses("gpt-4o", 10).await), 10);
    rig.world.kill().await;
    rig.world.restart().await;
    let more = admitted(&rig.statuses("gpt-4o", 40).await);
    // Leased and unused units are lost, which are fewer than two slices.
    assert!((20..=30).contains(&more), "{more}");
}

/// A control plane and separate data planes.
struct Fleet {
    rig: Rig,
    planes: Vec<(Node, TempDir)>,
}

impl Fleet {
    async fn start(planes: usize, limits: Value) -> Self {
        let zone = noonish();
        let env = [("NODE_TOKEN", TOKEN), ("TZ", zone.name())];
        let world = World::control(&env).await;
        let rig = Rig::set_up(world, zone, limits).await;
        let mut started = Vec::new();
        for plane in 0..planes {
            let dir = TempDir::new().unwrap();
            let env = [
                ("CONTROL_GRPC", format!("http://{}", rig.world.node.grpc)),
                ("CONTROL_HTTP", rig.world.node.base.clone()),
                ("NODE_TOKEN", TOKEN.to_owned()),
                ("NODE_NAME", format!("plane-{plane}")),
            ]
            .map(|(name, value)| (name.to_owned(), value));
            let node = Node::start(Some("dataplane"), dir.path(), &env).await;
            started.push((node, dir));
        }
        Self {
            rig,
            planes: started,
        }
    }

    async fn chat(&self, plane: usize) -> u16 {
        let node = &self.planes[plane].0;
        let answer = node
            .chat(&self.rig.world.http, &self.rig.key, "gpt-4o")
            .await;
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        status
    }
}

#[tokio::test]
async fn several_data_planes_together_keep_to_the_limit_exactly() {
    for limit in [7, 60] {
        let fleet = Fleet::start(3, json!({"RPD": limit})).await;
        let calls = (0..3 * limit).map(|call| fleet.chat(call % 3));
        let statuses = join_all(calls).await;
        let at_once = admitted(&statuses);
        assert!(at_once <= limit, "{at_once}");
        // Leased units that one of them has left are spent there.
        let mut later = 0;
        for plane in 0..3 {
            while fleet.chat(plane).await == 200 {
                later += 1;
            }
        }
        assert_eq!(at_once + later, limit);
        assert_eq!(fleet.rig.upstream.count(UP), limit);
    }
}

#[tokio::test]
async fn several_data_planes_keep_a_parents_limit_over_its_children() {
    let fleet = Fleet::start(2, json!({"CreditGranted": 100, "RPD": 30})).await;
    let mut keys = vec![fleet.rig.key.clone()];
    for name in ["berta", "carla", "diana"] {
        keys.push(child_of(&fleet.rig, name).await);
    }
    let call = async |plane: usize, key: &str| {
        let node = &fleet.planes[plane].0;
        let answer = node.chat(&fleet.rig.world.http, key, "gpt-4o").await;
        answer.status().as_u16()
    };
    let calls = (0..60).map(|at| call(at % 2, &keys[at % 4]));
    let at_once = admitted(&join_all(calls).await);
    let mut later = 0;
    for plane in 0..2 {
        while call(plane, &keys[1]).await == 200 {
            later += 1;
        }
    }
    assert_eq!(at_once + later, 30);
    assert_eq!(fleet.rig.upstream.count(UP), 30);
}

#[tokio::test]
async fn with_control_away_what_is_on_lease_is_spent_and_no_more() {
    let mut fleet = Fleet::start(1, json!({"RPD": 80})).await;
    assert_eq!(fleet.chat(0).await, 200);
    fleet.rig.world.kill().await;
    let mut spent = 1;
    let last = loop {
        match fleet.chat(0).await {
            200 => spent += 1,
            status => break status,
        }
        assert!(spent <= 80);
    };
    assert_eq!((last, spent), (503, 10));
    fleet.rig.world.restart_in_place().await;
    until("control is asked again", async || {
        fleet.chat(0).await == 200
    })
    .await;
}
