//! Checks the register against every method and path of the providers' public references: each is billed by model, has
//! an owner, or is closed. Only model lists, which the gateway answers itself, are free.

use serde_json::Value;

use super::*;

const REFERENCES: &str = include_str!("../../../../tests/data/references.json");

/// Method and path, with ids for parameters.
fn endpoints() -> Vec<(Method, String)> {
    let references: Value = serde_json::from_str(REFERENCES).unwrap();
    let mut all = Vec::new();
    for provider in references.as_array().unwrap() {
        assert!(!provider["sources"].as_array().unwrap().is_empty());
        for endpoint in provider["endpoints"].as_array().unwrap() {
            let (method, path) = endpoint.as_str().unwrap().split_once(' ').unwrap();
            let mut filled = String::new();
            for (at, part) in path.split(['{', '}']).enumerate() {
                filled.push_str(if at % 2 == 0 { part } else { "id_1" });
            }
            all.push((Method::from_bytes(method.as_bytes()).unwrap(), filled));
        }
    }
    assert!(all.len() > 400, "{}", all.len());
    all
}

fn of(method: &Method, path: &str) -> EndpointMatch {
    find(method, &canonical(path))
}

/// Whether a call may go to a provider without the operator's consent.
fn is_open(found: EndpointMatch) -> bool {
    matches!(found, EndpointMatch::Row(row) if !matches!(row.billing, BillingRule::Closed(_)))
}

#[test]
fn no_endpoint_of_a_reference_is_free() {
    for (method, path) in endpoints() {
        let EndpointMatch::Row(row) = of(&method, &path) else {
            continue;
        };
        if row.billing == BillingRule::Free {
            let owned = [row.makes, row.names, row.lists]
                .iter()
                .any(Option::is_some);
            let models = is_models(&path) && method == Method::GET;
            assert!(owned || models, "{method} {path}");
        }
    }
}

#[test]
fn what_hands_out_an_account_is_closed_in_every_spelling() {
    for (method, path) in endpoints() {
        let words = [
            "organization",
            "client_secrets",
            "/sessions",
            "calls",
            "auth_tokens",
            "vaults",
        ];
        if words.iter().any(|word| path.contains(word)) {
            for path in spellings(&path) {
                assert!(!is_open(of(&method, &path)), "{method} {path}");
            }
        }
    }
}

/// Spellings that a lenient provider may read as the path.
fn spellings(path: &str) -> Vec<String> {
    let bare = path.strip_prefix("/v1").unwrap_or(path);
    let last = bare.rfind('/').unwrap_or_default();
    let (folder, name) = bare.split_at(last);
    let first = name.chars().nth(1).unwrap_or('x');
    let escaped = format!(
        "{folder}/%{:02x}{}",
        u32::from(first),
        name.get(2..).unwrap_or_default()
    );
    vec![
        format!("/v1{bare};a=1"),
        format!("/v1{folder};a{name}"),
        format!("/v1{escaped}"),
        format!("/v1{folder}%2f{}", name.trim_start_matches('/')),
        format!("/v1{folder}%252F{}", name.trim_start_matches('/')),
        format!("/v1{folder}/%2e{name}"),
        format!("/v1/x/%2e%2e{bare}"),
        format!("/v1{folder}/{name}"),
        format!("//v1{bare}"),
        format!("/v1{bare}/"),
        format!("/v1{bare}//"),
        format!("/v1/v1{bare}"),
        format!("/v1/openai{bare}"),
        format!("/v1/openai/v1{bare}"),
        format!("/openai/v1{bare}"),
        format!("/v1{bare}%00"),
        format!("/v1{bare}%00.json"),
        format!("/v1{bare}%20"),
        format!("/v1{bare}%09"),
        format!("/v1/%20{}", bare.trim_start_matches('/')),
        format!("/v1{}", bare.to_uppercase()),
        format!("/V1{bare}"),
        format!("/v1{}", bare.replacen('/', "\\", 2)),
        format!("/v1{bare}%23"),
        format!("/v1{bare}%3fa"),
        bare.to_owned(),
    ]
}

#[test]
fn another_spelling_is_the_endpoint_itself_or_refused() {
    for (method, path) in endpoints() {
        let plain = of(&method, &path);
        for odd in spellings(&path) {
            let found = of(&method, &odd);
            assert!(
                found == plain || !is_open(found),
                "{method} {odd} is {found:?}, {path} is {plain:?}"
            );
            if matches!(plain, EndpointMatch::Row(row) if row.takes_model()) {
                assert_ne!(
                    found,
                    EndpointMatch::Unknown,
                    "{method} {odd} could be opened"
                );
                if found == plain {
                    assert_eq!(canonical(&odd), path, "it goes on in its one spelling");
                }
            }
        }
    }
}

#[test]
fn another_method_is_refused_unless_it_is_an_endpoints_own() {
    let known = endpoints();
    for (_, path) in &known {
        for method in [
            "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "get", "pOST",
            "QUERY",
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = of(&method, path);
            if let EndpointMatch::Row(row) = found {
                assert!(row.verb.is(&method), "{method} {path}");
                let lower = method.as_str().chars().any(char::is_lowercase);
                assert!(!lower, "{method} {path}");
            }
            let own = |other: &Method| matches!(of(other, path), EndpointMatch::Row(row) if row.takes_model());
            if !own(&method) && own(&Method::POST) {
                let closed = matches!(found, EndpointMatch::Row(row) if !row.takes_model());
                assert!(
                    found == EndpointMatch::Misspelt || closed,
                    "{method} {path} could be opened"
                );
            }
        }
    }
}
