//! Calls of the metered routes, whole and streamed, and of endpoints that name a model.

use super::corpus::{Ask, CODINGS, Case, Say, ask, fine, say};

/// A route, a request to it, a response, and the events of a stream with and without usage.
struct Family {
    name: &'static str,
    path: &'static str,
    request: &'static str,
    answer: &'static str,
    events: &'static [&'static str],
    usage: &'static str,
}

const FAMILIES: [Family; 5] = [
    Family {
        name: "chat",
        path: "/v1/chat/completions",
        request: r#"{"model":"gpt-4o","messages":[{"role":"user","content":"caf\u00e9 ☃"}]STREAM}"#,
        answer: r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#,
        events: &[
            r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{"content":"a ☃"}}]}"#,
            r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        ],
        usage: r#"data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#,
    },
    Family {
        name: "completions",
        path: "/v1/completions",
        request: r#"{"prompt":["a","b"],"model":"gpt-4o"STREAM}"#,
        answer: r#"{"choices":[{"text":"a","index":0}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#,
        events: &[
            r#"data: {"choices":[{"index":0,"text":"a"}]}"#,
            r#"data: {"choices":[{"index":0,"text":"b","finish_reason":"stop"}]}"#,
        ],
        usage: r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    },
    Family {
        name: "responses",
        path: "/v1/responses",
        request: r#"{"input":"a","model":"gpt-4o"STREAM}"#,
        answer: r#"{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7}}"#,
        events: &[
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{}}",
            "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}",
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}",
        ],
        usage: "",
    },
    Family {
        name: "messages",
        path: "/v1/messages",
        request: r#"{"max_tokens":9,"messages":[{"role":"user","content":"a"}],"model":"claude-3-5-haiku-20241022"STREAM}"#,
        answer: r#"{"type":"message","role":"assistant","content":[{"type":"text","text":"a"}],"usage":{"input_tokens":3,"output_tokens":4}}"#,
        events: &[
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}",
            "event: ping\ndata: {\"type\": \"ping\"}",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}",
        ],
        usage: "",
    },
    Family {
        name: "embeddings",
        path: "/v1/embeddings",
        request: r#"{"input":[[1,2],[3]],"model":"text-embedding-3-small"STREAM}"#,
        answer: r#"{"object":"list","data":[{"index":0,"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#,
        events: &["data: {\"object\":\"odd\"}"],
        usage: "",
    },
];

const JSON: &str = "Content-Type: application/json\r\n";
const EVENTS: &str = "Content-Type: text/event-stream; charset=utf-8\r\n";
const LAST: &str = "0\r\n\r\n";

impl Family {
    fn ask(&self, stream: &str) -> Ask {
        ask("POST", self.path).json(&self.request.replace("STREAM", stream))
    }

    /// A stream with these line ends, with usage or without.
    fn stream(&self, newline: &str, with_usage: bool, size: usize) -> Say {
        let mut events = self.events.to_vec();
        if with_usage && !self.usage.is_empty() {
            events.push(self.usage);
        }
        if !self.usage.is_empty() {
            events.push("data: [DONE]");
        }
        let text = format!("{}\n\n", events.join("\n\n"));
        let text = text.replace('\n', newline);
        say("200 OK", EVENTS).chunked(text.as_bytes(), size, LAST)
    }
}

/// Responses that are not streams.
pub(super) fn whole() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let name = family.name;
        let ask = || family.ask("");
        let json = || say("200 OK", JSON);
        let mut add = |id: &str, ask, say| cases.push(Case::new(format!("{name}-{id}"), ask, say));
        add("json", ask(), json().with(family.answer.as_bytes()));
        add(
            "json-chunked",
            ask(),
            json().chunked(family.answer.as_bytes(), 10, LAST),
        );
        add(
            "json-to-the-end",
            ask(),
            json().until_close(family.answer.as_bytes()),
        );
        add(
            "json-in-pieces",
            ask(),
            json().with(family.answer.as_bytes()).in_pieces(6),
        );
        let odd = format!(" \r\n\t{}\n\n", family.answer.replace(',', " ,\n"));
        add("json-odd", ask(), json().with(odd.as_bytes()));
        add(
            "no-json",
            ask(),
            say("200 OK", "Content-Type: text/html\r\n").with(b"<p>fine</p>"),
        );
        add("empty", ask(), json().with(b""));
        add(
            "refused",
            ask(),
            say("400 Bad Request", JSON).with(br#"{"error":{"message":"no such"}}"#),
        );
        add(
            "accepted",
            ask(),
            say("202 Accepted", JSON).with(br#"{"id":"later"}"#),
        );
        let (coding, body) = CODINGS[cases.len() % 4];
        let fields = format!("Content-Encoding: {coding}\r\n{JSON}");
        cases.push(Case::new(
            format!("{name}-coded"),
            ask(),
            say("200 OK", &fields).with(body),
        ));
        let asked = family.ask("").field("Accept-Encoding: gzip, br");
        let answer = say("200 OK", JSON).with(family.answer.as_bytes());
        cases.push(Case::new(format!("{name}-asks-for-coding"), asked, answer));
    }
    cases
}

