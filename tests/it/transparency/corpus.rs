//! The pairs of request and response that must cross the gateway as they would without it. Each is bytes: what a client
//! sends, and what the upstream responds.

use std::{collections::HashSet, time::Duration};

use super::{answers, families};
use crate::wire::Step;

/// A request and its response.
#[derive(Clone)]
pub struct Case {
    pub id: String,
    ask: Ask,
    pub say: Say,
    /// The upstream's response if usage is requested.
    pub say_usage: Option<Say>,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Ask {
    line: String,
    fields: Vec<u8>,
    body: Vec<u8>,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Say {
    pieces: Vec<Vec<u8>>,
    /// Whether the connection ends after it.
    closes: bool,
}

// === impl Case ===

impl Case {
    pub(super) fn new(id: impl Into<String>, ask: Ask, say: Say) -> Self {
        let id = id.into();
        Self {
            id,
            ask,
            say,
            say_usage: None,
        }
    }

    /// The request of a client with this key, to this host.
    pub fn request(&self, host: &str, key: &str) -> Vec<u8> {
        let Ask { line, fields, body } = &self.ask;
        let mut text = format!("{line}\r\nHost: {host}\r\nX-Case: {}\r\n", self.id).into_bytes();
        if !fields.starts_with(b"X-Api-Key") {
            text.extend_from_slice(format!("Authorization: Bearer {key}\r\n").as_bytes());
        }
        let fields = String::from_utf8_lossy(fields)
            .contains("CLIENT-KEY")
            .then(|| {
                let text = String::from_utf8_lossy(fields).replace("CLIENT-KEY", key);
                text.into_bytes()
            });
        text.extend_from_slice(fields.as_ref().unwrap_or(&self.ask.fields));
        text.extend_from_slice(b"\r\n");
        text.extend_from_slice(body);
        text
    }
}

// === impl Ask ===

pub(super) fn ask(method: &str, target: &str) -> Ask {
    Ask {
        line: format!("{method} {target} HTTP/1.1"),
        fields: Vec::new(),
        body: Vec::new(),
    }
}

impl Ask {
    pub(super) fn field(self, line: &str) -> Self {
        self.bytes(line.as_bytes())
    }

    pub(super) fn bytes(mut self, line: &[u8]) -> Self {
        self.fields.extend_from_slice(line);
        self.fields.extend_from_slice(b"\r\n");
        self
    }

    pub(super) fn with(self, body: &[u8]) -> Self {
        let mut ask = self.field(&format!("Content-Length: {}", body.len()));
        ask.body = body.to_vec();
        ask
    }

    pub(super) fn chunked(self, body: &[u8], size: usize, end: &str) -> Self {
        let mut ask = self.field("Transfer-Encoding: chunked");
        ask.body = [&chunks(body, size), end.as_bytes()].concat();
        ask
    }

    pub(super) fn json(self, body: &str) -> Self {
        self.field("Content-Type: application/json")
            .with(body.as_bytes())
    }
}

/// Chunks of this size, without the last one.
pub(super) fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let chunk =
        |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    body.chunks(size.max(1)).flat_map(chunk).collect()
}

// === impl Say ===

const DATE: &str = "Date: Sun, 22 Nov 2026 07:00:00 GMT\r\n";

/// A first line and fields of a response, one per line.
pub(super) fn say(status: &str, fields: &str) -> Say {
    say_bytes(status.as_bytes(), fields.as_bytes())
}

pub(super) fn say_bytes(status: &[u8], fields: &[u8]) -> Say {
    let date = if fields.starts_with(b"No-Date") {
        ""
    } else {
        DATE
    };
    let head = [b"HTTP/1.1 ", status, b"\r\n", date.as_bytes(), fields].concat();
    Say {
        pieces: vec![head],
        closes: false,
    }
}

impl Say {
    pub(super) fn raw(bytes: &[u8], closes: bool) -> Self {
        Self {
            pieces: vec![bytes.to_vec()],
            closes,
        }
    }

    pub(super) fn with(self, body: &[u8]) -> Self {
        let length = format!("Content-Length: {}\r\n\r\n", body.len());
        self.then(&[length.as_bytes(), body].concat())
    }

    pub(super) fn chunked(self, body: &[u8], size: usize, end: &str) -> Self {
        let framing = b"Transfer-Encoding: chunked\r\n\r\n";
        self.then(&[framing, chunks(body, size).as_slice(), end.as_bytes()].concat())
    }

