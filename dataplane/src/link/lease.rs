//! Requests credit from control and returns what is unused. It also sends regular signs of life, since control reclaims
//! the leases of a silent data plane.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use proxyxai_contract::{
    convert::{answer_from_wire, ask_to_wire},
    lease::{LeaseAnswer, LeaseAsk},
    wire,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::ControlLink;
use crate::state::{CreditLease, RuntimeState};

/// Accounts in one request.
const BATCH_MAX: usize = 500;
/// Requests in flight at once.
const REQUESTS_MAX: usize = 16;
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How many replicas may be left during one request.
const REPLICAS_ASKED_MAX: usize = 3;
/// How long after a failure its replica may be left.
const LEAVE_MAX: Duration = Duration::from_millis(2_500);
/// Interval at which unused credit is looked for and control gets a sign of life; shorter when leases are short.
const ROUND: Duration = Duration::from_secs(10);
const ROUND_MIN: Duration = Duration::from_millis(500);

/// Runs until it is cancelled, then returns what is left.
pub(crate) async fn run(
    link: ControlLink,
    state: Arc<RuntimeState>,
    mut lease_asks: mpsc::Receiver<Arc<CreditLease>>,
    stop: CancellationToken,
) {
    let mut under_way = FuturesUnordered::new();
    let mut round = tokio::time::interval(ROUND_MIN);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_round: Option<Instant> = None;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            count = lease_asks.recv_many(&mut batch, BATCH_MAX), if under_way.len() < REQUESTS_MAX => {
                if count == 0 {
                    break;
                }
                under_way.push(serve(&link, &state, std::mem::take(&mut batch)));
            }
            Some(()) = under_way.next() => {}
            _ = round.tick() => {
                let often = Duration::from_millis(state.reach().lease_ms() / 4).clamp(ROUND_MIN, ROUND);
                if last_round.is_none_or(|last| last.elapsed() >= often) {
                    last_round = Some(Instant::now());
                    under_way.push(serve(&link, &state, Vec::new()));
                    for credit_lease in state.credit_leases() {
                        credit_lease.return_idle(link.island);
                    }
                }
            }
        }
    }
    while under_way.next().await.is_some() {}
    give_back(&link, &state, &mut lease_asks).await;
}

/// Returns everything at the end. What calls still hold stays covered until control gives up on this node.
async fn give_back(
    link: &ControlLink,
    state: &RuntimeState,
    lease_asks: &mut mpsc::Receiver<Arc<CreditLease>>,
) {
    let mut credit_leases = state.credit_leases();
    credit_leases.retain(|credit_lease| credit_lease.has_lease());
    for credit_lease in &credit_leases {
        credit_lease.recall();
    }
    while lease_asks.try_recv().is_ok() {}
    for batch in credit_leases.chunks(BATCH_MAX) {
        serve(link, state, batch.to_vec()).await;
    }
}

/// Requests credit for a batch of accounts; an empty batch is a sign of life.
async fn serve(link: &ControlLink, state: &RuntimeState, credit_leases: Vec<Arc<CreditLease>>) {
    let greeting = credit_leases.is_empty();
    let mut asking = Vec::with_capacity(credit_leases.len());
    for credit_lease in credit_leases {
        match credit_lease.next_ask(link.island) {
            Some(ask) => asking.push((credit_lease, ask)),
            None => credit_lease.not_asked(),
        }
    }
    if asking.is_empty() && !greeting {
        return;
    }
    let asked = Instant::now();
    let asks: Vec<_> = asking.iter().map(|(_, ask)| *ask).collect();
    match request_of_any(link, &asks).await {
        Ok((answers, lease_ms)) => {
            state.reach().heard(asked, lease_ms);
            let answers: HashMap<_, _> = answers
                .iter()
                .map(|answer| (answer.lease.payer, answer))
                .collect();
            for (credit_lease, ask) in asking {
                // An account that control no longer knows gets nothing.
                credit_lease.answered(answers.get(&ask.payer).copied());
            }
        }
        Err(status) => {
            tracing::warn!(code = ?status.code(), message = status.message(), "control cannot be asked for credit");
            for (credit_lease, _) in asking {
                credit_lease.answered(None);
            }
        }
    }
}

/// Asks the replica in use, and the next one if this one is left meanwhile: calls wait for the answer.
async fn request_of_any(
    link: &ControlLink,
    asks: &[LeaseAsk],
) -> Result<(Vec<LeaseAnswer>, u64), Status> {
    for _ in 0..REPLICAS_ASKED_MAX {
        let turn = link.channel.turn();
        let failed = match request(link, asks).await {
            Err(status) if is_out_of_reach(&status) => status,
            answered => return answered,
        };
        if !link.channel.has_others() {
            return Err(failed);
        }
        // A replica that does not answer is left within moments.
        let left = tokio::time::timeout(LEAVE_MAX, link.channel.left(turn)).await;
        if left.is_err() {
            return Err(failed);
        }
    }
    request(link, asks).await
}

fn is_out_of_reach(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
    )
}

async fn request(link: &ControlLink, asks: &[LeaseAsk]) -> Result<(Vec<LeaseAnswer>, u64), Status> {
    let mut request = tonic::Request::new(wire::LeaseCreditRequest {
        node: link.node.to_string(),
        epoch: link.epoch,
        asks: asks.iter().map(ask_to_wire).collect(),
    });
    request.set_timeout(REQUEST_MAX);
    let wire::LeaseCreditResponse { answers, lease_ms } = link
        .client
        .clone()
        .lease_credit(request)
        .await?
        .into_inner();
    let answers = answers
        .into_iter()
        .filter_map(|answer| answer_from_wire(answer).ok());
    Ok((answers.collect(), lease_ms))
}
