//! Credit leases: accounts spend what they have and nothing beyond, with any number of concurrent calls and data
//! planes.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use proxyxai_contract::money::Money;
use serde_json::json;

use crate::{
    fleet::{Plane, TOKEN},
    upstream::{Script, Upstream},
    world::{ROOT, World, metrics, refused, until},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
/// Only output costs, so a call that uses all it may costs exactly what was reserved for it.
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":0,"OutputText":100000}}}"#;
/// The price of seven tokens.
const CALL: f64 = 0.7;
const CALL_NANOS: i64 = 700_000_000;
const CALLS: usize = 512;
/// A busy machine moves credit slowly, which must not cause a refusal.
const PATIENT: (&str, &str) = ("CREDIT_WAIT_MS", "60000");
const ENV: [(&str, &str); 5] = [
    ("NODE_TOKEN", TOKEN),
    PATIENT,
    ("PRICING", PRICING),
    ("CALL_MIN_BALANCE", "0"),
    ("USER_MIN_BALANCE", "0.1"),
];

struct Shop {
    control: World,
    planes: Vec<Plane>,
    upstream: Upstream,
    key: String,
}

impl Shop {
    /// Without a data plane beside control, both run in one process.
    async fn open(planes: usize, credit: f64) -> Self {
        let control = if planes == 0 {
            World::with(&ENV).await
        } else {
            World::control(&ENV).await
        };
        let upstream = Upstream::start().await;
        let slow = Script::Slow {
            pause: Duration::from_millis(30),
        };
        upstream.script(UP, slow);
        control.add_key(UP, &upstream.base).await;
        let key = control.add_account("alice", credit).await;
        let mut started = Vec::new();
        for at in 0..planes {
            started.push(Plane::start(&control, &format!("plane-{at}"), &[PATIENT]).await);
        }
        Self {
            control,
            planes: started,
            upstream,
            key,
        }
    }

    /// Statuses of this many concurrent calls, spread over the data planes.
    async fn rush(&self, calls: usize, max_tokens: u64) -> Vec<u16> {
        let bases: Vec<&str> = match self.planes.as_slice() {
            [] => vec![&self.control.node.base],
            planes => planes
                .iter()
                .map(|plane| plane.node.base.as_str())
                .collect(),
        };
        let body = json!({
            "model": "house", "max_tokens": max_tokens,
            "messages": [{"role": "user", "content": "hi"}],
        });
        let call = |at: usize| {
            let request = self
                .control
                .http
                .post(format!("{}/v1/chat/completions", bases[at % bases.len()]))
                .bearer_auth(&self.key)
                .json(&body);
            async move {
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap();
                if status == 402 {
                    assert!(
                        text.contains("insufficient_quota") && text.contains("alice"),
                        "{text}"
                    );
                }
                status
            }
        };
        stream::iter((0..calls).map(call))
            .buffer_unordered(calls)
            .collect()
            .await
    }

    /// The remaining credit once all calls are posted; checks that the books balance.
    async fn left(&self, served: usize) -> f64 {
        self.control.posted("alice", served as u64).await;
        self.control.grpc().verify_books().await;
        let used = self.control.grpc().account("alice").await.credit_used_nanos;
        let expected = i64::try_from(served).unwrap() * CALL_NANOS;
        assert_eq!(used, expected, "{served} calls");
        self.balance().await
    }

    async fn balance(&self) -> f64 {
        let nanos = self.control.grpc().account("alice").await.balance_nanos;
        Money::from_nanos(nanos).dollars()
    }
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|seen| **seen == status).count()
}

/// Calls that cost the most they may, with credit for a number of them and a half.
async fn nobody_spends_what_is_not_there(planes: usize) {
    let shop = Shop::open(planes, 50.5 * CALL).await;
    let statuses = shop.rush(CALLS, 7).await;
    let served = count(&statuses, 200);
    assert_eq!(served + count(&statuses, 402), CALLS, "{statuses:?}");
    let left = shop.left(served).await;
    assert!(left >= 0.0, "{left} after {served} calls");
    assert!(
        left < CALL,
        "{left} is left, which covers a call that was refused"
    );
    assert_eq!(shop.upstream.count(UP), served);
}

#[tokio::test]
async fn in_one_process_concurrent_calls_never_spend_more_than_there_is() {
    nobody_spends_what_is_not_there(0).await;
}

#[tokio::test]
async fn over_one_data_plane_concurrent_calls_never_spend_more_than_there_is() {
    nobody_spends_what_is_not_there(1).await;
}

#[tokio::test]
async fn over_four_data_planes_concurrent_calls_never_spend_more_than_there_is() {
    nobody_spends_what_is_not_there(4).await;
}

/// Calls that cost a tenth of what they may: the unused part serves other calls.
async fn credit_that_was_only_held_serves_others(planes: usize) {
    let shop = Shop::open(planes, 50.5 * CALL).await;
    let statuses = shop.rush(CALLS, 70).await;
    let served = count(&statuses, 200);
    assert_eq!(served + count(&statuses, 402), CALLS, "{statuses:?}");
    let left = shop.left(served).await;
    assert!(left >= 0.0, "{left} after {served} calls");
    assert!(
        left < 10.0 * CALL,
        "{left} is left, which covers a call that was refused"
    );
}

