//! Tests of verification: mail goes only to addresses that their reader, or root, has confirmed.

use std::collections::BTreeMap;

use proxyxai_contract::secret::Secret;

use crate::{
    Error,
    model::{Account, AccountChange, NewsDraft, VerifiedBy},
    ops,
    store::testing::{QueuedMail, mails},
    testing::{DAY_MS, ROOT, World, by, everywhere},
};

async fn configure(world: &World, pairs: &[(&str, &str)]) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let set: BTreeMap<_, _> = pairs.iter().map(owned).collect();
    ops::settings::update(&world.control, &ROOT, set, vec![])
        .await
        .unwrap();
}

async fn switch_on(world: &World) {
    let pairs = [("EMAIL_SMTP", "h"), ("XAI_API", "https://api.example.com")];
    configure(world, &pairs).await;
}

async fn of(world: &World, kind: &str) -> Vec<QueuedMail> {
    let mut all = mails(world.control.store()).await;
    all.retain(|mail| mail.kind == kind);
    all
}

/// The token of the link in a mail.
fn token(mail: &QueuedMail) -> String {
    let (_, rest) = mail
        .text
        .split_once("https://api.example.com/x-verify/")
        .unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

async fn confirmed(world: &World, token: &str) -> bool {
    let wish = ops::verification::confirm(&world.control, token).await;
    wish.unwrap().is_some()
}

async fn looked(world: &World, token: &str) -> bool {
    let wish = ops::verification::look(&world.control, token).await;
    wish.unwrap().is_some()
}

async fn state(world: &World, account: &Account) -> [Option<VerifiedBy>; 2] {
    let addresses = world.view(account).await.addresses;
    [addresses.email, addresses.billing].map(|it| it.map(|it| it.by))
}

fn email(address: &str) -> AccountChange {
    AccountChange {
        email: Some(address.to_owned()),
        ..AccountChange::default()
    }
}

#[tokio::test]
async fn what_root_enters_is_verified_and_what_others_enter_waits_for_its_link() {
    everywhere(async |world: &mut World| {
        switch_on(world).await;
        let anna = world.child(&ROOT, "anna", 200.0).await;
        assert_eq!(state(world, &anna).await, [Some(VerifiedBy::Root), None]);
        assert_eq!(of(world, "welcome").await.len(), 1);
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        assert_eq!(state(world, &carl).await, [None, None]);
        assert_eq!(
            of(world, "welcome").await.len(),
            1,
            "he was told nothing yet"
        );
        let links = of(world, "verify").await;
        assert_eq!(links.len(), 1);
        assert_eq!(links[0].recipient, "carl@example.com");
        // It contains no text that the author of the address chose.
        assert!(!links[0].text.contains("carl") && !links[0].text.contains("anna"));

        let token = token(&links[0]);
        assert!(looked(world, &token).await && looked(world, &token).await);
        assert_eq!(
            state(world, &carl).await,
            [None, None],
            "looking changes nothing"
        );
        assert!(confirmed(world, &token).await);
        assert_eq!(state(world, &carl).await, [Some(VerifiedBy::Link), None]);
        assert!(!confirmed(world, &token).await && !looked(world, &token).await);
        assert_eq!(of(world, "welcome").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_link_is_good_for_one_address_for_three_days_and_from_this_gateway() {
    everywhere(async |world: &mut World| {
        switch_on(world).await;
        let anna = world.child(&ROOT, "anna", 200.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        let first = token(&of(world, "verify").await[0]);
        for forged in ["", "x", &first[1..], &format!("{first}A")] {
            assert!(!confirmed(world, forged).await, "{forged}");
        }
        let sealed = world
            .control
            .vault()
            .seal_text("other", &Secret::new("2:Email:x"));
        assert!(!confirmed(world, &sealed.unwrap()).await);
        // Another address gets another link, and is unverified.
        let changed = email("new@example.com");
        world.change(&by(&anna), &carl, changed).await.unwrap();
        assert!(!confirmed(world, &first).await);
        let second = token(&of(world, "verify").await[1]);
        world.clock.advance(3 * DAY_MS);
        assert!(!confirmed(world, &second).await);
        let sent = ops::verification::ask(&world.control, &by(&carl), "carl").await;
        assert_eq!(sent.unwrap(), ["Email"]);
        let third = token(&of(world, "verify").await[2]);
        assert!(confirmed(world, &third).await);
        let back = email("carl@example.com");
        world.change(&by(&anna), &carl, back).await.unwrap();
        assert_eq!(state(world, &carl).await, [None, None]);
        world
            .change(&ROOT, &carl, email("root@example.org"))
            .await
            .unwrap();
        assert_eq!(state(world, &carl).await, [Some(VerifiedBy::Root), None]);
    })
    .await;
}

#[tokio::test]
async fn links_have_a_rate_for_each_address_and_each_sender() {
    everywhere(async |world: &mut World| {
        switch_on(world).await;
        configure(world, &[("EMAIL_RPH", "3")]).await;
        let anna = world.child(&ROOT, "anna", 500.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        let again = ops::verification::ask(&world.control, &by(&anna), "carl").await;
        assert!(matches!(again, Err(Error::TooOften { .. })));
        // A change that an account makes of its own bill address counts for its customer of root.
        let victim = AccountChange {
            billing_email: Some("victim@example.com".to_owned()),
            ..AccountChange::default()
        };
        world
            .change(&by(&carl), &carl, victim.clone())
            .await
            .unwrap();
        assert_eq!(state(world, &carl).await, [None, None]);
        // Other accounts of the customer do not evade the limit.
        for name in ["dora", "emil", "fred"] {
            let child = world.child(&by(&anna), name, 30.0).await;
            world
                .change(&by(&child), &child, victim.clone())
                .await
                .unwrap();
        }
        let to = |mails: Vec<QueuedMail>| mails.into_iter().map(|mail| mail.recipient);
        let sent: Vec<_> = to(of(world, "verify").await).collect();
        let expected = ["carl@example.com", "victim@example.com", "dora@example.com"];
        assert_eq!(sent, expected);
        // Other customers have a rate of their own, but the address keeps its pause.
        let bert = world.child(&ROOT, "bert", 500.0).await;
        world.change(&by(&bert), &bert, victim).await.unwrap();
        assert_eq!(of(world, "verify").await.len(), 3);
        world.clock.advance(DAY_MS);
        let sent = ops::verification::ask(&world.control, &by(&bert), "bert").await;
        assert_eq!(sent.unwrap(), ["BillingEmail"]);
    })
    .await;
}

#[tokio::test]
async fn others_news_say_whose_they_are() {
    everywhere(async |world: &mut World| {
        let anna = world.child(&ROOT, "anna", 200.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        let new = || NewsDraft {
            title: "hello".to_owned(),
            content: "words".to_owned(),
            days: None,
        };
        let posted = ops::news::post(&world.control, &by(&anna), Some("carl"), new()).await;
        assert_eq!(posted.unwrap().author_name, "anna");
        ops::news::post(&world.control, &ROOT, Some("carl"), new())
            .await
            .unwrap();
        let board = ops::news::board(&world.control, &by(&carl)).await.unwrap();
        let from: Vec<_> = board.user.iter().map(|news| &news.author_name).collect();
        assert_eq!(from, ["root", "anna"]);
    })
    .await;
}
