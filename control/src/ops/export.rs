//! Usage and ledger as CSV, streamed in pieces: memory does not grow with the export.

mod csv;

use std::vec;

use futures_util::{Stream, stream};
use jiff::civil::Date;
use proxyxai_contract::{Invalid, clock::Zone, id::AccountId};

use self::csv::CsvLine;
use crate::{
    Control, Error,
    model::{Caller, DateRange, EarningFilter, Page, PostedUsage},
    ops,
    ops::earnings::FlatCost,
    store::{self, Store, earnings::EarningQuery, exports::PostingSpan},
};

/// Rows of one query; a piece is a few hundred KiB at most.
const ROWS_PER_PAGE: u64 = 1_000;
/// Small pages are joined until a piece has this size.
const PIECE_BYTES: usize = 64 * 1024;
/// The most days of earnings in one export.
const EARNING_DAYS_MAX: usize = 366;
/// A record belongs to a month of the time zone in effect when it was posted, and zones differ by little more than a
/// day.
const ZONE_DAYS: i64 = 2;

/// Single calls of the caller and all accounts below it over some days.
pub(crate) async fn usage(
    control: &Control,
    caller: &Caller,
    days: DateRange,
) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static + use<>, Error> {
    let own = ops::caller_account(control, control.store(), caller).await?;
    let zone = control.config().zone.clone();
    let expense = caller.is_root();
    let export = CsvExport::usage(control.store(), (&own.account.dna, expense), days, zone).await?;
    Ok(streamed(control, export))
}

/// The whole ledger over some days.
pub(crate) async fn ledger(
    control: &Control,
    caller: &Caller,
    days: DateRange,
) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static + use<>, Error> {
    ops::root_only(caller, "only root may read the ledger")?;
    let zone = control.config().zone.clone();
    let export = CsvExport::ledger(control.store(), days, zone).await?;
    Ok(streamed(control, export))
}

/// Earnings over some days, one day at a time, by every dimension.
pub(crate) async fn earnings(
    control: &Control,
    caller: &Caller,
    days: DateRange,
) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static + use<>, Error> {
    type State = (
        Control,
        EarningQuery,
        vec::IntoIter<Date>,
        Vec<FlatCost>,
        Option<&'static str>,
    );
    let which = ops::earnings::which(control, caller, EarningFilter::default(), days).await?;
    // Each day is a query of its own.
    let left: Vec<Date> = days.each().take(EARNING_DAYS_MAX + 1).collect();
    if left.len() > EARNING_DAYS_MAX {
        let problem = format!("must be at most {EARNING_DAYS_MAX} days before the end");
        return Err(Invalid::new("start", problem).into());
    }
    let flats = ops::earnings::flats(control, &which).await?;
    let head = Some(csv::EARNINGS_HEAD);
    let state: State = (control.clone(), which, left.into_iter(), flats, head);
    let piece = async |(control, which, mut left, flats, head): State| {
        let mut piece = head.map_or_else(String::new, |head| format!("{head}\r\n"));
        while piece.len() < PIECE_BYTES {
            let Some(day) = left.next() else { break };
            let today = EarningQuery {
                days: DateRange {
                    start: day,
                    end: day,
                },
                ..which.clone()
            };
            for (of, earning) in store::earnings::of_day(control.store(), &today).await? {
                csv::earning(&mut CsvLine::new(&mut piece), &of, &earning);
            }
            let text = day.to_string();
            for flat in flats.iter().filter(|flat| flat.day == text) {
                csv::flat(&mut CsvLine::new(&mut piece), flat);
            }
        }
        Ok((!piece.is_empty()).then_some((piece, (control, which, left, flats, None))))
    };
    Ok(stream::try_unfold(state, piece))
}

/// Usage of the caller or a descendant over some days by tag, most expensive first.
pub(crate) async fn tags(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    days: DateRange,
) -> Result<impl Stream<Item = Result<String, Error>> + Send + 'static + use<>, Error> {
    type State = (Control, (AccountId, DateRange), u64, Option<&'static str>);
    let account = ops::reports::subject(control, caller, account).await?;
    let state: State = (control.clone(), (account, days), 1, Some(csv::TAGS_HEAD));
    let piece = async |(control, of, number, head): State| {
        let mut piece = head.map_or_else(String::new, |head| format!("{head}\r\n"));
        let page = Page {
            page: number,
            size: ROWS_PER_PAGE,
        };
        let listing = store::usage::tags::list(control.store(), of.0, of.1, page).await?;
        for row in &listing.rows {
            csv::tag(&mut CsvLine::new(&mut piece), row);
        }
        let next = (control, of, number.saturating_add(1), None);
        Ok((!piece.is_empty()).then_some((piece, next)))
    };
    Ok(stream::try_unfold(state, piece))
}

