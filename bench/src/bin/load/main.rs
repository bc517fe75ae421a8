//! The load generator: closed loops (`closed`, `stream`) or a fixed rate (`rate`) over raw hyper connections, one
//! JSON line of results. It loads loopback addresses only, is bounded in time whatever the target does, and judges
//! nothing: a wrong answer is counted as an error and the first one quoted.
//!
//! Usage: `load --target 127.0.0.1:PORT --mode closed|stream|rate [--path P] [--model M] [--body-bytes N]
//! [--connections N] [--seconds S] [--rate N] [--large-bytes N --large-every N] [--authorization 'Bearer …']
//! [--header 'name: value']…`

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use proxyxai_bench::{StreamScript, cores, wall_us};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use chunks::ChunkReader;
use plan::{Mode, Plan};

mod chunks;
mod plan;

/// After the measured time an answer may still take this long; what is open then is an error.
const GRACE: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
const QUOTE_BYTES: usize = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Arc::new(Plan::from_args(std::env::args().skip(1))?);
    let start = Instant::now();
    let until = start + plan.seconds;
    let threads = if plan.mode == Mode::Rate {
        1
    } else {
        cores().min(plan.connections)
    };
    let running: Vec<_> = (0..threads)
        .map(|index| {
            let plan = Arc::clone(&plan);
            let share =
                plan.connections / threads + usize::from(index < plan.connections % threads);
            std::thread::spawn(move || drive(&plan, share, until))
        })
        .collect();
    let mut tally = Tally::default();
    for thread in running {
        tally.merge(thread.join().map_err(|_| "a load thread panicked")??);
    }
    println!("{}", tally.report(start.elapsed()));
    Ok(())
}

fn drive(plan: &Arc<Plan>, connections: usize, until: Instant) -> Result<Tally, std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        match plan.mode {
            Mode::Closed | Mode::Stream => closed(plan, connections, until).await,
            Mode::Rate => open(plan, until).await,
        }
    }))
}

/// Every connection sends its next request when the last is answered.
async fn closed(plan: &Arc<Plan>, connections: usize, until: Instant) -> Tally {
    let loops: Vec<_> = (0..connections)
        .map(|index| {
            let mut client = Client {
                plan: Arc::clone(plan),
                sender: None,
                sent: index,
            };
            tokio::spawn(async move {
                let mut tally = Tally::default();
                while Instant::now() < until {
                    client.timed(Instant::now(), until, &mut tally).await;
                }
                tally
            })
        })
        .collect();
    let mut tally = Tally::default();
    for running in loops {
        match running.await {
            Ok(part) => tally.merge(part),
            Err(error) => tally.error(error.to_string()),
        }
    }
    tally
}

/// Requests leave at a fixed rate whatever the answers do; waiting for a free connection counts as latency.
async fn open(plan: &Arc<Plan>, until: Instant) -> Tally {
    let idle: Vec<_> = (0..plan.connections)
        .map(|index| Client {
            plan: Arc::clone(plan),
            sender: None,
            sent: index,
        })
        .collect();
    let pool = Arc::new((Semaphore::new(plan.connections), Mutex::new(idle)));
    let mut ticks = interval(Duration::from_secs(1) / plan.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = Vec::new();
    while Instant::now() < until {
        ticks.tick().await;
        let (due, pool) = (Instant::now(), Arc::clone(&pool));
        running.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            let _permit = pool.0.acquire().await;
            let taken = pool.1.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(mut client) = taken {
                client.timed(due, until, &mut tally).await;
                pool.1
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(client);
            }
            tally
        }));
    }
    let mut tally = Tally::default();
    for one in running {
        match one.await {
            Ok(part) => tally.merge(part),
            Err(error) => tally.error(error.to_string()),
        }
    }
    tally
}

// === one connection ===

struct Client {
    plan: Arc<Plan>,
    sender: Option<SendRequest<Full<Bytes>>>,
    /// Requests so far; begins anywhere.
    sent: usize,
}

