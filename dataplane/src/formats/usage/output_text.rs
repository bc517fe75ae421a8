//! Measures the generated text in a response, and whether the response announced its end. It steps from one JSON string
//! to the next and looks at member names; it parses nothing. It keeps as much text as a token count needs.

use super::tokenizer;
use crate::formats::blocks::Marks;

/// Long enough for the names and event types below.
const NAME_BYTES_MAX: usize = 40;
/// Upper bound on the text kept. Beyond it, the same tokens per byte are assumed.
const KEPT_BYTES_MAX: usize = 64 * 1024;
const DONE: &[u8] = b"[DONE]";

/// Steps through the strings of a response.
#[derive(Debug, Default)]
pub(crate) struct OutputTextScanner {
    place: StringPosition,
    /// Whether the current string is a member's value, and not a name or an array item.
    is_value: bool,
    /// Bytes of the current string so far.
    len: u64,
    /// Its beginning.
    name: Vec<u8>,
    /// The last name read.
    member: TextMember,
    /// The last byte outside strings that is not a space.
    between: u8,
    /// How much of `[DONE]` has been matched.
    done: usize,
    text_bytes: u64,
    delta_bytes: u64,
    /// Generated text as written in JSON: deltas once there are any, other texts before.
    kept: Vec<u8>,
    stage: AnswerStage,
    /// Whether an error was found where usage should have followed.
    failed: bool,
}

/// How much of the response's end has been announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum AnswerStage {
    #[default]
    Open,
    /// A part is complete, usually the last one.
    NearEnd,
    /// A choice is complete.
    Finished,
    /// Nothing follows.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum StringPosition {
    #[default]
    Outside,
    Inside,
    /// After a backslash in a string.
    Escaped,
}

/// The members that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum TextMember {
    /// Generated text.
    Text,
    /// A piece of generated text, in a stream that later repeats the whole text.
    Delta,
    /// Set when a choice is complete.
    FinishReason,
    /// Names an event.
    Type,
    /// Means failure, unless usage follows.
    Error,
    Usage,
    #[default]
    Other,
}

// === impl OutputTextScanner ===

