//! `/x-users/{identifier}/keys` and `/x-self/keys`: the further client keys of an account.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
};
use http::request::Parts;
use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
    id::ClientKeyId,
    money::Money,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    error::RestError,
    fields::{Count, DollarAmount, Flag, Micros, Text},
    request::{AccountCaller, JsonBody, PathParam},
    response::Dollars,
};
use crate::{
    Control,
    model::{Caller, ClientKeyChange, ClientKeyInfo, Expiry, NewClientKey},
    ops,
};

/// The account and the key that a path names.
#[derive(Debug)]
pub(super) struct ClientKeyPath {
    account: String,
    key: String,
}

impl<S: Send + Sync> FromRequestParts<S> for ClientKeyPath {
    type Rejection = RestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RestError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path((account, key))) => Ok(Self { account, key }),
            Err(_) => Err(Invalid::new("path", "is not valid text").into()),
        }
    }
}

/// A new client key: everything that can be changed of one, with a name.
#[derive(ToSchema)]
pub(super) struct CreateClientKey {
    #[serde(flatten)]
    needed: ClientKeyNeeds,
    #[serde(flatten)]
    rest: UpdateClientKey,
}
body!(CreateClientKey: needed ClientKeyNeeds, rest UpdateClientKey);

/// What a client key cannot be made without.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct ClientKeyNeeds {
    /// 1 to 63 bytes; unique among the further keys of the account, whatever its case.
    name: Text,
}
body!(ClientKeyNeeds);

/// Changes of a client key. What is left out stays as it is, or is at its default in a new one. A whole row of the list
/// may be sent back: what is only shown is passed over.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateClientKey {
    /// 1 to 63 bytes; unique among the further keys of the account, whatever its case.
    name: Option<Text>,
    /// If false, it is refused. Default: true.
    status: Option<Flag>,
    /// When it expires, in RFC 3339; an empty text removes the expiry. Default: never.
    expires_at: Option<Text>,
    /// The same in days from now, fractions allowed. Must not be sent with `ExpiresAt`.
    #[schema(value_type = Option<f64>, exclusive_minimum = 0, maximum = 3650)]
    days: Option<Micros>,
    /// Limit of the total cost of its calls, in units of the account; 0, the default, for no limit of its own.
    credit_limit: Option<DollarAmount>,
    /// Requests per minute; 0, the default, for no limit of its own.
    #[serde(rename = "RPM")]
    rpm: Option<Count>,
    /// Models that it may call, as an edit of the list, in which `*` stands for any run of characters. All by default.
    allow_models: Option<Text>,
}
body!(
    UpdateClientKey,
    shown: [
        "ID",
        "UserID",
        "PartialKey",
        "SecretKey",
        "CreditUsed",
        "Requests",
        "LastUsedAt",
        "CreatedAt",
        "UpdatedAt",
    ]
);

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<Vec<ClientKeyRow>>, RestError> {
    listed(&control, &caller, Some(&segment.0)).await
}

pub(super) async fn own(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
) -> Result<Json<Vec<ClientKeyRow>>, RestError> {
    listed(&control, &caller, None).await
}

pub(super) async fn create(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    JsonBody(body): JsonBody<CreateClientKey>,
) -> Result<Json<ClientKeyChanged>, RestError> {
    created(&control, &caller, Some(&segment.0), body).await
}

pub(super) async fn create_own(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<CreateClientKey>,
) -> Result<Json<ClientKeyChanged>, RestError> {
    created(&control, &caller, None, body).await
}

pub(super) async fn show(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    ClientKeyPath { account, key: id }: ClientKeyPath,
) -> Result<Json<ClientKeyRow>, RestError> {
    one(&control, &caller, Some(&account), &id).await
}

