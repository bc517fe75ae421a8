//! A child is never allowed more than its parent: in models, levels, switches and the month's limit, both when set and
//! when used. Windows are in `windows`.

use serde_json::{Value, json};

use crate::{
    routing::{limited, models},
    upstream::{Script, Upstream},
    world::{World, refused},
};

const CHEAP: &str = "sk-upstream-cheap-aaaaaaaaaaaaaaaa";
const DEAR: &str = "sk-upstream-dear-bbbbbbbbbbbbbbbbbb";

struct Rig {
    world: World,
    upstream: Upstream,
    /// Key of alice, a child of root.
    alice: String,
    /// Key of berta, a child of alice.
    berta: String,
}

impl Rig {
    /// A key of level 0, and one of level 5.
    async fn start() -> Self {
        let (world, upstream) = (World::start().await, Upstream::start().await);
        for (key, level) in [(CHEAP, 0), (DEAR, 5)] {
            upstream.script(key, Script::Chat);
            let body = json!({"SecretKey": key, "Provider": upstream.base, "Level": level});
            world.add_key_with(body).await;
        }
        let alice = world.add_account("alice", 100.0).await;
        let new = json!({"Name": "berta", "Email": "berta@example.com", "CreditGranted": 20});
        let added = world.post("/x-users", &alice, &new).await;
        assert_eq!(added.status(), 200);
        let added: Value = added.json().await.unwrap();
        let berta = added["User"]["SecretKey"].as_str().unwrap().to_owned();
        Self {
            world,
            upstream,
            alice,
            berta,
        }
    }

    /// Changes berta as alice. Returns the error message if it is refused.
    async fn set(&self, body: Value) -> Option<String> {
        let put = self.world.http.put(self.world.url("/x-users/berta"));
        let answer = put
            .bearer_auth(&self.alice)
            .json(&body)
            .send()
            .await
            .unwrap();
        if answer.status() == 200 {
            return None;
        }
        Some(refused(answer, 400, "invalid_request").await)
    }

    async fn chat(&self, model: &str) -> u16 {
        let answer = self.world.chat(&self.berta, model).await;
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        status
    }
}

#[tokio::test]
async fn a_map_of_a_childs_does_not_lead_round_its_parents_list() {
    let rig = Rig::start().await;
    rig.world
        .change("alice", json!({"AllowModels": "gpt-4o-mini"}))
        .await;
    assert_eq!(
        rig.set(json!({"ModelMapper": "gpt-4o-mini=gpt-4o"})).await,
        None
    );
    let answer = rig.world.chat(&rig.berta, "gpt-4o-mini").await;
    let message = refused(answer, 403, "model_not_allowed").await;
    assert!(
        message.contains("alice") && message.contains("gpt-4o"),
        "{message}"
    );
    assert_eq!(
        rig.set(json!({"ModelMapper": "", "ModelFailover": "gpt-4o-mini=gpt-4o"}))
            .await,
        None
    );
    rig.upstream.script(CHEAP, limited());
    assert_ne!(rig.chat("gpt-4o-mini").await, 200);
    assert_eq!(models(&rig.upstream, CHEAP), ["gpt-4o-mini"]);
}

#[tokio::test]
async fn what_a_parent_maps_is_open_to_its_children_under_its_name() {
    let rig = Rig::start().await;
    let fast = json!({"AllowModels": "fast", "ModelMapper": "fast=gpt-4o"});
    rig.world.change("alice", fast).await;
    assert_eq!(rig.chat("fast").await, 200);
    assert_eq!(rig.chat("gpt-4o").await, 403);
}

#[tokio::test]
async fn a_child_is_refused_levels_and_switches_that_its_parent_may_not_use() {
    let rig = Rig::start().await;
    for (field, body) in [
        ("Level", json!({"Level": 5})),
        ("LevelMapper", json!({"LevelMapper": "gpt-4o=5"})),
        ("SwitchOver", json!({"SwitchOver": "0=5"})),
        ("AllowLevels", json!({"AllowLevels": "0,5"})),
        ("Gear", json!({"Gear": 2})),
        ("HardLimit", json!({"HardLimit": 101})),
    ] {
        let message = rig.set(body).await.unwrap_or_default();
        assert!(
            message.contains(field) && message.contains("parent"),
            "{field}: {message}"
        );
    }
    let mut new =
        json!({"Name": "carla", "Email": "carla@example.com", "CreditGranted": 5, "Level": 5});
    let added = rig.world.post("/x-users", &rig.alice, &new).await;
    refused(added, 400, "invalid_request").await;
    rig.world
        .change("alice", json!({"AllowLevels": "0,5", "Gear": 1}))
        .await;
    let all = json!({
        "Level": 5, "LevelMapper": "gpt-4o=5", "SwitchOver": "0=5", "AllowLevels": "0,5", "Gear": 1, "HardLimit": 100,
    });
    assert_eq!(rig.set(all).await, None);
    new["Level"] = json!(5);
    assert_eq!(
        rig.world.post("/x-users", &rig.alice, &new).await.status(),
        200
    );
}

#[tokio::test]
async fn a_parent_that_is_narrowed_narrows_its_children_with_the_next_call() {
    for own in [
        json!({"Level": 5}),
        json!({"LevelMapper": "*=5"}),
        json!({"SwitchOver": "0=5", "Gear": 1}),
    ] {
        let rig = Rig::start().await;
        rig.upstream.script(CHEAP, limited());
        rig.world
            .change("alice", json!({"AllowLevels": "0,5", "Gear": 1}))
            .await;
        assert_eq!(rig.set(own.clone()).await, None);
        assert_eq!(rig.chat("gpt-4o").await, 200, "{own}");
        assert_eq!(rig.upstream.count(DEAR), 1);
        rig.world.change("alice", json!({"AllowLevels": "*"})).await;
        assert_ne!(rig.chat("gpt-4o").await, 200, "{own}");
        assert_eq!(rig.upstream.count(DEAR), 1, "{own}");
        // Limits from above do not prevent other changes.
        assert_eq!(rig.set(json!({"Alias": "B"})).await, None);
    }
}

#[tokio::test]
async fn a_parents_month_bounds_its_childrens() {
    let rig = Rig::start().await;
    rig.world
        .change("alice", json!({"HardLimit": 0.000_1}))
        .await;
    assert_eq!(rig.chat("gpt-4o").await, 429);
    let answer = rig.world.chat(&rig.berta, "gpt-4o").await;
    let message = refused(answer, 429, "hard_limit_reached").await;
    assert!(message.contains("alice"), "{message}");
    rig.world.change("alice", json!({"HardLimit": 50})).await;
    assert_eq!(rig.chat("gpt-4o").await, 200);
}
