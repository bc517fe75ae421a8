//! An open call: counted on this node and among its account's, with the space of its body and its place on a key.

use std::sync::{Arc, atomic::Ordering};

use super::{
    admission::CallerContext, buffer_budget::BufferReservation, charge::ChargeSinks, context::Relay,
};
use crate::{
    decide::admit::Refusal,
    state::{KeyPermit, KeyState},
};

/// An open call; counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenCall {
    sinks: Arc<ChargeSinks>,
    /// Its permit on the key that answers it.
    pub(super) permit: Option<KeyPermit>,
    /// For its body; counts for the account once the call is among its open ones.
    pub(super) reservation: BufferReservation,
}

impl OpenCall {
    /// Counts the call, if it may begin.
    ///
    /// # Errors
    /// Errors if the node is stopping, cannot record usage, or has too many open calls.
    pub(super) fn begin(relay: &Relay) -> Result<Self, Refusal> {
        if !relay.takes_calls() {
            return Err(Refusal::Unavailable);
        }
        let before = relay.sinks.open_calls.fetch_add(1, Ordering::Relaxed);
        let open = Self::counted(relay);
        if before >= relay.config.limits.open_calls_max {
            return Err(Refusal::Busy("calls are open"));
        }
        Ok(open)
    }

    /// Counts a call that the gateway makes itself.
    pub(super) fn begin_own(relay: &Relay) -> Self {
        relay.sinks.open_calls.fetch_add(1, Ordering::Relaxed);
        Self::counted(relay)
    }

    fn counted(relay: &Relay) -> Self {
        Self {
            sinks: Arc::clone(&relay.sinks),
            permit: None,
            reservation: relay.buffer_budget.reservation(),
        }
    }

    /// Counts it among its account's open calls.
    ///
    /// # Errors
    /// Errors if the account, or one above it, has too many.
    pub(super) fn enter_share(
        &mut self,
        context: CallerContext<'_>,
        open_calls_max: usize,
    ) -> Result<(), Refusal> {
        let CallerContext {
            snapshot,
            caller,
            chain,
        } = context;
        self.reservation.belong_to(&caller.account);
        caller
            .account
            .enter(chain, &snapshot.settings, open_calls_max)
    }

    /// The key that answers the call.
    pub(super) fn key(&self) -> Option<&KeyState> {
        self.permit.as_ref().map(|permit| &*permit.key)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(account) = self.reservation.owner() {
            account.leave();
        }
        self.sinks.open_calls.fetch_sub(1, Ordering::Relaxed);
    }
}
