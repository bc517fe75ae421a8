//! Usage as a time series, by model or account, and for root also by key or provider: the most expensive values, the
//! others together, and the same for the time range before.

use std::collections::BTreeMap;

use jiff::civil::Date;
use proxyxai_contract::{
    clock::Millis,
    id::{AccountId, KeyId},
};

use crate::{
    Control, Error,
    domain::spend::{before, hours, others},
    model::{
        Caller, DateRange, Earning, EarningDimension, SeriesInterval, SpendDimension, SpendFilter,
        SpendReport, SpendRow,
    },
    ops::{self, earnings::FlatCost},
    publish::TermsByKey,
    store::{
        self, AccountRecord, Tx,
        earnings::EarningQuery,
        spend::{SpendScope, SpendSource},
    },
};

/// Values with a row of their own.
const TOP: u64 = 10;

/// Usage of an account and all below it over some days.
pub(crate) async fn series(
    control: &Control,
    caller: &Caller,
    filter: SpendFilter,
    days: DateRange,
) -> Result<SpendReport, Error> {
    let SpendFilter {
        account,
        alone,
        by,
        per,
    } = filter;
    if matches!(by, SpendDimension::Key | SpendDimension::Provider) {
        ops::root_only(caller, "only root may see what was used by key or provider")?;
    }
    let earlier = before(days)?;
    let both = DateRange {
        start: earlier.start,
        end: days.end,
    };
    let hours = match per {
        SeriesInterval::Day => None,
        SeriesInterval::Hour => Some(hours(days, &control.config().zone, control.now())?),
    };
    // One consistent snapshot, so that the parts add up.
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let account = account.as_deref().map(str::trim);
    let record = match account.filter(|text| !text.is_empty()) {
        Some(identifier) => ops::visible(control, &tx, &own, identifier).await?,
        None => own,
    };
    let source = SpendSource {
        whose: whose(record, alone),
        by,
        is_earned: caller.is_root(),
    };
    store::bills::prepare(&tx).await?;
    let (top, values) = store::spend::dearest(&tx, &source, days, TOP).await?;
    let mut kept = DailySpend {
        total: store::spend::by_day(&tx, &source, both).await?,
        of: store::spend::by_day_of(&tx, &source, both, &top).await?,
    };
    if source.is_earned && matches!(source.whose, SpendScope::Everybody) {
        kept.add_flats(flats(control, both).await?, by);
    }
    let mut spend = kept.spend((by, per), (days, earlier), &top);
    spend.values = values;
    spend.is_earned = source.is_earned;
    if let Some(hours) = hours {
        by_hour(control, &tx, &source, &hours, &mut spend).await?;
    }
    drop(tx);
    name(control, &mut spend).await?;
    spend.other = others(&spend.total, &spend.rows);
    Ok(spend)
}

fn whose(record: AccountRecord, alone: bool) -> SpendScope {
    match (alone, record.account.id) {
        (true, id) => SpendScope::One(id),
        (false, AccountId::ROOT) => SpendScope::Everybody,
        (false, account) => SpendScope::Below {
            account,
            dna: record.account.dna,
        },
    }
}

async fn flats(control: &Control, days: DateRange) -> Result<Vec<FlatCost>, Error> {
    let all = EarningQuery {
        days,
        account: None,
        key: None,
        provider: None,
        model: None,
    };
    ops::earnings::flats(control, &all).await
}

/// Sums of days: in total, and of the most expensive values.
struct DailySpend {
    total: BTreeMap<Date, Earning>,
    of: BTreeMap<(String, Date), Earning>,
}

