//! Usage, heard while an answer passes: the reader looks for usage objects where the schema of the answer has
//! them, in whatever bytes come, keeps at most one of them at a time, and never the answer. It knows the
//! spellings of all providers and does not know prices.

mod asked;
mod bounds;
mod chunk;
mod count;
mod decompress;
mod findings;
mod known;
mod lines;
mod names;
mod output_text;
mod prompt;
mod report;
mod schema_scanner;
mod shape;
mod subject;
mod tier;
mod tokenizer;
mod tools;

use std::sync::LazyLock;

use memchr::memmem::Finder;
use proxyxai_contract::{part::BillPart, price::BATCH_TIER, tokens::TokenUsage};

pub(crate) use self::{
    asked::{RequestMeasure, is_file},
    bounds::ModelBounds,
    chunk::without_usage,
    known::ResolvedUsage,
    output_text::OutputTextScanner,
    prompt::estimate_prompt,
    report::Reported,
    shape::UsageSchema,
    subject::ModelUsage,
    subject::Subject,
};

use self::{
    decompress::{GZIP, Unpack},
    findings::{UsageFindings, hear},
    lines::{DataLines, Piece},
    schema_scanner::SchemaScanner,
};
use super::text;

/// Inside a JSON string the quotes would be escaped, so a hit is a key or a whole string.
const KEY: &[u8] = b"\"usage\"";
static KEY_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// What the entry of a tool's call has in its type.
const CALL: &[u8] = b"_call\"";
static CALL_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(CALL));

/// Text is about four bytes a token, over languages and code.
const BYTES_PER_TOKEN: u64 = 4;

/// Hears one answer, JSON or a stream of events.
#[derive(Debug)]
pub(crate) struct UsageReader {
    schema: UsageSchema,
    shape: Option<AnswerFormat>,
    unpack: Option<Unpack>,
    /// Bytes of an answer in a form that is not known here.
    opaque_bytes: u64,
    scanner: SchemaScanner,
    lines: DataLines,
    output_text: OutputTextScanner,
    findings: UsageFindings,
    /// What was said of objects, where that is listened to.
    subject: Option<Box<Subject>>,
    /// Whether a report came since this was last asked.
    news: bool,
    /// Whether an event has passed: the first may tell what no other does.
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerFormat {
    Json,
    Events,
    /// Sound, or compressed.
    Opaque,
}

/// Tokens by the length of texts in bytes, where they cannot be counted.
pub(crate) fn estimate(request_body_len: usize, delivered_bytes: u64) -> TokenUsage {
    let input = u64::try_from(request_body_len).unwrap_or(u64::MAX);
    let tokens = |bytes: u64| bytes.div_ceil(BYTES_PER_TOKEN);
    TokenUsage {
        input: tokens(input),
        output: tokens(delivered_bytes),
        ..TokenUsage::default()
    }
}

// === impl UsageReader ===

impl UsageReader {
    /// For an answer that follows this protocol.
    pub(crate) fn new(schema: UsageSchema) -> Self {
        Self::listening(schema, None)
    }

    /// The same, and what it says of objects is heard as well.
    pub(crate) fn with_subject(schema: UsageSchema) -> Self {
        Self::listening(schema, Some(Box::default()))
    }

    fn listening(schema: UsageSchema, subject: Option<Box<Subject>>) -> Self {
        Self {
            schema,
            shape: None,
            unpack: None,
            opaque_bytes: 0,
            scanner: SchemaScanner::new(schema.rows(), subject.is_some()),
            lines: DataLines::new(),
            output_text: OutputTextScanner::default(),
            findings: UsageFindings::default(),
            subject,
            news: false,
            begun: false,
        }
    }

    /// Hears the next bytes of the body.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.hear(chunk, false);
    }

    /// Hears the last bytes of the body, of which the text counts only when nothing is reported.
    pub(crate) fn push_last(&mut self, chunk: &[u8]) {
        self.hear(chunk, true);
    }

    fn hear(&mut self, chunk: &[u8], last: bool) {
        if self.shape.is_none() && self.unpack.is_none() && chunk.first() == Some(&GZIP) {
            self.unpack = Some(Unpack::new());
        }
        match self.unpack.take() {
            None => self.plain(chunk, last),
            Some(mut unpack) => {
                unpack.push(chunk, |unpacked| self.plain(unpacked, false));
                if unpack.failed() {
                    self.opaque(chunk);
                }
                self.unpack = Some(unpack);
            }
        }
    }

    fn plain(&mut self, chunk: &[u8], last: bool) {
        if self.shape.is_none() {
            self.shape = shape(chunk);
        }
        match self.shape {
            None => {}
            Some(AnswerFormat::Opaque) => self.opaque(chunk),
            Some(AnswerFormat::Json) => {
                let Self {
                    scanner: places,
                    findings: told,
                    news,
                    subject,
                    schema,
                    ..
                } = self;
                places.push(chunk, |what, found| {
                    *news |= hear(told, subject.as_deref_mut(), *schema, (what, found));
                });
                if !last || self.findings.report.is_none() {
                    self.output_text.push(chunk);
                }
            }
            Some(AnswerFormat::Events) => {
                self.events(chunk);
                // Whether it ends well is told by its end alone.
                self.output_text.push(chunk);
            }
        }
    }

    fn opaque(&mut self, chunk: &[u8]) {
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.opaque_bytes = self.opaque_bytes.saturating_add(bytes);
    }

