//! Closes a charge: with usage that was reported, counted, or stated by the request, or with the reserved credit.
//! However a call ends, one of these functions ends it.

use std::sync::Arc;

use http::StatusCode;
use proxyxai_contract::{
    bill::CallBill, money::Money, price, tokens::TokenUsage, usage::UsageMeasure,
};

use super::{
    super::{abandoned::client_is_gone, record},
    CreditHolds, PendingCharge,
};
use crate::{
    formats::usage::{ModelUsage, estimate_prompt},
    state,
    telemetry::ResponseEnd,
};

impl PendingCharge {
    /// Closes with the tokens in the record.
    pub(in crate::relay) fn close(mut self: Box<Self>, billable: bool) {
        self.price(billable);
        self.settle();
    }

    /// Closes with the use of each of several models, in a record for each.
    pub(in crate::relay) fn close_parts(mut self: Box<Self>, parts: &[ModelUsage]) {
        let whole = self.record.model_used.clone();
        for (at, share) in parts.iter().enumerate() {
            let priced = self.basis.snapshot.prices.find(&share.model).is_some();
            let model = if priced { &share.model } else { &whole };
            self.record.model_used = record::name(model);
            self.record.model_asked.clone_from(&self.record.model_used);
            (self.record.tokens, self.record.cost) = (share.tokens, Money::ZERO);
            self.state.pieces.clone_from(&share.pieces);
            self.state.longest = Some(share.longest);
            self.record.measure = UsageMeasure::Measured;
            self.price(true);
            if at + 1 < parts.len() {
                state::charge(
                    &self.basis.account,
                    self.basis.client_key.as_deref(),
                    self.record.charge(),
                );
                self.basis.sinks.spool.push(None, &self.record);
                self.objects().made.clear();
                self.record.attempts.clear();
            }
        }
        self.settle();
    }

    /// Closes at this cost, where no better figure exists.
    pub(in crate::relay) fn close_at(mut self: Box<Self>, cost: Money) {
        self.price(false);
        self.record.sum = CallBill::default();
        price::NO_TABLE.clone_into(&mut self.record.price_version);
        self.record.cost = cost;
        self.settle();
    }

    /// Closes with tokens counted from texts, on the counter's thread: the first count loads a tokenizer, and a long
    /// text takes milliseconds. The prompt is counted if it `counts_input`. Until then the journal has an estimate.
    pub(in crate::relay) fn close_counted(
        self: Box<Self>,
        count_output: impl FnOnce() -> u64 + Send + 'static,
        known: Option<TokenUsage>,
        counts_input: bool,
    ) {
        self.close_on_counter(move |charge| {
            let mut tokens = known.unwrap_or_default();
            if counts_input {
                tokens.input = estimate_prompt(charge.basis.route, &charge.state.body);
            }
            tokens.output = tokens.output.max(count_output());
            charge.add_hidden(&mut tokens);
            charge.record.tokens = tokens;
        });
    }

    /// Closes with what the request itself states, read on the counter's thread.
    ///
    /// # Errors
    /// Returns the charge if the request states nothing that is charged.
    pub(in crate::relay) fn close_asked(self: Box<Self>) -> Result<(), Box<Self>> {
        let Some(asked) = self.request_measure() else {
            return Err(self);
        };
        self.close_on_counter(move |charge| {
            let count = asked.count(&charge.state.body);
            // If the response is complete, what is read there is no estimate.
            if count.is_some() && charge.record.measure == UsageMeasure::Estimated {
                charge.record.measure = UsageMeasure::Measured;
            }
            let count = count.unwrap_or_else(|| asked.guess(charge.state.body.len()));
            charge.state.pieces = vec![(asked.part(), count)];
        });
        Ok(())
    }

    /// Closes once the use was counted. Until then the journal has what is known so far.
    fn close_on_counter(mut self: Box<Self>, count: impl FnOnce(&mut Self) + Send + 'static) {
        self.price(true);
        self.note();
        self.state.at_upstream = false;
        let sinks = Arc::clone(&self.basis.sinks);
        let bytes = self.state.body.len();
        sinks.token_counter.submit(
            bytes,
            Box::new(move || {
                count(&mut self);
                self.close(true);
            }),
        );
    }

    fn settle(&mut self) {
        self.state.at_upstream = false;
        if self.state.abandon_info.unheard {
            self.record.status = record::INTERRUPTED;
        }
        if self.basis.own && self.record.objects.is_none() {
            return;
        }
        self.name_other_models();
        let tokens = &self.record.tokens;
        self.state
            .windows
            .settle(tokens.input.saturating_add(tokens.output));
        let amount = self.record.charge();
        let CreditHolds { account, key } = std::mem::take(&mut self.state.credit_holds);
        let key_lease = self.basis.client_key.as_ref().map(|key| &key.credit);
        for (hold, credit_lease) in [
            (account, Some(&self.basis.account.credit)),
            (key, key_lease),
        ] {
            match (hold, credit_lease) {
                (Some(hold), _) => hold.settle(amount),
                (None, Some(credit_lease)) => credit_lease.charge(amount),
                (None, None) => {}
            }
        }
        self.basis
            .sinks
            .spool
            .push(self.state.ticket.take(), &self.record);
        if let Some(recorder) = self.state.recorder.take() {
            recorder.finish(&self.record);
        }
    }
}

impl Drop for PendingCharge {
    fn drop(&mut self) {
        if self.state.at_upstream {
            // The client left, or the gateway stopped, before a response arrived; the provider may have made one.
            let now = self.basis.clock.now();
            self.gave_up(now);
            self.record.duration_ms = record::elapsed(self.record.start, now);
            let has_left = client_is_gone() || !self.is_cut_off();
            let ending = if has_left {
                ResponseEnd::Abandoned
            } else {
                self.record.status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
                ResponseEnd::Stopped
            };
            if let Some(recorder) = &mut self.state.recorder {
                recorder.ended(ending);
            }
            let mut charge = self.take();
            if has_left {
                charge.add_silence_until(now);
                match charge.close_abandoned() {
                    Ok(()) => return,
                    Err(open) => charge = open,
                }
            }
            if let Err(charge) = charge.close_asked() {
                charge.close_counted(|| 0, None, true);
            }
        } else if self.state.ticket.is_some() {
            // Between attempts, all of which have failed so far.
            self.settle();
        }
    }
}
