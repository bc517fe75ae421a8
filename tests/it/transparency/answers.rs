//! Responses with every status, and every kind of field, body and framing.

use super::corpus::{Ask, CODINGS, Case, Say, ask, every_byte, many_fields, say, say_bytes};

fn get() -> Ask {
    ask("GET", "/v1/things/f")
}

fn plain() -> Say {
    say("200 OK", "Content-Type: text/plain\r\n")
}

pub(super) fn statuses() -> Vec<Case> {
    let with_body = [
        "200 OK",
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative Information",
        "206 Partial Content",
        "207 Multi-Status",
        "208 Already Reported",
        "226 IM Used",
        "299 Whatever",
        "300 Multiple Choices",
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "305 Use Proxy",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
        "399 Nowhere",
        "400 Bad Request",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "406 Not Acceptable",
        "407 Proxy Authentication Required",
        "409 Conflict",
        "410 Gone",
        "411 Length Required",
        "412 Precondition Failed",
        "413 Content Too Large",
        "414 URI Too Long",
        "415 Unsupported Media Type",
        "416 Range Not Satisfiable",
        "417 Expectation Failed",
        "418 I'm a teapot",
        "421 Misdirected Request",
        "422 Unprocessable Content",
        "423 Locked",
        "424 Failed Dependency",
        "426 Upgrade Required",
        "428 Precondition Required",
        "431 Request Header Fields Too Large",
        "451 Unavailable For Legal Reasons",
        "499 Client Closed Request",
        "600 Beyond",
        "999 The End",
        // Custom reason phrases.
        "200 Fine",
        "200 ",
        "404",
        "404 not found (case matters)",
        "299 ",
        "200 caf\u{e9}",
        "200 \ttabbed \t reason",
    ];
    let mut cases = Vec::new();
    for status in with_body {
        let body = br#"{"error":{"message":"scripted","type":"x"}}"#;
        let fields = "Location: /v1/elsewhere?a=1\r\nContent-Type: application/json\r\n";
        let id = format!("status-{}-{}", &status[..3], cases.len());
        cases.push(Case::new(id, get(), say(status, fields).with(body)));
    }
    for status in ["204 No Content", "304 Not Modified"] {
        for (at, fields) in [
            "ETag: \"x\"\r\n",
            "Content-Length: 0\r\n",
            "Content-Length: 5\r\n",
        ]
        .into_iter()
        .enumerate()
        {
            // A 204 never has a length.
            if at > 0 && status.starts_with("204") {
                continue;
            }
            let id = format!("status-{}-{at}", &status[..3]);
            cases.push(Case::new(id.clone(), get(), say(status, fields).bare()));
            let post = ask("POST", "/v1/things/f").with(b"x");
            cases.push(Case::new(
                format!("{id}-post"),
                post,
                say(status, fields).bare(),
            ));
        }
    }
    cases.push(Case::new(
        "status-205",
        get(),
        say("205 Reset Content", "").with(b""),
    ));
    let redirect = "302 Found\r\nLocation: https://storage.example.com/a?sig=b%2Fc";
    for method in ["HEAD", "POST"] {
        let say = say(redirect, "Content-Length: 0\r\n").bare();
        let id = format!("status-302-{method}");
        cases.push(Case::new(id, ask(method, "/v1/things/f"), say));
    }
    for status in ["404 Not Found", "304 Not Modified", "400 Bad Request"] {
        let head = ask("HEAD", "/v1/things/f");
        let say = say(status, "Content-Length: 77\r\nETag: \"a\"\r\n").bare();
        cases.push(Case::new(
            format!("status-{}-head", &status[..3]),
            head,
            say,
        ));
    }
    cases
}

