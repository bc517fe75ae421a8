//! Starting, stopping, restarting, and what the program prints meanwhile.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use tempfile::TempDir;

use proxyxai_contract::wire::Measure;
use serde_json::{Value, json};

use crate::{
    prices::today,
    upstream::{Script, Upstream, event, invalid_key, status},
    world::{Node, ROOT, World, client, run_to_end, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

async fn world_with(env: &[(&str, &str)], script: Script) -> (World, Upstream, String) {
    let (world, upstream) = (World::with(env).await, Upstream::start().await);
    upstream.script(UP, script);
    world.add_key(UP, &upstream.base).await;
    let key = world.add_account("alice", 100.0).await;
    (world, upstream, key)
}

/// The client key in a text, if there is one.
fn client_key(text: &str) -> Option<String> {
    let at = text.find("sk-Xvs")?;
    Some(
        text[at..]
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
            .collect(),
    )
}

#[tokio::test]
async fn the_first_start_shows_the_root_key_once_and_keeps_it_in_a_private_file() {
    let mut world = World::bare(None, &[]).await;
    until("the next commands are shown", async || {
        world.node.out().contains("/x-users")
    })
    .await;
    let out = world.node.out();
    let key = client_key(&out).expect("a root key is shown");
    assert_eq!(key.len(), 51);
    assert!(
        out.contains(&format!("curl {}/x-keys", world.node.base)),
        "{out}"
    );
    let file = world.dir().join("root.key");
    let again = format!("cat {}", file.display());
    assert!(out.contains(&again), "{out}");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), key);
    for name in ["root.key", "master.key", "node.token"] {
        let mode = std::fs::metadata(world.dir().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(
        !world.node.log().contains(&key),
        "a key has no place in a log"
    );
    let may = async |world: &World| {
        world
            .http
            .get(world.url("/x-keys"))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(may(&world).await, 200);
    for restart in ["TERM", "KILL"] {
        world.node.signal(restart);
        world.node.ended().await;
        world.restart().await;
        assert_eq!(may(&world).await, 200, "after {restart}");
        assert_eq!(client_key(&world.node.out()), None, "it is not shown again");
        until("it is said where it is kept", async || {
            world.node.out().contains(&again)
        })
        .await;
    }
}

/// Runs the program as a user who is not root and owns nothing.
fn as_somebody(dir: &Path, role: Option<&str>, listen: &str) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_proxyxai");
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = if is_root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=10001", "--regid=10001", "--clear-groups", program]);
        command
    } else {
        Command::new(program)
    };
    let command = command.args(role).env_clear().env("DATA_DIR", dir);
    let places = [
        ("PATH", "/usr/bin:/bin"),
        ("LISTEN", listen),
        ("GRPC_LISTEN", "127.0.0.1:0"),
    ];
    command.envs(places).output().unwrap()
}

#[test]
fn a_data_directory_of_somebody_else_is_named_with_its_owner_and_the_way_to_mend_it() {
    let dir = TempDir::new().unwrap();
    // As root, change the owner; as another user, remove the permissions.
    let close = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = dir.path().join("proxyxai.db");
    let (dir, file) = (dir.path(), file.as_path());
    std::fs::write(file, "").unwrap();
    for (path, modes) in [(dir, (0o500, 0o400)), (file, (0o777, 0o400))] {
        close(file, modes.1);
        close(dir, modes.0);
        let ended = as_somebody(dir, None, "127.0.0.1:0");
        close(dir, 0o700);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(64), "{said}");
        let owner = std::fs::metadata(path).unwrap();
        let owner = format!(
            "{} belongs to {}:{}, ",
            path.display(),
            owner.uid(),
            owner.gid()
        );
        assert!(said.contains(&owner), "{said}");
        let mends = [
            format!("chown -R 10001:10001 {}", dir.display()),
            format!("chmod -R u+rwX {}", dir.display()),
        ];
        assert!(mends.iter().any(|mend| said.contains(mend)), "{said}");
    }
}

