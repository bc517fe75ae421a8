//! `/x-conf`, `/dashboard/*` and `/x-gkey`.

use proxyxai_contract::{
    id::{KeyId, NodeName},
    snapshot::{HealthState, KeyHealthReport},
};
use serde_json::json;

use super::{RestHarness, SECRET, START, golden};
use crate::ops;

/// One line that summarizes a model of an explained route.
fn summary(stage: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let key = |key: &serde_json::Value| format!("{}:{}", key["ID"], text(&key["State"]));
    let level = |level: &serde_json::Value| {
        let keys: Vec<_> = level["Keys"].as_array().unwrap().iter().map(key).collect();
        let (why, strategy) = (text(&level["Why"]), text(&level["Strategy"]));
        format!(
            "{} {why} {} {strategy} [{}]",
            level["Level"],
            level["By"],
            keys.join(" ")
        )
    };
    let levels: Vec<_> = stage["Levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(level)
        .collect();
    let (model, why) = (text(&stage["Model"]), text(&stage["Why"]));
    format!("{model} {why} {}: {}", stage["By"], levels.join("; "))
}

#[tokio::test]
async fn a_route_is_explained_with_whose_rules_made_it() {
    let rig = RestHarness::start().await;
    for (at, level) in [0, 2, 2, 3].into_iter().enumerate() {
        let key = json!({ "SecretKey": format!("{SECRET}-{at}"), "Name": format!("key {at}"),
            "Provider": "https://a.example.com", "Level": level, "Status": at != 2,
            "Config": { "weight": 5, "max_concurrency": 7 } });
        rig.done("POST", "/x-keys", key).await;
    }
    rig.child(&rig.root, "alice", 100).await;
    let rules = json!({ "ModelMapper": "best=gpt-4o", "LevelMapper": "gpt-4o=2", "SwitchOver": "2=3",
        "KeyStrategy": "fastest,3=weighted", "Affinity": "session" });
    rig.done("POST", "/x-conf", rules).await;
    let own = json!({ "ModelFailover": "gpt-4o=o3", "Gear": 1 });
    rig.done("PUT", "/x-users/alice", own).await;
    let node = NodeName::new("node").unwrap();
    let health = KeyHealthReport {
        key: KeyId::new(2).unwrap(),
        model: Some("gpt-4o".to_owned()),
        state: HealthState::Sleeping {
            until: START.plus(60_000),
        },
        reason: "429".to_owned(),
    };
    ops::fleet::report_health(&rig.control, &node, vec![health])
        .await
        .unwrap();

    let shown = rig.get("/x-conf?explain=best&user=alice").await.body;
    golden("x-conf.explain", &shown);
    let route: Vec<_> = shown["Route"]
        .as_array()
        .unwrap()
        .iter()
        .map(summary)
        .collect();
    assert_eq!(
        route,
        [
            r#"gpt-4o mapped "system": 2 mapped "system" fastest [2:asleep 3:off]; 3 switch-over "system" weighted [4:ready]"#,
            r#"o3 failover "account 2": 0 account null fastest [1:ready]"#,
        ]
    );
    assert_eq!(shown["User"]["Name"], "alice");
    assert_eq!(
        (&shown["Affinity"], &shown["Refusal"]),
        (&json!("session"), &json!(null))
    );

    rig.done("PUT", "/x-users/alice", json!({ "AllowModels": "o3" }))
        .await;
    let refused = rig.get("/x-conf?explain=best&user=alice").await.body;
    assert!(refused["Refusal"].as_str().unwrap().contains("alice"));
    assert_eq!(refused["Route"], json!([]));
}

#[tokio::test]
async fn a_route_of_nobody_or_nothing_is_refused() {
    let rig = RestHarness::start().await;
    let alice = rig.child(&rig.root, "alice", 100).await;
    let long = format!("/x-conf?explain={}", "m".repeat(256));
    rig.get(&long)
        .await
        .refused(400, "invalid_request_error", "invalid_request");
    let nobody = rig.get("/x-conf?explain=m&user=nobody").await;
    nobody.refused(404, "not_found_error", "not_found");
    let hers = rig.ask("GET", "/x-conf?explain=m", &alice, "").await;
    hers.refused(403, "permission_error", "forbidden");
}

#[tokio::test]
async fn what_is_no_setting_is_refused_by_name() {
    let rig = RestHarness::start().await;
    for unknown in ["Color", "modelMapper", "LevelMaper", "loadkeys"] {
        let body = json!({ unknown: 1 }).to_string();
        let refused = rig.ask("POST", "/x-conf", &rig.root, &body).await;
        refused.names(unknown);
    }
}

#[tokio::test]
async fn settings_are_shown_and_changed_under_their_older_names() {
    let rig = RestHarness::start().await;
    let key = json!({ "SecretKey": SECRET, "Name": "tired", "Provider": "https://a.example.com", "Level": 1 });
    rig.done("POST", "/x-keys", key).await;
    let health = |model: Option<&str>, state| KeyHealthReport {
        key: KeyId::new(1).unwrap(),
        model: model.map(ToOwned::to_owned),
        state,
        reason: "429".to_owned(),
    };
    let until = START.plus(60_000);
    let node = NodeName::new("node").unwrap();
    let healths = vec![
        health(Some("gpt-4o"), HealthState::Sleeping { until }),
        health(None, HealthState::Disabled),
    ];
    ops::fleet::report_health(&rig.control, &node, healths)
        .await
        .unwrap();

    let shown = rig.get("/x-conf").await.body;
    golden("x-conf", &shown);
    assert_eq!(
        shown["SleepingKeys"][0]["Until"],
        "2025-03-10T09:47:40+00:00"
    );
    assert_eq!(shown["DisabledKeys"][0]["Name"], "tired");
    assert_eq!(shown["UserApiBalance"], 20);

    let change = json!({
        "ModelMapper": { "gpt-3*": "gpt-4o", "o1": "o3" }, "LevelMapper": "gpt-4*=2", "SwitchOver": "1=2",
        "Resources": "/v1/chat/completions", "LoadKeys": true, "StatsInterval": 5,
        "ModelFailover": { "gpt-4o": "o3|o1" }, "UserMinBalance": 3.5, "UserApiBalance": 30,
        "ModelLimits": { "gpt-4*": { "rpm": 5, "TPD": 1000 } },
    });
    let changed = rig.done("POST", "/x-conf", change).await;
    golden("x-conf.write", &changed);
    assert_eq!(changed["ignored"], json!(["StatsInterval"]));
    let shown = rig.get("/x-conf").await.body;
    assert_eq!(shown["ModelMapper"], "gpt-3*=gpt-4o,o1=o3");
    assert_eq!(shown["SwitchOver"], "1=2");
    assert_eq!(shown["ModelFailover"], "gpt-4o=o3|o1");
    assert_eq!(
        (&shown["UserMinBalance"], &shown["UserApiBalance"]),
        (&json!(3.5), &json!(30))
    );
    let limits = json!({ "gpt-4*": { "rpm": 5, "tpd": 1000 } });
    assert_eq!(shown["ModelLimits"], limits);

    let root = &rig.root;
    for (body, field) in [
        (r#"{"LoadKeys":"yes"}"#, "LoadKeys"),
        (r#"{"ModelMapper":7}"#, "ModelMapper"),
        (r#"{"ModelFailover":"a=b||c"}"#, "ModelFailover"),
        (r#"{"UserApiBalance":-1}"#, "UserApiBalance"),
        (r#"{"LogEnable":1}"#, "LogEnable"),
        (r#"{"StatsInterval":"often"}"#, "StatsInterval"),
        (r#"{"SwitchOver":{"1":"2"}}"#, "SwitchOver"),
        (r#"{"ModelLimits":{"gpt":{"rps":1}}}"#, "ModelLimits"),
        (r#"{"ModelLimits":[]}"#, "ModelLimits"),
        (
            r#"{"LevelMapper":"gpt=99","Resources":"/v1"}"#,
            "LevelMapper",
        ),
    ] {
        rig.ask("POST", "/x-conf", root, body).await.names(field);
    }
    assert_eq!(rig.get("/x-conf").await.body, shown);
    assert_eq!(
        rig.done("POST", "/x-conf", json!({})).await["updated"],
        json!({})
    );
}

#[tokio::test]
async fn x_conf_counts_for_every_descendant_and_x_config_does_not() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "berta", 10).await;
    rig.done("PUT", "/x-users/anna", json!({ "AllowLevels": "0,1,2" }))
        .await;
    let own = json!({
        "ModelMapper": "a=b", "LevelMapper": "a=1", "SwitchOver": "1=2", "ModelFailover": "a=b|c",
        "Resources": "/v1/embeddings", "AllowModels": "gpt-4o",
    });
    for name in ["anna", "berta"] {
        rig.done("PUT", &format!("/x-users/{name}"), own.clone())
            .await;
    }
    let set = json!({ "MODEL_MAPPER": "x=y", "RESOURCES": "/v1/chat/completions" });
    rig.done("PUT", "/x-config", set).await;
    let rules = [
        "ModelMapper",
        "LevelMapper",
        "SwitchOver",
        "ModelFailover",
        "Resources",
    ];
    let own_of = async |name: &str| {
        let info = rig.get(&format!("/x-info?user={name}")).await.body;
        rules.map(|rule| info[rule].as_str().unwrap().to_owned())
    };
    let before = ["a=b", "a=1", "1=2", "a=b|c", "/v1/embeddings"];
    assert_eq!(own_of("berta").await, before);

    let all = json!({ "ModelMapper": "x=z", "Resources": "/v1/messages" });
    rig.done("POST", "/x-conf", all).await;
    let after = ["", "a=1", "1=2", "a=b|c", "*"];
    for name in ["anna", "berta"] {
        assert_eq!(own_of(name).await, after, "{name}");
    }
    let shown = rig.get("/x-conf").await.body;
    assert_eq!(
        (&shown["ModelMapper"], &shown["Resources"]),
        (&json!("x=z"), &json!("/v1/messages"))
    );
    // An access list belongs to an account alone.
    assert_eq!(
        rig.get("/x-info?user=berta").await.body["AllowModels"],
        "gpt-4o"
    );
    let forbidden = rig
        .ask("POST", "/x-conf", &anna, r#"{"ModelMapper":"a=b"}"#)
        .await;
    forbidden.refused(403, "permission_error", "forbidden");
}

#[tokio::test]
async fn the_rules_that_a_caller_may_see_are_its_own() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.done(
        "PUT",
        "/x-config",
        json!({ "MODEL_MAPPER": "secret=cheap" }),
    )
    .await;
    rig.done("PUT", "/x-users/anna", json!({ "ModelMapper": "a=b" }))
        .await;
    let conf = rig.ask("GET", "/dashboard/conf", &anna, "").await.body;
    golden("dashboard.conf", &conf);
    assert_eq!(
        (&conf["model_mapper"], &conf["user_api_balance"]),
        (&json!("a=b"), &json!(20))
    );
    assert_eq!(
        rig.get("/dashboard/conf").await.body["model_mapper"],
        "secret=cheap"
    );
}

#[tokio::test]
async fn a_caller_sees_itself_on_every_path_of_the_dashboard() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    for path in [
        "/dashboard/info",
        "/dashboard/x-user-info",
        "/dashboard/x_user/info",
        "/dashboard/live",
    ] {
        let info = rig.ask("GET", path, &anna, "").await.body;
        golden("dashboard.info", &info);
        assert_eq!(
            (&info["name"], &info["balance"]),
            (&json!("anna"), &json!(100))
        );
        assert_eq!(info["create_at"], info["created_at"]);
        assert_eq!(info["rate_limit"], info["rpm"]);
    }
    assert_eq!(
        rig.get("/dashboard/info").await.body["credit_balance"],
        json!([])
    );
    for path in ["/dashboard/status", "/dashboard/x-user-status"] {
        let status = rig.ask("GET", path, &anna, "").await.body;
        golden("dashboard.status", &status);
        assert_eq!(
            (&status["manage"], &status["admin"]),
            (&json!(true), &json!(false))
        );
    }
    let poor = rig.child(&rig.root, "poor", 5).await;
    let status = rig.ask("GET", "/dashboard/status", &poor, "").await.body;
    assert_eq!(status["manage"], false);
    assert_eq!(rig.get("/dashboard/status").await.body["admin"], true);

    let fresh = rig.ask("GET", "/x-gkey", &poor, "").await.body;
    golden("x-gkey", &fresh);
    assert_eq!(fresh["key"].as_str().unwrap().len(), 51);
}
