//! A scripted upstream: a real HTTP server with a script for each key, which keeps the requests it gets.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// The response to requests with one key.
#[derive(Clone, Debug)]
pub enum Script {
    /// A chat completion that used 11 prompt and 7 completion tokens.
    Chat,
    /// A chat completion after a pause.
    Slow { pause: Duration },
    /// Exactly this response.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// Events with a pause before each but the first; then the end, or a broken connection.
    Stream {
        chunks: Vec<Bytes>,
        pause: Duration,
        breaks: bool,
    },
    /// Events, then nothing for as long as the client stays.
    Stalled { chunks: Vec<Bytes> },
    /// `count` events, each with the moment it left (see `moment`), with a pause between them.
    Clocked { count: usize, pause: Duration },
    /// Events that depend on whether the request asks for usage.
    ByUsage {
        asked: Vec<Bytes>,
        plain: Vec<Bytes>,
    },
    /// A chat completion, streamed if requested, whose usage is what `tagged_usage` gives for the number in its prompt,
    /// `call 17`.
    Tagged,
    /// Declares the whole length and breaks off after `sent` bytes.
    Truncated { body: Bytes, sent: usize },
    /// Closes the connection without a response.
    Hangup,
    /// Headers at once, then nothing.
    Silent,
    /// Nothing at all, and the connection stays open.
    Mute,
    /// The method, path with query, headers and body, echoed as they came.
    Echo,
    /// The first if the path or the body contains a word, else the second.
    Where(&'static str, Box<[Self; 2]>),
    /// The first if one of these headers is present, else the second.
    WithHeader(&'static [&'static str], Box<[Self; 2]>),
}

impl Script {
    /// `script` for requests with a word in their path or body; `other` for all others.
    pub fn where_it_says(word: &'static str, script: Self, other: Self) -> Self {
        Self::Where(word, Box::new([script, other]))
    }

    /// The script that applies to one request.
    fn of(self, target: &str, headers: &HeaderMap, body: &[u8]) -> Self {
        match self {
            Self::Where(word, scripts) => {
                let [first, other] = *scripts;
                let says = target.contains(word) || String::from_utf8_lossy(body).contains(word);
                (if says { first } else { other }).of(target, headers, body)
            }
            Self::WithHeader(names, scripts) => {
                let [first, other] = *scripts;
                let has = names.iter().any(|name| headers.contains_key(*name));
                (if has { first } else { other }).of(target, headers, body)
            }
            script => script,
        }
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A running upstream; ends when dropped.
pub struct Upstream {
    pub base: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    scripts: Mutex<HashMap<String, Script>>,
    seen: Mutex<Vec<(String, Seen)>>,
    /// Number of streams whose client is still connected.
    open: watch::Sender<usize>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            scripts: Mutex::default(),
            seen: Mutex::default(),
            open: watch::channel(0).0,
        });
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    return;
                };
                socket.set_nodelay(true).unwrap();
                let state = Arc::clone(&shared);
                let service =
                    hyper::service::service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(async move {
                    // A client that disconnects is part of the test.
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self {
            base,
            state,
            server,
        }
    }

    /// Sets the script of a key. Unknown keys get 401.
    pub fn script(&self, key: &str, script: Script) {
        self.state
            .scripts
            .lock()
            .unwrap()
            .insert(key.to_owned(), script);
    }

    /// Requests made with a key.
    pub fn seen(&self, key: &str) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter()
            .filter(|(used, _)| used == key)
            .map(|(_, seen)| seen.clone())
            .collect()
    }

    /// How often a key was used.
    pub fn count(&self, key: &str) -> usize {
        self.seen(key).len()
    }

    /// How many streams are open.
    pub fn open(&self) -> usize {
        *self.state.open.borrow()
    }

    /// All requests, with any key.
    pub fn seen_all(&self) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().map(|(_, seen)| seen.clone()).collect()
    }

    /// Waits until no stream is open.
    pub async fn all_closed(&self) {
        let mut open = self.state.open.subscribe();
        tokio::time::timeout(Duration::from_secs(5), open.wait_for(|open| *open == 0))
            .await
            .expect("a stream is still open upstream")
            .unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A chat completion with this text.
pub fn completion(text: &str) -> Bytes {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}}}"#
    )
    .into()
}

