//! A gateway in a world of its own: the built binary on free ports, with a directory and, when
//! `TEST_DATABASE_URL` names a PostgreSQL server, a database of its own.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

/// The root key of every world.
pub const ROOT: &str = "sk-XvsRootRootRootRootRootRootRootRootRootRootRoot12345";

const START_MAX: Duration = Duration::from_secs(20);

/// A running process of the gateway.
pub struct Node {
    pub base: String,
    pub grpc: String,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// A gateway with its directory and database.
pub struct World {
    pub node: Node,
    pub http: reqwest::Client,
    dir: TempDir,
    database: Option<String>,
    env: Vec<(String, String)>,
}

impl World {
    /// An all-in-one gateway with the root key `ROOT`.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with further variables.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        let dir = TempDir::new();
        let database = database().await;
        let mut all = vec![("INIT_USERS".to_owned(), format!("root::root@example.com::{ROOT}"))];
        if let Some(url) = &database {
            all.push(("DATABASE_URL".to_owned(), url.clone()));
        }
        all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let node = Node::start(None, dir.path(), &all).await;
        Self { node, http: client(), dir, database, env: all }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The database URL, when it is not SQLite.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// Starts the gateway again over what the one before left.
    pub async fn restart(&mut self) {
        self.node = Node::start(None, self.dir.path(), &self.env).await;
    }

    /// Adds an upstream key and returns its id.
    pub async fn add_key(&self, secret: &str, provider: &str) -> i64 {
        self.add_key_with(json!({"SecretKey": secret, "Provider": provider})).await
    }

    /// Adds an upstream key by its JSON body.
    pub async fn add_key_with(&self, body: Value) -> i64 {
        let answer = self.root(self.http.post(self.url("/x-keys")).json(&body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        answer["Key"]["ID"].as_i64().unwrap()
    }

    /// Creates a child of root with this much credit and returns its key.
    pub async fn add_account(&self, name: &str, credit: f64) -> String {
        let body = json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": credit});
        let answer = self.root(self.http.post(self.url("/x-users")).json(&body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        answer["User"]["SecretKey"].as_str().unwrap().to_owned()
    }

    /// Sends as root.
    pub async fn root(&self, request: RequestBuilder) -> Response {
        request.bearer_auth(ROOT).send().await.unwrap()
    }

    /// Changes the system's configuration by `/x-conf`.
    pub async fn conf(&self, body: Value) {
        let answer = self.root(self.http.post(self.url("/x-conf")).json(&body)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// A chat call.
    pub async fn chat(&self, key: &str, model: &str) -> Response {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        self.http.post(self.url("/v1/chat/completions")).bearer_auth(key).json(&body).send().await.unwrap()
    }

    /// A row of `/x-users`.
    pub async fn account(&self, name: &str) -> Value {
        let answer = self.root(self.http.get(self.url(&format!("/x-users/{name}")))).await;
        let rows: Value = answer.json().await.unwrap();
        rows[0].clone()
    }

    /// Waits until so many requests of an account are posted.
    pub async fn posted(&self, name: &str, requests: u64) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let account = self.account(name).await;
            if account["Requests"].as_u64() == Some(requests) {
                return account;
            }
            assert!(Instant::now() < deadline, "{name} has {} requests, not {requests}", account["Requests"]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.node.base)
    }
}

impl Node {
    /// Starts a role (none: all in one) on free ports and waits until it is ready.
    pub async fn start(role: Option<&str>, dir: &Path, env: &[(String, String)]) -> Self {
        let mut node = Self::spawn(role, dir, env);
        node.wait_ready(role != Some("control")).await;
        node
    }

    fn spawn(role: Option<&str>, dir: &Path, env: &[(String, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxyxai"));
        command
            .args(role)
            .env_clear()
            .env("LISTEN", "127.0.0.1:0")
            .env("GRPC_LISTEN", "127.0.0.1:0")
            .env("DATA_DIR", dir)
            .env("RUST_LOG", "info,proxyxai=debug,proxyxai_control=debug,proxyxai_dataplane=debug")
            .envs(env.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let errors = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut node = Self { base: String::new(), grpc: String::new(), child, log };
        node.read_addresses(role != Some("dataplane"));
        node
    }

    /// The program prints where it listens; the lines after that are for people.
    fn read_addresses(&mut self, has_grpc: bool) {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        while self.base.is_empty() || (has_grpc && self.grpc.is_empty()) {
            let Some(Ok(line)) = lines.next() else {
                std::thread::sleep(Duration::from_millis(100));
                panic!("the gateway did not start:\n{}", self.log());
            };
            if let Some(base) = line.strip_prefix("ProxyXAI listens on ") {
                self.base = base.to_owned();
            } else if let Some(grpc) = line.strip_prefix("gRPC on ") {
                self.grpc = grpc.to_owned();
            }
        }
        // Keeps the pipe open, so that later lines do not end the program.
        std::thread::spawn(move || lines.for_each(drop));
    }

    async fn wait_ready(&mut self, data_plane: bool) {
        let path = if data_plane { "/readyz" } else { "/healthz" };
        let deadline = Instant::now() + START_MAX;
        let http = client();
        while http.get(format!("{}{path}", self.base)).send().await.is_ok_and(|answer| answer.status() != 200) {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint_log(&self.log());
        }
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[expect(clippy::print_stderr, reason = "shown by the test runner when a test fails")]
fn eprint_log(log: &str) {
    let lines: Vec<_> = log.lines().collect();
    eprintln!("--- the gateway's log ---\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
}

/// A client that keeps to itself: no proxy, no redirects, no retries.
pub fn client() -> reqwest::Client {
    // Set once for all tests; the second time it is there already.
    let _set = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

/// A directory that goes with its owner.
pub struct TempDir(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl TempDir {
    pub fn new() -> Self {
        let name = format!("proxyxai-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A fresh database on the server that `TEST_DATABASE_URL` names; none for SQLite.
async fn database() -> Option<String> {
    let url = std::env::var_os("TEST_DATABASE_URL")?.into_string().unwrap();
    let name = format!("it_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let connection = sea_orm::Database::connect(&url).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    sea_orm::ConnectionTrait::execute_unprepared(&connection, &create).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    Some(format!("{server}/{name}"))
}
