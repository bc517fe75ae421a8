//! The audit log. Every operation that changes something writes one record in the same transaction, so that neither
//! exists without the other.

use proxyxai_contract::{clock::Millis, id::AccountId};

use serde_json::Value;

use crate::{
    Control, Error,
    domain::{
        audit::{self, AuditAction, AuditField, AuditFields, AuditTargetKind},
        setting,
    },
    model::{Account, AuditFilter, AuditRecord, Caller, Listing, Page},
    ops,
    store::{
        self, AccountRecord, KeyRecord, Tx, audit::NewAuditRecord, client_keys::ClientKeyRecord,
    },
};

const SUCCESS: &str = "success";
const PAGE_ROWS_MAX: u64 = 100;
const DAY_MS: i64 = 86_400_000;

/// The target of a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuditTarget<'a> {
    kind: AuditTargetKind,
    id: Option<i64>,
    name: &'a str,
    /// The DNA of the account or group, so that its ancestors see the record.
    dna: &'a str,
}

impl<'a> AuditTarget<'a> {
    /// An account.
    pub(super) fn account(view: &'a Account) -> Self {
        Self {
            kind: AuditTargetKind::User,
            id: Some(view.id.get()),
            name: &view.name,
            dna: &view.dna,
        }
    }

    /// An account or group that news are for; `None` means all accounts.
    pub(super) fn news(view: Option<&'a Account>) -> Self {
        Self {
            kind: AuditTargetKind::News,
            id: view.map(|view| view.id.get()),
            name: view.map_or("", |view| &view.name),
            dna: view.map_or("", |view| &view.dna),
        }
    }

    pub(super) const CONFIG: Self = Self {
        kind: AuditTargetKind::Config,
        id: None,
        name: "",
        dna: "",
    };
}

/// An account was created, changed or deleted.
pub(super) async fn account(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    before: Option<&Account>,
    after: Option<&AccountRecord>,
) -> Result<(), Error> {
    let after = after.map(|record| &record.account);
    let action = match (before, after) {
        (None, _) => AuditAction::AddUser,
        (Some(_), Some(_)) => AuditAction::UpdateUser,
        (Some(_), None) => AuditAction::DeleteUser,
    };
    let Some(target) = after.or(before).map(AuditTarget::account) else {
        return Ok(());
    };
    let fields = |view: Option<&Account>| view.map(audit::account).unwrap_or_default();
    record(
        control,
        tx,
        caller,
        (action, target),
        (fields(before), fields(after)),
    )
    .await
}

/// A further client key was created, changed or deleted.
pub(super) async fn client_key(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &Account,
    (before, after): (Option<&ClientKeyRecord>, Option<&ClientKeyRecord>),
) -> Result<(), Error> {
    let action = match (before, after) {
        (None, _) => AuditAction::AddClientKey,
        (Some(_), Some(_)) => AuditAction::UpdateClientKey,
        (Some(_), None) => AuditAction::DeleteClientKey,
    };
    let Some(view) = after.or(before).map(|record| &record.key) else {
        return Ok(());
    };
    let target = AuditTarget {
        kind: AuditTargetKind::ClientKey,
        id: Some(view.id.get()),
        name: &view.name,
        dna: &account.dna,
    };
    let fields = |record: Option<&ClientKeyRecord>| {
        let fields = record.map(|record| audit::client_key(&record.key, &account.name));
        fields.unwrap_or_default()
    };
    let sides = (fields(before), fields(after));
    record(control, tx, caller, (action, target), sides).await
}

/// An account got a new client key, and the former one keeps working for the overlap.
pub(super) async fn rotation(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    account: &Account,
    overlap_ms: Option<i64>,
) -> Result<(), Error> {
    let action = match (account.id == caller.account, caller.is_root()) {
        (true, true) => AuditAction::RotateRoot,
        (true, false) => AuditAction::RotateSelf,
        (false, _) => AuditAction::RotateKey,
    };
    let key = |side: u8| {
        let secret = AuditField::Secret(vec![side]);
        AuditFields::from([("SecretKey".to_owned(), secret)])
    };
    let mut after = key(1);
    if let Some(ms) = overlap_ms {
        after.insert("Overlap".to_owned(), AuditField::Open((ms / 1000).into()));
    }
    let sides = (key(0), after);
    record(
        control,
        tx,
        caller,
        (action, AuditTarget::account(account)),
        sides,
    )
    .await
}

