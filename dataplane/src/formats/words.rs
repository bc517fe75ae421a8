//! Several words looked for in one pass over a text, by vector instructions: texts are long, and mostly none of the
//! words is there.

use aho_corasick::packed::{Config, FindIter, MatchKind, Searcher};

/// Finds some words. None on a processor without vector instructions: every text may have them there.
pub(super) struct Words(Option<Searcher>);

impl Words {
    pub(super) fn new<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut builder = Config::new().match_kind(MatchKind::LeftmostFirst).builder();
        Self(builder.extend(words).build())
    }

    /// Where the words are; none when nobody can tell.
    pub(super) fn find<'t>(&'t self, text: &'t [u8]) -> Option<FindIter<'t, 't>> {
        Some(self.0.as_ref()?.find_iter(text))
    }

    /// Whether one of the words may be there.
    pub(super) fn may_be_in(&self, text: &[u8]) -> bool {
        self.find(text)
            .is_none_or(|mut found| found.next().is_some())
    }
}
