//! Reports key health to control, so that other data planes need not learn it themselves.

use proxyxai_contract::{convert::health_to_wire, snapshot::KeyHealthReport, wire};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ControlLink;

const BATCH_MAX: usize = 256;

/// Runs until it is cancelled. A failed report is not sent again: health is soon outdated, and every data plane can
/// learn it by itself.
pub(crate) async fn run(
    link: ControlLink,
    mut learnt: mpsc::Receiver<KeyHealthReport>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    while let Some(count) = stop
        .run_until_cancelled(learnt.recv_many(&mut batch, BATCH_MAX))
        .await
    {
        if count == 0 {
            return;
        }
        let request = wire::ReportHealthRequest {
            node: link.node.to_string(),
            healths: batch
                .drain(..)
                .map(|health| health_to_wire(&health))
                .collect(),
        };
        if let Err(status) = link.client.clone().report_health(request).await {
            tracing::debug!(code = ?status.code(), "health could not be passed on");
        }
    }
}
