//! Admission of a call: what it is, who makes it, what it says and what it may cost. The first reason against it is its
//! response. Credit is reserved and windows are counted last.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{Request, request::Parts, uri::PathAndQuery};
use proxyxai_contract::{lease::LeaseShortage, money::Money, snapshot::AccountConfig};
use tower::BoxError;

use super::{
    Call, OpenCall, Relay, buffer_budget,
    charge::{self, CreditHolds},
    headers, limit_headers, objects, packed, request, route,
    terms::{self, CallTerms},
};
use crate::{
    decide::{
        admit::{self, KeyRefusal, Refusal},
        ceiling, endpoint_access, via,
    },
    formats::{endpoint::EndpointMatch, has_dot_segment, request::RequestFacts, tag},
    state::{
        AccountState, Caller, CreditError, CreditHold, FurtherKeyState, Snapshot,
        WindowReservation, credit_wait,
    },
    telemetry::{CallRecorder, RefusedRequest},
};

/// The request, and what is known of it.
struct IncomingCall {
    found: EndpointMatch,
    /// Whether the client speaks the Anthropic dialect.
    says_anthropic: bool,
    takes_model: bool,
    parts: Parts,
    target: PathAndQuery,
    received: request::ReceivedBody,
    facts: RequestFacts,
}

