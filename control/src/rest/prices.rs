//! `/x-prices`: versions of the price table, what loading another would change, and models without a price. Root's.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    response::Response,
    routing::{get, post},
};
use proxyxai_contract::{
    Invalid,
    clock::Zone,
    id::AccountId,
    money::{Money, Multiplier},
    price_diff::{Change, Unit},
};
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    answer::{Dollars, Ratio, paged},
    failure::{Failure, of_field},
    fields::Fields,
    request::{Operator, Params},
    rerate,
};
use crate::{
    Control, Error,
    ops::{
        self,
        prices::{NewImport, NewPrices},
    },
    view::{ImportedPrices, PriceVersion, UnpricedModel},
};

/// A table of thousands of models has about a MiB, and public lists have four.
const TABLE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) fn routes() -> Router<Control> {
    Router::new()
        .route("/x-prices", get(show).post(load))
        .route("/x-prices/diff", post(diff))
        .route("/x-prices/import", post(import))
        .route("/x-prices/rerate", post(rerate::run))
        .route("/x-prices/unpriced", get(unpriced))
        .layer(DefaultBodyLimit::max(TABLE_BYTES_MAX))
}

async fn show(
    State(control): State<Control>,
    Operator(caller): Operator,
    params: Params,
) -> Result<Json<Shown>, Failure> {
    params.only(&["version", "time"])?;
    let time = params.moment("time")?;
    let found = ops::prices::get(&control, &caller, params.text("version"), time).await?;
    let versions = ops::prices::versions(&control, &caller).await?;
    let zone = control.zone();
    Ok(Json(Shown {
        version: version(&found, &zone),
        table: raw(found.text)?,
        overrides: match found.overrides.as_str() {
            "" => None,
            _ => Some(raw(found.overrides)?),
        },
        versions: versions.iter().map(|it| version(it, &zone)).collect(),
    }))
}

async fn diff(
    State(control): State<Control>,
    Operator(caller): Operator,
    body: Fields,
) -> Result<Json<Differences>, Failure> {
    body.only(&["Table", "ValidFrom"])?;
    let (table, from) = (required_table(&body)?, body.moment("ValidFrom")?);
    let changes = ops::prices::diff(&control, &caller, &table, from).await;
    Ok(Json(Differences {
        changes: changes.map_err(of_table)?.into_iter().map(change).collect(),
    }))
}

async fn load(
    State(control): State<Control>,
    Operator(caller): Operator,
    body: Fields,
) -> Result<Json<Loaded>, Failure> {
    body.only(&["Table", "ValidFrom", "Note", "Force", "OverVersion"])?;
    let new = NewPrices {
        text: required_table(&body)?,
        valid_from: body.moment("ValidFrom")?,
        note: body.text("Note")?.unwrap_or_default(),
        force: body.flag("Force")?.unwrap_or_default(),
        over: body.text("OverVersion")?.filter(|over| !over.is_empty()),
    };
    let loaded = Box::pin(ops::prices::load(&control, &caller, new)).await;
    let (loaded, changes) = loaded.map_err(of_table)?;
    Ok(Json(Loaded {
        success: true,
        version: version(&loaded, &control.zone()),
        changes: changes.into_iter().map(change).collect(),
    }))
}

async fn import(
    State(control): State<Control>,
    Operator(caller): Operator,
    body: Fields,
) -> Result<Json<Import>, Failure> {
    body.only(&["Format", "Table", "Providers", "Prune"])?;
    let new = NewImport {
        format: body.text("Format")?,
        list: required_table(&body)?,
        providers: body.texts("Providers")?.unwrap_or_default(),
        prune: body.flag("Prune")?.unwrap_or_default(),
    };
    let imported = ops::prices::import(&control, &caller, new).await;
    let imported = imported.map_err(|error| match error {
        Error::Invalid(Invalid { field, problem }) => {
            let known = [("format", "Format"), ("provider", "Providers")];
            let known = known.iter().find(|(name, _)| *name == field);
            Invalid::new(known.map_or("Table", |(_, known)| *known), problem).into()
        }
        other => Failure::from(other),
    })?;
    Ok(Json(drafted(imported)?))
}