impl DailySpend {
    /// Adds monthly prices of keys to the total, and to the row of the key or provider.
    fn add_flats(&mut self, flats: Vec<FlatCost>, by: SpendDimension) {
        for flat in flats {
            let Ok(day) = flat.day.parse() else {
                continue;
            };
            let earning = Earning {
                flat: flat.amount,
                ..Earning::default()
            };
            self.total.entry(day).or_default().add(&earning);
            let of = match by {
                SpendDimension::Key => flat.key.to_string(),
                SpendDimension::Provider => flat.provider,
                SpendDimension::Model | SpendDimension::Account => continue,
            };
            self.of.entry((of, day)).or_default().add(&earning);
        }
    }

    fn spend(
        self,
        (by, per): (SpendDimension, SeriesInterval),
        (days, before): (DateRange, DateRange),
        top: &[String],
    ) -> SpendReport {
        let row = |of: &str, at: &dyn Fn(Date) -> Earning| {
            let points: Vec<Earning> = days.each().map(at).collect();
            SpendRow {
                of: of.to_owned(),
                name: String::new(),
                now: sum(&points),
                before: sum(&before.each().map(at).collect::<Vec<_>>()),
                points,
            }
        };
        let found = |found: Option<&Earning>| found.copied().unwrap_or_default();
        let of = |of: &String| row(of, &|day| found(self.of.get(&(of.clone(), day))));
        SpendReport {
            by,
            per,
            days,
            before,
            points: days.each().map(|day| day.to_string()).collect(),
            skipped: 0,
            rows: top.iter().map(of).collect(),
            values: 0,
            other: SpendRow::default(),
            total: row("", &|day| found(self.total.get(&day))),
            is_earned: false,
        }
    }
}

fn sum(points: &[Earning]) -> Earning {
    let mut sum = Earning::default();
    for point in points {
        sum.add(point);
    }
    sum
}

/// Replaces days by hours. Totals stay those of the days.
async fn by_hour(
    control: &Control,
    tx: &Tx,
    source: &SpendSource,
    hours: &[Millis],
    spend: &mut SpendReport,
) -> Result<(), Error> {
    let names: Vec<String> = spend.rows.iter().map(|row| row.of.clone()).collect();
    let most = store::spend::records_max(tx);
    let found = store::spend::by_hour(tx, source, hours, &names, most).await?;
    let terms = control.publisher().terms();
    let at: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), at))
        .collect();
    let none = vec![Earning::default(); hours.len()];
    let mut points = vec![none.clone(); names.len()];
    let mut total = none;
    for ((hour, of), used) in found.used {
        if let Some(all) = total.get_mut(hour) {
            all.add(&used);
        }
        let of = of.map(|of| match source.by {
            SpendDimension::Provider => provider(&terms, &of),
            SpendDimension::Model | SpendDimension::Account | SpendDimension::Key => of,
        });
        let row = of.and_then(|of| points.get_mut(*at.get(of.as_str())?));
        if let Some(point) = row.and_then(|row| row.get_mut(hour)) {
            point.add(&used);
        }
    }
    for (row, points) in spend.rows.iter_mut().zip(points) {
        row.points = points;
    }
    spend.total.points = total;
    spend.skipped = found.skipped;
    let zone = control.zone();
    spend.points = hours.iter().map(|at| zone.rfc3339(*at)).collect();
    Ok(())
}

/// The current provider of a key.
fn provider(terms: &TermsByKey, key: &str) -> String {
    let key = key.parse().ok().and_then(|id| KeyId::new(id).ok());
    let found = key.and_then(|key| terms.get(&key));
    found
        .map(|terms| terms.provider.clone())
        .unwrap_or_default()
}

async fn name(control: &Control, spend: &mut SpendReport) -> Result<(), Error> {
    let by = match spend.by {
        SpendDimension::Account => EarningDimension::Account,
        SpendDimension::Key => EarningDimension::Key,
        SpendDimension::Model | SpendDimension::Provider => return Ok(()),
    };
    let ids = spend.rows.iter().map(|row| &row.of);
    let mut names = ops::earnings::names(control.store(), by, ids).await?;
    for row in &mut spend.rows {
        row.name = names.remove(&row.of).unwrap_or_default();
    }
    Ok(())
}
