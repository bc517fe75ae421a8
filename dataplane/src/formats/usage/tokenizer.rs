//! Counts tokens with the vocabulary of OpenAI's present models (`o200k`), which stands in for those of
//! other providers: theirs are not public, and on ordinary text they differ by some per cent. It is
//! loaded when it is first needed, which takes a tenth of a second and 70 MiB.

/// Longer texts are counted in parts, so that a count needs little memory.
const PART_BYTES: usize = 256 * 1024;

/// Tokens of a text.
pub(super) fn count(text: &str) -> u64 {
    if text.is_empty() {
        return 0;
    }
    let vocabulary = bpe_openai::o200k_base();
    let (mut rest, mut tokens) = (text, 0u64);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.floor_char_boundary(PART_BYTES));
        tokens = tokens.saturating_add(vocabulary.count(part) as u64);
        rest = after;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_count_as_openai_counts_them() {
        for (text, tokens) in [
            ("", 0),
            ("hello", 1),
            ("hello world", 2),
            ("Hallo, schöne Welt!", 5),
            ("東京へ行きます", 5),
        ] {
            assert_eq!(count(text), tokens, "{text}");
        }
    }

    #[test]
    fn a_hostile_text_is_counted_in_time() {
        assert!(count(&"a".repeat(1_000_000)) > 0);
        assert!(count(&" ".repeat(1_000_000)) > 0);
    }
}
