//! Starts that find only their database: containers that lose their `DATA_DIR`, backups restored elsewhere. The master
//! key is generated, and root's client key opens its copy in the database.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

use fastrand::Rng;
use reqwest::Response;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::{
    prices::today,
    upstream::{Script, Upstream},
    world::{Node, ROOT, client, database, run_to_end},
};

const ROUNDS: usize = 4;
const KILLS: usize = 12;

/// A database that stays, and a gateway on it that gets a new directory with each start.
struct Stack {
    /// Directory of the database, if that is a file.
    files: TempDir,
    database: String,
    node: Option<Node>,
    /// Directory of the current or last gateway.
    dir: TempDir,
    http: reqwest::Client,
    /// Root's current client key.
    root: String,
}

impl Stack {
    async fn new() -> Self {
        let files = TempDir::new().unwrap();
        let file = || file_url(&files.path().join("kept.db"));
        Self {
            database: database().await.unwrap_or_else(file),
            files,
            node: None,
            dir: TempDir::new().unwrap(),
            http: client(),
            root: ROOT.to_owned(),
        }
    }

    /// The variables of the gateway besides its directory.
    fn env(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let database = [("DATABASE_URL", self.database.as_str())];
        let all = database.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Starts a gateway with only these variables.
    async fn up(&mut self, env: &[(&str, &str)]) {
        self.dir = TempDir::new().unwrap();
        self.node = Some(Node::start(None, self.dir.path(), &self.env(env)).await);
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().unwrap()
    }

    async fn down(&mut self) {
        self.node().signal("TERM");
        let status = self.node().ended().await;
        assert!(status.success(), "{status}:\n{}", self.node().log());
    }

    /// Posts as root; asserts success.
    async fn post(&mut self, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.node().base);
        let sent = self.http.post(url).bearer_auth(&self.root).json(&body);
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn chat(&mut self, key: &str) -> Response {
        let http = self.http.clone();
        self.node().chat(&http, key, "gpt-4o").await
    }

    /// Adds an upstream key and an account; returns the account's key.
    async fn furnish(&mut self, name: &str, upstream: &Upstream) -> String {
        let secret = format!("sk-upstream-of-{name}-0123456789");
        upstream.script(&secret, Script::Chat);
        let key = json!({"SecretKey": secret, "Provider": upstream.base});
        self.post("/x-keys", key).await;
        let account =
            json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": 50});
        let made = self.post("/x-users", account).await;
        made["User"]["SecretKey"].as_str().unwrap().to_owned()
    }

    /// Rotates root's key, by `/x-root` and `/x-self` in turn.
    async fn rotate(&mut self, turn: usize) {
        let (path, word) = [("/x-root", "ROTATE-ROOT"), ("/x-self", "ROTATE-SELF")][turn % 2];
        let confirm = format!("{}-{word}", today());
        let rotated = self.post(path, json!({"confirm": confirm})).await;
        rotated["rotate"]["key"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.root);
    }
}

fn file_url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

fn users(root: &str) -> String {
    format!("root::root@example.com::{root}")
}

#[tokio::test]
async fn a_stack_that_keeps_its_database_alone_goes_down_and_comes_up_again_and_again() {
    let (mut stack, upstream) = (Stack::new().await, Upstream::start().await);
    let users = users(ROOT);
    let env = [("INIT_USERS", users.as_str())];
    let mut keys = Vec::new();
    for round in 0..ROUNDS {
        stack.up(&env).await;
        keys.push(stack.furnish(&format!("team{round}"), &upstream).await);
        for key in &keys {
            assert_eq!(stack.chat(key).await.status(), 200, "round {round}");
        }
        // The keys are used in turn, so each was opened.
        for _ in 0..keys.len() {
            assert_eq!(stack.chat(&keys[0]).await.status(), 200);
        }
        for name in (0..=round).map(|round| format!("team{round}")) {
            let count = upstream.count(&format!("sk-upstream-of-{name}-0123456789"));
            assert!(count > 0, "round {round}: the key of {name} was not used");
        }
        // The compose file still contains the root key of the first day.
        if round > 0 {
            stack.rotate(round).await;
        }
        stack.down().await;
    }
    let log = stack.node().log();
    assert!(!log.contains(ROOT) && !log.contains(&stack.root), "{log}");
}

#[tokio::test]
async fn a_wrong_root_key_ends_the_start_with_64_and_says_what_to_set() {
    let mut stack = Stack::new().await;
    stack.up(&[("INIT_USERS", &users(ROOT))]).await;
    let kept = std::fs::read_to_string(stack.dir.path().join("master.key")).unwrap();
    stack.down().await;
    let wrong = ROOT.replace("12345", "54321");
    let database = stack.database.clone();
    for (name, value) in [("INIT_USERS", users(&wrong)), ("ROOT_KEY", wrong.clone())] {
        for role in [None, Some("control")] {
            let env = [("DATABASE_URL", database.as_str()), (name, &value)];
            let (code, out, log) = run_to_end(role, &env);
            assert_eq!(code, 64, "{log}");
            for word in ["MASTER_KEY", "INIT_USERS", "ROOT_KEY", "master.key"] {
                assert!(log.contains(word), "{log}");
            }
            for secret in [ROOT, &wrong, kept.trim()] {
                assert!(!log.contains(secret) && !out.contains(secret), "{log}");
            }
        }
    }
    // None of that did any harm.
    stack.up(&[("ROOT_KEY", ROOT)]).await;
    stack.down().await;
}

#[tokio::test]
async fn two_controls_that_start_at_once_on_a_new_server_have_one_master_key() {
    for _ in 0..3 {
        let Some(url) = database().await else {
            // A database file belongs to one process.
            return;
        };
        let users = users(ROOT);
        let env = [("DATABASE_URL", url.as_str()), ("INIT_USERS", &users)];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let dirs = [
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
        ];
        let start = |at: usize| Node::start(Some("control"), dirs[at].path(), &env);
        let nodes = tokio::join!(start(0), start(1), start(2));
        let key = |at: usize| std::fs::read_to_string(dirs[at].path().join("master.key")).unwrap();
        assert_eq!([key(0), key(0)], [key(1), key(2)]);
        for node in [nodes.0, nodes.1, nodes.2] {
            let read = client().get(format!("{}/x-users", node.base));
            let answer = read.bearer_auth(ROOT).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_first_start_that_is_killed_leaves_nothing_that_the_next_one_trips_over() {
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let upstream = Upstream::start().await;
    let users = users(ROOT);
    let env = [("INIT_USERS", users.as_str())];
    let mut whole = Duration::from_millis(500);
    for round in 0..KILLS {
        let mut stack = Stack::new().await;
        for _ in 0..rng.usize(1..3) {
            let after = whole.mul_f64(rng.f64());
            Node::cut_short(TempDir::new().unwrap().path(), &stack.env(&env), after).await;
        }
        let began = Instant::now();
        stack.up(&env).await;
        whole = whole.max(began.elapsed()).min(Duration::from_secs(3));
        let key = stack.furnish("alice", &upstream).await;
        let status = stack.chat(&key).await.status();
        assert_eq!(status, 200, "round {round}, seed {seed}");
        stack.down().await;
        stack.up(&env).await;
        let status = stack.chat(&key).await.status();
        assert_eq!(status, 200, "round {round}, seed {seed}");
    }
}

#[tokio::test]
async fn a_killed_first_start_in_a_directory_that_stays_is_simply_done_again() {
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let mut whole = Duration::from_millis(500);
    for round in 0..KILLS {
        let mut stack = Stack::new().await;
        // Nothing is given: the start generates root's key as well.
        let env = stack.env(&[]);
        for _ in 0..rng.usize(1..4) {
            Node::cut_short(stack.dir.path(), &env, whole.mul_f64(rng.f64())).await;
        }
        let began = Instant::now();
        stack.node = Some(Node::start(None, stack.dir.path(), &env).await);
        whole = whole.max(began.elapsed()).min(Duration::from_secs(3));
        let kept = std::fs::read_to_string(stack.dir.path().join("root.key")).unwrap();
        kept.trim().clone_into(&mut stack.root);
        let url = format!("{}/x-keys", stack.node().base);
        let read = stack.http.get(url).bearer_auth(&stack.root);
        let answer = read.send().await.unwrap();
        assert_eq!(answer.status(), 200, "round {round}, seed {seed}");
    }
}

#[tokio::test]
async fn a_backup_of_the_database_and_root_s_key_are_all_that_a_restore_needs() {
    let (mut stack, upstream) = (Stack::new().await, Upstream::start().await);
    stack.up(&[("INIT_USERS", &users(ROOT))]).await;
    let alice = stack.furnish("alice", &upstream).await;
    stack.rotate(0).await;
    // While it is running.
    let restored = match stack.database.strip_prefix("sqlite://") {
        Some(file) => copy_of_file(file, &stack.files.path().join("backup.db")).await,
        None => copy_of_server(&stack.database).await,
    };
    let late = stack.furnish("later", &upstream).await;
    stack.down().await;
    stack.database = restored;
    for (name, value) in [
        ("ROOT_KEY", stack.root.clone()),
        ("INIT_USERS", users(ROOT)),
        ("INIT_USERS", users(&stack.root)),
    ] {
        stack.up(&[(name, &value)]).await;
        assert_eq!(stack.chat(&alice).await.status(), 200, "{name}");
        assert_eq!(stack.chat(&late).await.status(), 401, "{name}");
        stack.down().await;
    }
    // Or the file, or its content.
    let kept = std::fs::read_to_string(stack.dir.path().join("master.key")).unwrap();
    stack.up(&[("MASTER_KEY", kept.trim())]).await;
    assert_eq!(stack.chat(&alice).await.status(), 200);
    stack.down().await;
    let database = stack.database.clone();
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("ROOT_KEY", &stack.root),
    ];
    let (code, _, log) = run_to_end(None, &env);
    assert_eq!(
        code, 64,
        "given once, it is no longer in the database: {log}"
    );
}

#[tokio::test]
async fn a_copy_that_was_removed_is_in_no_byte_of_the_file() {
    let mut stack = Stack::new().await;
    let file = stack.files.path().join("kept.db");
    if !stack.database.ends_with("kept.db") {
        // The pages of a server's database cannot be read.
        return;
    }
    let users = users(ROOT);
    stack.up(&[("INIT_USERS", &users)]).await;
    let master = std::fs::read_to_string(stack.dir.path().join("master.key")).unwrap();
    stack.down().await;
    let server = sea_orm::Database::connect(&stack.database).await.unwrap();
    let copies = sea_orm::Statement::from_string(
        server.get_database_backend(),
        "SELECT sealed FROM master_copy",
    );
    let copies = server.query_all_raw(copies).await.unwrap();
    let copies: Vec<Vec<u8>> = copies
        .iter()
        .map(|row| row.try_get("", "sealed").unwrap())
        .collect();
    server.close().await.unwrap();
    let holds = |copy: &[u8]| {
        let bytes = std::fs::read(&file).unwrap();
        bytes.windows(copy.len()).any(|found| found == copy)
    };
    assert!(!copies.is_empty() && copies.iter().all(|copy| holds(copy)));
    let given = [
        ("INIT_USERS", users.as_str()),
        ("MASTER_KEY", master.trim()),
    ];
    stack.up(&given).await;
    stack.down().await;
    // Writes the log of the database into the file, as a backup has it.
    let server = sea_orm::Database::connect(&stack.database).await.unwrap();
    let flush = "PRAGMA wal_checkpoint(TRUNCATE)";
    server.execute_unprepared(flush).await.unwrap();
    server.close().await.unwrap();
    assert!(!copies.iter().any(|copy| holds(copy)));
}

/// Copies a database file as one consistent state, even during writes.
async fn copy_of_file(file: &str, copy: &Path) -> String {
    let connection = sea_orm::Database::connect(format!("sqlite://{file}"))
        .await
        .unwrap();
    let sql = format!("VACUUM INTO '{}'", copy.display());
    connection.execute_unprepared(&sql).await.unwrap();
    connection.close().await.unwrap();
    file_url(copy)
}

/// Copies a database with the server's own tools.
async fn copy_of_server(url: &str) -> String {
    let restored = database().await.unwrap();
    let mut dump = tool("pg_dump")
        .arg(url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stop = ["--set", "ON_ERROR_STOP=1", "--quiet", "--dbname", &restored];
    let status = tool("psql")
        .args(stop)
        .stdin(dump.stdout.take().unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success() && dump.wait().unwrap().success());
    restored
}

fn tool(name: &str) -> Command {
    let bin = std::env::var_os("TEST_POSTGRES_BIN").map(PathBuf::from);
    Command::new(bin.unwrap_or_default().join(name))
}
