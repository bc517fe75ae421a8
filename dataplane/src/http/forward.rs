//! Forwards `/x-*` and `/dashboard/*` to control, so that old clients need only one host name.

use std::net::IpAddr;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Limited};
use proxyxai_contract::provider::BaseUrl;
use tower::BoxError;

use crate::{
    decide::admit::Refusal,
    formats::Dialect,
    relay::{BodySegments, Relay, X_FORWARDED_FOR, refuse, strip_hop_by_hop},
};

/// Control accepts no larger body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Forwards one administrative request.
pub(super) async fn forward<B>(
    relay: &Relay,
    control: &BaseUrl,
    peer: IpAddr,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let Ok(body) = tokio::time::timeout(relay.config.limits.body_idle, body).await else {
        return refuse(Dialect::OpenAi, &Refusal::SlowBody);
    };
    let Ok(body) = body else {
        return refuse(
            Dialect::OpenAi,
            &Refusal::TooLarge {
                limit: BODY_BYTES_MAX,
            },
        );
    };
    let path = parts.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (Ok(path), Ok(host)) = (
        control.join(&path),
        HeaderValue::from_str(control.authority().as_str()),
    ) else {
        return refuse(Dialect::OpenAi, &Refusal::Unavailable);
    };
    strip_hop_by_hop(&mut parts.headers);
    for name in [header::CONTENT_LENGTH, header::EXPECT] {
        parts.headers.remove(name);
    }
    parts.headers.insert(header::HOST, host);
    if let Ok(peer) = HeaderValue::from_str(&peer.to_string()) {
        parts.headers.append(X_FORWARDED_FOR, peer);
    }
    parts.uri = path.into();
    let body = BodySegments::new([body.to_bytes()]);
    let request = || Request::from_parts(parts.clone(), body.clone());
    let answer = relay.control_client.send(control.origin(), request);
    match tokio::time::timeout(relay.config.limits.idle, answer).await {
        Ok(Ok(response)) => {
            let (mut parts, body) = response.into_parts();
            strip_hop_by_hop(&mut parts.headers);
            Response::from_parts(parts, Body::new(body))
        }
        Ok(Err(lost)) => {
            tracing::warn!(?lost, "control cannot be reached");
            refuse(Dialect::OpenAi, &Refusal::Unavailable)
        }
        Err(_) => refuse(Dialect::OpenAi, &Refusal::Unavailable),
    }
}
