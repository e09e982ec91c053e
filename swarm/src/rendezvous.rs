//! Which of several decides for a key: rendezvous hashing, the same in every program and release.

use crate::Key;

/// The index of the candidate that decides for the key; none where there are no candidates.
///
/// Candidates are numbers that mean the same everywhere, such as hashes of addresses. The same
/// candidates in any order give the same owner; when one goes away, only its own keys move.
pub fn owner(key: Key, candidates: impl IntoIterator<Item = u64>) -> Option<usize> {
    let [low, high] = halves(key.0);
    candidates
        .into_iter()
        .map(|candidate| (mix(mix(candidate ^ low) ^ high), candidate))
        .enumerate()
        .max_by_key(|(_, weight)| *weight)
        .map(|(index, _)| index)
}

/// A number for a name, another one for each `salt`.
pub(crate) fn hash(salt: u128, name: &str) -> u64 {
    let [low, high] = halves(salt);
    let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
    name.as_bytes()
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
        .fold(mix(mix(length ^ low) ^ high), |hash, word| mix(hash ^ word))
}

fn halves(wide: u128) -> [u64; 2] {
    let part = |shift: u32| u64::try_from((wide >> shift) & u128::from(u64::MAX)).unwrap_or(0);
    [part(0), part(64)]
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
/// 2014).
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_and_stay_where_they_were() {
        let candidates = [11, 22, 33, 44];
        let mut had = [0_u32; 4];
        for key in (0..4_000).map(|n| Key((n << 64) | (n * 7))) {
            let at = owner(key, candidates).expect("there are some");
            had[at] += 1;
            let without_last = owner(key, candidates.into_iter().take(3)).expect("there are some");
            assert!(
                at == without_last || at == 3,
                "only the last one's keys move"
            );
            let reversed = owner(key, candidates.into_iter().rev()).expect("there are some");
            assert_eq!(reversed, 3 - at, "the order does not count");
        }
        assert!(had.iter().all(|n| (850..1150).contains(n)), "{had:?}");
        assert_eq!(owner(Key(1), []), None);
    }

    /// Programs of different releases have to pick the same.
    #[test]
    fn what_is_picked_never_changes() {
        let keys = [1, 2, 3, 1 << 64, (5 << 64) | 9, u128::MAX];
        let picked = keys.map(|key| owner(Key(key), [11, 22, 33, 44]));
        assert_eq!(picked, [2, 3, 2, 2, 2, 1].map(Some));
    }
}
