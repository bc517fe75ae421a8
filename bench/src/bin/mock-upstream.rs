//! A scripted OpenAI-like upstream, as fast as hyper goes: one current-thread runtime per core on one `SO_REUSEPORT`
//! port, answers built before the first request. It checks no key and keeps no state; a stream is paced as its
//! model name says and every chunk carries its send time in µs as its text, which no gateway changes.
//!
//! Usage: `mock-upstream PORT`

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use proxyxai_bench::{StreamScript, cores, wall_us};
use tokio::net::TcpSocket;
use tokio::time::{Instant, Sleep, sleep_until};

type Answer = Response<Either<Full<Bytes>, Paced>>;

static CHAT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(chat_answer()));
static EMBEDDING: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(embedding_answer()));
static MODELS: Bytes = Bytes::from_static(
    br#"{"object":"list","data":[{"id":"gpt-4o-mini","object":"model","created":1,"owned_by":"mock"},{"id":"text-embedding-3-small","object":"model","created":1,"owned_by":"mock"}]}"#,
);
const USAGE_CHUNK: &str = "data: {\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":0,\"model\":\"mock\",\"choices\":[],\"usage\":{\"prompt_tokens\":57,\"completion_tokens\":50,\"total_tokens\":107}}\n\n";

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args()
        .nth(1)
        .ok_or("usage: mock-upstream PORT")?
        .parse()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let threads: Vec<_> = (0..cores())
        .map(|_| std::thread::spawn(move || serve(address)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| "a serving thread panicked")??;
    }
    Ok(())
}

fn serve(address: SocketAddr) -> Result<(), std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let listener = socket.listen(1024)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A peer that hangs up mid-answer is part of the game, so the connection's error is of no use.
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return Ok(whole(StatusCode::BAD_REQUEST, Bytes::new()));
    };
    Ok(match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/v1/chat/completions") => chat(&body),
        (&Method::POST, "/v1/embeddings") => whole(StatusCode::OK, EMBEDDING.clone()),
        (&Method::GET, "/v1/models") => whole(StatusCode::OK, MODELS.clone()),
        _ => whole(
            StatusCode::NOT_FOUND,
            Bytes::from_static(b"{\"error\":{\"message\":\"not scripted\"}}"),
        ),
    })
}

fn chat(body: &[u8]) -> Answer {
    if !is_true(body, b"\"stream\":") {
        return whole(StatusCode::OK, CHAT.clone());
    }
    let script = StreamScript::from_model(text(body, b"\"model\":").unwrap_or_default());
    let paced = Paced::new(script, is_true(body, b"\"include_usage\":"));
    let mut response = Response::new(Either::Right(paced));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn whole(status: StatusCode, body: Bytes) -> Answer {
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The JSON text after the last `key`, blanks skipped. Enough for bodies the rig itself writes.
fn value<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::rfind(body, key)?;
    body.get(at + key.len()..).map(<[u8]>::trim_ascii_start)
}

fn is_true(body: &[u8], key: &[u8]) -> bool {
    value(body, key).is_some_and(|v| v.starts_with(b"true"))
}

fn text<'a>(body: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let quoted = value(body, key)?.strip_prefix(b"\"")?;
    std::str::from_utf8(quoted.split(|b| *b == b'"').next()?).ok()
}

// === the answers ===

fn chat_answer() -> String {
    let words =
        "The quick answer to a plain question, as long as a short paragraph is. ".repeat(10);
    format!(
        r#"{{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":57,"completion_tokens":150,"total_tokens":207}}}}"#
    )
}

fn embedding_answer() -> String {
    let mut numbers = String::new();
    for i in 0..1536_u32 {
        let comma = if i == 0 { "" } else { "," };
        // Twelve characters a number: 1,536 of them make the 19 KiB that real embeddings have.
        let digits = i.wrapping_mul(2_654_435_761) % 100_000_000;
        let _ = write!(numbers, "{comma}-0.{digits:08}");
    }
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[{numbers}]}}],"model":"mock","usage":{{"prompt_tokens":57,"total_tokens":57}}}}"#
    )
}

/// The body of a paced stream: one frame per chunk, then the usage chunk if it was asked for, then `[DONE]`.
struct Paced {
    script: StreamScript,
    include_usage: bool,
    sent: u32,
    start: Instant,
    due: Pin<Box<Sleep>>,
}

impl Paced {
    fn new(script: StreamScript, include_usage: bool) -> Self {
        let start = Instant::now();
        Self {
            script,
            include_usage,
            sent: 0,
            start,
            due: Box::pin(sleep_until(start)),
        }
    }

    fn chunk(&self) -> Bytes {
        let finish = if self.sent == self.script.chunks {
            "\"stop\""
        } else {
            "null"
        };
        Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-mock\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"mock\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n",
            wall_us()
        ))
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunks = self.script.chunks;
        if self.sent < chunks {
            ready!(self.due.as_mut().poll(cx));
            self.sent += 1;
            let next = self.start + self.script.gap * self.sent;
            self.due.as_mut().reset(next);
            return Poll::Ready(Some(Ok(Frame::data(self.chunk()))));
        }
        if std::mem::take(&mut self.include_usage) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                USAGE_CHUNK.as_bytes(),
            )))));
        }
        if self.sent == chunks {
            self.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                b"data: [DONE]\n\n",
            )))));
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_sizes_the_scenarios_name() {
        assert!(
            (900..1200).contains(&chat_answer().len()),
            "{}",
            chat_answer().len()
        );
        assert!(
            (18_500..20_500).contains(&embedding_answer().len()),
            "{}",
            embedding_answer().len()
        );
    }

    #[test]
    fn a_stream_is_seen_with_and_without_blanks() {
        assert!(is_true(br#"{"stream": true}"#, b"\"stream\":"));
        assert!(!is_true(br#"{"stream":false}"#, b"\"stream\":"));
        assert_eq!(
            text(br#"{"model":"mock-stream-2x1"}"#, b"\"model\":"),
            Some("mock-stream-2x1")
        );
    }
}
