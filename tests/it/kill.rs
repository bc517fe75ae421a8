//! `kill -9` at random moments under load: each call that an upstream got is recorded once, and a response that a
//! client got whole is charged to the token.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

use fastrand::Rng;
use futures_util::future::join_all;
use proxyxai_contract::wire::{self, Measure, fleet_client::FleetClient};
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, tagged_usage},
    world::{Node, World, client, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const TOKEN: &str = "the-node-token-of-the-tests";
const NODE: &str = "plane-a";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
const ROUNDS: u64 = 50;
const CLIENTS: usize = 6;
/// The properties are checked after this many rounds.
const CHECKED_ROUNDS: u64 = 10;

/// One control plane and one data plane that restart on their ports.
struct Fleet {
    control: World,
    plane: Node,
    dir: TempDir,
    env: Vec<(String, String)>,
    upstream: Upstream,
}

impl Fleet {
    async fn start() -> Self {
        let control = World::control(&[("NODE_TOKEN", TOKEN), ("PRICING", PRICING)]).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Tagged);
        control.add_key(UP, &upstream.base).await;
        let dir = TempDir::new().unwrap();
        let grpc = format!("http://{}", control.node.grpc);
        let env = [
            ("CONTROL_GRPC", grpc.as_str()),
            ("NODE_TOKEN", TOKEN),
            ("NODE_NAME", NODE),
            ("RETRY_DEADLINE_MS", "300"),
        ];
        let mut env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let plane = Node::start(Some("dataplane"), dir.path(), &env).await;
        let listen = plane.base.trim_start_matches("http://").to_owned();
        env.push(("LISTEN".to_owned(), listen));
        Self {
            control,
            plane,
            dir,
            env,
            upstream,
        }
    }

    async fn kill_and_restart(&mut self, control: bool, plane: bool, rng: &mut Rng) {
        if control {
            self.control.kill().await;
        }
        if plane {
            self.plane.kill().await;
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..30))).await;
        if control {
            self.control.restart_in_place().await;
        }
        if plane {
            self.plane = Node::start(Some("dataplane"), self.dir.path(), &self.env).await;
        }
    }
}

/// What the clients have seen.
#[derive(Default)]
struct Load {
    next: AtomicU64,
    stop: AtomicBool,
    /// Calls whose response arrived whole.
    whole: Mutex<BTreeSet<u64>>,
}

