//! `/x-usage`: single calls of the caller or a descendant, newest first, each with the bill lines that add up to its
//! cost.

use axum::extract::State;
use proxyxai_contract::{
    attempt::{Attempt, AttemptOutcome},
    bill::{CallBill, PriceLine},
    clock::Zone,
    id::{ClientKeyId, KeyId},
    money::{Money, Multiplier},
    tokens::TokenUsage,
    usage::{AbandonedPolicy, UsageMeasure, UsageRecord},
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::Schema};

use super::{
    error::RestError,
    request::{AccountCaller, QueryParams},
    response::{Dollars, PagedResponse, Ratio, paged, words},
};
use crate::{Control, model::PostedUsage, ops, ops::reports::CallsOf};

const PAGE_ROWS: u64 = 100;
const PAGE_ROWS_MAX: u64 = 1_000;

pub(super) async fn list(
    State(control): State<Control>,
    AccountCaller(caller): AccountCaller,
    params: QueryParams,
) -> Result<PagedResponse<CallRecordRow>, RestError> {
    let page = params.page_of(PAGE_ROWS, PAGE_ROWS_MAX)?;
    let user = params.text("user").or_else(|| params.text("u"));
    let calls = CallsOf {
        account: user,
        request_id: params.text("request_id"),
    };
    let listing = ops::reports::usage(&control, &caller, calls, page).await?;
    let zone = control.zone();
    Ok(paged(listing, page, |usage| row(usage, &zone)))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = CallRecord)]
pub(super) struct CallRecordRow {
    node: String,
    epoch: u64,
    sequence: u64,
    #[serde(rename = "RequestID")]
    request_id: String,
    #[serde(rename = "UserID")]
    account: i64,
    /// 0 for the account's first.
    client_key: i64,
    #[schema(format = DateTime)]
    time: String,
    path: String,
    model_asked: String,
    model_used: String,
    /// 0 when none answered.
    key: i64,
    #[schema(maximum = 10)]
    level: u8,
    tries: u32,
    status: u16,
    streamed: bool,
    duration_ms: u64,
    first_byte_ms: u64,
    tag: String,
    /// Empty if the client stayed connected.
    #[schema(schema_with = abandoned)]
    abandoned: &'static str,
    tier: String,
    #[schema(schema_with = measures)]
    measure: &'static str,
    tokens: TokenRow,
    priced: bool,
    price_version: String,
    bill: Vec<BillLine>,
    /// None for those of short prompts.
    #[schema(required = true)]
    prices_above: Option<u64>,
    model_rates: Ratio,
    #[schema(required = true)]
    rates: Option<Ratio>,
    #[schema(required = true)]
    factor: Option<Ratio>,
    cost: Dollars,
    #[schema(required = true)]
    corrected_cost: Option<Dollars>,
    sum: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    expense: Option<Dollars>,
    /// Where there was more than one, or the only one failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<AttemptRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    margin: Option<Dollars>,
}

/// A key that was asked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Attempt)]
struct AttemptRow {
    key: i64,
    #[schema(maximum = 10)]
    level: u8,
    /// Empty where it is the model that was used.
    model: String,
    #[schema(schema_with = outcomes)]
    outcome: &'static str,
    /// 0 when there was no answer.
    status: u16,
    duration_ms: u64,
}

/// A line of a bill. Amounts are rounded each, the cost once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
struct BillLine {
    part: &'static str,
    /// Of a length of time, milliseconds.
    quantity: u64,
    /// What the price is for.
    unit: &'static str,
    /// None where there is none, and nothing is charged.
    #[schema(required = true)]
    price: Option<Dollars>,
    amount: Dollars,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = Tokens)]
struct TokenRow {
    input: u64,
    cached: u64,
    cache_write: u64,
    cache_write_hour: u64,
    output: u64,
    reasoning: u64,
    input_audio: u64,
    output_audio: u64,
    input_image: u64,
    output_image: u64,
    input_video: u64,
    cached_audio: u64,
    cached_image: u64,
}

