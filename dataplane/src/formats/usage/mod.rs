//! Usage, heard while an answer passes: the reader looks for usage objects in whatever bytes come,
//! keeps at most one of them at a time, and never the answer. It knows the spellings of all providers
//! and does not know prices.

mod chunk;
mod prompt;
mod prose;
mod report;
mod vocabulary;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use proxyxai_contract::usage::Tokens;

pub(crate) use self::{chunk::without_usage, prompt::estimate_prompt, prose::Prose};

use self::report::Report;
use super::{Family, text};

/// Inside a JSON string the quotes would be escaped, so a hit is a key or a whole string.
const KEY: &[u8] = b"\"usage\"";
static KEY_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// Longer than any usage object; one that grows past this is some other field of the same name.
const OBJECT_BYTES_MAX: usize = 16 * 1024;

/// Text is about four bytes a token, over languages and code.
const BYTES_PER_TOKEN: u64 = 4;

/// Hears one answer, JSON or a stream of events.
#[derive(Debug)]
pub(crate) struct UsageReader {
    family: Family,
    shape: Option<Shape>,
    state: State,
    /// The last bytes of the chunk before, in which the key may have begun.
    tail: Vec<u8>,
    prose: Prose,
    report: Option<Report>,
    /// Whether a report came since this was last asked.
    news: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Events,
}

#[derive(Debug)]
enum State {
    /// Looking for the key.
    Search,
    /// After the key, before the value.
    AfterKey {
        /// Whether the colon has come.
        colon: bool,
    },
    /// Inside the object.
    Object(Object),
}

/// An object of which the end has not come yet.
#[derive(Debug, Default)]
struct Object {
    bytes: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// Tokens by the length of texts in bytes, where they cannot be counted.
pub(crate) fn estimate(request_body_len: usize, delivered_bytes: u64) -> Tokens {
    let input = u64::try_from(request_body_len).unwrap_or(u64::MAX);
    let tokens = |bytes: u64| bytes.div_ceil(BYTES_PER_TOKEN);
    Tokens {
        input: tokens(input),
        output: tokens(delivered_bytes),
        ..Tokens::default()
    }
}

// === impl UsageReader ===

impl UsageReader {
    /// For an answer on a route of this family, which decides what `input_tokens` means.
    pub(crate) fn new(family: Family) -> Self {
        Self {
            family,
            shape: None,
            state: State::Search,
            tail: Vec::new(),
            prose: Prose::default(),
            report: None,
            news: false,
        }
    }

    /// Hears the next bytes of the body.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.look(chunk);
        self.prose.push(chunk);
    }

    /// Hears the last bytes of the body, of which the text counts only when nothing is reported.
    pub(crate) fn push_last(&mut self, chunk: &[u8]) {
        self.look(chunk);
        if self.report.is_none() {
            self.prose.push(chunk);
        }
    }

