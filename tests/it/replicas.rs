//! Several replicas of control on one PostgreSQL server, and data planes that go from one to another. Without a server
//! there is one control, and these tests have nothing to show.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream},
    world::{Node, World, client, refused, server, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const MASTER: &str = "the-master-key-of-the-tests";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;

/// Two replicas, a provider and an account with credit.
struct Replicas {
    first: World,
    second: Node,
    _dir: TempDir,
    upstream: Upstream,
    key: String,
}

impl Replicas {
    /// Returns `None` without a server.
    async fn start() -> Option<Self> {
        server()?;
        let env = [
            ("NODE_TOKEN", TOKEN),
            ("MASTER_KEY", MASTER),
            ("PRICING", PRICING),
        ];
        let first = World::control(&env).await;
        let dir = TempDir::new().unwrap();
        let url = first.database_url().unwrap().to_owned();
        let more = [("DATABASE_URL".to_owned(), url)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env: Vec<_> = env.into_iter().chain(more).collect();
        let second = Node::start(Some("control"), dir.path(), &env).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        first.add_key(UP, &upstream.base).await;
        let key = first.add_account("alice", 100.0).await;
        Some(Self {
            first,
            second,
            _dir: dir,
            upstream,
            key,
        })
    }

    /// A data plane that knows these replicas.
    async fn plane(&self, name: &str, replicas: &[&Node]) -> Plane {
        let addresses: Vec<_> = replicas
            .iter()
            .map(|replica| format!("http://{}", replica.grpc))
            .collect();
        let more = [
            ("CONTROL_GRPC", addresses.join(",")),
            ("RETRY_DEADLINE_MS", "300".to_owned()),
        ];
        let more = more.each_ref().map(|(name, value)| (*name, value.as_str()));
        Plane::start(&self.first, name, &more).await
    }

    /// The replica that the only data plane watches.
    fn watched(&self) -> &Node {
        let replicas = [&self.first.node, &self.second];
        let is_watched = |node: &&&Node| node.log().contains("a data plane watches");
        replicas.iter().find(is_watched).unwrap()
    }
}

#[tokio::test]
async fn an_edit_at_one_replica_is_in_use_at_the_data_planes_of_all_when_it_is_answered() {
    let Some(fleet) = Replicas::start().await else {
        return;
    };
    let near = fleet.plane("near", &[&fleet.first.node]).await;
    let far = fleet.plane("far", &[&fleet.second]).await;
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let enabled = round % 2 == 1;
        let began = Instant::now();
        fleet
            .first
            .change("alice", json!({"Status": enabled}))
            .await;
        slowest = slowest.max(began.elapsed());
        let wanted = if enabled { 200 } else { 401 };
        for plane in [&near, &far] {
            let answer = plane
                .node
                .chat(&fleet.first.http, &fleet.key, "house")
                .await;
            assert_eq!(answer.status(), wanted, "round {round}");
        }
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // Each replica lists the data planes of both.
    let listed = fleet.first.grpc().nodes().await.unwrap();
    let connected = listed.nodes.iter().filter(|node| node.connected);
    assert_eq!(connected.count(), 2);
}

/// Calls one after another on several tasks, and the statuses other than 200.
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    pub fn start(plane: &Plane, key: &str, tasks: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let tasks = (0..tasks)
            .map(|_| {
                let url = format!("{}/v1/chat/completions", plane.node.base);
                let (stop, served, key) = (Arc::clone(&stop), Arc::clone(&served), key.to_owned());
                tokio::spawn(call_until(url, key, stop, served))
            })
            .collect();
        Self {
            stop,
            served,
            tasks,
        }
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.unwrap());
        }
        (self.served.load(Ordering::Relaxed), failed)
    }
}