pub(super) fn fields() -> Vec<Case> {
    let long = format!("X-Long: {}\r\n", "v".repeat(60_000));
    let many = many_fields(80);
    let fields = [
        "X-Empty:\r\n",
        "X-Empty: \r\nX-Empty: a\r\n",
        "X-Twice: a\r\nX-Twice: b\r\n",
        "X-Twice: b\r\nX-Other: c\r\nx-twice: a\r\n",
        "X-Same: a\r\nX-Same: a\r\n",
        "x-MiXeD-cAsE: Ab\r\n",
        "X_Under: a\r\n",
        "X-Tight:a\r\n",
        "X-Wide: \t a \t \r\n",
        "X-Blanks: a  b\tc\r\n",
        "X-Utf8: caf\u{e9} \u{2603}\r\n",
        "Set-Cookie: a=1; Path=/; HttpOnly\r\nSet-Cookie: b=2; Secure\r\nSet-Cookie: a=3\r\n",
        "Content-Type: text/plain; charset=\"x\"\r\n",
        "Content-Type: a\r\nContent-Type: b\r\n",
        "Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac\r\n",
        "Content-Language: de\r\nContent-Location: /x\r\n",
        "Content-Range: bytes 0-2/9\r\nAccept-Ranges: bytes\r\n",
        "ETag: W/\"a\"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n",
        "Cache-Control: no-store\r\nVary: *\r\nAge: 3\r\nExpires: 0\r\n",
        "Link: </a>; rel=next\r\nLink: </b>; rel=prev\r\n",
        "Server: cloudflare\r\nCF-RAY: abc-DUS\r\n",
        "Via: 1.1 google, 2 fred\r\n",
        "Alt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1\r\n",
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X\r\n",
        "WWW-Authenticate: Basic realm=\"x\", Bearer\r\n",
        "Retry-After: 3\r\n",
        "openai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\nopenai-organization: o\r\n",
        "x-ratelimit-limit-requests: 10\r\nx-ratelimit-remaining-requests: 9\r\n",
        "anthropic-ratelimit-tokens-remaining: 5\r\n",
        "x-request-id: req_of_the_provider\r\n",
        "request-id: req_of_anthropic\r\n",
        "Server-Timing: a;dur=1\r\nX-Content-Type-Options: nosniff\r\n",
        "Warning: 110 - \"stale\"\r\n",
        "X-Accel-Buffering: no\r\n",
        "Location: /v1/things/g\r\nRefresh: 3\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\nKeep-Alive: timeout=5, max=9\r\n",
        "Connection: X-Mine\r\nX-Mine: 1\r\nX-Third: 3\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "Upgrade: h2c\r\n",
        "Trailer: X-Sum\r\n",
        "No-Date: at all\r\n",
        "Date: Sat, 21 Nov 2026 00:00:00 GMT\r\n",
        &long,
        &many,
    ];
    let mut cases = Vec::new();
    for (at, lines) in fields.into_iter().enumerate() {
        let say = say("200 OK", lines).with(b"ok\n");
        cases.push(Case::new(format!("answer-field-{at}"), get(), say));
    }
    let high = say_bytes(b"200 OK", b"X-High: \x80\xff caf\xe9\r\n").with(b"ok\n");
    cases.push(Case::new("answer-field-high", get(), high));
    let reason = say_bytes(b"200 \xe9\xff", b"X-Reason: high\r\n").with(b"ok\n");
    cases.push(Case::new("answer-reason-high", get(), reason));
    cases
}

pub(super) fn bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |id: &str, say| cases.push(Case::new(format!("answer-{id}"), get(), say));
    for size in [1, 255, 65_536, 1 << 20] {
        let kind = "Content-Type: application/octet-stream\r\n";
        let body = every_byte(size);
        add(&format!("binary-{size}"), say("200 OK", kind).with(&body));
        add(
            &format!("binary-chunked-{size}"),
            say("200 OK", kind).chunked(&body, 4096, "0\r\n\r\n"),
        );
    }
    for (coding, body) in CODINGS {
        let kind = format!("Content-Encoding: {coding}\r\nContent-Type: application/json\r\n");
        add(coding, say("200 OK", &kind).with(body));
        add(
            &format!("{coding}-chunked"),
            say("200 OK", &kind).chunked(body, 5, "0\r\n\r\n"),
        );
        add(
            &format!("{coding}-refusal"),
            say("404 Not Found", &kind).with(body),
        );
    }
    let events = "Content-Type: text/event-stream\r\n";
    let stream = b": hello\r\n\r\ndata: a\n\ndata: b\r\rpart of";
    add(
        "events-of-another-route",
        say("200 OK", events).chunked(stream, 3, "0\r\n\r\n"),
    );
    add(
        "events-to-the-end",
        say("200 OK", events).until_close(stream),
    );
    add("no-type", say("200 OK", "").with(b"{}"));
    add(
        "like-http",
        plain().with(b"HTTP/1.1 200 OK\r\n\r\n0\r\n\r\n"),
    );
    add(
        "refusal-long",
        say("400 Bad Request", "").with(&every_byte(200_000)),
    );
    add(
        "refusal-in-pieces",
        say("404 Not Found", "")
            .with(&every_byte(3000))
            .in_pieces(5),
    );
    cases
}

