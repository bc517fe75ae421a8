//! Cover for in-flight calls while the `Rates` of their account rise: they reserve in the old units and are charged in
//! the new ones.
//! The difference is reserved as a lease that no data plane holds, and expires like the leases of silent data planes.

use std::collections::BTreeMap;

use proxyxai_contract::{
    id::NodeName,
    lease::{LeaseAnswer, PayerId},
    money::{Money, Multiplier},
};

use crate::{
    Control, Error,
    domain::{
        lease::{self, Headroom},
        ledger::LedgerEntry,
    },
    ops::money,
    store::{self, AccountRecord, Tx, leases::LeaseRecord},
};

/// The holder, in place of a data plane's name.
const HOLDER: &str = "rates-cover";
/// Nearly all calls that were in flight have ended by then.
const COVER_MS: i64 = 600_000;

/// Reserves what in-flight calls may cost beyond their leases, after the account got new rates.
pub(crate) async fn cover_rise(
    control: &Control,
    tx: &Tx,
    record: &mut AccountRecord,
    from: Multiplier,
) -> Result<Option<LedgerEntry>, Error> {
    let room = Headroom {
        balance: record.account.balance,
        month_left: None,
        leased: record.leased,
    };
    let Some(amount) = lease::cover(&room, from, record.account.rates) else {
        return Ok(None);
    };
    let payer = PayerId::from(record.account.id);
    let holder = NodeName::new(HOLDER)?;
    let mut known = store::leases::of_node(tx, &holder, [payer]).await?;
    let held = known.remove(&payer);
    let mut held = held.unwrap_or_else(|| LeaseRecord::first(&holder, 0, payer));
    let entry = money::lease(record, &mut held, amount)?;
    let lease_ms = i64::try_from(control.config().lease_ms).unwrap_or(i64::MAX);
    let early_ms = lease_ms.saturating_sub(COVER_MS).max(0);
    let touched = control.now().plus(early_ms.saturating_neg());
    store::leases::put(tx, [&held], touched).await?;
    Ok(Some(entry))
}

/// Subtracts covers and reserves of later work from what responses say that others have on lease: no data plane could
/// return them, so no call should wait for them.
pub(super) async fn leave_out(tx: &Tx, answers: &mut [LeaseAnswer]) -> Result<(), Error> {
    let waits =
        |answer: &&mut LeaseAnswer| answer.shortage.is_some() && answer.elsewhere > Money::ZERO;
    let mut short: BTreeMap<_, _> = answers
        .iter_mut()
        .filter(waits)
        .map(|answer| (answer.lease.payer, &mut answer.elsewhere))
        .collect();
    if short.is_empty() {
        return Ok(());
    }
    for holder in [HOLDER, store::objects::HOLDER] {
        let ids = short.keys().copied();
        let nobodys = store::leases::of_node(tx, &NodeName::new(holder)?, ids).await?;
        for (payer, held) in nobodys {
            if let Some(elsewhere) = short.get_mut(&payer) {
                **elsewhere = elsewhere.saturating_sub(held.lease.amount);
            }
        }
    }
    Ok(())
}

/// Whether a lease is a rate change cover.
pub(super) fn is_cover(node: &NodeName) -> bool {
    node.as_str() == HOLDER
}