#[tokio::test]
async fn in_one_process_nobody_is_refused_for_what_others_only_hold() {
    credit_that_was_only_held_serves_others(0).await;
}

#[tokio::test]
async fn over_four_data_planes_nobody_is_refused_for_what_others_only_hold() {
    credit_that_was_only_held_serves_others(4).await;
}

#[tokio::test]
async fn a_call_that_costs_more_than_it_may_is_charged_and_blocks_the_next() {
    let shop = Shop::open(0, 1.0).await;
    // Each asks for one token and gets seven from an upstream that ignores the limit.
    assert_eq!(shop.rush(2, 1).await, [200; 2]);
    let left = shop.left(2).await;
    assert!((left - (1.0 - 2.0 * CALL)).abs() < 1e-9, "{left}");
    assert_eq!(shop.rush(1, 1).await, [402]);
    shop.control
        .change("alice", json!({"CreditGranted": 10}))
        .await;
    assert_eq!(shop.rush(1, 1).await, [200]);
    shop.control.grpc().verify_books().await;
}

#[tokio::test]
async fn a_call_that_nothing_covers_is_refused_at_once_and_says_how_much_it_may_cost() {
    let shop = Shop::open(0, 1.0).await;
    let body = json!({"model": "house", "max_tokens": 11, "messages": []});
    let answer = shop
        .control
        .post("/v1/chat/completions", &shop.key, &body)
        .await;
    assert_eq!(answer.status(), 402);
    let text = answer.text().await.unwrap();
    assert!(
        text.contains("$1.1") && text.contains("alice has $1,"),
        "{text}"
    );
    // A smaller call is covered.
    assert_eq!(shop.rush(1, 10).await, [200]);
}

#[tokio::test]
async fn the_months_limit_holds_across_data_planes() {
    let shop = Shop::open(2, 100.0).await;
    shop.control
        .change("alice", json!({"HardLimit": 7.3}))
        .await;
    let statuses = shop.rush(64, 7).await;
    let served = count(&statuses, 200);
    assert_eq!((served, count(&statuses, 429)), (10, 54), "{statuses:?}");
    assert!(shop.left(served).await > 90.0);
}

/// Calls admitted at one price of the account are charged in its units at their end. Their future cost is kept from
/// calls that come meanwhile.
#[tokio::test]
async fn no_credit_is_missing_for_calls_under_way_while_rates_double() {
    let shop = Shop::open(2, 20.0 * CALL).await;
    let pause = Duration::from_secs(3);
    shop.upstream.script(UP, Script::Slow { pause });
    let rise = async {
        let all_came = async || shop.upstream.count(UP) == 8;
        until("eight calls are under way", all_came).await;
        shop.control.change("alice", json!({"Rates": 2})).await;
        assert_eq!(shop.control.account("alice").await["Requests"], 0);
        shop.rush(30, 7).await
    };
    let (before, after) = tokio::join!(shop.rush(8, 7), rise);
    assert_eq!(before, [200; 8]);
    // Of credit for 40 calls, 16 were reserved.
    let served = count(&after, 200);
    assert_eq!(served + count(&after, 402), 30, "{after:?}");
    assert!((1..=12).contains(&served), "{served}");
    shop.control.posted("alice", 8 + served as u64).await;
    let account = shop.control.grpc().account("alice").await;
    let twice = 2 * i64::try_from(served).unwrap();
    assert_eq!(account.credit_used_nanos, (8 + twice) * CALL_NANOS);
    assert_eq!(account.balance_nanos, (40 - 16 - twice) * CALL_NANOS);
    shop.control.grpc().verify_books().await;
}

#[tokio::test]
async fn an_operator_gets_back_what_data_planes_have_on_lease() {
    let shop = Shop::open(2, 100.0).await;
    assert_eq!(shop.rush(8, 7).await, [200; 8]);
    let left = shop.left(8).await;
    // All of it, although parts of it are leased.
    shop.control
        .change("alice", json!({"CreditGranted": -left}))
        .await;
    assert!(shop.balance().await.abs() < 1e-9);
    assert_eq!(shop.rush(2, 7).await, [402; 2]);
    shop.control.grpc().verify_books().await;
}

#[tokio::test]
async fn a_deleted_account_gives_back_what_is_on_lease() {
    let shop = Shop::open(1, 100.0).await;
    assert_eq!(shop.rush(1, 7).await, [200]);
    shop.left(1).await;
    let url = shop.control.url("/x-users/alice");
    let answer = shop
        .control
        .http
        .delete(url)
        .bearer_auth(ROOT)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    shop.control.grpc().verify_books().await;
    let answer = shop.planes[0]
        .node
        .chat(&shop.control.http, &shop.key, "house")
        .await;
    refused(answer, 401, "invalid_api_key").await;
}

