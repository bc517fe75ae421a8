//! Holds cover what a call can cost, even if its body does not show it. A client that leaves pays for what was
//! generated.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use proxyxai_contract::money::Money;
use serde_json::{Value, json};

use crate::{
    upstream::{Script, Upstream, json_answer},
    world::{World, metrics, refused},
};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";
/// A million tokens of prompt cost $1.80.
const PRICING: &str = r#"{"ChatPricing":{"house":{"InputText":1.8,"OutputText":10,"MaxInput":1000000,"MaxOutput":1000},
"open":{"InputText":1.8,"OutputText":10}}}"#;

struct House {
    world: World,
    upstream: Upstream,
    key: String,
}

impl House {
    async fn open(credit: f64, script: Script, env: &[(&str, &str)]) -> Self {
        let base = [
            ("PRICING", PRICING),
            ("CALL_MIN_BALANCE", "0"),
            ("USER_MIN_BALANCE", "0"),
            ("CREDIT_WAIT_MS", "500"),
        ];
        let all: Vec<_> = base.iter().chain(env).copied().collect();
        let world = World::with(&all).await;
        let upstream = Upstream::start().await;
        upstream.script(UP, script);
        world.add_key(UP, &upstream.base).await;
        let key = world.add_account("alice", credit).await;
        Self {
            world,
            upstream,
            key,
        }
    }

    async fn balance(&self) -> f64 {
        let nanos = self.world.grpc().account("alice").await.balance_nanos;
        Money::from_nanos(nanos).dollars()
    }

    fn ask(&self, body: &Value) -> reqwest::RequestBuilder {
        let url = self.world.url("/v1/chat/completions");
        self.world.http.post(url).bearer_auth(&self.key).json(body)
    }
}

/// The usage report of a prompt whose image, file or search filled the model's context.
fn full_context() -> Script {
    let answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "house",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 1, "total_tokens": 1_000_001},
    });
    json_answer(200, answer.to_string())
}

fn picture() -> Value {
    json!({"model": "house", "max_tokens": 1, "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]}]})
}

#[tokio::test]
async fn parallel_calls_with_input_outside_of_them_never_cost_more_than_there_is() {
    let house = House::open(2.0, full_context(), &[]).await;
    let call = |_| async {
        let answer = house.ask(&picture()).send().await.unwrap();
        answer.status().as_u16()
    };
    let statuses: Vec<u16> = stream::iter(0..60)
        .map(call)
        .buffer_unordered(60)
        .collect()
        .await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert_eq!(served, 1, "{statuses:?}");
    house.world.posted("alice", 1).await;
    assert!(house.balance().await >= 0.0);
    house.world.grpc().verify_books().await;
}

#[tokio::test]
async fn a_tool_that_the_provider_runs_reads_the_context_as_often_as_it_may() {
    let house = House::open(6.0, full_context(), &[("TOOL_USES_DEFAULT", "3")]).await;
    let mut body = picture();
    body["tools"] = json!([{"type": "web_search"}]);
    // Four times a million tokens.
    let answer = house.ask(&body).send().await.unwrap();
    let text = refused(answer, 402, "insufficient_quota").await;
    assert!(text.contains("$7.2"), "{text}");
    body["max_tool_calls"] = json!(1);
    assert_eq!(house.ask(&body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_can_say_what_its_call_may_cost_at_most() {
    let house = House::open(100.0, full_context(), &[]).await;
    let capped = async |body: &Value, most: &str| {
        let request = house.ask(body).header("x-proxyxai-max-cost", most);
        request.send().await.unwrap()
    };
    let text = refused(capped(&picture(), "1.5").await, 400, "invalid_request").await;
    assert!(
        text.contains("up to $1.8") && text.contains("$1.5"),
        "{text}"
    );
    for bad in ["much", "-1", "NaN", ""] {
        refused(capped(&picture(), bad).await, 400, "invalid_request").await;
    }
    assert_eq!(house.upstream.count(UP), 0);
    assert_eq!(capped(&picture(), "1.9").await.status(), 200);
    let seen = house.upstream.seen(UP).pop().unwrap();
    assert!(!seen.headers.contains_key("x-proxyxai-max-cost"));
    // Nothing limits the length of the response.
    let open = json!({"model": "open", "messages": [{"role": "user", "content": "hi"}]});
    let text = refused(capped(&open, "50").await, 400, "invalid_request").await;
    assert!(text.contains("or more"), "{text}");
}

#[tokio::test]
async fn what_nobody_bounds_is_counted_and_no_bound_is_told_meanwhile() {
    let slow = Script::Slow {
        pause: Duration::from_millis(1500),
    };
    let house = House::open(100.0, slow, &[]).await;
    let page = async || metrics(&house.world.node.base).await;
    let calm = page().await;
    assert!(calm.contains("proxyxai_unbounded_calls 0"), "{calm}");
    assert!(calm.contains("proxyxai_overspend_bound_usd 0"), "{calm}");
    let body = json!({"model": "open", "messages": [{"role": "user", "content": "hi"}]});
    let (answer, meanwhile) = tokio::join!(house.ask(&body).send(), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        page().await
    });
    assert_eq!(answer.unwrap().status(), 200);
    assert!(
        meanwhile.contains("proxyxai_unbounded_calls 1"),
        "{meanwhile}"
    );
    assert!(
        !meanwhile.contains("proxyxai_overspend_bound_usd"),
        "{meanwhile}"
    );
}
