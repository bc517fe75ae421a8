//! HTTP/1.1 as bytes on both ends: messages are parsed without an HTTP library, and an upstream sends exactly what it
//! is told to, valid HTTP or not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// No message of these tests takes longer.
const READ_MAX: Duration = Duration::from_secs(20);

/// A name as spelt, and its value without surrounding white space.
pub type Field = (Vec<u8>, Vec<u8>);

/// A request or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The three parts of the first line; the last may be empty or contain blanks.
    pub start: [Vec<u8>; 3],
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    /// Statuses that came before it, such as `100 Continue`.
    pub before: Vec<u16>,
    pub framing: Framing,
}

/// What determines the end of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    Bodiless,
    Length,
    Chunked,
    /// The end of the connection.
    Close,
    /// The connection broke.
    Broken,
}

/// A step of an upstream after it has read a request.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Bytes),
    /// Sends the same bytes repeatedly, for as long as the peer reads them.
    Flood(Bytes),
    Pause(Duration),
    /// Keeps the connection open, and sends nothing more.
    Hang,
    /// Closes the connection in order.
    Close,
    /// Resets the connection.
    Reset,
}

/// An upstream whose steps are a function of the request. Ends when dropped.
pub struct Wire {
    pub base: String,
    seen: Arc<Mutex<Vec<Message>>>,
    server: JoinHandle<()>,
}

// === impl Wire ===

