//! `/x-calls`.

use super::{RestHarness, golden};
use crate::{
    ops,
    testing::{call, node},
};

async fn called(rig: &RestHarness, user: &str) {
    let found = ops::accounts::find(&rig.control, &crate::testing::ROOT, user)
        .await
        .unwrap();
    let records: Vec<_> = (1..=3).map(|n| call(n, found.id, 0.1)).collect();
    let name = node("n1");
    let report = ops::fleet::report_usage(&rig.control, &name, 1, records);
    report.await.unwrap();
}

#[tokio::test]
async fn a_page_has_rows_and_where_to_go_on() {
    let rig = RestHarness::start().await;
    let alice = rig.child(&rig.root, "alice", 10).await;
    called(&rig, "alice").await;
    let page = rig
        .get("/x-calls?size=2&user=alice&status=2xx&model=gpt-*&start=2026-11-01&end=2026-11-01")
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    golden("x-calls", &page.body);
    let text =
        |answer: &super::TestResponse, name: &str| answer.body[name].as_str().unwrap().to_owned();
    let (next, latest) = (text(&page, "next"), text(&page, "latest"));
    assert!(
        next.bytes()
            .chain(latest.bytes())
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    let last = rig.get(&format!("/x-calls?size=2&before={next}")).await;
    assert_eq!(
        (
            last.body["calls"][0]["Sequence"].as_u64(),
            last.body["next"].is_null()
        ),
        (Some(1), true)
    );
    let none = rig.get(&format!("/x-calls?after={latest}")).await;
    assert_eq!(
        (
            none.body["calls"].as_array().unwrap().len(),
            none.body["next"].is_null()
        ),
        (0, true)
    );
    let own = rig.ask("GET", "/x-calls", &alice, "").await;
    let row = &own.body["calls"][0];
    assert_eq!(
        (row["UserName"].as_str(), row["Key"].as_i64()),
        (Some("alice"), Some(1))
    );
    for hidden in ["KeyName", "Expense", "Margin"] {
        assert!(row.get(hidden).is_none(), "{hidden}");
    }
    // A row has all fields of the older list, and more.
    let older = rig.ask("GET", "/x-usage", &alice, "").await;
    for (name, value) in older.body[0].as_object().unwrap() {
        assert_eq!(row[name], *value, "{name}");
    }
}

#[tokio::test]
async fn what_is_misspelt_or_makes_no_sense_is_refused_by_name() {
    let rig = RestHarness::start().await;
    let alice = rig.child(&rig.root, "alice", 10).await;
    for (query, name) in [
        ("usr=alice", "usr"),
        ("page=2", "page"),
        ("below=no", "below"),
        ("key=x", "key"),
        ("key=-1", "key"),
        ("status=42", "status"),
        ("model=a*b", "model"),
        ("model=a%00", "model"),
        ("request_id=a%0Ab", "request_id"),
        ("start=1", "start"),
        ("end=2026-13-01", "end"),
        ("start=2026-02-01&end=2026-01-01", "start"),
        ("size=0", "size"),
        ("size=501", "size"),
        ("before=x", "before"),
        ("after=x", "after"),
        ("before=x&after=x", "after"),
    ] {
        let answer = rig.get(&format!("/x-calls?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        answer.names(name);
    }
    let refused = rig.ask("GET", "/x-calls?key=1", &alice, "").await;
    refused.refused(403, "permission_error", "forbidden");
    let unknown = rig.ask("GET", "/x-calls?user=root", &alice, "").await;
    assert_eq!(unknown.status, 404);
}