/// Responses that are streams.
pub(super) fn streams() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let name = family.name;
        let plain = family.ask(r#","stream":true"#);
        let asking = family.ask(r#","stream": true, "stream_options": {"include_usage": true}"#);
        let optional = !family.usage.is_empty();
        for (at, (newline, size)) in [("\n", 7), ("\r\n", 64), ("\r", 1), ("\n", 10_000)]
            .into_iter()
            .enumerate()
        {
            let mut case = Case::new(
                format!("{name}-events-{at}"),
                plain.clone(),
                family.stream(newline, false, size),
            );
            case.say_usage = optional.then(|| family.stream(newline, true, size));
            cases.push(case);
        }
        if optional {
            let say = family.stream("\n", true, 20);
            cases.push(Case::new(format!("{name}-events-usage"), asking, say));
        }
        let first = family.events[0];
        let odd = format!(
            "\u{feff}: comment\n\n{first}\n\nid: 3\nretry: 10\n{}\n\ndata: part\ndata\ndata: of two lines\n\n: keep-alive\n\n\n\n{first}\n\ndata: [DONE]\n\n",
            family.events.last().unwrap()
        );
        let id = format!("{name}-events-odd");
        cases.push(Case::new(
            id,
            family.ask(r#","stream":true,"x":1"#),
            say("200 OK", EVENTS).chunked(odd.as_bytes(), 13, LAST),
        ));
        let text = family.stream("\n", false, 1_000_000);
        let closes = family.ask(r#","stream":true,"x":2"#);
        cases.push(Case::new(
            format!("{name}-events-pieces"),
            closes,
            text.in_pieces(8),
        ));
        let to_the_end = format!(
            "{first}\n\n{}\n\ndata: [DONE]\n\n",
            family.events.last().unwrap()
        );
        let ask = family.ask(r#","stream":true,"x":3"#);
        cases.push(Case::new(
            format!("{name}-events-to-the-end"),
            ask,
            say("200 OK", EVENTS).until_close(to_the_end.as_bytes()),
        ));
        let ask = family.ask(r#","stream":true,"x":4"#);
        let refusal = say("422 Unprocessable Content", JSON).with(br#"{"error":{"message":"no"}}"#);
        cases.push(Case::new(format!("{name}-events-refused"), ask, refusal));
    }
    cases
}

/// Endpoints that name a model, aliases, and a model that is mapped.
pub(super) fn other() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/v1/audio/speech",
        "/v1/images/generations",
        "/v1/moderations",
        "/v1/rerank",
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v1/messages/count_tokens",
        "/chat/completions",
        "/v2/chat/completions?a=1",
        "/embeddings",
        "/v1/chat/completions?api-version=2024-10-21&a=1&a=2",
        "/v1//chat/completions",
        "/v1/chat/completions/",
    ] {
        let id = format!("endpoint-{}", cases.len());
        let body = "\u{20}{ \"model\" :\t\"gpt-4o\" ,\n\"messages\":[ ],\"x\" : 1e2, \"x\":\"\\u00e9\\/\" } \n";
        cases.push(Case::new(id, ask("POST", path).json(body), fine()));
    }
    for (at, body) in [
        r#"{"model":"mapped-one","input":"mapped-one"}"#,
        r#"{"input":{"model":"mapped-two"}, "model" : "mapped-two" }"#,
    ]
    .into_iter()
    .enumerate()
    {
        let ask = ask("POST", "/v1/embeddings").json(body);
        cases.push(Case::new(format!("mapped-{at}"), ask, fine()));
    }
    cases
}
