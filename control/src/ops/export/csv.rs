//! Lines of CSV (RFC 4180), safe to open in a spreadsheet: a text that would be read as a formula gets a leading
//! apostrophe.

use std::fmt::{Display, Write as _};

use proxyxai_contract::{
    attempt,
    clock::Zone,
    id::{KeyId, Level},
    money::Money,
    usage::AbandonedPolicy,
};

use crate::{
    model::{Earning, EarningKey, LedgerLine, PostedUsage, TagTotals},
    ops::earnings::FlatCost,
};

pub(super) const USAGE_HEAD: &str = "time,account,name,request,path,model_asked,model_used,status,cost,corrected_cost,measure,\
input,cached,cache_write,output,reasoning,input_audio,output_audio,input_image,output_image,\
key,level,tries,streamed,duration_ms,first_byte_ms,priced,price_version,node,epoch,sequence,posted,cache_write_hour,tier,bill,tag,abandoned,client_key";

/// Further columns for root.
pub(super) const EXPENSE_HEAD: &str = ",expense,attempts";

pub(super) const LEDGER_HEAD: &str =
    "posting,entry,time,reason,reference,book,account,name,amount\r\n";

pub(super) const EARNINGS_HEAD: &str =
    "day,account,key,provider,model,level,requests,cost,expense,flat,margin";

pub(super) const TAGS_HEAD: &str = "tag,requests,input,cached,output,cost";

/// The line of a call.
pub(super) fn usage(line: &mut CsvLine<'_>, name: &str, posted: &PostedUsage, zone: &Zone) {
    let PostedUsage {
        node,
        epoch,
        record,
        posted,
        corrected,
    } = posted;
    let tokens = &record.tokens;
    line.plain(zone.rfc3339(record.start));
    line.plain(record.account);
    for text in [
        name,
        &record.request_id,
        &record.path,
        &record.model_asked,
        &record.model_used,
    ] {
        line.text(text);
    }
    line.plain(record.status);
    line.plain(dollars(record.cost));
    line.plain(corrected.map(dollars).unwrap_or_default());
    line.plain(record.measure.as_str());
    for count in [
        tokens.input,
        tokens.cached,
        tokens.cache_write,
        tokens.output,
        tokens.reasoning,
        tokens.input_audio,
        tokens.output_audio,
        tokens.input_image,
        tokens.output_image,
    ] {
        line.plain(count);
    }
    line.plain(
        record
            .key
            .map(KeyId::get)
            .map(|key| key.to_string())
            .unwrap_or_default(),
    );
    line.plain(Level::get(record.level));
    line.plain(record.tries);
    line.plain(record.streamed);
    line.plain(record.duration_ms);
    line.plain(record.first_byte_ms);
    line.plain(record.priced);
    line.text(&record.price_version);
    line.text(node);
    line.plain(epoch);
    line.plain(record.sequence);
    line.plain(zone.rfc3339(*posted));
    line.plain(tokens.cache_write_hour);
    line.text(&record.tier);
    line.text(&record.sum.text());
    line.text(&record.tag);
    line.text(record.abandoned.map_or("", AbandonedPolicy::as_str));
    // Empty for the account's first key.
    let client_key = record.client_key.map(|id| id.to_string());
    line.plain(client_key.unwrap_or_default());
}

/// What the call cost the operator, and its attempts; columns for the operator only.
pub(super) fn expense(line: &mut CsvLine<'_>, posted: &PostedUsage) {
    line.plain(posted.record.expense.map(dollars).unwrap_or_default());
    line.text(&attempt::text(&posted.record.attempts));
}

/// The line of earnings.
pub(super) fn earning(line: &mut CsvLine<'_>, of: &EarningKey, earning: &Earning) {
    let EarningKey {
        account,
        day,
        key,
        provider,
        model,
        level,
    } = of;
    line.plain(day);
    line.plain(account);
    line.plain(key.map(|key| key.to_string()).unwrap_or_default());
    line.text(provider);
    line.text(model);
    line.plain(level.get());
    amounts(line, earning);
}

