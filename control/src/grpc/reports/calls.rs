//! The list of calls between the wire and the operations.

use proxyxai_contract::{Invalid, clock::Millis, convert::millis_from_wire, id::KeyId, wire};

use super::{named, posted_to_wire};
use crate::{
    Error,
    ops::calls::SIZE,
    view::{Call, CallFilter, Calls, CallsFrom, ModelOf, StatusOf},
};

pub(super) fn from_wire(
    request: wire::ListCallsRequest,
) -> Result<(CallFilter, (CallsFrom, u64)), Error> {
    let wire::ListCallsRequest {
        account,
        alone,
        model,
        key_id,
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
    let moment = |name: &str, time: Option<_>| -> Result<Option<Millis>, Invalid> {
        time.as_ref()
            .map(|time| millis_from_wire(name, Some(time)))
            .transpose()
    };
    let filter = CallFilter {
        account: text(&account),
        alone,
        model: named(&model).map(ModelOf::parse).transpose()?.flatten(),
        key: key.transpose().map_err(|error| error.under("key_id"))?,
        status: named(&status).map(StatusOf::parse).transpose()?,
        request_id: text(&request_id),
        start: moment("start_time", start_time)?,
        end: moment("end_time", end_time)?,
    };
    let from = CallsFrom::of(text(&before), text(&after))?;
    let size = match size {
        0 => SIZE,
        // Out of bounds is for the operation to say.
        size => u64::try_from(size).unwrap_or_default(),
    };
    Ok((filter, (from, size)))
}

pub(super) fn to_wire(listed: Calls) -> wire::ListCallsResponse {
    let Calls {
        calls,
        next,
        latest,
    } = listed;
    let call = |call: Call| wire::Call {
        usage: Some(posted_to_wire(call.usage)),
        account_name: call.account_name,
        key_name: call.key_name.unwrap_or_default(),
    };
    wire::ListCallsResponse {
        calls: calls.into_iter().map(call).collect(),
        next: next.unwrap_or_default(),
        latest,
    }
}
