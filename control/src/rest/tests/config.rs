//! `/x-config`.

use serde_json::json;

use super::{RestHarness, golden};
use crate::{domain::setting, ops};

#[tokio::test]
async fn settings_are_shown_stored_and_dropped_under_their_own_names() {
    let rig = RestHarness::start().await;
    let shown = rig.get("/x-config").await.body;
    // Every setting is present, as text.
    let mut names: Vec<_> = setting::ALL.iter().map(|setting| setting.name).collect();
    names.sort_unstable();
    let configs = shown["configs"].as_object().unwrap();
    assert!(configs.values().all(serde_json::Value::is_string));
    let mut found: Vec<_> = configs.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, names);
    golden(
        "x-config",
        &json!({ "success": shown["success"], "configs": {} }),
    );
    assert_eq!(shown["configs"]["USER_API_BALANCE"], "20");

    let pricing = json!({ "ChatPricing": { "my-model": { "InputText": 1, "OutputText": 2 } } });
    let set = json!({
        "MODEL_MAPPER": "a=b", "MODEL_FAILOVER": "a=b|c", "EMAIL_PORT": 587, "EMAIL_TLS": true,
        "PRICING": pricing, "XAI_MAIL": null,
    });
    for (method, mapped) in [("PUT", "a=b"), ("POST", "a=c")] {
        let mut set = set.clone();
        set["MODEL_MAPPER"] = mapped.into();
        let updated = rig.done(method, "/x-config", set).await;
        golden("x-config.update", &updated);
        assert_eq!(updated["updated"]["MODEL_MAPPER"], mapped);
        assert_eq!(updated["updated"]["EMAIL_PORT"], "587");
    }
    let configs = rig.get("/x-config").await.body;
    assert_eq!(configs["configs"]["MODEL_FAILOVER"], "a=b|c");
    let deleted = rig
        .done(
            "DELETE",
            "/x-config",
            json!({ "keys": ["MODEL_MAPPER", "EMAIL_PORT"] }),
        )
        .await;
    golden("x-config.delete", &deleted);
    let configs = rig.get("/x-config").await.body;
    assert_eq!(configs["configs"]["MODEL_MAPPER"], "");
    assert_eq!(configs["configs"]["EMAIL_PORT"], "465");
}

#[tokio::test]
async fn a_secret_is_sealed_where_it_is_kept_and_never_shown() {
    let rig = RestHarness::start().await;
    let set = json!({ "EMAIL_PASS": "correct horse battery" });
    let updated = rig.done("PUT", "/x-config", set).await;
    assert_eq!(updated["updated"]["EMAIL_PASS"], "***");
    // Sending back what was shown changes nothing.
    rig.done(
        "PUT",
        "/x-config",
        json!({ "EMAIL_PASS": "***", "EMAIL_AUTH": "me" }),
    )
    .await;
    assert_eq!(
        rig.get("/x-config").await.body["configs"]["EMAIL_PASS"],
        "***"
    );
    let pass = ops::settings::secret(&rig.control, &setting::EMAIL_PASS).await;
    let pass = pass.unwrap().unwrap();
    assert_eq!(pass.expose(), "correct horse battery");
    for file in std::fs::read_dir(rig.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"correct horse"));
    }
    rig.done("PUT", "/x-config", json!({ "EMAIL_PASS": "" }))
        .await;
    assert_eq!(rig.get("/x-config").await.body["configs"]["EMAIL_PASS"], "");
}

#[tokio::test]
async fn what_is_wrong_with_a_setting_is_named_and_nothing_is_stored() {
    let rig = RestHarness::start().await;
    let before = rig.get("/x-config").await.body;
    let root = &rig.root;
    for (method, body, field) in [
        ("PUT", r#"{"COLOR":"red","MODEL_MAPPER":"a=b"}"#, "COLOR"),
        ("PUT", r#"{"model_mapper":"a=b"}"#, "model_mapper"),
        ("POST", r#"{"EMAIL_PORT":70000}"#, "EMAIL_PORT"),
        ("PUT", r#"{"EMAIL_SMTP":"smtp example"}"#, "EMAIL_SMTP"),
        ("PUT", r#"{"MODEL_MAPPER":["a=b"]}"#, "MODEL_MAPPER"),
        (
            "PUT",
            r#"{"COMMISSION_PERCENT":"101"}"#,
            "COMMISSION_PERCENT",
        ),
        ("PUT", "[]", "body"),
        ("DELETE", r#"{"keys":["COLOR"]}"#, "COLOR"),
        ("DELETE", r#"{"keys":"MODEL_MAPPER"}"#, "keys"),
        ("DELETE", "{}", "keys"),
    ] {
        rig.ask(method, "/x-config", root, body).await.names(field);
    }
    assert_eq!(rig.get("/x-config").await.body, before);
    let anna = rig.child(root, "anna", 100).await;
    for method in ["GET", "PUT", "POST", "DELETE"] {
        let body = if method == "DELETE" {
            r#"{"keys":[]}"#
        } else {
            "{}"
        };
        let refused = rig.ask(method, "/x-config", &anna, body).await;
        refused.refused(403, "permission_error", "forbidden");
    }
}
