//! Invalid input to the administration: each is refused with a documented error. Afterwards nothing has changed and the
//! books balance.

use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{ROOT, World};

const UP: &str = "sk-upstream-aaaaaaaaaaaaaaaaaaaaaa";

/// A request that must be refused.
struct Case {
    key: String,
    method: Method,
    path: String,
    body: String,
    refusal: (u16, &'static str),
}

/// Keys of a small tree: root over alice and bob, alice over anna.
struct Tree {
    world: World,
    alice: String,
    bob: String,
    anna: String,
}

impl Tree {
    async fn grow() -> Self {
        let world = World::with(&[("USER_API_BALANCE", "1")]).await;
        world.add_key(UP, "http://127.0.0.1:9").await;
        let alice = world.add_account("alice", 100.0).await;
        let bob = world.add_account("bobby", 100.0).await;
        let body = json!({"Name": "anna", "Email": "anna@example.com", "CreditGranted": 40});
        let answer = world.post("/x-users", &alice, &body).await;
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        let anna = answer["User"]["SecretKey"].as_str().unwrap().to_owned();
        Self {
            world,
            alice,
            bob,
            anna,
        }
    }

    /// The state that could have changed.
    async fn state(&self) -> Value {
        let mut state = Vec::new();
        for path in [
            "/x-dna?order=id",
            "/x-keys",
            "/x-config",
            "/x-conf",
            "/dashboard/news",
        ] {
            state.push(self.world.read(path).await);
        }
        state.into()
    }

    async fn refused(&self, case: &Case) {
        let request = self
            .world
            .http
            .request(case.method.clone(), self.world.url(&case.path))
            .bearer_auth(&case.key)
            .body(case.body.clone());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let what = format!(
            "{} {} {} gave {status} {text}",
            case.method, case.path, case.body
        );
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}"));
        let code = error["error"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("{what}"));
        assert_eq!((status, code), case.refusal, "{what}");
        for field in ["message", "type"] {
            assert!(error["error"][field].is_string(), "{what}");
        }
        assert_eq!(error["message"], error["error"]["message"], "{what}");
    }
}

