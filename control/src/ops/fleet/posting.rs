//! Posting of usage: each record moves money exactly once, however often it is sent.

use std::collections::{BTreeMap, BTreeSet};

use proxyxai_contract::{
    clock::{Millis, Zone},
    convert::UnpostableRecord,
    id::{AccountId, NodeName},
    lease::{LeasedCredit, PayerId, PostedBalance},
    money::Money,
    usage::UsageRecord,
};

use super::{client_key_lease, objects, quarantine};
use crate::{
    Control, Error,
    domain::{
        credit::{self, Cost},
        ledger::LedgerEntry,
    },
    model::{Earning, FAILED_FROM, UsageTotals},
    ops::{
        money,
        usage_additions::{self, UsageAdditions},
    },
    publish::TermsByKey,
    store::{self, AccountRecord, Tx, leases::LeaseRecord, usage::DailyTotals},
};

type LockedAccounts = BTreeMap<AccountId, AccountRecord>;
type NodeLeases = BTreeMap<PayerId, LeaseRecord>;

/// The response to a usage report.
#[derive(Debug, Default)]
pub(crate) struct ReportReceipt {
    /// All records up to this sequence are posted.
    pub(crate) through: u64,
    /// The balances of every account concerned.
    pub(crate) standings: Vec<PostedBalance>,
    /// The node's leases on them.
    pub(crate) leases: Vec<LeasedCredit>,
}

/// What a data plane reports.
#[derive(Debug, Default)]
pub(crate) struct UsageReport {
    pub(crate) records: Vec<UsageRecord>,
    /// Records that could not be read.
    pub(crate) unfit: Vec<UnpostableRecord>,
}

impl From<Vec<UsageRecord>> for UsageReport {
    fn from(records: Vec<UsageRecord>) -> Self {
        Self {
            records,
            unfit: Vec::new(),
        }
    }
}

