//! Fields of accounts: what each may hold, who may change it, and how accounts are found by it.

use serde_json::{Value, json};

use super::{RestHarness, golden};

#[tokio::test]
async fn everything_about_an_account_is_told_to_its_ancestors_and_itself() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "berta", 10).await;
    let change = json!({
        "Alias": "B", "BillingEmail": "bills@example.com", "QRCode": "https://a.example.com/q.png", "Level": 2, "Gear": 3,
        "Role": 4, "Tier": 5, "Rates": 1.5, "Factor": 0.5, "HardLimit": 50, "SoftLimit": 40, "AutoQuota": 10,
        "RPM": 1, "RPH": 2, "RPD": 3, "TPM": 4, "TPH": 5, "TPD": 6, "AllowIPs": "10.0.0.0/8", "AllowModels": "gpt-*",
        "AllowLevels": "1,2", "Resources": "/v1/", "ModelMapper": "a=b", "LevelMapper": "a*=2", "SwitchOver": "1=2",
        "ModelFailover": "a=b|c", "ChildLimit": 7, "Suspended": false,
    });
    let parent = json!({ "AllowLevels": "1,2", "Gear": 3 });
    rig.done("PUT", "/x-users/anna", parent).await;
    rig.done("PUT", "/x-users/berta", change.clone()).await;
    let info = rig.ask("GET", "/x-info?user=berta", &anna, "").await.body;
    golden("x-info", &info);
    for (field, value) in change.as_object().unwrap() {
        assert_eq!(&info[field], value, "{field}");
    }
    assert_eq!(
        (&info["DNA"], &info["OID"], &info["ParentID"]),
        (&json!(".1.2.3."), &json!(1), &json!(2))
    );
    assert_eq!(info["PublicKey"].as_str().unwrap().len(), 64);
    let own = rig.ask("GET", "/x-info", &anna, "").await.body;
    assert_eq!(own["Name"], "anna");
    let none = rig.ask("GET", "/x-info?user=root", &anna, "").await;
    none.refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn a_child_is_created_with_every_field_and_inherits_the_rest() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    let parent = json!({
        "Level": 2, "Gear": 3, "Rates": 1.5, "RPM": 60, "ChildLimit": 9, "Tier": 4, "AllowModels": "gpt-*", "AllowLevels": "1,2",
    });
    rig.done("PUT", "/x-users/anna", parent).await;
    rig.child(&anna, "plain", 10).await;
    let plain = rig.get("/x-info?user=plain").await.body;
    let inherited =
        ["Level", "Gear", "Rates", "RPM", "ChildLimit", "Factor"].map(|field| plain[field].clone());
    assert_eq!(
        inherited,
        [
            json!(2),
            json!(3),
            json!(1.5),
            json!(60),
            json!(9),
            json!(1)
        ]
    );
    assert_eq!(
        (&plain["Alias"], &plain["BillingEmail"], &plain["AutoQuota"]),
        (&json!("plain"), &json!(""), &json!(0))
    );
    assert_eq!(
        (&plain["HardLimit"], &plain["SoftLimit"]),
        (&json!(100), &json!(80))
    );
    assert_eq!(
        (&plain["AllowModels"], &plain["Resources"]),
        (&json!("*"), &json!("*"))
    );
    let whole = json!({
        "Name": "whole", "Email": "whole@example.com", "CreditGranted": 10, "Level": 1, "Gear": 1, "Role": 2, "Tier": 3,
        "RPM": 60, "TPD": 5, "ModelMapper": "a=b", "ModelFailover": "a=b|c", "SwitchOver": "1=2", "ChildLimit": 1,
        "QRCode": "https://a.example.com/q.png", "HardLimit": 20, "SoftLimit": 5, "AutoQuota": 1, "Suspended": true,
    });
    let added = rig.ask("POST", "/x-users", &anna, &whole.to_string()).await;
    assert_eq!(added.status.as_u16(), 200, "{}", added.body);
    let info = rig.get("/x-info?user=whole").await.body;
    for (field, value) in whole.as_object().unwrap() {
        assert_eq!(&info[field], value, "{field}");
    }
    let key = added.body["User"]["SecretKey"].as_str().unwrap();
    let stopped = rig.ask("GET", "/dashboard/info", key, "").await;
    stopped.refused(401, "authentication_error", "account_suspended");
}

