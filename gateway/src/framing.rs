//! Requests that two readers of one connection could split differently: refused with 400, as RFC 9112 demands (sections
//! 3.2 and 6.1) or allows (6.3).
//!
//! hyper refuses codings that do not end in `chunked`, and differing lengths. It drops a length beside a coding, so the
//! head itself has to be inspected.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::{HeaderMap, Request, Version, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutWriter;

/// How much of a head was seen: not all of it; all, without a length; all, with a length.
const UNSEEN: u8 = 0;
const PLAIN: u8 = 1;
const HAS_LENGTH: u8 = 2;

/// The number of bytes after a head whose end was not seen, and the length of a chunked body.
const UNKNOWN: u64 = u64::MAX;

/// The state of the inspection of a connection's next head.
///
/// A head can be judged only if it is seen from its first byte. hyper keeps the bytes it reads after a request, so the
/// next read may be the rest of a head or of a body. Reads that may begin in the middle are not inspected; a request
/// with a coding then ends its connection.
#[derive(Debug)]
pub(crate) struct HeadInspector {
    /// Whether the next byte read is the first of a head.
    due: AtomicBool,
    /// Bytes read after the last head, and the length of its body.
    behind: AtomicU64,
    length: AtomicU64,
    /// Number of the last request, and of the last one whose body was read to its end.
    turn: AtomicU64,
    ended: AtomicU64,
    /// The last four bytes read, the very last one lowest.
    last: AtomicU32,
    seen: AtomicU8,
    /// Whether the head comes in pieces, which are then kept. Mostly it comes as a whole.
    in_pieces: AtomicBool,
    pieces: Mutex<Vec<u8>>,
    bytes_max: usize,
}

/// A connection whose heads are inspected as they are read.
#[derive(Debug)]
pub(crate) struct InspectedStream {
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    head: Arc<HeadInspector>,
}

/// Marks the end of a request's body. If it is dropped before that, no later read is known to begin a head.
#[derive(Debug)]
pub(crate) struct BodyEndMarker {
    head: Arc<HeadInspector>,
    turn: u64,
}

/// The framing of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Plain,
    /// Its head was not seen, so the connection must end after it.
    Unseen,
    Refused(&'static str),
}

/// Checks the framing of a request, and its host.
pub(crate) fn framing<B>(request: &Request<B>, head: &HeadInspector) -> Framing {
    let headers = request.headers();
    if let Err(problem) = check_host(headers, request.version()) {
        return Framing::Refused(problem);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Framing::Plain;
    };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Framing::Refused("Transfer-Encoding must be chunked and nothing else.");
    }
    match head.has_length() {
        Some(true) => Framing::Refused("Content-Length and Transfer-Encoding exclude each other."),
        Some(false) => Framing::Plain,
        None => Framing::Unseen,
    }
}

fn check_host(headers: &HeaderMap, version: Version) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return match version {
            Version::HTTP_11 => Err("The request has no Host."),
            _ => Ok(()),
        };
    };
    if hosts.next().is_some() {
        return Err("The request has more than one Host.");
    }
    if !host.as_bytes().iter().copied().all(is_host_byte) {
        return Err("The request's Host is none.");
    }
    Ok(())
}

/// The characters of a host and its port (RFC 3986, section 3.2.2).
const fn is_host_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

// === impl HeadInspector ===

