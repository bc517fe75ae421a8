//! Requests units of rate limit windows from control, for all accounts that want some. One request is in flight at a
//! time, so that asks gather meanwhile.

use std::{collections::HashMap, sync::Arc, time::Duration};

use proxyxai_contract::{
    convert::{window_ask_to_wire, window_grant_from_wire},
    lease::PayerId,
    window::{WindowAsk, WindowGrant},
    wire,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ControlLink;
use crate::state::RateLimitWindows;

/// Accounts in one round.
const ACCOUNTS_MAX: usize = 100;
/// Asks in one request; control's own limit.
const ASKS_MAX: usize = 1000;
/// Timeout for control. Calls wait no longer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Lets asks that arrive together share a request.
const GATHER: Duration = Duration::from_millis(1);
/// Pause after a failure, so that waiting calls do not flood an unreachable control.
const REST: Duration = Duration::from_millis(100);

/// Runs until it is cancelled. A failed ask is not repeated here: a call that still needs units asks again.
pub(crate) async fn run(
    link: ControlLink,
    mut wanting: mpsc::Receiver<Arc<RateLimitWindows>>,
    stop: CancellationToken,
) {
    let mut accounts = Vec::new();
    let mut away = false;
    while let Some(count) = stop
        .run_until_cancelled(wanting.recv_many(&mut accounts, ACCOUNTS_MAX))
        .await
    {
        if count == 0 {
            return;
        }
        tokio::time::sleep(GATHER).await;
        let asks: Vec<_> = accounts.iter().flat_map(|account| account.asks()).collect();
        let heard = lease(&link, &asks).await;
        if let Err(status) = &heard {
            // Warn once per outage.
            if !away {
                tracing::warn!(
                    code = ?status.code(), message = status.message(), windows = asks.len(),
                    "control cannot be asked for windows"
                );
            }
            stop.run_until_cancelled(tokio::time::sleep(REST)).await;
        }
        away = heard.is_err();
        tell(accounts.drain(..), heard.ok());
    }
}

/// Requests all asks; returns nothing if a part fails.
async fn lease(link: &ControlLink, asks: &[WindowAsk]) -> Result<Vec<WindowGrant>, Status> {
    let mut grants = Vec::with_capacity(asks.len());
    for some in asks.chunks(ASKS_MAX) {
        let mut request = tonic::Request::new(wire::LeaseWindowsRequest {
            node: link.node.to_string(),
            asks: some.iter().map(window_ask_to_wire).collect(),
        });
        request.set_timeout(ANSWER_MAX);
        let mut client = link.client.clone();
        let answer = tokio::time::timeout(ANSWER_MAX, client.lease_windows(request)).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
        let read = |grant| {
            window_grant_from_wire(grant).map_err(|error| Status::internal(error.to_string()))
        };
        let read: Result<Vec<_>, _> = answer.into_inner().grants.into_iter().map(read).collect();
        grants.extend(read?);
    }
    Ok(grants)
}

/// Gives each account its own grants.
fn tell(accounts: impl Iterator<Item = Arc<RateLimitWindows>>, grants: Option<Vec<WindowGrant>>) {
    let mut of: Option<HashMap<PayerId, Vec<WindowGrant>>> = grants.map(|grants| {
        let mut of: HashMap<_, Vec<_>> = HashMap::new();
        for grant in grants {
            of.entry(grant.key.payer()).or_default().push(grant);
        }
        of
    });
    for account in accounts {
        match &mut of {
            Some(of) => {
                let grants = of.remove(&account.payer()).unwrap_or_default();
                account.hear(Some(&grants));
            }
            None => account.hear(None),
        }
    }
}
