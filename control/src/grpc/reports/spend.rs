//! Converts use as a series from and to wire messages.

use jiff::civil::Date;
use proxyxai_contract::{Invalid, wire};

use super::{count, days_from_wire, named};
use crate::{
    Error,
    model::{
        DateRange, Earning, SeriesInterval, SpendDimension, SpendFilter, SpendReport, SpendRow,
        SpentTokens,
    },
};

pub(super) fn from_wire(
    request: wire::GetSpendRequest,
    today: Date,
) -> Result<(SpendFilter, DateRange), Error> {
    let wire::GetSpendRequest {
        by,
        per,
        account,
        alone,
        start_date,
        end_date,
    } = request;
    let by = named(&by).map(|name| {
        SpendDimension::parse(name)
            .ok_or_else(|| Invalid::new("by", "must be model, account, key or provider"))
    });
    let per = named(&per).map(|name| {
        SeriesInterval::parse(name).ok_or_else(|| Invalid::new("per", "must be day or hour"))
    });
    let filter = SpendFilter {
        account: named(&account).map(ToOwned::to_owned),
        alone,
        by: by.transpose()?.unwrap_or_default(),
        per: per.transpose()?.unwrap_or_default(),
    };
    Ok((filter, days_from_wire(&start_date, &end_date, today)?))
}

pub(super) fn to_wire(spend: SpendReport) -> wire::GetSpendResponse {
    let SpendReport {
        by: _,
        per: _,
        days: _,
        before,
        points,
        skipped,
        rows,
        values,
        other,
        total,
        is_earned,
    } = spend;
    wire::GetSpendResponse {
        points,
        skipped: i32::try_from(skipped).unwrap_or(i32::MAX),
        rows: rows
            .into_iter()
            .map(|row| row_to_wire(row, is_earned))
            .collect(),
        values: count(values),
        other: Some(row_to_wire(other, is_earned)),
        total: Some(row_to_wire(total, is_earned)),
        before_start_date: before.start.to_string(),
        before_end_date: before.end.to_string(),
        in_dollars: is_earned,
    }
}

fn row_to_wire(row: SpendRow, is_earned: bool) -> wire::SpendRow {
    let SpendRow {
        of,
        name,
        now,
        before,
        points,
    } = row;
    let spent = |used: &Earning| spent_to_wire(used, is_earned);
    wire::SpendRow {
        value: of,
        name,
        now: Some(spent(&now)),
        before: Some(spent(&before)),
        points: points.iter().map(spent).collect(),
    }
}

fn spent_to_wire(used: &Earning, is_earned: bool) -> wire::Spent {
    let Earning {
        requests,
        tokens: SpentTokens {
            input,
            cached,
            output,
        },
        cost,
        expense,
        flat,
    } = *used;
    wire::Spent {
        requests: count(requests),
        input_tokens: count(input),
        cached_tokens: count(cached),
        output_tokens: count(output),
        cost_nanos: cost.nanos(),
        expense_nanos: expense.nanos(),
        flat_nanos: flat.nanos(),
        margin_nanos: if is_earned { used.margin().nanos() } else { 0 },
    }
}
