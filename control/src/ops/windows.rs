//! How much of their windows accounts have used by now, as far as data planes have reported.

use proxyxai_contract::window::LimitWindow;

use crate::{
    Control, Error,
    model::{Caller, Listing, Page, WindowUsage},
    ops, store,
};

/// Open windows of the caller or a descendant and of all below it, those with the least left first.
pub(crate) async fn nearest(
    control: &Control,
    caller: &Caller,
    account: Option<&str>,
    page: Page,
) -> Result<Listing<WindowUsage>, Error> {
    let tx = control.store().begin_reading().await?;
    let own = ops::caller_account(control, &tx, caller).await?;
    let account = account.map(str::trim).filter(|text| !text.is_empty());
    let record = match account {
        Some(identifier) => ops::visible(control, &tx, &own, identifier).await?,
        None => own,
    };
    let (zone, now) = (&control.config().zone, control.now());
    let open = LimitWindow::ALL.map(|window| {
        let period = zone.period(window.span(), now);
        (window, period.start, period.end)
    });
    store::windows::nearest(&tx, &record.account.dna, &open, page.bounded()).await
}
