//! Samples refused calls, so that a flood of them neither fills the disk nor hides others.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem::take,
};

use proxyxai_contract::id::AccountId;

/// Rows that a node reports in a second.
pub(crate) const REPORTED_MAX: usize = 20;
/// Of those, rows of one account.
const OF_ACCOUNT_MAX: usize = 4;
/// And rows of unknown keys, all together.
const OF_UNKNOWN_MAX: usize = 2;
/// Rows that may wait. The second half is for groups that have none.
const WAITING_MAX: usize = 1024;

/// Refused calls that wait to be reported. Those of one account with one code are a group; it keeps its first rows and
/// counts the others. The reported rows of a group stand for all its calls.
///
/// Each second some rows are reported, in rounds over the waiting accounts, those that waited longest first. So no
/// account gets a second row before each of the others has got one.
#[derive(Debug)]
pub(crate) struct RefusalSampler<T> {
    accounts: HashMap<Option<AccountId>, AccountGroups<T>>,
    rows: usize,
    /// Calls that found no room, not even to be counted in a group.
    lost: u64,
    /// Number of accounts so far.
    came: u64,
}

#[derive(Debug)]
struct AccountGroups<T> {
    /// How many accounts came before it.
    place: u64,
    groups: Vec<Group<T>>,
}

#[derive(Debug)]
struct Group<T> {
    code: &'static str,
    /// At least one.
    rows: Vec<T>,
    /// Number of calls, with and without a row.
    seen: u64,
}

/// A row, and the number of calls it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SampledRow<T> {
    pub(crate) row: T,
    pub(crate) represents: u64,
}

impl<T> Default for RefusalSampler<T> {
    fn default() -> Self {
        Self {
            accounts: HashMap::new(),
            rows: 0,
            lost: 0,
            came: 0,
        }
    }
}

impl<T> RefusalSampler<T> {
    /// Adds a refused call; without an account, its key is unknown. Its row is made only if it is kept.
    pub(crate) fn add(
        &mut self,
        account: Option<AccountId>,
        code: &'static str,
        row: impl FnOnce() -> T,
    ) {
        let mut row = Some(row);
        self.put(account, code, 1, || row.take().map(|row| row()));
    }

    /// Adds the calls of another sampler.
    pub(crate) fn merge(&mut self, other: Self) {
        self.lost = self.lost.saturating_add(other.lost);
        for (account, of_account) in other.accounts {
            for Group { code, rows, seen } in of_account.groups {
                let mut rows = rows.into_iter();
                self.put(account, code, seen, || rows.next());
                while rows.len() > 0 && self.has_room_for_more(account) {
                    self.put(account, code, 0, || rows.next());
                }
            }
        }
    }

    /// Number of calls that were lost since this was last called.
    pub(crate) fn take_lost(&mut self) -> u64 {
        take(&mut self.lost)
    }

    /// Takes up to `most` rows to report now. The rest waits.
    pub(crate) fn take(&mut self, most: usize) -> Vec<SampledRow<T>> {
        let mut waiting: Vec<_> = take(&mut self.accounts).into_iter().collect();
        waiting.sort_unstable_by_key(|(_, account)| account.place);
        let wants: Vec<_> = waiting
            .iter()
            .map(|(id, account)| account.rows().min(share(*id)))
            .collect();
        let mut reported = Vec::new();
        for ((id, account), rows) in waiting.into_iter().zip(shares(&wants, most)) {
            let place = account.place;
            let groups = account.report(rows, &mut reported);
            if !groups.is_empty() {
                self.accounts.insert(id, AccountGroups { place, groups });
            }
        }
        self.rows = self.accounts.values().map(AccountGroups::rows).sum();
        reported
    }

    /// Counts calls, with a row for them if there is room.
    fn put(
        &mut self,
        account: Option<AccountId>,
        code: &'static str,
        calls: u64,
        mut row: impl FnMut() -> Option<T>,
    ) {
        let more = self.has_room_for_more(account);
        let groups = match self.accounts.entry(account) {
            Entry::Occupied(entry) => &mut entry.into_mut().groups,
            Entry::Vacant(entry) if self.rows < WAITING_MAX => {
                self.came += 1;
                let place = self.came;
                let groups = Vec::new();
                &mut entry.insert(AccountGroups { place, groups }).groups
            }
            Entry::Vacant(_) => {
                self.lost = self.lost.saturating_add(calls);
                return;
            }
        };
        let group = groups.iter_mut().find(|group| group.code == code);
        match group {
            Some(group) => {
                group.seen = group.seen.saturating_add(calls);
                if more && let Some(row) = row() {
                    group.rows.push(row);
                    self.rows += 1;
                }
            }
            None if self.rows < WAITING_MAX => {
                let rows: Vec<_> = row().into_iter().collect();
                self.rows += rows.len();
                let seen = calls;
                groups.push(Group { code, rows, seen });
            }
            None => self.lost = self.lost.saturating_add(calls),
        }
    }

