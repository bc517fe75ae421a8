//! Where models are named, in any disguise.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::formats::request::read;

fn names(body: &Value, strict: bool) -> Vec<String> {
    let text = body.to_string();
    let facts = read(text.as_bytes(), "application/json", strict);
    facts.unwrap().named
}

#[test]
fn a_model_is_found_wherever_a_body_names_one() {
    for (more, found) in [
        (json!({"models": ["a", "b", "a"]}), vec!["a", "b"]),
        (json!({"fallbacks": ["a", {"model": "b"}]}), vec!["a", "b"]),
        (json!({"fallback_models": "a"}), vec!["a"]),
        (
            json!({"tools": [{"type": "function", "function": {"model": "no"}}, {"type": "image_generation", "model": "a"}]}),
            vec!["a"],
        ),
        (
            json!({"tools": [{"Model": "a", "model": "b"}]}),
            vec!["a", "b"],
        ),
        (
            json!({"plugins": [{"id": "no", "models": ["a"]}]}),
            vec!["a"],
        ),
        (
            json!({"session": {"model": "a", "audio": {"input": {"transcription": {"model": "b"}}}}}),
            vec!["b", "a"],
        ),
        (
            json!({"requests": [{"params": {"model": "a", "tools": [{"model": "b"}]}}, {"params": {"model": "c"}}, {"body": {"models": ["d"]}}]}),
            vec!["a", "b", "c", "d"],
        ),
        (
            json!({"testing_criteria": [{"type": "score_model", "model": "a"}], "data_source": {"model": "b"}}),
            vec!["b", "a"],
        ),
        (
            json!({"grader": {"graders": {"x": {"model": "a"}, "y": {"model": "b"}}}, "judge": "c"}),
            vec!["a", "b", "c"],
        ),
        (
            json!({"method": {"reinforcement": {"grader": {"model": "a"}}}}),
            vec!["a"],
        ),
        (
            json!({"judge": {"id": "a"}, "assistant": {"model": {"id": "b"}}}),
            vec!["b", "a"],
        ),
        (
            json!({"providerOptions": {"gateway": {"models": ["a"]}}}),
            vec!["a"],
        ),
        (
            json!({"messages": [{"model": "no"}], "metadata": {"model": "no"}, "tools": "model", "models": null}),
            vec![],
        ),
    ] {
        let mut body = json!({"model": "m"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(
            sorted(names(&body, true)),
            sorted(found.iter().map(ToString::to_string).collect()),
            "{body}"
        );
        assert_eq!(
            sorted(names(&more, false)),
            sorted(found.iter().map(ToString::to_string).collect()),
            "{more}"
        );
    }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn an_object_in_the_place_of_a_model_names_it_where_no_other_is_read() {
    assert_eq!(
        names(&json!({"model": {"id": "a", "speed": "fast"}}), false),
        ["a"]
    );
    let text = r#"{"model":{"id":"a"}}"#;
    assert!(read(text.as_bytes(), "application/json", true).is_err());
}

#[test]
fn a_name_in_disguise_is_the_name_all_the_same() {
    for body in [
        r#"{"model":"m","tools":[{"\u006dodel":"a"}]}"#,
        r#"{"model":"m","tools":[{"MODEL":"a"}]}"#,
        r#"{"model":"m","tools":[[{"model ":"\u0061"}]]}"#,
        r#"{"model":"m","tools":null,"models":["a"]}"#,
    ] {
        let facts = read(body.as_bytes(), "application/json", true).unwrap();
        assert_eq!(facts.named, ["a"], "{body}");
    }
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let many: Vec<_> = (0..65).map(|n| n.to_string()).collect();
    let deep = (0..20).fold(json!("a"), |inner, _| json!([inner]));
    for more in [
        json!({"models": many}),
        json!({"models": deep}),
        json!({"models": [7]}),
        json!({"models": [{"name": "a"}]}),
        json!({"fallbacks": [{"a": ["b"]}]}),
        json!({"models": ["x".repeat(2000)]}),
        json!({"route": "fallback"}),
        json!({"route": {"models": ["a"]}}),
    ] {
        let mut body = json!({"model": "m"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let text = body.to_string();
        let read = read(text.as_bytes(), "application/json", true);
        assert!(read.is_err(), "{body}");
    }
}

#[test]
fn a_target_names_models_too() {
    assert_eq!(
        in_target("/v1/realtime", Some("x=1&%6dodel=a%2Fb")),
        ["a/b"]
    );
    assert_eq!(
        in_target("/v1/models/g-1.5:generateContent", None),
        ["g-1.5"]
    );
    assert!(in_target("/v1/files/f", Some("x=model")).is_empty());
}

proptest! {
    /// Skipping finds the same names as a full parser.
    #[test]
    fn tools_of_any_shape_are_followed(models in prop::collection::vec("[a-z]{1,4}", 0..5), noise in "\\PC{0,40}") {
        let tools: Vec<_> = models.iter().map(|model| json!({"type": noise, "x": {"y": [noise]}, "model": model})).collect();
        let body = json!({"model": "m", noise.clone() + "?": noise, "tools": tools});
        let found = names(&body, true);
        prop_assert!(models.iter().all(|model| found.contains(model)));
        prop_assert!(found.iter().all(|name| models.contains(name)));
    }
}