async fn call_until(
    url: String,
    key: String,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
) -> Vec<String> {
    let http = client();
    let body = json!({"model": "house", "messages": [{"role": "user", "content": "hi"}]});
    let mut failed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let answer = http.post(&url).bearer_auth(&key).json(&body).send().await;
        match answer {
            Ok(answer) if answer.status() == 200 => {
                answer.bytes().await.unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failed.push(format!(
                "{}: {}",
                answer.status(),
                answer.text().await.unwrap()
            )),
            Err(error) => failed.push(error.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failed
}

/// Takes the replica that a data plane watches away, and returns which calls it cost.
async fn take_away(signal: &str) {
    let Some(mut fleet) = Replicas::start().await else {
        return;
    };
    let plane = fleet
        .plane("both", &[&fleet.first.node, &fleet.second])
        .await;
    let load = Load::start(&plane, &fleet.key, 4);
    until("calls are served", async || load.served() > 50).await;
    let gone = fleet.watched();
    let is_first = std::ptr::eq(gone, &raw const fleet.first.node);
    gone.signal(signal);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = load.served();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = load.served();
    gone.signal("CONT");
    let (served, failed) = load.end().await;
    assert!(
        failed.is_empty(),
        "{} of {served}: {:?}",
        failed.len(),
        failed.first()
    );
    assert!(after > before, "nothing was served by the other replica");
    // All that was served is on the books, once.
    if signal != "STOP" && is_first {
        fleet.first.restart_in_place().await;
    }
    fleet.first.posted("alice", served as u64).await;
    fleet.first.grpc().verify_books().await;
    assert_eq!(fleet.upstream.count(UP), served);
}

#[tokio::test]
async fn a_frozen_replica_is_left_without_a_refused_call() {
    take_away("STOP").await;
}

#[tokio::test]
async fn a_killed_replica_is_left_without_a_refused_call() {
    take_away("KILL").await;
}

#[tokio::test]
async fn a_replica_that_stops_is_left_without_a_refused_call() {
    take_away("TERM").await;
}

#[tokio::test]
async fn a_second_data_plane_of_one_name_is_refused_and_the_first_goes_on() {
    let control = World::control(&[("NODE_TOKEN", TOKEN)]).await;
    let first = Plane::start(&control, "twin", &[]).await;
    let dir = TempDir::new().unwrap();
    let env = [
        ("CONTROL_GRPC", format!("http://{}", control.node.grpc)),
        ("NODE_TOKEN", TOKEN.to_owned()),
        ("NODE_NAME", "twin".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value));
    let second = Node::launch(Some("dataplane"), dir.path(), &env).await;
    until("the refusal is in the log", async || {
        second.log().contains("NODE_NAME")
    })
    .await;
    let ready = async |node: &Node| {
        let answer = control.http.get(format!("{}/readyz", node.base)).send();
        answer.await.unwrap().status()
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ready(&first.node).await, 200);
    assert_eq!(ready(&second).await, 503);
    // Once the first is gone, its name is free.
    first.node.signal("KILL");
    until("the second takes over", async || {
        ready(&second).await == 200
    })
    .await;
    let unknown = "sk-XvsNobodyNobodyNobodyNobodyNobodyNobodyNobody12";
    refused(
        second.chat(&control.http, unknown, "house").await,
        401,
        "invalid_api_key",
    )
    .await;
}

#[tokio::test]
async fn an_account_in_steady_use_goes_on_while_control_is_away() {
    let mut control = World::control(&[("NODE_TOKEN", TOKEN), ("PRICING", PRICING)]).await;
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    control.add_key(UP, &upstream.base).await;
    let key = control.add_account("alice", 100.0).await;
    let plane = Plane::start(&control, "island", &[]).await;
    let load = Load::start(&plane, &key, 4);
    // The lease follows what is spent, in steps.
    tokio::time::sleep(Duration::from_secs(7)).await;
    control.kill().await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (served, failed) = load.end().await;
    assert!(
        failed.is_empty(),
        "{} of {served}: {:?}",
        failed.len(),
        failed.first()
    );
    control.restart_in_place().await;
    control.posted("alice", served as u64).await;
    control.grpc().verify_books().await;
}
