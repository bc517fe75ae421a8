//! Tests of the pool of upstream keys and of the settings.

use std::{collections::BTreeMap, net::SocketAddr};

use proxyxai_contract::{
    id::{KeyId, Level},
    provider::ProviderType,
    secret::Secret,
    snapshot::{HealthState, KeyConfig, KeyHealthReport},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    Error,
    model::{KeyState, Page, UpstreamKeyChange, UpstreamKeyFilter},
    ops,
    testing::{ROOT, World, by, everywhere, new_key, node},
};

const SECRET: &str = "sk-proj-abcdefghijklmnopqrst-wxyz";

#[tokio::test]
async fn a_secret_is_nowhere_in_the_files_and_its_end_is_all_that_is_shown() {
    everywhere(async |world: &mut World| {
        let key = world.key(SECRET).await.unwrap();
        assert_eq!(
            (key.secret_hint.as_str(), key.provider.as_str()),
            ("wxyz", "https://api.openai.com")
        );
        assert!(!format!("{key:?}").contains(SECRET));
        for file in std::fs::read_dir(world.dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(
                !bytes
                    .windows(SECRET.len())
                    .any(|window| window == SECRET.as_bytes())
            );
        }
    })
    .await;
}

#[tokio::test]
async fn one_secret_is_there_once_for_a_provider() {
    everywhere(async |world: &mut World| {
        let key = world.key(SECRET).await.unwrap();
        assert!(matches!(
            world.key(SECRET).await,
            Err(Error::Conflict {
                field: "SecretKey",
                ..
            })
        ));
        let elsewhere = UpstreamKeyChange {
            provider: Some("https://example.com/v1/".to_owned()),
            ..UpstreamKeyChange::default()
        };
        let moved = ops::keys::update(&world.control, &ROOT, key.id, elsewhere)
            .await
            .unwrap();
        assert_eq!(moved.provider, "https://example.com/v1");
        let second = world.key(SECRET).await.unwrap();
        let back = UpstreamKeyChange {
            provider: Some("https://api.openai.com".to_owned()),
            ..UpstreamKeyChange::default()
        };
        let clash = ops::keys::update(&world.control, &ROOT, key.id, back).await;
        assert!(matches!(clash, Err(Error::Conflict { .. })));
        ops::keys::delete(&world.control, &ROOT, second.id)
            .await
            .unwrap();
        assert!(matches!(
            ops::keys::get(&world.control, &ROOT, second.id).await,
            Err(Error::NotFound { .. })
        ));
        world.key(SECRET).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_a_key_is_refused_and_nothing_is_stored() {
    everywhere(async |world: &mut World| {
        for bad in [
            "short",
            "has a space in it, which no key has",
            &"x".repeat(5000),
        ] {
            assert!(
                matches!(world.key(bad).await, Err(Error::Invalid(_))),
                "{bad}"
            );
        }
        let key = world.key(SECRET).await.unwrap();
        for bad in ["ftp://h", "https://u:p@h", "nonsense"] {
            let change = UpstreamKeyChange {
                provider: Some(bad.to_owned()),
                ..UpstreamKeyChange::default()
            };
            assert!(matches!(
                ops::keys::update(&world.control, &ROOT, key.id, change).await,
                Err(Error::Invalid(_))
            ));
        }
        let alice = world.child(&ROOT, "alice", 100.0).await;
        assert!(matches!(
            ops::keys::get(&world.control, &by(&alice), key.id).await,
            Err(Error::Forbidden(_))
        ));
    })
    .await;
}

#[tokio::test]
async fn the_pool_is_listed_by_level_and_provider() {
    everywhere(async |world: &mut World| {
        let one = world.key(SECRET).await.unwrap();
        let two = world.key("sk-another-key-of-some-length").await.unwrap();
        let change = UpstreamKeyChange {
            level: Some(Level::new(2).unwrap()),
            provider: Some("https://api.anthropic.com".to_owned()),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(&world.control, &ROOT, two.id, change)
            .await
            .unwrap();
        let list = async |filter: UpstreamKeyFilter| {
            let page = Page { page: 1, size: 10 };
            let listed = ops::keys::list(&world.control, &ROOT, filter, page)
                .await
                .unwrap();
            listed
                .rows
                .into_iter()
                .map(|row| row.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(list(UpstreamKeyFilter::default()).await, [one.id, two.id]);
        let host = |text: &str| UpstreamKeyFilter {
            provider: Some(text.to_owned()),
            ..UpstreamKeyFilter::default()
        };
        assert_eq!(list(host("api.anthropic.com")).await, [two.id]);
        assert_eq!(list(host("https://api.openai.com/")).await, [one.id]);
        assert_eq!(
            list(UpstreamKeyFilter {
                level: Level::new(2).ok(),
                ..UpstreamKeyFilter::default()
            })
            .await,
            [two.id]
        );
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_wakes_a_sick_key_and_so_does_a_reload() {
    everywhere(async |world: &mut World| {
        let key = world.key(SECRET).await.unwrap();
        let sick = async |id: KeyId| {
            let health = KeyHealthReport {
                key: id,
                model: None,
                state: HealthState::Disabled,
                reason: "401".to_owned(),
            };
            ops::fleet::report_health(&world.control, &node("n1"), vec![health])
                .await
                .unwrap();
            ops::keys::get(&world.control, &ROOT, id)
                .await
                .unwrap()
                .health
        };
        assert_eq!(sick(key.id).await, HealthState::Disabled);
        assert_eq!(
            ops::keys::health(&world.control, &ROOT)
                .await
                .unwrap()
                .len(),
            1
        );
        let change = UpstreamKeyChange {
            secret: Some(Secret::new("sk-a-fresh-secret-for-it")),
            ..UpstreamKeyChange::default()
        };
        let after = ops::keys::update(&world.control, &ROOT, key.id, change)
            .await
            .unwrap();
        assert_eq!(after.health, HealthState::Ready);
        assert_eq!(sick(key.id).await, HealthState::Disabled);
        let (keys, _) = ops::keys::reload(&world.control, &ROOT).await.unwrap();
        assert_eq!(keys, 1);
        assert_eq!(ops::keys::health(&world.control, &ROOT).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn settings_are_stored_all_or_none() {
    everywhere(async |world: &mut World| {
        let set = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let update = async |values, reset: Vec<String>| {
            ops::settings::update(&world.control, &ROOT, values, reset).await
        };
        let bad = update(
            set(&[("MODEL_MAPPER", "a=b"), ("SWITCH_OVER", "x"), ("NOPE", "1")]),
            vec![],
        )
        .await;
        let Err(Error::Invalid(problem)) = bad else {
            unreachable!("{bad:?}")
        };
        assert!(problem.problem.contains("SWITCH_OVER") && problem.problem.contains("NOPE"));
        let before = ops::settings::get(&world.control, &ROOT).await.unwrap();
        assert_eq!(
            (
                before["MODEL_MAPPER"].as_str(),
                before["CALL_MIN_BALANCE"].as_str()
            ),
            ("", "1")
        );
        let after = update(
            set(&[("MODEL_MAPPER", "a=b"), ("UNPRICED", "serve")]),
            vec![],
        )
        .await
        .unwrap();
        assert_eq!(
            (after["MODEL_MAPPER"].as_str(), after["UNPRICED"].as_str()),
            ("a=b", "serve")
        );
        let reset = update(BTreeMap::new(), vec!["MODEL_MAPPER".to_owned()])
            .await
            .unwrap();
        assert_eq!(
            (reset["MODEL_MAPPER"].as_str(), reset["UNPRICED"].as_str()),
            ("", "serve")
        );
    })
    .await;
}

/// A provider that accepts only one key.
async fn provider(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let good = request.starts_with("GET /v1/models ")
            && request.contains(&format!("Bearer {SECRET}\r\n"));
        let (status, body) = if good {
            ("200 OK", "{}".to_owned())
        } else {
            let said = r#"{"error":{"message":"Incorrect API key provided: sk-proj-ab*xyz."}}"#;
            ("401 Unauthorized", said.to_owned())
        };
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_tells_what_the_provider_says_and_wakes_a_key_that_works() {
    everywhere(async |world: &mut World| {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = tokio::spawn(provider(listener));
        let at_base = || UpstreamKeyChange {
            provider: Some(base.clone()),
            ..UpstreamKeyChange::default()
        };
        let good = world.key(SECRET).await.unwrap().id;
        let bad = world.key("sk-proj-ab-another-secret-xyz").await.unwrap().id;
        for id in [good, bad] {
            ops::keys::update(&world.control, &ROOT, id, at_base())
                .await
                .unwrap();
            let health = KeyHealthReport {
                key: id,
                model: None,
                state: HealthState::Disabled,
                reason: "401".to_owned(),
            };
            ops::fleet::report_health(&world.control, &node("n1"), vec![health])
                .await
                .unwrap();
        }
        let probe = async |id| {
            ops::keys::probe(&world.control, &ROOT, id, None)
                .await
                .unwrap()
        };
        let accepted = probe(good).await;
        assert_eq!((accepted.accepted, accepted.status), (true, 200));
        let refused = probe(bad).await;
        assert_eq!((refused.accepted, refused.status), (false, 401));
        assert_eq!(refused.detail, "Incorrect API key provided: ***");
        let sick: Vec<_> = ops::keys::health(&world.control, &ROOT).await.unwrap();
        assert_eq!(
            sick.iter().map(|health| health.key).collect::<Vec<_>>(),
            [bad]
        );
        server.abort();
        server.await.unwrap_err();
        let gone = probe(good).await;
        assert_eq!(
            (gone.accepted, gone.status, gone.detail.as_str()),
            (false, 0, "no connection")
        );
    })
    .await;
}

/// Reads a whole request: request line and headers, and the body.
async fn request_of(stream: &mut tokio::net::TcpStream) -> (String, serde_json::Value) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap_or_default())
}

/// A provider that serves `chatty`, `thinker` and `claude`, each by its own API.
async fn models(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (head, body) = request_of(&mut stream).await;
        let line = head.lines().next().unwrap();
        let said = |message: &str| serde_json::json!({ "error": { "message": message } });
        let has = |name: &str| body[name] == 1;
        let (status, answer) = match (line, body["model"].as_str().unwrap_or_default()) {
            ("post /v1/chat/completions http/1.1", "chatty") if has("max_tokens") => {
                (200, serde_json::json!({ "choices": [] }))
            }
            ("post /v1/chat/completions http/1.1", "thinker") if has("max_completion_tokens") => {
                (400, said("Could not finish: output limit was reached"))
            }
            ("post /v1/chat/completions http/1.1", "thinker") => {
                (400, said("Use max_completion_tokens in its place"))
            }
            ("post /v1/messages http/1.1", "claude")
                if has("max_tokens") && head.contains("x-api-key: ") =>
            {
                (200, serde_json::json!({ "content": [] }))
            }
            ("post /v1/chat/completions http/1.1", "broken") => (200, said("is overloaded")),
            _ => (404, said(&format!("no such model for {SECRET}"))),
        };
        let body = answer.to_string();
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_of_a_model_makes_the_smallest_call_of_it_in_its_own_form() {
    let world = World::file().await;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    let server = tokio::spawn(models(listener));
    let key = world.key(SECRET).await.unwrap().id;
    let change = async |kind| {
        let change = UpstreamKeyChange {
            provider: Some(base.clone()),
            config: Some(KeyConfig {
                provider_type: kind,
                ..KeyConfig::default()
            }),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(&world.control, &ROOT, key, change)
            .await
            .unwrap();
    };
    for (kind, model, accepted, status) in [
        (ProviderType::Standard, "chatty", true, 200),
        (ProviderType::Standard, "thinker", true, 400),
        (ProviderType::Standard, "claude", false, 404),
        (ProviderType::Standard, "broken", false, 200),
        (ProviderType::Anthropic, "claude", true, 200),
        (ProviderType::Anthropic, "chatty", false, 404),
    ] {
        change(kind).await;
        let probe = ops::keys::probe(&world.control, &ROOT, key, Some(model))
            .await
            .unwrap();
        assert_eq!(
            (probe.accepted, probe.status),
            (accepted, status),
            "{model}"
        );
        assert!(!probe.detail.contains(SECRET) && !probe.detail.is_empty());
    }
    let odd = ops::keys::probe(&world.control, &ROOT, key, Some("a\nb")).await;
    assert!(matches!(odd, Err(Error::Invalid(error)) if error.field == "model"));
    server.abort();
}

#[tokio::test]
async fn the_pool_is_loaded_anew_by_itself_every_two_hours() {
    everywhere(async |world: &mut World| {
        let before = world.control.publisher().revision();
        world.control.tick(crate::RELOAD_TICKS - 1).await.unwrap();
        assert_eq!(world.control.publisher().revision(), before);
        world.control.tick(crate::RELOAD_TICKS).await.unwrap();
        assert!(world.control.publisher().revision() > before);
    })
    .await;
}

#[tokio::test]
async fn keys_are_found_by_the_beginning_of_a_name_or_a_model_by_id_and_by_state() {
    everywhere(async |world: &mut World| {
        let mut ids = Vec::new();
        for (name, models) in [
            ("Berlin", vec![]),
            ("paris", vec!["gpt-4o*"]),
            ("rome", vec!["o3"]),
        ] {
            let mut new = new_key(&format!("sk-upstream-0123456789-{name}"));
            new.name = name.to_owned();
            new.config.models = models.into_iter().map(ToOwned::to_owned).collect();
            ids.push(
                ops::keys::create(&world.control, &ROOT, new)
                    .await
                    .unwrap()
                    .id,
            );
        }
        let off = UpstreamKeyChange {
            enabled: Some(false),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(&world.control, &ROOT, ids[2], off)
            .await
            .unwrap();
        let health = KeyHealthReport {
            key: ids[1],
            model: None,
            state: HealthState::Disabled,
            reason: "401".to_owned(),
        };
        let name = node("one");
        ops::fleet::report_health(&world.control, &name, vec![health])
            .await
            .unwrap();
        let page = Page { page: 1, size: 10 };
        let found = async |search: &str, state: Option<KeyState>| {
            let filter = UpstreamKeyFilter {
                search: (!search.is_empty()).then(|| search.to_owned()),
                state,
                ..UpstreamKeyFilter::default()
            };
            let listed = ops::keys::list(&world.control, &ROOT, filter, page)
                .await
                .unwrap();
            assert_eq!(listed.total, listed.rows.len() as u64);
            listed
                .rows
                .into_iter()
                .map(|key| key.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(found("BER", None).await, ids[..1]);
        assert_eq!(found("gpt-4", None).await, ids[1..2]);
        assert_eq!(found(&ids[2].to_string(), None).await, ids[2..]);
        assert_eq!(found("erlin", None).await, []);
        assert_eq!(found("", Some(KeyState::Ready)).await, ids[..1]);
        assert_eq!(found("", Some(KeyState::Disabled)).await, ids[1..2]);
        assert_eq!(found("", Some(KeyState::Off)).await, ids[2..]);
        assert_eq!(found("ber", Some(KeyState::Off)).await, []);
    })
    .await;
}