    /// Looks for usage.
    fn look(&mut self, chunk: &[u8]) {
        if self.shape.is_none() {
            self.shape = shape(chunk);
        }
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match &mut self.state {
                State::Search => self.search(rest),
                State::AfterKey { colon } => {
                    let (state, rest) = after_key(*colon, rest);
                    self.state = state;
                    rest
                }
                State::Object(object) => {
                    let (end, rest) = object.push(rest);
                    match end {
                        End::Open => {}
                        End::Whole => {
                            let bytes = std::mem::take(&mut object.bytes);
                            self.state = State::Search;
                            self.hear(&bytes);
                        }
                        End::TooLong => self.state = State::Search,
                    }
                    rest
                }
            };
        }
    }

    /// Tokens as reported so far; none when nothing was.
    pub(crate) fn tokens(&self) -> Option<Tokens> {
        self.report.map(|report| report.tokens(self.family))
    }

    /// Whether a report came since this was last asked.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The generated text that has passed, for counting.
    pub(crate) fn take_prose(&mut self) -> Prose {
        std::mem::take(&mut self.prose)
    }

    /// Bytes of generated text that have passed, about: escapes count as written.
    pub(crate) fn delivered_bytes(&self) -> u64 {
        self.prose.delivered_bytes()
    }

    /// Whether the answer has said that it is complete, though usage may yet follow.
    pub(crate) fn finished(&self) -> bool {
        self.prose.finished()
    }

    /// Whether the last thing that its protocol says has passed.
    pub(crate) fn closed(&self) -> bool {
        self.prose.closed()
    }

    /// Whether little but the usage should follow: a JSON answer is whole when it begins, a stream says
    /// that its text ends.
    pub(crate) fn is_near_end(&self) -> bool {
        self.shape == Some(Shape::Json) || self.prose.is_near_end()
    }

    fn search<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let border = self.tail.len();
        if border > 0 {
            let head = chunk.len().min(KEY.len() - 1);
            self.tail
                .extend_from_slice(chunk.get(..head).unwrap_or_default());
            if let Some(at) = KEY_FINDER.find(&self.tail) {
                return self.found(chunk, (at + KEY.len()).saturating_sub(border));
            }
            self.tail.truncate(border);
        }
        if let Some(at) = KEY_FINDER.find(chunk) {
            return self.found(chunk, at + KEY.len());
        }
        let kept = chunk.len().saturating_sub(KEY.len() - 1);
        self.tail
            .extend_from_slice(chunk.get(kept..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(KEY.len() - 1);
        self.tail.drain(..surplus);
        &[]
    }

    fn found<'a>(&mut self, chunk: &'a [u8], end: usize) -> &'a [u8] {
        self.tail.clear();
        self.state = State::AfterKey { colon: false };
        chunk.get(end..).unwrap_or_default()
    }

    /// Takes a usage object over. Only Anthropic's streams report in parts; elsewhere the last report
    /// is the whole truth, and an earlier object of that name was none.
    fn hear(&mut self, object: &[u8]) {
        let Some(heard) = Report::read(object) else {
            return;
        };
        self.news = true;
        let in_parts = self.family == Family::Anthropic && self.shape == Some(Shape::Events);
        self.report = Some(match self.report {
            Some(before) if in_parts => heard.over(before),
            // A count does not go back to nothing.
            Some(before) if heard.is_zero() => before,
            Some(_) | None => heard,
        });
    }
}

// === impl Object ===

enum End {
    Open,
    Whole,
    TooLong,
}

impl Object {
    fn push<'a>(&mut self, chunk: &'a [u8]) -> (End, &'a [u8]) {
        let room = OBJECT_BYTES_MAX.saturating_sub(self.bytes.len());
        let (seen, beyond) = chunk.split_at_checked(room).unwrap_or((chunk, &[]));
        let mut at = 0;
        while let Some(rest) = seen.get(at..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.escaped) {
                at += 1;
                continue;
            }
            let found = if self.in_string {
                memchr::memchr2(b'"', b'\\', rest)
            } else {
                memchr::memchr3(b'"', b'{', b'}', rest)
            };
            let Some(found) = found else {
                break;
            };
            at += found + 1;
            match rest.get(found) {
                Some(b'\\') => self.escaped = true,
                Some(b'{') => self.depth += 1,
                Some(b'}') => self.depth -= 1,
                _ => self.in_string = !self.in_string,
            }
            if self.depth == 0 {
                let (last, rest) = chunk.split_at(at);
                self.bytes.extend_from_slice(last);
                return (End::Whole, rest);
            }
        }
        if !beyond.is_empty() {
            return (End::TooLong, beyond);
        }
        self.bytes.extend_from_slice(chunk);
        (End::Open, &[])
    }
}

/// What begins like JSON is no stream of events.
fn shape(chunk: &[u8]) -> Option<Shape> {
    // A byte order mark may come in pieces, so each of its bytes is passed over.
    let is_filler = |byte: u8| text::is_space(byte) || text::BYTE_ORDER_MARK.contains(&byte);
    let first = chunk.iter().find(|byte| !is_filler(**byte))?;
    Some(if matches!(first, b'{' | b'[') {
        Shape::Json
    } else {
        Shape::Events
    })
}

/// Goes on after the key. What is no object leads back to the search, at the byte that showed it.
fn after_key(mut colon: bool, chunk: &[u8]) -> (State, &[u8]) {
    for (at, byte) in chunk.iter().enumerate() {
        match byte {
            byte if text::is_space(*byte) => {}
            b':' if !colon => colon = true,
            b'{' if colon => {
                return (
                    State::Object(Object::default()),
                    chunk.get(at..).unwrap_or_default(),
                );
            }
            _ => return (State::Search, chunk.get(at..).unwrap_or_default()),
        }
    }
    (State::AfterKey { colon }, &[])
}

#[cfg(test)]
mod chunk_tests;
#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod tests;