impl Client {
    async fn timed(&mut self, due: Instant, until: Instant, tally: &mut Tally) {
        let limit = tokio::time::Instant::from_std(until + GRACE);
        let result = match timeout_at(limit, self.exchange(tally)).await {
            Ok(result) => result,
            Err(_) => Err("no complete answer in time".to_owned()),
        };
        match result {
            Ok(()) => tally.latencies_us.push(micros(due.elapsed())),
            Err(error) => {
                tally.error(error);
                self.sender = None;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    /// Connections begin anywhere in the round, so that large ones are spread evenly over time.
    fn body(&mut self) -> Bytes {
        self.sent += 1;
        match &self.plan.large {
            Some(large) if self.sent.is_multiple_of(large.every) => large.body.clone(),
            Some(_) | None => self.plan.body.clone(),
        }
    }

    async fn exchange(&mut self, tally: &mut Tally) -> Result<(), String> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(self.plan.target).await?,
        };
        sender.ready().await.map_err(|e| e.to_string())?;
        let mut request = Request::new(Full::new(self.body()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.plan.uri.clone();
        *request.headers_mut() = self.plan.headers.clone();
        let answer = sender
            .send_request(request)
            .await
            .map_err(|e| e.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(quote(answer).await);
        }
        match self.plan.mode {
            Mode::Stream => stream(answer.into_body(), self.plan.script, tally).await?,
            Mode::Closed | Mode::Rate => drain(answer.into_body()).await?,
        }
        self.sender = Some(sender);
        Ok(())
    }
}

async fn connect(target: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(target)
        .await
        .map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn drain(mut body: Incoming) -> Result<(), String> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame
            .map_err(|e| e.to_string())?
            .data_ref()
            .map_or(0, Bytes::len);
    }
    if bytes == 0 {
        Err("empty answer".to_owned())
    } else {
        Ok(())
    }
}

async fn stream(mut body: Incoming, script: StreamScript, tally: &mut Tally) -> Result<(), String> {
    let mut reader = ChunkReader::default();
    let mut failed = None;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                let now = wall_us();
                let stamps = reader.feed(frame.data_ref().map_or(&[][..], |d| &d[..]));
                tally
                    .chunks_us
                    .extend(stamps.into_iter().map(|at| narrow(now.saturating_sub(at))));
            }
            Err(error) => {
                failed = Some(error.to_string());
                break;
            }
        }
    }
    tally.lost_chunks += u64::from(script.chunks.saturating_sub(reader.chunks()));
    match failed {
        Some(error) => Err(error),
        None if reader.chunks() > script.chunks => Err(format!("{} chunks", reader.chunks())),
        None if !reader.done() => Err("stream without [DONE]".to_owned()),
        None => Ok(()),
    }
}

async fn quote(answer: Response<Incoming>) -> String {
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let start = body.get(..QUOTE_BYTES).unwrap_or(&body);
    format!("{status}: {}", String::from_utf8_lossy(start))
}

// === what was seen ===

#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    chunks_us: Vec<u32>,
    lost_chunks: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn error(&mut self, text: String) {
        self.errors += 1;
        self.first_error.get_or_insert(text);
    }

    fn merge(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.chunks_us.extend(other.chunks_us);
        self.lost_chunks += other.lost_chunks;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn report(mut self, elapsed: Duration) -> String {
        self.latencies_us.sort_unstable();
        self.chunks_us.sort_unstable();
        let requests = u32::try_from(self.latencies_us.len()).unwrap_or(u32::MAX);
        serde_json::json!({
            "requests": requests,
            "errors": self.errors,
            "first_error": self.first_error,
            "rps": (f64::from(requests) / elapsed.as_secs_f64()).round(),
            "p50_us": at(&self.latencies_us, 50),
            "p99_us": at(&self.latencies_us, 99),
            "chunks": self.chunks_us.len(),
            "chunk_p50_us": at(&self.chunks_us, 50),
            "chunk_p99_us": at(&self.chunks_us, 99),
            "lost_chunks": self.lost_chunks,
        })
        .to_string()
    }
}

/// The value at a per cent of the way through; none of an empty list.
fn at(sorted: &[u32], percent: usize) -> Option<u32> {
    sorted.get(sorted.len() * percent / 100).copied()
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn narrow(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_are_their_own_index() {
        let sorted: Vec<u32> = (0..100).collect();
        assert_eq!(
            (at(&sorted, 50), at(&sorted, 99), at(&[], 50)),
            (Some(50), Some(99), None)
        );
    }
}
