//! What an update costs, and that it does not matter in which steps a configuration came.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proxyxai_contract::{
    client_key::KeyHash,
    clock::Clock,
    id::{ClientKeyId, Revision},
    snapshot::{FurtherKey, SnapshotUpdate},
};

use super::{
    accounts::{AccountState, Accounts},
    *,
};
use crate::decide::samples;

fn runtime() -> RuntimeState {
    RuntimeState::new(Clock::system(), &[], ObjectIndex::new().0).0
}

fn id(id: i64) -> AccountId {
    AccountId::new(id).unwrap()
}

fn hash(number: i64) -> KeyHash {
    let mut hash = [7; 32];
    hash[..8].copy_from_slice(&number.to_le_bytes());
    KeyHash(hash)
}

/// An account whose parent has the id before the last digit.
fn account(number: i64, key: Option<i64>, further: &[i64]) -> AccountConfig {
    let further_key = |number: &i64| FurtherKey {
        id: ClientKeyId::new(*number).unwrap(),
        name: format!("key-{number}"),
        key_hash: hash(*number),
        enabled: true,
        expires: None,
        credit_limit: None,
        rpm: None,
        models: proxyxai_contract::access::ModelList::Any,
    };
    AccountConfig {
        parent: (number != 1).then(|| id((number / 10).max(1))),
        key_hash: key.map(hash),
        further_keys: further.iter().map(further_key).collect(),
        ..samples::account(number)
    }
}

fn full(revision: u64, accounts: impl IntoIterator<Item = AccountConfig>) -> SnapshotUpdate {
    SnapshotUpdate {
        full: true,
        accounts: accounts.into_iter().map(Arc::new).collect(),
        settings: Some(samples::settings().into()),
        ..SnapshotUpdate::empty(Revision(revision))
    }
}

fn edit(revision: u64, accounts: Vec<AccountConfig>) -> SnapshotUpdate {
    SnapshotUpdate {
        accounts: accounts.into_iter().map(Arc::new).collect(),
        ..SnapshotUpdate::empty(Revision(revision))
    }
}

const MANY: i64 = 20_000;

fn with_many() -> RuntimeState {
    let state = runtime();
    let many = (1..=MANY).map(|number| account(number, Some(number), &[]));
    state.apply(full(1, many));
    state
}

fn same_states(one: &Accounts, other: &Accounts) -> usize {
    let is_same = |state: &&Arc<AccountState>| {
        let known = other.get(state.account.id);
        known.is_some_and(|known| Arc::ptr_eq(known, state))
    };
    one.all().filter(is_same).count()
}

#[test]
fn an_edit_touches_only_what_it_names() {
    let state = with_many();
    let before = state.snapshot().unwrap();
    let changed = account(17, Some(1_000_000), &[1_000_001]);
    state.apply(SnapshotUpdate {
        removed_accounts: vec![id(MANY)],
        ..edit(2, vec![changed])
    });
    let after = state.snapshot().unwrap();
    // Two accounts; a hash of each is gone, and two are new.
    assert!(after.accounts.own_leaves(&before.accounts) <= 6);
    assert_eq!(same_states(&after.accounts, &before.accounts), 19_998);
    assert!(Arc::ptr_eq(&after.keys, &before.keys));
    assert!(Arc::ptr_eq(&after.settings, &before.settings));
    let caller = |number| {
        after
            .accounts
            .caller(hash(number))
            .map(|it| it.account.account.id)
    };
    assert_eq!(caller(17), None);
    assert_eq!(caller(1_000_001), Some(id(17)));
    assert_eq!(caller(MANY), None);
    assert_eq!(caller(18), Some(id(18)));
}

