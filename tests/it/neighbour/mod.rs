//! Two customers on one pool: whatever one of them sends, the other's calls succeed as fast as before.

mod crowd;
mod doors;
mod poison;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    upstream::{Script, Upstream, json_answer},
    world::World,
};

const KEYS: [&str; 6] = [
    "sk-up-one-aaaaaaaaaaaaaaaa",
    "sk-up-two-bbbbbbbbbbbbbbbb",
    "sk-up-three-cccccccccccccc",
    "sk-up-four-dddddddddddddddd",
    "sk-up-five-eeeeeeeeeeeeeeee",
    "sk-up-six-ffffffffffffffffff",
];
/// How long the provider takes.
const PROVIDER: Duration = Duration::from_millis(30);
/// Headers for which a provider refuses the key.
const FOREIGN: [&str; 6] = [
    "openai-organization",
    "openai-project",
    "x-goog-api-key",
    "x-goog-user-project",
    "cookie",
    "api-key",
];
/// Marks requests that the provider treats specially.
const MARK: &str = "poison-in-the-well";
/// The machine may be busy with other things.
const ROUNDS_MAX: usize = 5;

/// Two customers, an account below the bad one, and what they share.
struct Street {
    world: World,
    upstream: Upstream,
    good: String,
    bad: String,
    below: String,
    /// Duration of the good one's calls when no other client calls.
    usual: Duration,
}

impl Street {
    async fn new(keys: usize, env: &[(&str, &str)]) -> Self {
        let (world, upstream) = (World::with(env).await, Upstream::start().await);
        for key in &KEYS[..keys] {
            upstream.script(key, answers(Script::Slow { pause: PROVIDER }));
            world.add_key(key, &upstream.base).await;
        }
        let good = world.add_account("neighbour", 1000.0).await;
        let bad = world.add_account("badman", 1000.0).await;
        let below = sub_account(&world, &bad, "badboy").await;
        let mut street = Self {
            world,
            upstream,
            good,
            bad,
            below,
            usual: Duration::ZERO,
        };
        // Every key has served both by then.
        for key in [&street.good, &street.bad, &street.below] {
            for _ in 0..2 * keys {
                assert_eq!(street.world.chat(key, "gpt-4o").await.status(), 200);
            }
        }
        street.usual = street.median(15, "at first").await;
        street
    }

    /// Sets the provider's response to marked requests.
    fn poison(&self, script: &Script) {
        for key in KEYS {
            self.upstream.script(key, answers(script.clone()));
        }
    }

    /// The median duration of this many calls of the good one, all of which succeed.
    async fn median(&self, calls: usize, when: &str) -> Duration {
        let mut times = Vec::new();
        for _ in 0..calls {
            let start = Instant::now();
            let answer = self.world.chat(&self.good, "gpt-4o").await;
            let status = answer.status();
            let text = answer.text().await.unwrap();
            assert_eq!(status, 200, "{when}: {text}");
            times.push(start.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Makes calls of the good one until they are as fast as required; all of them have to succeed.
    async fn is_quiet(&self, when: &str) {
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS_MAX {
            best = best.min(self.median(5, when).await);
            if best <= 2 * self.usual {
                return;
            }
        }
        panic!("{when}: {best:?} at the best, {:?} usually", self.usual);
    }

    /// Asserts that no key has been taken out of rotation.
    async fn keys_are_there(&self, when: &str) {
        let conf = self.world.read("/x-conf").await;
        for list in ["SleepingKeys", "DisabledKeys"] {
            assert_eq!(conf[list], json!([]), "{when}: {conf}");
        }
    }
}

/// A provider that refuses other organizations' headers, and follows a script for marked requests.
fn answers(marked: Script) -> Script {
    let foreign = json_answer(
        401,
        r#"{"error":{"message":"OpenAI-Organization header should match organization for API key","type":"invalid_request_error","code":"mismatched_organization"}}"#,
    );
    let slow = Script::Slow { pause: PROVIDER };
    let junk = Script::where_it_says("AIzaJunk", foreign.clone(), slow);
    let marked = Script::where_it_says(MARK, marked, junk);
    Script::WithHeader(&FOREIGN, Box::new([foreign, marked]))
}

/// An account below another, created by that one.
async fn sub_account(world: &World, parent: &str, name: &str) -> String {
    let body = json!({"Name": name, "Email": format!("{name}@example.com"), "CreditGranted": 5});
    let answer = world.post("/x-users", parent, &body).await;
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 200, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["User"]["SecretKey"].as_str().unwrap().to_owned()
}
