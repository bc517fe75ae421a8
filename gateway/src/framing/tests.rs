//! Properties of framing: what is refused, what is passed on, and which heads are recognised.

use super::*;

/// Judges a head as hyper reports it: hyper drops a length beside a transfer coding.
fn judge(version: Version, head: &str) -> Framing {
    let kept = HeadInspector::new(1024);
    kept.record_read(head.as_bytes());
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
    let head = HeadInspector::new(1024);
    head.record_read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Enc");
    let request = Request::builder().header("host", "a");
    let request = request
        .header("transfer-encoding", "chunked")
        .body(())
        .unwrap();
    assert_eq!(framing(&request, &head), Framing::Unseen);
    head.record_read(b"oding: chunked\r\n\r\n0\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(framing(&request, &head), Framing::Plain);
    let length = HeadInspector::new(1024);
    for piece in ["POST / HTTP/1.1\r\nConte", "nt-Length: 3\r\n\r", "\nabc"] {
        assert_eq!(length.has_length(), None, "{piece}");
        length.record_read(piece.as_bytes());
    }
    assert_eq!(length.has_length(), Some(true));
    head.begin_body(None).body_ended();
    assert_eq!(framing(&request, &head), Framing::Unseen);
}

const CODED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Whether the last of these reads shows that its head has a length. The first read begins with a request whose body
/// has `length` bytes and is read to its end before the last read.
fn known_after(length: Option<u64>, first: &str, reads: &[&str]) -> Option<bool> {
    let head = HeadInspector::new(1024);
    head.record_read(first.as_bytes());
    let next = head.begin_body(length);
    let (last, between) = reads.split_last().unwrap();
    for read in between {
        head.record_read(read.as_bytes());
    }
    next.body_ended();
    head.record_read(last.as_bytes());
    head.has_length()
}

#[test]
fn a_head_is_judged_only_from_its_first_byte() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
    let begun = "POST / HTTP/1.1\r\nContent-Length: 3\r\n";
    let rest = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let with = |one: &str, other: &str| format!("{one}{other}");
    for (length, first, reads) in [
        (Some(0), get.to_owned(), vec![CODED]),
        (Some(0), with("\r\n", get), vec![CODED]),
        (Some(4), with(sized, "abcd"), vec![CODED]),
        (Some(4), sized.to_owned(), vec!["ab", "cd", CODED]),
        (None, with(CODED, "0\r\n\r\n"), vec![CODED]),
        (
            None,
            CODED.to_owned(),
            vec!["1\r\na\r\n0\r\n\r", "\n", CODED],
        ),
        (None, CODED.to_owned(), vec!["0\r\na: b\r\n\r\n", CODED]),
    ] {
        let known = known_after(length, &first, &reads);
        assert_eq!(known, Some(false), "{first} {reads:?}");
    }
    for (length, first, reads) in [
        (Some(0), with(get, begun), vec![rest]),
        (Some(0), with(get, "P"), vec!["OST / HTTP/1.1\r\n\r\n"]),
        (Some(0), get.to_owned(), vec![begun, rest]),
        (Some(4), format!("{sized}abcd{begun}"), vec![rest]),
        (Some(4), sized.to_owned(), vec!["ab", "cdPOST /", rest]),
        (Some(4), sized.to_owned(), vec!["ab", rest]),
        (None, format!("{CODED}0\r\n\r\n{begun}"), vec![rest]),
        (None, CODED.to_owned(), vec!["0\r\n\r\nP", rest]),
    ] {
        let known = known_after(length, &first, &reads);
        // What comes during a request may be the beginning of the next one, and is seen as a whole.
        let whole = reads == [begun, rest];
        assert_eq!(known, whole.then_some(true), "{first} {reads:?}");
    }
}

#[test]
fn a_body_that_is_not_read_to_its_end_is_no_head() {
    let head = HeadInspector::new(1024);
    head.record_read(CODED.as_bytes());
    let late = head.begin_body(None);
    head.record_read(b"0\r\n\r\n");
    // hyper has meanwhile taken another request, whose body comes now.
    let unread = head.begin_body(None);
    late.body_ended();
    head.record_read(b"3;GET / HTTP/1.1\r\n\r\n");
    drop(unread);
    head.record_read(CODED.as_bytes());
    assert_eq!(head.has_length(), None);
}
