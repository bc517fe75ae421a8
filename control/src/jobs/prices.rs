//! Merges a public price list every few hours, if that is set. It may take long, so it runs beside the other jobs.

use std::time::Duration;

use proxyxai_contract::clock::Millis;
use tokio_util::sync::CancellationToken;

use super::log;
use crate::{
    Control, Error,
    domain::setting,
    lists,
    ops::prices::{SyncOutcome, sync},
    publish::EffectiveSettings,
    store,
};

const JOB: &str = "prices";
/// How often to check whether a run is due.
const TICK_MS: u64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// Runs until the shutdown.
pub(crate) async fn run(control: Control, shutdown: &CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            done = Box::pin(step(&control)) => log("importing a price list", done.map(drop)),
        }
    }
}

/// Runs one step: if a list is set and due, loads it and returns the result.
pub(super) async fn step(control: &Control) -> Result<Option<SyncOutcome>, Error> {
    let settings = EffectiveSettings::read(control.store(), control.config()).await?;
    let hours = settings.get(&setting::PRICES_SYNC_HOURS)?;
    let Some(url) = settings.get(&setting::PRICES_SYNC_URL)? else {
        return Ok(None);
    };
    if hours == 0 || !claimed(control, hours).await? {
        return Ok(None);
    }
    let done = match lists::fetch(&url).await {
        Ok(list) => sync(control, &url, list).await,
        Err(error) => Err(error.under(setting::PRICES_SYNC_URL.name).into()),
    };
    match &done {
        Ok(SyncOutcome::Nothing) => tracing::info!("the price list changes nothing"),
        Ok(SyncOutcome::Loaded { version, changes }) => {
            tracing::info!(version, changes, "a price list was imported");
        }
        Ok(SyncOutcome::Refused { first, objections }) => tracing::warn!(
            objections,
            first = first.join("; "),
            "a price list moves prices too far and was not imported; see `proxyxai prices sync`"
        ),
        Err(_) => {}
    }
    done.map(Some)
}

/// Claims the turn if it is due. The turn is used up whatever its result.
async fn claimed(control: &Control, hours: i64) -> Result<bool, Error> {
    let now = control.now();
    let tx = control.store().begin().await?;
    let last = store::jobs::position(&tx, JOB).await?;
    let last = last.parse().map(Millis).ok();
    let next = last.map(|last| last.plus(hours.saturating_mul(HOUR_MS)));
    // A clock that was set back must not delay the next run for long.
    let due = next.is_none_or(|next| next <= now) || last.is_some_and(|last| last > now);
    if due {
        store::jobs::set_position(&tx, JOB, &now.0.to_string()).await?;
        tx.commit().await?;
    }
    Ok(due)
}

#[cfg(test)]
#[path = "prices_tests.rs"]
mod tests;
