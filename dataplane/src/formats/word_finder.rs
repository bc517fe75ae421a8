//! Searches several words in one pass with vector instructions: texts are long, and most contain none of the words.

use aho_corasick::packed::Searcher;

/// Finds some words. Without vector instructions every text counts as possibly containing them.
pub(super) struct WordFinder(Option<Searcher>);

impl WordFinder {
    pub(super) fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        Self(Searcher::new(words))
    }

    /// Whether one of the words may be present.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        let finder = self.0.as_ref();
        finder.is_none_or(|finder| finder.find(text).is_some())
    }
}
