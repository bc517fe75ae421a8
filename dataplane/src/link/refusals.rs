//! Reports refused calls to control, some each second, as best effort: losing them costs no account anything.
//!
//! A failed batch is sent again unchanged, since control knows each row by its id; one that control cannot read is
//! dropped. Meanwhile further refusals are only counted.

use std::{sync::Arc, time::Duration};

use proxyxai_contract::{convert::refused_to_wire, wire};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use super::ControlLink;
use crate::{state::RuntimeState, telemetry::RefusedCallQueue};

const ROUND: Duration = Duration::from_secs(1);
const REPORT_MAX: Duration = Duration::from_secs(5);
/// Time limit for the last report of a data plane that stops.
const LAST_REPORT_MAX: Duration = Duration::from_secs(1);

/// Runs until it is cancelled, then reports once more.
pub(crate) async fn run(
    link: ControlLink,
    state: Arc<RuntimeState>,
    mut refusals: RefusedCallQueue,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    let mut stopping = false;
    while !stopping {
        let round = stop.run_until_cancelled(tokio::time::sleep(ROUND)).await;
        stopping = round.is_none();
        let lost = refusals.look();
        if lost > 0 {
            tracing::warn!(
                calls = lost,
                "more accounts were refused calls than can be told; some are not"
            );
        }
        let Some(snapshot) = state.snapshot() else {
            continue;
        };
        if !snapshot.settings.keeps_refusals {
            refusals.forget();
            batch.clear();
            continue;
        }
        if batch.is_empty() {
            batch = refusals.take_batch().iter().map(refused_to_wire).collect();
        }
        if batch.is_empty() {
            continue;
        }
        let limit = if stopping {
            LAST_REPORT_MAX
        } else {
            REPORT_MAX
        };
        match report(&link, &batch, limit).await {
            Ok(()) => batch.clear(),
            Err(status) => {
                tracing::debug!(code = ?status.code(), message = status.message(), "refused calls could not be handed in");
                if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) {
                    batch.clear();
                }
            }
        }
    }
}

async fn report(
    link: &ControlLink,
    batch: &[wire::RefusedCall],
    limit: Duration,
) -> Result<(), Status> {
    let mut request = Request::new(wire::ReportRefusalsRequest {
        node: link.node.to_string(),
        refusals: batch.to_vec(),
    });
    request.set_timeout(limit);
    let mut client = link.client.clone();
    let sent = tokio::time::timeout(limit, client.report_refusals(request)).await;
    let answer = sent.map_err(|_| Status::deadline_exceeded("no answer in time"))?;
    answer.map(drop)
}
