//! Client keys and sealed texts: rotation (`/x-self`, `/x-root`), new keys (`/x-gkey`), sealing and opening (`/x-ekey`,
//! `/x-dkey`). Clear texts appear in the response and nowhere else.

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, client_key::ClientKey, secret::Secret};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Shape, body},
    error::RestError,
    fields::{Text, Whole},
    request::{AccountCaller, JsonBody, PathParam},
};
use crate::{Control, model::Account, ops};

const ROOT: &str = "root";

/// `/x-self`: a new key for the caller.
pub(super) async fn rotate_self(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<RotateSelf>,
) -> Result<Json<KeyRotated>, RestError> {
    confirmed(&control, &body.confirm, "ROTATE-SELF")?;
    let overlap = body.overlap.map_or(0, |it| it.0);
    let key = ops::accounts::rotate_key(&control, &caller, None, overlap).await?;
    let account = ops::accounts::caller(&control, &caller).await?;
    Ok(rotated(&control, &account, &key, ("self", "Self")))
}

/// `/x-root`: a new key for root, chosen by root or generated; or a new key for the account below it in `name`.
pub(super) async fn rotate_root(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    JsonBody(body): JsonBody<RotateRoot>,
) -> Result<Json<KeyRotated>, RestError> {
    confirmed(&control, &body.confirm, "ROTATE-ROOT")?;
    let given = body.key.map(|it| it.0);
    let given = given.filter(|key| !key.trim().is_empty());
    let name = body.name.map(|it| it.0).unwrap_or_default();
    let overlap = body.overlap.map_or(0, |it| it.0);
    let name = name.trim();
    if !["", ROOT].contains(&name) {
        if given.is_some() {
            return Err(Invalid::new("key", "can be chosen for root alone").into());
        }
        ops::root_only(&caller, "only root may give another account a key here")?;
        let key = ops::accounts::rotate_key(&control, &caller, Some(name), overlap).await?;
        let account = ops::accounts::find(&control, &caller, name).await?;
        return Ok(rotated(&control, &account, &key, ("key", "Account")));
    }
    let key = given.map(|key| ClientKey::parse(key.trim())).transpose()?;
    let key = ops::accounts::rotate_root(&control, &caller, key, overlap).await?;
    let account = ops::accounts::caller(&control, &caller).await?;
    Ok(rotated(&control, &account, &key, (ROOT, "Root")))
}

/// `/x-gkey`: a well-formed client key that belongs to no account.
pub(super) async fn fresh_key(_: AccountCaller) -> Result<Json<FreshKey>, RestError> {
    let key = ops::settings::generate_client_key()?;
    Ok(Json(FreshKey {
        success: true,
        key: key.expose().to_owned(),
    }))
}

/// `/x-ekey/{text}`: the text, sealed with the master key.
pub(super) async fn seal(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    PathParam(text): PathParam,
) -> Result<Json<SealedText>, RestError> {
    let sealed = ops::settings::seal_text(&control, &caller, &Secret::new(text)).await?;
    Ok(Json(SealedText {
        success: true,
        encrypted: sealed,
    }))
}

/// `/x-dkey/{text}`: opens a text that `/x-ekey` sealed.
pub(super) async fn open(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    PathParam(text): PathParam,
) -> Result<Json<OpenedText>, RestError> {
    let opened = ops::settings::open_text(&control, &caller, &text).await?;
    Ok(Json(OpenedText {
        success: true,
        decrypted: opened.expose().to_owned(),
    }))
}

/// A new key for the caller.
#[derive(Deserialize, ToSchema)]
pub(super) struct RotateSelf {
    /// `YYYY-MM-DD-ROTATE-SELF` with today's date in `TZ`, so that no old request that is sent again replaces a key.
    confirm: Text,
    /// For how many seconds the present key goes on making calls, as a further key that administrates nothing; 0, at
    /// once an end, by default.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2_592_000)]
    overlap: Option<Whole<i64>>,
}
body!(RotateSelf);

/// A new key for root, or for an account below it.
#[derive(Deserialize, ToSchema)]
pub(super) struct RotateRoot {
    /// `YYYY-MM-DD-ROTATE-ROOT` with today's date in `TZ`, so that no old request that is sent again replaces a key.
    confirm: Text,
    /// Root's new key, in the form of a client key; one is made when it is missing. Root's alone can be chosen.
    key: Option<Text>,
    /// Whose key is replaced; root's when it is missing.
    name: Option<Text>,
    /// For how many seconds the present key goes on making calls, as a further key that administrates nothing; 0, at
    /// once an end, by default.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 2_592_000)]
    overlap: Option<Whole<i64>>,
}
body!(RotateRoot);

/// Checks for today's date and the word, so that replaying an old request replaces no key.
fn confirmed(control: &Control, Text(confirm): &Text, word: &str) -> Result<(), Invalid> {
    let wanted = format!("{}-{word}", ops::reports::today(control));
    if confirm.trim() == wanted {
        Ok(())
    } else {
        Err(Invalid::new("confirm", format!("must be {wanted}")))
    }
}

fn rotated(
    control: &Control,
    account: &Account,
    key: &ClientKey,
    (whose, title): (&str, &str),
) -> Json<KeyRotated> {
    Json(KeyRotated {
        success: true,
        message: format!("{title} key rotated successfully"),
        rotate: KeyRotation {
            action: format!("rotate_{whose}"),
            id: account.id.get(),
            name: account.name.clone(),
            key: key.expose().to_owned(),
            timestamp: control.zone().rfc3339(account.updated),
        },
    })
}

// === responses: without `Debug`, since they hold secrets ===

#[derive(Serialize, ToSchema)]
#[schema(as = KeyRotated)]
pub(super) struct KeyRotated {
    success: bool,
    message: String,
    rotate: KeyRotation,
}

#[derive(Serialize, ToSchema)]
#[schema(as = KeyRotation)]
struct KeyRotation {
    action: String,
    id: i64,
    name: String,
    key: String,
    #[schema(format = DateTime)]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct FreshKey {
    success: bool,
    key: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SealedText)]
pub(super) struct SealedText {
    success: bool,
    encrypted: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenedText)]
pub(super) struct OpenedText {
    success: bool,
    decrypted: String,
}