    /// The body ends with the connection.
    pub(super) fn until_close(self, body: &[u8]) -> Self {
        let mut say = self.then(&[b"\r\n", body].concat());
        say.closes = true;
        say
    }

    pub(super) fn bare(self) -> Self {
        self.then(b"\r\n")
    }

    fn then(mut self, bytes: &[u8]) -> Self {
        self.pieces[0].extend_from_slice(bytes);
        self
    }

    /// Sent in `count` pieces, a moment apart.
    pub(super) fn in_pieces(mut self, count: usize) -> Self {
        let whole = self.pieces.concat();
        let size = whole.len().div_ceil(count);
        self.pieces = whole.chunks(size).map(<[u8]>::to_vec).collect();
        self
    }

    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                steps.push(Step::Pause(Duration::from_millis(2)));
            }
            steps.push(Step::Send(piece.clone().into()));
        }
        if self.closes {
            steps.push(Step::Close);
        }
        steps
    }
}

pub(super) fn fine() -> Say {
    say("200 OK", "Content-Type: text/plain\r\n").with(b"ok\n")
}

/// All pairs.
pub fn corpus() -> Vec<Case> {
    let areas = [
        methods(),
        targets(),
        request_fields(),
        content_types(),
        request_bodies(),
        request_framing(),
        answers::statuses(),
        answers::fields(),
        answers::bodies(),
        answers::framing(),
        families::streams(),
        families::whole(),
        families::other(),
    ];
    areas.concat()
}

/// Whether no two pairs test the same.
pub fn are_different(cases: &[Case]) -> bool {
    let ids: HashSet<_> = cases.iter().map(|case| &case.id).collect();
    let pairs: HashSet<_> = cases.iter().map(|case| (&case.ask, &case.say)).collect();
    ids.len() == cases.len() && pairs.len() == cases.len()
}

pub(super) fn many_fields(count: usize) -> String {
    let lines: Vec<_> = (0..count)
        .map(|at| format!("X-Many-{at}: {at}\r\n"))
        .collect();
    lines.concat()
}

/// All byte values, repeated.
pub(super) fn every_byte(count: usize) -> Vec<u8> {
    (0..=255u8).cycle().take(count).collect()
}

const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x4a\x49\x2c\x49\x54\xb2\x52\x4a\x4c\x4a\x1e\x10\xa4\x54\x0b\x00\x55\x28\x2d\x26\x83\x00\x00\x00";
const DEFLATE: &[u8] = b"\x78\x9c\xab\x56\x4a\x49\x2c\x49\x54\xb2\x52\x4a\x4c\x4a\x1e\x10\xa4\x54\x0b\x00\x92\x2b\x31\x45";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\xad\x00\x00\x70\x7b\x22\x64\x61\x74\x61\x22\x3a\x22\x61\x62\x63\x22\x7d\x01\x00\xd2\xd4\x25\x01\x3b\xa5\x59\x75";
const BROTLI: &[u8] = b"\x0b\x02\x80[1,2]\x03";
pub(super) const CODINGS: [(&str, &[u8]); 4] = [
    ("gzip", GZIP),
    ("deflate", DEFLATE),
    ("zstd", ZSTD),
    ("br", BROTLI),
];

fn methods() -> Vec<Case> {
    let methods = [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "QUERY",
        "PROPFIND",
        "M-SEARCH",
        "get",
        "X~!#$%&'*+-.^_`|9",
    ];
    let with = |method: &str| {
        let bare = ask(method, "/v1/things/1");
        [
            ("none", bare.clone()),
            ("zero", bare.clone().with(b"")),
            ("length", bare.clone().with(b"a\0b")),
            ("chunked", bare.clone().chunked(b"abc", 2, "0\r\n\r\n")),
            ("empty-chunked", bare.chunked(b"", 2, "0\r\n\r\n")),
        ]
    };
    let mut cases = Vec::new();
    for (at, method) in methods.iter().enumerate() {
        for (body, ask) in with(method) {
            let say = if *method == "HEAD" {
                say("200 OK", "Content-Length: 12\r\n").bare()
            } else {
                fine()
            };
            cases.push(Case::new(format!("method-{at}-{body}"), ask, say));
        }
    }
    let trace = ask("TRACE", "/v1/things/1");
    cases.push(Case::new("method-trace", trace, fine()));
    cases
}

