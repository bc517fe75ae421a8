//! What `load` is told to do: its flags, their bounds and the request all connections send. It measures nothing.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use proxyxai_bench::{StreamScript, loopback};

/// As many streams as a data plane may hold open.
const CONNECTIONS_MAX: usize = 10_000;
const SECONDS_MAX: f64 = 60.0;
const RATE_MAX: u32 = 20_000;
const BODY_BYTES_MAX: usize = 8 << 20;

/// How requests follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Closed,
    Stream,
    Rate,
}

/// Now and then a request has a large body.
pub struct Large {
    pub body: Bytes,
    /// One in so many requests.
    pub every: usize,
}

/// One measurement, complete and within bounds.
pub struct Plan {
    pub target: SocketAddr,
    pub mode: Mode,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub large: Option<Large>,
    pub script: StreamScript,
    pub connections: usize,
    pub rate: u32,
    pub seconds: Duration,
}

impl Plan {
    /// Reads the flags; the bounds keep a typing error from becoming an endless or boundless load.
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut target, mut mode, mut path) =
            (None, Mode::Closed, "/v1/chat/completions".to_owned());
        let (mut model, mut body_bytes, mut authorization) = ("gpt-4o-mini".to_owned(), 300, None);
        let (mut connections, mut rate, mut seconds) = (64, 200, 2.0);
        let (mut large_bytes, mut large_every, mut header_lines) = (0, 0, Vec::new());
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--target" => target = Some(loopback(&value)?),
                "--mode" => mode = parse_mode(&value)?,
                "--path" => path = value,
                "--model" => model = value,
                "--body-bytes" => body_bytes = value.parse()?,
                "--connections" => connections = value.parse()?,
                "--seconds" => seconds = value.parse()?,
                "--rate" => rate = value.parse()?,
                "--large-bytes" => large_bytes = value.parse()?,
                "--large-every" => large_every = value.parse()?,
                "--authorization" => authorization = Some(value),
                "--header" => header_lines.push(value),
                _ => return Err(format!("{flag} is not known").into()),
            }
        }
        let target = target.ok_or("--target is missing")?;
        let bounded = (1..=CONNECTIONS_MAX).contains(&connections)
            && (1..=RATE_MAX).contains(&rate)
            && (0.0..=SECONDS_MAX).contains(&seconds)
            && body_bytes.max(large_bytes) <= BODY_BYTES_MAX;
        if !bounded {
            return Err("connections, rate, seconds or body size is out of bounds".into());
        }
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::try_from(target.to_string())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(value)?);
        }
        for header in header_lines {
            let (name, value) = header.split_once(": ").ok_or("a header needs a value")?;
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        let body = |bytes| Bytes::from(request_body(&path, &model, bytes, mode == Mode::Stream));
        Ok(Self {
            target,
            mode,
            body: body(body_bytes),
            large: (large_every > 0).then(|| Large {
                body: body(large_bytes),
                every: large_every,
            }),
            uri: path.parse()?,
            headers,
            script: StreamScript::from_model(&model),
            connections,
            rate,
            seconds: Duration::from_secs_f64(seconds),
        })
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "closed" => Ok(Mode::Closed),
        "stream" => Ok(Mode::Stream),
        "rate" => Ok(Mode::Rate),
        _ => Err(format!("{text} is no mode")),
    }
}

/// A body of about `bytes`, as clients write them: many messages, quotes and line ends escaped.
fn request_body(path: &str, model: &str, bytes: usize, stream: bool) -> String {
    const LINE: &str = "Please read the notes below, say \"yes\" or \"no\",\nand keep the answer to one short line.\n";
    const MESSAGE_BYTES: usize = 2_000;
    if path.ends_with("/embeddings") {
        let input: String = LINE
            .chars()
            .cycle()
            .take(bytes.saturating_sub(60))
            .collect();
        return serde_json::json!({"model": model, "input": input}).to_string();
    }
    let mut messages =
        vec![serde_json::json!({"role": "system", "content": "You answer briefly."})];
    let mut left = bytes.saturating_sub(120);
    while left > 0 {
        let take = left.min(MESSAGE_BYTES);
        let role = if messages.len() % 2 == 1 {
            "user"
        } else {
            "assistant"
        };
        let content: String = LINE
            .chars()
            .cycle()
            .take(take.saturating_sub(take / 20))
            .collect();
        messages.push(serde_json::json!({"role": role, "content": content}));
        left -= take;
    }
    let mut body = serde_json::json!({"model": model, "messages": messages, "temperature": 0.5});
    if stream {
        body["stream"] = true.into();
    }
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_about_as_long_as_asked() {
        for (path, bytes) in [
            ("/v1/chat/completions", 300),
            ("/v1/chat/completions", 65_536),
            ("/v1/embeddings", 300),
        ] {
            let length = request_body(path, "m", bytes, false).len();
            assert!(
                length.abs_diff(bytes) < bytes / 20 + 40,
                "{path} {bytes}: {length}"
            );
        }
    }

    #[test]
    fn a_far_target_is_refused() {
        let args = ["--target", "192.0.2.1:80"].map(String::from);
        assert!(Plan::from_args(args.into_iter()).is_err());
    }
}
