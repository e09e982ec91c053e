//! Spreading load: tiers, the less loaded of two, and places for other racks.

use crate::candidate::{Candidate, Moved};
use crate::numbers::{count, float, whole, within};

/// Lower tiers than this are equal: the order has 14 bits for them.
const LOWEST: u16 = (1 << 14) - 1;

/// How many tiers a score is below the best.
pub(crate) fn tier(best: f64, score: f64, width: f64) -> u16 {
    u16::try_from(whole((best - score) / width))
        .unwrap_or(LOWEST)
        .min(LOWEST)
}

/// Of each two neighbours in a tier the less loaded goes first.
pub(crate) fn best_of_two(answer: &mut [Candidate]) {
    let level = |candidate: &Candidate| (candidate.place.group, candidate.place.tier);
    let tiers = answer.chunk_by_mut(|a, b| level(a) == level(b));
    for pair in tiers.flat_map(|tier| tier.chunks_exact_mut(2)) {
        let [first, second] = pair else { continue };
        let known = first.load.is_known() || second.load.is_known();
        if known && second.load.pressure() < first.load.pressure() {
            std::mem::swap(first, second);
            first.place.moved = Moved::LessLoaded;
            second.place.moved = Moved::MoreLoaded;
        }
    }
}

/// Puts the best candidates of other racks in the places of the worst of the answer, as far as
/// fewer of them are in it than their share. Says whether it did; then the answer has no order.
pub(crate) fn keep_remote(
    candidates: &mut [Candidate],
    limit: usize,
    usable: usize,
    share: f64,
) -> bool {
    let wanted = whole((count(limit) * within(share, 0.0, 1.0, 0.0)).ceil());
    let wanted = usize::try_from(wanted).unwrap_or(limit).min(limit);
    let Some((answer, rest)) = candidates.split_at_mut_checked(limit) else {
        return false;
    };
    let have = answer
        .iter()
        .filter(|candidate| candidate.place.remote)
        .count();
    let spare = rest
        .iter()
        .filter(|candidate| candidate.place.remote && candidate.is_usable());
    let missing = wanted.saturating_sub(have).min(spare.count());
    if missing == 0 || usable <= limit {
        return false;
    }
    // The best of the other racks come first in the rest, the worst of the own rack last in the
    // answer.
    let behind = |candidate: &Candidate| !(candidate.place.remote && candidate.is_usable());
    rest.select_nth_unstable_by(missing - 1, |a, b| {
        behind(a).cmp(&behind(b)).then_with(|| a.compare(b))
    });
    answer.sort_unstable_by(|a, b| {
        b.place
            .remote
            .cmp(&a.place.remote)
            .then_with(|| a.compare(b))
    });
    for (out, into) in answer.iter_mut().rev().zip(rest.iter_mut()).take(missing) {
        into.place.moved = Moved::KeptRemote;
        std::mem::swap(out, into);
    }
    true
}

/// Brings the candidate at that index to the front; from behind the answer, it takes the place of
/// the last.
pub(crate) fn to_front(candidates: &mut [Candidate], limit: usize, index: usize) {
    let Some(last) = limit.checked_sub(1).filter(|_| index < candidates.len()) else {
        return;
    };
    let index = if index > last {
        candidates.swap(last, index);
        last
    } else {
        index
    };
    if let Some(moved) = candidates.get_mut(..=index) {
        moved.rotate_right(1);
    }
    if let Some(first) = candidates.first_mut() {
        first.place.moved = Moved::Probe;
    }
}

/// Whether a hash falls within a share of all hashes.
pub(crate) fn falls_within(hash: u64, share: f64) -> bool {
    float(hash >> 11) < within(share, 0.0, 1.0, 0.0) * 9_007_199_254_740_992.0
}
