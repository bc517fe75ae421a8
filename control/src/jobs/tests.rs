//! What the background jobs queue, and for whom; sending is tested against a real server.

use std::collections::BTreeMap;

use proxyxai_contract::snapshot::{HealthState, KeyHealthReport};

use super::{bill_mail, key_alerts, limit_alerts, news_mail};
use crate::{
    Control,
    model::{Account, AccountChange, NewsDraft},
    ops,
    store::{
        self,
        mail::SendOutcome,
        testing::{QueuedMail, mails},
    },
    testing::{DAY_MS, NOON, ROOT, World, by, call, everywhere, node, usd},
};

async fn configure(world: &World, pairs: &[(&str, &str)]) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let set: BTreeMap<_, _> = pairs.iter().map(owned).collect();
    ops::settings::update(&world.control, &ROOT, set, vec![])
        .await
        .unwrap();
}

async fn switch_on(world: &World) {
    configure(world, &[("EMAIL_SMTP", "mail.example.com")]).await;
    // The first step only stores the ledger's position.
    limit_alerts::tell(&world.control).await.unwrap();
}

async fn spend(world: &World, sequence: u64, account: &Account, cost: f64) {
    let mut record = call(sequence, account.id, cost);
    record.start = world.clock.now();
    ops::fleet::report_usage(&world.control, &node("n"), 1, vec![record])
        .await
        .unwrap();
}

/// Mails of a kind, in the order in which they were queued.
async fn of(world: &World, kind: &str) -> Vec<QueuedMail> {
    let mut all = mails(world.control.store()).await;
    all.retain(|mail| mail.kind == kind);
    all
}

