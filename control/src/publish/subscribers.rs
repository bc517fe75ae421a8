//! Data planes with an open stream: their pending updates of balances and key health, and the revision each
//! acknowledged. A later update of the same subject replaces an earlier one, so no queue grows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId, NodeName, Revision},
    lease::{LeasedCredit, PayerId, PostedBalance},
    snapshot::{HealthState, KeyHealthReport},
};

use crate::{domain::upstream_key, model::NodeProcess};

/// One key may be reported for many models; past this many pairs, further ones stay local to their data plane.
const HEALTHS_MAX: usize = 10_000;

type HealthSubject = (KeyId, Option<String>);

/// State of data planes that is kept in memory only.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    next: u64,
    watching: BTreeMap<u64, Subscriber>,
    healths: BTreeMap<HealthSubject, HashMap<NodeName, KeyHealthReport>>,
    /// Accounts whose balance changed since the last flush.
    dirty: BTreeSet<AccountId>,
}

#[derive(Debug)]
struct Subscriber {
    process: NodeProcess,
    acknowledged: Revision,
    pending: PendingUpdate,
}

/// An update without a revision.
#[derive(Debug, Default)]
pub(super) struct PendingUpdate {
    standings: BTreeMap<AccountId, PostedBalance>,
    healths: BTreeMap<HealthSubject, KeyHealthReport>,
    /// Sent once, when the stream begins; later ones are responses to the data plane's requests.
    pub(super) leases: Vec<LeasedCredit>,
    /// Payers whose unused credit is recalled.
    pub(super) recalls: BTreeSet<PayerId>,
}

// === impl PendingUpdate ===

impl PendingUpdate {
    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.standings.is_empty()
            && self.healths.is_empty()
            && self.leases.is_empty()
            && self.recalls.is_empty()
    }

    /// Changed balances.
    pub(super) fn standings(&self) -> Vec<PostedBalance> {
        self.standings.values().copied().collect()
    }

    /// Changed health of keys.
    pub(super) fn healths(&self) -> Vec<KeyHealthReport> {
        self.healths.values().cloned().collect()
    }
}

// === impl Subscribers ===

impl Subscribers {
    /// Adds a stream; an older stream of the same node ends.
    pub(super) fn join(
        &mut self,
        process: NodeProcess,
        standings: Vec<PostedBalance>,
        leases: Vec<LeasedCredit>,
        now: Millis,
    ) -> u64 {
        self.watching
            .retain(|_, subscriber| subscriber.process.name != process.name);
        self.next = self.next.wrapping_add(1);
        let healths = self
            .healths(now)
            .into_iter()
            .map(|health| ((health.key, health.model.clone()), health));
        let pending = PendingUpdate {
            standings: standings
                .into_iter()
                .map(|standing| (standing.account, standing))
                .collect(),
            healths: healths.collect(),
            leases,
            recalls: BTreeSet::new(),
        };
        self.watching.insert(
            self.next,
            Subscriber {
                process,
                acknowledged: Revision(0),
                pending,
            },
        );
        self.next
    }

    /// Removes a stream.
    pub(super) fn leave(&mut self, id: u64) {
        self.watching.remove(&id);
    }

    /// Takes the pending update of a stream. Returns `None` if a newer stream has replaced it.
    pub(super) fn take(&mut self, id: u64) -> Option<PendingUpdate> {
        self.watching
            .get_mut(&id)
            .map(|subscriber| std::mem::take(&mut subscriber.pending))
    }

    /// Whether no stream is open.
    pub(super) fn is_empty(&self) -> bool {
        self.watching.is_empty()
    }

    /// How many streams are open.
    pub(super) fn len(&self) -> usize {
        self.watching.len()
    }

    /// Recalls unused credit of these payers from all nodes but one. Returns whether there is any node to ask.
    pub(super) fn recall(
        &mut self,
        payers: impl IntoIterator<Item = PayerId>,
        save: Option<&NodeName>,
    ) -> bool {
        let payers: Vec<_> = payers.into_iter().collect();
        let mut asked = false;
        for subscriber in self.watching.values_mut() {
            if !payers.is_empty() && Some(&subscriber.process.name) != save {
                subscriber.pending.recalls.extend(&payers);
                asked = true;
            }
        }
        asked
    }

