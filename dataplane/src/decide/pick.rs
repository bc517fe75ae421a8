//! Whose turn it is: the key that has waited longest. Unlike a counter over the list, this stays fair
//! while keys fall asleep and wake.

/// A key that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the pool.
    pub index: usize,
    /// When it was last picked, in turns.
    pub last_turn: u64,
}

/// The candidate that has waited longest; the first listed among equals.
pub fn pick(candidates: impl Iterator<Item = Candidate>) -> Option<Candidate> {
    candidates.min_by_key(|candidate| (candidate.last_turn, candidate.index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_stay_even_among_those_always_usable(
            outages in proptest::collection::vec(any::<u8>(), 300), keys in 3usize..8,
        ) {
            // Keys 0 and 1 are always usable; the others come and go.
            let mut last = vec![0u64; keys];
            let mut served = vec![0u32; keys];
            for (turn, outage) in outages.iter().enumerate() {
                let usable = |index: &usize| *index < 2 || outage >> (index % 8) & 1 == 0;
                let candidates = (0..keys).filter(usable).map(|index| Candidate { index, last_turn: last[index] });
                let picked = pick(candidates).unwrap();
                last[picked.index] = turn as u64 + 1;
                served[picked.index] += 1;
            }
            prop_assert!(served[0].abs_diff(served[1]) <= 1);
        }
    }
}
