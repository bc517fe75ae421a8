//! Several words looked for in one pass over a text, by vector instructions: texts are long, and mostly none of the
//! words is there.

use aho_corasick::packed::Searcher;

/// Finds some words. None on a processor without vector instructions: every text may have them there.
pub(super) struct WordFinder(Option<Searcher>);

impl WordFinder {
    pub(super) fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        Self(Searcher::new(words))
    }

    /// Whether one of the words may be there.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        let finder = self.0.as_ref();
        finder.is_none_or(|finder| finder.find(text).is_some())
    }
}
