//! What a key is stored as: 16 bytes that stand for its text.

use sha2::{Digest as _, Sha256};

/// 16 bytes of SHA-256: a digest's own first bytes, or those of the hash of any other key.
///
/// Half a digest is enough: among 2^40 keys two are alike with a probability of 2^-49, and a peer
/// that is asked for what it does not have answers 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KeyHash(pub(crate) [u8; 16]);

/// Number and sum of a set's hashes: two sets that have both in common are the same set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) count: u32,
    pub(crate) sum: u128,
}

impl KeyHash {
    pub(crate) fn of(key: &str) -> Self {
        Self::of_digest(key)
            .unwrap_or_else(|| Self(first_half(&Sha256::digest(key.as_bytes()).into())))
    }

    /// What a digest is stored as; `None` for any other key.
    pub(crate) fn of_digest(key: &str) -> Option<Self> {
        key.strip_prefix("sha256:").and_then(own_bytes)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// The first 16 bytes of a digest of 64 lower-case digits. Other spellings are other keys.
fn own_bytes(digits: &str) -> Option<KeyHash> {
    let digits: &[u8; 64] = digits.as_bytes().try_into().ok()?;
    let values = digits.map(value);
    // No digit sets a high bit, and all at once is cheaper than to stop at the first.
    if values.iter().fold(0, |all, value| all | value) > 0xf {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, [high, low]) in bytes.iter_mut().zip(values.as_chunks().0) {
        *byte = high << 4 | low;
    }
    Some(KeyHash(bytes))
}

/// What a digit stands for; 255 where it is none.
fn value(digit: u8) -> u8 {
    let (number, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    if number < 10 {
        number
    } else if letter < 6 {
        letter + 10
    } else {
        u8::MAX
    }
}

fn first_half(digest: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(digest) {
        *to = *from;
    }
    half
}

impl Fingerprint {
    pub(crate) fn of(keys: &[KeyHash]) -> Self {
        let mut all = Self::default();
        all.add(keys);
        all
    }

    pub(crate) fn add(&mut self, keys: &[KeyHash]) {
        self.count = self.count.saturating_add(len(keys));
        for key in keys {
            self.sum = self.sum.wrapping_add(u128::from_be_bytes(key.0));
        }
    }

    pub(crate) fn remove(&mut self, keys: &[KeyHash]) {
        self.count = self.count.saturating_sub(len(keys));
        for key in keys {
            self.sum = self.sum.wrapping_sub(u128::from_be_bytes(key.0));
        }
    }
}

fn len(keys: &[KeyHash]) -> u32 {
    u32::try_from(keys.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_its_own_hash() {
        let digits = "0123456789abcdef0123456789abcdef".repeat(2);
        let hash = KeyHash::of(&format!("sha256:{digits}"));
        assert_eq!(hex::encode(hash.0), digits[..32]);
    }

    #[test]
    fn anything_else_is_hashed() {
        let digits = "0123456789ABCDEF0123456789abcdef".repeat(2);
        for key in [
            "docker.io/library/redis:7",
            "sha256:12",
            &format!("sha256:{digits}"),
        ] {
            let expected = Sha256::digest(key.as_bytes());
            assert_eq!(KeyHash::of(key).0, expected[..16], "{key}");
        }
    }

    #[test]
    fn a_fingerprint_tells_what_was_added_and_removed() {
        let [a, b, c] = ["a", "b", "c"].map(KeyHash::of);
        let mut fingerprint = Fingerprint::of(&[a, b]);
        fingerprint.add(&[c]);
        fingerprint.remove(&[a]);
        assert_eq!(fingerprint, Fingerprint::of(&[c, b]));
        assert_ne!(fingerprint, Fingerprint::of(&[a, b]));
    }
}