fn streamed(
    control: &Control,
    export: CsvExport,
) -> impl Stream<Item = Result<String, Error>> + Send + 'static + use<> {
    stream::try_unfold((control.clone(), export), async |(control, mut export)| {
        let piece = export.next(control.store()).await?;
        Ok(piece.map(|piece| (piece, (control, export))))
    })
}

/// An export in progress.
#[derive(Debug)]
pub(crate) struct CsvExport {
    between: PostingSpan,
    zone: Zone,
    /// The header line, until it is written.
    head: Option<String>,
    rest: ExportProgress,
}

/// What is left to export.
#[derive(Debug)]
enum ExportProgress {
    Usage {
        /// Accounts to export, the next one last.
        accounts: Vec<(AccountId, String)>,
        /// Whether the reader may see what calls cost the operator.
        expense: bool,
        /// The last record of the current account.
        last: Option<Box<PostedUsage>>,
    },
    Ledger {
        after: i64,
        through: i64,
    },
}

impl CsvExport {
    /// Usage of all accounts at or below one; for the operator with what calls cost.
    pub(crate) async fn usage(
        store: &Store,
        (dna, expense): (&str, bool),
        days: DateRange,
        zone: Zone,
    ) -> Result<Self, Error> {
        let around = jiff::Span::new().days(ZONE_DAYS);
        let around = DateRange {
            start: days.start.saturating_sub(around),
            end: days.end.saturating_add(around),
        };
        let tx = store.begin_reading().await?;
        tx.allow_long_statements().await?;
        let mut accounts = store::exports::users(&tx, dna, around).await?;
        drop(tx);
        accounts.reverse();
        Ok(Self {
            between: between(days, &zone),
            zone,
            head: Some(format!(
                "{}{}\r\n",
                csv::USAGE_HEAD,
                if expense { csv::EXPENSE_HEAD } else { "" }
            )),
            rest: ExportProgress::Usage {
                accounts,
                expense,
                last: None,
            },
        })
    }

    /// Everything in the ledger by now.
    pub(crate) async fn ledger(store: &Store, days: DateRange, zone: Zone) -> Result<Self, Error> {
        Ok(Self {
            between: between(days, &zone),
            zone,
            head: Some(csv::LEDGER_HEAD.to_owned()),
            rest: ExportProgress::Ledger {
                after: 0,
                through: store::exports::last_posting(store).await?,
            },
        })
    }

    /// The next piece, in whole lines. Returns `None` at the end.
    pub(crate) async fn next(&mut self, store: &Store) -> Result<Option<String>, Error> {
        let mut piece = self.head.take().unwrap_or_default();
        while piece.len() < PIECE_BYTES && self.read(store, &mut piece).await? {}
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Reads a page. Returns whether there may be more.
    async fn read(&mut self, store: &Store, piece: &mut String) -> Result<bool, Error> {
        match &mut self.rest {
            ExportProgress::Usage {
                accounts,
                expense,
                last,
            } => {
                let Some((account, name)) = accounts.last() else {
                    return Ok(false);
                };
                let rows = store::exports::usage(
                    store,
                    *account,
                    self.between,
                    last.as_deref(),
                    ROWS_PER_PAGE,
                );
                let rows = rows.await?;
                for row in &rows {
                    let mut line = CsvLine::new(piece);
                    csv::usage(&mut line, name, row, &self.zone);
                    if *expense {
                        csv::expense(&mut line, row);
                    }
                }
                let full = u64::try_from(rows.len()).is_ok_and(|count| count >= ROWS_PER_PAGE);
                *last = rows.into_iter().next_back().filter(|_| full).map(Box::new);
                if !full {
                    accounts.pop();
                }
            }
            ExportProgress::Ledger { after, through } => {
                if after >= through {
                    return Ok(false);
                }
                let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
                let end = after.saturating_add(page).min(*through);
                for row in store::exports::ledger(store, self.between, *after, end).await? {
                    csv::ledger(&mut CsvLine::new(piece), &row, &self.zone);
                }
                *after = end;
            }
        }
        Ok(true)
    }
}

pub(super) fn between(days: DateRange, zone: &Zone) -> PostingSpan {
    let after = days.end.saturating_add(jiff::Span::new().days(1));
    PostingSpan {
        from: zone.start_of(days.start),
        until: zone.start_of(after),
    }
}