    /// Whether a group of the account that has a row may have another one.
    fn has_room_for_more(&self, account: Option<AccountId>) -> bool {
        let of_account = self.accounts.get(&account).map_or(0, AccountGroups::rows);
        self.rows < WAITING_MAX / 2 && of_account < share(account)
    }
}

impl<T> AccountGroups<T> {
    fn rows(&self) -> usize {
        self.groups.iter().map(|group| group.rows.len()).sum()
    }

    /// Reports this many rows, in rounds over the groups. Returns the groups without a reported row.
    fn report(self, rows: usize, reported: &mut Vec<SampledRow<T>>) -> Vec<Group<T>> {
        let wants: Vec<_> = self.groups.iter().map(|group| group.rows.len()).collect();
        let mut left = Vec::new();
        for (group, rows) in self.groups.into_iter().zip(shares(&wants, rows)) {
            if rows == 0 {
                left.push(group);
                continue;
            }
            let counts = split(group.seen, rows);
            let kept = group.rows.into_iter().zip(counts);
            reported.extend(kept.map(|(row, represents)| SampledRow { row, represents }));
        }
        left
    }
}

/// Rows that an account may have among the reported ones.
const fn share(account: Option<AccountId>) -> usize {
    match account {
        Some(_) => OF_ACCOUNT_MAX,
        None => OF_UNKNOWN_MAX,
    }
}

/// Distributes up to `most`, one to each in turn, none more than it wants.
fn shares(wants: &[usize], most: usize) -> Vec<usize> {
    let mut given = vec![0; wants.len()];
    let mut left = most;
    loop {
        let before = left;
        for (given, wants) in given.iter_mut().zip(wants) {
            if left > 0 && *given < *wants {
                *given += 1;
                left -= 1;
            }
        }
        if left == before {
            return given;
        }
    }
}

