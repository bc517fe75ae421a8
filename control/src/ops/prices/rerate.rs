//! Prices stored usage anew. Records and postings stay as they are: a difference is posted as a correction, in the
//! transaction that stores the new cost of each record. So a run that is interrupted or repeated posts nothing twice.

use std::{collections::HashMap, sync::Arc};

use proxyxai_contract::{
    Invalid,
    clock::{Millis, Zone},
    id::AccountId,
    money::{Money, Multiplier},
    price::{self, PriceTable},
    tokens::TokenUsage,
};

use crate::{
    Control, Error,
    domain::{audit::AuditAction, credit::Cost, ledger::LedgerEntry},
    model::{Caller, PostedUsage, RerateRequest, RerateResult},
    ops::{self, money, usage_additions::UsageAdditions},
    publish::TermsByKey,
    store::{
        self, AccountRecord,
        usage::{
            DailyTotals,
            corrections::{CostCorrection, RecordSpan},
        },
    },
};

/// Records corrected in one transaction.
const BATCH_RECORDS: u64 = 2_000;

/// Prices the calls of some days anew and posts the differences.
pub(crate) async fn rerate(
    control: &Control,
    caller: &Caller,
    rerating: RerateRequest,
) -> Result<RerateResult, Error> {
    ops::root_only(caller, super::ROOT_ONLY)?;
    let zone = &control.config().zone;
    let after = rerating
        .days
        .end
        .tomorrow()
        .map_err(|_| Invalid::new("end_date", "is out of range"))?;
    let span = RecordSpan {
        from: zone.start_of(rerating.days.start),
        to: zone.start_of(after),
    };
    let mut prices = PriceTimeline::read(control, rerating.version.as_deref(), span).await?;
    let accounts = match rerating.account.as_deref() {
        Some(identifier) => {
            let own = ops::caller_account(control, control.store(), caller).await?;
            let found = ops::visible(control, control.store(), &own, identifier).await?;
            vec![found.account.id]
        }
        None => store::usage::corrections::accounts(control.store(), span).await?,
    };
    if !rerating.dry_run {
        note_down(control, caller, &rerating).await?;
    }
    let mut done = RerateResult::default();
    for account in accounts {
        let mut last = None;
        loop {
            let batch = RerateBatch {
                account,
                span,
                after: last.as_ref(),
            };
            last = Box::pin(correct(control, &rerating, &mut prices, batch, &mut done)).await?;
            if last.is_none() {
                break;
            }
        }
    }
    tracing::info!(
        from = %rerating.days.start, to = %rerating.days.end, records = done.records,
        accounts = done.corrections.len(), dry_run = rerating.dry_run, "usage was priced anew"
    );
    Ok(done)
}

/// Writes an audit record before anything is posted, since a run has many transactions.
async fn note_down(
    control: &Control,
    caller: &Caller,
    rerating: &RerateRequest,
) -> Result<(), Error> {
    let RerateRequest {
        days,
        account,
        version,
        dry_run: _,
    } = rerating;
    let asked = [
        ("From", days.start.to_string().into()),
        ("To", days.end.to_string().into()),
        ("Account", account.as_deref().unwrap_or("*").into()),
    ];
    let what = (AuditAction::Rerate, version.as_deref().unwrap_or_default());
    let tx = control.store().begin().await?;
    ops::audit::prices(control, &tx, caller, what, asked).await?;
    tx.commit().await
}

struct RerateBatch<'a> {
    account: AccountId,
    span: RecordSpan,
    after: Option<&'a PostedUsage>,
}

/// Corrects the next records of one account. Returns the last of them if there may be more.
async fn correct(
    control: &Control,
    rerating: &RerateRequest,
    prices: &mut PriceTimeline,
    batch: RerateBatch<'_>,
    done: &mut RerateResult,
) -> Result<Option<PostedUsage>, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    // The lock also keeps a second run from reading what this one is about to correct.
    let mut locked = store::accounts::lock(&tx, [batch.account], now).await?;
    let Some(account) = locked.get_mut(&batch.account) else {
        // A deleted account was settled when it was deleted.
        return Ok(None);
    };
    let terms = control.publisher().terms();
    let records =
        store::usage::corrections::next(&tx, batch.account, batch.span, batch.after, BATCH_RECORDS)
            .await?;
    let mut found = RerateChanges::of(control, &terms);
    for usage in &records {
        done.records = done.records.saturating_add(1);
        match prices.anew(control, usage, account).await? {
            Some((version, cost)) => found.add(usage, account, (version, cost))?,
            None => done.unpriced = done.unpriced.saturating_add(1),
        }
    }
    if !found.costs.is_empty() {
        let total = done.corrections.entry(batch.account).or_default();
        total.0 = total.0.saturating_add(found.costs.len() as u64);
        total.1 = total.1.saturating_add(found.difference.worth);
    }
    if !rerating.dry_run && !found.costs.is_empty() {
        post(&tx, account, found, rerating, now).await?;
        tx.commit().await?;
        control.publisher().mark([batch.account]);
    }
    let more = records.len() as u64 >= BATCH_RECORDS;
    Ok(records.into_iter().next_back().filter(|_| more))
}

