//! The separate roles: one control plane, two data planes.

use std::time::Duration;
use tempfile::TempDir;

use proxyxai_contract::wire::Measure;
use serde_json::json;

use crate::{
    grpc::Grpc,
    upstream::{Script, Upstream, event, invalid_key, status},
    world::{Node, ROOT, World, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const OTHER: &str = "sk-upstream-bbbbbbbbbbbbbbbbbbbbbb";
pub const TOKEN: &str = "the-node-token-of-the-tests";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const CALL_NANOS: i64 = 11 * 2500 + 7 * 10_000;

struct Fleet {
    control: World,
    planes: Vec<Plane>,
    upstream: Upstream,
    key: String,
}

pub struct Plane {
    pub node: Node,
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl Plane {
    pub async fn start(control: &World, name: &str, more: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let grpc = format!("http://{}", control.node.grpc);
        let env = [
            ("CONTROL_GRPC", grpc.as_str()),
            ("CONTROL_HTTP", &control.node.base),
            ("NODE_TOKEN", TOKEN),
            ("NODE_NAME", name),
        ];
        let env: Vec<_> = env
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let node = Node::start(Some("dataplane"), dir.path(), &env).await;
        Self { node, dir, env }
    }

    /// Restarts it on the same port.
    pub async fn restart_in_place(&mut self) {
        let listen = self.node.base.trim_start_matches("http://").to_owned();
        self.env.push(("LISTEN".to_owned(), listen));
        self.restart().await;
    }

    pub async fn restart(&mut self) {
        self.node = Node::start(Some("dataplane"), self.dir.path(), &self.env).await;
    }
}

impl Fleet {
    async fn start() -> Self {
        let control = World::control(&[("NODE_TOKEN", TOKEN), ("PRICING", PRICING)]).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        control.add_key(UP, &upstream.base).await;
        let key = control.add_account("alice", 100.0).await;
        let more = [("RETRY_DEADLINE_MS", "300")];
        let planes = vec![
            Plane::start(&control, "plane-a", &more).await,
            Plane::start(&control, "plane-b", &more).await,
        ];
        Self {
            control,
            planes,
            upstream,
            key,
        }
    }

    async fn chat(&self, plane: usize, model: &str) -> reqwest::Response {
        self.planes[plane]
            .node
            .chat(&self.control.http, &self.key, model)
            .await
    }

    async fn posted_once(&self, calls: usize) {
        self.control.posted("alice", calls as u64).await;
        let records = self.control.grpc().usage("alice").await;
        assert_eq!(records.len(), calls);
        let account = self.control.grpc().account("alice").await;
        let spent = i64::try_from(calls).unwrap() * CALL_NANOS;
        assert_eq!(
            (account.credit_used_nanos, account.balance_nanos),
            (spent, 100_000_000_000 - spent)
        );
        self.control.grpc().verify_books().await;
    }
}

#[tokio::test]
async fn two_data_planes_serve_the_same_keys_and_accounts() {
    let fleet = Fleet::start().await;
    for plane in [0, 1, 1, 0] {
        assert_eq!(fleet.chat(plane, "house").await.status(), 200);
    }
    fleet.posted_once(4).await;
    let mut nodes: Vec<_> = fleet
        .control
        .grpc()
        .usage("alice")
        .await
        .into_iter()
        .map(|posted| posted.node)
        .collect();
    nodes.sort();
    assert_eq!(nodes, ["plane-a", "plane-a", "plane-b", "plane-b"]);
}

#[tokio::test]
async fn a_change_by_rest_is_used_by_the_very_next_request_on_every_data_plane() {
    let fleet = Fleet::start().await;
    for round in 0..20 {
        let model = format!("model-{round}");
        fleet
            .control
            .conf(json!({"ModelMapper": format!("house={model}")}))
            .await;
        for plane in [0, 1] {
            assert_eq!(fleet.chat(plane, "house").await.status(), 200);
            let body: serde_json::Value =
                serde_json::from_slice(&fleet.upstream.seen(UP).pop().unwrap().body).unwrap();
            assert_eq!(body["model"], model, "plane {plane}");
        }
    }
    fleet
        .control
        .change("alice", json!({"Status": false}))
        .await;
    for plane in [0, 1] {
        refused(fleet.chat(plane, "house").await, 401, "account_suspended").await;
    }
    fleet.control.change("alice", json!({"Status": true})).await;
    let fresh = fleet.control.add_account("bobby", 50.0).await;
    for plane in &fleet.planes {
        assert_eq!(
            plane
                .node
                .chat(&fleet.control.http, &fresh, "house")
                .await
                .status(),
            200
        );
    }
    let gone = fleet
        .control
        .root(
            fleet
                .control
                .http
                .delete(fleet.control.url("/x-users/bobby")),
        )
        .await;
    assert_eq!(gone.status(), 200);
    for plane in &fleet.planes {
        refused(
            plane.node.chat(&fleet.control.http, &fresh, "house").await,
            401,
            "invalid_api_key",
        )
        .await;
    }
}

#[tokio::test]
async fn data_planes_forward_what_is_controls() {
    let fleet = Fleet::start().await;
    let http = &fleet.control.http;
    for plane in &fleet.planes {
        let url = |path: &str| format!("{}{path}", plane.node.base);
        for path in [
            "/x-keys",
            "/x-users?size=5",
            "/x-users/alice",
            "/x-conf",
            "/dashboard/info",
            "/dashboard/status",
        ] {
            let through = http.get(url(path)).bearer_auth(ROOT).send().await.unwrap();
            let direct = fleet.control.root(http.get(fleet.control.url(path))).await;
            assert_eq!(through.status(), direct.status(), "{path}");
            for name in [
                "content-type",
                "x-total-count",
                "x-page",
                "x-per-page",
                "access-control-allow-origin",
            ] {
                assert_eq!(
                    through.headers().get(name),
                    direct.headers().get(name),
                    "{path} {name}"
                );
            }
            assert_eq!(
                through.bytes().await.unwrap(),
                direct.bytes().await.unwrap(),
                "{path}"
            );
        }
        refused(
            http.get(url("/x-keys"))
                .bearer_auth(&fleet.key)
                .send()
                .await
                .unwrap(),
            403,
            "forbidden",
        )
        .await;
        refused(
            http.get(url("/x-keys")).send().await.unwrap(),
            401,
            "invalid_api_key",
        )
        .await;
        refused(
            http.post(url("/x-users"))
                .bearer_auth(ROOT)
                .body("{")
                .send()
                .await
                .unwrap(),
            400,
            "invalid_request",
        )
        .await;
    }
    // A change through one data plane is in effect on the other at once.
    let body = json!({"ModelMapper": "house=mapped"});
    let answer = http
        .post(format!("{}/x-conf", fleet.planes[0].node.base))
        .bearer_auth(ROOT)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(fleet.chat(1, "house").await.status(), 200);
    assert!(
        fleet
            .upstream
            .seen(UP)
            .pop()
            .unwrap()
            .body
            .windows(8)
            .any(|part| part == b"\"mapped\"")
    );
}

#[tokio::test]
async fn what_one_data_plane_learns_about_a_key_the_other_knows() {
    let fleet = Fleet::start().await;
    fleet.upstream.script(UP, invalid_key());
    fleet.upstream.script(OTHER, Script::Chat);
    fleet.control.add_key(OTHER, &fleet.upstream.base).await;
    for _ in 0..4 {
        assert_eq!(fleet.chat(0, "house").await.status(), 200);
    }
    assert_eq!(fleet.upstream.count(UP), 1);
    until("control knows of the dead key", async || {
        let conf = fleet.control.read("/x-conf").await;
        let count = |name: &str| conf[name].as_array().map_or(0, Vec::len);
        count("DisabledKeys") + count("SleepingKeys") == 1
    })
    .await;
    // The other one learns of it too, and asks no provider for it.
    let mut asked = 0;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(fleet.chat(1, "house").await.status(), 200);
        asked = fleet.upstream.count(UP);
    }
    assert_eq!(asked, 1, "the other data plane had to learn by itself");
}

#[tokio::test]
async fn nodes_are_listed_with_the_revision_they_apply() {
    let mut fleet = Fleet::start().await;
    fleet.control.conf(json!({"ModelMapper": "a=b"})).await;
    let grpc = fleet.control.grpc();
    until("both data planes apply the current revision", async || {
        let listed = grpc.nodes().await.unwrap();
        assert!(listed.revision > 0);
        let mut names: Vec<_> = listed.nodes.iter().map(|node| node.name.clone()).collect();
        names.sort();
        assert_eq!(names, ["plane-a", "plane-b"]);
        listed.nodes.iter().all(|node| {
            node.connected
                && node.applied_revision == listed.revision
                && node.rejections.is_empty()
                && !node.version.is_empty()
        })
    })
    .await;
    fleet.planes[1].node.kill().await;
    until("the dead one is listed as gone", async || {
        let listed = grpc.nodes().await.unwrap();
        listed
            .nodes
            .iter()
            .any(|node| node.name == "plane-b" && !node.connected)
    })
    .await;
    // Only root may list nodes.
    let refused = Grpc::with(&fleet.control.node.grpc, &fleet.key)
        .nodes()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn only_the_node_token_opens_the_fleets_door() {
    let fleet = Fleet::start().await;
    let address = &fleet.control.node.grpc;
    for wrong in [
        "the-node-token-of-the-test",
        "the-node-token-of-the-testsX",
        ROOT,
        &fleet.key,
        UP,
    ] {
        let refused = Grpc::with(address, wrong)
            .watch("intruder")
            .await
            .unwrap_err();
        assert!(
            matches!(
                refused.code(),
                tonic::Code::Unauthenticated | tonic::Code::PermissionDenied
            ),
            "{refused}"
        );
        assert!(!refused.message().contains(TOKEN));
    }
    let update = Grpc::with(address, TOKEN).watch("newcomer").await.unwrap();
    assert!(update.full && update.revision > 0);
    assert_eq!(update.keys.len(), 1);
    assert_eq!(update.accounts.len(), 2);
    assert!(update.settings.is_some() && update.prices.is_some());
    // A node token is no account's key.
    let none = Grpc::with(address, TOKEN).nodes().await;
    assert!(none.is_ok_and(|listed| listed.revision > 0) || fleet.planes.len() == 2);
    let answer = fleet
        .control
        .http
        .get(fleet.control.url("/x-keys"))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    refused(answer, 401, "invalid_api_key").await;
}

#[tokio::test]
async fn a_data_plane_with_a_wrong_token_is_never_ready() {
    let control = World::control(&[("NODE_TOKEN", TOKEN)]).await;
    let dir = TempDir::new().unwrap();
    let env = [
        ("CONTROL_GRPC", format!("http://{}", control.node.grpc)),
        ("NODE_TOKEN", "some-other-node-token".to_owned()),
        ("NODE_NAME", "plane-x".to_owned()),
    ];
    let env: Vec<_> = env
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let node = Node::launch(Some("dataplane"), dir.path(), &env).await;
    until("the refusal is in the log", async || {
        node.log()
            .contains("control refuses this data plane: NODE_TOKEN")
    })
    .await;
    let http = &control.http;
    assert_eq!(
        http.get(format!("{}/readyz", node.base))
            .send()
            .await
            .unwrap()
            .status(),
        503
    );
    assert_eq!(
        http.get(format!("{}/healthz", node.base))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    refused(node.chat(http, ROOT, "house").await, 503, "unavailable").await;
    assert!(!node.log().contains("some-other-node-token"));
}

#[tokio::test]
async fn with_control_away_data_planes_go_on_and_usage_is_posted_once_when_it_is_back() {
    let mut fleet = Fleet::start().await;
    // Without control a data plane spends what it has leased, so each needs to have been used.
    for plane in [0, 1] {
        assert_eq!(fleet.chat(plane, "house").await.status(), 200);
    }
    fleet.posted_once(2).await;
    fleet.control.kill().await;
    for round in 0..10 {
        assert_eq!(
            fleet.chat(round % 2, "house").await.status(),
            200,
            "call {round} without control"
        );
    }
    for plane in &fleet.planes {
        let forwarded = fleet
            .control
            .http
            .get(format!("{}/x-keys", plane.node.base))
            .bearer_auth(ROOT)
            .send()
            .await
            .unwrap();
        refused(forwarded, 503, "unavailable").await;
        refused(
            plane
                .node
                .chat(&fleet.control.http, "sk-XvsUnknown", "house")
                .await,
            401,
            "invalid_api_key",
        )
        .await;
    }
    fleet.control.restart_in_place().await;
    fleet.posted_once(12).await;
    // Both follow control again.
    until("both data planes are back", async || {
        fleet
            .control
            .grpc()
            .nodes()
            .await
            .unwrap()
            .nodes
            .iter()
            .filter(|node| node.connected)
            .count()
            == 2
    })
    .await;
    fleet
        .control
        .conf(json!({"ModelMapper": "house=mapped"}))
        .await;
    for plane in [0, 1] {
        assert_eq!(fleet.chat(plane, "house").await.status(), 200);
        assert!(
            fleet
                .upstream
                .seen(UP)
                .pop()
                .unwrap()
                .body
                .windows(8)
                .any(|part| part == b"\"mapped\"")
        );
    }
}

#[tokio::test]
async fn usage_survives_the_death_of_its_data_plane_while_control_is_away() {
    let mut fleet = Fleet::start().await;
    assert_eq!(fleet.chat(0, "house").await.status(), 200);
    fleet.posted_once(1).await;
    fleet.control.kill().await;
    for _ in 0..5 {
        assert_eq!(fleet.chat(0, "house").await.status(), 200);
    }
    until("the calls are spooled", async || {
        fleet.planes[0].node.log().contains("spooled=5")
    })
    .await;
    fleet.planes[0].node.kill().await;
    fleet.control.restart_in_place().await;
    fleet.planes[0].restart().await;
    fleet.posted_once(6).await;
    assert_eq!(fleet.chat(0, "house").await.status(), 200);
    fleet.posted_once(7).await;
}

#[tokio::test]
async fn a_data_plane_that_is_told_to_stop_hands_in_its_usage_first() {
    let mut fleet = Fleet::start().await;
    let stream = Script::Stream {
        chunks: vec![event("{}"); 10],
        pause: Duration::from_millis(50),
        breaks: false,
    };
    fleet.upstream.script(UP, stream);
    let body = json!({"model": "house", "stream": true});
    let url = format!("{}/v1/chat/completions", fleet.planes[0].node.base);
    let mut answer = fleet
        .control
        .http
        .post(url)
        .bearer_auth(&fleet.key)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    fleet.planes[0].node.signal("TERM");
    while answer.chunk().await.unwrap().is_some() {}
    assert_eq!(fleet.planes[0].node.ended().await.code(), Some(0));
    // The data plane is gone, so control has only what was handed in.
    let records = fleet.control.grpc().usage("alice").await;
    assert_eq!(records.len(), 1);
    assert_ne!(
        records[0].record.as_ref().unwrap().measure(),
        Measure::Partial
    );
    fleet.upstream.script(UP, Script::Chat);
    assert_eq!(
        fleet.chat(1, "house").await.status(),
        200,
        "the other one serves on"
    );
}

#[tokio::test]
async fn a_key_added_by_grpc_or_rest_or_on_a_data_plane_is_in_every_pool() {
    let fleet = Fleet::start().await;
    fleet.upstream.script(UP, status(503));
    fleet.upstream.script(OTHER, Script::Chat);
    assert_eq!(fleet.chat(0, "house").await.status(), 503);
    let body = json!({"SecretKey": OTHER, "Provider": fleet.upstream.base});
    let url = format!("{}/x-keys", fleet.planes[1].node.base);
    let answer = fleet
        .control
        .http
        .post(url)
        .bearer_auth(ROOT)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.json::<serde_json::Value>().await.unwrap()["Key"]["ID"]
        .as_i64()
        .unwrap();
    for plane in [0, 1] {
        assert_eq!(fleet.chat(plane, "house").await.status(), 200);
    }
    let off = fleet
        .control
        .http
        .put(fleet.control.url(&format!("/x-keys/{id}")))
        .json(&json!({"Status": false}));
    assert_eq!(fleet.control.root(off).await.status(), 200);
    let before = fleet.upstream.count(OTHER);
    for plane in [0, 1] {
        assert_eq!(fleet.chat(plane, "house").await.status(), 503);
    }
    assert_eq!(
        fleet.upstream.count(OTHER),
        before,
        "a key that is switched off is not asked"
    );
}
