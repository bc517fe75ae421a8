//! Accounts that are deleted, or lose credit, during their in-flight calls.

use std::time::Duration;

use proxyxai_contract::money::Money;
use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream},
    world::{World, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
/// A call costs $0.7, which is also its hold.
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":0,"OutputText":100000}}}"#;
const ENV: [(&str, &str); 5] = [
    ("NODE_TOKEN", TOKEN),
    ("PRICING", PRICING),
    ("CALL_MIN_BALANCE", "0"),
    ("USER_MIN_BALANCE", "0.1"),
    ("USER_API_BALANCE", "0"),
];

struct Shop {
    control: World,
    plane: Plane,
    upstream: Upstream,
    boss: String,
    /// Key of a child of the former.
    alice: String,
}

impl Shop {
    /// Every call takes this long.
    async fn open(pause: Duration, more: &[(&str, &str)]) -> Self {
        let env: Vec<_> = ENV.into_iter().chain(more.iter().copied()).collect();
        let (control, upstream) = (World::control(&env).await, Upstream::start().await);
        upstream.script(UP, Script::Slow { pause });
        control.add_key(UP, &upstream.base).await;
        let boss = control.add_account("boss-man", 200.0).await;
        let new = json!({"Name": "alice", "Email": "alice@example.com", "CreditGranted": 100});
        let made = control
            .http
            .post(control.url("/x-users"))
            .bearer_auth(&boss)
            .json(&new);
        let made: Value = made.send().await.unwrap().json().await.unwrap();
        let alice = made["User"]["SecretKey"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(alice.starts_with("sk-"), "{made}");
        let plane = Plane::start(&control, "plane-1", &[]).await;
        Self {
            control,
            plane,
            upstream,
            boss,
            alice,
        }
    }

    /// Starts a call of alice and returns when it has reached the provider.
    async fn begin(&self) -> tokio::task::JoinHandle<u16> {
        let before = self.upstream.count(UP);
        let body = json!({
            "model": "house", "max_tokens": 7,
            "messages": [{"role": "user", "content": "hi"}],
        });
        let url = format!("{}/v1/chat/completions", self.plane.node.base);
        let call = self
            .control
            .http
            .post(url)
            .bearer_auth(&self.alice)
            .json(&body);
        let call = tokio::spawn(async move { call.send().await.unwrap().status().as_u16() });
        until("the call is under way", async || {
            self.upstream.count(UP) > before
        })
        .await;
        call
    }

    async fn delete(&self) -> Value {
        let url = self.control.url("/x-users/alice");
        let gone = self
            .control
            .http
            .delete(url)
            .bearer_auth(&self.boss)
            .send()
            .await
            .unwrap();
        assert_eq!(gone.status(), 200);
        gone.json().await.unwrap()
    }

    async fn balance(&self, name: &str) -> Money {
        Money::from_nanos(self.control.grpc().account(name).await.balance_nanos)
    }

    async fn comes_to(&self, name: &str, dollars: f64) {
        let expected = Money::from_dollars(dollars).unwrap();
        until(&format!("{name} has {expected}"), async || {
            self.balance(name).await == expected
        })
        .await;
        self.control.grpc().verify_books().await;
    }
}

#[tokio::test]
async fn deleting_an_account_with_a_call_under_way_refunds_only_what_the_call_cannot_cost() {
    let shop = Shop::open(Duration::from_secs(3), &[]).await;
    let call = shop.begin().await;
    let gone = shop.delete().await;
    let number = |name: &str| gone[name].as_f64().unwrap();
    assert!(number("Pending") >= 0.7 - 1e-9, "{gone}");
    let refund = number("Refund");
    assert!((refund + number("Pending") - 99.8).abs() < 1e-6, "{gone}");
    shop.control.grpc().verify_books().await;
    // The key is invalid at once.
    let key = shop.alice.clone();
    assert_eq!(
        shop.plane
            .node
            .chat(&shop.control.http, &key, "house")
            .await
            .status(),
        401
    );
    assert_eq!(call.await.unwrap(), 200);
    shop.comes_to("boss-man", 200.0 - 0.2 - 0.7).await;
}

#[tokio::test]
async fn a_data_plane_that_dies_with_the_call_gives_all_of_it_back() {
    let shop = &mut Shop::open(Duration::from_secs(20), &[]).await;
    let call = shop.begin().await;
    shop.delete().await;
    shop.plane.node.kill().await;
    call.abort();
    shop.plane.restart_in_place().await;
    shop.comes_to("boss-man", 200.0 - 0.2).await;
}

#[tokio::test]
async fn control_that_dies_after_a_deletion_refunds_the_rest_when_it_is_back() {
    let mut shop = Shop::open(Duration::from_secs(2), &[]).await;
    let call = shop.begin().await;
    shop.delete().await;
    shop.control.kill().await;
    assert_eq!(call.await.unwrap(), 200);
    shop.control.restart_in_place().await;
    shop.comes_to("boss-man", 200.0 - 0.2 - 0.7).await;
}

#[tokio::test]
async fn what_a_call_under_way_may_cost_is_not_deducted() {
    let shop = Shop::open(Duration::from_secs(5), &[]).await;
    let call = shop.begin().await;
    let take = |dollars: f64| {
        let url = shop.control.url("/x-users/alice");
        let body = json!({"CreditGranted": -dollars});
        shop.control
            .http
            .put(url)
            .bearer_auth(&shop.boss)
            .json(&body)
            .send()
    };
    let refused = take(100.0).await.unwrap();
    assert_eq!(refused.status(), 402);
    let text = refused.text().await.unwrap();
    assert!(text.contains("in use by calls under way"), "{text}");
    assert_eq!(take(99.0).await.unwrap().status(), 200);
    assert_eq!(call.await.unwrap(), 200);
    shop.comes_to("alice", 1.0 - 0.7).await;
}
