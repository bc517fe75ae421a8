//! Keys, accounts and settings.

#[tokio::test]
async fn keys_live_and_never_show_their_secret() {
    let rig = Rig::start("keys").await;
    let mut keys = KeysClient::new(rig.routes.clone());
    let new = wire::CreateKeyRequest {
        secret: SECRET.to_owned(),
        name: "first".to_owned(),
        provider: "https://api.example.com".to_owned(),
        level: 2,
        ..wire::CreateKeyRequest::default()
    };
    let created = keys
        .create_key(rig.as_root(new.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(created.enabled && created.config.as_ref().unwrap().include_usage());
    assert_eq!(created.secret_hint, "6789");
    assert!(!format!("{created:?}").contains(SECRET));
    assert_eq!(
        code(keys.create_key(rig.as_root(new)).await),
        Code::AlreadyExists
    );

    let change = wire::UpdateKeyRequest {
        id: created.id,
        level: Some(3),
        ..wire::UpdateKeyRequest::default()
    };
    let changed = keys
        .update_key(rig.as_root(change))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((changed.level, changed.name.as_str()), (3, "first"));
    let list = wire::ListKeysRequest {
        level: Some(3),
        ..wire::ListKeysRequest::default()
    };
    let listed = keys
        .list_keys(rig.as_root(list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((listed.total, listed.keys), (1, vec![changed]));

    let one = || wire::GetKeyRequest { id: created.id };
    assert!(keys.get_key(rig.as_root(one())).await.is_ok());
    let delete = wire::DeleteKeyRequest { id: created.id };
    keys.delete_key(rig.as_root(delete)).await.unwrap();
    assert_eq!(code(keys.get_key(rig.as_root(one())).await), Code::NotFound);
}

#[tokio::test]
async fn accounts_are_created_funded_rotated_and_deleted() {
    let rig = Rig::start("accounts").await;
    let mut accounts = AccountsClient::new(rig.routes.clone());
    let (anna, old_key) = rig.child("anna", 100).await;
    assert_eq!((anna.parent_id, anna.balance_nanos), (1, 100_000_000_000));
    assert_eq!(anna.dna, format!(".1.{}.", anna.id));
    assert_eq!(anna.cards.len(), 1);

    let grant = wire::GrantCreditRequest {
        account: account("anna"),
        credit_nanos: 50_000_000_000,
        ..wire::GrantCreditRequest::default()
    };
    let granted = accounts
        .grant_credit(rig.as_root(grant))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(granted.account.unwrap().balance_nanos, 150_000_000_000);
    let nothing = wire::GrantCreditRequest {
        account: account("anna"),
        ..wire::GrantCreditRequest::default()
    };
    assert_eq!(
        code(accounts.grant_credit(rig.as_root(nothing)).await),
        Code::InvalidArgument
    );

    let change = wire::UpdateAccountRequest {
        account: account("anna@example.com"),
        gear: Some(3),
        allow_models: Some("gpt-4o".to_owned()),
        ..wire::UpdateAccountRequest::default()
    };
    let changed = accounts
        .update_account(rig.as_root(change))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (changed.gear, changed.access.unwrap().models.as_str()),
        (3, "gpt-4o")
    );

    let rotate = wire::RotateKeyRequest { account: None };
    let rotated = accounts
        .rotate_key(with_key(&old_key, rotate))
        .await
        .unwrap()
        .into_inner();
    let myself = || wire::GetAccountRequest {
        account: account("anna"),
    };
    let with_old = accounts.get_account(with_key(&old_key, myself())).await;
    assert_eq!(code(with_old), Code::Unauthenticated);
    assert!(
        accounts
            .get_account(with_key(&rotated.client_key, myself()))
            .await
            .is_ok()
    );

    let list = wire::ListAccountsRequest::default();
    let listed = accounts
        .list_accounts(rig.as_root(list))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.total, 1);
    let delete = wire::DeleteAccountRequest {
        account: account(".1.2."),
    };
    let deleted = accounts
        .delete_account(rig.as_root(delete))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.account.unwrap().name, "anna");
    assert_eq!(
        code(accounts.get_account(rig.as_root(myself())).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn settings_are_stored_all_or_none() {
    let rig = Rig::start("settings").await;
    let mut settings = SettingsClient::new(rig.routes.clone());
    let set = |pairs: &[(&str, &str)]| wire::UpdateSettingsRequest {
        set: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        reset: vec![],
    };
    let good = set(&[("MODEL_MAPPER", "a=b"), ("SWITCH_OVER", "1=2")]);
    let stored = settings
        .update_settings(rig.as_root(good))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stored.settings["MODEL_MAPPER"], "a=b");
    let bad = set(&[("MODEL_MAPPER", "c=d"), ("SWITCH_OVER", "x")]);
    let refused = settings
        .update_settings(rig.as_root(bad))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("SWITCH_OVER"),
        "{}",
        refused.message()
    );
    let get = wire::GetSettingsRequest {};
    let shown = settings
        .get_settings(rig.as_root(get))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.settings, stored.settings);
    let reset = wire::UpdateSettingsRequest {
        reset: vec!["MODEL_MAPPER".to_owned()],
        ..wire::UpdateSettingsRequest::default()
    };
    let stored = settings
        .update_settings(rig.as_root(reset))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stored.settings["MODEL_MAPPER"], "");
    let reload = wire::ReloadKeysRequest {};
    let reloaded = settings
        .reload_keys(rig.as_root(reload))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reloaded.keys, 0);
}
