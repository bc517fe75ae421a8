//! Asks providers, or the node above, for their models. No call waits for it; it is bounded in time, bytes and number,
//! and a list is kept for an hour.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, header, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use proxyxai_contract::provider::ProviderType;
use tokio::{runtime::Handle, sync::Semaphore, time::Instant};

use super::{context::Relay, headers, segments::BodySegments};
use crate::{
    formats::model_list,
    state::{DialectNeed, KeyState},
};

const WAIT: Duration = Duration::from_secs(10);
/// `OpenRouter`'s list has more than one MiB.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests in flight at once, of all threads together.
static ASKED_AT_ONCE: Semaphore = Semaphore::const_new(4);
/// How long to wait for the first lists.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// Starts to fetch the models of keys whose list is missing or old.
pub(crate) fn refresh<'k>(relay: &Relay, keys: impl Iterator<Item = &'k Arc<KeyState>>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    for key in keys.filter(|key| key.offer.begin(relay.clock.now())) {
        let (relay, key) = (relay.clone(), Arc::clone(key));
        drop(runtime.spawn(async move {
            let _turn = ASKED_AT_ONCE.acquire().await;
            let listed = tokio::time::timeout(WAIT, listed(&relay, &key)).await;
            key.offer.end(listed.ok().flatten(), relay.clock.now());
        }));
    }
}

/// Waits a short while until one of these keys has a list, or no request is in flight.
pub(crate) async fn wait_for_first(keys: &[&Arc<KeyState>]) {
    let until = Instant::now() + FIRST_WAIT;
    while Instant::now() < until
        && keys.iter().any(|key| key.offer.is_asked())
        && keys.iter().all(|key| key.offer.listed().is_none())
    {
        tokio::time::sleep(FIRST_LOOK).await;
    }
}

async fn listed(relay: &Relay, key: &KeyState) -> Option<BTreeSet<String>> {
    let provider = &key.key.provider;
    let target = match key.key.config.provider_type {
        // By default it lists twenty at a time.
        ProviderType::Anthropic => "/v1/models?limit=1000",
        ProviderType::Standard if key.speaks(DialectNeed::Anthropic) => "/v1/models?limit=1000",
        ProviderType::Standard | ProviderType::Azure => "/v1/models",
    };
    let path = provider.join(&PathAndQuery::from_static(target)).ok()?;
    let request = || {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, key.host.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        headers.insert(header::VIA, relay.via.clone());
        headers::add_key_headers(&mut headers, key, false);
        let mut request = Request::new(BodySegments::new([]));
        *request.uri_mut() = path.clone().into();
        *request.headers_mut() = headers;
        request
    };
    let answer = relay.client.send(provider.origin(), request).await.ok()?;
    let (parts, mut body) = answer.into_parts();
    if !parts.status.is_success() {
        return None;
    }
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame.ok()?.data_ref().map_or(&[], AsRef::as_ref));
        if text.len() > BODY_BYTES_MAX {
            return None;
        }
    }
    model_list::names(&text)
}
