//! Addresses are verified by a link, over any data plane and without a key.

use sea_orm::{ConnectionTrait as _, Database, Statement};
use serde_json::{Value, json};

use crate::{
    fleet::{Plane, TOKEN},
    world::{World, refused, until},
};

const API: &str = "https://api.example.com";
/// No mail server is there, so mails stay in the queue.
const ENV: [(&str, &str); 4] = [
    ("NODE_TOKEN", TOKEN),
    ("EMAIL_SMTP", "127.0.0.1"),
    ("EMAIL_PORT", "9"),
    ("XAI_API", API),
];

/// Texts of the mails to an address, oldest first.
async fn mails(world: &World, recipient: &str) -> Vec<String> {
    let file = || format!("sqlite:{}/proxyxai.db", world.dir().display());
    let url = world.database_url().map_or_else(file, ToOwned::to_owned);
    let connection = Database::connect(url).await.unwrap();
    let sql = format!("SELECT text_body FROM mail WHERE recipient = '{recipient}' ORDER BY id");
    let query = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(query).await.unwrap();
    connection.close().await.unwrap();
    let texts = rows.iter().map(|row| row.try_get("", "text_body").unwrap());
    texts.collect()
}

#[tokio::test]
async fn an_address_is_verified_by_the_button_behind_its_link_and_by_nothing_else() {
    let world = World::control(&ENV).await;
    let plane = Plane::start(&world, "plane-1", &[]).await;
    let boss = world.add_account("boss-man", 200.0).await;
    let new = json!({"Name": "alice", "Email": "alice@example.com", "CreditGranted": 50});
    let made = world.http.post(world.url("/x-users")).bearer_auth(&boss);
    assert_eq!(made.json(&new).send().await.unwrap().status(), 200);
    let info = async || -> Value { world.read("/x-info?user=alice").await };
    assert_eq!(info().await["EmailVerifiedBy"], "");
    let boss_info = world.read("/x-info?user=boss-man").await;
    assert_eq!(boss_info["EmailVerifiedBy"], "root", "{boss_info}");

    let sent = mails(&world, "alice@example.com").await;
    assert_eq!(sent.len(), 1, "{sent:?}");
    let (_, rest) = sent[0].split_once(API).unwrap();
    let path = rest.split_whitespace().next().unwrap();
    let link = format!("{}{path}", plane.node.base);
    // Opening the link, as scanners do, changes nothing.
    for _ in 0..2 {
        let page = world.http.get(&link).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["referrer-policy"], "no-referrer");
        let text = page.text().await.unwrap();
        assert!(
            text.contains("alice@example.com") && text.contains("<form"),
            "{text}"
        );
    }
    assert_eq!(info().await["EmailVerifiedBy"], "");
    let done = world.http.post(&link).send().await.unwrap();
    assert_eq!(done.status(), 200);
    assert_eq!(info().await["EmailVerifiedBy"], "link");
    assert_eq!(world.http.post(&link).send().await.unwrap().status(), 410);
    assert_eq!(world.http.get(&link).send().await.unwrap().status(), 410);
    let forged = format!("{link}x");
    assert_eq!(world.http.post(&forged).send().await.unwrap().status(), 410);
    until("it is welcome", async || {
        mails(&world, "alice@example.com").await.len() == 2
    })
    .await;

    // An address that an account sets itself is not used until it is verified; verification mails are limited.
    let bills = json!({"BillingEmail": "books@example.com"});
    let change = world
        .http
        .put(world.url("/x-users/boss-man"))
        .bearer_auth(&boss);
    assert_eq!(change.json(&bills).send().await.unwrap().status(), 200);
    assert_eq!(mails(&world, "books@example.com").await.len(), 1);
    let again = world
        .http
        .post(world.url("/x-users/boss-man/verify"))
        .bearer_auth(&boss);
    refused(again.send().await.unwrap(), 429, "rate_limit_exceeded").await;
}