#[tokio::test]
async fn who_may_change_what_is_kept() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 100).await;
    rig.child(&anna, "berta", 10).await;
    let put = async |path: &str, body: Value| rig.ask("PUT", path, &anna, &body.to_string()).await;
    let own = put(
        "/x-users/anna",
        json!({ "Name": "anna", "Alias": "A", "BillingEmail": "b@example.com" }),
    )
    .await;
    assert_eq!(own.body["User"]["Updates"]["Name"], "anna");
    for body in [
        json!({ "RPM": 1 }),
        json!({ "Suspended": false }),
        json!({ "CreditGranted": 5 }),
        json!({ "Name": "other" }),
        json!({ "SwitchOver": "1=2" }),
        json!({ "ModelFailover": "a=b" }),
        json!({ "QRCode": "x" }),
        json!({ "Level": 1 }),
    ] {
        put("/x-users/anna", body)
            .await
            .refused(403, "permission_error", "forbidden");
    }
    put("/x-users/berta", json!({ "Factor": 0.5 }))
        .await
        .refused(403, "permission_error", "forbidden");
    // Sending back what was shown changes nothing.
    let same = put("/x-users/berta", json!({ "Factor": 1, "Role": 7 })).await;
    assert_eq!(same.status, 200, "{}", same.body);
    for (body, field) in [
        (json!({ "Rates": 0.5 }), "Rates"),
        (json!({ "RPM": 99_999_999 }), "RPM"),
        (json!({ "ModelFailover": "a=b||c" }), "ModelFailover"),
        (json!({ "SwitchOver": "1" }), "SwitchOver"),
        (json!({ "Suspended": "yes" }), "Suspended"),
        (json!({ "Role": 3_000_000_000_u64 }), "Role"),
        (json!({ "Resources": "v1" }), "Resources"),
    ] {
        put("/x-users/berta", body).await.names(field);
    }
    // Old pages send the text that the user typed as the name.
    for identifier in ["3", "berta", "berta%40example.com", ".1.2.3."] {
        let name = identifier.replace("%40", "@");
        let changed = put(
            &format!("/x-users/{identifier}"),
            json!({ "Name": name, "Alias": "B" }),
        )
        .await;
        assert_eq!(changed.body["User"]["Name"], "berta", "{}", changed.body);
    }
    let parents = put("/x-users/root", json!({ "Alias": "R" })).await;
    parents.refused(404, "not_found_error", "not_found");
}

#[tokio::test]
async fn accounts_are_found_by_their_labels_and_put_in_order() {
    let rig = RestHarness::start().await;
    for (name, change) in [
        ("carla", json!({ "Level": 3, "Gear": 2 })),
        ("anna", json!({ "Role": 2, "Tier": 5 })),
        ("berta", json!({ "Level": 3, "Factor": 2 })),
    ] {
        rig.child(&rig.root, name, 100).await;
        rig.done("PUT", &format!("/x-users/{name}"), change).await;
    }
    let names = async |path: &str| {
        let answer = rig.get(path).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.body);
        let rows = answer.body.as_array().unwrap().iter();
        let names: Vec<_> = rows
            .map(|row| row["Name"].as_str().unwrap().to_owned())
            .collect();
        names.join(" ")
    };
    for (path, found) in [
        ("/x-users/L3", "berta carla"),
        ("/x-users/G2", "carla"),
        ("/x-dna/R2", "anna"),
        ("/x-users/T5", "anna"),
        ("/x-users/F2", "berta"),
        ("/x-users/F2?level=3", "berta"),
        ("/x-users?level=3&gear=2", "carla"),
        ("/x-users?factor=2.0&role=0", "berta"),
        ("/x-users?tier=5", "anna"),
        ("/x-users?order=name", "anna berta carla"),
        ("/x-users?order=-email", "carla berta anna"),
        ("/x-users?order=asc", "carla anna berta"),
        ("/x-dna?order=-name&size=1&page=2", "berta"),
        ("/x-users?dna=.1.2.", "carla"),
    ] {
        assert_eq!(names(path).await, found, "{path}");
    }
    for (path, field) in [
        ("/x-users?order=rank", "order"),
        ("/x-users?gear=300", "gear"),
        ("/x-users?factor=x", "factor"),
        ("/x-users?role=99999999999", "role"),
    ] {
        rig.get(path).await.names(field);
    }
}

