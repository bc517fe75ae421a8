//! Which key a conversation stays with: rendezvous hashing, so that all data planes choose the same key without
//! coordination, and a key that goes takes only its own conversations with it.

use proxyxai_contract::id::KeyId;

use crate::formats::conversation::ConversationHash;

/// The score of a key for a conversation, which goes to the usable key with the highest score.
pub(crate) const fn liking(conversation: ConversationHash, key: KeyId) -> u64 {
    // The finalizer of splitmix64, which spreads close ids and close hashes far apart.
    let mut mixed = conversation.get()
        ^ key
            .get()
            .cast_unsigned()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn favourite(of: ConversationHash, keys: impl IntoIterator<Item = i64>) -> i64 {
        let ids = keys.into_iter().map(|id| KeyId::new(id).unwrap());
        ids.max_by_key(|id| liking(of, *id)).unwrap().get()
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
