//! The yardstick: the plain way to write a reverse proxy with axum and reqwest, doing nothing but forwarding.
//! No keys, no limits, no accounting and, on purpose, none of the tricks that would make it faster.
//!
//! Usage: `passthrough PORT UPSTREAM_IP:PORT`

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri, header};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use proxyxai_bench::{cores, loopback};
use tokio::net::TcpListener;

struct Upstream {
    client: reqwest::Client,
    base: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(port), Some(upstream)) = (args.next(), args.next()) else {
        return Err("usage: passthrough PORT UPSTREAM_IP:PORT".into());
    };
    let port: u16 = port.parse()?;
    let base = format!("http://{}", loopback(&upstream)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores())
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()?;
        let app = Router::new()
            .fallback(forward)
            .with_state(Arc::new(Upstream { client, base }));
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await?
            .tap_io(|stream| {
                // Nagle would add 36 ms to streamed chunks; a socket already closed fails here and again at its first read.
                let _ = stream.set_nodelay(true);
            });
        axum::serve(listener, app).await?;
        Ok(())
    })
}

async fn forward(
    State(upstream): State<Arc<Upstream>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, StatusCode> {
    for hop in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(hop);
    }
    let url = format!(
        "{}{}",
        upstream.base,
        uri.path_and_query().map_or("/", |p| p.as_str())
    );
    let sent = upstream
        .client
        .request(method, url)
        .headers(headers)
        .body(body)
        .send()
        .await;
    let answer = sent.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != header::CONNECTION && name != header::TRANSFER_ENCODING {
            response = response.header(name, value);
        }
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .map_err(|_| StatusCode::BAD_GATEWAY)
}