impl HeadInspector {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            due: AtomicBool::new(true),
            behind: AtomicU64::new(UNKNOWN),
            length: AtomicU64::new(UNKNOWN),
            turn: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            last: AtomicU32::new(0),
            seen: AtomicU8::new(UNSEEN),
            in_pieces: AtomicBool::new(false),
            pieces: Mutex::default(),
            bytes_max,
        })
    }

    /// Call this when a request has come, before anything more is read: what follows is its body, of this length if it
    /// has one.
    pub(crate) fn begin_body(self: &Arc<Self>, length: Option<u64>) -> BodyEndMarker {
        self.due.store(false, Ordering::Relaxed);
        if self.seen.swap(UNSEEN, Ordering::Relaxed) == UNSEEN {
            self.behind.store(UNKNOWN, Ordering::Relaxed);
        }
        if self.in_pieces.swap(false, Ordering::Relaxed) {
            self.lock(|pieces| *pieces = Vec::new());
        }
        self.length
            .store(length.unwrap_or(UNKNOWN), Ordering::Relaxed);
        // Only this function changes it.
        let turn = self.turn.load(Ordering::Relaxed).wrapping_add(1);
        self.turn.store(turn, Ordering::Relaxed);
        BodyEndMarker {
            head: Arc::clone(self),
            turn,
        }
    }

    /// Records the bytes of a read.
    fn record_read(&self, read: &[u8]) {
        let due = self.due.load(Ordering::Relaxed) || self.at_head_start();
        let shifted = |last: u32, byte: &u8| last << 8 | u32::from(*byte);
        let tail = read.last_chunk::<4>().map_or(read, |tail| tail);
        let last = self.last.load(Ordering::Relaxed);
        self.last
            .store(tail.iter().fold(last, shifted), Ordering::Relaxed);
        if due {
            self.due.store(true, Ordering::Relaxed);
            self.look(read);
        } else {
            let behind = self.behind.load(Ordering::Relaxed);
            self.behind
                .store(behind.saturating_add(read.len() as u64), Ordering::Relaxed);
        }
    }

    fn look(&self, read: &[u8]) {
        let seen = if self.in_pieces.load(Ordering::Relaxed) {
            self.add(read)
        } else {
            look(read).or_else(|| {
                self.in_pieces.store(true, Ordering::Relaxed);
                self.add(read)
            })
        };
        if let Some((seen, end)) = seen {
            self.seen.store(seen, Ordering::Relaxed);
            self.due.store(false, Ordering::Relaxed);
            let behind = read.len().saturating_sub(end) as u64;
            self.behind.store(behind, Ordering::Relaxed);
        }
    }

    /// The kind of the head that continues with these bytes, and where it ends in them.
    fn add(&self, read: &[u8]) -> Option<(u8, usize)> {
        self.lock(|pieces| {
            let before = pieces.len();
            let room = self.bytes_max.saturating_sub(before);
            pieces.extend_from_slice(read.get(..room).unwrap_or(read));
            look(pieces).map(|(seen, end)| (seen, end.saturating_sub(before)))
        })
    }

    /// Whether the next byte begins a head, because no byte of one can have been read before.
    ///
    /// That is so if as many bytes followed the last head as its body has, or if the body has ended and the last bytes
    /// were a blank line. Chunked bodies end with one, and so do heads that hyper takes without another read.
    fn at_head_start(&self) -> bool {
        let is = |number: &AtomicU64, other: &AtomicU64| {
            number.load(Ordering::Relaxed) == other.load(Ordering::Relaxed)
        };
        if self.seen.load(Ordering::Relaxed) != UNSEEN {
            // A head has come, but hyper has not reported its request yet.
            return false;
        }
        let known = self.behind.load(Ordering::Relaxed) != UNKNOWN;
        (known && is(&self.behind, &self.length))
            || (is(&self.ended, &self.turn) && self.ends_in_blank_line())
    }

    fn ends_in_blank_line(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last & 0xFFFF == u32::from_be_bytes(*b"\0\0\n\n")
            || last & 0xFF_FFFF == u32::from_be_bytes(*b"\0\n\r\n")
    }

    /// Whether the head has a `Content-Length`. Returns `None` if the head was not seen as a whole.
    fn has_length(&self) -> Option<bool> {
        let seen = self.seen.load(Ordering::Relaxed);
        (seen != UNSEEN).then_some(seen == HAS_LENGTH)
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // No panic under the lock can leave it inconsistent.
        look(&mut self.pieces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The kind of a head and where it ends, once its end has come.
fn look(bytes: &[u8]) -> Option<(u8, usize)> {
    let (mut from, mut begun, mut seen) = (0, false, PLAIN);
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(from..end)?;
        from = end + 1;
        let blank = matches!(line, [] | [b'\r']);
        if blank && begun {
            return Some((seen, from));
        }
        begun |= !blank;
        if is_length(line) {
            seen = HAS_LENGTH;
        }
    }
    None
}

fn is_length(line: &[u8]) -> bool {
    // Most lines are not, which the first byte shows.
    matches!(line.first(), Some(b'c' | b'C')) && {
        let name = line.split(|byte| *byte == b':').next();
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"content-length"))
    }
}

// === impl BodyEndMarker ===

impl BodyEndMarker {
    /// Call this when the body has been read to its end.
    pub(crate) fn body_ended(self) {
        // This may come late, after the next request. Then that request's number applies.
        self.head.ended.fetch_max(self.turn, Ordering::Relaxed);
    }
}

// === impl InspectedStream ===

impl InspectedStream {
    /// Writes fail if the client does not accept them within `send_timeout`.
    pub(crate) fn new(stream: TcpStream, head: Arc<HeadInspector>, send_timeout: Duration) -> Self {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(send_timeout));
        Self {
            stream: Box::pin(stream),
            head,
        }
    }
}

impl AsyncRead for InspectedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.stream.as_mut().poll_read(cx, buffer);
        if let Some(new @ [_, ..]) = buffer.filled().get(before..) {
            self.head.record_read(new);
        }
        read
    }
}

impl AsyncWrite for InspectedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