#[test]
fn a_full_state_takes_no_more_than_what_is_new_in_it() {
    let state = with_many();
    let before = state.snapshot().unwrap();
    let many = (1..=MANY).map(|number| account(number, Some(number + i64::from(number == 5)), &[]));
    let mut update = full(2, many.filter(|account| account.id != id(6)));
    state.share_known(&mut update);
    state.apply(update);
    let after = state.snapshot().unwrap();
    assert!(after.accounts.own_leaves(&before.accounts) <= 5);
    assert_eq!(same_states(&after.accounts, &before.accounts), 19_998);
    assert!(after.account(id(6)).is_none());
}

#[test]
fn an_account_that_could_not_be_read_takes_its_place_with_the_next_full_state() {
    let state = runtime();
    let (root, parent, child) = (
        account(1, None, &[]),
        account(2, None, &[]),
        account(25, None, &[]),
    );
    state.apply(full(1, [root.clone(), child.clone()]));
    assert_eq!(
        state
            .snapshot()
            .unwrap()
            .account(id(25))
            .unwrap()
            .path
            .len(),
        1
    );
    state.apply(full(2, [root, parent, child]));
    let snapshot = state.snapshot().unwrap();
    let child = snapshot.account(id(25)).unwrap();
    assert_eq!((child.path.len(), child.customer), (2, id(2)));
}

/// What calls see of accounts.
fn seen(state: &RuntimeState) -> Vec<String> {
    let snapshot = state.snapshot().unwrap();
    let mut seen: Vec<_> = snapshot
        .accounts
        .all()
        .map(|state| {
            let keys: Vec<_> = state.keys.iter().map(|key| key.key.clone()).collect();
            let depth = state.path.len();
            format!("{:?} {keys:?} {depth} {}", state.account, state.customer)
        })
        .collect();
    for number in 0..100 {
        let caller = snapshot.accounts.caller(hash(number)).map(|caller| {
            let owner = snapshot.account(caller.account.account.id).unwrap();
            assert!(Arc::ptr_eq(owner, &caller.account));
            (owner.account.id, caller.key.as_ref().map(|key| key.key.id))
        });
        seen.push(format!("{caller:?}"));
    }
    seen.sort();
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn steps_lead_to_what_a_full_state_leads_to(
        steps in prop::collection::vec(
            prop::collection::vec((2..30_i64, any::<Option<bool>>(), prop::collection::vec(30..100_i64, 0..4)), 0..6),
            0..12,
        )
    ) {
        let stepped = runtime();
        let mut known = BTreeMap::from([(id(1), account(1, Some(1), &[]))]);
        stepped.apply(full(1, known.values().cloned()));
        for (revision, step) in (2..).zip(steps) {
            let mut named = BTreeMap::new();
            for (number, first, further) in step {
                // A key belongs to one account, as control sees to.
                let taken = |key: &i64| known.iter().any(|(owner, known): (_, &AccountConfig)| {
                    *owner != id(number) && known.further_keys.iter().any(|it| it.id.get() == *key)
                });
                let further: std::collections::BTreeSet<_> = further.into_iter().filter(|key| !taken(key)).collect();
                let further: Vec<_> = further.into_iter().collect();
                let next = first.map(|has_first| account(number, has_first.then_some(number), &further));
                match &next {
                    Some(next) => known.insert(id(number), next.clone()),
                    None => known.remove(&id(number)),
                };
                named.insert(id(number), next);
            }
            // Parents come before and go after those below them.
            let orphans: Vec<_> = known.values().filter(|it| it.parent.is_some_and(|above| !known.contains_key(&above))).map(|it| it.id).collect();
            for orphan in orphans {
                known.remove(&orphan);
                named.insert(orphan, None);
            }
            let removed = named.iter().filter(|(_, next)| next.is_none());
            let update = SnapshotUpdate {
                removed_accounts: removed.map(|(id, _)| *id).collect(),
                ..edit(revision, named.values().flatten().cloned().collect())
            };
            stepped.apply(update);
        }
        let whole = runtime();
        whole.apply(full(1, known.into_values()));
        prop_assert_eq!(seen(&stepped), seen(&whole));
    }
}
