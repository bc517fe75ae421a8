//! The cost of clients that are not known to be allowed to call: nothing.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{Street, sub_account};
use crate::{
    raw,
    upstream::{Script, Upstream},
    world::{World, until},
};

const MIB: usize = 1024 * 1024;

/// Resident memory of the gateway, in MiB.
fn resident_mib(world: &World) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.node.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

#[tokio::test]
async fn who_may_not_call_is_told_before_its_body_comes_and_costs_no_memory() {
    let street = Street::new(1, &[]).await;
    let world = &street.world;
    // Enough to create the account, but not for a call.
    let poor = world.add_account("poorman", 2.0).await;
    let suspended = world.add_account("badgirl", 10.0).await;
    let elsewhere = world.add_account("elsewhere", 10.0).await;
    let below = sub_account(world, &street.bad, "badgirl2").await;
    let put = world
        .http
        .put(world.url("/x-config"))
        .json(&json!({"CALL_MIN_BALANCE": "4"}));
    assert_eq!(world.root(put).await.status(), 200);
    world.change("badgirl", json!({"Suspended": true})).await;
    world
        .change("elsewhere", json!({"AllowIPs": "192.0.2.9"}))
        .await;
    world
        .change("badgirl2", json!({"AllowIPs": "192.0.2.9"}))
        .await;
    let before = resident_mib(world);
    let mut sockets: Vec<TcpStream> = Vec::new();
    for (key, status) in [
        (poor.as_str(), 402),
        (suspended.as_str(), 401),
        (elsewhere.as_str(), 401),
        (below.as_str(), 401),
        ("sk-XvsNobodyNobodyNobodyNobodyNobodyNobodyNobody12", 401),
    ] {
        for sent in [0, 1, 24 * MIB] {
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                32 * MIB
            );
            let mut socket = raw::connect(&world.node.base).await;
            let start = Instant::now();
            socket.write_all(head.as_bytes()).await.unwrap();
            socket.write_all(&vec![b' '; sent]).await.unwrap();
            let answer = raw::read(&mut socket, "POST").await;
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "{:?}",
                start.elapsed()
            );
            sockets.push(socket);
        }
    }
    let grown = resident_mib(world).saturating_sub(before);
    assert!(grown < 24, "{grown} MiB more");
    street.is_quiet("with fifteen that may not call").await;
}

/// An address of this machine other than loopback.
fn own_address() -> Option<std::net::IpAddr> {
    // Sends nothing: this only looks up the route.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may_unless_it_is_a_proxys() {
    let Some(address) = own_address() else {
        return;
    };
    let own = address.to_string();
    for (trusted, most) in [("", 5), (own.as_str(), 12)] {
        let env = [
            ("LISTEN", "0.0.0.0:0"),
            ("CONNECTIONS_PER_ADDRESS_MAX", "5"),
            ("TRUSTED_PROXIES", trusted),
        ];
        let (world, upstream) = (World::with(&env).await, Upstream::start().await);
        upstream.script(super::KEYS[0], Script::Chat);
        world.add_key(super::KEYS[0], &upstream.base).await;
        let port = world.node.base.rsplit(':').next().unwrap().to_owned();
        let base = format!("http://{own}:{port}");
        let get = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut open = Vec::new();
        for _ in 0..12 {
            let mut socket = raw::connect(&base).await;
            // A refused connection may be closed before anything is sent.
            let _sent = socket.write_all(get).await;
            let answer = raw::read(&mut socket, "GET").await;
            if answer.status == 200 {
                open.push(socket);
            }
        }
        assert_eq!(open.len(), most, "{trusted:?}");
        // Other addresses have their own connections.
        let key = world.add_account("alice", 10.0).await;
        assert_eq!(world.chat(&key, "gpt-4o").await.status(), 200);
        open.truncate(1);
        until("places are given back", async || {
            let mut socket = raw::connect(&base).await;
            let _sent = socket.write_all(get).await;
            raw::read(&mut socket, "GET").await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn connections_beyond_the_files_there_may_be_are_not_promised() {
    let world = World::with(&[("CONNECTIONS_MAX", "1000000")]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.node.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let files: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(
        files[0], files[1],
        "the soft limit is raised to the hard one"
    );
    let hard: u64 = files[1].parse().unwrap_or(u64::MAX);
    assert_eq!(
        world.node.log().contains("fewer are taken"),
        hard < 2_000_256
    );
}
