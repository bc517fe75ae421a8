//! `/x-prices`: versions of the price table, the changes that another would bring, and models without a price. For root
//! alone.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
};
use proxyxai_contract::{
    Invalid,
    clock::Zone,
    id::AccountId,
    money::{Money, Multiplier},
};
use rust_decimal::prelude::ToPrimitive as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{ToSchema, openapi::Schema};

use super::{
    body::{Body, Shape, body},
    error::{RestError, of_field},
    fields::{Flag, Moment, ObjectText, Text, Texts},
    openapi::{Api, get, post},
    query::{PAGE, ParamType, QueryParam, SIZE, query},
    request::{JsonBody, QueryParams, RootCaller},
    rerate,
    response::{Dollars, PagedResponse, Ratio, paged, words},
};

use crate::{
    Control, Error,
    model::{ImportedPrices, PriceVersion, UnpricedModel},
    ops::{
        self,
        prices::{PriceListUpload, PriceTableUpload},
    },
    prices::diff::{ChangeUnit, PriceChange},
};

/// A table of thousands of models has about 1 MiB; public lists have 4 MiB.
const TABLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Parameters that select a version.
const SHOW: [QueryParam; 2] = [
    query("version", ParamType::Text, "The name of a version"),
    query(
        "time",
        ParamType::Moment,
        "What was in force at this moment",
    ),
];
const UNPRICED: [QueryParam; 3] = [
    query(
        "days",
        ParamType::Whole(1, 31),
        "Number of days up to today; default: 7",
    ),
    PAGE,
    SIZE,
];

pub(super) fn routes() -> Api {
    Api::new()
        .about("Prices")
        .at(
            "/x-prices",
            [
                get(show)
                    .named(
                        "getPrices",
                        "A version of the price table; by default the one in force",
                    )
                    .query(&SHOW)
                    .fails(&[404]),
                post(load)
                    .named("loadPrices", "Loads a price table")
                    .fails(&[409]),
            ],
        )
        .at(
            "/x-prices/diff",
            [post(diff).named("comparePrices", "What loading a price table would change")],
        )
        .at(
            "/x-prices/import",
            [post(import).named(
                "importPrices",
                "Makes a price table of a public list; loads nothing",
            )],
        )
        .at(
            "/x-prices/rerate",
            [post(rerate::run)
                .named("reratePrices", "Prices the calls of some days anew")
                .fails(&[402, 404, 409])],
        )
        .at(
            "/x-prices/unpriced",
            [get(unpriced)
                .named(
                    "listUnpricedModels",
                    "Models that were called without having a price",
                )
                .query(&UNPRICED)],
        )
        .map_router(|router| router.layer(DefaultBodyLimit::max(TABLE_BYTES_MAX)))
}

async fn show(
    State(control): State<Control>,
    RootCaller(caller): RootCaller,
    params: QueryParams,
) -> Result<Json<PricesResponse>, RestError> {
    params.reject_unknown(&SHOW)?;
    let time = params.moment("time")?;
    let found = ops::prices::get(&control, &caller, params.text("version"), time).await?;
    let versions = ops::prices::versions(&control, &caller).await?;
    let zone = control.zone();
    Ok(Json(PricesResponse {
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
    RootCaller(caller): RootCaller,
    JsonBody(body): JsonBody<DiffPrices>,
) -> Result<Json<PriceDiffResponse>, RestError> {
    let (table, from) = (body.table.checked()?, body.valid_from.map(|it| it.0));
    let changes = ops::prices::diff(&control, &caller, &table, from).await;
    Ok(Json(PriceDiffResponse {
        changes: changes.map_err(of_table)?.into_iter().map(change).collect(),
    }))
}

async fn load(
    State(control): State<Control>,
    RootCaller(caller): RootCaller,
    JsonBody(body): JsonBody<LoadPrices>,
) -> Result<Json<PricesLoaded>, RestError> {
    let new = PriceTableUpload {
        text: body.table.checked()?,
        valid_from: body.valid_from.map(|it| it.0),
        note: body.note.map(|it| it.0).unwrap_or_default(),
        force: body.force.is_some_and(|it| it.0),
        over: body
            .over_version
            .map(|it| it.0)
            .filter(|over| !over.is_empty()),
    };
    let loaded = Box::pin(ops::prices::load(&control, &caller, new)).await;
    let (loaded, changes) = loaded.map_err(of_table)?;
    Ok(Json(PricesLoaded {
        success: true,
        version: version(&loaded, &control.zone()),
        changes: changes.into_iter().map(change).collect(),
    }))
}

async fn import(
    State(control): State<Control>,
    RootCaller(caller): RootCaller,
    JsonBody(body): JsonBody<ImportPrices>,
) -> Result<Json<PriceImportResponse>, RestError> {
    let new = PriceListUpload {
        format: body.format.map(|it| it.0),
        list: body.table.checked()?,
        providers: body.providers.map(|it| it.0).unwrap_or_default(),
        prune: body.prune.is_some_and(|it| it.0),
    };
    let imported = ops::prices::import(&control, &caller, new).await;
    let imported = imported.map_err(|error| match error {
        Error::Invalid(Invalid { field, problem }) => {
            let known = [("format", "Format"), ("provider", "Providers")];
            let known = known.iter().find(|(name, _)| *name == field);
            Invalid::new(known.map_or("Table", |(_, known)| *known), problem).into()
        }
        other => RestError::from(other),
    })?;
    Ok(Json(drafted(imported)?))
}

async fn unpriced(
    State(control): State<Control>,
    RootCaller(caller): RootCaller,
    params: QueryParams,
) -> Result<PagedResponse<UnpricedRow>, RestError> {
    params.reject_unknown(&UNPRICED)?;
    let (days, page) = (params.int("days")?, params.page()?);
    let listing = ops::prices::unpriced(&control, &caller, days, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |model| missing(model, &zone)))
}

fn of_table(error: Error) -> RestError {
    of_field(error, "Table")
}

fn raw(text: String) -> Result<Box<RawValue>, RestError> {
    RawValue::from_string(text).map_err(|error| Error::internal(error).into())
}

// === bodies ===

/// A price table, to be compared with the one that counts.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DiffPrices {
    /// The whole table.
    table: ObjectText,
    /// The moment from which it would be in force; by default now.
    valid_from: Option<Moment>,
}
body!(DiffPrices);

/// A price table, to be loaded.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct LoadPrices {
    /// The whole table.
    table: ObjectText,
    /// The moment from which it is in force; by default now.
    valid_from: Option<Moment>,
    /// A note that lists of versions show.
    note: Option<Text>,
    /// Whether prices may change by more than a hundredfold or be above a million dollars, and more than 20 models may
    /// lose theirs. False by default.
    force: Option<Flag>,
    /// Name of a version: the table is loaded only while that version is in force.
    over_version: Option<Text>,
}
body!(LoadPrices);