    /// Looks for usage. Whole events that have none cost a search for its name.
    fn events(&mut self, chunk: &[u8]) {
        let known = self.begun && self.subject.as_ref().is_none_or(|it| it.id().is_some());
        let tells = || may_tell(chunk) || self.schema.has_tools() && may_call(chunk);
        if known && self.lines.is_whole(chunk) && !tells() {
            return;
        }
        let Self {
            scanner: places,
            lines,
            findings: told,
            news,
            subject,
            schema,
            begun,
            ..
        } = self;
        lines.push(chunk, |piece| match piece {
            Piece::Data(data) => places.push(data, |what, found| {
                *news |= hear(told, subject.as_deref_mut(), *schema, (what, found));
            }),
            Piece::End => {
                *begun = true;
                told.tools.flush();
                places.restart();
            }
        });
    }

    /// What was reported so far; none when nothing was.
    pub(crate) fn reported(&self) -> Option<Reported> {
        let report = self.findings.report.as_ref()?;
        // A text is never used up by searches alone; its tokens are counted where none are told.
        if self.schema.is_text() && !report.counts_tokens() {
            return None;
        }
        let mut reported = report.reported(self.schema);
        if let Some(beside) = &self.findings.beside {
            beside.drawn(&mut reported.tokens);
        }
        Some(reported)
    }

    /// What was used beside tokens, each part once.
    pub(crate) fn pieces(&self) -> Vec<(BillPart, u64)> {
        self.findings.pieces()
    }

    /// The tier that served; empty where it is the usual one.
    pub(crate) fn tier(&self) -> &str {
        if self.schema.is_lines() {
            return BATCH_TIER;
        }
        let usage = self
            .findings
            .report
            .as_ref()
            .map(|report| report.tier.name());
        match usage.unwrap_or_default() {
            "" => self.findings.tier.name(),
            tier => tier,
        }
    }

    /// What was said of objects.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.subject.as_deref()
    }

    /// The same, of the tokens alone.
    #[cfg(test)]
    pub(crate) fn tokens(&self) -> Option<TokenUsage> {
        self.reported().map(|reported| reported.tokens)
    }

    /// Whether what was reported is the last word, and not what was known before the answer was made.
    pub(crate) fn has_last_word(&self) -> bool {
        self.findings.last && self.reported().is_some()
    }

    /// Whether its answer is text, and so is never without tokens.
    pub(crate) const fn is_text(&self) -> bool {
        self.schema.is_text()
    }

    /// Whether a report could not be read at all.
    pub(crate) const fn garbled(&self) -> bool {
        self.findings.garbled
    }

    /// Whether a stream ended with an error in the place of its usage.
    pub(crate) fn failed(&self) -> bool {
        self.shape == Some(AnswerFormat::Events) && self.output_text.failed()
    }

    /// Whether there was something of an answer, and not a page of a proxy, an error, or nothing at all.
    pub(crate) fn answered(&self) -> bool {
        self.findings.answer
            || self.findings.report.is_some()
            || self.delivered_bytes() > 0
            || self.finished()
    }

    /// Whether a report came since this was last asked.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// The generated text that has passed, for counting.
    pub(crate) fn take_output_text(&mut self) -> OutputTextScanner {
        std::mem::take(&mut self.output_text)
    }

    /// Bytes of generated text that have passed, about: escapes count as written.
    pub(crate) fn delivered_bytes(&self) -> u64 {
        self.output_text.delivered_bytes().max(self.opaque_bytes)
    }

    /// Tokens of what was delivered, by its length, where it cannot be read.
    pub(crate) fn unread_tokens(&self) -> u64 {
        self.opaque_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// Whether the answer has said that it is complete, though usage may yet follow.
    pub(crate) fn finished(&self) -> bool {
        self.output_text.finished()
    }

    /// Whether the last thing that its protocol says has passed.
    pub(crate) fn closed(&self) -> bool {
        self.output_text.closed()
    }

    /// Whether little but the usage should follow: a JSON answer is whole when it begins, a stream says
    /// that its text ends.
    pub(crate) fn is_near_end(&self) -> bool {
        self.shape == Some(AnswerFormat::Json) || self.output_text.is_near_end()
    }
}

/// Whether a run of whole events may tell of the call of a tool.
fn may_call(run: &[u8]) -> bool {
    CALL_FINDER.find(run).is_some()
}

/// Whether there is an object of that name in a run of whole events, wherever it stands.
fn may_tell(run: &[u8]) -> bool {
    KEY_FINDER.find_iter(run).any(|at| {
        let rest = run.get(at + KEY.len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| {
            let value = value.trim_ascii_start();
            // The next line of its event.
            value.first() == Some(&b'{') || value.starts_with(b"data")
        })
    })
}

/// What begins like JSON is no stream of events.
fn shape(chunk: &[u8]) -> Option<AnswerFormat> {
    // A byte order mark may come in pieces, so each of its bytes is passed over.
    let is_filler = |byte: u8| text::is_space(byte) || text::BYTE_ORDER_MARK.contains(&byte);
    let first = chunk.iter().find(|byte| !is_filler(**byte))?;
    Some(match first {
        b'{' | b'[' => AnswerFormat::Json,
        b' '..=b'~' => AnswerFormat::Events,
        _ => AnswerFormat::Opaque,
    })
}

#[cfg(test)]
mod chunk_tests;
#[cfg(test)]
mod forged_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod matrix_tests;
#[cfg(test)]
mod shape_tests;
#[cfg(test)]
mod tests;
