//! What holds for every file, every observation and every set of holders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use topology::{
    Bound, Candidate, Estimates, Explanation, HolderState, Load, Placement, Query, RackId, Sample,
    Topology, explain, rank,
};

const SITE: &str = "
ranking: {probe_share: 0}
tree:
  - name: east
    uplink: 100Gbit
    cidrs: [10.0.0.0/16]
    rack_prefix: {ipv4: 26}
    children:
      - {name: e1, cidrs: [10.0.1.0/24, '2001:db8:1::/64'], uplink: 40Gbit}
      - {name: e2, cidrs: [10.0.2.0/24], uplink: 10Gbit}
  - {name: west, cidrs: [10.1.0.0/16], uplink: 1Gbit, host_link: 1Gbit}
  - {name: vault, cidrs: [10.2.0.0/16]}
links:
  - {between: [west, vault], forbidden: true}
  - {between: [e1, west], bandwidth: 5Gbit, cost: 2}
";
const NOW: Duration = Duration::from_hours(2);

fn site() -> Topology {
    Topology::parse(SITE).expect("sound")
}

/// Addresses of few places, so that they often meet.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        6 => (0_u8..4, 0_u8..4, 0_u8..16)
            .prop_map(|(a, b, c)| IpAddr::V4(Ipv4Addr::new(10, a, b, c))),
        1 => any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        1 => (0_u16..3, 0_u16..9)
            .prop_map(|(a, b)| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, a, 0, 0, 0, 0, b))),
    ]
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let load = (prop::option::of(0.0_f32..1.5), 0.0_f32..20.0);
    (address(), 1_u16..4, load, any::<bool>()).prop_map(|(ip, port, load, complete)| {
        let mut candidate = Candidate::new(SocketAddr::new(ip, port), 0);
        candidate.load = Load {
            reported: load.0,
            handed_out: load.1.floor(),
        };
        candidate.state = if complete {
            HolderState::Complete
        } else {
            HolderState::Fetching
        };
        candidate
    })
}