pub(super) async fn show_own(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<ClientKeyRow>, RestError> {
    one(&control, &caller, None, &segment.0).await
}

pub(super) async fn update(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    ClientKeyPath { account, key: id }: ClientKeyPath,
    JsonBody(body): JsonBody<UpdateClientKey>,
) -> Result<Json<ClientKeyChanged>, RestError> {
    updated(&control, &caller, (Some(&account), &id), body).await
}

pub(super) async fn update_own(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
    JsonBody(body): JsonBody<UpdateClientKey>,
) -> Result<Json<ClientKeyChanged>, RestError> {
    updated(&control, &caller, (None, &segment.0), body).await
}

pub(super) async fn delete(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    ClientKeyPath { account, key: id }: ClientKeyPath,
) -> Result<Json<ClientKeyChanged>, RestError> {
    deleted(&control, &caller, Some(&account), &id).await
}

pub(super) async fn delete_own(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    segment: PathParam,
) -> Result<Json<ClientKeyChanged>, RestError> {
    deleted(&control, &caller, None, &segment.0).await
}

async fn listed(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
) -> Result<Json<Vec<ClientKeyRow>>, RestError> {
    let keys = ops::client_keys::list(control, caller, account).await?;
    let zone = control.zone();
    let rows: Vec<_> = keys
        .into_iter()
        .map(|key| ClientKeyRow::of(key, &zone))
        .collect();
    Ok(Json(rows))
}

async fn one(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    id: &str,
) -> Result<Json<ClientKeyRow>, RestError> {
    let key = ops::client_keys::get(control, caller, account, key_id(id)?).await?;
    Ok(Json(ClientKeyRow::of(key, &control.zone())))
}

async fn created(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    CreateClientKey { needed, rest }: CreateClientKey,
) -> Result<Json<ClientKeyChanged>, RestError> {
    let new = NewClientKey {
        name: needed.name.0,
        change: ClientKeyChange {
            name: None,
            ..change(rest)?
        },
    };
    let (key, secret) = ops::client_keys::create(control, caller, account, &new).await?;
    let mut row = ClientKeyRow::of(key, &control.zone());
    row.secret_key = Some(secret.expose().to_owned());
    Ok(Json(ClientKeyChanged::of("add", row)))
}

async fn updated(
    control: &Control,
    caller: &Caller,
    (account, id): (Option<&str>, &str),
    body: UpdateClientKey,
) -> Result<Json<ClientKeyChanged>, RestError> {
    let change = change(body)?;
    let what = (key_id(id)?, &change);
    let key = ops::client_keys::update(control, caller, account, what).await?;
    let row = ClientKeyRow::of(key, &control.zone());
    Ok(Json(ClientKeyChanged::of("update", row)))
}

async fn deleted(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    id: &str,
) -> Result<Json<ClientKeyChanged>, RestError> {
    let key = ops::client_keys::delete(control, caller, account, key_id(id)?).await?;
    let row = ClientKeyRow::of(key, &control.zone());
    Ok(Json(ClientKeyChanged::of("delete", row)))
}

fn key_id(text: &str) -> Result<ClientKeyId, Invalid> {
    let id = text.parse();
    let id = id.map_err(|_| Invalid::new("ID", "must be a whole number"))?;
    ClientKeyId::new(id).map_err(|error| error.under("ID"))
}

fn change(body: UpdateClientKey) -> Result<ClientKeyChange, Invalid> {
    Ok(ClientKeyChange {
        expires: expiry(body.expires_at, body.days)?,
        name: body.name.map(|it| it.0),
        enabled: body.status.map(|it| it.0),
        credit_limit: body.credit_limit.map(|it| it.0),
        rpm: body.rpm.map(|it| it.0),
        allow_models: body.allow_models.map(|it| it.0),
    })
}

/// Reads the expiry: a moment, a number of days from now, or an empty text for never.
fn expiry(at: Option<Text>, days: Option<Micros>) -> Result<Option<Expiry>, Invalid> {
    let at = match at {
        Some(Text(text)) if text.trim().is_empty() => Some(Expiry::Never),
        Some(Text(text)) => {
            let at = Millis::from_rfc3339(text.trim());
            Some(Expiry::At(at.map_err(|error| error.under("ExpiresAt"))?))
        }
        None => None,
    };
    let days = days.map(|it| Expiry::In(it.0));
    match (at, days) {
        (Some(_), Some(_)) => Err(Invalid::new("Days", "cannot be sent with ExpiresAt")),
        (at, days) => Ok(at.or(days)),
    }
}

/// A key, in the names of accounts' fields.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClientKey)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ClientKeyRow {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "UserID")]
    user_id: i64,
    name: String,
    partial_key: String,
    /// When it is made, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret_key: Option<String>,
    status: bool,
    /// Null for never.
    #[schema(format = DateTime, required = true)]
    expires_at: Option<String>,
    /// 0 for none of its own.
    credit_limit: Dollars,
    credit_used: Dollars,
    requests: u64,
    /// 0 for none of its own.
    #[serde(rename = "RPM")]
    rpm: u64,
    allow_models: String,
    #[schema(format = DateTime, required = true)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    updated_at: String,
}

impl ClientKeyRow {
    pub(super) fn of(key: ClientKeyInfo, zone: &Zone) -> Self {
        let ClientKeyInfo {
            id,
            account,
            name,
            partial_key,
            enabled,
            expires,
            credit_limit,
            rpm,
            models,
            credit_used,
            requests,
            used,
            created,
            updated,
        } = key;
        Self {
            id: id.get(),
            user_id: account.get(),
            name,
            partial_key,
            secret_key: None,
            status: enabled,
            expires_at: expires.map(|at| zone.rfc3339(at)),
            credit_limit: Dollars(credit_limit.unwrap_or(Money::ZERO)),
            credit_used: Dollars(credit_used),
            requests,
            rpm: rpm.unwrap_or_default(),
            allow_models: models.text(),
            last_used_at: used.map(|at| zone.rfc3339(at)),
            created_at: zone.rfc3339(created),
            updated_at: zone.rfc3339(updated),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClientKeyWritten)]
pub(super) struct ClientKeyChanged {
    success: bool,
    #[serde(rename = "Action")]
    action: &'static str,
    #[serde(rename = "Key")]
    key: ClientKeyRow,
}

impl ClientKeyChanged {
    const fn of(action: &'static str, key: ClientKeyRow) -> Self {
        Self {
            success: true,
            action,
            key,
        }
    }
}