/// The line of a day of a key with a monthly price.
pub(super) fn flat(line: &mut CsvLine<'_>, flat: &FlatCost) {
    line.plain(&flat.day);
    line.plain("");
    line.plain(flat.key);
    line.text(&flat.provider);
    line.plain("");
    line.plain("");
    let earning = Earning {
        flat: flat.amount,
        ..Earning::default()
    };
    amounts(line, &earning);
}

fn amounts(line: &mut CsvLine<'_>, earning: &Earning) {
    line.plain(earning.requests);
    for amount in [
        earning.cost,
        earning.expense,
        earning.flat,
        earning.margin(),
    ] {
        line.plain(dollars(amount));
    }
}

/// The line of a tag.
pub(super) fn tag(line: &mut CsvLine<'_>, row: &TagTotals) {
    let TagTotals { tag, totals } = row;
    line.text(tag);
    for count in [totals.requests, totals.input, totals.cached, totals.output] {
        line.plain(count);
    }
    line.plain(dollars(totals.cost));
}

/// The line of a posting.
pub(super) fn ledger(line: &mut CsvLine<'_>, row: &LedgerLine, zone: &Zone) {
    let LedgerLine {
        posting,
        entry,
        at,
        reason,
        reference,
        book,
        account,
        name,
        amount,
    } = row;
    line.plain(posting);
    line.plain(entry);
    line.plain(zone.rfc3339(*at));
    line.text(reason);
    line.text(reference);
    line.text(book);
    line.plain(account.map(|id| id.to_string()).unwrap_or_default());
    line.text(name);
    line.plain(dollars(*amount));
}

/// An exact amount without a currency sign.
fn dollars(amount: Money) -> String {
    let nanos = amount.nanos().unsigned_abs();
    let sign = if amount.is_negative() { "-" } else { "" };
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{sign}{whole}.{rest:09}")
}

/// A line being written; the drop ends it.
#[derive(Debug)]
pub(super) struct CsvLine<'a> {
    text: &'a mut String,
    begun: bool,
}

impl<'a> CsvLine<'a> {
    pub(super) const fn new(text: &'a mut String) -> Self {
        Self { text, begun: false }
    }

    fn separate(&mut self) {
        if self.begun {
            self.text.push(',');
        }
        self.begun = true;
    }

    /// A cell that no user chose: numbers, times, fixed words.
    fn plain(&mut self, value: impl Display) {
        self.separate();
        // Writing to a string cannot fail.
        let _written: Result<(), std::fmt::Error> = write!(self.text, "{value}");
    }

    /// A cell that a user chose.
    fn text(&mut self, value: &str) {
        self.separate();
        // The full-width forms too, which some spreadsheets take for the others.
        let formula = value.starts_with([
            '=', '+', '-', '@', '\t', '\r', '\n', '|', '%', '＝', '＋', '－', '＠',
        ]);
        let quoted = formula || value.contains(['"', ',', '\r', '\n']);
        if !quoted {
            self.text.push_str(value);
            return;
        }
        self.text.push('"');
        if formula {
            self.text.push('\'');
        }
        self.text.push_str(&value.replace('"', "\"\""));
        self.text.push('"');
    }
}

impl Drop for CsvLine<'_> {
    fn drop(&mut self) {
        self.text.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str) -> String {
        let mut text = String::new();
        CsvLine::new(&mut text).text(value);
        text.trim_end_matches("\r\n").to_owned()
    }

    #[test]
    fn no_text_is_taken_for_a_formula_or_for_two_cells() {
        for (value, expected) in [
            ("gpt-4o", "gpt-4o"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("＝1+1", "\"'＝1+1\""),
            ("\t=1", "\"'\t=1\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
        ] {
            assert_eq!(cell(value), expected);
        }
    }

    #[test]
    fn amounts_are_exact() {
        let text = |nanos| dollars(Money::from_nanos(nanos));
        assert_eq!(text(1), "0.000000001");
        assert_eq!(text(-1_500_000_000), "-1.500000000");
        assert_eq!(text(i64::MIN), "-9223372036.854775808");
        assert_eq!(text(0), "0.000000000");
    }
}