impl Wire {
    /// Without a step that ends the connection, it is kept for the next request.
    pub async fn start(script: impl Fn(&Message) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let (script, log) = (Arc::new(script), Arc::clone(&seen));
        let server = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut reader = Reader::new(socket);
                    while let Some(request) = reader.request().await {
                        let steps = script(&request);
                        log.lock().unwrap().push(request);
                        if !play(&mut reader.socket, steps).await {
                            return;
                        }
                    }
                });
            }
        });
        Self { base, seen, server }
    }

    /// An upstream that plays its steps on each connection without reading a request.
    pub async fn blurting(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let steps = steps.clone();
                tokio::spawn(async move { play(&mut socket, steps).await });
            }
        });
        let seen = Arc::default();
        Self { base, seen, server }
    }

    /// Requests received, in the order in which they were complete.
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests by the value of a field; each value once.
    pub fn seen_by(&self, name: &str) -> HashMap<String, Vec<Message>> {
        let mut by: HashMap<String, Vec<Message>> = HashMap::new();
        for message in self.seen() {
            by.entry(message.text(name)).or_default().push(message);
        }
        by
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Plays the steps. Returns false if the connection has ended.
async fn play(socket: &mut TcpStream, steps: Vec<Step>) -> bool {
    for step in steps {
        let sent = match step {
            Step::Send(bytes) => socket.write_all(&bytes).await,
            Step::Flood(bytes) => loop {
                if let Err(error) = socket.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Step::Pause(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Step::Hang => {
                // Until the peer closes.
                let mut rest = [0; 1024];
                while matches!(socket.read(&mut rest).await, Ok(count) if count > 0) {}
                return false;
            }
            Step::Close => {
                let _gone = socket.shutdown().await;
                return false;
            }
            Step::Reset => {
                let _gone = socket.set_zero_linger();
                return false;
            }
        };
        if sent.is_err() {
            return false;
        }
    }
    true
}

// === impl Message ===

impl Message {
    /// The values of a field, in the order received.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = |(known, _): &&Field| known.eq_ignore_ascii_case(name.as_bytes());
        let fields = self.fields.iter().filter(named);
        fields.map(|(_, value)| value.as_slice()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The first value of a field as text; empty if there is none.
    pub fn text(&self, name: &str) -> String {
        let first = self.all(name).first().copied().unwrap_or_default();
        String::from_utf8_lossy(first).into_owned()
    }

    pub fn remove(&mut self, name: &str) {
        self.fields
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
    }

    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.fields.push((name.into(), value.into()));
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        let status = std::str::from_utf8(&self.start[1]).unwrap();
        status.parse().unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        let text = || String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", text()))
    }

    fn parse(head: &[u8]) -> Self {
        let mut lines = head
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii_end);
        let mut start = lines.next().unwrap().splitn(3, |byte| *byte == b' ');
        let start = std::array::from_fn(|_| start.next().unwrap_or_default().to_vec());
        let fields = lines.filter(|line| !line.is_empty()).map(field).collect();
        Self {
            start,
            fields,
            ..Self::default()
        }
    }
}

fn field(line: &[u8]) -> Field {
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let value = &line[colon + 1..];
    let start = value.iter().position(|byte| !blank(byte));
    let end = value.iter().rposition(|byte| !blank(byte));
    let value = start
        .zip(end)
        .map_or(&[][..], |(start, end)| &value[start..=end]);
    (line[..colon].to_vec(), value.to_vec())
}

/// Reads messages from a connection.
pub struct Reader {
    pub socket: TcpStream,
    text: Vec<u8>,
}

// === impl Reader ===

impl Reader {
    pub fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            text: Vec::new(),
        }
    }

    /// The next request. Returns `None` if none arrives whole.
    async fn request(&mut self) -> Option<Message> {
        let mut message = Message::parse(&self.head().await?);
        if message.text("expect").eq_ignore_ascii_case("100-continue") {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.socket.write_all(go_on).await.ok()?;
        }
        message.framing = match framing(&message) {
            Framing::Close => Framing::Bodiless,
            other => other,
        };
        self.body(&mut message).await?;
        Some(message)
    }

    /// A response to its end, or as much of it as comes. Returns `None` if there is not even a head.
    pub async fn answer(&mut self, method: &str) -> Option<Message> {
        tokio::time::timeout(READ_MAX, self.final_answer(method))
            .await
            .expect("no end of the answer")
    }

    async fn final_answer(&mut self, method: &str) -> Option<Message> {
        let mut before = Vec::new();
        let mut message = loop {
            let message = Message::parse(&self.head().await?);
            match message.status() {
                status @ (100 | 102..=199) => before.push(status),
                _ => break message,
            }
        };
        let bodiless = method == "HEAD" || matches!(message.status(), 101 | 204 | 304);
        message.before = before;
        message.framing = if bodiless {
            Framing::Bodiless
        } else {
            framing(&message)
        };
        if self.body(&mut message).await.is_none() {
            message.framing = Framing::Broken;
        }
        Some(message)
    }

    async fn body(&mut self, message: &mut Message) -> Option<()> {
        match message.framing {
            Framing::Bodiless | Framing::Broken => {}
            Framing::Length => {
                let length: usize = message.text("content-length").parse().unwrap();
                let whole = self.have(length).await;
                let there = length.min(self.text.len());
                message.body = self.text.drain(..there).collect();
                whole?;
            }
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = std::str::from_utf8(&line).unwrap();
                let size = size.split(';').next().unwrap().trim();
                let size = usize::from_str_radix(size, 16).ok()?;
                if size == 0 {
                    while let Some(line) = self.line().await {
                        if line.is_empty() {
                            return Some(());
                        }
                        message.trailers.push(field(&line));
                    }
                    return None;
                }
                let whole = self.have(size + 2).await;
                let there = size.min(self.text.len());
                message.body.extend(self.text.drain(..there));
                whole?;
                self.text.drain(..2);
            },
            Framing::Close => {
                // A test checks how it ended if that matters.
                let orderly = self.have(usize::MAX).await.is_none() && self.ended();
                message.body = std::mem::take(&mut self.text);
                orderly.then_some(())?;
            }
        }
        Some(())
    }

    /// Whether the connection ended without an error.
    fn ended(&self) -> bool {
        matches!(self.socket.take_error(), Ok(None))
    }

    /// A head without its blank line.
    async fn head(&mut self) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            let from = self.text.get(searched..).unwrap_or_default();
            if let Some(end) = from.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.text.drain(..searched + end).collect();
                self.text.drain(..4);
                return Some(head);
            }
            searched = self.text.len().saturating_sub(3);
            self.more().await?;
        }
    }

    /// A line without its end.
    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.text.windows(2).position(|two| two == b"\r\n") {
                let line = self.text.drain(..end).collect();
                self.text.drain(..2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    /// Waits until this many bytes are there.
    async fn have(&mut self, count: usize) -> Option<()> {
        while self.text.len() < count {
            self.more().await?;
        }
        Some(())
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.socket.read(&mut buffer).await.ok()?;
        self.text.extend_from_slice(&buffer[..count]);
        (count > 0).then_some(())
    }
}

fn framing(message: &Message) -> Framing {
    if message.has("transfer-encoding") {
        Framing::Chunked
    } else if message.has("content-length") {
        Framing::Length
    } else {
        Framing::Close
    }
}

/// Sends a request unchanged and reads the response. Returns `None` if there is no head.
pub async fn exchange(base: &str, request: &[u8]) -> Option<Message> {
    let socket = TcpStream::connect(base.trim_start_matches("http://"))
        .await
        .unwrap();
    socket.set_nodelay(true).unwrap();
    let method = request.split(|byte| *byte == b' ').next().unwrap();
    let method = String::from_utf8_lossy(method).into_owned();
    let mut reader = Reader::new(socket);
    // A refusal may come before all of the request is sent.
    let _sent = reader.socket.write_all(request).await;
    reader.answer(&method).await
}
