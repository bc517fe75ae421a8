//! A random history of a tree of accounts: the books sum to zero at every step. This one plays many movements in
//! memory; `random_store` plays fewer of them in a database.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, NodeName},
    lease::LeasedCredit,
    money::{Money, Multiplier},
};

use crate::{
    Error,
    domain::{
        account::Dna,
        credit::{self, Cost},
        lease::{self, Headroom},
        ledger::{Book, LedgerEntry},
    },
    model::Card,
    ops::{accounts, money},
    store::{self, AccountRecord, leases::LeaseRecord},
    testing::{DAY_MS, NOON, World, everywhere, node},
};

const STEPS: u32 = 100_000;
const ACCOUNTS_MAX: usize = 60;
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const DOLLAR: i64 = 1_000_000_000;

/// How many steps to play; `PROXYXAI_BOOK_OPS` overrides it.
pub(super) fn steps() -> u32 {
    let given = std::env::var_os("PROXYXAI_BOOK_OPS").and_then(|text| text.into_string().ok());
    given.and_then(|text| text.parse().ok()).unwrap_or(STEPS)
}

/// Random numbers whose seed is printed if the test fails; `PROXYXAI_BOOK_SEED` replays one.
pub(super) fn dice() -> fastrand::Rng {
    let given = std::env::var_os("PROXYXAI_BOOK_SEED").and_then(|text| text.into_string().ok());
    let seed = given.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_be_bytes(bytes)
    });
    eprintln!("PROXYXAI_BOOK_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// An amount: usually an everyday one, sometimes a single nano-dollar, sometimes a fortune.
pub(super) fn amount(dice: &mut fastrand::Rng) -> Money {
    Money::from_nanos(match dice.u8(..20) {
        0 => dice.i64(1..10),
        1 => dice.i64(1..1_000_000) * DOLLAR,
        2..8 => dice.i64(1..DOLLAR / 100),
        _ => dice.i64(1..50 * DOLLAR),
    })
}

/// The committed state.
struct MoneyHistory {
    dice: fastrand::Rng,
    accounts: BTreeMap<AccountId, AccountRecord>,
    /// The accounts that are not deleted.
    living: Vec<AccountId>,
    leases: BTreeMap<(AccountId, NodeName), LeaseRecord>,
    /// Reports that were posted.
    posted: BTreeSet<u64>,
    books: BTreeMap<(&'static str, Option<AccountId>), i128>,
    /// What calls cost, by account.
    used: BTreeMap<AccountId, i128>,
    /// Reports that were sent, to send them again.
    sent: Vec<SentReport>,
    now: Millis,
    next: i64,
    moved: BTreeMap<&'static str, u32>,
}

/// Sequence, account, node, cost, and the account's rates when the call began.
type SentReport = (u64, AccountId, NodeName, Money, Multiplier);

/// One transaction: the new state of some accounts and leases, and its postings.
#[derive(Default)]
struct RandomChange {
    accounts: BTreeMap<AccountId, AccountRecord>,
    leases: BTreeMap<(AccountId, NodeName), LeaseRecord>,
    entries: Vec<LedgerEntry>,
    charged: Option<(u64, AccountId, Money)>,
    aside: Option<u64>,
}

impl MoneyHistory {
    fn step(&mut self) {
        let change = self.change();
        let crashed = self.dice.u8(..20) == 0;
        match change {
            // A crash before the commit leaves nothing.
            Ok(_) if crashed => {}
            Ok(change) => self.commit(change),
            Err(Error::InsufficientBalance { .. } | Error::Invalid(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    fn change(&mut self) -> Result<RandomChange, Error> {
        let mut change = RandomChange::default();
        match self.dice.u8(..100) {
            0..6 => self.create(&mut change)?,
            6..22 => self.transfer(&mut change, true)?,
            22..30 => self.transfer(&mut change, false)?,
            30..34 => self.rates(&mut change)?,
            34..36 => self.delete(&mut change)?,
            36..39 => self.settle(&mut change)?,
            39..60 => self.call(&mut change)?,
            60..66 => self.call_again(&mut change)?,
            66..80 => self.lease(&mut change)?,
            80..88 => self.give_back(&mut change)?,
            88..91 => self.fee(&mut change)?,
            91..97 => self.expire(&mut change)?,
            _ => self.now = self.now.plus(self.dice.i64(1..20 * DAY_MS)),
        }
        Ok(change)
    }

    fn commit(&mut self, change: RandomChange) {
        for entry in &change.entries {
            *self.moved.entry(entry.reason).or_default() += 1;
            assert!(!entry.reason.is_empty() && !entry.reference.is_empty());
            let mut sum = 0;
            for (book, amount) in entry.postings() {
                let key = (book.as_str(), book.account());
                *self.books.entry(key).or_default() += i128::from(amount.nanos());
                sum += i128::from(amount.nanos());
            }
            assert_eq!(sum, 0, "{entry:?}");
        }
        if let Some(sequence) = change.aside {
            assert!(self.posted.insert(sequence), "posted and set aside");
        }
        if let Some((sequence, account, cost)) = change.charged {
            assert!(self.posted.insert(sequence), "posted twice");
            *self.used.entry(account).or_default() += i128::from(cost.nanos());
        }
        let touched: Vec<_> = change.accounts.keys().copied().collect();
        self.accounts.extend(change.accounts);
        self.leases.extend(change.leases);
        for id in touched {
            let deleted = self.accounts[&id].deleted.is_some();
            match self.living.iter().position(|living| *living == id) {
                Some(at) if deleted => drop(self.living.swap_remove(at)),
                None if !deleted => self.living.push(id),
                _ => {}
            }
            self.check(id);
        }
    }

    /// What `verify` checks, for one account.
    fn check(&self, id: AccountId) {
        let record = &self.accounts[&id];
        let book = |book: Book| {
            let key = (book.as_str(), book.account());
            self.books.get(&key).copied().unwrap_or_default()
        };
        let (own, reserved) = (book(Book::Account(id)), book(Book::Reserved(id)));
        let cards: i128 = record
            .account
            .cards
            .iter()
            .map(|card| i128::from(card.balance.nanos()))
            .sum();
        assert_eq!(
            cards - i128::from(record.debt.nanos()),
            own + reserved,
            "{record:?}"
        );
        assert_eq!(i128::from(record.leased.nanos()), reserved, "{record:?}");
        let leases = NODES.map(|name| self.leases.get(&(id, node(name))));
        let leases = leases
            .into_iter()
            .flatten()
            .map(|held| i128::from(held.lease.amount.nanos()));
        let leases: i128 = leases.sum();
        assert_eq!(leases, reserved, "{record:?}");
        // Nothing is negative but debt, which has a field of its own.
        assert!(
            record
                .account
                .cards
                .iter()
                .all(|card| !card.balance.is_negative()),
            "{record:?}"
        );
        assert!(!record.debt.is_negative() && reserved >= 0, "{record:?}");
        assert!(
            !record.account.balance.is_negative() || record.debt > Money::ZERO,
            "{record:?}"
        );
    }

    fn check_all(&self) {
        let ids: Vec<_> = self.accounts.keys().copied().collect();
        for id in ids {
            self.check(id);
        }
        assert_eq!(self.books.values().sum::<i128>(), 0);
        let used: i128 = self.used.values().sum();
        assert_eq!(
            self.books
                .get(&("spent", None))
                .copied()
                .unwrap_or_default(),
            used
        );
        for (id, record) in &self.accounts {
            let used = self.used.get(id).copied().unwrap_or_default();
            let left = record
                .account
                .cards
                .iter()
                .any(|card| card.balance > Money::ZERO);
            let open = left || record.debt > Money::ZERO || record.leased > Money::ZERO;
            assert!(
                record.deleted.is_none() || record.closing || !open,
                "nothing is left with nobody: {record:?}"
            );
            assert_eq!(i128::from(record.account.credit_used.nanos()), used);
        }
    }

    fn somebody(&mut self) -> AccountId {
        self.living[self.dice.usize(..self.living.len())]
    }

    fn somewhere(&mut self) -> NodeName {
        node(NODES[self.dice.usize(..NODES.len())])
    }

    /// A living account and one of its living ancestors.
    fn pair(&mut self) -> Option<(AccountId, AccountId)> {
        let target = self.somebody();
        let above = Dna::parse(&self.accounts[&target].account.dna)
            .unwrap()
            .ids();
        let above: Vec<_> = above
            .into_iter()
            .filter(|id| *id != target && self.accounts[id].deleted.is_none())
            .collect();
        let operator = above.get(self.dice.usize(..above.len().max(1)))?;
        Some((*operator, target))
    }

    /// An account as every movement starts with it: current, without expired cards.
    fn take(&self, change: &mut RandomChange, id: AccountId) -> Result<AccountRecord, Error> {
        let mut record = self.accounts[&id].clone();
        record.refresh_balance(self.now);
        change
            .entries
            .extend(money::clear_expired(&mut record, self.now)?);
        Ok(record)
    }

    fn card(&mut self) -> Card {
        let life = self.dice.i64(0..=365 * DAY_MS);
        Card::new(amount(&mut self.dice), "x", self.now, life)
    }

    fn create(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        if self.living.len() >= ACCOUNTS_MAX {
            return Ok(());
        }
        let parent = self.somebody();
        let mut operator = self.take(change, parent)?;
        self.next += 1;
        let id = AccountId::new(self.next).unwrap();
        let mut child =
            accounts::blank(&operator.account, format!("a{id}"), String::new(), self.now);
        child.account.id = id;
        let dna = Dna::parse(&operator.account.dna).unwrap().child(id);
        dna.as_str().clone_into(&mut child.account.dna);
        let dearer = operator.account.rates.micros() * self.dice.i64(100..=150) / 100;
        child.account.rates = Multiplier::from_micros(dearer)?;
        change
            .entries
            .push(money::grant(&mut operator, &mut child, self.card())?);
        change.put([operator, child]);
        Ok(())
    }

    fn transfer(&mut self, change: &mut RandomChange, grant: bool) -> Result<(), Error> {
        let Some((operator, child)) = self.pair() else {
            return Ok(());
        };
        let (mut operator, mut child) = (self.take(change, operator)?, self.take(change, child)?);
        let card = self.card();
        change.entries.push(if grant {
            money::grant(&mut operator, &mut child, card)?
        } else {
            money::deduct(&mut operator, &mut child, card.amount, self.now)?
        });
        change.put([operator, child]);
        Ok(())
    }

    fn rates(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let id = self.somebody();
        let mut record = self.take(change, id)?;
        if id != AccountId::ROOT {
            let to = Multiplier::from_micros(self.dice.i64(300_000..5_000_000))?;
            change
                .entries
                .push(money::rescale(&mut record, to, self.now)?);
            money::not_on_lease(&record, Money::ZERO)?;
        }
        change.put([record]);
        Ok(())
    }

    fn delete(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let Some((operator, id)) = self.pair() else {
            return Ok(());
        };
        let (operator, mut child) = (self.take(change, operator)?, self.take(change, id)?);
        (child.deleted, child.heir, child.closing) =
            (Some(self.now), Some(operator.account.id), true);
        child.fee_due = credit::DELETE_FEE;
        // What is on lease stays with the in-flight calls.
        if self.dice.bool() {
            return self.settle_with(change, operator, child);
        }
        change.put([operator, child]);
        Ok(())
    }

    /// Settles a deleted account that may have something left.
    fn settle(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let closing = self.accounts.values().filter(|record| record.closing);
        let closing: Vec<_> = closing.map(|record| record.account.id).collect();
        if closing.is_empty() {
            return Ok(());
        }
        let id = closing[self.dice.usize(..closing.len())];
        let mut heir = id;
        while heir == id || self.accounts[&heir].deleted.is_some() {
            heir = self.accounts[&heir].heir.unwrap();
        }
        let (heir, child) = (self.take(change, heir)?, self.take(change, id)?);
        self.settle_with(change, heir, child)
    }

    /// Its debt is charged to the nearest living ancestor, whichever account gets the rest.
    fn settle_with(
        &mut self,
        change: &mut RandomChange,
        mut heir: AccountRecord,
        mut child: AccountRecord,
    ) -> Result<(), Error> {
        let above = child.ancestors();
        let lives = |id: &&AccountId| self.accounts[id].deleted.is_none();
        let payer = *above.iter().rev().find(lives).unwrap();
        let mut payer = (payer != heir.account.id)
            .then(|| self.take(change, payer))
            .transpose()?;
        let (kept, owes) = (child.leased, payer.is_some() && child.debt > Money::ZERO);
        let before = heir.account.balance;
        let (_, entries) = money::settle_closed(&mut heir, payer.as_mut(), &mut child, self.now)?;
        change.entries.extend(entries);
        assert_eq!(child.debt, Money::ZERO);
        assert!(child.account.balance <= child.leased, "{child:?}");
        // What in-flight calls reserve stays, and no account pays for what another granted.
        assert_eq!(child.leased, kept);
        assert!(!owes || heir.account.balance >= before, "{heir:?}");
        change
            .accounts
            .extend(payer.map(|payer| (payer.account.id, payer)));
        change.put([heir, child]);
        Ok(())
    }

    /// An account, mostly a living one.
    fn anybody(&mut self) -> AccountId {
        let closing = self.accounts.values().find(|record| record.closing);
        let closing = closing.map(|record| record.account.id);
        match closing {
            Some(id) if self.dice.u8(..5) == 0 => id,
            _ => self.somebody(),
        }
    }

    /// Reports a call, sometimes of a deleted account, with a lease or without.
    fn call(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let account = if self.dice.u8(..20) == 0 {
            AccountId::new(self.dice.i64(1..=self.next)).unwrap()
        } else {
            self.somebody()
        };
        if !self.accounts.contains_key(&account) {
            return Ok(());
        }
        let sequence = u64::try_from(self.sent.len()).unwrap();
        let rates = self.accounts[&account].account.rates;
        let report = (
            sequence,
            account,
            self.somewhere(),
            amount(&mut self.dice),
            rates,
        );
        self.sent.push(report.clone());
        // A late report comes after other events.
        if self.dice.u8(..5) == 0 {
            return Ok(());
        }
        self.post(change, report)
    }

    /// Sends a report again: the response or the report was lost, or it is late.
    fn call_again(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let report = self.sent[self.dice.usize(..self.sent.len())].clone();
        self.post(change, report)
    }

    fn post(&mut self, change: &mut RandomChange, report: SentReport) -> Result<(), Error> {
        let (sequence, account, name, cost, rates) = report;
        if self.posted.contains(&sequence) {
            return Ok(());
        }
        if self.dice.u8(..50) == 0 {
            // It cannot be posted, and is quarantined.
            change.aside = Some(sequence);
            return Ok(());
        }
        let mut record = self.take(change, account)?;
        record.closing = record.deleted.is_some();
        let key = (account, name);
        let mut held = self.leases.get(&key).cloned();
        let reference = format!("usage:{sequence}");
        let paid = Cost::of(cost, Some(rates), record.account.rates).unwrap();
        let entries = money::charge(&mut record, held.as_mut(), paid, reference, self.now)?;
        change.entries.extend(entries);
        change.leases.extend(held.map(|held| (key, held)));
        change.charged = Some((sequence, account, cost));
        change.put([record]);
        Ok(())
    }

    fn lease(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let (id, name) = (self.somebody(), self.somewhere());
        let (one, two) = (amount(&mut self.dice), amount(&mut self.dice));
        if id == AccountId::ROOT {
            return Ok(());
        }
        let mut record = self.accounts[&id].clone();
        record.refresh_balance(self.now);
        let room = Headroom {
            balance: record.account.balance,
            month_left: None,
            leased: record.leased,
        };
        let Ok(granted) = lease::grant(&room, one.max(two), one.min(two), NODES.len()) else {
            return Ok(());
        };
        let key = (id, name.clone());
        let mut held = self.leases.get(&key).cloned().unwrap_or(LeaseRecord {
            lease: LeasedCredit {
                payer: (id).into(),
                version: 0,
                amount: Money::ZERO,
            },
            node: name,
            epoch: 1,
        });
        change
            .entries
            .push(money::lease(&mut record, &mut held, granted)?);
        assert!(
            granted == Money::ZERO || record.leased <= record.account.balance,
            "{record:?}"
        );
        change.leases.insert(key, held);
        change.put([record]);
        Ok(())
    }

    /// Returns a part of a lease, or all of it if its data plane is lost.
    fn give_back(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let key = (self.anybody(), self.somewhere());
        let Some(mut held) = self.leases.get(&key).cloned() else {
            return Ok(());
        };
        let part = Money::from_nanos(self.dice.i64(0..=held.lease.amount.nanos()));
        let back = if self.dice.bool() {
            held.lease.amount
        } else {
            part
        };
        let mut record = self.accounts[&key.0].clone();
        change
            .entries
            .push(money::lease(&mut record, &mut held, back.negated())?);
        change.leases.insert(key, held);
        change.put([record]);
        Ok(())
    }

    fn fee(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        let id = self.somebody();
        let mut record = self.take(change, id)?;
        if id != AccountId::ROOT {
            let fee = Money::from_nanos(DOLLAR / 500);
            change
                .entries
                .push(money::fee(&mut record, fee, "listing", self.now)?);
        }
        change.put([record]);
        Ok(())
    }

    fn expire(&mut self, change: &mut RandomChange) -> Result<(), Error> {
        for id in self.living.clone() {
            let record = self.take(change, id)?;
            change.put([record]);
        }
        Ok(())
    }
}

impl RandomChange {
    fn put<const N: usize>(&mut self, records: [AccountRecord; N]) {
        self.accounts
            .extend(records.map(|record| (record.account.id, record)));
    }
}

#[tokio::test]
async fn the_books_sum_to_zero_at_every_step_of_a_random_history() {
    let world = std::cell::RefCell::new(None);
    everywhere(async |one: &mut World| {
        let root = store::accounts::get(one.control.store(), AccountId::ROOT, NOON).await;
        *world.borrow_mut() = root.unwrap();
    })
    .await;
    let root = world.into_inner().unwrap();
    let mut history = MoneyHistory {
        dice: dice(),
        accounts: BTreeMap::from([(AccountId::ROOT, root)]),
        living: vec![AccountId::ROOT],
        leases: BTreeMap::new(),
        posted: BTreeSet::new(),
        books: BTreeMap::new(),
        used: BTreeMap::new(),
        sent: Vec::new(),
        now: NOON,
        next: 1,
        moved: BTreeMap::new(),
    };
    for step in 0..steps() {
        history.step();
        if step % 1000 == 0 {
            history.check_all();
        }
    }
    history.check_all();
    // A history with few events would prove little.
    for reason in [
        "grant", "deduct", "delete", "debt", "rates", "units", "lease", "call", "listing", "expiry",
    ] {
        let count = history.moved.get(reason).copied().unwrap_or_default();
        assert!(
            count >= steps() / 2000,
            "{reason}: {count} {:?}",
            history.moved
        );
    }
}
