//! A gateway for one test: the built binary on free ports, with its own directory and, if `TEST_DATABASE_URL` names a
//! PostgreSQL server, its own database.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use crate::grpc::Grpc;

/// The root key of every world.
pub const ROOT: &str = "sk-XvsRootRootRootRootRootRootRootRootRootRoot12345";

const START_MAX: Duration = Duration::from_secs(20);

/// A running process of the gateway.
pub struct Node {
    pub base: String,
    /// Address of its gRPC; empty for a data plane.
    pub grpc: String,
    child: Child,
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
}

/// A gateway with its directory and database.
pub struct World {
    pub node: Node,
    pub http: reqwest::Client,
    dir: TempDir,
    role: Option<&'static str>,
    env: Vec<(String, String)>,
}

impl World {
    /// An all-in-one gateway with the root key `ROOT`.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// An all-in-one gateway with further variables.
    pub async fn with(env: &[(&str, &str)]) -> Self {
        let root = format!("root::root@example.com::{ROOT}");
        let env: Vec<_> = [("INIT_USERS", root.as_str())]
            .into_iter()
            .chain(env.iter().copied())
            .collect();
        Self::bare(None, &env).await
    }

    /// Only a control plane, with the root key `ROOT`.
    pub async fn control(env: &[(&str, &str)]) -> Self {
        let root = format!("root::root@example.com::{ROOT}");
        let env: Vec<_> = [("INIT_USERS", root.as_str())]
            .into_iter()
            .chain(env.iter().copied())
            .collect();
        Self::bare(Some("control"), &env).await
    }