/// Posts the new records, and returns the last sequence and the balance of every account concerned. A record that
/// cannot be posted is quarantined, so that the others go on.
pub(crate) async fn report_usage(
    control: &Control,
    node: &NodeName,
    epoch: u64,
    report: impl Into<UsageReport>,
) -> Result<ReportReceipt, Error> {
    let UsageReport { records, unfit } = report.into();
    let (mut records, unfit) = fit(records, unfit);
    let sequences = records.iter().map(|record| record.sequence);
    let last = sequences.chain(unfit.iter().map(|unfit| unfit.sequence));
    let Some(last) = last.max() else {
        return Ok(ReportReceipt::default());
    };
    let payers = client_key_lease::payers(&records);
    let spool = (node, epoch);
    let mut posted = PostingOutcome::default();
    if !unfit.is_empty() {
        posted.then(post_part(control, spool, &[], &unfit).await?);
    }
    records = records.into_iter().map(plain).collect();
    // Usually there is one part. If the database refuses one, halving it finds the record.
    let mut parts: Vec<&[UsageRecord]> = vec![&records];
    while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
        match (post_part(control, spool, part, &[]).await, part) {
            (Ok(more), _) => posted.then(more),
            (Err(error), [record]) if store::refuses_data(&error) => {
                let unfit = UnpostableRecord::of(record, quarantine::reason(&error));
                posted.then(post_part(control, spool, &[], &[unfit]).await?);
            }
            (Err(error), _) if store::refuses_data(&error) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    receipt(control, spool, posted, payers, last).await
}

/// Removes records that cannot be real usage.
fn fit(
    records: Vec<UsageRecord>,
    mut unfit: Vec<UnpostableRecord>,
) -> (Vec<UsageRecord>, Vec<UnpostableRecord>) {
    let fit = records.into_iter().filter(|record| {
        let problem = quarantine::problem(record);
        unfit.extend(problem.map(|problem| UnpostableRecord::of(record, problem)));
        problem.is_none()
    });
    (fit.collect(), unfit)
}

/// Posts the new ones of some records, or quarantines them, in one transaction.
async fn post_part(
    control: &Control,
    (node, epoch): (&NodeName, u64),
    records: &[UsageRecord],
    unfit: &[UnpostableRecord],
) -> Result<PostingOutcome, Error> {
    let sequences = records.iter().map(|record| record.sequence);
    let sequences = sequences.chain(unfit.iter().map(|unfit| unfit.sequence));
    let (first, last) = (
        sequences.clone().min().unwrap_or_default(),
        sequences.max().unwrap_or_default(),
    );
    let now = control.now();
    let tx = control.store().begin().await?;
    store::nodes::lock(&tx, node, epoch, now).await?;
    let known = store::usage::known(&tx, node, epoch, first, last).await?;
    let is_new = |sequence: u64| !known.contains(sequence);
    let mut fresh: Vec<_> = records
        .iter()
        .filter(|record| is_new(record.sequence))
        .cloned()
        .collect();
    let unfit: Vec<_> = unfit
        .iter()
        .filter(|unfit| is_new(unfit.sequence))
        .cloned()
        .collect();
    store::usage::quarantine::put(&tx, node, epoch, &unfit, now).await?;
    let mut posted = PostingOutcome::default();
    if !fresh.is_empty() {
        let terms = control.publisher().terms();
        let batch = ChargeContext {
            reference: format!("usage:{node}/{epoch}/{first}-{last}"),
            zone: &control.config().zone,
            now,
            terms: &terms,
        };
        posted = post(control, &tx, (node, epoch), &mut fresh, &batch).await?;
    }
    tx.commit().await?;
    let Earning { cost, expense, .. } = posted.earned;
    control.config().earned.add(cost, expense);
    quarantine::tell(node, &unfit);
    Ok(posted)
}

/// The response for a data plane's report.
async fn receipt(
    control: &Control,
    (node, epoch): (&NodeName, u64),
    posted: PostingOutcome,
    payers: BTreeSet<PayerId>,
    last: u64,
) -> Result<ReportReceipt, Error> {
    let now = control.now();
    if posted.raised {
        // Not awaited: the data plane that would have to acknowledge may be the one that asks.
        control
            .publisher()
            .refresh(control.store(), control.vault(), now)
            .await?;
    }
    // Charged accounts need not be read again. Later changes have a version of their own.
    let ids: BTreeSet<_> = payers.iter().map(|payer| payer.account).collect();
    let known = |payer: &PayerId| match payer.client_key {
        None => posted.accounts.contains_key(&payer.account),
        Some(_) => posted.leases.contains_key(payer),
    };
    let others: Vec<_> = payers.into_iter().filter(|payer| !known(payer)).collect();
    let mut leases = posted.leases;
    if !others.is_empty() {
        leases.extend(store::leases::of_node(control.store(), node, others).await?);
    }
    let others = ids.iter().filter(|id| !posted.accounts.contains_key(id));
    let others: Vec<_> = others.copied().collect();
    let mut records: Vec<_> = posted.accounts.into_values().collect();
    if !others.is_empty() {
        records.extend(store::accounts::some(control.store(), &others, now).await?);
    }
    let standings = control
        .publisher()
        .standings_of(control.store(), &records, now)
        .await?;
    control.publisher().answered(node, ids, &standings);
    Ok(ReportReceipt {
        through: last,
        standings,
        leases: leases
            .into_values()
            .filter(|held| held.epoch == epoch)
            .map(|held| held.lease)
            .collect(),
    })
}

/// The result of posting.
#[derive(Default)]
struct PostingOutcome {
    /// Accounts that were charged.
    accounts: LockedAccounts,
    /// The node's leases on them.
    leases: NodeLeases,
    /// Whether a monthly limit rose.
    raised: bool,
    /// What the calls earned.
    earned: Earning,
}

impl PostingOutcome {
    /// Adds what was posted after this.
    fn then(&mut self, later: Self) {
        let Self {
            accounts,
            leases,
            raised,
            earned,
        } = later;
        self.earned.add(&earned);
        self.accounts.extend(accounts);
        self.leases.extend(leases);
        self.raised |= raised;
    }
}

/// Posts new records.
async fn post(
    control: &Control,
    tx: &Tx,
    (node, epoch): (&NodeName, u64),
    fresh: &mut [UsageRecord],
    batch: &ChargeContext<'_>,
) -> Result<PostingOutcome, Error> {
    let now = batch.now;
    let concerned = fresh.iter().map(|record| record.account);
    let mut accounts = store::accounts::lock_all(tx, concerned, now).await?;
    let movements = objects::apply(tx, fresh, &accounts, now).await?;
    usage_additions::price(fresh, batch.terms);
    store::usage::insert(tx, node, epoch, fresh, now).await?;
    let payers = client_key_lease::payers(fresh);
    let mut keys = client_key_lease::locked(tx, payers.iter().copied()).await?;
    let mut leases = store::leases::of_node(tx, node, payers).await?;
    // Usage of a lost spool was not admitted on the node's current leases.
    leases.retain(|_, held| held.epoch == epoch);
    let entries = objects::reserve(tx, &movements, &mut accounts, &mut keys, &mut leases);
    let mut entries = entries.await?;
    let posting = charge(&mut accounts, &mut leases, fresh, batch)?;
    entries.extend(posting.entries);
    let of = |record: &UsageRecord| Some(cost(record, accounts.get(&record.account)?).worth);
    client_key_lease::charge_all(&mut keys, &mut leases, fresh, of);
    store::client_keys::update_spend(tx, keys.values()).await?;
    store::leases::put(tx, leases.values(), now).await?;
    let above = |id| accounts.get(&id).map(AccountRecord::ancestors);
    let above = |id| above(id).unwrap_or_default();
    let (used, node) = ((&posting.daily, &posting.additions.earned), node.as_str());
    store::usage::add_totals(tx, node, used, &above).await?;
    let earned = posting.additions.total();
    posting.additions.store(tx, node, above).await?;
    let raised = raise_limits(control, tx, &mut accounts, now).await?;
    for record in accounts.values_mut() {
        // A deleted account has something to settle again.
        record.closing = record.deleted.is_some();
    }
    store::accounts::update_money_of_all(tx, accounts.values()).await?;
    store::ledger::post(tx, now, &entries).await?;
    Ok(PostingOutcome {
        accounts,
        leases,
        raised,
        earned,
    })
}

/// What all charges of a report have in common.
struct ChargeContext<'a> {
    reference: String,
    zone: &'a Zone,
    now: Millis,
    terms: &'a TermsByKey,
}