#[tokio::test]
async fn nothing_is_queued_while_there_is_no_server() {
    everywhere(async |world| {
        configure(
            world,
            &[("XAI_MAIL", "ops@example.com"), ("EMAIL_BILL", "daily")],
        )
        .await;
        let anna = world.child(&ROOT, "anna", 2.0).await;
        spend(world, 1, &anna, 1.9).await;
        let new = NewsDraft {
            title: "t".to_owned(),
            content: "c".to_owned(),
            days: None,
        };
        ops::news::post(&world.control, &ROOT, None, new)
            .await
            .unwrap();
        world.clock.advance(2 * DAY_MS);
        limit_alerts::tell(&world.control).await.unwrap();
        news_mail::write(&world.control).await.unwrap();
        key_alerts::report(&world.control).await.unwrap();
        bill_mail::write(&world.control).await.unwrap();
        assert!(mails(world.control.store()).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_new_account_is_told_of_itself_without_its_key() {
    everywhere(async |world| {
        configure(
            world,
            &[("EMAIL_SMTP", "h"), ("XAI_API", "api.example.com")],
        )
        .await;
        world.child(&ROOT, "anna", 10.0).await;
        let welcome = of(world, "welcome").await;
        assert_eq!(welcome.len(), 1);
        assert_eq!(welcome[0].recipient, "anna@example.com");
        assert_eq!(welcome[0].subject, "Your account anna");
        assert!(welcome[0].text.contains("https://api.example.com/v1"));
    })
    .await;
}

#[tokio::test]
async fn a_soft_limit_is_told_once_a_month() {
    everywhere(async |world| {
        switch_on(world).await;
        let anna = world.child(&ROOT, "anna", 500.0).await;
        let change = AccountChange {
            soft_limit: Some(usd(10.0)),
            billing_email: Some("books@example.com".to_owned()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &anna, change).await.unwrap();
        for (sequence, cost, told) in [(1, 10.0, 0), (2, 0.5, 1), (3, 5.0, 1)] {
            spend(world, sequence, &anna, cost).await;
            limit_alerts::tell(&world.control).await.unwrap();
            limit_alerts::tell(&world.control).await.unwrap();
            assert_eq!(of(world, "soft_limit").await.len(), told, "{sequence}");
        }
        world.clock.advance(30 * DAY_MS);
        spend(world, 4, &anna, 11.0).await;
        limit_alerts::tell(&world.control).await.unwrap();
        let mails = of(world, "soft_limit").await;
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].recipient, "books@example.com");
        assert!(mails[0].text.contains("$10.5") && mails[0].text.contains("$10."));
    })
    .await;
}

#[tokio::test]
async fn a_low_balance_is_told_once_until_it_rises() {
    everywhere(async |world| {
        switch_on(world).await;
        let anna = world.child(&ROOT, "anna", 5.0).await;
        let told = async |expected: usize| {
            limit_alerts::tell(&world.control).await.unwrap();
            assert_eq!(of(world, "low_balance").await.len(), expected);
        };
        told(0).await;
        spend(world, 1, &anna, 2.5).await;
        told(1).await;
        spend(world, 2, &anna, 0.5).await;
        told(1).await;
        let grant = AccountChange {
            credit: Some(usd(10.0)),
            ..AccountChange::default()
        };
        world.change(&ROOT, &anna, grant).await.unwrap();
        told(1).await;
        spend(world, 3, &anna, 9.5).await;
        told(2).await;
        assert_eq!(
            of(world, "low_balance").await[0].recipient,
            "anna@example.com"
        );
    })
    .await;
}

#[tokio::test]
async fn accounts_with_one_bill_address_share_a_mail() {
    everywhere(async |world| {
        configure(world, &[("EMAIL_SMTP", "h"), ("EMAIL_BILL", "daily")]).await;
        bill_mail::write(&world.control).await.unwrap();
        let change = AccountChange {
            billing_email: Some("books@example.com".to_owned()),
            ..AccountChange::default()
        };
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let bert = world.child(&ROOT, "bert", 100.0).await;
        let carl = world.child(&ROOT, "carl", 100.0).await;
        for account in [&anna, &bert] {
            world.change(&ROOT, account, change.clone()).await.unwrap();
        }
        for (sequence, account) in [(1, &anna), (2, &bert), (3, &carl)] {
            spend(world, sequence, account, 1.5).await;
        }
        bill_mail::write(&world.control).await.unwrap();
        assert!(of(world, "bill").await.is_empty());
        // Half past midnight is too early: usage may still come late.
        world.clock.advance(DAY_MS / 2 + 1_800_000);
        bill_mail::write(&world.control).await.unwrap();
        assert!(of(world, "bill").await.is_empty());
        world.clock.advance(1_800_000);
        for _ in 0..3 {
            bill_mail::write(&world.control).await.unwrap();
        }
        let written = of(world, "bill").await;
        let to: Vec<_> = written.iter().map(|mail| mail.recipient.as_str()).collect();
        assert_eq!(to, ["books@example.com", "carl@example.com"]);
        assert_eq!(written[0].subject, "Usage 2026-11-01: $3");
        assert!(written[0].text.contains("anna (2)") && written[0].text.contains("bert (3)"));
        assert!(!written[0].text.contains("carl"));
        // A clock that is set back bills nothing again, and a day without usage is not billed.
        world.clock.advance(-DAY_MS / 2);
        bill_mail::write(&world.control).await.unwrap();
        world.clock.advance(2 * DAY_MS);
        for _ in 0..3 {
            bill_mail::write(&world.control).await.unwrap();
        }
        assert_eq!(of(world, "bill").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_month_is_billed_as_a_whole() {
    everywhere(async |world| {
        configure(world, &[("EMAIL_SMTP", "h"), ("EMAIL_BILL", "monthly")]).await;
        bill_mail::write(&world.control).await.unwrap();
        let anna = world.child(&ROOT, "anna", 100.0).await;
        spend(world, 1, &anna, 1.0).await;
        world.clock.advance(20 * DAY_MS);
        spend(world, 2, &anna, 2.0).await;
        bill_mail::write(&world.control).await.unwrap();
        assert!(of(world, "bill").await.is_empty());
        world.clock.advance(10 * DAY_MS);
        bill_mail::write(&world.control).await.unwrap();
        bill_mail::write(&world.control).await.unwrap();
        let written = of(world, "bill").await;
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].subject, "Usage 2026-11-01 to 2026-11-30: $3");
    })
    .await;
}

#[tokio::test]
async fn news_are_written_to_their_readers_once() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 200.0).await;
        let carl = world.child(&by(&anna), "carl", 20.0).await;
        world.child(&by(&anna), "dora", 20.0).await;
        world.child(&ROOT, "bert", 20.0).await;
        // Root set this address, so it is verified; dora's is not.
        let known = AccountChange {
            email: Some("carl@example.org".to_owned()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &carl, known).await.unwrap();
        switch_on(world).await;
        let new = |title: &str| NewsDraft {
            title: title.to_owned(),
            content: "c".to_owned(),
            days: None,
        };
        for (title, target) in [
            ("all", None),
            ("one", Some("anna")),
            ("group", Some(anna.dna.as_str())),
        ] {
            ops::news::post(&world.control, &ROOT, target, new(title))
                .await
                .unwrap();
        }
        for _ in 0..5 {
            news_mail::write(&world.control).await.unwrap();
        }
        let written = of(world, "news").await;
        let to = |title: &str| -> Vec<_> {
            let hits = written.iter().filter(|mail| mail.subject == title);
            hits.map(|mail| mail.recipient.split('@').next().unwrap())
                .collect()
        };
        assert_eq!(to("all"), ["anna", "carl", "bert"]);
        assert_eq!(to("one"), ["anna"]);
        assert_eq!(to("group"), ["anna", "carl"]);
    })
    .await;
}

#[tokio::test]
async fn news_for_one_account_that_cannot_be_written_to_reach_nobody_else() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 200.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        let below = world.child(&by(&carl), "dora", 20.0).await;
        let known = AccountChange {
            email: Some("dora@example.org".to_owned()),
            ..AccountChange::default()
        };
        world.change(&ROOT, &below, known).await.unwrap();
        switch_on(world).await;
        let new = NewsDraft {
            title: "t".to_owned(),
            content: "c".to_owned(),
            days: None,
        };
        ops::news::post(&world.control, &ROOT, Some("carl"), new)
            .await
            .unwrap();
        news_mail::write(&world.control).await.unwrap();
        assert!(of(world, "news").await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_sender_beyond_its_rate_waits_and_holds_up_nobody() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 300.0).await;
        let bert = world.child(&ROOT, "bert", 300.0).await;
        for name in ["carl", "dora", "emil"] {
            let child = world.child(&by(&anna), name, 20.0).await;
            let known = AccountChange {
                email: Some(format!("{name}@example.org")),
                ..AccountChange::default()
            };
            world.change(&ROOT, &child, known).await.unwrap();
        }
        switch_on(world).await;
        configure(world, &[("EMAIL_RPH", "2")]).await;
        let post = async |caller: &Account, target: &str| {
            let new = NewsDraft {
                title: "hello".to_owned(),
                content: "words".to_owned(),
                days: None,
            };
            ops::news::post(&world.control, &by(caller), Some(target), new)
                .await
                .unwrap();
        };
        post(&anna, &anna.dna).await;
        let sent = async |expected: usize| {
            for _ in 0..4 {
                news_mail::write(&world.control).await.unwrap();
            }
            let news = of(world, "news").await;
            assert_eq!(news.len(), expected);
            news
        };
        let first = sent(2).await;
        assert_eq!(first[0].subject, "anna: hello");
        assert!(
            first[0].text.contains("From the account anna"),
            "{}",
            first[0].text
        );
        // Root's own news, queued behind them, go out.
        let new = NewsDraft {
            title: "all".to_owned(),
            content: "c".to_owned(),
            days: None,
        };
        ops::news::post(&world.control, &ROOT, Some("bert"), new)
            .await
            .unwrap();
        assert_eq!(sent(3).await[2].subject, "all");
        world.clock.advance(3_600_000);
        let all = sent(4).await;
        assert_eq!(all[3].recipient, "emil@example.org");
        assert_eq!(bert.email, "bert@example.com");
    })
    .await;
}