/// An upstream key was added, changed or deleted.
pub(super) async fn key(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    before: Option<&KeyRecord>,
    after: Option<&KeyRecord>,
) -> Result<(), Error> {
    let action = match (before, after) {
        (None, _) => AuditAction::AddKey,
        (Some(_), Some(_)) => AuditAction::UpdateKey,
        (Some(_), None) => AuditAction::DeleteKey,
    };
    let Some(view) = after.or(before).map(|record| &record.key) else {
        return Ok(());
    };
    let target = AuditTarget {
        kind: AuditTargetKind::Key,
        id: Some(view.id.get()),
        name: &view.name,
        dna: "",
    };
    let fields = |record: Option<&KeyRecord>| {
        record
            .map(|record| audit::key(&record.key, &record.fingerprint))
            .unwrap_or_default()
    };
    let sides = (fields(before), fields(after));
    record(control, tx, caller, (action, target), sides).await
}

/// The key pool was reloaded.
pub(super) async fn reload(control: &Control, tx: &Tx, caller: &Caller) -> Result<(), Error> {
    let what = (AuditAction::LoadKeys, AuditTarget::CONFIG);
    record(control, tx, caller, what, Default::default()).await
}

/// A price table was loaded, or usage priced anew, with the parameters.
pub(super) async fn prices(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    (action, version): (AuditAction, &str),
    asked: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<(), Error> {
    let target = AuditTarget {
        kind: AuditTargetKind::Prices,
        id: None,
        name: version,
        dna: "",
    };
    let fields = asked
        .into_iter()
        .map(|(name, value)| (name.to_owned(), AuditField::Open(value)));
    let sides = (AuditFields::new(), fields.collect());
    record(control, tx, caller, (action, target), sides).await
}

/// Writes the record of a change.
pub(super) async fn record(
    control: &Control,
    tx: &Tx,
    caller: &Caller,
    (action, target): (AuditAction, AuditTarget<'_>),
    (before, after): (AuditFields, AuditFields),
) -> Result<(), Error> {
    let now = control.now();
    let operator = store::accounts::get(tx, caller.account, now).await?;
    let operator = operator.ok_or(Error::Unauthenticated)?.account;
    let record = NewAuditRecord {
        at: now,
        action: action.as_str(),
        operator: operator.id,
        operator_name: &operator.name,
        operator_dna: &operator.dna,
        address: caller.address.map(|ip| ip.to_string()).unwrap_or_default(),
        kind: target.kind.as_str(),
        target: target.id,
        target_name: target.name,
        target_dna: target.dna,
        status: SUCCESS,
        details: audit::changes(&before, &after).to_string(),
    };
    store::audit::insert(tx, record).await
}

/// Records in which the caller or a descendant is operator or target, newest first.
pub(crate) async fn list(
    control: &Control,
    caller: &Caller,
    filter: AuditFilter,
    page: Page,
) -> Result<Listing<AuditRecord>, Error> {
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let dna = (caller.account != AccountId::ROOT).then_some(own.account.dna.as_str());
    let page = Page {
        page: page.page.max(1),
        size: page.size.clamp(1, PAGE_ROWS_MAX),
    };
    // No stored text contains NUL, and PostgreSQL refuses it in a query.
    let asked = [&filter.action, &filter.status];
    if asked.into_iter().flatten().any(|text| text.contains('\0')) {
        return Ok(Listing {
            rows: Vec::new(),
            total: 0,
        });
    }
    store::audit::list(&tx, dna, &filter, page).await
}

/// Deletes records older than `AUDIT_RETENTION_DAYS`, one batch at a time. Returns how many.
pub(crate) async fn prune(control: &Control, rows_max: u64) -> Result<u64, Error> {
    let days =
        ops::settings::value(control, control.store(), &setting::AUDIT_RETENTION_DAYS).await?;
    let before = Millis(control.now().0.saturating_sub(days.saturating_mul(DAY_MS)));
    let tx = control.store().begin().await?;
    let dropped = store::audit::prune(&tx, before, rows_max).await?;
    tx.commit().await?;
    Ok(dropped)
}
