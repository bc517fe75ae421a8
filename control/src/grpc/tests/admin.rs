//! Keys, accounts and settings.

use proxyxai_contract::wire::{
    self, accounts_client::AccountsClient, keys_client::KeysClient, settings_client::SettingsClient,
};
use tonic::Code;

use super::{GrpcHarness, SECRET, code, named, with_key};

const DOLLAR: i64 = 1_000_000_000;

#[tokio::test]
async fn keys_live_and_never_show_their_secret() {
    let rig = GrpcHarness::start().await;
    let mut keys = KeysClient::new(rig.routes.clone());
    let new = wire::CreateKeyRequest {
        secret: SECRET.to_owned(),
        name: "first".to_owned(),
        provider: "https://api.example.com".to_owned(),
        level: 2,
        ..wire::CreateKeyRequest::default()
    };
    let created = keys.create_key(rig.as_root(new.clone())).await;
    let created = created.unwrap().into_inner();
    assert!(created.enabled && created.config.as_ref().unwrap().include_usage());
    assert_eq!(created.secret_hint, "6789");
    assert!(!format!("{created:?}").contains(SECRET));
    let again = keys.create_key(rig.as_root(new)).await;
    assert_eq!(code(again), Code::AlreadyExists);

    let change = wire::UpdateKeyRequest {
        id: created.id,
        level: Some(3),
        ..wire::UpdateKeyRequest::default()
    };
    let changed = keys.update_key(rig.as_root(change)).await;
    let changed = changed.unwrap().into_inner();
    assert_eq!((changed.level, changed.name.as_str()), (3, "first"));
    let list = wire::ListKeysRequest {
        level: Some(3),
        ..wire::ListKeysRequest::default()
    };
    let listed = keys.list_keys(rig.as_root(list)).await;
    let listed = listed.unwrap().into_inner();
    assert_eq!((listed.total, listed.keys), (1, vec![changed]));
    for (search, state, total) in [("FIR", "ready", 1), ("irst", "", 0), ("", "off", 0)] {
        let list = wire::ListKeysRequest {
            search: search.to_owned(),
            state: state.to_owned(),
            ..wire::ListKeysRequest::default()
        };
        let listed = keys.list_keys(rig.as_root(list)).await.unwrap();
        assert_eq!(listed.into_inner().total, total, "{search} {state}");
    }

    let id = created.id;
    let deleted = keys.delete_key(rig.as_root(wire::DeleteKeyRequest { id }));
    assert_eq!(deleted.await.unwrap().into_inner().id, id);
    let gone = keys.get_key(rig.as_root(wire::GetKeyRequest { id })).await;
    assert_eq!(code(gone), Code::NotFound);
}

#[tokio::test]
async fn accounts_are_created_funded_and_deleted() {
    let rig = GrpcHarness::start().await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let (anna, _) = rig.child("anna", 100).await;
    assert_eq!((anna.parent_id, anna.balance_nanos), (1, 100 * DOLLAR));
    assert_eq!(anna.dna, format!(".1.{}.", anna.id));
    assert_eq!(anna.cards.len(), 1);

    let grant = |credit_nanos| wire::GrantCreditRequest {
        account: named("anna"),
        credit_nanos,
        ..wire::GrantCreditRequest::default()
    };
    let granted = accounts.grant_credit(rig.as_root(grant(50 * DOLLAR))).await;
    let granted = granted.unwrap().into_inner().account.unwrap();
    assert_eq!(granted.balance_nanos, 150 * DOLLAR);
    let nothing = accounts.grant_credit(rig.as_root(grant(0))).await;
    assert_eq!(code(nothing), Code::InvalidArgument);

    let change = wire::UpdateAccountRequest {
        account: named("anna@example.com"),
        gear: Some(3),
        allow_models: Some("gpt-4o".to_owned()),
        ..wire::UpdateAccountRequest::default()
    };
    let changed = accounts.update_account(rig.as_root(change)).await;
    let changed = changed.unwrap().into_inner();
    assert_eq!(changed.gear, 3);
    assert_eq!(changed.access.unwrap().models, "gpt-4o");

    let list = rig.as_root(wire::ListAccountsRequest::default());
    let listed = accounts.list_accounts(list).await.unwrap().into_inner();
    assert_eq!((listed.total, listed.accounts.len()), (1, 1));
    let delete = wire::DeleteAccountRequest {
        account: named(&anna.dna),
    };
    let deleted = accounts.delete_account(rig.as_root(delete)).await;
    let deleted = deleted.unwrap().into_inner();
    assert_eq!(deleted.account.unwrap().name, "anna");
    let get = wire::GetAccountRequest {
        account: named("anna"),
    };
    let gone = accounts.get_account(rig.as_root(get)).await;
    assert_eq!(code(gone), Code::NotFound);
}