#[test]
fn secrets_that_are_closed_to_writing_are_in_nobodys_way() {
    let dir = TempDir::new().unwrap();
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let put = |name: &str, text: &str, mode| {
        let path = dir.path().join(name);
        let _earlier = std::fs::remove_file(&path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if is_root {
            std::os::unix::fs::chown(&path, Some(10001), Some(10001)).unwrap();
        }
    };
    if is_root {
        std::os::unix::fs::chown(dir.path(), Some(10001), Some(10001)).unwrap();
    }
    let secret = "0123456789abcdef".repeat(4);
    for name in ["master.key", "root.key", "node.token", "backup.db"] {
        put(name, &secret, 0o400);
    }
    let ended = |listen: &str| {
        let ended = as_somebody(dir.path(), None, listen);
        let said = String::from_utf8(ended.stderr).unwrap();
        (ended.status.code().unwrap(), said)
    };
    // These files did not cause the failure.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = ended(&busy.local_addr().unwrap().to_string());
    assert!(said.contains("cannot be listened on"), "{said}");
    assert!(code == 1 && !said.contains("belongs to"), "{code}: {said}");
    put("master.key", "cut off", 0o400);
    let (code, said) = ended("127.0.0.1:0");
    assert!(said.contains("holds no usable key"), "{said}");
    assert!(code == 64 && !said.contains("belongs to"), "{code}: {said}");
    // A file that cannot be read did.
    for name in ["master.key", "node.token"] {
        put(name, &secret, 0o000);
        let (code, said) = ended("127.0.0.1:0");
        let way_out = "and may not read there. Mend it with: chmod -R u+rwX";
        assert!(code == 64 && said.contains(way_out), "{code}: {said}");
        put(name, &secret, 0o400);
    }
}

#[tokio::test]
async fn a_rotated_root_key_is_in_its_file_and_a_stale_file_is_not_called_the_place_of_it() {
    let mut world = World::bare(None, &[]).await;
    let file = world.dir().join("root.key");
    let read = || std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let first = read();
    let confirm = format!("{}-ROTATE-ROOT", today());
    let rotate = world
        .http
        .post(world.url("/x-root"))
        .bearer_auth(&first)
        .json(&json!({"confirm": confirm}));
    let answer: Value = rotate.send().await.unwrap().json().await.unwrap();
    let key = answer["rotate"]["key"].as_str().unwrap();
    assert_eq!(read(), key, "{answer}");
    let cat = format!("cat {}", file.display());
    for (kept, shown) in [(key, true), (first.as_str(), false)] {
        std::fs::write(&file, kept).unwrap();
        world.node.signal("TERM");
        world.node.ended().await;
        world.restart().await;
        until("it is said what the file is good for", async || {
            let out = world.node.out();
            out.contains(&cat) || out.contains("holds an earlier root key")
        })
        .await;
        assert_eq!(world.node.out().contains(&cat), shown);
    }
}

#[tokio::test]
async fn a_given_root_key_is_not_shown_in_either_spelling() {
    for colons in ["::", ":"] {
        let users = format!("root{colons}root@example.com{colons}{ROOT}");
        let world = World::bare(None, &[("INIT_USERS", &users)]).await;
        assert_eq!(
            world.read("/dashboard/info").await["email"],
            "root@example.com"
        );
        assert_eq!(client_key(&world.node.out()), None);
        assert!(!world.dir().join("root.key").exists());
    }
}

#[tokio::test]
async fn keys_accounts_settings_and_usage_are_there_after_a_restart_of_any_kind() {
    let (mut world, upstream, key) = world_with(&[], Script::Chat).await;
    let own = json!({"Name": "team-one", "Email": "team@example.com", "CreditGranted": 30});
    let answer = world
        .http
        .post(world.url("/x-users"))
        .bearer_auth(&key)
        .json(&own)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "a child has children of its own");
    world
        .change(
            "alice",
            json!({"AllowModels": "house gpt-4o", "HardLimit": 70, "Level": 0, "Gear": 2}),
        )
        .await;
    world
        .conf(json!({"ModelMapper": "gpt-4=gpt-4o", "LevelMapper": "o3=1", "SwitchOver": "1=0"}))
        .await;
    world.add_key_with(json!({"SecretKey": "sk-second-0123456789abcdef", "Provider": "https://api.example.com/v1", "Level": 3, "Name": "spare", "Config": {"provider_type": "azure"}})).await;
    for _ in 0..3 {
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
    }
    world.posted("alice", 3).await;
    let everything = async |world: &World| {
        let mut all = Vec::new();
        for path in ["/x-keys", "/x-dna", "/x-conf"] {
            all.push(world.read(path).await);
        }
        (all, world.grpc().usage("alice").await)
    };
    let mut calls = 3;
    for restart in ["TERM", "KILL", "INT"] {
        let before = everything(&world).await;
        world.node.signal(restart);
        world.node.ended().await;
        world.restart().await;
        assert_eq!(everything(&world).await, before, "after {restart}");
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        calls += 1;
        world.posted("alice", calls).await;
        assert_eq!(upstream.count(UP) as u64, calls);
    }
}