#[tokio::test]
async fn the_worked_chain_of_the_documentation_comes_out_to_the_cent() {
    let rig = RestHarness::start().await;
    let parent = rig.child(&rig.root, "parent", 10_000).await;
    let ask = async |method: &str, path: &str, body: Value| {
        let answer = rig.ask(method, path, &parent, &body.to_string()).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        answer.body
    };
    let put = async |body: Value| ask("PUT", "/x-users/child", body).await;
    let balances = |side: &Value| -> Vec<f64> {
        let cards = side["CreditBalance"].as_array().unwrap().iter();
        let balance = |card: &Value| card["balance"].as_f64().unwrap();
        cards.map(balance).collect()
    };
    let limits = |updates: &Value| [updates["HardLimit"].clone(), updates["SoftLimit"].clone()];
    let new = json!({ "Name": "child", "Email": "child@example.com", "CreditGranted": 100 });
    let added = ask("POST", "/x-users", new).await;
    assert_eq!(balances(&added["Parent"]), [9_900.0]);
    assert_eq!(limits(&added["User"]["Updates"]), [100, 80]);
    rig.child(&parent, "sibling", 100).await;
    let topped = put(json!({ "CreditGranted": 80 })).await;
    assert_eq!(topped["Parent"]["Balance"], 9_720);
    assert_eq!(topped["User"]["Updates"]["Balance"], 180);
    assert_eq!(limits(&topped["User"]["Updates"]), [200, 80]);
    let taken = put(json!({ "CreditGranted": -50 })).await;
    assert_eq!(taken["Parent"]["Balance"], 9_769.8);
    assert_eq!(balances(&taken["Parent"]), [50.0, 9_719.8]);
    assert_eq!(balances(&taken["User"]["Updates"]), [50.0, 80.0]);
    let dearer = put(json!({ "Rates": 2 })).await;
    assert_eq!(balances(&dearer["User"]["Updates"]), [100.0, 160.0]);
    assert_eq!(dearer["User"]["Updates"]["Balance"], 260);
    assert_eq!(limits(&dearer["User"]["Updates"]), [300, 80]);
    assert_eq!(dearer["Parent"]["Balance"], 9_769.8);
    let deleted = ask("DELETE", "/x-users/child", json!({})).await;
    assert_eq!(balances(&deleted["User"]), [100.0, 160.0]);
    let mut cards = balances(&deleted["Parent"]);
    cards.sort_by(f64::total_cmp);
    assert_eq!(cards, [50.0, 129.8, 9_719.8]);
    let info = ask("GET", "/dashboard/info", json!({})).await;
    assert_eq!(info["balance"], 9_899.6);
}

#[tokio::test]
async fn a_childs_parent_gets_its_share_when_another_ancestor_gives() {
    let rig = RestHarness::start().await;
    let anna = rig.child(&rig.root, "anna", 1_000).await;
    let berta = rig.child(&anna, "berta", 100).await;
    rig.child(&berta, "carla", 10).await;
    rig.done("PUT", "/x-users/berta", json!({ "Rates": 2 }))
        .await;
    rig.done("PUT", "/x-users/carla", json!({ "Rates": 4 }))
        .await;
    let balance =
        async |name: &str| rig.get(&format!("/x-info?user={name}")).await.body["Balance"].clone();
    let grant = async |key: &str, amount: i64| {
        let body = json!({ "CreditGranted": amount }).to_string();
        rig.ask("PUT", "/x-users/carla", key, &body).await
    };
    // Off unless it is set.
    assert_eq!(grant(&anna, 40).await.body["Parent"]["Balance"], 890);
    assert_eq!(balance("berta").await, 180);
    rig.done("PUT", "/x-config", json!({ "COMMISSION_PERCENT": 5 }))
        .await;
    // 40 in Carla's units are 10 in Anna's; 5 % of that is 1 in Berta's.
    assert_eq!(grant(&anna, 40).await.body["Parent"]["Balance"], 879.5);
    assert_eq!(
        (balance("berta").await, balance("carla").await),
        (json!(181), json!(120))
    );
    let cards = rig.get("/x-info?user=berta").await.body["CreditBalance"].clone();
    assert_eq!(cards[1]["reference"], "Commission");
    // A parent pays itself no commission, a deduction takes none back, and root creates credit.
    assert_eq!(grant(&berta, 4).await.body["Parent"]["Balance"], 179);
    grant(&anna, -4).await;
    assert_eq!(balance("berta").await, 179);
    grant(&rig.root, 40).await;
    assert_eq!(balance("berta").await, 180);
    // Nothing moves if the commission cannot be paid.
    let carla = balance("carla").await;
    let refused = grant(&anna, 3_520).await;
    refused.refused(402, "insufficient_quota", "insufficient_quota");
    assert_eq!(
        (balance("berta").await, balance("carla").await),
        (json!(180), carla)
    );
    let books = crate::ops::reports::verify(&rig.control, &crate::testing::ROOT).await;
    assert_eq!(books.unwrap().difference, None);
}