fn abandoned() -> Schema {
    words(
        [""].into_iter()
            .chain(AbandonedPolicy::ALL.map(AbandonedPolicy::as_str)),
    )
}

fn measures() -> Schema {
    use UsageMeasure::{Estimated, Measured, Partial};
    words([Measured, Partial, Estimated].map(UsageMeasure::as_str))
}

fn outcomes() -> Schema {
    words(AttemptOutcome::ALL.map(AttemptOutcome::as_str))
}

pub(super) fn row(usage: PostedUsage, zone: &Zone) -> CallRecordRow {
    let margin = ops::earnings::margin(&usage);
    let PostedUsage {
        node,
        epoch,
        record,
        posted: _,
        corrected,
    } = usage;
    let sum = sum_words(&record);
    let CallBill {
        lines,
        above,
        rates,
    } = record.sum;
    CallRecordRow {
        node,
        epoch,
        sequence: record.sequence,
        request_id: record.request_id,
        account: record.account.get(),
        client_key: record.client_key.map_or(0, ClientKeyId::get),
        time: zone.rfc3339(record.start),
        path: record.path,
        model_asked: record.model_asked,
        model_used: record.model_used,
        key: record.key.map_or(0, KeyId::get),
        level: record.level.get(),
        tries: record.tries,
        status: record.status,
        streamed: record.streamed,
        duration_ms: record.duration_ms,
        first_byte_ms: record.first_byte_ms,
        tag: record.tag,
        abandoned: record.abandoned.map_or("", AbandonedPolicy::as_str),
        tier: record.tier,
        measure: record.measure.as_str(),
        tokens: tokens(&record.tokens),
        priced: record.priced,
        price_version: record.price_version,
        bill: lines.iter().map(bill_line).collect(),
        prices_above: above,
        model_rates: Ratio(rates),
        rates: record.rates.map(Ratio),
        factor: record.factor.map(Ratio),
        cost: Dollars(record.cost),
        corrected_cost: corrected.map(Dollars),
        sum,
        expense: record.expense.map(Dollars),
        attempts: record.attempts.into_iter().map(attempt_row).collect(),
        margin: margin.map(Dollars),
    }
}

fn attempt_row(attempt: Attempt) -> AttemptRow {
    let Attempt {
        key,
        level,
        model,
        status,
        outcome,
        duration_ms,
    } = attempt;
    AttemptRow {
        key: key.get(),
        level: level.get(),
        model,
        outcome: outcome.as_str(),
        status: status.unwrap_or_default(),
        duration_ms,
    }
}

fn sum_words(record: &UsageRecord) -> String {
    if record.abandoned == Some(AbandonedPolicy::Hold) {
        let cost = record.cost;
        return format!("the client left, and all that was set aside is charged: {cost}");
    }
    let by: [(&str, Option<Multiplier>); 2] = [("Rates", record.rates), ("Factor", record.factor)];
    record.sum.words(by, record.cost)
}

fn bill_line(line: &PriceLine) -> BillLine {
    BillLine {
        part: line.part.name(),
        quantity: line.quantity,
        unit: line.part.unit().name(),
        price: line.price.map(Dollars),
        amount: Dollars(line.amount().unwrap_or(Money::ZERO)),
    }
}

fn tokens(tokens: &TokenUsage) -> TokenRow {
    let TokenUsage {
        input,
        cached,
        cache_write,
        cache_write_hour,
        output,
        reasoning,
        input_audio,
        output_audio,
        input_image,
        output_image,
        input_video,
        cached_audio,
        cached_image,
    } = *tokens;
    TokenRow {
        input,
        cached,
        cache_write,
        cache_write_hour,
        output,
        reasoning,
        input_audio,
        output_audio,
        input_image,
        output_image,
        input_video,
        cached_audio,
        cached_image,
    }
}