/// A reseller with $100 and an account below it with `credit`: their keys.
async fn resold(shop: &Shop, credit: f64) -> (String, String) {
    let reseller = shop.control.add_account("reseller", 100.0).await;
    let made = shop
        .control
        .http
        .post(shop.control.url("/x-users"))
        .bearer_auth(&reseller)
        .json(&json!({"Name": "customer", "Email": "c@example.com", "CreditGranted": credit}))
        .send()
        .await
        .unwrap();
    let made: serde_json::Value = made.json().await.unwrap();
    let key = made["User"]["SecretKey"].as_str();
    (reseller, key.unwrap_or_else(|| panic!("{made}")).to_owned())
}

#[tokio::test]
async fn deleting_an_account_with_a_call_under_way_refunds_what_the_call_cannot_cost() {
    let shop = Shop::open(1, 1.0).await;
    let (reseller, customer) = resold(&shop, 10.0 * CALL).await;
    let pause = Duration::from_secs(4);
    shop.upstream.script(UP, Script::Slow { pause });
    let nanos = async || shop.control.grpc().account("reseller").await.balance_nanos;
    // Twice as many tokens as it will use.
    let body = json!({"model": "house", "max_tokens": 14, "messages": []});
    let base = &shop.planes[0].node.base;
    let call = shop
        .control
        .http
        .post(format!("{base}/v1/chat/completions"))
        .bearer_auth(&customer)
        .json(&body)
        .send();
    let deletion = async {
        let came = async || shop.upstream.count(UP) == 1;
        until("the call is under way", came).await;
        let url = shop.control.url("/x-users/customer");
        let answer = shop.control.http.delete(url).bearer_auth(&reseller);
        assert_eq!(answer.send().await.unwrap().status(), 200);
        nanos().await
    };
    let (answer, after) = tokio::join!(call, deletion);
    assert_eq!(answer.unwrap().status(), 200);
    // Closing an account costs $0.2.
    let all = 100_000_000_000 - 200_000_000;
    assert_eq!(after, all - 2 * CALL_NANOS);
    let settled = async || nanos().await == all - CALL_NANOS;
    until("the rest came back", settled).await;
    shop.control.grpc().verify_books().await;
}

#[tokio::test]
async fn a_data_plane_that_dies_or_stops_loses_no_credit() {
    let mut shop = Shop::open(2, 2.0 * CALL).await;
    assert_eq!(shop.rush(1, 7).await, [200]);
    shop.left(1).await;
    // Killed with a lease: after the restart it has the lease again.
    shop.planes[0].node.kill().await;
    shop.planes[0].restart().await;
    let both = shop.planes.len();
    assert_eq!(both, 2);
    assert_eq!(shop.rush(1, 7).await, [200]);
    let left = shop.left(2).await;
    assert!(left.abs() < 1e-9);
    // Stopped: it returns all leases before it ends, so the other one can spend the credit.
    shop.control
        .change("alice", json!({"CreditGranted": CALL}))
        .await;
    assert_eq!(shop.rush(1, 7).await, [200]);
    shop.left(3).await;
    shop.control
        .change("alice", json!({"CreditGranted": CALL}))
        .await;
    shop.planes[0].node.signal("TERM");
    shop.planes[0].node.ended().await;
    shop.planes.remove(0);
    assert_eq!(shop.rush(1, 7).await, [200]);
    shop.left(4).await;
}

#[tokio::test]
async fn without_control_a_data_plane_spends_what_it_has_on_lease_and_no_more() {
    let mut shop = Shop::open(1, 100.0 * CALL).await;
    assert_eq!(shop.rush(1, 7).await, [200]);
    shop.left(1).await;
    shop.control.kill().await;
    let mut served = 1;
    // It has a slice for some calls, and then reports that control is unreachable.
    let statuses = shop.rush(CALLS, 7).await;
    served += count(&statuses, 200);
    assert!(served > 2 && served < 100, "{statuses:?}");
    assert_eq!(count(&statuses, 503), CALLS + 1 - served, "{statuses:?}");
    shop.control.restart_in_place().await;
    shop.left(served).await;
    until("it serves again", async || shop.rush(1, 7).await == [200]).await;
}

#[tokio::test]
async fn the_metrics_tell_what_is_on_lease_and_by_how_much_it_may_be_exceeded() {
    let shop = Shop::open(0, 1000.0).await;
    let metric = async |name: &str| -> f64 {
        let page = metrics(&shop.control.node.base).await;
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("proxyxai_{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(shop.rush(4, 7).await, [200; 4]);
    shop.left(4).await;
    until("all is posted", async || {
        metric("credit_unposted_usd").await == 0.0
    })
    .await;
    let (leased, held) = (
        metric("credit_leased_usd").await,
        metric("credit_held_usd").await,
    );
    assert!(
        leased > 0.0 && leased < 1000.0 && held == 0.0,
        "{leased} {held}"
    );
    // Every call limited the length of its response and kept to it.
    assert!(metric("overspend_bound_usd").await.abs() < 1e-9);
    assert!(metric("overspend_usd").await.abs() < 1e-9);
    assert_eq!(shop.rush(1, 1).await, [200]);
    shop.left(5).await;
    assert!((metric("overspend_usd").await - 0.6).abs() < 1e-9);
}
