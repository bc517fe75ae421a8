//! Patterns with `*` for any run of characters, used by model mappers and access lists.

/// A case-sensitive pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Any text is a pattern.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no `*`.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// The number of characters other than `*`; the more, the more specific.
    pub fn literal_chars(&self) -> usize {
        self.0.chars().filter(|char| *char != '*').count()
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text)
    }
}

/// Whether a pattern matches the whole of `text`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The left-most match of a middle part leaves the most text for the parts after it.
        let Some(hit) = text.find(part) else {
            return false;
        };
        text = text.get(hit + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_samples_match() {
        for (pattern, text, hit) in [
            ("gpt-3.5*", "gpt-3.5-turbo", true),
            ("gpt-4-*-preview", "gpt-4-0125-preview", true),
            ("gpt-4-*-preview", "gpt-4-preview", false),
            ("*-vision", "gpt-4-vision", true),
            ("o*", "o1", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("GPT*", "gpt-4", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), hit, "{pattern} {text}");
        }
    }

    /// The definition, slow and simple.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => defined(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => defined(rest, text) || defined(pattern, tail),
            (Some((p, rest)), Some((t, tail))) => p == t && defined(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            prop_assert_eq!(
                Pattern::new(&pattern).matches(&text),
                defined(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