impl Relay {
    /// Admits a call.
    ///
    /// # Errors
    /// Errors with the first reason against it.
    pub(super) async fn admit<B>(
        &self,
        peer: IpAddr,
        spoken: (EndpointMatch, bool),
        request: Request<B>,
        recorder: &mut CallRecorder,
    ) -> Result<Box<Call>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let mut model = None;
        let asked = (&mut parts, &mut model, body);
        let let_in = self.check_and_reserve(peer, spoken, asked, recorder).await;
        if let_in.is_err() {
            recorder.wanted(RefusedRequest::of(&parts, model));
        }
        let_in
    }

    /// Does the same. What a refused call asked for is left for its recorder.
    async fn check_and_reserve<B>(
        &self,
        peer: IpAddr,
        (found, says_anthropic): (EndpointMatch, bool),
        (parts, model, body): (&mut Parts, &mut Option<String>, B),
        recorder: &mut CallRecorder,
    ) -> Result<Box<Call>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        if headers::asks_websocket(&parts.headers) {
            return Err(Refusal::NoUpgrade);
        }
        let mut open = self.begin_call()?;
        let snapshot = self.state.snapshot().ok_or(Refusal::Unavailable)?;
        let caller = self.authenticate(&snapshot, &parts.headers)?;
        let account = &caller.account;
        recorder.set_account(account.account.id);
        self.check_loop(parts)?;
        tag::of_header(&parts.headers).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let target = request::target(&parts.uri, &parts.headers)?;
        let path = target.path();
        let chain = snapshot.chain(&account.account);
        let way = endpoint_access::allow((&parts.method, path), found, &chain, &snapshot.settings)?;
        let ip = self.client_address(peer, &parts.headers);
        self.check_access(&snapshot, account, &chain, (ip, path))?;
        let most_wanted = terms::max_cost(&parts.headers)?;
        let most = self.config.limits.open_calls_max;
        open.enter_share((account, &chain), &snapshot.settings, most)?;
        let takes_model = way.takes_model();
        let reads = (&mut open.reservation, recorder, (found, takes_model));
        let (received, mut facts) = self.receive(parts, body, reads).await?;
        let body = &received.body;
        let asked = terms::TermsRequest {
            found,
            way,
            method: &parts.method,
            path,
        };
        let who = (&caller, chain.as_slice());
        let says = (&mut facts, body, most_wanted);
        let afforded = self.reserve(&snapshot, who, asked, says).await;
        let (mut terms, holds, counted) = afforded.inspect_err(|_| *model = facts.model.take())?;
        let owner = terms.follow_up.as_ref();
        let owner = owner.and_then(|follow| follow.payer(&snapshot));
        let conversation = route::conversation(&snapshot, &parts.headers, body).await;
        let conversation = conversation.or_else(|| {
            let makes = terms
                .follow_up
                .as_ref()
                .is_some_and(|follow| follow.makes());
            (makes && !takes_model).then(|| objects::of_account(account.account.id))
        });
        let payer = charge::Billing {
            caller: owner.unwrap_or(caller),
            credit_holds: holds,
            windows: counted,
            open,
            metered: terms.metered,
            output_max: terms.ceiling.output,
            fixed_price: terms.fixed_price.take(),
        };
        let came = IncomingCall {
            found,
            says_anthropic,
            takes_model,
            parts: std::mem::replace(parts, Request::new(()).into_parts().0),
            target,
            received,
            facts,
        };
        let mut call = self.prepare(snapshot, came, terms, payer);
        call.conversation = conversation;
        Ok(call)
    }

    /// Checks access to the named models, reserves what the call may cost at most, and counts it in its windows.
    async fn reserve(
        &self,
        snapshot: &Snapshot,
        (caller, chain): (&Caller, &[&AccountConfig]),
        asked: terms::TermsRequest<'_>,
        (facts, body, most_wanted): (&mut RequestFacts, &Bytes, Option<Money>),
    ) -> Result<(CallTerms, CreditHolds, WindowReservation), Refusal> {
        let (found, lists) = (asked.found, caller.asker(chain));
        admit::model(lists, asked.way.takes_model(), facts.model.as_deref())?;
        admit::named(lists, &facts.named)?;
        let who = (&*caller.account, lists);
        let terms = self.terms(snapshot, who, asked, (facts, body)).await?;
        terms::check_cost(terms.ceiling, most_wanted)?;
        let holds = self.reserve_credit(snapshot, (caller, chain), terms.ceiling);
        let holds = holds.await?;
        // The windows are checked last, so that a call refused for another reason does not count.
        let tokens =
            || limit_headers::guess(found.route(), body.len(), facts.max_tokens(found.route()));
        let asks = (facts.model.as_deref(), terms.metered.then(tokens));
        let counted = self.count_in_windows(snapshot, caller, chain, asks).await?;
        Ok((terms, holds, counted))
    }

    /// Puts the call together from all that was found out and reserved.
    fn prepare(
        &self,
        snapshot: Arc<Snapshot>,
        came: IncomingCall,
        terms: CallTerms,
        payer: charge::Billing,
    ) -> Box<Call> {
        let IncomingCall {
            found,
            says_anthropic,
            takes_model,
            mut parts,
            target,
            received,
            facts,
        } = came;
        let CallTerms {
            plan,
            metered,
            follow_up: follow,
            pinned_key: only,
            ..
        } = terms;
        // An object is addressed in the dialect in which it was made at its key.
        let spoken = only.map_or_else(|| found.spoken(says_anthropic), |_| None);
        let dialect = route::dialect_need(&snapshot, &plan, spoken);
        let tag = match tag::of_header(&parts.headers) {
            Ok(Some(tag)) => tag.to_owned(),
            _ => tag::of_body(&received.body, &facts, &self.config.tag_members),
        };
        self.turn_headers(&mut parts, &received.body, (takes_model, follow.is_some()));
        let family = found.dialect(target.path(), says_anthropic);
        let asked = (target, found.route(), family);
        let named = (plan.model(), self.clock.now());
        let request = request::PreparedRequest::new(parts, asked, received, facts, named);
        let mut bill = charge::PendingCharge::new(self, snapshot, payer, &request, &plan);
        bill.follow_up = follow;
        bill.record.tag = tag;
        Box::new(Call {
            request,
            plan,
            stage: 0,
            conversation: None,
            dialect_need: dialect,
            pinned_key: only,
            metered,
            charge: bill,
        })
    }

    /// Turns the client's headers into those for the provider.
    fn turn_headers(&self, parts: &mut Parts, body: &[u8], (takes_model, follows): (bool, bool)) {
        if takes_model {
            request::say_json(&mut parts.headers, body);
        }
        headers::prepare_for_upstream(&mut parts.headers, self.via.clone(), takes_model || follows);
    }

    /// Reads the body and what it says.
    async fn receive<B>(
        &self,
        parts: &Parts,
        body: B,
        (room, recorder, (found, takes_model)): (
            &mut buffer_budget::BufferReservation,
            &mut CallRecorder,
            (EndpointMatch, bool),
        ),
    ) -> Result<(request::ReceivedBody, RequestFacts), Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BoxError>,
    {
        let coding = packed::check_encoding(parts, found, takes_model)?;
        let received =
            request::read(&self.config, room, &parts.headers, body, recorder.came()).await;
        recorder.has_body();
        let largest = self.config.limits.body_bytes_max;
        let received = packed::unpack(received?, coding, room, largest).await?;
        let facts = request::facts(parts, &received, takes_model).await?;
        Ok((received, facts))
    }

    /// Whether the caller may call this path at all.
    fn check_access(
        &self,
        snapshot: &Snapshot,
        account: &AccountState,
        chain: &[&AccountConfig],
        (ip, path): (IpAddr, &str),
    ) -> Result<(), Refusal> {
        admit::admit(&admit::Admission {
            chain,
            settings: &snapshot.settings,
            ip,
            path,
            balance: account.credit.balance(),
            month_used: account.credit.month_used(),
            now: self.clock.now(),
        })
    }

    /// Refuses calls that passed this node before, and paths that a provider could read as another path.
    fn check_loop(&self, parts: &Parts) -> Result<(), Refusal> {
        let via = parts.headers.get_all(http::header::VIA);
        via::check(
            via.iter().filter_map(|value| value.to_str().ok()),
            self.config.node.as_str(),
        )
        .map_err(|_| Refusal::Loop)?;
        if has_dot_segment(parts.uri.path()) {
            return Err(Refusal::Malformed("the path has a dot segment".to_owned()));
        }
        Ok(())
    }

    /// Reserves the most that the call can cost: from its key's limit, then from its account's credit.
    async fn reserve_credit(
        &self,
        snapshot: &Snapshot,
        (caller, chain): (&Caller, &[&AccountConfig]),
        ceiling: ceiling::CostCeiling,
    ) -> Result<CreditHolds, Refusal> {
        if ceiling.hold == Money::ZERO {
            return Ok(CreditHolds::default());
        }
        let key = match &caller.key {
            Some(key) => self.reserve_key_credit(key, ceiling.hold).await?,
            None => None,
        };
        let account = (&*caller.account, chain);
        let account = self.reserve_account_credit(snapshot, account, ceiling);
        Ok(CreditHolds {
            account: account.await?,
            key,
        })
    }

    /// A key without a limit spends its account's credit.
    async fn reserve_key_credit(
        &self,
        FurtherKeyState {
            key,
            credit: credit_lease,
            ..
        }: &FurtherKeyState,
        ceiling: Money,
    ) -> Result<Option<CreditHold>, Refusal> {
        let Some(limit) = key.credit_limit else {
            return Ok(None);
        };
        let held = credit_wait::reserve(
            credit_lease,
            self.state.reach(),
            ceiling,
            self.config.limits.credit_wait,
        )
        .await;
        held.map(Some).map_err(|no| match no {
            CreditError::Short(_) => Refusal::Key(KeyRefusal::NotCovered {
                key: key.name.clone(),
                limit,
                left: credit_lease.balance().max(Money::ZERO),
                ceiling,
            }),
            CreditError::OutOfReach => Refusal::Unavailable,
        })
    }

    /// Root's calls need no credit.
    async fn reserve_account_credit(
        &self,
        snapshot: &Snapshot,
        (account, chain): (&AccountState, &[&AccountConfig]),
        ceiling::CostCeiling { hold, open, .. }: ceiling::CostCeiling,
    ) -> Result<Option<CreditHold>, Refusal> {
        if account.account.parent.is_none() {
            return Ok(None);
        }
        let patience = self.config.limits.credit_wait;
        let held = credit_wait::reserve(&account.credit, self.state.reach(), hold, patience).await;
        let aside = |mut held: CreditHold| {
            if open {
                held.may_exceed();
            }
            Some(held)
        };
        held.map(aside).map_err(|no| match no {
            CreditError::Short(LeaseShortage::Balance) => Refusal::NotCovered {
                account: account.account.name.clone(),
                balance: account.credit.balance(),
                ceiling: hold,
            },
            CreditError::Short(LeaseShortage::Month) => {
                admit::month_is_over(&snapshot.settings.zone, chain, self.clock.now())
            }
            CreditError::OutOfReach => Refusal::Unavailable,
        })
    }

    /// Counts the call as open, if it may begin.
    fn begin_call(&self) -> Result<OpenCall, Refusal> {
        if self.draining.load(Ordering::Relaxed) || !self.spool().has_room() {
            return Err(Refusal::Unavailable);
        }
        let (open, calls) = OpenCall::enter(&self.sinks, self.buffer_budget.reservation());
        if calls > self.config.limits.open_calls_max {
            return Err(Refusal::Busy("calls are open"));
        }
        Ok(open)
    }
}