/// Makes calls one after the other until told to stop.
async fn customer(load: Arc<Load>, base: String, key: String) {
    let http = client();
    while !load.stop.load(Ordering::Relaxed) {
        let id = load.next.fetch_add(1, Ordering::Relaxed);
        let streamed = id.is_multiple_of(2);
        let body = json!({
            "model": "house", "stream": streamed, "max_tokens": 64,
            "messages": [{"role": "user", "content": format!("call {id}")}],
        });
        let request = http
            .post(format!("{base}/v1/chat/completions"))
            .header("x-request-id", format!("call-{id}"))
            .bearer_auth(&key)
            .json(&body);
        let text = match request.send().await {
            Ok(answer) if answer.status() == 200 => answer.text().await.unwrap_or_default(),
            Ok(_) | Err(_) => String::new(),
        };
        let whole = if streamed {
            text.contains("data: [DONE]")
        } else {
            serde_json::from_str::<Value>(&text).is_ok()
        };
        if whole {
            load.whole.lock().unwrap().insert(id);
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn id_of(text: &str) -> u64 {
    let digits = text.trim_start_matches("call-");
    digits.parse().unwrap_or_else(|_| panic!("no call: {text}"))
}

/// Reports some records again that control has, with the batches in any order.
async fn report_again(fleet: &Fleet, rng: &mut Rng) {
    let mut by_epoch: BTreeMap<u64, Vec<wire::UsageRecord>> = BTreeMap::new();
    for posted in fleet.control.grpc().usage_all("alice").await {
        by_epoch
            .entry(posted.epoch)
            .or_default()
            .extend(posted.record);
    }
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", fleet.control.node.grpc))
            .unwrap()
            .connect_lazy();
    for (epoch, mut records) in by_epoch {
        records.retain(|_| rng.bool());
        records.sort_by_key(|record| record.sequence);
        let mut batches: Vec<_> = records.chunks(7).map(<[_]>::to_vec).collect();
        rng.shuffle(&mut batches);
        for records in batches.into_iter().take(6) {
            let mut report = tonic::Request::new(wire::ReportUsageRequest {
                node: NODE.to_owned(),
                epoch,
                records,
            });
            let bearer = format!("Bearer {TOKEN}").parse().unwrap();
            report.metadata_mut().insert("authorization", bearer);
            FleetClient::new(channel.clone())
                .report_usage(report)
                .await
                .unwrap();
        }
    }
}

/// The calls that the upstream got, by their own numbers.
fn served(fleet: &Fleet) -> BTreeSet<u64> {
    let mut ids = BTreeSet::new();
    for seen in fleet.upstream.seen(UP) {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        let text = body["messages"][0]["content"].as_str().unwrap();
        assert!(
            ids.insert(text.trim_start_matches("call ").parse().unwrap()),
            "{text} was sent twice"
        );
    }
    ids
}

async fn check(fleet: &Fleet, load: &Load) {
    let served = served(fleet);
    let mut missing = BTreeSet::new();
    until("every call is on record", async || {
        let records = fleet.control.grpc().usage_all("alice").await;
        let on_record: BTreeSet<_> = records
            .iter()
            .map(|posted| id_of(&posted.record.as_ref().unwrap().request_id))
            .collect();
        missing = served.difference(&on_record).copied().collect();
        missing.is_empty()
    })
    .await;
    // A report may be sent twice; its records must not be posted twice.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let records = fleet.control.grpc().usage_all("alice").await;
    let mut by_id: HashMap<u64, wire::UsageRecord> = HashMap::new();
    let mut sequences = BTreeSet::new();
    let mut cost = 0;
    for posted in records {
        let record = posted.record.unwrap();
        assert!(sequences.insert((posted.node, posted.epoch, record.sequence)));
        cost += record.cost_nanos;
        let id = id_of(&record.request_id);
        let tokens = record.tokens.unwrap_or_default();
        assert_eq!(
            record.cost_nanos,
            tokens.input * 2500 + tokens.output * 10_000,
            "call {id}"
        );
        assert!(
            by_id.insert(id, record).is_none(),
            "call {id} is on record twice"
        );
    }
    for id in load.whole.lock().unwrap().iter() {
        assert!(served.contains(id), "call {id} was never served");
        let record = &by_id[id];
        let tokens = record.tokens.unwrap_or_default();
        assert_eq!(
            (
                record.status,
                record.measure(),
                (tokens.input, tokens.output)
            ),
            (200, Measure::Measured, tagged_usage(*id)),
            "call {id} was seen whole"
        );
    }
    for (id, record) in &by_id {
        // Journaled before it was sent, and killed in between.
        assert!(
            served.contains(id) || (record.status, record.measure()) == (499, Measure::Partial),
            "call {id} was never served: {record:?}"
        );
    }
    let account = fleet.control.grpc().account("alice").await;
    assert_eq!(account.credit_used_nanos, cost);
    fleet.control.grpc().verify_books().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_call_is_on_record_once() {
    let number = |name| std::env::var_os(name)?.into_string().ok()?.parse().ok();
    let rounds = number("PROXYXAI_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("PROXYXAI_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("PROXYXAI_KILL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut fleet = Fleet::start().await;
    let key = fleet.control.add_account("alice", 1000.0).await;
    let load = Arc::new(Load::default());
    let mut killed = [0; 3];
    for round in 1..=rounds {
        load.stop.store(false, Ordering::Relaxed);
        let customers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let base = fleet.plane.base.clone();
                tokio::spawn(customer(Arc::clone(&load), base, key.clone()))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(rng.u64(20..250))).await;
        let what = rng.usize(..3);
        killed[what] += 1;
        fleet.kill_and_restart(what != 1, what != 0, &mut rng).await;
        load.stop.store(true, Ordering::Relaxed);
        for ended in join_all(customers).await {
            ended.unwrap();
        }
        report_again(&fleet, &mut rng).await;
        if round.is_multiple_of(CHECKED_ROUNDS) || round == rounds {
            check(&fleet, &load).await;
        }
    }
    let (whole, served) = (load.whole.lock().unwrap().len(), served(&fleet).len());
    println!("{rounds} rounds, killed {killed:?}: {served} calls served, {whole} seen whole");
    assert!(whole as u64 >= rounds, "the load was none: {whole} calls");
}
