//! Whose fault a refusal is: the call's, the key's, or the provider's as a whole.

use std::{collections::VecDeque, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;

use super::{AttemptFailure, AttemptOutcome, UpstreamResponse};
use crate::{
    decide::health::storm,
    formats::error_classifier::{ClassifiedRefusal, FaultVerdict, UpstreamRefusal, classify},
    relay::{context::Relay, first_event::ResponseHead},
    state::{KeyState, Snapshot},
};

/// How much of a refusal is read to judge it, and how long that may take.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_WAIT: Duration = Duration::from_secs(10);

/// Reads the beginning of a refusal and decides whose fault it is.
pub(super) async fn judge(
    relay: &Relay,
    head: ResponseHead,
    of_model: bool,
) -> Result<AttemptOutcome, AttemptFailure> {
    let ResponseHead {
        parts, mut body, ..
    } = head;
    let (mut read, mut text) = (VecDeque::new(), Vec::new());
    let reading = async {
        while text.len() < REFUSAL_BYTES_MAX {
            match body.frame().await {
                Some(Ok(frame)) => {
                    text.extend_from_slice(frame.data_ref().map_or(&[], AsRef::as_ref));
                    read.push_back(frame);
                }
                // A refusal that breaks off is judged by what has arrived of it.
                Some(Err(_)) | None => break,
            }
        }
    };
    let patience = REFUSAL_WAIT.min(relay.config.limits.first_byte);
    let in_time = tokio::time::timeout(patience, reading).await.is_ok();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let refusal = UpstreamRefusal {
        status: parts.status.as_u16(),
        body: &text,
        of_model,
    };
    let ClassifiedRefusal { verdict, reason } = classify(refusal, &header, relay.clock.now());
    match verdict {
        FaultVerdict::Deliver if in_time => {
            Ok(AttemptOutcome::Answer(Box::new(UpstreamResponse {
                parts,
                read,
                body,
                asked_usage: false,
                span: None,
            })))
        }
        FaultVerdict::Deliver => Err(AttemptFailure::transport(
            StatusCode::GATEWAY_TIMEOUT,
            "the provider's answer stalled",
        )),
        verdict => Err(AttemptFailure {
            status: parts.status,
            reason,
            verdict,
            silence: None,
            connect_failure: None,
        }),
    }
}

/// Whether so many keys of this provider were refused that the keys are likely not at fault. Keys that were
/// quarantined before that became clear sleep instead.
pub(in crate::relay) fn is_storm(relay: &Relay, snapshot: &Snapshot, key: &KeyState) -> bool {
    let now = relay.clock.now();
    let host = key.key.provider.host();
    let siblings: Vec<_> = snapshot
        .keys()
        .filter(|other| other.key.provider.host() == host && other.key.id != key.key.id)
        .collect();
    let refused = siblings
        .iter()
        .filter(|sibling| sibling.health.refused_lately(now));
    let storm = storm(refused.clone().count() + 1, siblings.len() + 1);
    if storm {
        refused.for_each(|sibling| relay.report_health(sibling.health.calm(sibling.key.id, now)));
    }
    storm
}
