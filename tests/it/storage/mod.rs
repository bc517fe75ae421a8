//! Storage that fails: full disks, I/O errors, disks that turn read-only, lost connections, refused commits, at each
//! step of a write. What was confirmed exists after a restart, and what is missing was not confirmed. While storage
//! fails, `/readyz` says so.

mod database;
mod file;
mod spool;

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};
use tempfile::TempDir;

use serde_json::{Value, json};

use crate::world::{World, until};

/// Linux error numbers.
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EROFS: i32 = 30;

/// System calls that fail: those that write, wait for the disk, or change a file's size.
const WRITES: i32 = 1;
const SYNCS: i32 = 2;
const SIZES: i32 = 4;

/// The interposed library, built once.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/storage/faulty_disk.c");
    let library = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("faulty_disk-{}.so", std::process::id()));
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .unwrap();
    assert!(built.success());
    library
});

/// A disk that fails on command.
struct Disk {
    orders: File,
    dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let orders = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(dir.path().join("orders"))
            .unwrap();
        orders.set_len(128).unwrap();
        Self { orders, dir }
    }

    /// The variables that give a process this disk.
    fn env(&self) -> [(&'static str, String); 2] {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", path(&LIBRARY)),
            ("FAULTY_DISK", path(&self.dir.path().join("orders"))),
        ]
    }

    /// From now on these system calls on files whose name contains `name` fail, except the first `after`.
    fn fail(&self, error: i32, kinds: i32, after: i32, name: &str) {
        self.work();
        let mut path = [0; 112];
        path[..name.len()].copy_from_slice(name.as_bytes());
        self.orders.write_all_at(&path, 16).unwrap();
        for (at, value) in [(4, kinds), (8, after), (12, 0), (0, error)] {
            self.orders.write_all_at(&value.to_ne_bytes(), at).unwrap();
        }
    }

    /// Makes it work again. Returns whether any system call has failed.
    fn work(&self) -> bool {
        let number = |at| {
            let mut bytes = [0; 4];
            self.orders.read_exact_at(&mut bytes, at).unwrap();
            i32::from_ne_bytes(bytes)
        };
        let failed = number(0) != 0 && number(12) > number(8);
        self.orders.write_all_at(&[0; 4], 0).unwrap();
        failed
    }
}

/// Requested accounts, by whether the response was a success.
#[derive(Default)]
struct Asked {
    done: Vec<String>,
    failed: Vec<String>,
}

impl Asked {
    /// Requests one more account. Returns whether it was created.
    async fn account(&mut self, world: &World) -> bool {
        let name = format!("user{}", self.done.len() + self.failed.len());
        let body =
            json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": 2});
        let request = world.http.post(world.url("/x-users")).json(&body);
        let answer = world.root(request).await;
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        if status == 200 {
            self.done.push(name);
            return true;
        }
        assert_eq!(status, 503, "{text}");
        assert!(text.contains("storage_unavailable"), "{text}");
        self.failed.push(name);
        false
    }

    /// Asserts that all created accounts exist, each once.
    async fn check(&self, world: &World) {
        let listed = world.read("/x-users").await;
        let names: Vec<_> = listed.as_array().unwrap().iter().map(name).collect();
        for made in &self.done {
            let count = names.iter().filter(|name| *name == made).count();
            assert_eq!(count, 1, "{made} of {names:?}");
        }
    }
}

fn name(account: &Value) -> String {
    account["Name"].as_str().unwrap().to_owned()
}

/// Status and body of `/readyz`.
async fn ready(world: &World) -> (u16, String) {
    let answer = world.http.get(world.url("/readyz")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Waits until `/readyz` reports ready.
async fn until_ready(world: &World) {
    until("it is ready again", async || ready(world).await.0 == 200).await;
}

/// Waits until `/readyz` reports a problem, and returns the reason.
async fn until_not_ready(world: &World) -> String {
    until("it is not ready", async || ready(world).await.0 == 503).await;
    ready(world).await.1
}

/// Runs `verify` on the books of a stopped gateway.
fn verified(world: &World) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxyxai"));
    command.arg("verify").env("DATA_DIR", world.dir());
    if let Some(url) = world.database_url() {
        command.env("DATABASE_URL", url);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
