//! Reports on use, cost and earnings, as JSON and as files.

use super::super::{
    bill, calls, earnings, exports, ledger,
    openapi::{Api, get},
    query::{DAYS, END, LABELS, PAGE, QueryParam, REQUEST_ID, SIZE, START, U, USER},
    records, refusals, spend, windows,
};

/// The days of a file.
const SPAN: [QueryParam; 2] = [START, END];

pub(super) fn reports() -> Api {
    records().merge(sums())
}

/// Single records.
fn records() -> Api {
    Api::new()
        .about("Records")
        .at(
            "/x-usage",
            [get(records::list)
                .named(
                    "listUsage",
                    "Single calls of an account with their bills, newest first",
                )
                .query(&[USER, U, REQUEST_ID, PAGE, SIZE])
                .fails(&[404])],
        )
        .at(
            "/x-calls",
            [get(calls::list)
                .named(
                    "listCalls",
                    "Single calls of the caller and all accounts below it",
                )
                .query(&calls::QUERY)
                .fails(&[404])],
        )
        .at(
            "/x-refusals",
            [get(refusals::list)
                .named(
                    "listRefusals",
                    "Calls that were refused before any key was asked",
                )
                .query(&refusals::QUERY)
                .fails(&[404])],
        )
        .at(
            "/x-ledger",
            [get(ledger::list)
                .named("listLedger", "Lines of the books, newest first")
                .query(&ledger::QUERY)
                .fails(&[404])],
        )
}

/// Totals.
fn sums() -> Api {
    let whose = || [USER, U];
    Api::new()
        .about("Reports")
        .at(
            "/x-bill",
            [get(bill::descendants)
                .named("getBill", "What the accounts below the caller used")
                .query(
                    whose()
                        .iter()
                        .chain(&LABELS)
                        .chain(&DAYS)
                        .chain(&[PAGE, SIZE]),
                )
                .fails(&[404])],
        )
        .at(
            "/x-earnings",
            [get(earnings::show)
                .named("getEarnings", "What calls earn the operator")
                .query(
                    earnings::QUERY
                        .iter()
                        .chain(&whose())
                        .chain(&DAYS)
                        .chain(&[PAGE, SIZE]),
                )
                .fails(&[404])],
        )
        .at(
            "/x-spend",
            [get(spend::show)
                .named(
                    "getSpend",
                    "What was used as a series, beside the span before",
                )
                .query(spend::QUERY.iter().chain(&DAYS))
                .fails(&[404])],
        )
        .at(
            "/x-windows",
            [get(windows::list)
                .named(
                    "listWindows",
                    "Windows of requests and tokens, nearest to their limit first",
                )
                .query(&windows::QUERY)
                .fails(&[404])],
        )
        .at(
            "/x-tags",
            [get(earnings::tags)
                .named("listTags", "What an account used, by tag, dearest first")
                .query(whose().iter().chain(&DAYS).chain(&[PAGE, SIZE]))
                .fails(&[404])],
        )
}

pub(super) fn files() -> Api {
    Api::new()
        .about("Files")
        .at(
            "/x-bill.csv",
            [get(exports::usage)
                .named("exportUsage", "Single calls of the caller and all below it")
                .query(&SPAN)],
        )
        .at(
            "/x-ledger.csv",
            [get(exports::ledger)
                .named("exportLedger", "All lines of the books")
                .query(&SPAN)],
        )
        .at(
            "/x-earnings.csv",
            [get(exports::earnings)
                .named(
                    "exportEarnings",
                    "What calls earned, by all that it is kept by",
                )
                .query(&SPAN)],
        )
        .at(
            "/x-tags.csv",
            [get(exports::tags)
                .named("exportTags", "What an account used, by tag")
                .query([USER, U].iter().chain(&SPAN))
                .fails(&[404])],
        )
}