#[tokio::test]
async fn told_to_stop_it_lets_streams_finish_and_takes_no_new_work() {
    let script = Script::Stream {
        chunks: vec![event("{}"); 20],
        pause: Duration::from_millis(50),
        breaks: false,
    };
    let (mut world, _upstream, key) = world_with(&[], script).await;
    // An idle keep-alive connection must not delay the shutdown.
    let idle = client();
    assert_eq!(
        idle.get(world.url("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let mut answer = world.chat_stream(&key, "house").await;
    let mut text = answer.chunk().await.unwrap().unwrap().to_vec();
    world.node.signal("TERM");
    let address = world.node.base.trim_start_matches("http://").to_owned();
    until("no connection is accepted", async || {
        tokio::net::TcpStream::connect(&address).await.is_err()
    })
    .await;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
    }
    assert_eq!(text, event("{}").repeat(20));
    let finished = Instant::now();
    assert_eq!(world.node.ended().await.code(), Some(0));
    assert!(
        finished.elapsed() < Duration::from_secs(6),
        "{:?} after the last stream",
        finished.elapsed()
    );
    world.restart().await;
    world.posted("alice", 1).await;
    let record = world.grpc().usage("alice").await.remove(0).record.unwrap();
    assert_ne!(record.measure(), Measure::Partial);
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once() {
    let (mut world, ..) = world_with(&[], Script::Chat).await;
    let start = Instant::now();
    world.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_bad_configuration_lists_every_problem_and_exits_with_64() {
    let bad = [
        ("LISTEN", "nowhere"),
        ("GRPC_PORT", "70000"),
        ("DATABASE_URL", "mysql://h/d"),
        ("MASTER_KEY", "hidden-short"),
        ("NODE_TOKEN", "hidden-token"),
        ("NODE_NAME", "No Name"),
        ("CONTROL_HTTP", "ftp://h"),
        ("INIT_USERS", "root::mail"),
        ("INIT_KEYS", "tooshort"),
        ("MODEL_MAPPER", "nonsense"),
        ("LEVEL_MAPPER", "a=11"),
        ("SWITCH_OVER", "1"),
        ("PRICING", "[]"),
        ("UNPRICED", "maybe"),
        ("CALL_MIN_BALANCE", "much"),
        ("TZ", "Nowhere/City"),
        ("BODY_BYTES_MAX", "1"),
        ("IDLE_TIMEOUT_MS", "0"),
        ("TRUSTED_PROXIES", "300.1.1.1"),
        ("LOG_FORMAT", "xml"),
    ];
    for role in [None, Some("control"), Some("dataplane")] {
        let (code, out, log) = run_to_end(role, &bad);
        assert_eq!(code, 64, "{role:?}: {log}");
        for (name, _) in bad {
            assert!(
                log.lines().any(|line| line.contains(name)),
                "{name} is not named:\n{log}"
            );
        }
        assert!(!log.contains("hidden") && !out.contains("hidden"), "{log}");
    }
}

#[test]
fn a_data_plane_without_what_it_needs_says_so() {
    let (code, _, log) = run_to_end(Some("dataplane"), &[]);
    assert_ne!(code, 0);
    assert!(log.contains("CONTROL_GRPC"), "{log}");
}

#[tokio::test]
async fn variables_of_the_original_that_nothing_acts_on_are_logged_once_by_name() {
    let given = [
        ("STATS_INTERVAL", "100"),
        ("REDIS_ADDR", "redis:6379"),
        ("REDIS_PASS", "hidden"),
        ("SINGLE_MODE", "true"),
        ("SINGLE_TENANT", "true"),
    ];
    let world = World::with(&given).await;
    for (name, _) in given {
        assert_eq!(
            world.node.log().matches(name).count(),
            1,
            "{name}:\n{}",
            world.node.log()
        );
    }
    assert!(!world.node.log().contains("hidden"));
}

#[tokio::test]
async fn the_originals_variables_are_understood() {
    let upstream = Upstream::start().await;
    upstream.script(UP, Script::Chat);
    let base = upstream.base.as_str();
    let keys = format!("{UP}::{base}, sk-second-0123456789abcdef");
    let env = [
        ("INIT_KEYS", keys.as_str()),
        ("OPENAI_API_BASE", base),
        ("MODEL_MAPPER", "gpt-3.5*=gpt-4o-mini, gpt-4=gpt-4o"),
        ("TZ", "Asia/Shanghai"),
        ("STATS_INTERVAL", "100"),
    ];
    let world = World::with(&env).await;
    let listed = world.read("/x-keys").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for row in listed.as_array().unwrap() {
        assert_eq!(
            row["Provider"].as_str().unwrap().trim_end_matches('/'),
            base
        );
        assert_eq!(row["SecretKey"], "***");
        assert!(
            row["CreatedAt"].as_str().unwrap().ends_with("+08:00"),
            "{row}"
        );
    }
    let key = world.add_account("alice", 100.0).await;
    upstream.script("sk-second-0123456789abcdef", Script::Chat);
    assert_eq!(world.chat(&key, "gpt-3.5-turbo").await.status(), 200);
    let body: Value = serde_json::from_slice(&upstream.seen_all()[0].body).unwrap();
    assert_eq!(body["model"], "gpt-4o-mini");
}

#[tokio::test]
async fn the_healthcheck_role_tells_a_running_gateway_from_none() {
    let world = World::start().await;
    let address = world.node.base.trim_start_matches("http://").to_owned();
    let check = async |address: String| {
        tokio::task::spawn_blocking(move || {
            run_to_end(Some("healthcheck"), &[("LISTEN", &address)]).0
        })
        .await
        .unwrap()
    };
    assert_eq!(check(address).await, 0);
    assert_ne!(check("127.0.0.1:1".to_owned()).await, 0);
}

#[test]
fn the_allocator_is_the_one_that_was_chosen() {
    let (_, _, said) = run_to_end(Some("config-table"), &[("MIMALLOC_VERBOSE", "1")]);
    assert!(said.contains("mimalloc: process init"), "{said}");
}

#[test]
fn the_table_of_variables_is_the_one_the_program_prints() {
    let (code, table, _) = run_to_end(Some("config-table"), &[]);
    assert_eq!(code, 0);
    // Printed links are relative to the repository's root, those of a document to its own folder.
    let table = table.replace("](docs/", "](");
    let name = "docs/configuration.md";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    let text = std::fs::read_to_string(path).expect(name);
    let (_, rest) = text
        .split_once("<!-- config-table -->")
        .expect("the mark before the table");
    let (shown, _) = rest
        .split_once("<!-- /config-table -->")
        .expect("the mark after the table");
    assert!(
        shown.trim() == table.trim(),
        "{name}: put the output of `proxyxai config-table` between the marks, without `docs/` in links"
    );
}

#[tokio::test]
async fn the_first_start_listens_soon() {
    let dir = TempDir::new().unwrap();
    let start = Instant::now();
    let node = Node::launch(None, dir.path(), &[]).await;
    let took = start.elapsed();
    let most = if cfg!(debug_assertions) {
        Duration::from_secs(5)
    } else {
        Duration::from_millis(300)
    };
    assert!(took <= most, "{took:?} until {}", node.base);
}

const PLANTED: [(&str, &str); 2] = [
    ("MASTER_KEY", "planted-master-key-0123456789"),
    ("NODE_TOKEN", "planted-node-token-0123456789"),
];

/// Success, refusals, failures and changes: everything that writes log lines.
async fn a_full_run(world: &World, data: &Node, upstream: &Upstream) -> Vec<String> {
    let secrets = [
        "sk-planted-good-0123456789",
        "sk-planted-dead-0123456789",
        "sk-planted-sick-0123456789",
    ];
    for (secret, script) in secrets
        .into_iter()
        .zip([Script::Chat, invalid_key(), status(500)])
    {
        upstream.script(secret, script);
        world.add_key(secret, &upstream.base).await;
    }
    let key = world.add_account("alice", 100.0).await;
    for _ in 0..6 {
        assert_eq!(data.chat(&world.http, &key, "gpt-4o").await.status(), 200);
    }
    upstream.script(
        secrets[0],
        Script::Stream {
            chunks: vec![event("{}")],
            pause: Duration::ZERO,
            breaks: true,
        },
    );
    let body = json!({"model": "gpt-4o", "stream": true});
    let broken = world
        .http
        .post(format!("{}/v1/chat/completions", data.base))
        .header("x-api-key", &key)
        .json(&body);
    let _broken = broken.send().await.unwrap().bytes().await;
    assert_eq!(
        data.chat(&world.http, "sk-XvsPlantedWrongKey0123456789", "gpt-4o")
            .await
            .status(),
        401
    );
    let refused = json!({"SecretKey": "sk-planted-refused-0123456789", "Provider": "https://planted-user:planted-pass@h"});
    assert_eq!(
        world
            .root(world.http.post(world.url("/x-keys")).json(&refused))
            .await
            .status(),
        400
    );
    let garbage = world
        .http
        .post(world.url("/x-keys"))
        .body(r#"{"SecretKey":"sk-planted-garbage-0123456789""#);
    assert_eq!(world.root(garbage).await.status(), 400);
    world.change("alice", json!({"Status": false})).await;
    assert_eq!(data.chat(&world.http, &key, "gpt-4o").await.status(), 401);
    world.grpc().usage("alice").await;
    world.grpc().nodes().await.unwrap();
    let mut planted: Vec<_> = secrets.into_iter().map(str::to_owned).collect();
    planted.extend(PLANTED.map(|(_, secret)| secret.to_owned()));
    planted.extend([
        key,
        ROOT.to_owned(),
        "planted-pass".to_owned(),
        "sk-planted-".to_owned(),
        "PlantedWrongKey".to_owned(),
    ]);
    planted
}

fn spoken(text: &str, planted: &[String]) {
    assert!(!text.is_empty());
    for secret in planted {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret is in the log");
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_of_a_full_run_nor_in_clear_on_disk() {
    let env = [
        &PLANTED[..],
        &[("RUST_LOG", "debug"), ("RETRY_DEADLINE_MS", "300")],
    ]
    .concat();
    let (mut world, upstream) = (World::with(&env).await, Upstream::start().await);
    let planted = a_full_run(&world, &world.node, &upstream).await;
    world.stop().await;
    spoken(&world.node.log(), &planted);
    spoken(&world.node.out(), &planted);
    // The refused secrets never got near it, and the two given by variable must not be stored.
    for entry in std::fs::read_dir(world.dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in &planted {
            let found = memchr_of(&bytes, secret.as_bytes());
            assert!(!found, "{secret} stands in {}", path.display());
        }
    }
}

fn memchr_of(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn no_secret_is_in_the_logs_of_the_roles_apart() {
    let env = [&PLANTED[..], &[("RUST_LOG", "debug")]].concat();
    let (mut control, upstream) = (World::control(&env).await, Upstream::start().await);
    let dir = TempDir::new().unwrap();
    let address = format!("http://{}", control.node.grpc);
    let env = [
        ("CONTROL_GRPC", address.as_str()),
        ("CONTROL_HTTP", &control.node.base),
        PLANTED[1],
        ("NODE_NAME", "plane-a"),
        ("RUST_LOG", "debug"),
        ("LOG_FORMAT", "json"),
        ("RETRY_DEADLINE_MS", "300"),
    ];
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut data = Node::start(Some("dataplane"), dir.path(), &env).await;
    let planted = a_full_run(&control, &data, &upstream).await;
    data.signal("TERM");
    assert_eq!(data.ended().await.code(), Some(0));
    control.stop().await;
    spoken(&data.log(), &planted);
    spoken(&control.node.log(), &planted);
    for line in data.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
