//! Checks whether a key is accepted, with a request that no client influences: the list of models. No call waits for
//! it, and it is bounded in time, bytes and number.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use proxyxai_contract::id::AccountId;
use tokio::runtime::Handle;

use super::{attempt::is_storm, call::Call, context::Relay, headers, segments::BodySegments};
use crate::{
    formats::error_classifier::{ClassifiedRefusal, FaultVerdict, UpstreamRefusal, classify},
    state::{DialectNeed, KeyFailure, KeyQuery, KeyState, Snapshot},
};

const WAIT: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The subject of a check.
struct KeyCheck {
    key: Arc<KeyState>,
    snapshot: Arc<Snapshot>,
    /// The account whose call was refused.
    account: AccountId,
    /// The account below root that it belongs to.
    customer: AccountId,
    /// Whether the refusal was about a model, so that other calls do not run into the same.
    of_model: bool,
}

/// What the provider replied.
struct KeyCheckReply {
    status: StatusCode,
    verdict: FaultVerdict,
    reason: String,
}

/// Starts a check whether a key is accepted, unless one was started a moment ago.
pub(super) fn start_key_check(relay: &Relay, call: &Call, key: &Arc<KeyState>) {
    if !key.health.may_inquire(relay.clock.now()) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let key_check = KeyCheck {
        key: Arc::clone(key),
        snapshot: Arc::clone(&call.charge.basis.snapshot),
        account: call.key_query().account,
        customer: call.key_query().customer,
        of_model: call.is_metered(),
    };
    let relay = relay.clone();
    drop(runtime.spawn(async move { check(&relay, &key_check).await }));
}

async fn check(relay: &Relay, key_check: &KeyCheck) {
    let KeyCheck {
        key,
        snapshot,
        account,
        customer,
        of_model,
    } = key_check;
    let health = &key.health;
    let _probe = of_model.then(|| health.begin_inquiry(relay.clock.now()));
    let said = tokio::time::timeout(WAIT, ask_for_models(relay, key)).await;
    let Some(reply) = said.ok().flatten() else {
        return;
    };
    let refused = matches!(
        reply.verdict,
        FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt
    );
    if reply.status.is_success() {
        health.vouch(*account);
    } else if refused {
        let trouble = KeyFailure {
            verdict: FaultVerdict::RetryQuarantine,
            reason: &reply.reason,
            connect_failure: None,
            storm: is_storm(relay, snapshot, key),
        };
        let want = KeyQuery {
            model: "",
            account: *account,
            customer: *customer,
            dialect_need: DialectNeed::Any,
        };
        relay.report_health(health.fail(key.key.id, want, trouble, relay.clock.now()));
    }
}

async fn ask_for_models(relay: &Relay, key: &KeyState) -> Option<KeyCheckReply> {
    let provider = &key.key.provider;
    let path = provider
        .join(&PathAndQuery::from_static("/v1/models"))
        .ok()?;
    let request = || {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, key.host.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::VIA, relay.via.clone());
        headers::add_key_headers(&mut headers, key, false);
        let mut request = Request::new(BodySegments::new([]));
        *request.uri_mut() = path.clone().into();
        *request.headers_mut() = headers;
        request
    };
    let answer = relay.client.send(provider.origin(), request).await.ok()?;
    let (parts, mut body) = answer.into_parts();
    let mut text = Vec::new();
    while text.len() < BODY_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        text.extend_from_slice(frame.data_ref().map_or(&[], AsRef::as_ref));
    }
    let header = |name: &str| parts.headers.get(name)?.to_str().ok();
    let refusal = UpstreamRefusal {
        status: parts.status.as_u16(),
        body: &text,
        of_model: true,
    };
    let ClassifiedRefusal { verdict, reason } = classify(refusal, &header, relay.clock.now());
    Some(KeyCheckReply {
        status: parts.status,
        verdict,
        reason,
    })
}