impl OutputTextScanner {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let (mut marks, mut at) = (Marks::new(chunk), 0);
        while at < chunk.len() {
            at = match self.place {
                StringPosition::Outside => self.outside(chunk, at, &mut marks),
                StringPosition::Inside => self.inside(chunk, at, &mut marks),
                StringPosition::Escaped => {
                    self.place = StringPosition::Inside;
                    self.keep(b"\\");
                    self.keep(between(chunk, at, at + 1));
                    self.len = self.len.saturating_add(1);
                    at + 1
                }
            };
        }
    }

    pub(super) fn delivered_bytes(&self) -> u64 {
        if self.delta_bytes > 0 {
            self.delta_bytes
        } else {
            self.text_bytes
        }
    }

    pub(super) fn is_near_end(&self) -> bool {
        self.stage >= AnswerStage::NearEnd
    }

    pub(super) fn finished(&self) -> bool {
        self.stage >= AnswerStage::Finished
    }

    /// Whether it ended with an error after the last usage.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    pub(super) fn closed(&self) -> bool {
        self.stage == AnswerStage::Closed
    }

    /// Tokens of the generated text. The first call loads the tokenizer.
    pub(crate) fn tokens(&self) -> u64 {
        let kept = self.kept.len() as u64;
        let tokens = tokenizer::count(&unescaped(&self.kept));
        // Both sides count escapes as written.
        let all = self.delivered_bytes();
        if kept < KEPT_BYTES_MAX as u64 || kept == 0 {
            return tokens;
        }
        let scaled = u128::from(tokens) * u128::from(all.max(kept)) / u128::from(kept);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// Keeps part of the current string if it is generated text.
    fn keep(&mut self, part: &[u8]) {
        let wanted = match self.member {
            TextMember::Text => self.delta_bytes == 0,
            TextMember::Delta => true,
            TextMember::FinishReason
            | TextMember::Type
            | TextMember::Error
            | TextMember::Usage
            | TextMember::Other => false,
        };
        if self.is_value && wanted {
            let room = KEPT_BYTES_MAX - self.kept.len().min(KEPT_BYTES_MAX);
            let part = part.get(..room.min(part.len())).unwrap_or_default();
            self.kept.extend_from_slice(part);
        }
    }

    /// Skips to the next string from `at` on, and to its end if it is in the chunk. Returns the new position.
    fn outside(&mut self, chunk: &[u8], at: usize, marks: &mut Marks<'_>) -> usize {
        let mut quote = marks.from(at);
        while quote.is_some_and(|found| chunk.get(found) != Some(&b'"')) {
            quote = quote.and_then(|other| marks.from(other + 1));
        }
        let gap = between(chunk, at, quote.unwrap_or(chunk.len()));
        // Between two strings there is usually no room for `[DONE]`.
        if quote.is_none() || self.done > 0 || gap.len() >= DONE.len() {
            self.look_for_done(gap);
        }
        if let Some(last) = gap.iter().rev().find(|byte| !byte.is_ascii_whitespace()) {
            self.between = *last;
        }
        match quote {
            Some(quote) => self.string(chunk, quote + 1, marks),
            None => chunk.len(),
        }
    }

    /// Called after the opening quote of a string. If its end is in the chunk, nothing is copied.
    fn string(&mut self, chunk: &[u8], at: usize, marks: &mut Marks<'_>) -> usize {
        self.is_value = self.between == b':';
        (self.len, self.done) = (0, 0);
        if self.between == b'{' {
            // The previous member is an object that is not empty.
            self.fails_with(self.member);
        }
        if self.is_value && self.member == TextMember::Delta && self.delta_bytes == 0 {
            // Earlier texts were not part of the answer, or are an empty delta.
            self.kept.clear();
        }
        if let Some(end) = marks.from(at)
            && chunk.get(end) == Some(&b'"')
        {
            let string = between(chunk, at, end);
            self.len = string.len() as u64;
            self.keep(string);
            self.close(string);
            return end + 1;
        }
        self.name.clear();
        self.place = StringPosition::Inside;
        at
    }

    fn inside(&mut self, chunk: &[u8], at: usize, marks: &mut Marks<'_>) -> usize {
        let found = marks.from(at).unwrap_or(chunk.len());
        let part = between(chunk, at, found);
        self.len = self.len.saturating_add(part.len() as u64);
        let room = NAME_BYTES_MAX
            .saturating_sub(self.name.len())
            .min(part.len());
        self.name
            .extend_from_slice(part.get(..room).unwrap_or_default());
        self.keep(part);
        match chunk.get(found) {
            Some(b'\\') => self.place = StringPosition::Escaped,
            Some(b'"') => {
                let name = std::mem::take(&mut self.name);
                self.close(&name);
                self.name = name;
            }
            // A JSON string contains no line break: this was a stray quote between events.
            Some(_) => {
                (self.place, self.member, self.between) =
                    (StringPosition::Outside, TextMember::Other, b'\n');
            }
            None => {}
        }
        found + 1
    }

    /// At the end of a string, whose beginning at least is given.
    fn close(&mut self, string: &[u8]) {
        self.place = StringPosition::Outside;
        self.between = b'"';
        if !self.is_value {
            // A name cut off at the limit is not a known one.
            self.member = TextMember::of(string);
            return;
        }
        match std::mem::take(&mut self.member) {
            TextMember::Text => self.text_bytes = self.text_bytes.saturating_add(self.len),
            TextMember::Delta => self.delta_bytes = self.delta_bytes.saturating_add(self.len),
            TextMember::FinishReason if self.len > 0 => {
                self.stage = self.stage.max(AnswerStage::Finished);
            }
            TextMember::Type if string == b"error" => self.failed = true,
            TextMember::Type => self.stage = self.stage.after(string),
            TextMember::Error if self.len > 0 => self.failed = true,
            TextMember::FinishReason
            | TextMember::Error
            | TextMember::Usage
            | TextMember::Other => {}
        }
    }

    /// Updates `failed` for an object with this name.
    fn fails_with(&mut self, object: TextMember) {
        match object {
            TextMember::Error => self.failed = true,
            TextMember::Usage => self.failed = false,
            TextMember::Text
            | TextMember::Delta
            | TextMember::FinishReason
            | TextMember::Type
            | TextMember::Other => {}
        }
    }

    fn look_for_done(&mut self, gap: &[u8]) {
        let mut rest = gap;
        while !rest.is_empty() && self.stage < AnswerStage::Closed {
            if self.done == 0 {
                let Some(at) = memchr::memchr(b'[', rest) else {
                    return;
                };
                self.done = 1;
                rest = rest.get(at + 1..).unwrap_or_default();
            } else if rest.first() == DONE.get(self.done) {
                self.done += 1;
                if self.done == DONE.len() {
                    self.stage = AnswerStage::Closed;
                }
                rest = rest.get(1..).unwrap_or_default();
            } else {
                self.done = 0;
            }
        }
    }
}

fn between(chunk: &[u8], from: usize, to: usize) -> &[u8] {
    chunk.get(from..to).unwrap_or_default()
}

/// The text of a run of JSON. It may end within an escape.
fn unescaped(text: &[u8]) -> String {
    /// `\uD83D\uDE00`, the longest escape.
    const ESCAPE_BYTES_MAX: usize = 12;
    for cut in 0..=ESCAPE_BYTES_MAX.min(text.len()) {
        let whole = text.get(..text.len() - cut).unwrap_or_default();
        let quoted = [b"\"", whole, b"\""].concat();
        if let Ok(text) = serde_json::from_slice(&quoted) {
            return text;
        }
    }
    String::from_utf8_lossy(text).into_owned()
}

// === impl TextMember ===

impl TextMember {
    fn of(name: &[u8]) -> Self {
        match name {
            b"content" | b"text" | b"arguments" | b"partial_json" | b"thinking"
            | b"reasoning_content" | b"reasoning" | b"refusal" => Self::Text,
            b"delta" => Self::Delta,
            b"finish_reason" => Self::FinishReason,
            b"type" => Self::Type,
            b"error" => Self::Error,
            b"usage" => Self::Usage,
            _ => Self::Other,
        }
    }
}

// === impl AnswerStage ===

impl AnswerStage {
    /// The stage after an object of this type, for example an event.
    fn after(self, kind: &[u8]) -> Self {
        match kind {
            b"message_stop"
            | b"response.completed"
            | b"response.incomplete"
            | b"response.failed" => Self::Closed,
            b"content_block_stop"
            | b"message_delta"
            | b"response.output_text.done"
            | b"response.refusal.done"
            | b"response.function_call_arguments.done"
            | b"response.content_part.done"
            | b"response.output_item.done" => self.max(Self::NearEnd),
            // Another part begins.
            b"content_block_start"
            | b"response.content_part.added"
            | b"response.output_item.added"
                if self == Self::NearEnd =>
            {
                Self::Open
            }
            _ => self,
        }
    }
}
