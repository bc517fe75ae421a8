//! Checks whether a key is accepted, with a request that no client influences: the list of models. No call waits for
//! it, and it is bounded in time, bytes and number.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use proxyxai_contract::id::AccountId;
use tokio::runtime::Handle;

use super::{Call, Relay, headers, segments::BodySegments};
use crate::{
    formats::error_classifier::{FaultVerdict, UpstreamRefusal, classify},
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

impl Relay {
    /// Starts a check whether a key is accepted, unless one was started a moment ago.
    pub(super) fn start_key_check(&self, call: &Call, key: &Arc<KeyState>) {
        if !key.health.may_inquire(self.clock.now()) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let inquiry = KeyCheck {
            key: Arc::clone(key),
            snapshot: Arc::clone(&call.charge.snapshot),
            account: call.key_query().account,
            customer: call.key_query().customer,
            of_model: call.metered,
        };
        let relay = self.clone();
        drop(runtime.spawn(async move { relay.find_out(&inquiry).await }));
    }

    async fn find_out(&self, inquiry: &KeyCheck) {
        let KeyCheck {
            key,
            snapshot,
            account,
            customer,
            of_model,
        } = inquiry;
        let health = &key.health;
        let _probe = of_model.then(|| health.begin_inquiry(self.clock.now()));
        let said = tokio::time::timeout(WAIT, self.ask_for_models(key)).await;
        let Some((status, verdict, reason)) = said.ok().flatten() else {
            return;
        };
        let refused = matches!(
            verdict,
            FaultVerdict::RetryQuarantine | FaultVerdict::RetryDoubt
        );
        if status.is_success() {
            health.vouch(*account);
        } else if refused {
            let trouble = KeyFailure {
                verdict: FaultVerdict::RetryQuarantine,
                reason: &reason,
                connect_failure: None,
                storm: self.storm(snapshot, key),
            };
            let want = KeyQuery {
                model: "",
                account: *account,
                customer: *customer,
                dialect_need: DialectNeed::Any,
            };
            self.report_health(health.fail(key.key.id, want, trouble, self.clock.now()));
        }
    }

    async fn ask_for_models(&self, key: &KeyState) -> Option<(StatusCode, FaultVerdict, String)> {
        let provider = &key.key.provider;
        let path = provider
            .join(&PathAndQuery::from_static("/v1/models"))
            .ok()?;
        let request = || {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, key.host.clone());
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(header::VIA, self.via.clone());
            headers::add_key_headers(&mut headers, key, false);
            let mut request = Request::new(BodySegments::new([]));
            *request.uri_mut() = path.clone().into();
            *request.headers_mut() = headers;
            request
        };
        let answer = self.client.send(provider.origin(), request).await.ok()?;
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
        let judged = classify(refusal, &header, self.clock.now());
        Some((parts.status, judged.verdict, judged.reason))
    }
}
