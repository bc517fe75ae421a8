//! Background jobs: sending queued mail, alerts of limits, bills, news mails, key faults, pruning, public price lists.
//! Each step is bounded, and a failed one is retried at its next turn. Any number of replicas may run them at the same
//! time.

mod bill_mail;
mod key_alerts;
mod limit_alerts;
mod mailer;
mod news_mail;
pub(crate) mod prices;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Control, Error, ops, store};

const TICK_MS: u64 = 1_000;
/// Limits, news, faults and bills are checked every this many ticks.
const NOTICE_TICKS: u64 = 5;
/// Old records are pruned every this many ticks, a batch of each kind at a time.
const PRUNE_TICKS: u64 = 60;
const PRUNE_ROWS_MAX: u64 = 1_000;
/// Mails that were sent or given up are kept this long, so that operators can look one up.
const MAIL_LIFE_MS: i64 = 30 * 86_400_000;

/// Runs until the shutdown.
pub(crate) async fn run(control: Control, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut post = mailer::Mailer::default();
    let mut count = 0u64;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        count = count.wrapping_add(1);
        if count.is_multiple_of(NOTICE_TICKS) {
            log(
                "telling accounts of their limits",
                limit_alerts::tell(&control).await,
            );
            log(
                "writing to the readers of news",
                news_mail::write(&control).await,
            );
            log("reporting key faults", key_alerts::report(&control).await);
            log("writing bills", bill_mail::write(&control).await);
        }
        log("sending mail", post.send_due(&control, &shutdown).await);
        if count.is_multiple_of(PRUNE_TICKS) {
            log("dropping old records", prune(&control).await);
        }
    }
}

/// Deletes a batch of every kind of old records. The rest waits for the next turn.
pub(crate) async fn prune(control: &Control) -> Result<(), Error> {
    let audits = ops::audit::prune(control, PRUNE_ROWS_MAX).await?;
    let objects = ops::fleet::objects::prune(control).await?;
    let now = control.now();
    let tx = control.store().begin().await?;
    let news = store::news::prune(&tx, now).await?;
    let mails = store::mail::prune(&tx, now.plus(-MAIL_LIFE_MS), PRUNE_ROWS_MAX).await?;
    tx.commit().await?;
    if audits > 0 || news > 0 || mails > 0 || objects > 0 {
        tracing::info!(audits, news, mails, objects, "old records dropped");
    }
    Ok(())
}

fn log(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(what, error = ?error, "background work failed and will be tried again");
    }
}
