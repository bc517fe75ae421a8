//! A public price list merged into the prices: by hand on a running gateway, and on files.

use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::world::{ROOT, World};

const TABLE: &str = r#"{"Version":"2026-10-01","Providers":{"openai":["o.example"]},
    "ChatPricing":{"house":{"Provider":"openai","InputText":2,"OutputText":8,"CachedText":1},
        "old":{"Provider":"openai","InputText":1,"OutputText":1}}}"#;

/// A list with this price of `house`.
fn list(input: f64) -> String {
    let per_token = input / 1e6;
    format!(
        r#"{{"house":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":{per_token},"output_cost_per_token":8e-6}},
        "new":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":1e-6,"output_cost_per_token":1e-6}}}}"#
    )
}

/// Exit code, output and messages of `proxyxai prices sync …`.
fn sync(world: Option<&World>, arguments: &[&str]) -> (i32, String, String) {
    let grpc = world.map_or("127.0.0.1:1", |world| world.node.grpc.as_str());
    let done = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
        .args(["prices", "sync"])
        .args(arguments)
        .env_clear()
        .envs([("GRPC_LISTEN", grpc), ("ROOT_KEY", ROOT)])
        .output()
        .unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn served(list: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", list.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(list.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/list.json")
}

#[test]
fn a_dry_run_tells_what_would_change_and_needs_nothing_to_run() {
    let dir = TempDir::new().unwrap();
    let table = written(dir.path(), "table.json", TABLE);
    let near = written(dir.path(), "near.json", &list(3.0));
    let out = dir.path().join("out.json");
    let (code, told, log) = sync(
        None,
        &[&near, "--against", &table, "--out", out.to_str().unwrap()],
    );
    assert_eq!(code, 0, "{log}");
    for line in [
        "house InputText 2 -> 3 (+50 %)\n",
        "new: new\n",
        "not in the list, kept: old\n",
        "nothing was changed",
    ] {
        assert!(told.contains(line), "{line} {told}");
    }
    let out = fs::read_to_string(out).unwrap();
    assert!(out.contains("\"old\"") && out.contains("\"new\""), "{out}");
    let far = written(dir.path(), "far.json", &list(5.0));
    let (_, told, _) = sync(None, &[&far, "--against", &table]);
    assert!(told.contains("too far: house InputText 2 -> 5"), "{told}");
    let (_, told, _) = sync(None, &[&far, "--against", &table, "--factor", "3"]);
    assert!(!told.contains("too far"), "{told}");
    let (_, told, _) = sync(
        None,
        &[&near, "--against", &table, "--prune", "--gone-max", "0"],
    );
    assert!(told.contains("too far: 1 models would vanish"), "{told}");
    for bad in [
        vec![near.as_str(), "--against", &table, "--apply"],
        vec![&near, "--against", &table, "--provider", "nobody"],
        vec![&near, "--against", &table, "--factor", "0.5"],
        vec![&table, "--against", &table],
        vec!["http://lists.example/list.json", "--against", &table],
        vec!["--against", &table],
    ] {
        assert_ne!(sync(None, &bad).0, 0, "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_counts_when_it_is_applied_and_too_far_only_by_force() {
    let world = World::start().await;
    let shown = |model: &str| {
        let done = Command::new(env!("CARGO_BIN_EXE_proxyxai"))
            .args(["prices", "show", model])
            .env_clear()
            .envs([
                ("GRPC_LISTEN", world.node.grpc.as_str()),
                ("ROOT_KEY", ROOT),
            ])
            .output()
            .unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let list = |input: f64| list(input).replace("house", "gpt-4o");
    let near = served(list(3.0)).await;
    let (code, told, log) = sync(Some(&world), &[&near]);
    assert_eq!(code, 0, "{log}");
    assert!(
        told.contains("gpt-4o InputText 2.5 -> 3 (+20 %)\n"),
        "{told}"
    );
    assert!(shown("gpt-4o").contains("gpt-4o InputText 2.5\n"));
    let (code, told, log) = sync(Some(&world), &[&near, "--apply"]);
    assert_eq!(code, 0, "{told}{log}");
    assert!(told.contains("loaded: version"), "{told}");
    // Fields that the list does not have stay.
    let now = shown("gpt-4o");
    assert!(
        now.contains("gpt-4o InputText 3\n") && now.contains("gpt-4o CachedText 1.25\n"),
        "{now}"
    );
    let (_, told, _) = sync(Some(&world), &[&near, "--apply"]);
    assert!(told.contains("nothing to change"), "{told}");
    let far = served(list(7.0)).await;
    let (code, _, log) = sync(Some(&world), &[&far, "--apply"]);
    assert_eq!((code, log.contains("--force")), (1, true), "{log}");
    assert!(shown("gpt-4o").contains("gpt-4o InputText 3\n"));
    let (code, told, log) = sync(Some(&world), &[&far, "--apply", "--force"]);
    assert_eq!(code, 0, "{told}{log}");
    assert!(shown("gpt-4o").contains("gpt-4o InputText 7\n"));
}
