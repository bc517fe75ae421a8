//! Finds the tool calls that a provider charges for in the entries of a response's output, for providers that report no
//! count. A stream mentions an entry more than once, so each id counts once.

use std::hash::{DefaultHasher, Hash, Hasher};

use proxyxai_contract::part::BillPart;

use super::shape::SchemaField;

/// The entry types that are charged, and as what.
const CALLS: &[(&[u8], BillPart)] = &[
    (b"web_search_call", BillPart::WebSearch),
    (b"file_search_call", BillPart::FileSearch),
    (b"code_interpreter_call", BillPart::CodeSession),
    (b"image_generation_call", BillPart::Image),
];
/// Actions of web search other than searching are free.
const FREE: &[&[u8]] = &[b"open_page", b"find_in_page", b"find"];
/// More calls than any response makes.
const CALLS_MAX: usize = 4096;

/// The calls found.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    entry: OutputEntry,
    /// One per id or container, regardless of how often it appears.
    calls: Vec<ToolCall>,
}

#[derive(Debug, Clone, Copy)]
struct ToolCall {
    id: u64,
    part: BillPart,
    free: bool,
}

/// The current entry. Its members come in any order.
#[derive(Debug, Default)]
struct OutputEntry {
    part: Option<BillPart>,
    id: Option<u64>,
    container: Option<u64>,
    free: bool,
}

// === impl ToolCalls ===

impl ToolCalls {
    pub(super) fn hear(&mut self, what: SchemaField, text: &[u8]) {
        match what {
            SchemaField::Entry => self.flush(),
            SchemaField::EntryType => {
                let known = CALLS.iter().find(|(name, _)| *name == text);
                self.entry.part = known.map(|(_, part)| *part);
            }
            SchemaField::Item | SchemaField::EntryId => self.entry.id = Some(hash(text)),
            SchemaField::Container => self.entry.container = Some(hash(text)),
            SchemaField::Action => self.entry.free = FREE.contains(&text),
            _ => {}
        }
    }

    /// Completes the current entry.
    pub(super) fn flush(&mut self) {
        if let Some(call) = std::mem::take(&mut self.entry).call() {
            self.note(call);
        }
    }

    fn note(&mut self, call: ToolCall) {
        let known = self.calls.iter().position(|known| known.id == call.id);
        if let Some(known) = known.and_then(|at| self.calls.get_mut(at)) {
            *known = call;
        } else if self.calls.len() < CALLS_MAX {
            self.calls.push(call);
        }
    }

    /// The number of charged calls by kind.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (BillPart, u64)> + '_ {
        let last = self.entry.call();
        CALLS.iter().filter_map(move |(_, part)| {
            let charged = |call: &&ToolCall| call.part == *part && !call.free;
            let again = |call: &&ToolCall| last.is_some_and(|last| last.id == call.id);
            let known = self.calls.iter().filter(|call| !again(call));
            let count = known.chain(&last).filter(charged).count();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            (count > 0).then_some((*part, count))
        })
    }
}

// === impl OutputEntry ===

impl OutputEntry {
    fn call(&self) -> Option<ToolCall> {
        let part = self.part?;
        // Code is charged by its container.
        let container = self.container.filter(|_| part == BillPart::CodeSession);
        Some(ToolCall {
            id: container.or(self.id)?,
            part,
            free: self.free && part == BillPart::WebSearch,
        })
    }
}

/// Ids are compared by their hashes.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &[(SchemaField, &str)]) -> Vec<(BillPart, u64)> {
        let mut tools = ToolCalls::default();
        for (what, text) in said {
            tools.hear(*what, text.as_bytes());
        }
        tools.pieces().collect()
    }

    #[test]
    fn searches_count_and_the_opening_of_pages_does_not() {
        let said = [
            (SchemaField::Entry, ""),
            (SchemaField::Item, "ws_1"),
            (SchemaField::EntryType, "web_search_call"),
            (SchemaField::Action, "search"),
            (SchemaField::Entry, ""),
            (SchemaField::Action, "open_page"),
            (SchemaField::EntryType, "web_search_call"),
            (SchemaField::Item, "ws_2"),
            (SchemaField::Entry, ""),
            (SchemaField::EntryType, "function_call"),
            (SchemaField::Item, "fc_1"),
        ];
        assert_eq!(heard(&said), [(BillPart::WebSearch, 1)]);
    }

    #[test]
    fn an_entry_that_is_told_of_again_is_one_and_the_last_word_counts() {
        let added = [
            (SchemaField::Entry, ""),
            (SchemaField::EntryType, "web_search_call"),
            (SchemaField::EntryId, "ws_1"),
        ];
        assert_eq!(heard(&added), [(BillPart::WebSearch, 1)]);
        let mut done = added.to_vec();
        done.extend(added);
        assert_eq!(heard(&done), [(BillPart::WebSearch, 1)]);
        done.push((SchemaField::Action, "open_page"));
        assert_eq!(heard(&done), []);
    }

    #[test]
    fn code_counts_by_container() {
        let ran = |id, container| {
            [
                (SchemaField::Entry, ""),
                (SchemaField::EntryType, "code_interpreter_call"),
                (SchemaField::Item, id),
                (SchemaField::Container, container),
            ]
        };
        let said = [
            ran("ci_1", "cntr_1"),
            ran("ci_2", "cntr_1"),
            ran("ci_3", "cntr_2"),
        ]
        .concat();
        assert_eq!(heard(&said), [(BillPart::CodeSession, 2)]);
    }
}
