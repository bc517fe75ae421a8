//! The access log: a line of JSON for each ended call. A thread writes the lines, so that no call waits for a disk or a
//! pipe. Lines that it cannot keep up with are dropped and counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use proxyxai_contract::clock::Millis;
use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::{
    WorkerHandle,
    call_recorder::{CallOutcome, ResponseEnd},
};

/// Lines that may wait to be written.
const WAITING_MAX: usize = 8192;
/// Interval at which the path is checked: a rotated file is closed.
const LOOK: Duration = Duration::from_secs(1);

/// Which calls are logged, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Destination of the lines.
    pub to: LogDestination,
    /// Share of the calls that is logged, 0 to 1.
    pub sample: f64,
    /// Whether to log failed calls regardless of the sample.
    pub all_errors: bool,
}

/// Destination of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output of the process.
    Stdout,
    /// A file. Lines are appended, and it is created again after it was renamed.
    File(PathBuf),
}

/// Accepts lines.
#[derive(Debug)]
pub(super) struct Log {
    lines: SyncSender<AccessLogLine>,
    sample: f64,
    all_errors: bool,
    pub(super) dropped: AtomicU64,
}

/// One line of the log.
#[derive(Debug, Serialize)]
struct AccessLogLine {
    /// When the request's head arrived, RFC 3339.
    time: String,
    request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_request_id: Option<String>,
    method: String,
    /// Without the query.
    path: String,
    account: Option<i64>,
    key: Option<i64>,
    level: Option<u8>,
    model_asked: Option<String>,
    model: Option<String>,
    tries: u32,
    hedges: u32,
    status: u16,
    /// Code of a refusal by the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'static str>,
    ending: &'static str,
    stream: bool,
    #[serde(flatten)]
    usage: Option<Usage>,
    duration_us: u64,
    first_byte_us: Option<u64>,
    overhead_us: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Usage {
    input_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    measure: &'static str,
    cost_usd: f64,
}

impl Log {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// Errors if the file cannot be opened for appending, or the system cannot start another thread.
    pub(super) fn open(config: &AccessLog) -> io::Result<(Self, WorkerHandle)> {
        let AccessLog {
            to,
            sample,
            all_errors,
        } = config.clone();
        let target = match to {
            LogDestination::Stdout => LogSink::Stdout,
            LogDestination::File(path) => LogSink::File(Rotated::open(path)?),
        };
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let ended = WorkerHandle::thread("access-log", move || write_all(&waiting, target))?;
        let log = Self {
            lines,
            sample,
            all_errors,
            dropped: AtomicU64::new(0),
        };
        Ok((log, ended))
    }

    /// Logs a call, if the sample includes it.
    pub(super) fn call(&self, facts: &CallOutcome<'_>) {
        let failed = facts.status >= 400 || facts.ending != ResponseEnd::Complete;
        if !(failed && self.all_errors) && fastrand::f64() >= self.sample {
            return;
        }
        let Some(line) = AccessLogLine::of(facts) else {
            return;
        };
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

// === impl AccessLogLine ===

impl AccessLogLine {
    fn of(facts: &CallOutcome<'_>) -> Option<Self> {
        let asked = facts.request?;
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let record = facts.record;
        // An empty name is omitted.
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        Some(Self {
            time: rfc3339(asked.at),
            request_id: asked.id.as_ref().map(text).unwrap_or_default(),
            upstream_request_id: asked.upstream_id.as_ref().map(text),
            method: asked.method.as_str().to_owned(),
            path: asked.path.clone(),
            account: facts.account.map(proxyxai_contract::id::AccountId::get),
            key: facts.by.map(|(key, _)| key.get()),
            level: facts.by.map(|(_, level)| level.get()),
            model_asked: record.and_then(|record| name(&record.model_asked)),
            model: record.and_then(|record| name(&record.model_used)),
            tries: facts.tries,
            hedges: facts.hedges,
            status: facts.status,
            refusal: facts.refused,
            ending: facts.ending.as_str(),
            stream: facts.streamed,
            usage: record.map(|record| Usage {
                input_tokens: record.tokens.input,
                cached_tokens: record.tokens.cached,
                cache_write_tokens: record.tokens.cache_write,
                output_tokens: record.tokens.output,
                reasoning_tokens: record.tokens.reasoning,
                measure: record.measure.as_str(),
                cost_usd: record.cost.dollars(),
            }),
            duration_us: micros(facts.duration),
            first_byte_us: facts.head.map(|head| micros(head.after)),
            overhead_us: facts.head.map(|head| micros(head.overhead)),
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rfc3339(at: Millis) -> String {
    format!("{:.3}", at.timestamp())
}

// === the thread ===

enum LogSink {
    Stdout,
    File(Rotated),
}

/// A file that may be renamed from outside.
struct Rotated {
    path: PathBuf,
    file: BufWriter<File>,
    looked: Instant,
}

fn write_all(lines: &Receiver<AccessLogLine>, mut target: LogSink) {
    let mut well = true;
    while let Ok(first) = lines.recv() {
        let written = write_some(&mut target, first, lines);
        if let Err(error) = &written
            && well
        {
            tracing::error!(%error, "the access log cannot be written; lines are lost");
        }
        well = written.is_ok();
    }
}

/// Writes a line and those that have arrived meanwhile, then flushes them.
fn write_some(
    target: &mut LogSink,
    first: AccessLogLine,
    lines: &Receiver<AccessLogLine>,
) -> io::Result<()> {
    if let LogSink::File(file) = target {
        file.look()?;
    }
    let mut stdout;
    let out: &mut dyn Write = match target {
        LogSink::Stdout => {
            stdout = BufWriter::new(io::stdout().lock());
            &mut stdout
        }
        LogSink::File(file) => &mut file.file,
    };
    let mut next = Some(first);
    for _ in 0..WAITING_MAX {
        let Some(line) = next.take() else {
            break;
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        next = lines.try_recv().ok();
    }
    if let Some(line) = next {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

impl Rotated {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = BufWriter::new(append(&path)?);
        let looked = Instant::now();
        Ok(Self { path, file, looked })
    }

    /// Reopens the file if its path now names another file, or none.
    fn look(&mut self) -> io::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let own = self.file.get_ref().metadata()?;
        let is_own =
            |named: &std::fs::Metadata| (named.dev(), named.ino()) == (own.dev(), own.ino());
        if !std::fs::metadata(&self.path).is_ok_and(|named| is_own(&named)) {
            self.file = BufWriter::new(append(&self.path)?);
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Readable by the owner only: it shows who called when.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}