#[tokio::test]
async fn a_rotated_key_stops_at_once() {
    let rig = GrpcHarness::start().await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let (_, old) = rig.child("anna", 100).await;
    let rotate = wire::RotateKeyRequest::default();
    let rotated = accounts.rotate_key(with_key(&old, rotate)).await;
    let fresh = rotated.unwrap().into_inner().client_key;
    let myself = || wire::GetAccountRequest {
        account: named("anna"),
    };
    let with_old = accounts.get_account(with_key(&old, myself())).await;
    assert_eq!(code(with_old), Code::Unauthenticated);
    let with_fresh = accounts.get_account(with_key(&fresh, myself())).await;
    assert_eq!(code(with_fresh), Code::Ok);
}

#[tokio::test]
async fn settings_are_stored_all_or_none() {
    let rig = GrpcHarness::start().await;
    let mut settings = SettingsClient::new(rig.routes.clone());
    let set = |mapper: &str, switch: &str| {
        let pairs = [("MODEL_MAPPER", mapper), ("SWITCH_OVER", switch)];
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        rig.as_root(wire::UpdateSettingsRequest {
            set: owned.into(),
            ..wire::UpdateSettingsRequest::default()
        })
    };
    let stored = settings.update_settings(set("a=b", "1=2")).await;
    let stored = stored.unwrap().into_inner().settings;
    assert_eq!(stored["MODEL_MAPPER"], "a=b");
    let refused = settings.update_settings(set("c=d", "x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("SWITCH_OVER"), "{refused}");

    let get = rig.as_root(wire::GetSettingsRequest {});
    let shown = settings.get_settings(get).await.unwrap().into_inner();
    assert_eq!(shown.settings, stored);
    let reset = rig.as_root(wire::UpdateSettingsRequest {
        reset: vec!["MODEL_MAPPER".to_owned()],
        ..wire::UpdateSettingsRequest::default()
    });
    let stored = settings.update_settings(reset).await.unwrap().into_inner();
    assert_eq!(stored.settings["MODEL_MAPPER"], "");
    let reload = rig.as_root(wire::ReloadKeysRequest {});
    let reloaded = settings.reload_keys(reload).await.unwrap().into_inner();
    assert_eq!(reloaded.keys, 0);
}

#[tokio::test]
async fn a_route_is_explained_and_settings_of_rotation_are_checked() {
    use wire::{key_health::State, route_level, route_stage, rule_giver::Giver};
    let rig = GrpcHarness::start().await;
    let mut keys = KeysClient::new(rig.routes.clone());
    let new = wire::CreateKeyRequest {
        secret: SECRET.to_owned(),
        provider: "https://api.example.com".to_owned(),
        level: 4,
        config: Some(wire::KeyConfig {
            weight: 3,
            max_concurrency: 9,
            ..wire::KeyConfig::default()
        }),
        ..wire::CreateKeyRequest::default()
    };
    let mut heavy = new.clone();
    heavy.config.as_mut().unwrap().weight = 1001;
    let refused = keys.create_key(rig.as_root(heavy)).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    keys.create_key(rig.as_root(new)).await.unwrap();

    let mut settings = SettingsClient::new(rig.routes.clone());
    let set = |pairs: &[(&str, &str)]| wire::UpdateSettingsRequest {
        set: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..wire::UpdateSettingsRequest::default()
    };
    for bad in [
        ("KEY_STRATEGY", "2=quick"),
        ("AFFINITY", "on"),
        ("HEDGE", "1"),
    ] {
        let refused = settings.update_settings(rig.as_root(set(&[bad]))).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{bad:?}");
    }
    let rules = set(&[("LEVEL_MAPPER", "o3=4"), ("KEY_STRATEGY", "4=weighted")]);
    settings.update_settings(rig.as_root(rules)).await.unwrap();

    let ask = |model: &str, account: &str| wire::ExplainRouteRequest {
        model: model.to_owned(),
        account: account.to_owned(),
    };
    let route = settings.explain_route(rig.as_root(ask("o3", ""))).await;
    let route = route.unwrap().into_inner();
    assert_eq!((route.account_id, route.refusal.as_str()), (1, ""));
    let [stage] = &route.stages[..] else {
        panic!("{route:?}");
    };
    assert_eq!(
        (stage.model.as_str(), stage.why()),
        ("o3", route_stage::Why::Asked)
    );
    let [level] = &stage.levels[..] else {
        panic!("{stage:?}");
    };
    assert_eq!((level.level, level.why()), (4, route_level::Why::Mapped));
    assert_eq!(level.by.as_ref().unwrap().giver, Some(Giver::System(true)));
    assert_eq!(level.strategy, "weighted");
    let key = &level.keys[0];
    assert_eq!(key.health.as_ref().unwrap().state(), State::Ready);
    let config = key.key.as_ref().unwrap().config.as_ref().unwrap();
    assert_eq!((config.weight, config.max_concurrency), (3, 9));

    let nobody = settings.explain_route(rig.as_root(ask("o3", "nobody")));
    assert_eq!(code(nobody.await), Code::NotFound);
    let nothing = settings.explain_route(rig.as_root(ask("", "")));
    assert_eq!(code(nothing.await), Code::InvalidArgument);
}