    /// A role with only these variables, a directory and, perhaps, a database.
    pub async fn bare(role: Option<&'static str>, env: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut all: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let is_given = all.iter().any(|(name, _)| name == "DATABASE_URL");
        if !is_given && let Some(url) = database().await {
            all.push(("DATABASE_URL".to_owned(), url));
        }
        let node = Node::start(role, dir.path(), &all).await;
        Self {
            node,
            http: client(),
            dir,
            role,
            env: all,
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// URL of its database, unless that is a file in its directory.
    pub fn database_url(&self) -> Option<&str> {
        let given = self.env.iter().find(|(name, _)| name == "DATABASE_URL");
        given.map(|(_, url)| url.as_str())
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Restarts it with the same state, on free ports. Call after the previous process ended.
    pub async fn restart(&mut self) {
        self.node = Node::start(self.role, self.dir.path(), &self.env).await;
    }

    /// Restarts it on the same ports.
    pub async fn restart_in_place(&mut self) {
        let mut env = self.env.clone();
        env.push((
            "LISTEN".to_owned(),
            self.node.base.trim_start_matches("http://").to_owned(),
        ));
        env.push(("GRPC_LISTEN".to_owned(), self.node.grpc.clone()));
        self.node = Node::start(self.role, self.dir.path(), &env).await;
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        self.node.kill().await;
    }

    /// Stops it as an operator would.
    pub async fn stop(&mut self) {
        self.node.signal("TERM");
        let status = self.node.ended().await;
        assert!(status.success(), "{status}:\n{}", self.node.log());
    }

    /// The gRPC client, as root.
    pub fn grpc(&self) -> Grpc {
        Grpc::root(&self.node.grpc)
    }

    /// Adds an upstream key and returns its id.
    pub async fn add_key(&self, secret: &str, provider: &str) -> i64 {
        self.add_key_with(json!({"SecretKey": secret, "Provider": provider}))
            .await
    }

    /// Adds an upstream key by its JSON body.
    pub async fn add_key_with(&self, body: Value) -> i64 {
        let answer = self
            .root(self.http.post(self.url("/x-keys")).json(&body))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        answer["Key"]["ID"].as_i64().unwrap()
    }

    /// Creates a child of root with this much credit and returns its key.
    pub async fn add_account(&self, name: &str, credit: f64) -> String {
        let body =
            json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": credit});
        let answer = self
            .root(self.http.post(self.url("/x-users")).json(&body))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let answer: Value = answer.json().await.unwrap();
        answer["User"]["SecretKey"].as_str().unwrap().to_owned()
    }

    /// Sends a request as root.
    pub async fn root(&self, request: RequestBuilder) -> Response {
        request.bearer_auth(ROOT).send().await.unwrap()
    }

    /// Changes the system's configuration by `/x-conf`.
    pub async fn conf(&self, body: Value) {
        let answer = self
            .root(self.http.post(self.url("/x-conf")).json(&body))
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// A chat call.
    pub async fn chat(&self, key: &str, model: &str) -> Response {
        self.node.chat(&self.http, key, model).await
    }

    /// A streamed chat call.
    pub async fn chat_stream(&self, key: &str, model: &str) -> Response {
        let body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
        self.post("/v1/chat/completions", key, &body).await
    }

    /// A call with a JSON body.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Response {
        self.http
            .post(self.url(path))
            .bearer_auth(key)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Changes an account as root.
    pub async fn change(&self, name: &str, body: Value) {
        let answer = self
            .root(
                self.http
                    .put(self.url(&format!("/x-users/{name}")))
                    .json(&body),
            )
            .await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// The JSON that root reads at a path.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.root(self.http.get(self.url(path))).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// The row of an account in `/x-users`.
    pub async fn account(&self, name: &str) -> Value {
        let answer = self
            .root(self.http.get(self.url(&format!("/x-users/{name}"))))
            .await;
        let rows: Value = answer.json().await.unwrap();
        rows[0].clone()
    }

    /// Waits until this many requests of an account are posted.
    pub async fn posted(&self, name: &str, requests: u64) -> Value {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let account = self.account(name).await;
            if account["Requests"].as_u64() == Some(requests) {
                return account;
            }
            assert!(
                Instant::now() < deadline,
                "{name} has {} requests, not {requests}",
                account["Requests"]
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.node.base)
    }
}

impl Node {
    /// Starts a role (`None`: all in one) on free ports and waits until it is ready.
    pub async fn start(role: Option<&str>, dir: &Path, env: &[(String, String)]) -> Self {
        let mut node = Self::launch(role, dir, env).await;
        node.wait_ready(role != Some("control")).await;
        node
    }

    /// Starts a role and waits until it prints its addresses.
    pub async fn launch(role: Option<&str>, dir: &Path, env: &[(String, String)]) -> Self {
        let mut child = command(role, dir, env).spawn().unwrap();
        let log = gather(child.stderr.take().unwrap());
        let out = gather(child.stdout.take().unwrap());
        let mut node = Self {
            base: String::new(),
            grpc: String::new(),
            child,
            log,
            out,
        };
        node.read_addresses(role != Some("dataplane")).await;
        node
    }

    /// Reads the addresses that the program prints first; the lines after them are for people.
    async fn read_addresses(&mut self, has_grpc: bool) {
        let deadline = Instant::now() + START_MAX;
        while self.base.is_empty() || (has_grpc && self.grpc.is_empty()) {
            let ended = self.child.try_wait().unwrap();
            for line in self.out().lines() {
                if let Some(base) = line.strip_prefix("ProxyXAI listens on ") {
                    base.clone_into(&mut self.base);
                } else if let Some(grpc) = line.strip_prefix("gRPC on ") {
                    grpc.clone_into(&mut self.grpc);
                }
            }
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the gateway did not start:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts a role and kills it after a time, in whatever state it is.
    pub async fn cut_short(dir: &Path, env: &[(String, String)], after: Duration) {
        let mut child = command(None, dir, env)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(after).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    async fn wait_ready(&mut self, data_plane: bool) {
        let path = if data_plane { "/readyz" } else { "/healthz" };
        let deadline = Instant::now() + START_MAX;
        let http = client();
        while !http
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            assert!(Instant::now() < deadline, "not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A chat call to this node.
    pub async fn chat(&self, http: &reqwest::Client, key: &str, model: &str) -> Response {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        http.post(format!("{}/v1/chat/completions", self.base))
            .bearer_auth(key)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// Its standard output so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.log()
            );
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

fn command(role: Option<&str>, dir: &Path, env: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyxai"));
    command
        .args(role)
        .env_clear()
        .env("LISTEN", "127.0.0.1:0")
        .env("GRPC_LISTEN", "127.0.0.1:0")
        .env("DATA_DIR", dir)
        // Most tests do not depend on the kind or price of a call; those of `gate` unset these.
        .env("PASSTHROUGH", "* /v1/*")
        .env("UNPRICED", "serve")
        .env(
            "RUST_LOG",
            "info,proxyxai=debug,proxyxai_control=debug,proxyxai_dataplane=debug",
        )
        .envs(
            env.iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Keeps a pipe of the program empty and collects its output.
fn gather(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let kept = Arc::new(Mutex::new(String::new()));
    let text = Arc::clone(&kept);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut text = text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
    kept
}

/// Runs a role that is to end by itself, and returns its exit code, output and log.
pub fn run_to_end(argument: Option<&str>, env: &[(&str, &str)]) -> (i32, String, String) {
    let dir = TempDir::new().unwrap();
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let mut child = command(argument, dir.path(), &env).spawn().unwrap();
    let (log, out) = (
        gather(child.stderr.take().unwrap()),
        gather(child.stdout.take().unwrap()),
    );
    let deadline = Instant::now() + START_MAX;
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ended_already = child.kill();
    let code = child.wait().unwrap().code().unwrap_or(-1);
    // The pipes are closed by now, but their readers may still be running.
    while Arc::strong_count(&log) + Arc::strong_count(&out) > 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let text = |kept: Arc<Mutex<String>>| kept.lock().unwrap().clone();
    (code, text(out), text(log))
}

/// Waits until a condition holds, for at most ten seconds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asserts that a response is an error in the documented shape, and returns its message.
pub fn documented(error: &Value, code: &str) -> String {
    let message = error["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("no message: {error}"));
    assert!(!message.is_empty(), "{error}");
    assert!(error["error"]["type"].is_string(), "{error}");
    assert_eq!(error["error"]["code"], code, "{error}");
    match error["error"].get("param") {
        Some(Value::Null) => {}
        Some(Value::String(field)) => assert!(message.starts_with(field), "{error}"),
        _ => panic!("no param: {error}"),
    }
    assert_eq!(error["message"], message, "{error}");
    message.to_owned()
}

/// Asserts a refusal's status, shape and code, and returns its message.
pub async fn refused(answer: Response, status: u16, code: &str) -> String {
    let (got, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await.unwrap();
    assert_eq!(got, status, "{url}: {text}");
    documented(
        &serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        code,
    )
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner when a test fails"
)]
fn eprint_log(log: &str) {
    let lines: Vec<_> = log.lines().collect();
    eprintln!(
        "--- the gateway's log ---\n{}",
        lines[lines.len().saturating_sub(60)..].join("\n")
    );
}

/// The metrics of a node, as root.
pub async fn metrics(base: &str) -> String {
    let page = client().get(format!("{base}/metrics")).bearer_auth(ROOT);
    let page = page.send().await.unwrap();
    assert_eq!(page.status(), 200);
    page.text().await.unwrap()
}

/// A client without proxy, redirects and retries.
pub fn client() -> reqwest::Client {
    // Set once for all tests; later calls find it set.
    let _set = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .timeout(Duration::from_mins(1))
        .build()
        .unwrap()
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The server that `TEST_DATABASE_URL` names. Returns `None` for SQLite.
pub fn server() -> Option<String> {
    let url = std::env::var_os("TEST_DATABASE_URL")?;
    Some(url.into_string().unwrap())
}

/// A fresh database on that server.
pub async fn database() -> Option<String> {
    let url = server()?;
    let name = format!(
        "it_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let connection = sea_orm::Database::connect(&url).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    sea_orm::ConnectionTrait::execute_unprepared(&connection, &create)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let (server, _) = url.rsplit_once('/').unwrap();
    Some(format!("{server}/{name}"))
}
