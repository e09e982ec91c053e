//! Bringing the best candidates to the front.

use std::cmp::Ordering;

use crate::candidate::Candidate;

/// A candidate's index and its sort key.
type Place = (u64, usize);

/// Brings the `limit` best candidates to the front, best first; the others follow in no order.
///
/// Candidates are large and nearly always compare by one number, so the numbers are sorted, and
/// then each candidate moves once.
pub(crate) fn best_first(candidates: &mut [Candidate], limit: usize) {
    let numbers = candidates.iter().map(|candidate| candidate.place.order);
    let mut places: Vec<Place> = numbers.zip(0..).collect();
    let compare = |a: &Place, b: &Place| a.0.cmp(&b.0).then_with(|| holders(candidates, *a, *b));
    if limit < places.len() {
        places.select_nth_unstable_by(limit, compare);
        places.truncate(limit);
    }
    places.sort_unstable_by(compare);
    for to in 0..places.len() {
        let mut from = place(&places, to);
        // The element that stood at `to` was swapped into the place of another one.
        while from < to {
            from = place(&places, from);
        }
        candidates.swap(to, from);
        if let Some((_, now)) = places.get_mut(to) {
            *now = from;
        }
    }
}

fn place(places: &[Place], at: usize) -> usize {
    places.get(at).map_or(at, |(_, place)| *place)
}

fn holders(candidates: &[Candidate], (_, a): Place, (_, b): Place) -> Ordering {
    let holder = |at| {
        candidates
            .get(at)
            .map(|candidate: &Candidate| candidate.holder)
    };
    holder(a).cmp(&holder(b))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn the_best_come_first_and_nobody_is_lost(
            orders in vec((0_u64..20, 1_u16..9), 0..60),
            limit in 0_usize..70,
        ) {
            let mut candidates: Vec<_> = orders
                .iter()
                .zip(0..)
                .map(|((order, port), index)| {
                    let mut candidate = Candidate::new(([10, 0, 0, 1], *port).into(), index);
                    candidate.place.order = *order;
                    candidate
                })
                .collect();
            let place = |candidate: &Candidate| (candidate.place.order, candidate.holder);
            let mut sorted: Vec<_> = candidates.iter().map(place).collect();
            sorted.sort_unstable();
            best_first(&mut candidates, limit);
            let limit = limit.min(candidates.len());
            let front: Vec<_> = candidates.iter().take(limit).map(place).collect();
            prop_assert_eq!(Some(&*front), sorted.get(..limit));
            let mut left: Vec<_> = candidates.iter().map(|candidate| candidate.index).collect();
            left.sort_unstable();
            prop_assert!(left.into_iter().eq(0..u32::try_from(orders.len()).unwrap_or(0)));
        }
    }
}