    /// Whether this node has a stream.
    pub(super) fn is_watching(&self, node: &NodeName) -> bool {
        self.watching
            .values()
            .any(|subscriber| subscriber.process.name == *node)
    }

    /// Stores that a data plane applied this revision.
    pub(super) fn acknowledge(&mut self, node: &NodeName, revision: Revision) {
        for subscriber in self
            .watching
            .values_mut()
            .filter(|subscriber| subscriber.process.name == *node)
        {
            subscriber.acknowledged = subscriber.acknowledged.max(revision);
        }
    }

    /// Whether all streams have applied this revision.
    pub(super) fn all_have(&self, revision: Revision) -> bool {
        self.watching
            .values()
            .all(|subscriber| subscriber.acknowledged >= revision)
    }

    /// The revision that all streams have applied; `None` if there is none.
    pub(super) fn acknowledged_by_all(&self) -> Option<Revision> {
        self.watching
            .values()
            .map(|subscriber| subscriber.acknowledged)
            .min()
    }

    /// The processes that have a stream.
    pub(super) fn processes(&self) -> Vec<NodeProcess> {
        self.watching
            .values()
            .map(|subscriber| subscriber.process.clone())
            .collect()
    }

    /// Whether another process of the same name has a stream.
    pub(super) fn is_name_taken(&self, process: &NodeProcess) -> bool {
        self.watching.values().any(|subscriber| {
            let NodeProcess { name, number, .. } = &subscriber.process;
            process.is_other_of_same_name(name, *number)
        })
    }

    /// Ends all streams.
    pub(super) fn close(&mut self) {
        self.watching.clear();
    }

    /// Sends balances to all.
    pub(super) fn tell_standings(&mut self, standings: &[PostedBalance]) {
        for subscriber in self.watching.values_mut() {
            subscriber.pending.standings.extend(
                standings
                    .iter()
                    .map(|standing| (standing.account, *standing)),
            );
        }
    }

    /// Marks accounts whose balance changed.
    pub(super) fn mark(&mut self, accounts: impl IntoIterator<Item = AccountId>) {
        if !self.watching.is_empty() {
            self.dirty.extend(accounts);
        }
    }

    /// Whether no other node has a stream.
    pub(super) fn are_only(&self, node: &NodeName) -> bool {
        self.watching
            .values()
            .all(|subscriber| subscriber.process.name == *node)
    }

    /// Takes the accounts marked since the last call.
    pub(super) fn take_marked(&mut self) -> BTreeSet<AccountId> {
        std::mem::take(&mut self.dirty)
    }

    /// Stores a health report of a data plane and forwards it to the others.
    pub(super) fn report(&mut self, node: &NodeName, health: &KeyHealthReport) {
        let subject = (health.key, health.model.clone());
        if health.state == HealthState::Ready {
            // A response with the key disproves the other nodes' reports.
            self.healths.remove(&subject);
        } else if self.healths.len() < HEALTHS_MAX || self.healths.contains_key(&subject) {
            self.healths
                .entry(subject.clone())
                .or_default()
                .insert(node.clone(), health.clone());
        } else {
            tracing::warn!(
                key.id = health.key.get(),
                "too many reports on keys; this one is not passed on"
            );
            return;
        }
        for subscriber in self
            .watching
            .values_mut()
            .filter(|subscriber| subscriber.process.name != *node)
        {
            subscriber
                .pending
                .healths
                .insert(subject.clone(), health.clone());
        }
    }

    /// Deletes all reports of a key, and sends all nodes that it is ready.
    pub(super) fn wake_key(&mut self, key: KeyId) {
        let mut subjects: Vec<_> = self
            .healths
            .keys()
            .filter(|(id, _)| *id == key)
            .cloned()
            .collect();
        self.healths.retain(|(id, _), _| *id != key);
        if !subjects.contains(&(key, None)) {
            subjects.push((key, None));
        }
        for (key, model) in subjects {
            let health = KeyHealthReport {
                key,
                model: model.clone(),
                state: HealthState::Ready,
                reason: String::new(),
            };
            for subscriber in self.watching.values_mut() {
                subscriber
                    .pending
                    .healths
                    .insert((key, model.clone()), health.clone());
            }
        }
    }

