//! Client keys and sealed texts: rotation (`/x-self`, `/x-root`), fresh keys (`/x-gkey`), sealing and
//! opening texts (`/x-ekey`, `/x-dkey`). What is in clear here is in the answer and nowhere else.

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, client_key::ClientKey, secret::Secret};
use serde_json::{Value, json};

use super::{
    failure::Failure,
    fields::Fields,
    request::{Asker, Segment},
};
use crate::{Control, ops, view::AccountView};

const ROOT: &str = "root";

/// `/x-self`: a new key for the caller.
pub(super) async fn rotate_self(
    State(control): State<Control>,
    Asker(caller): Asker,
    body: Fields,
) -> Result<Json<Value>, Failure> {
    confirmed(&control, &body, "ROTATE-SELF")?;
    let key = ops::accounts::rotate_key(&control, &caller, None).await?;
    let account = ops::accounts::caller(&control, &caller).await?;
    Ok(rotated(&control, &account, &key, ("self", "Self")))
}

/// `/x-root`: a new key for root, chosen by it or made here; or one for an account below it, by `name`.
pub(super) async fn rotate_root(
    State(control): State<Control>,
    Asker(caller): Asker,
    body: Fields,
) -> Result<Json<Value>, Failure> {
    confirmed(&control, &body, "ROTATE-ROOT")?;
    let given = body.text("key")?.filter(|key| !key.trim().is_empty());
    let name = body.text("name")?.unwrap_or_default();
    let name = name.trim();
    if !["", ROOT].contains(&name) {
        if given.is_some() {
            return Err(Invalid::new("key", "can be chosen for root alone").into());
        }
        ops::root_only(&caller, "only root may give another account a key here")?;
        let key = ops::accounts::rotate_key(&control, &caller, Some(name)).await?;
        let account = ops::accounts::find(&control, &caller, name).await?;
        return Ok(rotated(&control, &account, &key, ("key", "Account")));
    }
    let key = given.map(|key| ClientKey::parse(key.trim())).transpose()?;
    let key = ops::accounts::rotate_root(&control, &caller, key).await?;
    let account = ops::accounts::caller(&control, &caller).await?;
    Ok(rotated(&control, &account, &key, (ROOT, "Root")))
}

/// `/x-gkey`: a client key of the right form that belongs to nobody.
pub(super) async fn fresh_key(_: Asker) -> Result<Json<Value>, Failure> {
    let key = ops::settings::generate_client_key()?;
    Ok(Json(json!({ "success": true, "key": key.expose() })))
}

/// `/x-ekey/{text}`: the text, sealed under the master key.
pub(super) async fn seal(
    State(control): State<Control>,
    Asker(caller): Asker,
    Segment(text): Segment,
) -> Result<Json<Value>, Failure> {
    let sealed = ops::settings::seal_text(&control, &caller, &Secret::new(text)).await?;
    Ok(Json(json!({ "success": true, "encrypted": sealed })))
}

/// `/x-dkey/{text}`: what `/x-ekey` sealed.
pub(super) async fn open(
    State(control): State<Control>,
    Asker(caller): Asker,
    Segment(text): Segment,
) -> Result<Json<Value>, Failure> {
    let opened = ops::settings::open_text(&control, &caller, &text).await?;
    Ok(Json(
        json!({ "success": true, "decrypted": opened.expose() }),
    ))
}

/// Today's date and the word, so that no old request that is sent again replaces a key.
fn confirmed(control: &Control, body: &Fields, word: &str) -> Result<(), Invalid> {
    let wanted = format!("{}-{word}", ops::reports::today(control));
    if body.required_text("confirm")?.trim() == wanted {
        Ok(())
    } else {
        Err(Invalid::new("confirm", format!("must be {wanted}")))
    }
}

fn rotated(
    control: &Control,
    account: &AccountView,
    key: &ClientKey,
    (whose, title): (&str, &str),
) -> Json<Value> {
    Json(json!({
        "success": true,
        "message": format!("{title} key rotated successfully"),
        "rotate": {
            "action": format!("rotate_{whose}"),
            "id": account.id.get(),
            "name": account.name,
            "key": key.expose(),
            "timestamp": control.zone().rfc3339(account.updated),
        },
    }))
}
