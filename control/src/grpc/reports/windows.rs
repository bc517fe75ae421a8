//! Converts windows to wire messages.

use proxyxai_contract::{convert::millis_to_wire, id::ClientKeyId, wire};

use super::count;
use crate::model::WindowUsage;

pub(super) fn to_wire(used: WindowUsage) -> wire::WindowUse {
    let WindowUsage {
        key,
        name,
        client_key,
        limit,
        taken,
        resets,
    } = used;
    wire::WindowUse {
        account_id: key.account.get(),
        account_name: name,
        client_key_id: key.client_key.map_or(0, ClientKeyId::get),
        client_key_name: client_key,
        window: key.window.name().to_owned(),
        model: key.model,
        limit: count(limit),
        taken: count(taken),
        reset_time: Some(millis_to_wire(resets)),
    }
}
