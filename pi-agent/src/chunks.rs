//! The chunks of a blob that grows, and their digests: by them a node tells wrong bytes from right ones
//! before containerd has verified the whole.
//!
//! The digests of all chunks in their order are the blob's chunk list. On the wire each of them stands
//! before the bytes of its chunk, so the list is always ahead of the bytes.

use std::fmt;

/// Size of a chunk in bytes; the last one is the rest. containerd writes an ingest in the same steps.
pub const CHUNK: u64 = 1 << 20;
/// Length of a chunk's digest in bytes.
pub const LABEL: usize = 32;
/// [`LABEL`] as a length on the wire.
const LABEL_LENGTH: u64 = 32;

/// BLAKE3 of a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChunkDigest([u8; LABEL]);

/// Hashes a chunk as its bytes arrive.
#[derive(Debug, Clone, Default)]
pub struct ChunkHasher(blake3::Hasher);

impl ChunkDigest {
    /// The digest of a chunk's bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// A digest received from a peer.
    pub fn from_label(label: [u8; LABEL]) -> Self {
        Self(label)
    }

    /// As it goes over the wire.
    pub fn label(self) -> [u8; LABEL] {
        self.0
    }
}

impl fmt::Debug for ChunkDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl ChunkHasher {
    /// The next bytes of the chunk.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far; the next bytes begin another chunk.
    pub fn finish(&mut self) -> ChunkDigest {
        let digest = ChunkDigest(self.0.finalize().into());
        self.0.reset();
        digest
    }
}

/// Where the chunk begins that has the byte at `offset`.
pub fn start_of(offset: u64) -> u64 {
    offset - offset % CHUNK
}

/// Where the chunk ends that has the byte at `offset` of a blob of `total` bytes.
pub fn end_of(offset: u64, total: u64) -> u64 {
    start_of(offset).saturating_add(CHUNK).min(total)
}

/// Length of every `every`th chunk of the bytes from `start`, where a chunk begins, to `end`, with the
/// digest of each chunk before it. All chunks are one stripe of one.
pub fn labelled_length(start: u64, end: u64, every: u64) -> u64 {
    // In more bits: a peer may state any size.
    let [bytes, every] = [end.saturating_sub(start), every.max(1)].map(u128::from);
    let chunk = u128::from(CHUNK);
    let all = bytes.div_ceil(chunk);
    let taken = all.div_ceil(every);
    let is_last_taken = taken > 0 && all - 1 == (taken - 1) * every;
    let missing = if is_last_taken {
        all * chunk - bytes
    } else {
        0
    };
    let length = taken * (chunk + u128::from(LABEL_LENGTH)) - missing;
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Where the next chunk of a stripe begins, after the chunk that ends at `end`.
pub fn next_of(end: u64, every: u64) -> u64 {
    end.saturating_add(every.saturating_sub(1).saturating_mul(CHUNK))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_size_that_can_be_stated_has_its_length() {
        // Each fifteenth of 2^44 chunks, the last one among them, which is shorter by 513 bytes.
        let length = 1_172_812_402_962 * (CHUNK + LABEL_LENGTH) - 513;
        assert_eq!(labelled_length(0, u64::MAX - 512, 15), length);
        assert_eq!(labelled_length(0, u64::MAX, 1), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_blob_is_its_chunks(total in 1..1_u64 << 40, at in 0..1_u64 << 40) {
            let at = at % total;
            let (start, end) = (start_of(at), end_of(at, total));
            prop_assert!(start <= at && at < end && end <= total);
            prop_assert!(end - start == CHUNK || end == total);
            let rest = labelled_length(start, total, 1);
            let next = labelled_length(end, total, 1);
            prop_assert_eq!(rest - next, end - start + LABEL_LENGTH);
        }

        #[test]
        fn stripes_are_the_whole(chunks in 1..40_u64, rest in 0..CHUNK, every in 1..9_u64) {
            let total = (chunks - 1) * CHUNK + rest + 1;
            let length = |stripe| labelled_length(stripe * CHUNK, total, every);
            let stripes: u64 = (0..every).map(length).sum();
            prop_assert_eq!(stripes, labelled_length(0, total, 1));
            // The sender's steps come to the length that it said.
            let (mut at, mut sent) = (0, 0);
            while at < total {
                let end = end_of(at, total);
                sent += end - at + LABEL_LENGTH;
                at = next_of(end, every);
            }
            prop_assert_eq!(sent, labelled_length(0, total, every));
        }

        #[test]
        fn a_digest_is_the_same_however_the_bytes_come(
            bytes in proptest::collection::vec(any::<u8>(), 0..5000),
            cut in 0..5000_usize,
        ) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut hasher = ChunkHasher::default();
            for _ in 0..2 {
                hasher.update(first);
                hasher.update(second);
                prop_assert_eq!(hasher.finish(), ChunkDigest::of(&bytes));
            }
        }
    }
}