#[tokio::test]
async fn notices_and_bills_go_to_verified_addresses_only() {
    everywhere(async |world| {
        configure(world, &[("EMAIL_BILL", "daily")]).await;
        switch_on(world).await;
        bill_mail::write(&world.control).await.unwrap();
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let carl = world.child(&by(&anna), "carl", 20.0).await;
        // Anyone with a key may enter any address for bills.
        let victim = AccountChange {
            billing_email: Some("victim@example.com".to_owned()),
            ..AccountChange::default()
        };
        world
            .change(&by(&anna), &anna, victim.clone())
            .await
            .unwrap();
        world.change(&by(&carl), &carl, victim).await.unwrap();
        spend(world, 1, &anna, 79.0).await;
        spend(world, 2, &carl, 19.0).await;
        limit_alerts::tell(&world.control).await.unwrap();
        world.clock.advance(DAY_MS);
        for _ in 0..3 {
            bill_mail::write(&world.control).await.unwrap();
        }
        for kind in ["low_balance", "bill"] {
            let sent = of(world, kind).await;
            let to: Vec<_> = sent.iter().map(|mail| mail.recipient.as_str()).collect();
            assert_eq!(to, ["anna@example.com"], "{kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_key_is_reported_once_a_day_and_state() {
    everywhere(async |world| {
        configure(
            world,
            &[
                ("EMAIL_SMTP", "h"),
                ("XAI_MAIL", "ops@example.com, two@example.com"),
            ],
        )
        .await;
        let key = world.key("sk-upstream-0123456789").await.unwrap();
        let say = async |state: HealthState| {
            let health = KeyHealthReport {
                key: key.id,
                model: None,
                state,
                reason: "401: revoked".to_owned(),
            };
            ops::fleet::report_health(&world.control, &node("n"), vec![health])
                .await
                .unwrap();
            key_alerts::report(&world.control).await.unwrap();
            key_alerts::report(&world.control).await.unwrap();
            of(world, "key_fault").await.len()
        };
        let until = NOON.plus(30 * DAY_MS);
        assert_eq!(say(HealthState::Sleeping { until }).await, 0);
        assert_eq!(say(HealthState::Quarantined { until }).await, 2);
        assert_eq!(say(HealthState::Disabled).await, 4);
        world.clock.advance(DAY_MS);
        assert_eq!(say(HealthState::Disabled).await, 6);
        let first = &of(world, "key_fault").await[0];
        assert!(first.text.contains("401: revoked"), "{}", first.text);
        assert!(!first.text.contains("0123456789"));
    })
    .await;
}

#[tokio::test]
async fn a_claimed_mail_is_nobody_elses_until_the_claim_runs_out() {
    everywhere(async |world| {
        configure(world, &[("EMAIL_SMTP", "h")]).await;
        for n in 0..5 {
            world.child(&ROOT, &format!("anna{n}"), 10.0).await;
        }
        let control = &world.control;
        let now = control.now();
        let claim = async |rows_max: u64, at| {
            let tx = control.store().begin().await.unwrap();
            let claimed = store::mail::claim(&tx, at, now.plus(1_000), rows_max).await;
            tx.commit().await.unwrap();
            claimed.unwrap()
        };
        let first = claim(3, now).await;
        let second = claim(3, now).await;
        assert_eq!((first.len(), second.len()), (3, 2));
        assert!(claim(3, now).await.is_empty());
        assert!(!store::mail::is_due(control.store(), now).await.unwrap());
        let settle = async |mail, outcome| {
            let tx = control.store().begin().await.unwrap();
            store::mail::settle(&tx, mail, outcome).await.unwrap();
            tx.commit().await.unwrap();
        };
        settle(&first[0], SendOutcome::Sent).await;
        let failed = SendOutcome::Failed {
            error: "550".to_owned(),
        };
        settle(&first[1], failed).await;
        let untried = SendOutcome::Untried {
            due: now.plus(1_000),
        };
        settle(&first[2], untried).await;
        let later = claim(9, now.plus(1_000)).await;
        assert_eq!(later.len(), 3);
        // A late outcome of the sender that had it first is ignored.
        settle(&second[0], SendOutcome::Sent).await;
        let all = mails(control.store()).await;
        let states: Vec<_> = all
            .iter()
            .map(|mail| (mail.state.as_str(), mail.tries))
            .collect();
        assert_eq!(
            states,
            [
                ("sent", 1),
                ("failed", 1),
                ("queued", 1),
                ("queued", 2),
                ("queued", 2)
            ]
        );
        assert!(all[0].text.is_empty() && all[1].error == "550");
    })
    .await;
}

#[tokio::test]
async fn senders_that_claim_at_the_same_time_get_different_mails() {
    everywhere(async |world| {
        configure(world, &[("EMAIL_SMTP", "h")]).await;
        for n in 0..12 {
            world.child(&ROOT, &format!("anna{n}"), 10.0).await;
        }
        // A second process: a control plane of its own over the same database.
        let other = Control::start(world.config.clone(), world.clock.clone())
            .await
            .unwrap();
        let claim = async |control: &Control| {
            let now = control.now();
            let tx = control.store().begin().await.unwrap();
            let claimed = store::mail::claim(&tx, now, now.plus(1_000), 4).await;
            tx.commit().await.unwrap();
            claimed.unwrap().into_iter().map(|mail| mail.id).collect()
        };
        let claims: [Vec<i64>; 4] = tokio::join!(
            claim(&world.control),
            claim(&other),
            claim(&world.control),
            claim(&other)
        )
        .into();
        let mut all = claims.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a mail was claimed twice");
        assert!(count >= 4);
    })
    .await;
}
