//! HTTP/1.1 by hand: requests are sent exactly as written, and responses are read without an HTTP library. For what a
//! proper client would not send or not show.

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A response as received.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// Without chunked framing.
    pub body: Vec<u8>,
    /// Whether the framing marked the body as complete.
    pub complete: bool,
}

impl Answer {
    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All headers with this name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

/// A request with a body of known length, for a new connection.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Bytes {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = head(method, target, headers, &length);
    [head.as_bytes(), body].concat().into()
}

/// A request with its body in chunks of this size.
pub fn chunked(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    size: usize,
) -> Bytes {
    let framing = "Transfer-Encoding: chunked\r\n";
    let mut text = head(method, target, headers, framing).into_bytes();
    for piece in body.chunks(size) {
        text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        text.extend_from_slice(piece);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    text.into()
}

fn head(method: &str, target: &str, headers: &[(&str, &str)], framing: &str) -> String {
    let headers: String = headers
        .iter()
        .flat_map(|(name, value)| [name, ": ", value, "\r\n"])
        .collect();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n{headers}{framing}\r\n"
    )
}

/// Opens a connection to a base URL.
pub async fn connect(base: &str) -> TcpStream {
    let socket = TcpStream::connect(base.trim_start_matches("http://"))
        .await
        .unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends all of a request, then reads the response to its end.
pub async fn exchange(base: &str, request: &[u8]) -> Answer {
    let mut socket = connect(base).await;
    let method =
        String::from_utf8_lossy(request.split(|byte| *byte == b' ').next().unwrap()).into_owned();
    socket.write_all(request).await.unwrap();
    read(&mut socket, &method).await
}

/// Reads a response to the end of its framing or of the connection.
pub async fn read(socket: &mut TcpStream, method: &str) -> Answer {
    let reading = async {
        let mut text = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(answer) = parse(&text, method).filter(|answer| answer.complete) {
                return answer;
            }
            match socket.read(&mut buffer).await {
                Ok(0) => return parse(&text, method).unwrap_or_default(),
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(error) if text.is_empty() => {
                    panic!("the connection broke before any answer: {error}")
                }
                Err(_) => return parse(&text, method).unwrap_or_default(),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), reading)
        .await
        .expect("no end of the answer")
}

fn parse(text: &[u8], method: &str) -> Option<Answer> {
    let end = text.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).unwrap();
    let rest = &text[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    if status == 100 {
        return parse(rest, method);
    }
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let mut answer = Answer {
        status,
        headers: headers.collect(),
        ..Answer::default()
    };
    if method == "HEAD" || status == 204 || status == 304 {
        (answer.body, answer.complete) = (rest.to_vec(), true);
    } else if answer
        .header("transfer-encoding")
        .is_some_and(|value| value.contains("chunked"))
    {
        (answer.body, answer.complete) = dechunk(rest);
    } else if let Some(length) = answer
        .header("content-length")
        .map(|value| value.parse::<usize>().unwrap())
    {
        (answer.body, answer.complete) = (rest.to_vec(), rest.len() >= length);
    } else {
        answer.body = rest.to_vec();
    }
    Some(answer)
}

fn dechunk(mut text: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = text.windows(2).position(|window| window == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&text[..end]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        text = &text[end + 2..];
        if size == 0 {
            return (body, text.ends_with(b"\r\n"));
        }
        if text.len() < size + 2 {
            body.extend_from_slice(&text[..text.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&text[..size]);
        text = &text[size + 2..];
    }
}
