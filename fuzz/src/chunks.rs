//! Chunks of a blob and their digests: where they begin and end, and how long they are on the wire, whatever
//! sizes and places a peer states.

use pi_agent::chunks::{
    CHUNK, ChunkDigest, ChunkHasher, LABEL, end_of, labelled_length, next_of, start_of,
};

use crate::input::Input;

/// Chunks that are gone through one by one.
const FEW: u128 = 64;

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (total, at, every) = (input.wide(), input.wide(), input.wide());
    bounds(total, at);
    lengths(start_of(at), total, every);
    lengths(
        0,
        input.number(3) << input.one(&[0, 8]),
        1 + input.number(1) % 9,
    );
    digests(input);
}

fn bounds(total: u64, at: u64) {
    let (start, end) = (start_of(at), end_of(at, total));
    assert!(start <= at && at - start < CHUNK && start % CHUNK == 0);
    let whole = u128::from(start) + u128::from(CHUNK);
    assert_eq!(u128::from(end), whole.min(total.into()));
}

/// Compares with the sum over all chunks, or with arithmetic that does not overflow where they are many.
fn lengths(start: u64, end: u64, every: u64) {
    let length = labelled_length(start, end, every);
    let (step, label) = (u128::from(every.max(1)), u128::try_from(LABEL).unwrap_or(0));
    let (start, end, chunk) = (u128::from(start), u128::from(end), u128::from(CHUNK));
    let chunks = end.saturating_sub(start).div_ceil(chunk);
    let mut sum = 0;
    if chunks.div_ceil(step) <= FEW {
        let mut at = start;
        while at < end {
            let stop = (at + chunk).min(end);
            sum += stop - at + label;
            let next = next_of(u64::try_from(stop).unwrap_or(u64::MAX), every);
            assert_eq!(
                u128::from(next),
                (stop + (step - 1) * chunk).min(u64::MAX.into())
            );
            at = next.into();
        }
    } else {
        let taken = chunks.div_ceil(step);
        let has_last = (chunks - 1) % step == 0;
        let missing = if has_last {
            chunks * chunk - (end - start)
        } else {
            0
        };
        sum = taken * (chunk + label) - missing;
    }
    // A longer one is the largest number here, which fits no length that is stated.
    if sum <= u64::MAX.into() {
        assert_eq!(u128::from(length), sum, "{start} to {end}, each {every}");
    }
}

/// A digest is the same however the bytes come, and another one for other bytes.
fn digests(mut input: Input<'_>) {
    let cut = usize::from(input.byte());
    let bytes = input.rest();
    let mut hasher = ChunkHasher::default();
    for part in bytes.chunks(cut.max(1)) {
        hasher.update(part);
    }
    let digest = hasher.finish();
    assert_eq!(digest, ChunkDigest::of(bytes));
    assert_eq!(ChunkDigest::from_label(digest.label()), digest);
    assert_eq!(hasher.finish(), ChunkDigest::of(b""));
    let mut other = bytes.to_vec();
    if let Some(byte) = other.get_mut(cut) {
        *byte = !*byte;
        assert_ne!(ChunkDigest::of(&other), digest);
    }
}
