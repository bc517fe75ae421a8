//! What records add to the totals of earnings and of tags, computed while posting: only control knows the cost rules of
//! keys, and late records, of batches or of crashed data planes, are posted the same way.

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
    /// By every dimension of earnings.
    pub(super) earned: EarningTotals,
    /// By account, day and tag.
    pub(super) tagged: DailyTotals,
    /// Calls without a price.
    unpriced: UnpricedUsage,
}

/// Sets on each record what it cost the operator. A key that is not known yet costs the list price.
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
    /// Adds the usage of a record.
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

    /// Adds the difference in cost of a corrected record, in its units. What it cost the operator stays.
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

    /// The sum of all earnings.
    pub(super) fn total(&self) -> Earning {
        let mut total = Earning::default();
        for earning in self.earned.values() {
            total.add(earning);
        }
        total
    }

    /// Stores the additions, in the transaction that posts the records of a data plane. `above` returns the ancestors
    /// of an account.
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

/// The charge for a call in dollars, from its cost in the units of its account. Root pays nothing.
pub(crate) fn charged(record: &UsageRecord, cost: Money) -> Money {
    if record.account == AccountId::ROOT {
        return Money::ZERO;
    }
    let rates = record.rates.unwrap_or(Multiplier::ONE);
    cost.scale(Multiplier::ONE, rates).unwrap_or(cost)
}