/// Splits a count evenly; the first parts get the remainder.
fn split(count: u64, parts: usize) -> impl Iterator<Item = u64> {
    let of = u64::try_from(parts).unwrap_or(u64::MAX).max(1);
    let (each, over) = (count / of, count % of);
    (0..of).map(move |part| each + u64::from(part < over))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type CallKey = (Option<AccountId>, &'static str);

    const CODES: [&str; 4] = ["a", "b", "c", "d"];

    fn account(id: i64) -> Option<AccountId> {
        AccountId::new(id).ok()
    }

    fn add(sampled: &mut RefusalSampler<CallKey>, (account, code): CallKey, calls: usize) {
        for _ in 0..calls {
            sampled.add(account, code, || (account, code));
        }
    }

    fn sums(rows: &[SampledRow<CallKey>]) -> BTreeMap<CallKey, u64> {
        let mut sums = BTreeMap::new();
        for SampledRow { row, represents } in rows {
            *sums.entry(*row).or_default() += represents;
        }
        sums
    }

    #[test]
    fn a_flood_of_one_account_leaves_room_for_its_neighbours() {
        let mut sampled = RefusalSampler::default();
        add(&mut sampled, (account(2), "a"), 100_000);
        add(&mut sampled, (None, "u"), 100_000);
        for id in 3..=17 {
            add(&mut sampled, (account(id), "b"), 1);
        }
        let reported = sampled.take(REPORTED_MAX);
        assert_eq!(reported.len(), REPORTED_MAX);
        let sums = sums(&reported);
        assert_eq!(sums[&(account(2), "a")], 100_000);
        assert_eq!(sums[&(None, "u")], 100_000);
        for id in 3..=17 {
            assert_eq!(sums[&(account(id), "b")], 1, "{id}");
        }
        assert_eq!(sampled.take_lost(), 0);
    }

    #[test]
    fn one_account_gets_no_more_rows_a_second_than_its_share() {
        let mut sampled = RefusalSampler::default();
        add(&mut sampled, (account(2), "a"), 1000);
        add(&mut sampled, (None, "u"), 1000);
        let reported = sampled.take(REPORTED_MAX);
        let of = |whose| reported.iter().filter(|row| row.row.0 == whose).count();
        assert_eq!((of(account(2)), of(None)), (OF_ACCOUNT_MAX, OF_UNKNOWN_MAX));
        assert!(sampled.take(REPORTED_MAX).is_empty());
    }

    #[test]
    fn a_seldom_reason_is_told_beside_a_frequent_one() {
        let mut sampled = RefusalSampler::default();
        add(&mut sampled, (account(2), "a"), 1000);
        add(&mut sampled, (account(2), "b"), 1);
        let sums = sums(&sampled.take(REPORTED_MAX));
        assert_eq!(sums[&(account(2), "a")], 1000);
        assert_eq!(sums[&(account(2), "b")], 1);
    }

    #[test]
    fn what_one_account_may_hold_cannot_fill_the_room() {
        let mut sampled = RefusalSampler::default();
        for code in CODES {
            add(&mut sampled, (account(2), code), 10_000);
        }
        assert!(sampled.rows <= OF_ACCOUNT_MAX + CODES.len());
    }

    #[test]
    fn each_account_is_told_in_time_however_many_there_are() {
        let mut sampled = RefusalSampler::default();
        for id in 2..=401 {
            add(&mut sampled, (account(id), "a"), 1);
        }
        let mut reported = BTreeMap::new();
        for _ in 0..400 / REPORTED_MAX {
            // An account that comes again and again does not overtake those that wait.
            add(&mut sampled, (account(2), "a"), 50);
            for (call, count) in sums(&sampled.take(REPORTED_MAX)) {
                *reported.entry(call).or_insert(0) += count;
            }
        }
        assert!(reported.len() >= 400 - REPORTED_MAX, "{}", reported.len());
    }

    #[test]
    fn beyond_its_room_it_counts_what_it_lost() {
        let mut sampled = RefusalSampler::default();
        for id in 0..5000 {
            add(&mut sampled, (account(id + 1), "a"), 2);
        }
        assert_eq!(sampled.rows, WAITING_MAX);
        let mut reported = 0;
        loop {
            let rows = sampled.take(REPORTED_MAX);
            reported += rows.iter().map(|row| row.represents).sum::<u64>();
            if rows.is_empty() {
                break;
            }
        }
        assert_eq!(reported + sampled.take_lost(), 10_000);
    }

    fn calls() -> impl Strategy<Value = Vec<(i64, usize, usize)>> {
        prop::collection::vec((0i64..30, 0usize..4, 1usize..60), 0..120)
    }

    proptest! {
        #[test]
        fn whatever_comes_the_sums_are_right(
            there in calls(), here in calls(), most in 1usize..40,
        ) {
            let mut threads = [RefusalSampler::default(), RefusalSampler::default()];
            let mut expected = BTreeMap::new();
            for (thread, calls) in threads.iter_mut().zip([&there, &here]) {
                for (id, code, count) in calls {
                    let call = (account(*id), CODES[*code]);
                    add(thread, call, *count);
                    *expected.entry(call).or_insert(0u64) += *count as u64;
                }
            }
            let mut all = RefusalSampler::default();
            for thread in threads {
                all.merge(thread);
            }
            let mut reported = BTreeMap::new();
            loop {
                let rows = all.take(most);
                prop_assert!(rows.len() <= most);
                for row in &rows {
                    prop_assert!(row.represents > 0);
                    let of_account = rows.iter().filter(|other| other.row.0 == row.row.0);
                    prop_assert!(of_account.count() <= share(row.row.0));
                }
                if rows.is_empty() {
                    break;
                }
                for (call, count) in sums(&rows) {
                    *reported.entry(call).or_insert(0) += count;
                }
            }
            prop_assert_eq!(reported, expected);
            prop_assert_eq!((all.rows, all.take_lost()), (0, 0));
        }

        #[test]
        fn no_account_is_given_a_second_row_before_the_others_have_one(
            wants in prop::collection::vec(0usize..6, 0..40), most in 0usize..60,
        ) {
            let given = shares(&wants, most);
            let total: usize = given.iter().sum();
            prop_assert_eq!(total, most.min(wants.iter().sum()));
            for (one, wanted) in given.iter().zip(&wants) {
                prop_assert!(one <= wanted);
                for other in &given {
                    prop_assert!(one == wanted || *other <= one + 1);
                }
            }
        }
    }
}
