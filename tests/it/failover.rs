//! PostgreSQL that fails over to a standby, or stops answering. Each test has servers of its own, made with the
//! binaries in `TEST_POSTGRES_BIN`; without them, or without a server to test on, there is nothing to show.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    fleet::{Plane, TOKEN},
    replicas::Load,
    upstream::{Script, Upstream},
    world::{World, client, server, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":2.5,"OutputText":10}}}"#;
/// How long a pause lasts; `PROXYXAI_PAUSE_S` sets another time.
const PAUSE_S: u64 = 15;
/// A request that finds out that the database is silent, and one after it.
const FIRST_REFUSAL_MAX: Duration = Duration::from_secs(5);
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// From the end of a promotion to the first write.
const SWITCH_MAX: Duration = Duration::from_secs(15);

/// A data plane hands in 5,000 records a second, in which these tests make far fewer.
const POSTED_MAX: Duration = Duration::from_secs(30);

/// A server of a test's own.
struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Postgres {
    /// The folder of the binaries; `None`, with the reason told, if there is nothing to test with.
    fn bin() -> Option<PathBuf> {
        server()?;
        let bin = std::env::var_os("TEST_POSTGRES_BIN").map(PathBuf::from);
        let bin = bin.filter(|bin| {
            let needed = ["initdb", "postgres", "pg_basebackup", "pg_ctl", "createdb"];
            needed.iter().all(|name| bin.join(name).exists())
        });
        if bin.is_none() {
            skipped();
        }
        bin
    }

    async fn primary(bin: &Path, more: &[&str]) -> Self {
        let dir = folder();
        let data = dir.path().join("data");
        let mut initdb = command(&bin.join("initdb"));
        initdb.arg("--pgdata").arg(&data).args([
            "--username=proxyxai",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        done(initdb);
        Self::serve(bin, dir, more).await
    }

    /// A standby that streams from this server.
    async fn standby(&self) -> Self {
        let dir = folder();
        let mut copy = command(&self.bin.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .arg("--pgdata")
            .arg(dir.path().join("data"))
            .arg("--dbname")
            .arg(format!("host=127.0.0.1 port={} user=proxyxai", self.port));
        done(copy);
        Self::serve(&self.bin, dir, &[]).await
    }

    async fn serve(bin: &Path, dir: TempDir, more: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut server = command(&bin.join("postgres"));
        server
            .arg("-D")
            .arg(dir.path().join("data"))
            .arg("-k")
            .arg(dir.path())
            .args(["-p", &port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(log);
        let child = server.spawn().unwrap();
        let up = Self {
            bin: bin.to_owned(),
            dir,
            child,
            port,
        };
        until("PostgreSQL is up", async || {
            let mut asking = command(&up.bin.join("pg_isready"));
            asking.args(["--quiet", "--host=127.0.0.1", "--port"]);
            asking.arg(port.to_string()).status().unwrap().success()
        })
        .await;
        up
    }

    fn create_database(&self) {
        let mut create = command(&self.bin.join("createdb"));
        create.args(["--host=127.0.0.1", "--username=proxyxai", "--port"]);
        create.args([&self.port.to_string(), "fleet"]);
        done(create);
    }

    fn promote(&self) {
        let mut promote = command(&self.bin.join("pg_ctl"));
        promote.args(["promote", "--wait", "--pgdata"]);
        promote.arg(self.dir.path().join("data"));
        done(promote);
    }

    /// Signals the server and each of its processes, which are in groups of their own.
    fn signal(&self, name: &str) {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let pids = std::iter::once(pid.to_string());
        let pids = pids.chain(children.split_whitespace().map(str::to_owned));
        // One of them may have ended meanwhile.
        let _sent = Command::new("kill")
            .arg(format!("-{name}"))
            .args(pids)
            .stderr(Stdio::null())
            .status();
    }

    async fn count(&self, sql: &str) -> i64 {
        let url = format!("postgres://proxyxai@127.0.0.1:{}/fleet", self.port);
        let database = sea_orm::Database::connect(url).await.unwrap();
        let query = Statement::from_string(database.get_database_backend(), sql);
        let row = database.query_one_raw(query).await.unwrap().unwrap();
        let count = row.try_get_by_index(0).unwrap();
        database.close().await.unwrap();
        count
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.signal("CONT");
        self.signal("KILL");
        let _status = self.child.wait();
    }
}

#[expect(clippy::print_stderr, reason = "says why a test shows nothing")]
fn skipped() {
    eprintln!("skipped: TEST_POSTGRES_BIN does not name PostgreSQL's binaries");
}

/// A command as somebody whom PostgreSQL accepts: it refuses root.
fn command(program: &Path) -> Command {
    let Some((user, group)) = user() else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--clear-groups", "--reuid", &user, "--regid", &group])
        .arg(program);
    command.current_dir("/");
    command
}

/// The user and group to become; `None` if this is not root.
fn user() -> Option<(String, String)> {
    let id = |what: &[&str]| {
        let output = Command::new("id").args(what).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        output.status.success().then_some(text)
    };
    if id(&["-u"]).as_deref() != Some("0") {
        return None;
    }
    let of = |name: &str| Some((id(&["-u", name])?, id(&["-g", name])?));
    of("postgres").or_else(|| of("nobody"))
}

/// A folder that the server may write to.
fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    if let Some((user, group)) = user() {
        let mut own = Command::new("chown");
        own.arg(format!("{user}:{group}")).arg(dir.path());
        done(own);
    }
    dir
}

fn done(mut command: Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

/// Control on such servers, a data plane, a provider, and an account with credit on lease.
struct Rig {
    control: World,
    plane: Plane,
    upstream: Upstream,
    key: String,
    load: Option<Load>,
}

impl Rig {
    async fn start(url: &str) -> Self {
        let env = [
            ("NODE_TOKEN", TOKEN),
            ("PRICING", PRICING),
            ("DATABASE_URL", url),
        ];
        let control = World::control(&env).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, Script::Chat);
        control.add_key(UP, &upstream.base).await;
        let key = control.add_account("alice", 1_000.0).await;
        let plane = Plane::start(&control, "plane", &[]).await;
        // A call that may cost a dollar, so that what is on lease covers all the others of a pause.
        let dear = json!({"model": "house", "max_tokens": 100_000, "messages": []});
        let url = format!("{}/v1/chat/completions", plane.node.base);
        let answer = client().post(url).bearer_auth(&key).json(&dear);
        assert_eq!(answer.send().await.unwrap().status(), 200);
        let load = Load::start(&plane, &key, 4);
        until("calls are served", async || load.served() > 50).await;
        Self {
            control,
            plane,
            upstream,
            key,
            load: Some(load),
        }
    }

    fn served(&self) -> usize {
        self.load.as_ref().map_or(0, Load::served)
    }

    /// Asks for an account. Returns the status and how long it took.
    async fn account(&self, name: &str) -> (u16, Duration) {
        let email = format!("{name}@example.com");
        let body = json!({"Name": name, "Email": email, "CreditGranted": 2});
        let began = Instant::now();
        let request = self.control.http.post(self.control.url("/x-users"));
        let answer = self.control.root(request.json(&body)).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        if status != 200 {
            assert_eq!(status, 503, "{text}");
            assert!(text.contains("storage_unavailable"), "{text}");
        }
        (status, began.elapsed())
    }

    /// Ends the calls: all were served, and are on the books once.
    async fn end(mut self) {
        let (served, failed) = self.load.take().unwrap().end().await;
        assert!(
            failed.is_empty(),
            "{} of {served}: {:?}",
            failed.len(),
            failed.first()
        );
        let answer = self.plane.node.chat(&client(), &self.key, "house").await;
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
        // With the first one and this one.
        let served = served + 2;
        let began = Instant::now();
        while self.control.account("alice").await["Requests"] != served {
            assert!(began.elapsed() < POSTED_MAX, "not all is posted");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told(&format!(
            "{served} calls were served, and posted {:?} after the last",
            began.elapsed()
        ));
        self.control.grpc().verify_books().await;
        assert_eq!(self.upstream.count(UP), served);
    }
}

#[tokio::test]
async fn control_goes_on_with_the_standby_that_takes_over() {
    let Some(bin) = Postgres::bin() else {
        return;
    };
    let sync = ["-c", "synchronous_standby_names=*"];
    let primary = Postgres::primary(&bin, &sync).await;
    let standby = primary.standby().await;
    primary.create_database();
    let url = format!(
        "postgres://proxyxai@127.0.0.1:{},127.0.0.1:{}/fleet?target_session_attrs=read-write",
        primary.port, standby.port
    );
    let rig = Rig::start(&url).await;
    let (mut made, mut number) = (Vec::new(), 0);
    let mut ask = async |made: &mut Vec<String>| {
        number += 1;
        let name = format!("user{number}");
        let (status, took) = rig.account(&name).await;
        if status == 200 {
            made.push(name);
        }
        (status, took)
    };
    for _ in 0..20 {
        assert_eq!(ask(&mut made).await.0, 200);
    }
    primary.signal("KILL");
    // Nobody takes writes for a while: the standby is no replacement before it is promoted.
    let (status, took) = ask(&mut made).await;
    assert_eq!(status, 503);
    assert!(took < FIRST_REFUSAL_MAX, "{took:?}");
    let before = rig.served();
    let dead = Instant::now();
    while dead.elapsed() < Duration::from_secs(2) {
        let (status, took) = ask(&mut made).await;
        assert!(status == 503 && took < REFUSAL_MAX, "{status} {took:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(rig.served() > before, "no call was served meanwhile");
    standby.promote();
    let promoted = Instant::now();
    while ask(&mut made).await.0 != 200 {
        assert!(promoted.elapsed() < SWITCH_MAX, "it stays with the dead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told(&format!(
        "writes work {:?} after the promotion",
        promoted.elapsed()
    ));
    for _ in 0..20 {
        assert_eq!(ask(&mut made).await.0, 200);
    }
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    until("notices are heard from the new primary", async || {
        standby.count(listening).await == 1
    })
    .await;
    let listed = rig.control.read("/x-users?size=1000").await;
    let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
    for name in made {
        let found = listed
            .iter()
            .filter(|account| account["Name"] == name.as_str());
        assert_eq!(found.count(), 1, "{name} was confirmed");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_costs_no_call_and_keeps_nobody_waiting() {
    let Some(bin) = Postgres::bin() else {
        return;
    };
    let primary = Postgres::primary(&bin, &[]).await;
    primary.create_database();
    let url = format!("postgres://proxyxai@127.0.0.1:{}/fleet", primary.port);
    let rig = Rig::start(&url).await;
    let given = std::env::var_os("PROXYXAI_PAUSE_S").and_then(|text| text.into_string().ok());
    let pause = given.map_or(PAUSE_S, |given| given.parse().unwrap());
    primary.signal("STOP");
    let paused = Instant::now();
    let before = rig.served();
    let (status, took) = rig.account("early").await;
    assert!(
        status == 503 && took < FIRST_REFUSAL_MAX,
        "{status} {took:?}"
    );
    told(&format!("the first refusal took {took:?}"));
    let (mut slowest, mut number) = (Duration::ZERO, 0);
    while paused.elapsed() < Duration::from_secs(pause) {
        number += 1;
        let (status, took) = rig.account(&format!("user{number}")).await;
        assert_eq!(status, 503);
        slowest = slowest.max(took);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(slowest < REFUSAL_MAX, "{slowest:?}");
    let meanwhile = rig.served() - before;
    assert!(meanwhile > 100, "{meanwhile} calls in {pause} s");
    primary.signal("CONT");
    let woken = Instant::now();
    let mut number = 0;
    while rig.account(&format!("later{number}")).await.0 != 200 {
        number += 1;
        assert!(woken.elapsed() < SWITCH_MAX, "it is not used again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told(&format!(
        "{meanwhile} calls in {pause} s, refusals within {slowest:?}, writes work {:?} after the pause",
        woken.elapsed()
    ));
    rig.end().await;
}

#[expect(clippy::print_stderr, reason = "what was measured")]
fn told(text: &str) {
    eprintln!("{text}");
}