fn holders() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 0..60).prop_map(|mut holders| {
        holders.sort_by_key(|candidate| candidate.holder);
        holders.dedup_by_key(|candidate| candidate.holder);
        holders
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    (0_u64..1 << 32, 0_u64..20_000, 0_u64..20_000).prop_map(|(rated_bytes, busy, span)| Sample {
        rated_bytes,
        busy: Duration::from_millis(busy),
        span: Duration::from_millis(span),
        bound: Bound::Network,
    })
}

/// Samples between addresses, each some time after the one before.
fn history() -> impl Strategy<Value = Vec<(u64, IpAddr, IpAddr, Sample)>> {
    prop::collection::vec((0_u64..100, address(), address(), sample()), 0..40)
}

fn learn(topology: &Topology, history: &[(u64, IpAddr, IpAddr, Sample)]) -> Estimates {
    let mut estimates = Estimates::default();
    let mut now = Duration::ZERO;
    for (wait, from, to, sample) in history {
        now += Duration::from_secs(*wait);
        estimates.observe(
            now,
            topology,
            topology.locate(*from),
            topology.locate(*to),
            sample,
        );
    }
    estimates
}

fn order(holders: &[Candidate], answered: usize) -> Vec<SocketAddr> {
    holders[..answered]
        .iter()
        .map(|candidate| candidate.holder)
        .collect()
}

proptest! {
    #[test]
    fn the_order_of_the_input_changes_nothing(
        holders in holders(), requester in address(), seed: u64, limit in 0_usize..70,
        history in history(), shuffle: prop::sample::Index,
    ) {
        let topology = site();
        let estimates = learn(&topology, &history);
        let query = Query { requester, key: b"key", seed, now: NOW, limit };
        let mut first = holders.clone();
        let answered = rank(&mut first, &query, &topology, &estimates);
        let mut second = holders.clone();
        second.reverse();
        second.rotate_left(shuffle.index(holders.len().max(1)));
        prop_assert_eq!(rank(&mut second, &query, &topology, &estimates), answered);
        prop_assert_eq!(order(&first, answered), order(&second, answered));
        // Ranked again, nothing moves.
        prop_assert_eq!(rank(&mut second, &query, &topology, &estimates), answered);
        prop_assert_eq!(order(&first, answered), order(&second, answered));
    }

    #[test]
    fn nobody_is_lost_or_answered_who_must_not_be(
        holders in holders(), requester in address(), seed: u64, limit in 0_usize..70,
    ) {
        let topology = site();
        let estimates = Estimates::default();
        let query = Query { requester, key: b"key", seed, now: NOW, limit };
        let mut ranked = holders.clone();
        let answered = rank(&mut ranked, &query, &topology, &estimates);
        prop_assert!(answered <= limit);
        let to = topology.locate(requester);
        let allowed = |candidate: &&Candidate| {
            candidate.holder.ip() != requester
                && !topology.path(topology.locate(candidate.holder.ip()), to).forbidden
        };
        prop_assert_eq!(answered, holders.iter().filter(allowed).count().min(limit));
        prop_assert!(ranked[..answered].iter().all(|candidate| allowed(&candidate)));
        ranked.sort_by_key(|candidate| candidate.holder);
        prop_assert_eq!(order(&ranked, ranked.len()), order(&holders, holders.len()));
    }

    /// Better in every term is never in a worse tier, and better by a tier is always before.
    #[test]
    fn a_strictly_better_candidate_never_ranks_lower(
        holders in holders(), requester in address(), seed: u64, history in history(),
    ) {
        let topology = site();
        let estimates = learn(&topology, &history);
        let query = Query { requester, key: b"key", seed, now: NOW, limit: holders.len() };
        let explained = explain(&holders, &query, &topology, &estimates);
        let group = |one: &Explanation| {
            let holder = holders.iter().find(|candidate| candidate.holder == one.holder);
            (one.outcome == Placement::Forbidden, holder.map(|holder| holder.state))
        };
        let ranked = explained.iter().filter(|one| matches!(one.outcome, Placement::Place(_)));
        let ranked: Vec<_> = ranked.collect();
        for (place, before) in ranked.iter().enumerate() {
            for after in &ranked[place + 1..] {
                if group(before) != group(after) {
                    continue;
                }
                let terms = |one: &Explanation| {
                    [one.prefix.points, one.tree.points, one.bandwidth.points, one.load.points]
                };
                let better = terms(after).iter().zip(terms(before)).all(|(a, b)| *a >= b);
                prop_assert!(!better || after.tier <= before.tier, "{before}{after}");
                let width = topology.ranking().tier_width;
                prop_assert!(after.score < before.score + width + 1e-9, "{before}{after}");
            }
        }
    }

    /// The same holder with less to do is in no worse a tier.
    #[test]
    fn less_load_never_harms(
        holders in holders(), requester in address(), which: prop::sample::Index, seed: u64,
    ) {
        prop_assume!(!holders.is_empty());
        let topology = site();
        let which = which.index(holders.len());
        let tier = |holders: &[Candidate]| {
            let query = Query { requester, key: b"key", seed, now: NOW, limit: 100 };
            let explained = explain(holders, &query, &topology, &Estimates::default());
            explained.iter().find(|one| one.index == 1).map(|one| one.tier)
        };
        let mut holders = holders;
        holders[which].index = 1;
        let before = tier(&holders);
        holders[which].load = Load::default();
        prop_assert!(tier(&holders) <= before);
    }

    #[test]
    fn an_observation_moves_the_estimate_towards_it(
        history in history(), from in address(), to in address(), sample in sample(),
        wait in 11_u64..2000,
    ) {
        let topology = site();
        let mut estimates = learn(&topology, &history);
        let total: u64 = history.iter().map(|(wait, ..)| wait).sum();
        // On its own: what comes in at the same moment is judged together.
        let now = Duration::from_secs(total + wait) + Duration::from_hours(1);
        let (from, to) = (topology.locate(from), topology.locate(to));
        let before = estimates.estimate(now, &topology, from, to);
        let verdict = estimates.observe(now, &topology, from, to, &sample);
        let after = estimates.estimate(now, &topology, from, to);
        if verdict != topology::Verdict::Counted {
            prop_assert_eq!(before, after);
            return Ok(());
        }
        let seen = topology::Rate::of_transfer(sample.rated_bytes, sample.busy).expect("counted");
        let (low, high) = (before.value.min(seen), before.value.max(seen));
        prop_assert!(after.value >= low.min(seen) && after.value <= high.max(seen)
            || (after.value.bits_per_second() / before.value.bits_per_second() - 1.0).abs() < 1e-9,
            "{before:?} {seen} {after:?}");
        let towards = seen.bits_per_second() - before.value.bits_per_second();
        let moved = after.value.bits_per_second() - before.value.bits_per_second();
        prop_assert!(towards * moved >= 0.0 || moved.abs() < 1e-6 * towards.abs(),
            "{before:?} {seen} {after:?}");
        prop_assert!(after.samples >= before.samples);
    }

    #[test]
    fn what_is_stale_returns_to_what_is_declared(
        history in history(), from in address(), to in address(),
    ) {
        let topology = site();
        let estimates = learn(&topology, &history);
        let (from, to) = (topology.locate(from), topology.locate(to));
        let start = Duration::from_hours(2);
        let mut last = f64::INFINITY;
        for hours in 0..8 {
            let now = start + Duration::from_hours(hours);
            let estimate = estimates.estimate(now, &topology, from, to);
            let off = (estimate.value.bits_per_second() / estimate.prior.bits_per_second()).ln();
            prop_assert!(off.abs() <= last + 1e-9);
            prop_assert!((0.0..1.0).contains(&estimate.confidence));
            last = off.abs();
        }
        prop_assert!(last < 1e-6);
    }

    #[test]
    fn the_longest_prefix_wins(ip in address()) {
        let topology = site();
        let longest = topology
            .places()
            .iter()
            .flat_map(|place| place.cidrs().iter().map(move |cidr| (cidr.prefix(), cidr, place)))
            .filter(|(_, cidr, _)| cidr.contains(ip))
            .max_by_key(|(bits, ..)| *bits);
        let rack = topology.locate(ip);
        match longest {
            Some((_, _, place)) if place.name() != "east" => prop_assert_eq!(rack, place.rack()),
            Some(_) => prop_assert!(rack.guessed_prefix().is_some_and(|cidr| cidr.prefix() == 26)),
            None => prop_assert!(rack.guessed_prefix().is_some()),
        }
        prop_assert!(topology.rack_prefixes(rack).iter().any(|cidr| cidr.contains(ip)));
        prop_assert_eq!(RackId::from_name(&topology.rack_name(rack)), rack);
    }

    #[test]
    fn a_path_is_as_long_both_ways(a in address(), b in address()) {
        let topology = site();
        let (a, b) = (topology.locate(a), topology.locate(b));
        let (there, back) = (topology.path(a, b), topology.path(b, a));
        prop_assert_eq!((there.steps, there.forbidden), (back.steps, back.forbidden));
        prop_assert!((there.closeness - back.closeness).abs() < 1e-12);
        prop_assert_eq!(there.steps == 0, a == b);
        prop_assert!(there.prior <= there.host && (0.0..=1.0).contains(&there.closeness));
    }
}