pub(super) fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |id: &str, ask, say| cases.push(Case::new(format!("answer-{id}"), ask, say));
    add("empty", get(), plain().with(b""));
    add("empty-chunked", get(), plain().chunked(b"", 1, "0\r\n\r\n"));
    add("empty-to-the-end", get(), plain().until_close(b""));
    add("to-the-end", get(), plain().until_close(b"until it closes"));
    add(
        "to-the-end-in-pieces",
        get(),
        plain().until_close(&every_byte(9000)).in_pieces(7),
    );
    add(
        "in-pieces",
        get(),
        plain().with(&every_byte(9000)).in_pieces(9),
    );
    add(
        "chunks-in-pieces",
        get(),
        plain()
            .chunked(&every_byte(900), 11, "0\r\n\r\n")
            .in_pieces(20),
    );
    add(
        "chunks-of-one",
        get(),
        plain().chunked(b"abcdefgh", 1, "0\r\n\r\n"),
    );
    add(
        "closes-after-length",
        get(),
        say("200 OK", "Connection: close\r\n").with(b"abc"),
    );
    let text = "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n02 \r\nde\r\n000;x\r\n\r\n";
    add(
        "extensions",
        get(),
        Say::raw(
            format!("HTTP/1.1 200 OK\r\nDate: x\r\n{text}").as_bytes(),
            false,
        ),
    );
    let both = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    add("length-and-chunks", get(), Say::raw(both.as_bytes(), true));
    let twice = "Content-Length: 3\r\n";
    add("length-twice", get(), say("200 OK", twice).with(b"abc"));
    for (at, text) in [
        "HTTP/1.0 200 OK\r\nDate: x\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nDate: x\r\n\r\nabc",
        "HTTP/1.0 404 Not Found\r\nDate: x\r\nContent-Length: 0\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        add(
            &format!("http-1.0-{at}"),
            get(),
            Say::raw(text.as_bytes(), true),
        );
    }
    let end = "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 3\r\n\r\nabc";
    for (at, before) in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let say = Say::raw(format!("{before}{end}").as_bytes(), false);
        add(&format!("before-{at}"), get(), say.clone());
        add(&format!("before-{at}-in-pieces"), get(), say.in_pieces(4));
    }
    let takes = || get().field("TE: trailers\r\nConnection: TE");
    let announced = || say("200 OK", "Trailer: X-Sum\r\n");
    let two = || say("200 OK", "Trailer: X-Sum\r\nTrailer: X-Two\r\n");
    let one = "0\r\nX-Sum: abc\r\n\r\n";
    add("trailers", takes(), announced().chunked(b"abcdef", 4, one));
    add(
        "trailers-two",
        takes(),
        two().chunked(b"abcdef", 4, "0\r\nX-Two: 2\r\nX-Sum: 1\r\n\r\n"),
    );
    add(
        "trailers-repeated",
        takes(),
        announced().chunked(b"a", 4, "0\r\nX-Sum: 2\r\nX-Sum: 1\r\n\r\n"),
    );
    add("trailers-alone", takes(), announced().chunked(b"", 4, one));
    add(
        "trailers-absent",
        takes(),
        announced().chunked(b"abc", 4, "0\r\n\r\n"),
    );
    add(
        "trailers-not-taken",
        get(),
        announced().chunked(b"abcdef", 4, one),
    );
    add(
        "trailers-unannounced",
        takes(),
        plain().chunked(b"abcdef", 4, one),
    );
    let refusal = say("404 Not Found", "Trailer: X-Sum\r\n");
    add(
        "trailers-refusal",
        takes(),
        refusal.chunked(b"abcdef", 4, one),
    );
    for (at, fields) in [
        "",
        "Content-Length: 0\r\n",
        "Content-Length: 123456\r\n",
        "Transfer-Encoding: chunked\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let head = ask("HEAD", "/v1/things/f");
        add(&format!("head-{at}"), head, say("200 OK", fields).bare());
    }
    cases
}
