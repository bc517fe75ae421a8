//! `POST /x-prices/rerate`: pricing the usage of some days anew. Computes alone unless told to post.

use axum::{Json, extract::State};
use proxyxai_contract::{Invalid, id::AccountId, money::Money};
use serde::Serialize;

use super::{answer::Dollars, days::between, failure::Failure, fields::Fields, request::Operator};
use crate::{
    Control, ops,
    view::{Rerated, Rerating},
};

pub(super) async fn run(
    State(control): State<Control>,
    Operator(caller): Operator,
    body: Fields,
) -> Result<Json<Answer>, Failure> {
    body.only(&["Start", "End", "User", "Version", "DryRun"])?;
    let start = body.day("Start")?;
    let start = start.ok_or_else(|| Invalid::new("Start", "is missing"))?;
    let end = body.day("End")?;
    let end = end.unwrap_or_else(|| ops::reports::today(&control).max(start));
    let named = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let dry_run = body.flag("DryRun")?.unwrap_or(true);
    let rerating = Rerating {
        days: between("Start", start, end)?,
        account: named(body.text("User")?),
        version: named(body.text("Version")?),
        dry_run,
    };
    let rerated = Box::pin(ops::prices::rerate(&control, &caller, rerating)).await?;
    Ok(Json(answer(rerated, dry_run)))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    dry_run: bool,
    records: u64,
    unpriced: u64,
    corrections: Vec<Correction>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Correction {
    #[serde(rename = "UserID")]
    account: i64,
    records: u64,
    difference: Dollars,
}

fn answer(rerated: Rerated, dry_run: bool) -> Answer {
    let Rerated {
        records,
        unpriced,
        corrections,
    } = rerated;
    let correction = |(account, (records, difference)): (AccountId, (u64, Money))| Correction {
        account: account.get(),
        records,
        difference: Dollars(difference),
    };
    Answer {
        dry_run,
        records,
        unpriced,
        corrections: corrections.into_iter().map(correction).collect(),
    }
}
