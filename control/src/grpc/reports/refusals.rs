//! Converts the list of refused calls from and to wire messages.

use proxyxai_contract::{
    convert::{optional_millis_from_wire, refused_to_wire},
    wire,
};

use super::{named, rows};
use crate::{
    Error,
    model::{RefusalCursor, RefusalFilter, RefusalPage, StatusFilter},
    ops::refusals::SIZE,
};

pub(super) fn from_wire(
    request: wire::ListRefusalsRequest,
) -> Result<(RefusalFilter, (Option<RefusalCursor>, u64)), Error> {
    let wire::ListRefusalsRequest {
        account,
        alone,
        model,
        status,
        request_id,
        start_time,
        end_time,
        size,
        before,
    } = request;
    let text = |text: &str| named(text).map(ToOwned::to_owned);
    let filter = RefusalFilter {
        account: text(&account),
        alone,
        model: text(&model),
        status: named(&status).map(StatusFilter::parse).transpose()?,
        request_id: text(&request_id),
        start: optional_millis_from_wire("start_time", start_time.as_ref())?,
        end: optional_millis_from_wire("end_time", end_time.as_ref())?,
    };
    let before = named(&before).map(RefusalCursor::parse).transpose()?;
    Ok((filter, (before, rows(size, SIZE))))
}

pub(super) fn to_wire(listed: RefusalPage) -> wire::ListRefusalsResponse {
    let RefusalPage { calls, names, next } = listed;
    let refusal = |call| {
        let call = refused_to_wire(&call);
        wire::Refusal {
            account_name: names.get(&call.account_id).cloned().unwrap_or_default(),
            call: Some(call),
        }
    };
    wire::ListRefusalsResponse {
        refusals: calls.into_iter().map(refusal).collect(),
        next: next.map(RefusalCursor::text).unwrap_or_default(),
    }
}
