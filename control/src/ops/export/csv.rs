//! Lines of CSV (RFC 4180), safe to open in a spreadsheet: a text that would be taken for a formula gets
//! an apostrophe in front.

use std::fmt::{Display, Write as _};

use proxyxai_contract::{
    clock::Zone,
    id::{KeyId, Level},
    money::Money,
};

use crate::view::{LedgerLine, PostedUsage};

pub(super) const USAGE_HEAD: &str = "time,account,name,request,path,model_asked,model_used,status,cost,corrected_cost,measure,\
input,cached,cache_write,output,reasoning,input_audio,output_audio,input_image,output_image,\
key,level,tries,streamed,duration_ms,first_byte_ms,priced,price_version,node,epoch,sequence,posted,cache_write_hour,tier,bill\r\n";

pub(super) const LEDGER_HEAD: &str =
    "posting,entry,time,reason,reference,book,account,name,amount\r\n";

/// A call.
pub(super) fn usage(line: &mut Line<'_>, name: &str, posted: &PostedUsage, zone: &Zone) {
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
}

/// A posting.
pub(super) fn ledger(line: &mut Line<'_>, row: &LedgerLine, zone: &Zone) {
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

/// Exact, without a sign of its currency.
fn dollars(amount: Money) -> String {
    let nanos = amount.nanos().unsigned_abs();
    let sign = if amount.is_negative() { "-" } else { "" };
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{sign}{whole}.{rest:09}")
}

/// A line being written; it ends when dropped.
#[derive(Debug)]
pub(super) struct Line<'a> {
    text: &'a mut String,
    begun: bool,
}

impl<'a> Line<'a> {
    pub(super) const fn new(text: &'a mut String) -> Self {
        Self { text, begun: false }
    }

    fn separate(&mut self) {
        if self.begun {
            self.text.push(',');
        }
        self.begun = true;
    }

    /// A cell that is nobody's to choose: numbers, times, words of ours.
    fn plain(&mut self, value: impl Display) {
        self.separate();
        // Writing to a string cannot fail.
        let _written: Result<(), std::fmt::Error> = write!(self.text, "{value}");
    }

    /// A cell that somebody chose.
    fn text(&mut self, value: &str) {
        self.separate();
        let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
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

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.text.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str) -> String {
        let mut text = String::new();
        Line::new(&mut text).text(value);
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