struct ChargeResult {
    entries: Vec<LedgerEntry>,
    daily: DailyTotals,
    additions: UsageAdditions,
}

/// Charges records to their accounts, in memory.
fn charge(
    accounts: &mut LockedAccounts,
    leases: &mut NodeLeases,
    records: &[UsageRecord],
    batch: &ChargeContext<'_>,
) -> Result<ChargeResult, Error> {
    let ChargeContext {
        reference,
        zone,
        now,
        terms,
    } = batch;
    let mut posting = ChargeResult {
        entries: Vec::new(),
        daily: DailyTotals::new(),
        additions: UsageAdditions::default(),
    };
    for account in accounts.values_mut() {
        posting.entries.extend(money::clear_expired(account, *now)?);
    }
    // One entry for each account. Its details are the records, which carry the same node, epoch and sequences.
    let mut costs: BTreeMap<(AccountId, bool), Cost> = BTreeMap::new();
    for record in records {
        let Some(account) = accounts.get_mut(&record.account) else {
            tracing::warn!(
                account.id = record.account.get(), request.id = record.request_id, cost = %record.cost,
                "usage of an account that is not there is kept without a charge"
            );
            continue;
        };
        let answered = u64::from(record.status < FAILED_FROM);
        account.account.requests = account.account.requests.saturating_add(answered);
        let objects = record.objects.as_ref();
        let is_later = objects.is_some_and(|objects| objects.settles.is_some());
        let total = costs.entry((record.account, is_later)).or_default();
        *total = total.and(cost(record, account));
        let day = zone.day(record.start);
        let totals = posting
            .daily
            .entry((record.account, day, record.model_used.clone()))
            .or_default();
        let used = used(record, answered);
        totals.add(&used);
        posting.additions.add(record, day, &used, terms);
    }
    for ((id, is_later), cost) in costs {
        let Some(account) = accounts.get_mut(&id) else {
            continue;
        };
        // Later work was admitted on a reserve of its own, which is released by now.
        let (lease, mark) = if is_later {
            (None, ":later")
        } else {
            (leases.get_mut(&id.into()), "")
        };
        let reference = format!("{reference}:{id}{mark}");
        let entries = money::charge(account, lease, cost, reference, *now)?;
        posting.entries.extend(entries);
    }
    posting
        .daily
        .retain(|_, totals| *totals != UsageTotals::default());
    Ok(posting)
}

