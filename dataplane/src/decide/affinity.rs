//! Which key a conversation keeps to: rendezvous hashing, so that every data plane comes to the same
//! answer without a word, and a key that goes takes only its own conversations with it.

use proxyxai_contract::id::KeyId;

/// What tells a conversation from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConversationHash(u64);

impl ConversationHash {
    /// By what its calls have in common. FNV-1a: it is the same on every node and in every version, which
    /// the standard library's hashes do not promise.
    pub(crate) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        const PRIME: u64 = 0x0100_0000_01b3;
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for part in parts {
            for byte in part {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
            // Where one part ends is part of what it says.
            hash = (hash ^ 0xff).wrapping_mul(PRIME);
        }
        Self(hash)
    }

    /// How much it likes a key; it goes to the usable one it likes best.
    pub(crate) const fn liking(self, key: KeyId) -> u64 {
        // The finish of splitmix64: close ids and close hashes end far apart.
        let mut mixed = self.0
            ^ key
                .get()
                .cast_unsigned()
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn favourite(of: ConversationHash, keys: impl IntoIterator<Item = i64>) -> i64 {
        let ids = keys.into_iter().map(|id| KeyId::new(id).unwrap());
        ids.max_by_key(|id| of.liking(*id)).unwrap().get()
    }

    fn session(name: u32) -> ConversationHash {
        ConversationHash::new([format!("session-{name}").as_bytes()])
    }

    #[test]
    fn conversations_spread_evenly() {
        let mut shares = [0i64; 8];
        for name in 0..8000 {
            shares[usize::try_from(favourite(session(name), 1..=8) - 1).unwrap()] += 1;
        }
        assert!(
            shares.iter().all(|share| (900..=1100).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn where_a_part_ends_matters() {
        let of = |parts: &[&str]| ConversationHash::new(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }

    proptest! {
        #[test]
        fn a_key_that_goes_moves_only_its_own_conversations(name in any::<u32>(), gone in 1i64..=8) {
            let before = favourite(session(name), 1..=8);
            let after = favourite(session(name), (1..=8).filter(|id| *id != gone));
            prop_assert!(before == gone || before == after);
        }
    }
}
