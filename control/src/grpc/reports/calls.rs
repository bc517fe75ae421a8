//! Converts the list of calls from and to wire messages.

use proxyxai_contract::{convert::optional_millis_from_wire, id::KeyId, wire};

use super::{named, posted_to_wire, rows};
use crate::{
    Error,
    model::{Call, CallFilter, CallPage, ClientKeyFilter, ModelFilter, PageCursor, StatusFilter},
    ops::calls::SIZE,
};

pub(super) fn from_wire(
    request: wire::ListCallsRequest,
) -> Result<(CallFilter, (PageCursor, u64)), Error> {
    let wire::ListCallsRequest {
        account,
        alone,
        model,
        key_id,
        client_key_id,
        status,
        request_id,
        start_time,
        end_time,
        size,
        before,
        after,
    } = request;
    let text = |text: &str| named(text).map(ToOwned::to_owned);
    let key = Some(key_id).filter(|id| *id != 0).map(KeyId::new);
    let filter = CallFilter {
        account: text(&account),
        alone,
        model: named(&model).map(ModelFilter::parse).transpose()?.flatten(),
        key: key.transpose().map_err(|error| error.under("key_id"))?,
        client_key: client_key_id
            .map(ClientKeyFilter::of)
            .transpose()
            .map_err(|error| error.under("client_key_id"))?,
        status: named(&status).map(StatusFilter::parse).transpose()?,
        request_id: text(&request_id),
        start: optional_millis_from_wire("start_time", start_time.as_ref())?,
        end: optional_millis_from_wire("end_time", end_time.as_ref())?,
    };
    let from = PageCursor::of(text(&before), text(&after))?;
    Ok((filter, (from, rows(size, SIZE))))
}

pub(super) fn to_wire(listed: CallPage) -> wire::ListCallsResponse {
    let CallPage {
        calls,
        next,
        latest,
    } = listed;
    let call = |call: Call| wire::Call {
        usage: Some(posted_to_wire(call.usage)),
        account_name: call.account_name,
        key_name: call.key_name.unwrap_or_default(),
        client_key_name: call.client_key_name,
    };
    wire::ListCallsResponse {
        calls: calls.into_iter().map(call).collect(),
        next: next.unwrap_or_default(),
        latest,
    }
}
