//! The audit log: every change leaves one record, and no record holds a secret.

use std::{collections::BTreeMap, net::IpAddr};

use proxyxai_contract::{secret::Secret, snapshot::KeyConfig};
use serde_json::{Value, json};

use crate::{
    Control, Error,
    domain::setting,
    jobs,
    model::{
        Account, AccountChange, AuditFilter, AuditRecord, Caller, DateRange, Listing, NewAccount,
        NewsDraft, Page, RerateRequest, UpstreamKeyChange,
    },
    ops,
    store::testing::{audit_text, mails, meddle},
    testing::{DAY_MS, ROOT, World, by, everywhere, usd},
};

const PAGE: Page = Page { page: 1, size: 100 };

async fn logs(control: &Control, caller: &Caller, filter: AuditFilter) -> Listing<AuditRecord> {
    ops::audit::list(control, caller, filter, PAGE)
        .await
        .unwrap()
}

async fn actions(world: &World, caller: &Caller) -> Vec<String> {
    let listing = logs(&world.control, caller, AuditFilter::default()).await;
    listing.rows.into_iter().map(|log| log.action).collect()
}

fn details(log: &AuditRecord) -> Value {
    serde_json::from_str(&log.details).unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// One change of each kind.
async fn change_everything(world: &World) -> Account {
    let from_home = Caller {
        address: Some("192.0.2.7".parse::<IpAddr>().unwrap()),
        ..ROOT
    };
    let control = &world.control;
    let anna = world.child(&from_home, "anna", 100.0).await;
    let change = AccountChange {
        alias: Some("Ann".to_owned()),
        credit: Some(usd(5.0)),
        allow_models: Some("gpt-4o".to_owned()),
        ..AccountChange::default()
    };
    world.change(&from_home, &anna, change).await.unwrap();
    let key = world.key("sk-upstream-0123456789").await.unwrap();
    let change = UpstreamKeyChange {
        secret: Some(Secret::new("sk-upstream-abcdefghij")),
        name: Some("second".to_owned()),
        ..UpstreamKeyChange::default()
    };
    ops::keys::update(control, &ROOT, key.id, change)
        .await
        .unwrap();
    ops::keys::delete(control, &ROOT, key.id).await.unwrap();
    ops::keys::reload(control, &ROOT).await.unwrap();
    let set = settings(&[("UNPRICED", "serve")]);
    ops::settings::update(control, &ROOT, set, vec![])
        .await
        .unwrap();
    let reset = vec!["UNPRICED".to_owned()];
    ops::settings::update(control, &ROOT, BTreeMap::new(), reset)
        .await
        .unwrap();
    ops::accounts::rotate_key(control, &by(&anna), None, 0)
        .await
        .unwrap();
    ops::accounts::delete(control, &ROOT, "anna").await.unwrap();
    anna
}

#[tokio::test]
async fn every_change_leaves_one_record_with_what_was_before_and_after() {
    everywhere(async |world| {
        let anna = change_everything(world).await;
        assert_eq!(
            actions(world, &ROOT).await,
            [
                "delete_user",
                "rotate_self",
                "delete_config",
                "update_config",
                "load_keys",
                "delete_key",
                "update_key",
                "add_key",
                "update_user",
                "add_user"
            ]
        );
        let all = logs(&world.control, &ROOT, AuditFilter::default())
            .await
            .rows;
        let update = details(&all[8]);
        assert_eq!(update["Alias"], json!({ "before": "anna", "after": "Ann" }));
        assert_eq!(
            update["Balance"],
            json!({ "before": "$100", "after": "$105" })
        );
        assert_eq!(update["AllowModels"]["after"], "gpt-4o");
        assert_eq!(update.get("Email"), None);
        assert_eq!(
            (all[8].operator, all[8].target, all[8].address.as_str()),
            (1, Some(anna.id.get()), "192.0.2.7")
        );
        assert_eq!(
            details(&all[6])["SecretKey"],
            json!({ "before": "***", "after": "***" })
        );
        assert_eq!(
            details(&all[3]),
            json!({ "UNPRICED": { "before": "refuse", "after": "serve" } })
        );
        assert_eq!(details(&all[0])["Name"], json!({ "before": "anna" }));
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_leaves_no_record() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let taken = NewAccount {
            name: "anna".to_owned(),
            email: "other@example.com".to_owned(),
            credit: usd(10.0),
            ..NewAccount::default()
        };
        let refused = ops::accounts::create(&world.control, &ROOT, taken).await;
        assert!(matches!(
            refused,
            Err(Error::Conflict { field: "Name", .. })
        ));
        let change = AccountChange {
            credit: Some(usd(-500.0)),
            ..AccountChange::default()
        };
        assert!(world.change(&ROOT, &anna, change).await.is_err());
        assert_eq!(actions(world, &ROOT).await, ["add_user"]);
    })
    .await;
}

#[tokio::test]
async fn an_account_sees_what_it_and_those_below_did_or_were_done() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 200.0).await;
        let bert = world.child(&ROOT, "bert", 200.0).await;
        let carl = world.child(&by(&anna), "carl", 50.0).await;
        world.key("sk-upstream-0123456789").await.unwrap();
        let alias = AccountChange {
            alias: Some("C".to_owned()),
            ..AccountChange::default()
        };
        world.change(&by(&carl), &carl, alias).await.unwrap();
        let seen = async |caller: Caller| actions(world, &caller).await;
        assert_eq!(
            seen(by(&anna)).await,
            ["update_user", "add_user", "add_user"]
        );
        assert_eq!(seen(by(&carl)).await, ["update_user", "add_user"]);
        assert_eq!(seen(by(&bert)).await, ["add_user"]);
        assert_eq!(seen(ROOT).await.len(), 5);

        let filter = |action: Option<&str>, target| AuditFilter {
            action: action.map(ToOwned::to_owned),
            target,
            status: Some("success".to_owned()),
        };
        let carls = filter(Some("add_user"), Some(carl.id.get()));
        assert_eq!(logs(&world.control, &ROOT, carls).await.total, 1);
        assert_eq!(
            logs(&world.control, &ROOT, filter(Some("a\0"), None))
                .await
                .total,
            0
        );
        let failed = AuditFilter {
            status: Some("failed".to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(logs(&world.control, &ROOT, failed).await.total, 0);
        let second = Page { page: 2, size: 2 };
        let page = ops::audit::list(&world.control, &ROOT, AuditFilter::default(), second)
            .await
            .unwrap();
        assert_eq!((page.rows.len(), page.total), (2, 5));
    })
    .await;
}