async fn post(
    tx: &store::Tx,
    account: &mut AccountRecord,
    found: RerateChanges<'_>,
    rerating: &RerateRequest,
    now: Millis,
) -> Result<(), Error> {
    let mut entries: Vec<LedgerEntry> = Vec::new();
    entries.extend(money::clear_expired(account, now)?);
    let days = &rerating.days;
    let reference = format!(
        "correction:{}..{}:{}",
        days.start, days.end, account.account.id
    );
    entries.extend(money::correct(account, found.difference, reference, now)?);
    let corrections: Vec<_> = found
        .costs
        .iter()
        .map(|(usage, version, cost)| CostCorrection {
            usage,
            cost: *cost,
            version,
        })
        .collect();
    store::usage::corrections::put(tx, &corrections, now).await?;
    let used = (&found.daily, &found.additions.earned);
    let above = |_| account.ancestors();
    store::usage::add_totals(tx, "", used, above).await?;
    found.additions.store(tx, "", above).await?;
    store::accounts::update_money(tx, account).await?;
    store::ledger::post(tx, now, &entries).await
}

/// The changes of one batch.
struct RerateChanges<'a> {
    costs: Vec<(&'a PostedUsage, Arc<str>, Money)>,
    daily: DailyTotals,
    additions: UsageAdditions,
    difference: Cost,
    zone: &'a Zone,
    terms: &'a TermsByKey,
}

impl<'a> RerateChanges<'a> {
    fn of(control: &'a Control, terms: &'a TermsByKey) -> Self {
        Self {
            costs: Vec::new(),
            daily: DailyTotals::new(),
            additions: UsageAdditions::default(),
            difference: Cost::default(),
            zone: &control.config().zone,
            terms,
        }
    }

    fn add(
        &mut self,
        usage: &'a PostedUsage,
        account: &AccountRecord,
        (version, cost): (Arc<str>, Money),
    ) -> Result<(), Error> {
        let record = &usage.record;
        let charged = usage.corrected.unwrap_or(record.cost);
        let difference = cost.saturating_sub(charged);
        if difference == Money::ZERO {
            return Ok(());
        }
        let change = Cost::of(difference, record.rates, account.account.rates)
            .ok_or_else(|| Invalid::new("difference", "is out of range"))?;
        self.difference = self.difference.and(change);
        let day = self.zone.day(record.start);
        let change = (charged, cost);
        self.additions.correct(record, day, change, self.terms);
        let key = (record.account, day, record.model_used.clone());
        let totals = self.daily.entry(key).or_default();
        totals.cost = totals.cost.saturating_add(difference);
        self.costs.push((usage, version, cost));
        Ok(())
    }
}

/// The price tables of a time range, read when they are first needed.
struct PriceTimeline {
    timeline: Vec<(Millis, Arc<str>)>,
    tables: HashMap<Arc<str>, PriceTable>,
}

impl PriceTimeline {
    async fn read(
        control: &Control,
        version: Option<&str>,
        span: RecordSpan,
    ) -> Result<Self, Error> {
        let timeline = match version {
            None => store::prices::timeline(control.store(), span.from, span.to).await?,
            Some(version) => vec![(span.from, version.to_owned())],
        };
        let mut prices = Self {
            timeline: timeline
                .into_iter()
                .map(|(at, version)| (at, version.into()))
                .collect(),
            tables: HashMap::new(),
        };
        if let Some(version) = version {
            prices.table(control, &version.into()).await?;
        }
        Ok(prices)
    }

    /// The cost of a call by the version in force at its time. Returns `None` if it cannot be computed.
    async fn anew(
        &mut self,
        control: &Control,
        usage: &PostedUsage,
        account: &AccountRecord,
    ) -> Result<Option<(Arc<str>, Money)>, Error> {
        let record = &usage.record;
        if record.price_version == price::NO_TABLE {
            return Ok(None);
        }
        let counts = |(at, _): &&(Millis, Arc<str>)| *at <= record.start;
        let Some((_, version)) = self.timeline.iter().rev().find(counts).cloned() else {
            return Ok(None);
        };
        // A failed call costs nothing by any table. A call whose client disconnected may have been charged all the
        // same.
        let was_used = record.tokens != TokenUsage::default() || record.cost > Money::ZERO;
        let counts = (200..300).contains(&record.status) || was_used;
        if record.key.is_none() || !counts {
            return Ok(Some((version, record.cost)));
        }
        let table = self.table(control, &version).await?;
        let rates: Multiplier = record.rates.unwrap_or(account.account.rates);
        let factor = record.factor.unwrap_or(account.account.factor);
        let cost = table
            .find(&record.model_used)
            .and_then(|price| record.bill(price).cost(rates, factor));
        Ok(cost.map(|cost| (version, cost)))
    }

    async fn table(&mut self, control: &Control, version: &Arc<str>) -> Result<&PriceTable, Error> {
        if !self.tables.contains_key(version) {
            let found = store::prices::get(control.store(), version).await?;
            let found = found.ok_or_else(|| Error::NotFound {
                kind: "Price version",
                name: version.to_string(),
            })?;
            self.tables
                .insert(Arc::clone(version), super::table(&found)?);
        }
        self.tables
            .get(version)
            .ok_or_else(|| Error::internal("a price table vanished"))
    }
}
