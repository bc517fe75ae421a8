//! Which spellings match an endpoint.

use std::{collections::HashSet, fmt::Write as _};

use proptest::prelude::*;

use super::*;

fn of(method: &Method, path: &str) -> EndpointMatch {
    find(method, &canonical(path))
}

fn own(path: &str) -> &'static str {
    match of(&Method::POST, path) {
        EndpointMatch::Row(row) => row.path,
        EndpointMatch::Misspelt => "misspelt",
        EndpointMatch::Unknown => "unknown",
    }
}

#[test]
fn an_endpoint_is_known_with_whatever_version_a_client_puts_before_it() {
    for path in [
        "/v1/chat/completions",
        "/chat/completions",
        "/v2/chat/completions",
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/v1/chat/completions",
        "/v1/openai/chat/completions",
        "/v1/openai/v1/chat/completions",
        "/openai/v1/chat/completions",
    ] {
        assert_eq!(canonical(path), "/v1/chat/completions", "{path}");
        assert_eq!(own(path), "/chat/completions", "{path}");
    }
}

#[test]
fn what_a_lenient_provider_would_take_for_an_endpoint_is_no_unknown_one() {
    for path in [
        "/v1/chat%2Fcompletions",
        "/v1/chat/completi%6Fns",
        "/v1/Chat/Completions",
        "/v1/chat/completions;v=1",
        "/v1/chat;v=1/completions",
        "/v1/chat/completions%00.json",
        "/v1/chat/completions%20",
        "/v1/chat\\completions",
        "/v1/models/../chat/completions",
        "/v1/%2e/chat/completions",
        "/v1/V1/chat/completions",
        "/v1/chat%252Fcompletions",
    ] {
        assert_eq!(own(path), "misspelt", "{path}");
    }
    for path in ["/v1/chat", "/v1/chat/completions/x", "/v1/chatcompletions"] {
        assert_ne!(own(path), "/chat/completions", "{path}");
    }
}

#[test]
fn a_method_is_the_rows_own() {
    for method in ["GET", "PUT", "PATCH", "HEAD", "post", "PoST", "X"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = of(&method, "/v1/embeddings");
        assert_eq!(found, EndpointMatch::Misspelt, "{method}");
    }
}

#[test]
fn parameters_are_single_ids_and_models_may_have_slashes() {
    let get = |path| match of(&Method::GET, path) {
        EndpointMatch::Row(row) => row.path,
        _ => "none",
    };
    assert_eq!(get("/v1/responses/resp_1"), "/responses/{id}");
    assert_eq!(
        get("/v1/responses/resp_1/input_items"),
        "/responses/{id}/input_items"
    );
    assert_eq!(get("/v1/models/meta/llama-3.1:free"), "/models/{model}");
    assert_eq!(get("/v1/models/meta%2Fllama"), "/models/{model}");
    for path in [
        "/v1/responses/a%2Fb",
        "/v1/responses/..",
        "/v1/responses/a;b",
        "/v1/models/%2e%2e/x",
    ] {
        assert_eq!(get(path), "none", "{path}");
    }
}

#[test]
fn the_register_has_each_endpoint_once_and_pays_each_open_post_by_its_model() {
    let mut seen = HashSet::new();
    for row in ENDPOINTS {
        assert!(
            seen.insert((format!("{:?}", row.verb), row.path)),
            "{row:?}"
        );
        assert!(
            row.path.starts_with('/') && !row.path.ends_with('/'),
            "{row:?}"
        );
        assert_eq!(row.path, row.path.to_lowercase());
        match row.billing {
            BillingRule::ByCalls | BillingRule::ByFile => assert!(row.makes.is_some(), "{row:?}"),
            BillingRule::ByModel => assert_eq!(row.verb, Verb::Post, "{row:?}"),
            BillingRule::Free => assert!(
                row.verb == Verb::Get || row.names.is_some() || row.makes.is_some(),
                "{row:?}"
            ),
            BillingRule::Closed(why) => assert!(!why.is_empty()),
        }
        let path = row.path.replace(['{', '}'], "");
        let found = find(&method(row.verb), &format!("/v1{path}"));
        assert_eq!(found, EndpointMatch::Row(row), "another row hides it");
    }
}

fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
    }
}

proptest! {
    #[test]
    fn the_canonical_path_is_its_own(path in "(/(v1|openai|v2|chat|files|models|x)?){0,4}(/[a-z;%2F.]{0,4})?") {
        let once = canonical(&path).into_owned();
        prop_assert_eq!(canonical(&once).into_owned(), once.clone());
    }

    /// A path that a provider may transform into an endpoint is that endpoint or is refused.
    #[test]
    fn no_spelling_of_an_endpoint_is_unknown(
        escaped in proptest::collection::vec(any::<bool>(), 20),
        upper in proptest::collection::vec(any::<bool>(), 20),
        slashes in 1usize..4,
        end in "(;[a-z]{0,3}|%00|%20|/|)",
    ) {
        let mut path = "/v1".to_owned();
        path.push_str(&"/".repeat(slashes));
        for ((char, escaped), upper) in "chat/completions".chars().zip(escaped).zip(upper) {
            let char = if upper { char.to_ascii_uppercase() } else { char };
            if escaped {
                write!(path, "%{:02x}", u32::from(char)).unwrap();
            } else {
                path.push(char);
            }
        }
        path.push_str(&end);
        prop_assert_ne!(of(&Method::POST, &path), EndpointMatch::Unknown, "{}", path);
    }
}
