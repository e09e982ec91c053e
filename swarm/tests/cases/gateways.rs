//! A rack has one gateway, and nobody waits for long behind who cannot help.

use super::{Bed, KEY, may_go, place, sources};
use std::time::Duration;
use swarm::{Budget, Fault, Join, Phase, Reason, Rules, Standing, Verdict};

/// Racks 5 and 6 have it; chains of two nodes.
fn bed(mut rules: Rules) -> Bed {
    rules.stripes = 1;
    let mut bed = Bed::new(rules);
    for node in [500, 600] {
        bed.swarm.holder(bed.now, KEY, node, place(node));
    }
    bed
}

fn short_chains() -> Rules {
    Rules {
        chain: 2,
        ..Rules::default()
    }
}

fn is_slow(bed: &mut Bed, node: u32) {
    let join = Join {
        node,
        place: place(node),
        offset: 1,
        tried: &[],
        sources: 1,
        waited_ms: 0,
        stalled: false,
        rank: None,
    };
    let answer = bed.swarm.slow(bed.now, KEY, &join);
    answer.expect("it is known");
}

#[test]
fn a_chain_that_was_out_comes_back_behind_the_one_that_replaced_it() {
    let mut bed = bed(short_chains());
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    bed.swarm.leave(bed.now, KEY, 100);
    bed.swarm.leave(bed.now, KEY, 101);
    assert_eq!(sources(&bed.join(102)), [500], "the next chain");
    bed.wait(100);
    assert_eq!(sources(&bed.join(100)), [102], "not over the uplink");
}

#[test]
fn who_comes_back_before_the_new_gateway_takes_its_place_where_others_depend_on_it() {
    let mut bed = bed(short_chains());
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    bed.wait(100);
    assert_eq!(sources(&bed.join(200)), [600]);
    assert_eq!(sources(&bed.join(300)), [100]);
    assert_eq!(sources(&bed.join(102)), [101]);
    assert_eq!(sources(&bed.give_up(101, 100, Fault::Silent)), [500]);
    // All of the first chain are out, and 300 still takes from it.
    assert_eq!(sources(&bed.give_up(102, 101, Fault::Silent)), [500]);
    bed.swarm.leave(bed.now, KEY, 200);
    assert_eq!(sources(&bed.join(100)), [600]);
    assert!(bed.member(102).sources.is_empty(), "one gateway");
    assert_eq!(sources(&bed.join(101)), [100]);
    bed.wait(100);
    assert_eq!(sources(&bed.join(102)), [101]);
}

#[test]
fn a_gateway_that_nobody_may_take_from_makes_way() {
    let mut bed = bed(Rules::default());
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    // The one that sends wrong bytes.
    assert_eq!(sources(&bed.give_up(101, 100, Fault::Wrong)), [500]);
    assert_eq!(sources(&bed.join(100)), [101]);
    // The one that is slow, and was alone.
    assert_eq!(sources(&bed.join(200)), [600]);
    is_slow(&mut bed, 200);
    assert_eq!(bed.member(200).sources, [600]);
    assert_eq!(sources(&bed.join(201)), [600]);
    assert!(bed.member(200).sources.is_empty(), "one gateway");
    assert_eq!(sources(&bed.join(200)), [201]);
}

#[test]
fn a_chain_of_slow_nodes_leads_no_rack() {
    let mut bed = bed(short_chains());
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    for node in [100, 101] {
        is_slow(&mut bed, node);
    }
    let answer = bed.join_at_last(102);
    assert_eq!(may_go(&answer), None);
    assert!(bed.now < Duration::from_secs(77), "{:?}", bed.now);
    let gateways = [100, 101, 102].map(|node| bed.member(node).sources);
    let outside = gateways.iter().flatten().filter(|&&node| node >= 500);
    assert_eq!(outside.count(), 1, "{gateways:?}");
}

#[test]
fn a_place_at_another_rack_that_nobody_needs_is_free_again() {
    let mut bed = bed(Rules {
        fan: 1,
        ..Rules::default()
    });
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    bed.swarm.complete(bed.now, KEY, 101);
    assert_eq!(sources(&bed.give_up(100, 500, Fault::Busy)), [101]);
    let fan = |bed: &Bed| {
        let all = bed.swarm.explain(bed.now, KEY, 9).expect("it is wanted");
        all.racks[0].fan
    };
    assert_eq!(fan(&bed), 1, "it is kept for the next of the rack");
    bed.wait(500);
    bed.wait(1_000);
    assert_eq!(fan(&bed), 0);
}

#[test]
fn a_zone_is_entered_again_where_the_order_allows_nobody_of_it() {
    let mut bed = bed(Rules::default());
    assert_eq!(sources(&bed.join(1_000)), [500]);
    bed.wait(100);
    assert_eq!(sources(&bed.join(1_100)), [1_000]);
    assert_eq!(sources(&bed.give_up(1_000, 500, Fault::Silent)), [600]);
}

#[test]
fn a_dead_chain_without_a_source_holds_its_rack_up_for_no_longer_than_an_offer() {
    let mut bed = Bed::new(Rules {
        chain: 1,
        ..Rules::default()
    });
    bed.join(0);
    // 100 dies now.
    for node in [100, 101] {
        assert!(matches!(bed.join(node).verdict, Verdict::Wait { .. }));
    }
    bed.progress(0, 1 << 20, None, true);
    let soon = bed.now + Duration::from_millis(1_100);
    assert_eq!(sources(&bed.join_at_last(101)), [0]);
    assert!(bed.now <= soon, "{:?} is after {soon:?}", bed.now);
}

#[test]
fn who_lost_its_permit_and_finds_nobody_may_go_when_patience_ends() {
    let mut bed = Bed::new(Rules::default());
    assert_eq!(may_go(&bed.join(0)), Some(Reason::Turn));
    for _ in 0..6 {
        bed.progress(0, 0, None, true);
        bed.wait(1_000);
    }
    assert_eq!(bed.progress(0, 0, None, true), Standing::Lost);
    let mut went = None;
    for second in 0..12 {
        went = went.or(may_go(&bed.join(0)).map(|reason| (second, reason)));
        bed.wait(1_000);
    }
    assert!(matches!(went, Some((3..=11, Reason::Patience))), "{went:?}");
}

#[test]
fn who_has_a_source_leaves_the_budget_to_those_who_have_none() {
    let mut bed = Bed::new(Rules {
        budget: Budget {
            burst: 1,
            refill: Duration::from_hours(1),
        },
        ..Rules::default()
    });
    bed.swarm.holder(bed.now, KEY, 500, place(500));
    bed.join(100);
    is_slow(&mut bed, 100);
    for _ in 0..12 {
        assert_eq!(sources(&bed.join(100)), [500]);
        if may_go(&bed.join(200)).is_some() {
            return;
        }
        bed.wait(1_000);
    }
    panic!("{:?}", bed.member(200));
}

#[test]
fn who_feeds_nobody_leaves_the_places_to_those_who_do() {
    let mut bed = Bed::new(Rules {
        stripes: 1,
        ..Rules::default()
    });
    bed.swarm.holder(bed.now, KEY, 0, place(0));
    for node in [1, 2] {
        bed.join(node);
    }
    assert_eq!(sources(&bed.give_up(2, 1, Fault::Wrong)), [0]);
    assert_eq!(sources(&bed.join(1)), [2]);
    assert_eq!(sources(&bed.join(3)), [2]);
    assert_eq!(sources(&bed.join(100)), [0]);
    bed.wait(100);
    assert_eq!(sources(&bed.join(200)), [2]);
    assert_eq!(bed.member(1).phase, Phase::Fetching);
}
