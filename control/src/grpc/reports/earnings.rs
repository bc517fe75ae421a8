//! Converts earnings and tags from and to wire messages.

use jiff::civil::Date;
use proxyxai_contract::{Invalid, id::KeyId, wire};

use super::{count, days_from_wire, named, page_from_wire};
use crate::{
    Error,
    model::{
        DateRange, Earning, EarningDimension, EarningFilter, EarningRow, EarningsReport, Page,
        TagTotals, UsageTotals,
    },
};

pub(super) fn from_wire(
    request: wire::GetEarningsRequest,
    today: Date,
) -> Result<((EarningDimension, Page), EarningFilter, DateRange), Error> {
    let wire::GetEarningsRequest {
        by,
        start_date,
        end_date,
        account,
        key_id,
        provider,
        model,
        page,
    } = request;
    let by = match by.as_str() {
        "" => EarningDimension::Key,
        name => EarningDimension::parse(name).ok_or_else(|| {
            Invalid::new("by", "must be key, provider, model, account, day or level")
        })?,
    };
    let key = Some(key_id).filter(|id| *id != 0).map(KeyId::new);
    let text = |text: &str| named(text).map(ToOwned::to_owned);
    let filter = EarningFilter {
        account: text(&account),
        key: key.transpose().map_err(|error| error.under("key_id"))?,
        provider: text(&provider),
        model: text(&model),
    };
    let page = page_from_wire(page)?;
    let days = days_from_wire(&start_date, &end_date, today)?;
    Ok(((by, page), filter, days))
}

pub(super) fn to_wire(earnings: EarningsReport) -> wire::GetEarningsResponse {
    let EarningsReport {
        days: _,
        rows,
        total,
    } = earnings;
    let total = EarningRow {
        of: String::new(),
        name: String::new(),
        earning: total,
    };
    wire::GetEarningsResponse {
        rows: rows.rows.into_iter().map(row_to_wire).collect(),
        total: Some(row_to_wire(total)),
        row_count: count(rows.total),
    }
}

fn row_to_wire(row: EarningRow) -> wire::Earning {
    let EarningRow { of, name, earning } = row;
    let Earning {
        requests,
        tokens: _,
        cost,
        expense,
        flat,
    } = earning;
    wire::Earning {
        value: of,
        name,
        requests: count(requests),
        cost_nanos: cost.nanos(),
        expense_nanos: expense.nanos(),
        flat_nanos: flat.nanos(),
        margin_nanos: earning.margin().nanos(),
    }
}

pub(super) fn tag_to_wire(row: TagTotals) -> wire::TagUsage {
    let TagTotals { tag, totals } = row;
    let UsageTotals {
        requests,
        input,
        cached,
        output,
        cost,
    } = totals;
    wire::TagUsage {
        tag,
        requests: count(requests),
        input_tokens: count(input),
        cached_tokens: count(cached),
        output_tokens: count(output),
        cost_nanos: cost.nanos(),
    }
}
