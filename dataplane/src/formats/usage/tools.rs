//! Which tools a response called, by the entries of its output: the calls that a provider charges for where no
//! count of them is told. A stream tells of an entry more than once, so each counts by its id.

use std::hash::{DefaultHasher, Hash, Hasher};

use proxyxai_contract::part::Part;

use super::shape::What;

/// What kinds of entries are charged, and as what.
const CALLS: &[(&[u8], Part)] = &[
    (b"web_search_call", Part::WebSearch),
    (b"file_search_call", Part::FileSearch),
    (b"code_interpreter_call", Part::CodeSession),
    (b"image_generation_call", Part::Image),
];
/// What searches of the web do besides searching is not charged.
const FREE: &[&[u8]] = &[b"open_page", b"find_in_page", b"find"];
/// More calls than any response makes.
const CALLS_MAX: usize = 4096;

/// The calls that were heard of.
#[derive(Debug, Default)]
pub(super) struct Tools {
    entry: Entry,
    /// Each by its id, or by its container; how many of one id there were counts for nothing.
    calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    id: u64,
    part: Part,
    free: bool,
}

/// The entry under way. Its members come in any order.
#[derive(Debug, Default)]
struct Entry {
    part: Option<Part>,
    id: Option<u64>,
    container: Option<u64>,
    free: bool,
}

// === impl Tools ===

impl Tools {
    pub(super) fn hear(&mut self, what: What, text: &[u8]) {
        match what {
            What::Entry => self.flush(),
            What::EntryType => {
                let known = CALLS.iter().find(|(name, _)| *name == text);
                self.entry.part = known.map(|(_, part)| *part);
            }
            What::Item | What::EntryId => self.entry.id = Some(hash(text)),
            What::Container => self.entry.container = Some(hash(text)),
            What::Action => self.entry.free = FREE.contains(&text),
            _ => {}
        }
    }

    /// The entry under way is whole.
    pub(super) fn flush(&mut self) {
        if let Some(call) = std::mem::take(&mut self.entry).call() {
            self.note(call);
        }
    }

    fn note(&mut self, call: Call) {
        let known = self.calls.iter().position(|known| known.id == call.id);
        if let Some(known) = known.and_then(|at| self.calls.get_mut(at)) {
            *known = call;
        } else if self.calls.len() < CALLS_MAX {
            self.calls.push(call);
        }
    }

    /// How many calls of each kind are charged.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (Part, u64)> + '_ {
        let last = self.entry.call();
        CALLS.iter().filter_map(move |(_, part)| {
            let charged = |call: &&Call| call.part == *part && !call.free;
            let again = |call: &&Call| last.is_some_and(|last| last.id == call.id);
            let known = self.calls.iter().filter(|call| !again(call));
            let count = known.chain(&last).filter(charged).count();
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            (count > 0).then_some((*part, count))
        })
    }
}

// === impl Entry ===

impl Entry {
    fn call(&self) -> Option<Call> {
        let part = self.part?;
        // Code is charged by the container that it ran in.
        let container = self.container.filter(|_| part == Part::CodeSession);
        Some(Call {
            id: container.or(self.id)?,
            part,
            free: self.free && part == Part::WebSearch,
        })
    }
}

/// Ids are compared by what stands for them.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &[(What, &str)]) -> Vec<(Part, u64)> {
        let mut tools = Tools::default();
        for (what, text) in said {
            tools.hear(*what, text.as_bytes());
        }
        tools.pieces().collect()
    }

    #[test]
    fn searches_count_and_the_opening_of_pages_does_not() {
        let said = [
            (What::Entry, ""),
            (What::Item, "ws_1"),
            (What::EntryType, "web_search_call"),
            (What::Action, "search"),
            (What::Entry, ""),
            (What::Action, "open_page"),
            (What::EntryType, "web_search_call"),
            (What::Item, "ws_2"),
            (What::Entry, ""),
            (What::EntryType, "function_call"),
            (What::Item, "fc_1"),
        ];
        assert_eq!(heard(&said), [(Part::WebSearch, 1)]);
    }

    #[test]
    fn an_entry_that_is_told_of_again_is_one_and_the_last_word_counts() {
        let added = [
            (What::Entry, ""),
            (What::EntryType, "web_search_call"),
            (What::EntryId, "ws_1"),
        ];
        assert_eq!(heard(&added), [(Part::WebSearch, 1)]);
        let mut done = added.to_vec();
        done.extend(added);
        assert_eq!(heard(&done), [(Part::WebSearch, 1)]);
        done.push((What::Action, "open_page"));
        assert_eq!(heard(&done), []);
    }

    #[test]
    fn code_counts_by_container() {
        let ran = |id, container| {
            [
                (What::Entry, ""),
                (What::EntryType, "code_interpreter_call"),
                (What::Item, id),
                (What::Container, container),
            ]
        };
        let said = [
            ran("ci_1", "cntr_1"),
            ran("ci_2", "cntr_1"),
            ran("ci_3", "cntr_2"),
        ]
        .concat();
        assert_eq!(heard(&said), [(Part::CodeSession, 2)]);
    }
}
