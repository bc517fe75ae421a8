//! Requests that two readers of one connection could take apart differently: refused with 400, as RFC 9112 demands
//! (sections 3.2 and 6.1) or allows (6.3). hyper refuses a coding that is not `chunked` in the end, and lengths that
//! differ; of a length beside a coding it drops the length, so the head itself has to be looked at.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use hyper::{HeaderMap, Request, Version, header};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What has been seen of a head: not all of it; all, without a length; all, and a length.
const UNSEEN: u8 = 0;
const PLAIN: u8 = 1;
const HAS_LENGTH: u8 = 2;

/// What is known of the head of the request that comes next on a connection.
#[derive(Debug)]
pub(super) struct Head {
    /// Whether what comes is a head.
    due: AtomicBool,
    seen: AtomicU8,
    /// Whether it comes in pieces, which are kept then. Mostly it comes as a whole.
    in_pieces: AtomicBool,
    pieces: Mutex<Vec<u8>>,
    bytes_max: usize,
}

/// A connection whose heads are looked at as they come.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    head: Arc<Head>,
}

/// A request's body on its way; after it the next head is due.
#[derive(Debug)]
pub(crate) struct UntilNext(Arc<Head>);

/// Whether a request's framing is plain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Plain,
    /// Its head was not seen by itself, so nothing may come after it.
    Unseen,
    Refused(&'static str),
}

/// Judges how a request is framed, and which host it names.
pub(super) fn framing<B>(request: &Request<B>, head: &Head) -> Framing {
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
    if !host.as_bytes().iter().copied().all(is_of_host) {
        return Err("The request's Host is none.");
    }
    Ok(())
}

/// What a host and its port may be made of (RFC 3986, section 3.2.2).
const fn is_of_host(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

// === impl Head ===

impl Head {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            due: AtomicBool::new(true),
            seen: AtomicU8::new(UNSEEN),
            in_pieces: AtomicBool::new(false),
            pieces: Mutex::default(),
            bytes_max,
        })
    }

    /// The request has come: what is read now is its body.
    pub(super) fn over(self: &Arc<Self>) -> UntilNext {
        self.due.store(false, Ordering::Relaxed);
        self.seen.store(UNSEEN, Ordering::Relaxed);
        if self.in_pieces.swap(false, Ordering::Relaxed) {
            self.lock(|pieces| *pieces = Vec::new());
        }
        UntilNext(Arc::clone(self))
    }

    fn come(&self, read: &[u8]) {
        let seen = if self.in_pieces.load(Ordering::Relaxed) {
            self.add(read)
        } else {
            look(read).or_else(|| {
                self.in_pieces.store(true, Ordering::Relaxed);
                self.add(read)
            })
        };
        if let Some(seen) = seen {
            self.seen.store(seen, Ordering::Relaxed);
            self.due.store(false, Ordering::Relaxed);
        }
    }

    fn add(&self, read: &[u8]) -> Option<u8> {
        self.lock(|pieces| {
            let room = self.bytes_max.saturating_sub(pieces.len());
            pieces.extend_from_slice(read.get(..room).unwrap_or(read));
            look(pieces)
        })
    }

    /// Whether the head has a `Content-Length`; none when it was not seen as a whole.
    fn has_length(&self) -> Option<bool> {
        let seen = self.seen.load(Ordering::Relaxed);
        (seen != UNSEEN).then_some(seen == HAS_LENGTH)
    }

    fn lock<T>(&self, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // Nothing under the lock can leave it half-changed.
        look(&mut self.pieces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a head is, once its end has come.
fn look(bytes: &[u8]) -> Option<u8> {
    let (mut from, mut begun, mut seen) = (0, false, PLAIN);
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = bytes.get(from..end)?;
        from = end + 1;
        let blank = matches!(line, [] | [b'\r']);
        if blank && begun {
            return Some(seen);
        }
        begun |= !blank;
        if is_length(line) {
            seen = HAS_LENGTH;
        }
    }
    None
}

fn is_length(line: &[u8]) -> bool {
    // Mostly it is not, which shows at once.
    matches!(line.first(), Some(b'c' | b'C')) && {
        let name = line.split(|byte| *byte == b':').next();
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"content-length"))
    }
}

impl Drop for UntilNext {
    fn drop(&mut self) {
        self.0.due.store(true, Ordering::Relaxed);
    }
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(stream: TcpStream, head: Arc<Head>) -> Self {
        Self { stream, head }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.head.due.load(Ordering::Relaxed)
            && let Some(new @ [_, ..]) = buffer.filled().get(before..)
        {
            self.head.come(new);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As hyper tells of a head: it drops a length beside a coding.
    fn judge(version: Version, head: &str) -> Framing {
        let kept = Head::new(1024);
        kept.come(head.as_bytes());
        let mut request = Request::builder().version(version);
        let coded = head.to_ascii_lowercase().contains("transfer-encoding");
        for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            if !(coded && name.eq_ignore_ascii_case("content-length")) {
                request = request.header(name, value.trim());
            }
        }
        framing(&request.body(()).unwrap(), &kept)
    }

    #[test]
    fn what_two_readers_could_take_apart_differently_is_refused() {
        for fields in [
            "",
            "Host: a\r\nHost: a\r\n",
            "Host: a, b\r\n",
            "Host: a b\r\n",
            "Host: u@a\r\n",
            "Host: a/b\r\n",
            "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
            "Host: a\r\nTransfer-Encoding: chunked, chunked\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Host: a\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH: 3\r\n",
            "Content-Length: 3\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            let judged = judge(Version::HTTP_11, &head);
            assert!(matches!(judged, Framing::Refused(_)), "{fields}");
        }
    }

    #[test]
    fn what_everybody_reads_alike_is_let_through() {
        for fields in [
            "Host: a\r\nContent-Length: 3\r\n",
            "Host:\r\n",
            "Host: [::1]:80\r\nTransfer-Encoding: Chunked\r\n",
            "Host: a.example:80\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\n",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(judge(Version::HTTP_11, &head), Framing::Plain, "{fields}");
        }
        assert_eq!(
            judge(Version::HTTP_10, "GET / HTTP/1.0\r\n\r\n"),
            Framing::Plain
        );
    }

    #[test]
    fn a_coded_request_whose_head_was_not_seen_is_told_apart() {
        let head = Head::new(1024);
        head.come(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Enc");
        let request = Request::builder().header("host", "a");
        let request = request
            .header("transfer-encoding", "chunked")
            .body(())
            .unwrap();
        assert_eq!(framing(&request, &head), Framing::Unseen);
        head.come(b"oding: chunked\r\n\r\n0\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(framing(&request, &head), Framing::Plain);
        let length = Head::new(1024);
        for piece in ["POST / HTTP/1.1\r\nConte", "nt-Length: 3\r\n\r", "\nabc"] {
            assert_eq!(length.has_length(), None, "{piece}");
            length.come(piece.as_bytes());
        }
        assert_eq!(length.has_length(), Some(true));
        drop(head.over());
        assert_eq!(framing(&request, &head), Framing::Unseen);
    }
}
