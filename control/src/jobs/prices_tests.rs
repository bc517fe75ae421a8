//! Tests of scheduled price lists.

use std::collections::BTreeMap;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    ops,
    testing::{ROOT, World, everywhere},
};

/// A server whose list has this price for `gpt-4o`.
async fn server(dollars: f64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let list = format!(
        r#"{{"gpt-4o":{{"litellm_provider":"openai","mode":"chat","input_cost_per_token":{},"output_cost_per_token":1e-5}}}}"#,
        dollars / 1e6
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let length = list.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{list}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/list.json")
}

async fn configure(world: &World, url: &str, hours: &str) {
    let set = BTreeMap::from([
        ("PRICES_SYNC_URL".to_owned(), url.to_owned()),
        ("PRICES_SYNC_HOURS".to_owned(), hours.to_owned()),
    ]);
    ops::settings::update(&world.control, &ROOT, set, vec![])
        .await
        .unwrap();
}

async fn versions(world: &World) -> Vec<(String, String)> {
    let versions = ops::prices::versions(&world.control, &ROOT).await.unwrap();
    let shown = |version: crate::model::PriceVersion| (version.version, version.note);
    versions.into_iter().map(shown).collect()
}

#[tokio::test]
async fn a_list_is_taken_over_when_it_is_time_and_once() {
    everywhere(async |world| {
        let url = server(3.0).await;
        for (url, hours) in [("", "6"), (url.as_str(), "0")] {
            configure(world, url, hours).await;
            assert_eq!(step(&world.control).await.unwrap(), None);
        }
        configure(world, &url, "6").await;
        let before = versions(world).await.len();
        // Both run at once, as two replicas do.
        let (one, other) = tokio::join!(step(&world.control), step(&world.control));
        let both = [one.unwrap(), other.unwrap()];
        let loaded = both.iter().flatten().collect::<Vec<_>>();
        assert!(
            matches!(loaded[..], [SyncOutcome::Loaded { .. }]),
            "{both:?}"
        );
        let after = versions(world).await;
        assert_eq!(after.len(), before + 1);
        let note = format!("by schedule, 2 changes: {url}");
        let is_noted = after.iter().any(|(_, shown)| shown.ends_with(&note));
        assert!(is_noted, "{after:?}");
        assert_eq!(step(&world.control).await.unwrap(), None);
        world.clock.advance(6 * HOUR_MS);
        assert_eq!(
            step(&world.control).await.unwrap(),
            Some(SyncOutcome::Nothing)
        );
        assert_eq!(versions(world).await.len(), before + 1);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_moves_a_price_too_far_is_refused_and_told() {
    everywhere(async |world| {
        configure(world, &server(25.0).await, "1").await;
        let before = versions(world).await;
        let done = step(&world.control).await.unwrap();
        let Some(SyncOutcome::Refused { first, objections }) = done else {
            panic!("{done:?}");
        };
        assert!(objections >= 1 && first.len() == objections, "{first:?}");
        assert!(
            first[0].starts_with("gpt-4o InputText 2.5 -> 25"),
            "{first:?}"
        );
        assert_eq!(versions(world).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_list_that_cannot_be_fetched_waits_for_its_next_turn() {
    everywhere(async |world| {
        configure(world, "http://127.0.0.1:1/list.json", "1").await;
        assert!(step(&world.control).await.is_err());
        assert_eq!(step(&world.control).await.unwrap(), None);
        world.clock.advance(HOUR_MS);
        assert!(step(&world.control).await.is_err());
    })
    .await;
}
