//! The service tier, as reported by responses.

use proxyxai_contract::price;

/// Longer words are not a tier.
const BYTES_MAX: usize = 32;

/// A reported tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tier {
    /// Its precedence over others; 0 if none was reported.
    rank: u8,
    /// Length of the name; 0 for the standard tier.
    len: usize,
    bytes: [u8; BYTES_MAX],
}

impl Tier {
    /// Reads a word. Returns the default if it cannot be a tier.
    pub(super) fn read(rank: u8, word: &[u8]) -> Self {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        if word.is_empty() || word.len() > BYTES_MAX || !word.iter().all(plain) {
            return Self::default();
        }
        let mut tier = Self {
            rank,
            len: word.len(),
            bytes: [0; BYTES_MAX],
        };
        for (place, byte) in tier.bytes.iter_mut().zip(word) {
            *place = byte.to_ascii_lowercase();
        }
        if price::is_standard(tier.name()) {
            tier.len = 0;
        }
        tier
    }

    /// The name; empty for the standard tier, or if none was reported.
    pub(super) fn name(&self) -> &str {
        let name = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// The one of two simultaneous tiers that takes precedence.
    pub(super) fn beside(self, other: Self) -> Self {
        let weight = |tier: &Self| (tier.len > 0, tier.rank);
        if weight(&other) > weight(&self) {
            other
        } else {
            self
        }
    }

    /// The later of two tiers.
    pub(super) fn over(self, before: Self) -> Self {
        if self.rank > 0 { self } else { before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_a_short_word_and_the_usual_one_none() {
        for (said, name) in [
            ("flex", "flex"),
            ("Priority", "priority"),
            ("on_demand", ""),
            ("Standard", ""),
            ("default", ""),
            ("", ""),
            ("two words", ""),
            ("a\u{e9}", ""),
            ("x;y", ""),
            (&"x".repeat(32), &"x".repeat(32)),
            (&"x".repeat(33), ""),
        ] {
            assert_eq!(Tier::read(1, said.as_bytes()).name(), name, "{said}");
        }
    }

    #[test]
    fn the_later_word_counts_and_silence_takes_nothing_back() {
        let [flex, usual, silence] =
            ["flex", "default", ""].map(|word| Tier::read(1, word.as_bytes()));
        assert_eq!(usual.over(flex).name(), "");
        assert_eq!(silence.over(flex).name(), "flex");
        assert_eq!(flex.over(usual).name(), "flex");
        let fast = Tier::read(2, b"fast");
        assert_eq!(fast.beside(flex).name(), "fast");
        assert_eq!(flex.beside(fast).name(), "fast");
        assert_eq!(Tier::read(9, b"standard").beside(flex).name(), "flex");
    }
}