fn targets() -> Vec<Case> {
    let long = format!("/v1/things/{}?{}=1", "p".repeat(3000), "q".repeat(3000));
    let targets = [
        "/v1/",
        "/v1/organization/costs/",
        "/v1/things?",
        "/v1/organization/costs/?",
        "/v1/things??",
        "/v1/things?a=1&a=2&a=1",
        "/v1/things?a=&a&=&&=b",
        "/v1/things?a==b&c=d=e",
        "/v1/things?a=+&b=%20&c=%2B",
        "/v1/things?a=%2F%3F%23%26%3D",
        "/v1/things?a=/../b&c=//d",
        "/v1/things?a[]=1&a[]=2&b[x]=3",
        "/v1/things?a={b}|c^d`e",
        "/v1/things?a='b'&c=(d)",
        "/v1/things?a;b;c=1",
        "/v1/things?%61=%zz&%",
        "/v1/things?a=\u{e9}\u{2603}",
        "/v1/things?a=http://x/y?z=1",
        "/v1/things?a=1?b=2",
        "/v1/things?after=file-abc&limit=100&order=desc",
        "/v1/a%2Fb",
        "/v1/a%2fb",
        "/v1/a%20b",
        "/v1/a+b",
        "/v1/caf%C3%A9",
        "/v1/caf%c3%a9",
        "/v1/caf\u{e9}",
        "/v1/%E2%98%83/\u{2603}",
        "/v1/%61%62%63",
        "/v1/a%25b",
        "/v1/a%00b",
        "/v1/a%zzb%",
        "/v1//a",
        "/v1/a//b///c",
        "/v1/a/",
        "/v1/...",
        "/v1/.hidden/..b/c..",
        "/v1/a;b=c;d/e",
        "/v1/~user/(x)'!*,:@&=+$-_.",
        "/v1/a{b}",
        "/v1/a'b$c",
        "/v1/[a]",
        "/v1/a=b&c",
        "/v1/A/b/C",
        "/v1/organization/costs?start_time=1730419200",
        "/v1/engines/code/models",
        "/v1/things/m_1?limit=2",
        "/v1/things/m_1?include=x",
        "/v1/messages/things",
        "/v1/strings/t_1/messages",
        "/v1/things/gpt-4.1",
        "/v1/things/ft:gpt-4o:acme::abc",
        // Aliases.
        "/organization/users",
        "/organization/costs?a=1&a=1",
        long.as_str(),
    ];
    let mut cases = Vec::new();
    for (at, target) in targets.into_iter().enumerate() {
        cases.push(Case::new(
            format!("target-{at}"),
            ask("GET", target),
            fine(),
        ));
    }
    let absolute = ask("GET", "http://elsewhere.test/v1/things?a=1");
    cases.push(Case::new("target-absolute", absolute, fine()));
    let mut old = ask("GET", "/v1/things");
    "GET /v1/things HTTP/1.0".clone_into(&mut old.line);
    cases.push(Case::new("target-http-1.0", old, fine()));
    cases
}