async fn unpriced(
    State(control): State<Control>,
    Operator(caller): Operator,
    params: Params,
) -> Result<Response, Failure> {
    params.only(&["days", "page", "size"])?;
    let (days, page) = (params.whole("days")?, params.page()?);
    let listing = ops::prices::unpriced(&control, &caller, days, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |model| missing(model, &zone)))
}

/// A table is an object, or the text of one.
fn required_table(body: &Fields) -> Result<String, Invalid> {
    let table = body.json("Table")?;
    table.ok_or_else(|| Invalid::new("Table", "is missing"))
}

fn of_table(error: Error) -> Failure {
    of_field(error, "Table")
}

fn raw(text: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(text).map_err(|error| Error::internal(error).into())
}

// === answers ===

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    version: Version,
    table: Box<RawValue>,
    overrides: Option<Box<RawValue>>,
    versions: Vec<Version>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Differences {
    changes: Vec<ChangeRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Loaded {
    #[serde(rename = "success")]
    success: bool,
    version: Version,
    changes: Vec<ChangeRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Import {
    over_version: String,
    table: Box<RawValue>,
    changes: Vec<ChangeRow>,
    /// What moves too far.
    objections: Vec<String>,
    added: Vec<String>,
    gone: Vec<String>,
    read: usize,
    skipped: BTreeMap<String, usize>,
}

fn drafted(imported: ImportedPrices) -> Result<Import, Failure> {
    let ImportedPrices {
        over,
        text,
        changes,
        objections,
        added,
        gone,
        read,
        skipped,
    } = imported;
    Ok(Import {
        over_version: over,
        table: raw(text)?,
        changes: changes.into_iter().map(change).collect(),
        objections,
        added,
        gone,
        read,
        skipped,
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(rename = "Version")]
    name: String,
    valid_from: String,
    source: &'static str,
    note: String,
    created_at: String,
    /// None for the program itself.
    created_by: Option<i64>,
}

fn version(version: &PriceVersion, zone: &Zone) -> Version {
    let PriceVersion {
        version,
        valid_from,
        source,
        note,
        text: _,
        overrides: _,
        created,
        created_by,
    } = version;
    Version {
        name: version.clone(),
        valid_from: zone.rfc3339(*valid_from),
        source: source.as_str(),
        note: note.clone(),
        created_at: zone.rfc3339(*created),
        created_by: created_by.map(AccountId::get),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeRow {
    model: String,
    field: String,
    unit: &'static str,
    old: Option<Amount>,
    new: Option<Amount>,
    fallback: Option<Amount>,
    /// None when there is nothing to compare.
    percent: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Amount {
    Dollars(Dollars),
    Factor(Ratio),
    Tokens(i64),
}

fn change(change: Change) -> ChangeRow {
    let percent = change.percent();
    let Change {
        model,
        field,
        unit,
        old,
        new,
        fallback,
    } = change;
    let amount = |number: i64| match (unit, Multiplier::from_micros(number)) {
        (Unit::NanoDollars, _) => Amount::Dollars(Dollars(Money::from_nanos(number))),
        (Unit::Micros, Ok(factor)) => Amount::Factor(Ratio(factor)),
        (Unit::Micros, Err(_)) | (Unit::Tokens, _) => Amount::Tokens(number),
    };
    ChangeRow {
        model,
        field,
        unit: match unit {
            Unit::NanoDollars => "dollars",
            Unit::Micros => "factor",
            Unit::Tokens => "tokens",
        },
        old: old.map(amount),
        new: new.map(amount),
        fallback: fallback.map(amount),
        percent: percent.and_then(|percent| percent.to_f64()),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Missing {
    model: String,
    requests: u64,
    users: u64,
    last_at: String,
    /// By now: its calls can be priced anew.
    has_price: bool,
}

fn missing(row: UnpricedModel, zone: &Zone) -> Missing {
    let UnpricedModel {
        model,
        requests,
        accounts,
        last,
        has_price,
    } = row;
    Missing {
        model,
        requests,
        users: accounts,
        last_at: zone.rfc3339(last),
        has_price,
    }
}