#[tokio::test]
async fn no_record_and_no_mail_holds_a_secret() {
    everywhere(async |world| {
        let control = &world.control;
        let (upstream, other) = ("sk-upstream-plantedsecret1", "sk-upstream-plantedsecret2");
        let password = "hunter2-planted";
        let set = settings(&[
            ("EMAIL_SMTP", "mail.example.com"),
            ("EMAIL_PASS", password),
            ("EMAIL_SENDER", "XAI<xai@example.com>"),
        ]);
        let shown = ops::settings::update(control, &ROOT, set, vec![])
            .await
            .unwrap();
        assert_eq!(shown["EMAIL_PASS"], "***");
        // Sending a masked value back changes nothing.
        let set = settings(&[("EMAIL_PASS", "***")]);
        ops::settings::update(control, &ROOT, set, vec![])
            .await
            .unwrap();
        let kept = ops::settings::secret(control, &setting::EMAIL_PASS)
            .await
            .unwrap();
        assert_eq!(kept.unwrap().expose(), password);

        let key = world.key(upstream).await.unwrap();
        let change = UpstreamKeyChange {
            secret: Some(Secret::new(other)),
            config: Some(KeyConfig::default()),
            ..UpstreamKeyChange::default()
        };
        ops::keys::update(control, &ROOT, key.id, change)
            .await
            .unwrap();
        let new = NewAccount {
            name: "anna".to_owned(),
            email: "anna@example.com".to_owned(),
            credit: usd(100.0),
            ..NewAccount::default()
        };
        let (_, first) = ops::accounts::create(control, &ROOT, new).await.unwrap();
        let second = ops::accounts::rotate_key(control, &ROOT, Some("anna"), 0)
            .await
            .unwrap();
        ops::settings::update(
            control,
            &ROOT,
            BTreeMap::new(),
            vec!["EMAIL_PASS".to_owned()],
        )
        .await
        .unwrap();
        let audit = audit_text(control.store()).await;
        let mail = format!("{:?}", mails(control.store()).await);
        assert!(audit.contains("EMAIL_PASS") && mail.contains("anna"));
        for planted in [upstream, other, password, first.expose(), second.expose()] {
            assert!(!audit.contains(planted), "{planted} is in the audit log");
            assert!(!mail.contains(planted), "{planted} is in a mail");
            // Nor its last characters.
            let tail = &planted[planted.len() - 8..];
            assert!(!audit.contains(tail) && !mail.contains(tail), "{tail}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stored_password_is_sealed() {
    everywhere(async |world| {
        let set = settings(&[("EMAIL_PASS", "hunter2-planted")]);
        ops::settings::update(&world.control, &ROOT, set, vec![])
            .await
            .unwrap();
        let tx = world.control.store().begin().await.unwrap();
        let stored = crate::store::settings::all(&tx).await.unwrap();
        assert!(!stored["EMAIL_PASS"].contains("hunter2"));
        drop(tx);
        let long = settings(&[("EMAIL_PASS", &"x".repeat(1025))]);
        let refused = ops::settings::update(&world.control, &ROOT, long, vec![]).await;
        assert!(matches!(refused, Err(Error::Invalid(error)) if error.field == "EMAIL_PASS"));
        assert_eq!(actions(world, &ROOT).await, ["update_config"]);
    })
    .await;
}

#[tokio::test]
async fn old_records_go_a_batch_at_a_time() {
    everywhere(async |world| {
        for n in 0..5 {
            world.child(&ROOT, &format!("anna{n}"), 10.0).await;
        }
        world.clock.advance(365 * DAY_MS);
        world.child(&ROOT, "bert", 10.0).await;
        assert_eq!(ops::audit::prune(&world.control, 3).await.unwrap(), 0);
        world.clock.advance(1);
        assert_eq!(ops::audit::prune(&world.control, 3).await.unwrap(), 3);
        assert_eq!(ops::audit::prune(&world.control, 3).await.unwrap(), 2);
        assert_eq!(ops::audit::prune(&world.control, 3).await.unwrap(), 0);
        assert_eq!(actions(world, &ROOT).await, ["add_user"]);
    })
    .await;
}

#[tokio::test]
async fn news_leave_records_too() {
    everywhere(async |world| {
        let anna = world.child(&ROOT, "anna", 100.0).await;
        let new = NewsDraft {
            title: "Hello".to_owned(),
            content: "World".to_owned(),
            days: None,
        };
        ops::news::post(&world.control, &ROOT, Some("anna"), new)
            .await
            .unwrap();
        ops::news::delete(&world.control, &ROOT, Some("anna"))
            .await
            .unwrap();
        assert_eq!(
            actions(world, &by(&anna)).await,
            ["delete_news", "add_news", "add_user"]
        );
        meddle(world.control.store(), "DELETE FROM audit").await;
        jobs::prune(&world.control).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn loading_prices_and_pricing_anew_are_on_record() {
    everywhere(async |world: &mut World| {
        let table = r#"{"Version":"2026-10-01","Providers":{},"ChatPricing":{}}"#;
        let new = ops::prices::PriceTableUpload {
            text: table.to_owned(),
            valid_from: None,
            note: "for the test".to_owned(),
            force: true,
            over: None,
        };
        let loaded = Box::pin(ops::prices::load(&world.control, &ROOT, new)).await;
        let version = loaded.unwrap().0.version;
        let today = world.control.config().zone.day(world.control.now());
        for dry_run in [true, false] {
            let rerating = RerateRequest {
                days: DateRange {
                    start: today,
                    end: today,
                },
                account: None,
                version: Some(version.clone()),
                dry_run,
            };
            Box::pin(ops::prices::rerate(&world.control, &ROOT, rerating))
                .await
                .unwrap();
        }
        assert_eq!(actions(world, &ROOT).await, ["rerate", "load_prices"]);
        let listing = logs(&world.control, &ROOT, AuditFilter::default()).await;
        let named: Vec<_> = listing.rows.iter().map(|log| &log.target_name).collect();
        assert_eq!(named, [&version, &version]);
        let details = details(&listing.rows[1]);
        assert_eq!(details["Note"]["after"], "for the test");
    })
    .await;
}
