//! A call that has been admitted: what it is, where it may go, and the charge that outlives it.

use std::sync::Arc;

use proxyxai_contract::{
    clock::Millis,
    id::{KeyId, Level},
    load_balancing::KeyStrategy,
    plan::{PlanLevel, RoutePlan},
};

use super::{
    charge::PendingCharge, follow_up::FollowUp, open_call::OpenCall, record,
    request::PreparedRequest,
};
use crate::{
    formats::conversation::ConversationHash,
    state::{AccountState, DialectNeed, KeyQuery, PickQuery, Snapshot},
};

/// A call that has been admitted.
pub(super) struct Call {
    pub(super) request: PreparedRequest,
    pub(super) plan: RoutePlan,
    /// Index of its stage in the plan.
    pub(super) stage: usize,
    /// The conversation whose calls should get the same key, if any.
    pub(super) conversation: Option<ConversationHash>,
    /// The dialect that a key must speak.
    pub(super) dialect_need: DialectNeed,
    /// The one key that has the objects it refers to, if any.
    pub(super) pinned_key: Option<KeyId>,
    /// What to do with its response, beside charging its usage.
    pub(super) follow_up: Option<Box<FollowUp>>,
    pub(super) charge: Box<PendingCharge>,
    /// After the charge, so that a dropped call is charged before it stops to count as open.
    pub(super) open: OpenCall,
}

impl Call {
    /// The configuration that it began with. The charge has it, because it needs the prices to the end.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.charge.basis.snapshot
    }

    /// The account that pays for it.
    pub(super) fn account(&self) -> &Arc<AccountState> {
        &self.charge.basis.account
    }

    /// Whether its response carries usage.
    pub(super) fn is_metered(&self) -> bool {
        self.charge.basis.metered
    }

    /// Whether its work may continue after it.
    pub(super) fn may_go_on(&self) -> bool {
        self.follow_up.as_ref().is_some_and(|follow| follow.later)
    }

    /// Whether it makes an object.
    pub(super) fn makes_object(&self) -> bool {
        self.follow_up.as_ref().is_some_and(|follow| follow.makes())
    }

    /// Whether it continues without its client to learn its exact cost.
    pub(super) fn reads_on(&self) -> bool {
        !self.may_go_on() && self.charge.reads_on()
    }

    /// The model of the current stage.
    pub(super) fn model(&self) -> &str {
        self.plan
            .stages
            .get(self.stage)
            .map_or("", |stage| &stage.model)
    }

    /// What it needs a key for.
    pub(super) fn key_query(&self) -> KeyQuery<'_> {
        KeyQuery {
            model: self.model(),
            account: self.charge.record.account,
            customer: self.account().customer,
            dialect_need: self.dialect_need,
        }
    }

    /// What it needs of a level.
    pub(super) fn pick_query<'a>(
        &'a self,
        level: Level,
        tried: &'a [KeyId],
        now: Millis,
    ) -> PickQuery<'a> {
        PickQuery {
            query: self.key_query(),
            now,
            tried,
            only: self.pinned_key,
            strategy: self.strategy(level),
            conversation: self.conversation,
        }
    }

    /// The levels of the current stage.
    pub(super) fn hops(&self) -> &[PlanLevel] {
        let stage = self.plan.stages.get(self.stage);
        stage.map_or(&[], |stage| &stage.hops)
    }

    /// How keys of a level are chosen.
    pub(super) fn strategy(&self, level: Level) -> KeyStrategy {
        self.snapshot().settings.rotation.strategies.of(level)
    }

    /// Switches to a stage of the plan; from here on everything is for that stage's model.
    pub(super) fn switch_stage(&mut self, stage: usize) {
        if self.stage == stage {
            return;
        }
        self.stage = stage;
        if let Some(stage) = self.plan.stages.get(stage) {
            self.request.name_model(&stage.model);
            let (path, asked) = (self.request.path(), self.request.facts.pictures());
            let images = record::images(self.snapshot(), &stage.model, path, asked);
            self.charge.name_model(&stage.model, images);
        }
    }
}
