//! Windows between the operations and the wire.

use proxyxai_contract::{convert::millis_to_wire, wire};

use super::count;
use crate::view::WindowUse;

pub(super) fn to_wire(used: WindowUse) -> wire::WindowUse {
    let WindowUse {
        key,
        name,
        limit,
        taken,
        resets,
    } = used;
    wire::WindowUse {
        account_id: key.account.get(),
        account_name: name,
        window: key.window.name().to_owned(),
        model: key.model,
        limit: count(limit),
        taken: count(taken),
        reset_time: Some(millis_to_wire(resets)),
    }
}
