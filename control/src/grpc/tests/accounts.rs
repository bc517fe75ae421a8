//! Every field of an account and every operation of the REST side, over gRPC.

use proxyxai_contract::{
    id::AccountId,
    wire::{
        self, accounts_client::AccountsClient, reports_client::ReportsClient,
        settings_client::SettingsClient,
    },
};
use tonic::Code;

use super::{GrpcHarness, code, named, with_key};
use crate::{
    ops,
    testing::{call, node},
};

#[tokio::test]
async fn an_account_is_created_changed_and_listed_with_every_field() {
    let rig = GrpcHarness::start().await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let routing = wire::RoutingRules {
        model_mapper: "a=b".to_owned(),
        level_mapper: "a=1".to_owned(),
        switch_over: "1=2".to_owned(),
        model_failover: "a=b|c".to_owned(),
    };
    let new = wire::CreateAccountRequest {
        name: "anna".to_owned(),
        email: "anna@example.com".to_owned(),
        credit_nanos: 100_000_000_000,
        level: Some(2),
        gear: Some(3),
        role: Some(4),
        tier: Some(5),
        factor_micros: Some(500_000),
        child_limit: Some(6),
        qr_code: "https://a.example.com/q.png".to_owned(),
        routing: Some(routing.clone()),
        ..wire::CreateAccountRequest::default()
    };
    let made = accounts.create_account(rig.as_root(new)).await;
    let made = made.unwrap().into_inner().account.unwrap();
    let labels = (made.level, made.gear, made.role, made.tier);
    assert_eq!(labels, (2, 3, 4, 5));
    assert_eq!((made.factor_micros, made.child_limit), (500_000, 6));
    assert_eq!(made.routing, Some(routing));
    assert_eq!((made.owner_id, made.public_key.len()), (1, 64));
    assert_eq!(made.qr_code, "https://a.example.com/q.png");

    let change = wire::UpdateAccountRequest {
        account: named("anna"),
        qr_code: Some(String::new()),
        suspended: Some(true),
        switch_over: Some(String::new()),
        model_failover: Some("x=y".to_owned()),
        ..wire::UpdateAccountRequest::default()
    };
    let changed = accounts.update_account(rig.as_root(change)).await;
    let changed = changed.unwrap().into_inner();
    assert!(changed.suspended && changed.enabled && changed.qr_code.is_empty());
    let rules = changed.routing.unwrap();
    assert_eq!(
        (rules.switch_over, rules.model_failover),
        (String::new(), "x=y".to_owned())
    );
}

#[tokio::test]
async fn accounts_are_listed_by_their_labels_and_in_order() {
    let rig = GrpcHarness::start().await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    rig.child("anna", 100).await;
    let labels = wire::UpdateAccountRequest {
        account: named("anna"),
        level: Some(2),
        gear: Some(3),
        role: Some(4),
        tier: Some(5),
        factor_micros: Some(500_000),
        ..wire::UpdateAccountRequest::default()
    };
    accounts.update_account(rig.as_root(labels)).await.unwrap();
    rig.child("berta", 100).await;
    let mut names = async |list: wire::ListAccountsRequest| {
        let listed = accounts.list_accounts(rig.as_root(list)).await;
        let rows = listed.unwrap().into_inner().accounts.into_iter();
        rows.map(|row| row.name).collect::<Vec<_>>()
    };
    let all = wire::ListAccountsRequest::default();
    assert_eq!(names(all.clone()).await, ["berta", "anna"]);
    for narrowed in [
        wire::ListAccountsRequest {
            gear: Some(3),
            ..all.clone()
        },
        wire::ListAccountsRequest {
            role: Some(4),
            ..all.clone()
        },
        wire::ListAccountsRequest {
            tier: Some(5),
            level: Some(2),
            ..all.clone()
        },
        wire::ListAccountsRequest {
            factor_micros: Some(500_000),
            ..all.clone()
        },
    ] {
        assert_eq!(names(narrowed).await, ["anna"]);
    }
    let ordered = wire::ListAccountsRequest {
        order: "name".to_owned(),
        ..all.clone()
    };
    assert_eq!(names(ordered).await, ["anna", "berta"]);
    let bad = wire::ListAccountsRequest {
        order: "age".to_owned(),
        ..all
    };
    let refused = accounts.list_accounts(rig.as_root(bad)).await;
    assert_eq!(code(refused), Code::InvalidArgument);
}