/// The charge for a call: the rates of its account may have changed while it was in flight.
fn cost(record: &UsageRecord, account: &AccountRecord) -> Cost {
    Cost::of(record.cost, record.rates, account.account.rates).unwrap_or_else(|| {
        // Refusing it would block all usage behind it.
        tracing::error!(
            account.id = record.account.get(), request.id = record.request_id, cost = %record.cost,
            "what a call costs in the account's new units is out of range"
        );
        Cost::even(record.cost)
    })
}

fn used(record: &UsageRecord, answered: u64) -> UsageTotals {
    UsageTotals {
        requests: answered,
        input: record.tokens.input,
        cached: record.tokens.cached,
        output: record.tokens.output,
        cost: record.cost,
    }
}

/// Raises the monthly limit of accounts with automatic quota that reached it. Returns whether any rose.
async fn raise_limits(
    control: &Control,
    tx: &Tx,
    accounts: &mut LockedAccounts,
    now: Millis,
) -> Result<bool, Error> {
    let asking = |record: &AccountRecord| record.account.auto_quota > Money::ZERO;
    let ids: Vec<_> = accounts
        .values()
        .filter(|record| asking(record))
        .map(|record| record.account.id)
        .collect();
    if ids.is_empty() {
        return Ok(false);
    }
    let month = control.publisher().month(now);
    let used = store::usage::costs(tx, Some(&ids), month).await?;
    let mut raised = Vec::new();
    for record in ids.iter().filter_map(|id| accounts.get(id)) {
        let view = &record.account;
        let spent = used.get(&view.id).copied().unwrap_or_default();
        let hard = view.hard_limit.and_then(|hard| {
            let risen = credit::auto_quota(hard, view.auto_quota, spent, view.balance)?;
            let above = control.publisher().month_limit_above(view.id);
            credit::risen_within(hard, risen, above)
        });
        raised.extend(hard.map(|hard| (view.id, hard)));
    }
    if raised.is_empty() {
        return Ok(false);
    }
    let revision = store::revisions::bump(tx).await?.0;
    for (id, hard) in raised {
        if let Some(record) = accounts.get_mut(&id) {
            tracing::info!(account.id = id.get(), hard_limit = %hard, "the month's limit rose by itself");
            record.account.hard_limit = Some(hard);
            record.revision = revision;
        }
    }
    Ok(true)
}

/// Removes NUL from texts, which PostgreSQL refuses.
fn plain(mut record: UsageRecord) -> UsageRecord {
    let texts = [
        &mut record.request_id,
        &mut record.path,
        &mut record.model_asked,
        &mut record.model_used,
        &mut record.price_version,
        &mut record.images.size,
        &mut record.tier,
        &mut record.tag,
    ];
    for text in texts {
        if text.contains('\0') {
            *text = text.replace('\0', "");
        }
    }
    record
}