fn request_fields() -> Vec<Case> {
    let long = format!("X-Long: {}", "v".repeat(20_000));
    let long_name = format!("X-{}: 1", "n".repeat(200));
    let many = many_fields(70);
    let many = many.trim_end();
    let fields = [
        "X-Empty:",
        "X-Empty: ",
        "X-Twice: a\r\nX-Twice: b",
        "X-Twice: b\r\nX-Twice: a",
        "X-Same: a\r\nX-Same: a",
        "X-Twice: a\r\nX-Between: c\r\nx-twice: b",
        "X-Twice: a\r\nX-Twice:\r\nX-Twice: b",
        "x-lower: a",
        "X-UPPER: A",
        "x-MiXeD-cAsE: a",
        "X_Under_Score: a",
        "X.!#$%&'*+-^`|~9: a",
        "X-Tight:a",
        "X-Wide:   a  ",
        "X-Tab:\ta\tb\t",
        "X-Blanks: a  b   c",
        "X-Signs: \"a\"; b=\\c, (d) <e> @ ; = / ?",
        "X-Utf8: caf\u{e9} \u{2603}",
        "Accept: */*",
        "Accept: text/html;q=0.9, */*;q=0.1\r\nAccept: application/json",
        "Accept-Encoding: gzip, zstd;q=0.5, *;q=0",
        "Accept-Encoding: identity",
        "Accept-Language: de, en;q=0.5",
        "User-Agent: OpenAI/Python 1.2.3",
        "User-Agent:",
        "Cookie: a=1; b=2\r\nCookie: c=3",
        "Range: bytes=0-99",
        "If-None-Match: \"a\", W/\"b\"",
        "If-Modified-Since: Sat, 21 Nov 2026 00:00:00 GMT",
        "Cache-Control: no-cache\r\nPragma: no-cache",
        "Referer: https://example.com/a?b=c",
        "Origin: https://example.com",
        "From: a@example.com",
        "Date: Sat, 21 Nov 2026 00:00:00 GMT",
        "Forwarded: for=1.2.3.4",
        "X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Proto: https",
        "Via: 1.0 fred, 1.1 example.com",
        "Max-Forwards: 3",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate: a=b\r\nbaggage: c=d",
        "x-request-id: my-own-id",
        "Idempotency-Key: abc",
        "OpenAI-Organization: org-1\r\nOpenAI-Project: proj_1",
        "OpenAI-Beta: assistants=v2",
        "anthropic-version: 2023-06-01\r\nanthropic-beta: a, b",
        "x-stainless-retry-count: 0\r\nx-stainless-lang: python",
        "Priority: u=1, i",
        "DNT: 1",
        "Warning: 199 - \"x\"",
        "Content-Language: en",
        "X-Api-Key: CLIENT-KEY",
        "Api-Key: something-of-the-clients",
        "Connection: close",
        "Connection: keep-alive\r\nKeep-Alive: timeout=5",
        "Connection: X-Mine, X-Other\r\nX-Mine: 1\r\nX-Other: 2\r\nX-Third: 3",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic eDp5",
        "Connection: Upgrade\r\nUpgrade: h2c",
        "TE: gzip;q=0.5",
        "TE: trailers\r\nConnection: TE",
        many,
        &long,
        &long_name,
    ];
    let mut cases = Vec::new();
    for (at, lines) in fields.into_iter().enumerate() {
        let ask = ask("GET", "/v1/things").field(lines);
        cases.push(Case::new(format!("field-{at}"), ask, fine()));
    }
    let high = ask("GET", "/v1/things").bytes(b"X-High: \x80\xff\xe9 caf\xe9");
    cases.push(Case::new("field-high", high, fine()));
    cases
}

fn content_types() -> Vec<Case> {
    let types = [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/jsonl",
        "application/merge-patch+json",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "application/x-protobuf",
        "text/plain",
        "text/plain; charset=\"utf-8\"; x=y",
        "text/event-stream",
        "audio/wav",
        "image/png",
        "multipart/mixed; boundary=x",
        "message/http",
        "nonsense",
        "",
    ];
    let each = types.into_iter().enumerate().map(|(at, kind)| {
        let field = format!("Content-Type: {kind}");
        let ask = ask("POST", "/v1/things/u_1/parts")
            .field(&field)
            .with(b"{ \"a\":1 } ");
        Case::new(format!("type-{at}"), ask, fine())
    });
    each.collect()
}

/// A form with a file of every byte value, in which the boundary almost occurs.
fn form(newline: &str, named: &str) -> Vec<u8> {
    let text = format!(
        "--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
         --XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename={named}\r\n\
         Content-Type: audio/wav\r\nX-Own: \u{e9}\r\n\r\n"
    );
    let file = [every_byte(5000), b"\r\n--Xy-not\r\n--Xy".to_vec()].concat();
    let end = format!("\r\n--XyZ--{newline}epilogue");
    [text.as_bytes(), &file, end.as_bytes()].concat()
}