/// The body of `OpenAI`'s refusal of an unknown key.
pub fn invalid_key() -> Script {
    Script::Answer {
        status: 401,
        headers: vec![("content-type", "application/json".to_owned())],
        body: Bytes::from_static(br#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#),
    }
}

/// A bare status with a JSON error.
pub fn status(status: u16) -> Script {
    Script::Answer {
        status,
        headers: vec![("content-type", "application/json".to_owned())],
        body: Bytes::from_static(br#"{"error":{"message":"scripted","type":"server_error"}}"#),
    }
}

/// Nanoseconds on a clock that the tests share with the upstream, which runs in the same process.
pub fn moment() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap()
}

/// One server-sent event with this data.
pub fn event(data: &str) -> Bytes {
    format!("data: {data}\n\n").into()
}

/// A stream of events without a pause.
pub fn events_at_once(chunks: Vec<Bytes>) -> Script {
    Script::Stream {
        chunks,
        pause: Duration::ZERO,
        breaks: false,
    }
}

/// A JSON response.
pub fn json_answer(status: u16, body: impl Into<Bytes>) -> Script {
    Script::Answer {
        status,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.into(),
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<hyper::body::Incoming>,
) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let bearer = text("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    let key = bearer
        .or_else(|| text("x-api-key"))
        .or_else(|| text("api-key"))
        .unwrap_or_default();
    let seen = Seen {
        method: parts.method.clone(),
        target: parts.uri.to_string(),
        headers: parts.headers.clone(),
        body: body.clone(),
    };
    state.seen.lock().unwrap().push((key.clone(), seen));
    let script = state.scripts.lock().unwrap().get(&key).cloned();
    let script = script.unwrap_or_else(invalid_key);
    let script = script.of(&parts.uri.to_string(), &parts.headers, &body);
    Ok(match script {
        Script::Where(..) | Script::WithHeader(..) => unreachable!("told apart above"),
        Script::Chat => json(200, completion("hello")),
        Script::Slow { pause } => {
            tokio::time::sleep(pause).await;
            json(200, completion("hello"))
        }
        Script::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body)).unwrap()
        }
        Script::Stream {
            chunks,
            pause,
            breaks,
        } => events(&state, chunks, pause, breaks),
        Script::Stalled { chunks } => {
            let open = Open::new(&state);
            let rest = stream::once(async move {
                let _open = open;
                std::future::pending::<Result<Bytes, Infallible>>().await
            });
            let body = stream::iter(chunks.into_iter().map(Ok)).chain(rest);
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(body))
                .unwrap()
        }
        Script::Clocked { count, pause } => clocked(&state, count, pause),
        Script::ByUsage { asked, plain } => {
            let wanted: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let asks = wanted["stream_options"]["include_usage"] == true;
            events(
                &state,
                if asks { asked } else { plain },
                Duration::ZERO,
                false,
            )
        }
        Script::Tagged => tagged(&state, &body),
        Script::Truncated { body, sent } => {
            let part = Ok(body.slice(..sent));
            let broken = Err(io::Error::other("scripted break"));
            Response::builder()
                .header("content-type", "application/json")
                .header("content-length", body.len())
                .body(Body::from_stream(
                    stream::iter([part])
                        .chain(pending_once())
                        .chain(stream::iter([broken])),
                ))
                .unwrap()
        }
        Script::Hangup => return Err(io::Error::other("scripted hang-up")),
        Script::Mute => {
            let _open = Open::new(&state);
            std::future::pending().await
        }
        Script::Silent => {
            let open = Open::new(&state);
            let body = stream::once(async move {
                let _open = open;
                std::future::pending::<Result<Bytes, Infallible>>().await
            });
            Response::new(Body::from_stream(body))
        }
        Script::Echo => {
            let headers: String = parts
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("?")))
                .flat_map(|(name, value)| [name, ": ", value, "\n"])
                .collect();
            let head = format!("{} {}\n{headers}\n", parts.method, parts.uri);
            Response::new(Body::from([head.into_bytes(), body.to_vec()].concat()))
        }
    })
}

/// Lets earlier data leave before later data.
fn pending_once() -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::once(async { tokio::time::sleep(Duration::from_millis(20)).await })
        .filter_map(async |()| None)
}

/// Prompt and completion tokens of a tagged call.
pub fn tagged_usage(id: u64) -> (i64, i64) {
    let part = |of| i64::try_from(id % of).unwrap();
    (10 + part(7), 3 + part(11))
}

fn tagged(state: &Arc<State>, body: &[u8]) -> Response<Body> {
    let wanted: serde_json::Value = serde_json::from_slice(body).unwrap();
    let prompt = wanted["messages"][0]["content"].as_str().unwrap();
    let id: u64 = prompt.trim_start_matches("call ").parse().unwrap();
    let (input, output) = tagged_usage(id);
    let usage = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#,
        input + output
    );
    if wanted["stream"] != true {
        let answer = format!(
            r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{prompt}"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        );
        return json(200, answer.into());
    }
    let delta = r#"{"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}"#;
    let last = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let counted = format!(r#"{{"choices":[],"usage":{usage}}}"#);
    let chunks = [delta, delta, delta, last, &counted, "[DONE]"];
    let chunks = chunks.iter().map(|chunk| event(chunk)).collect();
    events(state, chunks, Duration::from_millis(id % 5), false)
}

fn clocked(state: &Arc<State>, count: usize, pause: Duration) -> Response<Body> {
    let open = Open::new(state);
    let chunks = stream::iter(0..count).then(move |index| {
        let _still_open = &open;
        async move {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            Ok::<_, Infallible>(event(&format!(
                r#"{{"index":{index},"choices":[{{"index":0,"delta":{{"content":"a"}}}}],"sent":{}}}"#,
                moment()
            )))
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(chunks))
        .unwrap()
}

fn json(status: u16, body: Bytes) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

fn events(state: &Arc<State>, chunks: Vec<Bytes>, pause: Duration, breaks: bool) -> Response<Body> {
    let open = Open::new(state);
    let chunks =
        stream::iter(chunks.into_iter().enumerate()).then(move |(index, chunk)| async move {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            Ok(chunk)
        });
    let broken = breaks.then(|| Err(io::Error::other("scripted break")));
    let body = chunks
        .chain(pending_once())
        .chain(stream::iter(broken))
        .map(move |chunk| {
            let _still_open = &open;
            chunk
        });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::from_stream(body))
        .unwrap()
}

/// Counts an open stream.
struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        state.open.send_modify(|open| *open += 1);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}