/// A public list of prices, to be merged into the table that counts. Nothing is loaded.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ImportPrices {
    /// `litellm` or `models.dev`; by default recognized by the content of the list.
    format: Option<Text>,
    /// The list.
    table: ObjectText,
    /// The providers whose models are imported; by default those of the table.
    providers: Option<Texts>,
    /// Whether models are left out that the list does not have although it has others of their provider. False by default.
    prune: Option<Flag>,
}
body!(ImportPrices);

// === responses ===

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Prices)]
pub(super) struct PricesResponse {
    version: PriceVersionRow,
    #[schema(value_type = Object)]
    table: Box<RawValue>,
    #[schema(required = true, value_type = Option<Object>)]
    overrides: Option<Box<RawValue>>,
    versions: Vec<PriceVersionRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PriceDifferences)]
pub(super) struct PriceDiffResponse {
    changes: Vec<ChangeRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PricesLoaded)]
pub(super) struct PricesLoaded {
    #[serde(rename = "success")]
    success: bool,
    version: PriceVersionRow,
    changes: Vec<ChangeRow>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PricesImport)]
pub(super) struct PriceImportResponse {
    over_version: String,
    #[schema(value_type = Object)]
    table: Box<RawValue>,
    changes: Vec<ChangeRow>,
    /// What moves too far.
    objections: Vec<String>,
    added: Vec<String>,
    gone: Vec<String>,
    read: usize,
    skipped: BTreeMap<String, usize>,
}

fn drafted(imported: ImportedPrices) -> Result<PriceImportResponse, RestError> {
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
    Ok(PriceImportResponse {
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

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PriceVersion)]
struct PriceVersionRow {
    #[serde(rename = "Version")]
    name: String,
    #[schema(format = DateTime)]
    valid_from: String,
    source: &'static str,
    note: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// None for the program itself.
    #[schema(required = true)]
    created_by: Option<i64>,
}

fn version(version: &PriceVersion, zone: &Zone) -> PriceVersionRow {
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
    PriceVersionRow {
        name: version.clone(),
        valid_from: zone.rfc3339(*valid_from),
        source: source.as_str(),
        note: note.clone(),
        created_at: zone.rfc3339(*created),
        created_by: created_by.map(AccountId::get),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = PriceChange)]
struct ChangeRow {
    model: String,
    field: String,
    #[schema(schema_with = units)]
    unit: &'static str,
    #[schema(required = true, value_type = Option<f64>)]
    old: Option<PriceAmount>,
    #[schema(required = true, value_type = Option<f64>)]
    new: Option<PriceAmount>,
    #[schema(required = true, value_type = Option<f64>)]
    fallback: Option<PriceAmount>,
    /// None when there is nothing to compare.
    #[schema(required = true)]
    percent: Option<f64>,
}

/// In dollars, a factor or tokens, as `Unit` says.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PriceAmount {
    Dollars(Dollars),
    Factor(Ratio),
    Tokens(i64),
}

fn units() -> Schema {
    words(["dollars", "factor", "tokens"])
}

fn change(change: PriceChange) -> ChangeRow {
    let percent = change.percent();
    let PriceChange {
        model,
        field,
        unit,
        old,
        new,
        fallback,
    } = change;
    let amount = |number: i64| match (unit, Multiplier::from_micros(number)) {
        (ChangeUnit::NanoDollars, _) => PriceAmount::Dollars(Dollars(Money::from_nanos(number))),
        (ChangeUnit::Micros, Ok(factor)) => PriceAmount::Factor(Ratio(factor)),
        (ChangeUnit::Micros, Err(_)) | (ChangeUnit::Tokens, _) => PriceAmount::Tokens(number),
    };
    ChangeRow {
        model,
        field,
        unit: match unit {
            ChangeUnit::NanoDollars => "dollars",
            ChangeUnit::Micros => "factor",
            ChangeUnit::Tokens => "tokens",
        },
        old: old.map(amount),
        new: new.map(amount),
        fallback: fallback.map(amount),
        percent: percent.and_then(|percent| percent.to_f64()),
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = UnpricedModel)]
pub(super) struct UnpricedRow {
    model: String,
    requests: u64,
    users: u64,
    #[schema(format = DateTime)]
    last_at: String,
    /// By now: its calls can be priced anew.
    has_price: bool,
}

fn missing(row: UnpricedModel, zone: &Zone) -> UnpricedRow {
    let UnpricedModel {
        model,
        requests,
        accounts,
        last,
        has_price,
    } = row;
    UnpricedRow {
        model,
        requests,
        users: accounts,
        last_at: zone.rfc3339(last),
        has_price,
    }
}