    /// Deletes all reports of all keys; a reload makes them ready at the data planes.
    pub(super) fn wake_all(&mut self) {
        self.healths.clear();
        for subscriber in self.watching.values_mut() {
            subscriber.pending.healths.clear();
        }
    }

    /// The worst report of each key, or of each key for one model, that is still in force.
    pub(super) fn healths(&self, now: Millis) -> Vec<KeyHealthReport> {
        let worst =
            |((key, model), reports): (&HealthSubject, &HashMap<NodeName, KeyHealthReport>)| {
                let reports: Vec<_> = reports
                    .values()
                    .map(|report| KeyHealthReport {
                        model: None,
                        ..report.clone()
                    })
                    .collect();
                let (state, reason) = upstream_key::worst(&reports, now);
                (state != HealthState::Ready).then(|| KeyHealthReport {
                    key: *key,
                    model: model.clone(),
                    state,
                    reason: reason.to_owned(),
                })
            };
        self.healths.iter().filter_map(worst).collect()
    }

    /// The worst report of a key as a whole.
    pub(super) fn health_of(&self, key: KeyId, now: Millis) -> (HealthState, String) {
        let reports = self.healths.get(&(key, None));
        let (state, reason) =
            upstream_key::worst(reports.into_iter().flat_map(HashMap::values), now);
        (state, reason.to_owned())
    }

    /// Drops reports of a sleep that has ended.
    pub(super) fn sweep(&mut self, now: Millis) {
        let over = |health: &KeyHealthReport| matches!(health.state, HealthState::Sleeping { until } if until <= now);
        self.healths.retain(|_, reports| {
            reports.retain(|_, health| !over(health));
            !reports.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn process(name: &str) -> NodeProcess {
        NodeProcess {
            name: node(name),
            epoch: 1,
            number: 0,
        }
    }

    fn health(state: HealthState) -> KeyHealthReport {
        KeyHealthReport {
            key: KeyId::new(7).unwrap(),
            model: None,
            state,
            reason: "401".to_owned(),
        }
    }

    #[test]
    fn health_is_told_to_the_others_only() {
        let mut all = Subscribers::default();
        let one = all.join(process("one"), vec![], vec![], Millis(0));
        let two = all.join(process("two"), vec![], vec![], Millis(0));
        all.report(&node("one"), &health(HealthState::Disabled));
        assert!(all.take(one).unwrap().is_empty());
        assert_eq!(
            all.take(two).unwrap().healths(),
            [health(HealthState::Disabled)]
        );
    }

    #[test]
    fn an_answer_proves_a_sick_key_well() {
        let mut all = Subscribers::default();
        let late = |all: &mut Subscribers| {
            let id = all.join(process("late"), vec![], vec![], Millis(0));
            all.take(id).unwrap().healths().len()
        };
        all.report(
            &node("one"),
            &health(HealthState::Quarantined { until: Millis(5) }),
        );
        assert_eq!(late(&mut all), 1);
        all.report(&node("two"), &health(HealthState::Ready));
        assert_eq!(late(&mut all), 0);
        assert_eq!(
            all.health_of(KeyId::new(7).unwrap(), Millis(0)).0,
            HealthState::Ready
        );
    }

    #[test]
    fn a_second_stream_of_a_node_ends_the_first() {
        let mut all = Subscribers::default();
        let first = all.join(process("one"), vec![], vec![], Millis(0));
        let second = all.join(process("one"), vec![], vec![], Millis(0));
        assert!(all.take(first).is_none());
        assert!(all.take(second).is_some());
        all.leave(first);
        assert!(all.is_watching(&node("one")));
    }

    #[test]
    fn a_revision_is_everywhere_once_all_have_acknowledged_it() {
        let mut all = Subscribers::default();
        assert!(all.all_have(Revision(9)));
        all.join(process("one"), vec![], vec![], Millis(0));
        all.join(process("two"), vec![], vec![], Millis(0));
        all.acknowledge(&node("one"), Revision(9));
        assert!(!all.all_have(Revision(9)));
        all.acknowledge(&node("two"), Revision(10));
        assert!(all.all_have(Revision(9)));
    }
}
