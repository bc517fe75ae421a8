//! Windows on lease: grants units to data planes, so that together they spend no more than the limit.
//!
//! Data planes know the limit from their configuration. One with an outdated, higher limit is bound as far as control
//! can tell without the model of a call.

use std::time::Duration;

use proxyxai_contract::{
    Invalid,
    clock::{Millis, WindowLength},
    window::{LimitWindow, WindowAsk, WindowGrant, WindowKey, grant},
};

use crate::{
    Control, Error,
    store::{self, Tx, windows::WindowConsumption},
};

/// How far the clock of a data plane may be ahead.
const AHEAD_MS_MAX: i64 = 2 * 86_400_000;
/// A data plane that gets less than the limit it knows would ask again at once. Calls wait longer than this, and a
/// configuration update takes less.
const HELD_BACK: Duration = Duration::from_millis(100);

/// Grants what is left, in one transaction.
pub(crate) async fn lease_windows(
    control: &Control,
    mut asks: Vec<WindowAsk>,
) -> Result<Vec<WindowGrant>, Error> {
    let now = control.now();
    for ask in &asks {
        check(&ask.key, now)?;
    }
    // Sorted, so that two requests never deadlock.
    asks.sort_by(|one, other| one.key.cmp(&other.key));
    let nodes = u64::try_from(control.publisher().watching()).unwrap_or(u64::MAX);
    let tx = control.store().begin().await?;
    let mut grants = Vec::with_capacity(asks.len());
    let mut held_back = false;
    for mut ask in asks {
        let (known, need) = (ask.limit, ask.need);
        if let Some(most) = control.publisher().limit(&ask.key) {
            ask.limit = known.min(most);
        }
        let grant = grant_one(&tx, ask, nodes).await?;
        held_back |= grant.granted < need && grant.total < known;
        grants.push(grant);
    }
    tx.commit().await?;
    if held_back {
        tokio::time::sleep(HELD_BACK).await;
    }
    Ok(grants)
}

async fn grant_one(tx: &Tx, ask: WindowAsk, nodes: u64) -> Result<WindowGrant, Error> {
    let before = store::windows::lock(tx, &ask.key).await?;
    let reported = WindowConsumption {
        overspent: before.overspent.saturating_add(ask.overspent),
        most: ask.limit,
        ..before
    };
    let granted = grant(&ask, reported.total(), nodes);
    let after = WindowConsumption {
        granted: reported.granted.saturating_add(granted),
        ..reported
    };
    if after != before {
        store::windows::set(tx, &ask.key, after).await?;
    }
    Ok(WindowGrant {
        key: ask.key,
        granted,
        total: after.total(),
    })
}

/// Deletes windows that no data plane can ask for any more.
pub(crate) async fn prune(control: &Control) -> Result<(), Error> {
    let tx = control.store().begin().await?;
    let mut gone = 0u64;
    for span in [WindowLength::Minute, WindowLength::Hour, WindowLength::Day] {
        let windows: Vec<_> = LimitWindow::ALL
            .into_iter()
            .filter(|window| window.span() == span)
            .collect();
        let before = control.now().plus(-kept_ms(span));
        gone = gone.saturating_add(store::windows::prune(&tx, &windows, before).await?);
    }
    tx.commit().await?;
    if gone > 0 {
        tracing::debug!(windows = gone, "windows that are over were forgotten");
    }
    Ok(())
}

/// Refuses a window that may be deleted already, so that a data plane whose clock is late does not get it granted
/// again; and one too far ahead.
fn check(key: &WindowKey, now: Millis) -> Result<(), Invalid> {
    let oldest = now.plus(-kept_ms(key.window.span()));
    if key.start < oldest || key.start > now.plus(AHEAD_MS_MAX) {
        return Err(Invalid::new(
            "start_time",
            "is too far from control's clock",
        ));
    }
    Ok(())
}

/// How long a window is kept after it starts: several times its length, since clocks may differ.
const fn kept_ms(span: WindowLength) -> i64 {
    match span {
        WindowLength::Minute => 60 * span.usual_ms(),
        WindowLength::Hour | WindowLength::Day => 3 * span.usual_ms(),
    }
}