#[tokio::test]
async fn root_alone_chooses_a_key_and_only_its_own() {
    let rig = GrpcHarness::start().await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let mut settings = SettingsClient::new(rig.routes.clone());
    let (_, anna) = rig.child("anna", 100).await;
    let ask = wire::GenerateClientKeyRequest {};
    let fresh = settings.generate_client_key(with_key(&anna, ask)).await;
    let fresh = fresh.unwrap().into_inner().client_key;
    let chosen = |account| wire::RotateKeyRequest {
        overlap_seconds: 0,
        account,
        client_key: fresh.clone(),
    };
    let refused = accounts.rotate_key(with_key(&anna, chosen(None))).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    let refused = accounts
        .rotate_key(rig.as_root(chosen(named("anna"))))
        .await;
    assert_eq!(code(refused), Code::InvalidArgument);
    let taken = accounts.rotate_key(rig.as_root(chosen(None))).await;
    assert_eq!(taken.unwrap().into_inner().client_key, fresh);
    let with_fresh = settings.get_settings(with_key(&fresh, wire::GetSettingsRequest {}));
    assert_eq!(code(with_fresh.await), Code::Ok);
}

#[tokio::test]
async fn texts_are_sealed_for_root_and_settings_cascade() {
    let rig = GrpcHarness::start().await;
    let mut settings = SettingsClient::new(rig.routes.clone());
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let (_, anna) = rig.child("anna", 100).await;
    let text = wire::SealTextRequest {
        text: "a secret".to_owned(),
    };
    let refused = settings.seal_text(with_key(&anna, text.clone())).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    let sealed = settings
        .seal_text(rig.as_root(text))
        .await
        .unwrap()
        .into_inner()
        .sealed;
    assert!(!sealed.contains("secret"));
    let open = wire::OpenTextRequest { sealed };
    let opened = settings
        .open_text(rig.as_root(open))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(opened.text, "a secret");

    let own = wire::UpdateAccountRequest {
        account: named("anna"),
        model_mapper: Some("a=b".to_owned()),
        ..wire::UpdateAccountRequest::default()
    };
    accounts.update_account(rig.as_root(own)).await.unwrap();
    for (cascade, left) in [(false, "a=b"), (true, "")] {
        let set = wire::UpdateSettingsRequest {
            set: [("MODEL_MAPPER".to_owned(), "x=y".to_owned())].into(),
            cascade,
            ..wire::UpdateSettingsRequest::default()
        };
        settings.update_settings(rig.as_root(set)).await.unwrap();
        let get = wire::GetAccountRequest {
            account: named("anna"),
        };
        let account = accounts
            .get_account(rig.as_root(get))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(account.routing.unwrap().model_mapper, left);
    }
}

#[tokio::test]
async fn a_bill_names_days_and_accounts() {
    let rig = GrpcHarness::start().await;
    let (anna, key) = rig.child("anna", 100).await;
    let id = AccountId::new(anna.id).unwrap();
    let records = vec![call(1, id, 0.5)];
    ops::fleet::report_usage(&rig.control, &node("n"), 1, records)
        .await
        .unwrap();
    let mut reports = ReportsClient::new(rig.routes.clone());
    let ask = wire::GetAccountsBillRequest {
        start_date: "2026-11-01".to_owned(),
        end_date: "2026-11-01".to_owned(),
        ..wire::GetAccountsBillRequest::default()
    };
    let bill = reports.get_accounts_bill(rig.as_root(ask.clone())).await;
    let bill = bill.unwrap().into_inner();
    assert_eq!(
        (bill.days[0].date.as_str(), bill.accounts_total),
        ("2026-11-01", 1)
    );
    assert_eq!(bill.days[0].models[0].model, "gpt-4o");
    assert_eq!(bill.accounts[0].name, "anna");
    assert_eq!(bill.total.unwrap().cost_nanos, 500_000_000);
    let none = reports
        .get_accounts_bill(with_key(&key, ask))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((none.accounts_total, none.days.len()), (0, 0));
}
