//! Queues the bills of the last day or month, some recipients at a time. Accounts that share an address share a mail.

use jiff::{ToSpan as _, civil::Date};
use proxyxai_contract::clock::Millis;

use crate::{
    Control, Error,
    domain::{
        mail::{BillMails, templates},
        setting,
    },
    model::DateRange,
    ops,
    publish::EffectiveSettings,
    store::{self, mail::NewMail},
};

const JOB: &str = "bills";
const RECIPIENTS_MAX: u64 = 200;
/// Data planes report usage within seconds; one that was cut off gets an hour.
const LATE_MS: i64 = 3_600_000;
/// Between the last day of the billed period and the last recipient of a mail.
const SEPARATOR: char = ' ';
/// In place of a recipient once all have a mail. No address begins with it.
const DONE: &str = "!";

/// Runs one step.
pub(super) async fn write(control: &Control) -> Result<(), Error> {
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    let monthly = match settings.get(&setting::EMAIL_BILL)? {
        BillMails::Daily => false,
        BillMails::Monthly => true,
        BillMails::Off => return Ok(()),
    };
    if !ops::mail::is_on(&settings)? {
        return Ok(());
    }
    let now = control.now();
    let Some(days) = last_complete(control, now, monthly) else {
        return Ok(());
    };
    let period = format!("{}..{}", days.start, days.end);
    let tx = control.store().begin().await?;
    let position = store::jobs::position(&tx, JOB).await?;
    let (at, after) = position.split_once(SEPARATOR).unwrap_or_default();
    let after = if at == period {
        after
    } else if is_next(at, days) {
        ""
    } else {
        // Bills were just switched on, and the first one is for the current period. Or the clock was set back, or
        // months were replaced by days, and nothing is billed twice.
        DONE
    };
    if after == DONE {
        if at.is_empty() {
            store::jobs::set_position(&tx, JOB, &format!("{period}{SEPARATOR}{DONE}")).await?;
            tx.commit().await?;
        }
        return Ok(());
    }
    let bills = store::mail::bills(&tx, days, after, RECIPIENTS_MAX).await?;
    let last = bills
        .last_key_value()
        .map_or(DONE, |(last, _)| last.as_str());
    let last = format!("{period}{SEPARATOR}{last}");
    let links = ops::mail::links(&settings)?;
    let mails = bills.iter().map(|(recipient, lines)| NewMail {
        account: None,
        sender: None,
        recipient: recipient.clone(),
        message: templates::bill(days.start, days.end, lines, &links),
    });
    store::mail::queue(&tx, now, mails.collect()).await?;
    store::jobs::set_position(&tx, JOB, &last).await?;
    tx.commit().await
}

/// The last day, or month, that is complete.
fn last_complete(control: &Control, now: Millis, monthly: bool) -> Option<DateRange> {
    let today: Date = control.zone().day(now.plus(-LATE_MS));
    let running = if monthly {
        today.first_of_month()
    } else {
        today
    };
    let end = running.checked_sub(1.day()).ok()?;
    let start = if monthly { end.first_of_month() } else { end };
    Some(DateRange { start, end })
}

/// Whether these days end after the billed ones, which are stored as `first..last`.
fn is_next(billed: &str, days: DateRange) -> bool {
    let last = billed
        .split_once("..")
        .map(|(_, last)| last.parse::<Date>());
    matches!(last, Some(Ok(last)) if days.start > last)
}
