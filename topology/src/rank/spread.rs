//! Keeping the load apart: tiers, the less loaded of two, and places for other racks.

use crate::candidate::Candidate;
use crate::numbers::{count, whole, within};

/// How many tiers a score is below the best.
pub(crate) fn tier(best: f64, score: f64, width: f64) -> u16 {
    u16::try_from(whole((best - score) / width)).unwrap_or(u16::MAX)
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
        }
    }
}

/// Puts the best candidates of other racks in the places of the worst of the answer, as far as
/// fewer of them are in it than their share.
pub(crate) fn keep_remote(candidates: &mut [Candidate], limit: usize, usable: usize, share: f64) {
    let wanted = whole((count(limit) * within(share, 0.0, 1.0, 0.0)).ceil());
    let wanted = usize::try_from(wanted).unwrap_or(limit).min(limit);
    let Some((answer, rest)) = candidates.split_at_mut_checked(limit) else {
        return;
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
        return;
    }
    // The best of the other racks come first in the rest, the worst of the own rack last in the
    // answer.
    let behind = |candidate: &Candidate| !(candidate.place.remote && candidate.is_usable());
    rest.select_nth_unstable_by(missing - 1, |a, b| {
        (behind(a), a.order()).cmp(&(behind(b), b.order()))
    });
    answer.sort_unstable_by(|a, b| (!a.place.remote, a.order()).cmp(&(!b.place.remote, b.order())));
    for (out, into) in answer.iter_mut().rev().zip(rest.iter_mut()).take(missing) {
        std::mem::swap(out, into);
    }
}