/// Values that a field rejects. They are JSON as it is sent, which need not be valid.
fn bad_fields() -> Vec<(String, &'static str)> {
    let mut bad = Vec::new();
    let mut add = |fields: &[&'static str], values: &[&str]| {
        for field in fields {
            bad.extend(values.iter().map(|value| ((*value).to_owned(), *field)));
        }
    };
    let money = ["CreditGranted", "HardLimit", "SoftLimit", "AutoQuota"];
    add(
        &money,
        &[
            r#""5""#, "true", "[]", "{}", "NaN", "1e400", "-1e400", "1e30", "Infinity",
        ],
    );
    add(&money[1..], &["-0.01"]);
    add(
        &["Rates", "Factor"],
        &[r#""1""#, "0", "-1", "1e30", "[]", "NaN"],
    );
    add(
        &["Level", "Gear"],
        &["-1", "11", "1.5", r#""1""#, "1e3", "[]"],
    );
    add(
        &["Role", "Tier"],
        &["1.5", r#""x""#, "99999999999999999999", "[]"],
    );
    let windows = ["RPM", "RPH", "RPD", "TPM", "TPH", "TPD", "RateLimit"];
    add(
        &windows,
        &["-1", "1.5", r#""5""#, "99999999999999999999", "{}"],
    );
    add(&["ChildLimit"], &["-1", "1.5", r#""x""#]);
    add(&["Status", "Suspended"], &[r#""true""#, "1", "[]"]);
    add(
        &["Name"],
        &[
            "5",
            "[]",
            r#""abc""#,
            r#""12345""#,
            r#""a/bcd""#,
            r#""a@bcd""#,
            r#"".1.2""#,
        ],
    );
    add(
        &["Name"],
        &[r#""ab\u0000cd""#, r#""ab\ncd""#, r#""ab\u001bcd""#],
    );
    add(
        &["Email", "BillingEmail"],
        &["5", r#""x""#, r#""a@""#, r#""@b.co""#, r#""a b@c.de""#],
    );
    add(
        &["Email", "BillingEmail"],
        &[r#""a@b.co\r\nBcc: c@d.ef""#, r#""a@b.co\u0000""#],
    );
    add(&["Alias", "QRCode"], &["5", "[]", r#""a\u0000b""#]);
    add(
        &["AllowIPs"],
        &[
            "5",
            r#""300.1.1.1""#,
            r#""10.0.0.0/33""#,
            r#""::/129""#,
            r#""ten""#,
        ],
    );
    add(&["AllowLevels"], &["5", r#""11""#, r#""x""#, r#""-1.5""#]);
    add(&["AllowModels", "Resources"], &["5", "[]", r#""a\u0000""#]);
    add(
        &["ModelMapper"],
        &["5", r#""a""#, r#""=b""#, r#""a=""#, r#"{"a":[]}"#],
    );
    add(
        &["LevelMapper"],
        &["5", r#""a""#, r#""a=11""#, r#""a=x""#, r#""a=-1""#],
    );
    add(&["SwitchOver"], &["5", r#""1""#, r#""1=11""#, r#""x=1""#]);
    add(&["ModelFailover"], &["5", r#""a""#, r#""a=""#]);
    bad.push((format!("{:?}", "x".repeat(64)), "Name"));
    bad.push((format!("{:?}", "x".repeat(256)), "Alias"));
    bad.push((format!("{:?}", "x".repeat(2049)), "QRCode"));
    bad.push((format!("\"{}@example.com\"", "x".repeat(300)), "Email"));
    bad
}

fn root(method: Method, path: &str, body: &str, refusal: (u16, &'static str)) -> Case {
    Case {
        key: ROOT.to_owned(),
        method,
        path: path.to_owned(),
        body: body.to_owned(),
        refusal,
    }
}

const INVALID: (u16, &str) = (400, "invalid_request");
const FORBIDDEN: (u16, &str) = (403, "forbidden");
const MISSING: (u16, &str) = (404, "not_found");
const METHOD: (u16, &str) = (405, "method_not_allowed");
const TAKEN: (u16, &str) = (409, "conflict");
const POOR: (u16, &str) = (402, "insufficient_quota");

/// Every bad value, in a new account and in a change of one.
fn field_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (value, field) in bad_fields() {
        let mut new = vec![
            ("Name", r#""carol""#.to_owned()),
            ("Email", r#""carol@example.com""#.to_owned()),
            ("CreditGranted", "10".to_owned()),
        ];
        new.retain(|(name, _)| *name != field);
        new.push((field, value.clone()));
        let pairs: Vec<_> = new
            .iter()
            .map(|(name, value)| format!("{name:?}:{value}"))
            .collect();
        let body = format!("{{{}}}", pairs.join(","));
        cases.push(root(Method::POST, "/x-users", &body, INVALID));
        let body = format!("{{{field:?}:{value}}}");
        cases.push(root(Method::PUT, "/x-users/alice", &body, INVALID));
    }
    cases
}

fn request_cases() -> Vec<Case> {
    let mut cases = vec![
        root(Method::POST, "/x-users", "", INVALID),
        root(Method::POST, "/x-users", "[]", INVALID),
        root(Method::POST, "/x-users", "{\"Name\":\"carol\"", INVALID),
        root(Method::POST, "/x-users", "{}", INVALID),
        root(Method::PATCH, "/x-users/alice", "{}", METHOD),
        root(Method::DELETE, "/x-users", "", METHOD),
        root(Method::GET, "/x-self", "", METHOD),
        root(Method::GET, "/x-nothing", "", MISSING),
        root(Method::GET, "/dashboard/nothing", "", MISSING),
        root(Method::PUT, "/x-users/nobody", "{}", MISSING),
        root(Method::PUT, "/x-users/999999", "{}", MISSING),
        root(Method::PUT, "/x-users/.1.999.", "{}", MISSING),
        root(Method::GET, "/x-users/a%27%20OR%201%3D1", "", MISSING),
        root(
            Method::DELETE,
            "/x-users/alice%27%3B%20DROP%20TABLE%20account",
            "",
            MISSING,
        ),
        root(Method::DELETE, "/x-users/root", "", FORBIDDEN),
        root(
            Method::PUT,
            "/x-users/alice",
            r#"{"Days":366,"CreditGranted":1}"#,
            INVALID,
        ),
        root(
            Method::PUT,
            "/x-users/alice",
            r#"{"Days":-1,"CreditGranted":1}"#,
            INVALID,
        ),
        root(
            Method::PUT,
            "/x-users/alice",
            r#"{"CreditGranted":-1000}"#,
            POOR,
        ),
        root(Method::PUT, "/x-users/alice", r#"{"Name":"bobby"}"#, TAKEN),
        root(
            Method::PUT,
            "/x-users/alice",
            r#"{"Email":"bobby@example.com"}"#,
            TAKEN,
        ),
        root(Method::PUT, "/x-users/alice", r#"{"RPM":6666667}"#, INVALID),
        root(Method::POST, "/x-self", "{}", INVALID),
        root(
            Method::POST,
            "/x-self",
            r#"{"confirm":"2001-01-01-ROTATE-SELF"}"#,
            INVALID,
        ),
        root(Method::POST, "/x-root", r#"{"confirm":"yes"}"#, INVALID),
        root(
            Method::PUT,
            "/x-config",
            r#"{"NO_SUCH_SETTING":"1"}"#,
            INVALID,
        ),
        root(Method::PUT, "/x-config", r#"{"MODEL_MAPPER":"a"}"#, INVALID),
        root(
            Method::PUT,
            "/x-config",
            r#"{"LEVEL_MAPPER":"a=99"}"#,
            INVALID,
        ),
        root(
            Method::PUT,
            "/x-config",
            r#"{"SWITCH_OVER":"1=b"}"#,
            INVALID,
        ),
        root(Method::PUT, "/x-config", r#"{"PRICING":"{"}"#, INVALID),
        root(
            Method::PUT,
            "/x-config",
            r#"{"PRICING":"{\"ChatPricing\":{\"m\":{\"InputText\":-1}}}"}"#,
            INVALID,
        ),
        root(
            Method::PUT,
            "/x-config",
            r#"{"CALL_MIN_BALANCE":"lots"}"#,
            INVALID,
        ),
        root(
            Method::PUT,
            "/x-config",
            r#"{"CALL_MIN_BALANCE":[]}"#,
            INVALID,
        ),
        root(
            Method::DELETE,
            "/x-config",
            r#"{"keys":"PRICING"}"#,
            INVALID,
        ),
        root(
            Method::DELETE,
            "/x-config",
            r#"{"keys":["NO_SUCH_SETTING"]}"#,
            INVALID,
        ),
        root(Method::POST, "/x-conf", r#"{"ModelMapper":5}"#, INVALID),
        root(Method::POST, "/x-conf", r#"{"LoadKeys":"yes"}"#, INVALID),
        root(Method::POST, "/x-conf", r#"{"UserMinBalance":-1}"#, INVALID),
        root(Method::GET, "/x-dkey/nonsense", "", INVALID),
        root(Method::POST, "/x-news", "{}", INVALID),
        root(
            Method::POST,
            "/x-news",
            r#"{"title":"a","content":"b","days":-1}"#,
            INVALID,
        ),
        root(
            Method::POST,
            "/x-news",
            r#"{"title":5,"content":"b"}"#,
            INVALID,
        ),
        root(
            Method::POST,
            "/x-news/nobody",
            r#"{"title":"a","content":"b"}"#,
            MISSING,
        ),
        root(Method::POST, "/x-keys", "{}", INVALID),
        root(Method::POST, "/x-keys", r#"{"SecretKey":"short"}"#, INVALID),
        root(
            Method::POST,
            "/x-keys",
            r#"{"SecretKey":"sk-0123456789012345678901","Provider":"ftp://a"}"#,
            INVALID,
        ),
        root(
            Method::POST,
            "/x-keys",
            r#"{"SecretKey":"sk-0123456789012345678901","Provider":"http://u:p@a"}"#,
            INVALID,
        ),
        root(
            Method::POST,
            "/x-keys",
            r#"{"SecretKey":"sk-0123456789012345678901","Level":11}"#,
            INVALID,
        ),
        root(
            Method::POST,
            "/x-keys",
            r#"{"SecretKey":"sk-01234567890123\r\n8901"}"#,
            INVALID,
        ),
        root(Method::PUT, "/x-keys/999", "{}", MISSING),
        root(Method::DELETE, "/x-keys/999", "", MISSING),
    ];
    for query in [
        "d=2026-13-01",
        "d=yesterday",
        "days=-1",
        "days=100000",
        "s=2026-02-01&e=2026-01-01",
        "s=1&e=2",
    ] {
        cases.push(root(Method::GET, &format!("/x-bill?{query}"), "", INVALID));
    }
    for query in ["date=x", "days=no", "start=2026-02-30&end=2026-03-01"] {
        cases.push(root(
            Method::GET,
            &format!("/dashboard/bill?{query}"),
            "",
            INVALID,
        ));
    }
    for query in ["page=-1", "size=x", "order=1;DROP", "level=99"] {
        cases.push(root(Method::GET, &format!("/x-users?{query}"), "", INVALID));
    }
    cases
}

/// Requests for accounts that belong to others.
fn trespasses(tree: &Tree) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |key: &String, method: Method, path: &str, body: &str, refusal| {
        cases.push(Case {
            key: key.clone(),
            ..root(method, path, body, refusal)
        });
    };
    let (alice, bob, anna) = (&tree.alice, &tree.bob, &tree.anna);
    for target in ["bobby", "root", "1", ".1.", "bobby@example.com"] {
        let path = format!("/x-users/{target}");
        add(alice, Method::PUT, &path, r#"{"CreditGranted":1}"#, MISSING);
        add(alice, Method::DELETE, &path, "", MISSING);
        add(alice, Method::GET, &path, "", MISSING);
    }
    // An ancestor, and the child of another.
    add(
        anna,
        Method::PUT,
        "/x-users/alice",
        r#"{"CreditGranted":1}"#,
        MISSING,
    );
    add(anna, Method::DELETE, "/x-users/alice", "", MISSING);
    add(
        bob,
        Method::PUT,
        "/x-users/anna",
        r#"{"CreditGranted":-1}"#,
        MISSING,
    );
    add(bob, Method::DELETE, "/x-users/anna", "", MISSING);
    add(bob, Method::GET, "/x-dna/anna", "", MISSING);
    add(bob, Method::GET, "/x-info?user=anna", "", MISSING);
    add(bob, Method::GET, "/x-bill?u=anna", "", MISSING);
    // The account itself.
    for body in [
        r#"{"CreditGranted":1}"#,
        r#"{"HardLimit":0}"#,
        r#"{"Rates":1}"#,
        r#"{"AllowIPs":"*"}"#,
        r#"{"RPM":9}"#,
    ] {
        add(alice, Method::PUT, "/x-users/alice", body, FORBIDDEN);
    }
    add(alice, Method::DELETE, "/x-users/alice", "", FORBIDDEN);
    // Only root may do this.
    add(
        alice,
        Method::PUT,
        "/x-users/anna",
        r#"{"Factor":2}"#,
        FORBIDDEN,
    );
    for path in ["/x-config", "/x-conf", "/x-keys"] {
        add(alice, Method::GET, path, "", FORBIDDEN);
    }
    add(
        alice,
        Method::PUT,
        "/x-config",
        r#"{"MODEL_MAPPER":"a=b"}"#,
        FORBIDDEN,
    );
    add(
        alice,
        Method::POST,
        "/x-conf",
        r#"{"LoadKeys":true}"#,
        FORBIDDEN,
    );
    add(
        alice,
        Method::POST,
        "/x-root",
        r#"{"confirm":"x"}"#,
        INVALID,
    );
    add(
        alice,
        Method::POST,
        "/x-news",
        r#"{"title":"a","content":"b"}"#,
        FORBIDDEN,
    );
    add(alice, Method::GET, "/x-ekey/text", "", FORBIDDEN);
    // More than there is, or less than the parent's.
    add(
        alice,
        Method::PUT,
        "/x-users/anna",
        r#"{"CreditGranted":61}"#,
        POOR,
    );
    add(
        alice,
        Method::PUT,
        "/x-users/anna",
        r#"{"CreditGranted":-41}"#,
        POOR,
    );
    add(
        alice,
        Method::PUT,
        "/x-users/anna",
        r#"{"Rates":0.5}"#,
        INVALID,
    );
    add(
        alice,
        Method::POST,
        "/x-users",
        r#"{"Name":"carol","Email":"c@example.com","CreditGranted":61}"#,
        POOR,
    );
    // No such account.
    for path in [
        "/x-users",
        "/x-keys",
        "/dashboard/info",
        "/x-bill",
        "/x-config",
    ] {
        let stranger = "sk-XvsNobodyNobodyNobodyNobodyNobodyNobodyNobody123".to_owned();
        add(&stranger, Method::GET, path, "", (401, "invalid_api_key"));
    }
    cases
}

#[tokio::test]
async fn wrong_input_is_refused_with_a_documented_error_and_changes_nothing() {
    let tree = Tree::grow().await;
    let before = tree.state().await;
    let mut cases = field_cases();
    cases.extend(request_cases());
    cases.extend(trespasses(&tree));
    assert!(cases.len() >= 200, "{}", cases.len());
    for case in &cases {
        tree.refused(case).await;
    }
    assert_eq!(tree.state().await, before);
    tree.world.grpc().verify_books().await;
}

#[tokio::test]
async fn concurrent_grants_never_hand_out_more_than_there_is() {
    let tree = Tree::grow().await;
    // Alice has sixty dollars left.
    let grant = |at: usize| {
        let tree = &tree;
        async move {
            let (path, body) = if at.is_multiple_of(2) {
                ("/x-users/anna".to_owned(), json!({"CreditGranted": 20}))
            } else {
                let name = format!("child{at}");
                let email = format!("{name}@example.com");
                let body = json!({"Name": name, "Email": email, "CreditGranted": 20});
                ("/x-users".to_owned(), body)
            };
            tree.world
                .post(&path, &tree.alice, &body)
                .await
                .status()
                .as_u16()
        }
    };
    let statuses: Vec<u16> = stream::iter((0..32).map(grant))
        .buffer_unordered(32)
        .collect()
        .await;
    let granted = statuses.iter().filter(|status| **status == 200).count();
    assert!(granted <= 3, "{statuses:?}");
    // Below the management minimum the rest is refused for that reason.
    assert!(
        statuses
            .iter()
            .all(|status| [200, 401, 402].contains(status)),
        "{statuses:?}"
    );
    assert_eq!(granted, 3, "{statuses:?}");
    let left = tree.world.grpc().account("alice").await.balance_nanos;
    assert_eq!(left, 0);
    tree.world.grpc().verify_books().await;
}