fn request_bodies() -> Vec<Case> {
    let post = |target: &str| ask("POST", target);
    let of = |kind: &str| post("/v1/things").field(&format!("Content-Type: {kind}"));
    let mut cases = Vec::new();
    let mut add = |id: &str, ask| cases.push(Case::new(format!("body-{id}"), ask, fine()));
    for (at, size) in [1, 255, 4096, 65_535, 65_536, 1 << 20]
        .into_iter()
        .enumerate()
    {
        add(
            &format!("binary-{at}"),
            of("application/octet-stream").with(&every_byte(size)),
        );
    }
    for (at, named) in [
        "\"a.wav\"",
        "\"a \\\"b\\\".wav\"",
        "a.wav",
        "\"\u{e9}.wav\"; filename*=UTF-8''%C3%A9",
    ]
    .into_iter()
    .enumerate()
    {
        let body = form("\r\n", named);
        let form = |target| post(target).field("Content-Type: multipart/form-data; boundary=XyZ");
        add(&format!("form-{at}"), form("/v1/things").with(&body));
        add(
            &format!("audio-{at}"),
            form("/v1/audio/transcriptions").with(&body),
        );
        add(
            &format!("form-chunked-{at}"),
            form("/v1/things").chunked(&body, 100 + at, "0\r\n\r\n"),
        );
    }
    for (coding, body) in CODINGS {
        let of = || of("application/json").field(&format!("Content-Encoding: {coding}"));
        add(coding, of().with(body));
        add(
            &format!("{coding}-chunked"),
            of().chunked(body, 7, "0\r\n\r\n"),
        );
    }
    let digest = "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\r\nDigest: sha-256=X";
    add("digest", of("text/plain").field(digest).with(b"abc"));
    add(
        "ranged",
        of("text/plain")
            .field("Content-Range: bytes 0-2/9")
            .with(b"abc"),
    );
    add(
        "like-http",
        of("text/plain").with(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n0\r\n\r\n"),
    );
    add("crlf", of("text/plain").with(b"\r\n\r\n"));
    add("bom", of("application/json").with(b"\xef\xbb\xbf{}"));
    cases
}

fn request_framing() -> Vec<Case> {
    let post = || ask("POST", "/v1/things").field("Content-Type: text/plain");
    let mut cases = Vec::new();
    let mut add = |id: &str, ask| cases.push(Case::new(format!("framing-{id}"), ask, fine()));
    let body = every_byte(300_000);
    for size in [1, 977, 65_536, 300_000] {
        let body = &body[..body.len().min(size * 1000)];
        add(
            &format!("chunks-of-{size}"),
            post().chunked(body, size, "0\r\n\r\n"),
        );
    }
    let mut odd = post().field("Transfer-Encoding: Chunked");
    odd.body = b"3;name=value\r\nabc\r\n0004;x=\"y;z\"\r\ndefg\r\n00;last\r\n\r\n".to_vec();
    add("extensions", odd);
    let mut upper = post().field("Transfer-Encoding: chunked");
    upper.body = [b"1A\r\n", &[b'x'; 26][..], b"\r\n0\r\n\r\n"].concat();
    add("upper-hex", upper);
    add(
        "continue",
        post().field("Expect: 100-continue").with(b"after all"),
    );
    let expects = post().field("Expect: 100-Continue");
    add(
        "continue-chunked",
        expects.chunked(b"after all", 3, "0\r\n\r\n"),
    );
    let ends = [
        ("announced", "Trailer: X-Sum", "0\r\nX-Sum: abc\r\n\r\n"),
        (
            "two",
            "Trailer: X-Sum, x-two",
            "0\r\nX-Sum: abc\r\nX-Two: \r\n\r\n",
        ),
        (
            "repeated",
            "Trailer: X-Sum",
            "0\r\nX-Sum: abc\r\nX-Sum: def\r\n\r\n",
        ),
        (
            "two-lines",
            "Trailer: X-Sum\r\nTrailer: X-Two",
            "0\r\nX-Two: 2\r\nX-Sum: 1\r\n\r\n",
        ),
        ("absent", "Trailer: X-Sum", "0\r\n\r\n"),
        ("unannounced", "X-None: 1", "0\r\nX-Sum: abc\r\n\r\n"),
    ];
    for (id, announced, end) in ends {
        add(
            &format!("trailers-{id}"),
            post().field(announced).chunked(b"abcdef", 4, end),
        );
    }
    let empty = post()
        .field("Trailer: X-Sum")
        .chunked(b"", 4, "0\r\nX-Sum: abc\r\n\r\n");
    add("trailers-alone", empty);
    let chat = ask("POST", "/v1/chat/completions").field("Content-Type: application/json");
    let chat = chat.field("Trailer: X-Sum");
    let body = br#"{"model":"gpt-4o","messages":[]}"#;
    add(
        "trailers-chat",
        chat.chunked(body, 9, "0\r\nX-Sum: abc\r\n\r\n"),
    );
    let twice = post().field("Content-Length: 3").with(b"abc");
    add("length-twice", twice);
    cases
}
