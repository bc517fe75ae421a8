//! What records add to the totals of earnings and of tags, worked out where they are posted: control has the rules of
//! keys, and what comes late, from a batch or from a data plane that was killed takes no other way.

use jiff::civil::Date;
use proxyxai_contract::{
    id::AccountId,
    key_price::ExpenseRule,
    money::{Money, Multiplier},
    usage::UsageRecord,
};

use crate::{
    Error,
    model::{Earning, EarningKey, SpentTokens, UsageTotals},
    publish::TermsByKey,
    store::{
        self, Tx,
        earnings::EarningTotals,
        usage::{DailyTotals, unpriced::UnpricedUsage},
    },
};

/// What some records add.
#[derive(Debug, Default)]
pub(super) struct UsageAdditions {
    /// By all that earnings are asked by.
    pub(super) earned: EarningTotals,
    /// By account, day and tag.
    pub(super) tagged: DailyTotals,
    /// Answered without a price.
    unpriced: UnpricedUsage,
}

/// Says on each record what it cost the operator. A key that is not known yet costs the list.
pub(super) fn price(records: &mut [UsageRecord], terms: &TermsByKey) {
    for record in records {
        let known = record.key.and_then(|key| terms.get(&key));
        record.expense = Some(match known {
            Some(terms) => terms.expense(record),
            None => ExpenseRule::default().expense(record),
        });
    }
}

impl UsageAdditions {
    /// Takes in what a record used.
    pub(super) fn add(
        &mut self,
        record: &UsageRecord,
        day: Date,
        used: &UsageTotals,
        terms: &TermsByKey,
    ) {
        let earning = Earning {
            requests: used.requests,
            tokens: SpentTokens {
                input: used.input,
                cached: used.cached,
                output: used.output,
            },
            cost: charged(record, used.cost),
            expense: record.expense.unwrap_or_default(),
            flat: Money::ZERO,
        };
        self.earn(record, day, &earning, terms);
        self.tag(record, day, used);
        self.miss(record, day, used.requests);
    }

    /// Takes in that a record costs something else than it did, in its units. What it cost the operator stays.
    pub(super) fn correct(
        &mut self,
        record: &UsageRecord,
        day: Date,
        (before, after): (Money, Money),
        terms: &TermsByKey,
    ) {
        let [was, is] = [before, after].map(|cost| charged(record, cost));
        let earning = Earning {
            cost: is.saturating_sub(was),
            ..Earning::default()
        };
        self.earn(record, day, &earning, terms);
        let used = UsageTotals {
            cost: after.saturating_sub(before),
            ..UsageTotals::default()
        };
        self.tag(record, day, &used);
    }

    /// All of what is earned.
    pub(super) fn total(&self) -> Earning {
        let mut total = Earning::default();
        for earning in self.earned.values() {
            total.add(earning);
        }
        total
    }

    /// Writes it down, in the transaction that posts the records of a data plane. `above` says the ancestors of an account.
    pub(super) async fn store(
        self,
        tx: &Tx,
        node: &str,
        above: impl Fn(AccountId) -> Vec<AccountId>,
    ) -> Result<(), Error> {
        store::earnings::add(tx, node, &self.earned, above).await?;
        store::usage::tags::add(tx, self.tagged).await?;
        store::usage::unpriced::add(tx, &self.unpriced).await
    }

    fn miss(&mut self, record: &UsageRecord, day: Date, answered: u64) {
        if record.priced || answered == 0 || record.model_used.is_empty() {
            return;
        }
        let of = (day, record.model_used.clone(), record.account);
        let (requests, last) = self.unpriced.entry(of).or_insert((0, record.start));
        *requests = requests.saturating_add(answered);
        *last = record.start.max(*last);
    }

    fn earn(&mut self, record: &UsageRecord, day: Date, earning: &Earning, terms: &TermsByKey) {
        if *earning == Earning::default() {
            return;
        }
        let known = record.key.and_then(|key| terms.get(&key));
        let of = EarningKey {
            account: record.account,
            day,
            key: record.key,
            provider: known
                .map(|terms| terms.provider.clone())
                .unwrap_or_default(),
            model: record.model_used.clone(),
            level: record.level,
        };
        self.earned.entry(of).or_default().add(earning);
    }

    fn tag(&mut self, record: &UsageRecord, day: Date, used: &UsageTotals) {
        if record.tag.is_empty() || *used == UsageTotals::default() {
            return;
        }
        let place = (record.account, day, record.tag.clone());
        self.tagged.entry(place).or_default().add(used);
    }
}

/// What of a call's cost, in the units of its account, somebody pays, in dollars. Root pays nobody.
pub(crate) fn charged(record: &UsageRecord, cost: Money) -> Money {
    if record.account == AccountId::ROOT {
        return Money::ZERO;
    }
    let rates = record.rates.unwrap_or(Multiplier::ONE);
    cost.scale(Multiplier::ONE, rates).unwrap_or(cost)
}
