//! Properties of the union, against one that keeps every interval.

extern crate std;

use core::cell::Cell;
use std::vec::Vec;

use proptest::prelude::*;

use crate::Traffic;

type Interval = (u64, u64);

/// The union as measured: intervals in the order given.
fn measured(intervals: &[Interval]) -> u64 {
    let traffic = Traffic::<Cell<u64>>::default();
    intervals
        .iter()
        .map(|&(from, to)| traffic.cover(from, to))
        .sum()
}

/// The union itself.
fn exact(intervals: &[Interval]) -> u64 {
    let mut sorted = Vec::from(intervals);
    sorted.sort_unstable();
    let mut end = 0;
    let mut sum = 0;
    for (from, to) in sorted {
        sum += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    sum
}

/// Intervals in the order of their ends, as connections report them.
fn reported() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((1_u64..10_000, 0_u64..2_000), 1..40).prop_map(|pairs| {
        let mut intervals: Vec<_> = pairs
            .into_iter()
            .map(|(to, length)| (to.saturating_sub(length), to))
            .collect();
        intervals.sort_unstable_by_key(|&(from, to)| (to, from));
        intervals
    })
}

/// What one connection reports: each interval begins where the last one ended, or later.
fn chain() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((0_u64..50, 1_u64..200), 0..30).prop_map(|steps| {
        let mut at = 1;
        let step = |(pause, length)| {
            let from = at + pause;
            at = from + length;
            (from, at)
        };
        steps.into_iter().map(step).collect()
    })
}

/// Intervals that all end within `spread` after 10,000, in any order.
fn simultaneous(spread: u64) -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec((1_u64..10_000, 0..=spread), 1..12).prop_map(|pairs| {
        pairs
            .into_iter()
            .map(|(from, late)| (from, 10_000 + late))
            .collect()
    })
}

#[test]
fn an_interval_that_was_overtaken_is_put_back() {
    assert_eq!(measured(&[(10, 20), (50, 60), (15, 70)]), 60);
}

#[test]
fn a_gap_is_put_back_once() {
    assert_eq!(measured(&[(10, 20), (50, 60), (30, 61), (30, 62)]), 10 + 32);
}

#[test]
fn an_interval_that_ends_before_it_begins_is_nothing() {
    assert_eq!(measured(&[(10, 20), (40, 30)]), 10);
}

proptest! {
    #[test]
    fn busy_time_is_never_more_than_the_union(intervals in reported()) {
        prop_assert!(measured(&intervals) <= exact(&intervals));
    }

    #[test]
    fn busy_time_never_exceeds_the_span_even_out_of_order(
        intervals in prop::collection::vec((0_u64..1_000, 0_u64..1_000), 1..30)
    ) {
        let intervals: Vec<_> = intervals.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        let end = intervals.iter().map(|&(_, to)| to).max().unwrap_or(0);
        prop_assert!(measured(&intervals) <= end);
    }

    #[test]
    fn one_connection_is_measured_exactly(intervals in chain()) {
        prop_assert_eq!(measured(&intervals), exact(&intervals));
    }

    #[test]
    fn the_order_of_simultaneous_ends_does_not_matter(
        (intervals, shuffled) in simultaneous(0).prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
    ) {
        prop_assert_eq!(measured(&intervals), exact(&intervals));
        prop_assert_eq!(measured(&shuffled), exact(&intervals));
    }

    #[test]
    fn ends_in_the_wrong_order_cost_no_more_than_the_clocks_differ(
        intervals in simultaneous(5).prop_shuffle()
    ) {
        prop_assert!(exact(&intervals).abs_diff(measured(&intervals)) <= 5);
    }
}
