//! Reads usage while a response passes. It looks for usage objects where the response's schema has them, whatever the
//! chunks, and keeps at most one of them at a time, never the answer. It knows the names of all providers and no
//! prices.

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

/// Inside a JSON string the quotes would be escaped, so a match is a member name or a whole string.
const KEY: &[u8] = b"\"usage\"";
static KEY_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// Part of the type of a tool call's entry.
const CALL: &[u8] = b"_call\"";
static CALL_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(CALL));

/// Text has about four bytes per token, averaged over languages and code.
const BYTES_PER_TOKEN: u64 = 4;

/// Reads the usage of one response, JSON or a stream of events.
#[derive(Debug)]
pub(crate) struct UsageReader {
    schema: UsageSchema,
    shape: Option<AnswerFormat>,
    unpack: Option<Unpack>,
    /// Bytes of a response in an unknown format.
    opaque_bytes: u64,
    scanner: SchemaScanner,
    lines: DataLines,
    output_text: OutputTextScanner,
    findings: UsageFindings,
    /// What the response says about objects, if wanted.
    subject: Option<Box<Subject>>,
    /// Whether a report arrived since the last check.
    news: bool,
    /// Whether an event has passed: the first may contain what no later one does.
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswerFormat {
    Json,
    Events,
    /// Audio, or compressed.
    Opaque,
}

/// Estimates tokens from the length of texts in bytes, if they cannot be counted.
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
    /// For a response in this protocol.
    pub(crate) fn new(schema: UsageSchema) -> Self {
        Self::listening(schema, None)
    }

    /// Like `new`, and also reads what the response says about objects.
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

    /// Reads the next bytes of the body.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.hear(chunk, false);
    }

    /// Reads the last bytes of the body. Their text only matters if no usage was reported.
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
                    findings,
                    news,
                    subject,
                    schema,
                    ..
                } = self;
                places.push(chunk, |what, found| {
                    *news |= hear(findings, subject.as_deref_mut(), *schema, what, found);
                });
                if !last || self.findings.report.is_none() {
                    self.output_text.push(chunk);
                }
            }
            Some(AnswerFormat::Events) => {
                self.events(chunk);
                // Only the end of a stream shows whether it ended well.
                self.output_text.push(chunk);
            }
        }
    }

    fn opaque(&mut self, chunk: &[u8]) {
        let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        self.opaque_bytes = self.opaque_bytes.saturating_add(bytes);
    }

    /// Looks for usage. Whole events without usage cost only a search for its name.
    fn events(&mut self, chunk: &[u8]) {
        let known = self.begun && self.subject.as_ref().is_none_or(|it| it.id().is_some());
        let tells = || may_tell(chunk) || self.schema.has_tools() && may_call(chunk);
        if known && self.lines.is_whole(chunk) && !tells() {
            return;
        }
        let Self {
            scanner: places,
            lines,
            findings,
            news,
            subject,
            schema,
            begun,
            ..
        } = self;
        lines.push(chunk, |piece| match piece {
            Piece::Data(data) => places.push(data, |what, found| {
                *news |= hear(findings, subject.as_deref_mut(), *schema, what, found);
            }),
            Piece::End => {
                *begun = true;
                findings.tools.flush();
                places.restart();
            }
        });
    }

    /// The usage reported so far, if any.
    pub(crate) fn reported(&self) -> Option<Reported> {
        let report = self.findings.report.as_ref()?;
        // Text always has tokens, not just searches. If none are reported, they are counted.
        if self.schema.is_text() && !report.counts_tokens() {
            return None;
        }
        let mut reported = report.reported(self.schema);
        if let Some(beside) = &self.findings.beside {
            beside.drawn(&mut reported.tokens);
        }
        Some(reported)
    }

    /// The units charged besides tokens, one entry for each part.
    pub(crate) fn pieces(&self) -> Vec<(BillPart, u64)> {
        self.findings.pieces()
    }

    /// The service tier; empty for the standard one.
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

    /// What the response says about objects.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        self.subject.as_deref()
    }

    /// Like `reported`, only the tokens.
    #[cfg(test)]
    pub(crate) fn tokens(&self) -> Option<TokenUsage> {
        self.reported().map(|reported| reported.tokens)
    }

    /// Whether the report is final, and not one from before the answer was generated.
    pub(crate) fn has_last_word(&self) -> bool {
        self.findings.last && self.reported().is_some()
    }

    /// Whether the answer is text and so always has tokens.
    pub(crate) const fn is_text(&self) -> bool {
        self.schema.is_text()
    }

    /// Whether a report could not be read.
    pub(crate) const fn garbled(&self) -> bool {
        self.findings.garbled
    }

    /// Whether a stream ended with an error in place of its usage.
    pub(crate) fn failed(&self) -> bool {
        self.shape == Some(AnswerFormat::Events) && self.output_text.failed()
    }

    /// Whether part of an answer was received, and not a proxy's page, an error, or nothing.
    pub(crate) fn answered(&self) -> bool {
        self.findings.answer
            || self.findings.report.is_some()
            || self.delivered_bytes() > 0
            || self.finished()
    }

    /// Whether a report arrived since the last check.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Takes the generated text, to count its tokens.
    pub(crate) fn take_output_text(&mut self) -> OutputTextScanner {
        std::mem::take(&mut self.output_text)
    }

    /// Approximate bytes of generated text: escapes count as written.
    pub(crate) fn delivered_bytes(&self) -> u64 {
        self.output_text.delivered_bytes().max(self.opaque_bytes)
    }

    /// Tokens of output in an unknown format, estimated from its length.
    pub(crate) fn unread_tokens(&self) -> u64 {
        self.opaque_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// Whether the answer is marked as complete, though usage may follow.
    pub(crate) fn finished(&self) -> bool {
        self.output_text.finished()
    }

    /// Whether the last event of the protocol has passed.
    pub(crate) fn closed(&self) -> bool {
        self.output_text.closed()
    }

    /// Whether little more than usage should follow: for JSON, since it is generated before it is sent; for a stream,
    /// once it announces the end of its text.
    pub(crate) fn is_near_end(&self) -> bool {
        self.shape == Some(AnswerFormat::Json) || self.output_text.is_near_end()
    }
}

/// Whether a run of whole events may contain a tool call.
fn may_call(run: &[u8]) -> bool {
    CALL_FINDER.find(run).is_some()
}

/// Whether a run of whole events contains an object with that name at any depth.
fn may_tell(run: &[u8]) -> bool {
    KEY_FINDER.find_iter(run).any(|at| {
        let rest = run.get(at + KEY.len()..).unwrap_or_default();
        let value = rest.trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| {
            let value = value.trim_ascii_start();
            // On the next line of its event.
            value.first() == Some(&b'{') || value.starts_with(b"data")
        })
    })
}

/// The format. What begins like JSON is not an event stream.
fn shape(chunk: &[u8]) -> Option<AnswerFormat> {
    // A byte order mark may arrive in pieces, so each of its bytes is skipped.
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
