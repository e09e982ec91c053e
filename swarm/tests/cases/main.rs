//! One case for each thing that the rules promise.

mod gateways;
mod paces;

use std::collections::BTreeSet;
use std::time::Duration;

use swarm::{
    Answer, Budget, Event, Fault, Join, Key, MemberView, NodePlace, Phase, Progress, Rack, Rank,
    Reason, Rules, Standing, Swarm, Tried, Verdict, Why, Zone,
};

const KEY: Key = Key(42);

/// Nodes 0..100 are in rack 0, 100..200 in rack 1, and so on; ten racks are a zone.
struct Bed {
    swarm: Swarm<u32>,
    now: Duration,
    /// Of joins and reports.
    key: Key,
}

impl Bed {
    fn new(rules: Rules) -> Self {
        let mut bed = Self::just_started(rules, 1_000);
        bed.wait(5_000);
        bed
    }

    fn just_started(rules: Rules, epoch: u32) -> Self {
        let now = Duration::from_secs(70);
        Self {
            swarm: Swarm::new(rules, epoch, now),
            now,
            key: KEY,
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.swarm.tick(self.now);
    }

    fn join(&mut self, node: u32) -> Answer<u32> {
        self.join_as(node, 0, &[], None)
    }

    fn give_up(&mut self, node: u32, source: u32, fault: Fault) -> Answer<u32> {
        self.join_as(node, 0, &[Tried { source, fault }], None)
    }

    fn join_as(
        &mut self,
        node: u32,
        offset: u64,
        tried: &[Tried<u32>],
        rank: Option<Rank>,
    ) -> Answer<u32> {
        let place = place(node);
        let join = Join {
            node,
            place,
            offset,
            tried,
            sources: 8,
            waited_ms: 0,
            stalled: false,
            rank,
        };
        self.swarm.join(self.now, self.key, &join)
    }

    fn progress(&mut self, node: u32, bytes: u64, rank: Option<Rank>, permit: bool) -> Standing {
        let progress = Progress {
            node,
            place: place(node),
            bytes,
            rank,
            permit,
            registry: None,
            stalled: false,
        };
        self.swarm.progress(self.now, self.key, &progress).standing
    }

    /// Joins, and waits and joins again while it is told to.
    fn join_at_last(&mut self, node: u32) -> Answer<u32> {
        for _ in 0..1_000 {
            let answer = self.join(node);
            let Verdict::Wait { until, .. } = answer.verdict else {
                return answer;
            };
            self.now = until;
        }
        panic!("{node} waits for ever");
    }

    fn member(&self, node: u32) -> MemberView<u32> {
        let found = self
            .swarm
            .members(self.key)
            .find(|member| member.node == node);
        found.expect("the node is known")
    }
}

fn place(node: u32) -> NodePlace {
    let rack = u64::from(node / 100);
    NodePlace {
        rack: Rack(rack),
        zone: Zone(rack / 10),
    }
}

fn sources(answer: &Answer<u32>) -> Vec<u32> {
    match &answer.verdict {
        Verdict::Take { sources, .. } => sources.iter().map(|source| source.node).collect(),
        _ => Vec::new(),
    }
}

fn may_go(answer: &Answer<u32>) -> Option<Reason> {
    match answer.verdict {
        Verdict::Permit(permit) => Some(permit.reason),
        _ => None,
    }
}

#[test]
fn the_first_goes_to_the_registry_and_the_others_chain_behind_it() {
    let mut bed = Bed::new(Rules::default());
    assert_eq!(may_go(&bed.join(0)), Some(Reason::Turn));
    assert_eq!(
        may_go(&bed.join(0)),
        Some(Reason::Turn),
        "a lost reply is given again"
    );
    for node in 1..10 {
        assert_eq!(sources(&bed.join(node)), [node - 1]);
    }
    let waits = bed.join(100).verdict;
    assert!(
        matches!(
            waits,
            Verdict::Wait {
                why: Why::Permit,
                ..
            }
        ),
        "{waits:?}"
    );
    assert_eq!(
        sources(&bed.join(101)),
        [100],
        "its rack chains behind it all the same"
    );
    bed.progress(0, 1 << 20, None, true);
    assert_eq!(sources(&bed.join(100)).first(), Some(&0));
    assert_eq!(sources(&bed.join(102)), [101]);
    let totals = bed.swarm.totals();
    assert_eq!((totals.turns, totals.permits, totals.wanting), (1, 1, 13));
}

#[test]
fn a_gateway_takes_from_one_rack_by_stripes_and_no_node_feeds_two_of_them() {
    let mut bed = Bed::new(Rules {
        stripes: 3,
        ..Rules::default()
    });
    for node in 0..7 {
        bed.join(node);
    }
    bed.progress(0, 1 << 20, None, true);
    bed.wait(100);
    assert_eq!(sources(&bed.join(100)), [0, 1, 2]);
    assert_eq!(sources(&bed.join(200)), [3, 4, 5]);
    let third = bed.join(300);
    assert_eq!(sources(&third), [6], "what is left");
    assert!(
        matches!(third.verdict, Verdict::Take { again: Some(_), .. }),
        "{third:?}"
    );
    bed.join(7);
    bed.wait(100);
    assert_eq!(sources(&bed.join(300)), [6, 7], "and what has come since");
}

#[test]
fn a_silent_fetcher_is_replaced_by_the_next_in_rank_and_gets_no_permit_again() {
    let mut bed = Bed::new(Rules::default());
    for node in [0, 1, 2, 100] {
        bed.join(node);
    }
    bed.progress(0, 1 << 20, None, true);
    bed.join(100);
    bed.wait(3_100);
    assert_eq!(bed.swarm.totals().permits_lost, 1);
    let waits = bed.give_up(2, 1, Fault::Busy);
    assert!(
        matches!(waits.verdict, Verdict::Wait { .. }),
        "1 is before it: {waits:?}"
    );
    let waits = bed.give_up(100, 0, Fault::Silent);
    assert_eq!(may_go(&waits), None, "rack 0 goes first: {waits:?}");
    assert_eq!(
        may_go(&bed.give_up(1, 0, Fault::Silent)),
        Some(Reason::Turn)
    );
    assert_eq!(bed.progress(0, 2 << 20, None, true), Standing::Lost);
    bed.swarm.leave(bed.now, KEY, 1);
    bed.swarm.leave(bed.now, KEY, 2);
    bed.wait(2_000);
    assert_ne!(may_go(&bed.join(0)), Some(Reason::Turn));
}

#[test]
fn a_report_of_a_child_frees_the_permit_at_once() {
    let mut bed = Bed::new(Rules::default());
    bed.join(0);
    bed.join(1);
    bed.progress(0, 1 << 20, None, true);
    bed.wait(300);
    assert_eq!(
        may_go(&bed.give_up(1, 0, Fault::Silent)),
        Some(Reason::Turn)
    );
}

/// A child that was sent to a node before that got its permit has waited for longer than the permit is old.
#[test]
fn a_child_that_waited_in_vain_costs_no_permit_that_waits_for_its_first_byte() {
    let mut bed = Bed::just_started(Rules::default(), 1_000);
    for node in [0, 1] {
        bed.join(node);
    }
    bed.wait(1_600);
    assert_eq!(may_go(&bed.join(0)), Some(Reason::Turn));
    let waits = bed.give_up(1, 0, Fault::Empty);
    assert!(matches!(waits.verdict, Verdict::Wait { .. }), "{waits:?}");
    assert_eq!(bed.member(0).permit, Some(Reason::Turn));
    assert_eq!(sources(&bed.join(1)), [0]);
    // It is lost when nothing comes.
    bed.wait(3_100);
    assert_eq!(may_go(&bed.give_up(1, 0, Fault::Empty)), Some(Reason::Turn));
}

/// A registry that is slow to begin: the nodes behind its fetcher give each other up, and none is to blame.
#[test]
fn nodes_that_wait_for_the_registrys_first_byte_are_not_taken_out() {
    let mut bed = Bed::just_started(Rules::default(), 1_000);
    let waiting = [0, 1, 2, 100, 101, 102];
    for node in waiting {
        bed.join(node);
    }
    bed.wait(1_600);
    assert_eq!(may_go(&bed.join(0)), Some(Reason::Turn));
    for node in waiting {
        bed.join(node);
    }
    bed.wait(1_900);
    for pair in waiting.windows(2) {
        bed.give_up(pair[1], pair[0], Fault::Empty);
    }
    bed.progress(0, 1 << 20, None, true);
    // One that asked before the byte came learns of it too late.
    bed.wait(100);
    bed.join(1);
    bed.give_up(2, 1, Fault::Empty);
    for node in waiting {
        bed.join(node);
    }
    let out = bed
        .swarm
        .changes()
        .filter(|change| matches!(change.event, Event::Out(_)));
    assert_eq!(out.map(|change| change.node).collect::<Vec<_>>(), []);
    // One that has bytes for long and gives none is.
    bed.wait(1_000);
    bed.progress(0, 2 << 20, None, true);
    let source = bed.member(2).sources[0];
    bed.give_up(2, source, Fault::Empty);
    assert_eq!(bed.member(source).phase, Phase::Out);
}

/// A node that waits for a source and never takes one holds nobody up for long.
#[test]
fn one_that_waits_for_ever_is_taken_out() {
    let hush = Duration::from_mins(1);
    let mut bed = Bed::just_started(
        Rules {
            hush,
            ..Rules::default()
        },
        1_000,
    );
    for node in [0, 1] {
        bed.join(node);
    }
    let mut phases = Vec::new();
    for _ in 0..3 {
        bed.wait(1_900);
        bed.join(0);
        bed.give_up(1, 0, Fault::Empty);
        phases.push(bed.member(0).phase);
        bed.join(1);
    }
    assert_eq!(phases, [Phase::Waiting, Phase::Waiting, Phase::Out]);
}

/// Nor does it help to be silent for a lease, or to say that it had it all, and to begin anew.
#[test]
fn one_that_begins_anew_is_not_waited_for_anew() {
    for says_done in [false, true] {
        let mut bed = Bed::new(Rules::default());
        assert!(may_go(&bed.join(100)).is_some());
        for node in [0, 1] {
            bed.join(node);
        }
        let mut bytes = 0;
        for _ in 0..3 {
            for _ in 0..5 {
                bed.wait(610);
                bytes += 1 << 20;
                bed.progress(100, bytes, None, true);
            }
            if says_done {
                bed.swarm.complete(bed.now, KEY, 0);
            }
            // It refuses all that it is given.
            let tried = [Tried {
                source: 100,
                fault: Fault::Busy,
            }];
            bed.join_as(0, 0, &tried, None);
            bed.give_up(1, 0, Fault::Empty);
            if bed.member(0).phase == Phase::Out {
                break;
            }
            bed.join(1);
        }
        let next = bed.join(1);
        assert_eq!(sources(&next), [100], "{says_done}: {next:?}");
    }
}

/// Who gives its permit back has not lost it.
#[test]
fn a_permit_that_is_given_back_is_not_lost() {
    let mut bed = Bed::new(Rules::default());
    assert!(may_go(&bed.join(0)).is_some());
    bed.swarm.leave(bed.now, KEY, 0);
    let events: Vec<_> = bed.swarm.changes().map(|change| change.event).collect();
    assert!(events.contains(&Event::Returned), "{events:?}");
    assert!(!events.contains(&Event::Lost), "{events:?}");
}

#[test]
fn a_fetcher_without_progress_loses_its_permit_and_hears_of_it() {
    let mut bed = Bed::new(Rules::default());
    bed.join(0);
    bed.join(1);
    let mut standing = Vec::new();
    for _ in 0..4 {
        standing.push(bed.progress(0, 5 << 20, None, true));
        bed.wait(1_000);
    }
    assert!(
        matches!(standing[1], Standing::Permit { .. }),
        "{standing:?}"
    );
    assert_eq!(standing[3], Standing::Lost);
    // It ends what its child takes, which asks.
    assert_eq!(may_go(&bed.give_up(1, 0, Fault::Empty)), Some(Reason::Turn));
    let lost = bed
        .swarm
        .changes()
        .filter(|change| change.event == Event::Lost);
    assert_eq!(
        lost.map(|change| change.node).collect::<Vec<_>>(),
        [Some(0)]
    );
}

#[test]
fn a_permit_is_kept_while_the_registry_sends_its_holder_another_key() {
    let other = Key(43);
    let mut bed = Bed::new(Rules::default());
    assert_eq!(may_go(&bed.join(1)), Some(Reason::Turn));
    let join = Join {
        node: 1,
        place: place(1),
        offset: 0,
        tried: &[],
        sources: 1,
        waited_ms: 0,
        stalled: false,
        rank: None,
    };
    let answer = bed.swarm.join(bed.now, other, &join);
    assert_eq!(may_go(&answer), Some(Reason::Turn));
    let mut lost_at = None;
    for second in 1..20 {
        bed.wait(1_000);
        // The one key is in the way of the other, for longer than a permit lasts without a byte.
        let slow = bed.progress(1, 0, None, true);
        let fast = Progress {
            node: 1,
            place: place(1),
            bytes: second << 20,
            rank: None,
            permit: true,
            registry: None,
            stalled: false,
        };
        let fast = bed.swarm.progress(bed.now, other, &fast).standing;
        assert!(matches!(fast, Standing::Permit { .. }), "{fast:?}");
        if slow == Standing::Lost {
            lost_at.get_or_insert(second);
        }
    }
    // But not for ever.
    let lost_at = lost_at.expect("it is given to another at last");
    assert!((8..=15).contains(&lost_at), "{lost_at}");
}

#[test]
fn who_commits_what_the_registry_sent_needs_no_permit_and_loses_none() {
    let mut bed = Bed::new(Rules::default());
    let answer = bed.join(1);
    assert_eq!(may_go(&answer), Some(Reason::Turn));
    bed.progress(1, 0, answer.rank, true);
    // A report that was in flight when the permit was given takes nothing away.
    bed.progress(1, 0, answer.rank, false);
    bed.progress(1, 1 << 20, answer.rank, true);
    assert_eq!(bed.member(1).permit, Some(Reason::Turn));
    assert_eq!(
        bed.progress(1, 2 << 20, answer.rank, false),
        Standing::Noted
    );
    assert_eq!(bed.member(1).permit, None);
    // Its disk is slow.
    bed.wait(9_000);
    assert_eq!(
        bed.progress(1, 2 << 20, answer.rank, false),
        Standing::Noted
    );
    assert_eq!(sources(&bed.join(2)), [1]);
}

#[test]
fn the_next_rack_goes_on_when_nobody_of_the_first_asks() {
    let mut bed = Bed::new(Rules::default());
    for node in [0, 1] {
        bed.join(node);
    }
    bed.progress(0, 1 << 20, None, true);
    bed.join(100);
    bed.wait(500);
    let waits = bed.give_up(100, 0, Fault::Silent);
    assert!(
        matches!(waits.verdict, Verdict::Take { .. }),
        "1 has bytes too: {waits:?}"
    );
    let waits = bed.give_up(100, 1, Fault::Silent);
    assert_eq!(
        may_go(&waits),
        Some(Reason::Turn),
        "nobody of rack 0 is left: {waits:?}"
    );
}

#[test]
fn who_dies_in_the_middle_is_replaced_by_whom_it_took_from() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..6 {
        bed.join(node);
    }
    assert_eq!(sources(&bed.give_up(3, 2, Fault::Silent)), [1]);
    assert_eq!(sources(&bed.join(4)), [3]);
    assert_eq!(bed.member(2).phase, Phase::Out);
    // It was alive all the same: it comes back at the end.
    assert_eq!(sources(&bed.join(2)), [5]);
}

#[test]
fn a_slow_node_becomes_a_leaf_and_its_child_is_given_its_source() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..5 {
        bed.join(node);
    }
    let join = Join {
        node: 2,
        place: place(2),
        offset: 1,
        tried: &[],
        sources: 1,
        waited_ms: 0,
        stalled: false,
        rank: None,
    };
    let answer = bed.swarm.slow(bed.now, KEY, &join).expect("it is known");
    assert_eq!(sources(&answer), [4], "at the end of the chain");
    assert_eq!(bed.member(3).sources, [1]);
    assert_eq!(sources(&bed.give_up(3, 2, Fault::Slow)), [1]);
    assert_eq!(sources(&bed.join(5)), [4], "nobody is sent to it");
}

#[test]
fn who_says_that_it_is_slow_goes_on_and_its_child_is_given_its_source() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..5 {
        bed.join(node);
    }
    for _ in 0..3 {
        bed.swarm.slows(bed.now, KEY, 2);
    }
    assert_eq!(bed.member(3).sources, [1]);
    let slow = bed.member(2);
    assert!(
        slow.slow && slow.sources == [1] && slow.feeds.is_empty(),
        "{slow:?}"
    );
    assert_eq!(sources(&bed.give_up(3, 2, Fault::Empty)), [1]);
    assert_eq!(bed.member(2).phase, Phase::Fetching, "nobody blames it");
    assert_eq!(sources(&bed.join(5)), [4], "nobody is sent to it");
    assert_eq!(bed.swarm.totals().slow, 1);
}

#[test]
fn a_gateway_that_says_that_it_is_slow_is_none_any_more() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..3 {
        bed.join(node);
    }
    bed.progress(0, 1, None, true);
    bed.wait(100);
    for node in [100, 101] {
        bed.join(node);
    }
    assert_eq!(bed.member(101).sources, [100]);
    let source = bed.member(100).sources;
    bed.swarm.slows(bed.now, KEY, 100);
    assert_eq!(bed.member(101).sources, source);
    assert_eq!(sources(&bed.join(102)), [101], "nobody waits for it");
}

#[test]
fn who_holds_a_permit_cannot_be_slow() {
    let mut bed = Bed::new(Rules::default());
    bed.join(0);
    bed.join(1);
    bed.progress(0, 1, None, true);
    bed.swarm.slows(bed.now, KEY, 0);
    assert!(!bed.member(0).slow && bed.member(0).permit.is_some());
    assert_eq!(bed.member(1).sources, [0]);
}

#[test]
fn a_slow_gateway_hands_its_sources_to_the_next() {
    let mut bed = Bed::new(Rules {
        stripes: 2,
        ..Rules::default()
    });
    for node in [0, 1, 2, 3] {
        bed.join(node);
    }
    bed.progress(0, 1, None, true);
    bed.wait(100);
    for node in [100, 101, 102] {
        bed.join(node);
    }
    assert_eq!(bed.member(100).sources, [0, 1]);
    let join = Join {
        node: 100,
        place: place(100),
        offset: 1,
        tried: &[],
        sources: 2,
        waited_ms: 0,
        stalled: false,
        rank: None,
    };
    bed.swarm.slow(bed.now, KEY, &join);
    assert_eq!(bed.member(101).sources, [0, 1]);
    assert_eq!(bed.member(100).sources, [102]);
}

#[test]
fn after_a_start_nobody_gets_a_permit_before_the_holder_was_heard() {
    let mut bed = Bed::just_started(Rules::default(), 1_000);
    let rank = Rank {
        epoch: 900,
        rack: 0,
        place: 0,
    };
    let early = bed.join(100);
    assert!(
        matches!(early.verdict, Verdict::Wait { why: Why::Hush, .. }),
        "{early:?}"
    );
    bed.wait(800);
    let standing = bed.progress(0, 9, Some(rank), true);
    assert!(matches!(standing, Standing::Permit { .. }), "{standing:?}");
    bed.wait(800);
    assert_eq!(sources(&bed.join(100)), [0]);
    assert_eq!(bed.swarm.totals().turns, 0);
}

#[test]
fn ranks_outlive_the_instance_that_gave_them() {
    let mut old = Bed::new(Rules::default());
    let ranks: Vec<_> = (0..4)
        .map(|node| old.join(node).rank.expect("ranked"))
        .collect();
    assert!(ranks.is_sorted());
    let mut new = Bed::just_started(Rules::default(), 2_000);
    new.progress(0, 9, Some(ranks[0]), true);
    new.wait(2_000);
    // 3 took from 2, which is silent; then 2 asks, and must not be sent to 3.
    new.progress(0, 10, Some(ranks[0]), true);
    let third = new.join_as(
        3,
        5,
        &[Tried {
            source: 2,
            fault: Fault::Silent,
        }],
        Some(ranks[3]),
    );
    assert_eq!((sources(&third), third.rank), (vec![0], Some(ranks[3])));
    let second = new.join_as(2, 6, &[], Some(ranks[2]));
    assert_eq!(second.rank, Some(ranks[2]));
    assert!(!sources(&second).contains(&3), "{second:?}");
    let fresh = new.join_at_last(100);
    assert!(fresh.rank > Some(ranks[3]), "{fresh:?}");
}

#[test]
fn a_node_that_waited_too_long_uses_the_budget_and_no_more() {
    let budget = Budget {
        burst: 3,
        refill: Duration::from_secs(1),
    };
    let mut bed = Bed::new(Rules {
        budget,
        ..Rules::default()
    });
    for rack in 0..50 {
        bed.join(rack * 100);
    }
    let mut went = 0;
    for second in 0..20 {
        bed.wait(1_000);
        // The holder of the permit lives, and has no byte for anybody.
        bed.progress(0, second, None, true);
        for rack in 1..50 {
            let node = rack * 100;
            let member = bed.member(node);
            if member.permit.is_none() {
                let slow = |&source: &u32| Tried {
                    source,
                    fault: Fault::Slow,
                };
                let tried: Vec<_> = member.sources.iter().map(slow).collect();
                let answer = bed.join_as(node, 0, &tried, None);
                went += usize::from(may_go(&answer) == Some(Reason::Patience));
            }
        }
    }
    assert!((3..=14).contains(&went), "{went} went");
}

#[test]
fn who_fetches_again_has_not_waited_since_it_fetched_before() {
    let ends: [fn(&mut Bed, u32); 3] = [
        |bed, node| bed.swarm.complete(bed.now, KEY, node),
        |bed, node| bed.swarm.leave(bed.now, KEY, node),
        // Its agent was killed, and nothing was heard of its end.
        |_, _| {},
    ];
    for end in ends {
        let mut bed = Bed::new(Rules::default());
        assert_eq!(may_go(&bed.join(1)), Some(Reason::Turn));
        bed.progress(1, 1 << 20, None, true);
        for node in 2..6 {
            assert_eq!(sources(&bed.join(node)), [node - 1]);
            bed.progress(node, 1 << 20, None, false);
        }
        for node in 1..6 {
            end(&mut bed, node);
        }
        // Later than anybody waits, and before the key has settled.
        bed.wait(12_000);
        let mut permitted = BTreeSet::new();
        // Some are sent to those who turn out to have lost it too.
        for _ in 0..5 {
            for node in 1..6 {
                if may_go(&bed.join(node)).is_some() {
                    permitted.insert(node);
                }
            }
            bed.wait(100);
        }
        assert_eq!(permitted.len(), 1, "{permitted:?}");
    }
}

#[test]
fn a_rack_of_hundreds_has_one_gateway_and_short_chains() {
    let mut bed = Bed::new(Rules::default());
    let rack = NodePlace {
        rack: Rack(9),
        zone: Zone(0),
    };
    bed.join(100);
    bed.progress(100, 1, None, true);
    let mut gateways = BTreeSet::new();
    for node in 1_000..1_600 {
        bed.wait(1);
        bed.progress(100, u64::from(node), None, true);
        loop {
            let join = Join {
                node,
                place: rack,
                offset: 0,
                tried: &[],
                sources: 1,
                waited_ms: 0,
                stalled: false,
                rank: None,
            };
            let answer = bed.swarm.join(bed.now, KEY, &join);
            match answer.verdict {
                Verdict::Wait { until, .. } => bed.now = until,
                Verdict::Take { sources, .. } => {
                    if sources[0].node < 1_000 {
                        gateways.insert(node);
                    }
                    break;
                }
                Verdict::Permit(_) => panic!("{node} has a permit"),
            }
        }
    }
    assert_eq!(gateways.len(), 1, "{gateways:?}");
    let deepest = bed.swarm.totals().deepest;
    assert!(deepest < 200, "{deepest} hops");
}

#[test]
fn a_zone_is_entered_once() {
    let mut bed = Bed::new(Rules {
        stripes: 1,
        ..Rules::default()
    });
    for node in 0..6 {
        bed.join(node);
    }
    bed.progress(0, 1, None, true);
    bed.wait(100);
    let mut crossed = 0;
    for rack in 10..20 {
        for node in 0..4 {
            let answer = bed.join_at_last(rack * 100 + node);
            crossed += usize::from(sources(&answer)[0] < 1_000);
        }
        bed.wait(100);
        bed.progress(0, u64::from(rack), None, true);
    }
    assert_eq!(crossed, 1);
}

/// All have removed it, and whom the server asks does not know that yet.
#[test]
fn an_index_that_is_behind_sends_one_node_to_the_registry_and_no_more() {
    let nodes = [0, 1, 100, 101, 200, 201];
    let mut bed = Bed::new(Rules::default());
    let mut given_up: Vec<Vec<u32>> = vec![Vec::new(); nodes.len()];
    let mut permitted = BTreeSet::new();
    for _ in 0..12 {
        for (at, &node) in nodes.iter().enumerate() {
            bed.wait(2);
            let tried: Vec<_> = std::mem::take(&mut given_up[at])
                .into_iter()
                .map(|source| Tried {
                    source,
                    fault: Fault::Empty,
                })
                .collect();
            for &holder in nodes.iter().filter(|&&holder| holder != node) {
                if tried.iter().all(|tried| tried.source != holder) {
                    bed.swarm.holder(bed.now, KEY, holder, place(holder));
                }
            }
            let answer = bed.join_as(node, 0, &tried, None);
            if may_go(&answer).is_some() {
                permitted.insert(node);
                bed.progress(node, 1 << 20, None, true);
            }
            // Who takes no part yet answers 404.
            let asked = &nodes[..=at];
            let is_absent = |source: &u32| bed.swarm.totals().joins <= 6 && !asked.contains(source);
            given_up[at] = sources(&answer).into_iter().filter(is_absent).collect();
        }
    }
    assert_eq!(permitted.len(), 1, "{permitted:?}");
    let has_one = |node: &u32| {
        let member = bed.member(*node);
        member.permit.is_some() || !member.sources.is_empty()
    };
    assert!(nodes.iter().all(has_one));
}

#[test]
fn who_was_found_to_have_nothing_is_no_holder_for_a_while() {
    let mut bed = Bed::new(Rules::default());
    bed.swarm.holder(bed.now, KEY, 500, place(500));
    assert_eq!(sources(&bed.join(0)), [500]);
    assert_eq!(
        may_go(&bed.give_up(0, 500, Fault::Empty)),
        Some(Reason::Turn)
    );
    bed.progress(0, 1 << 20, None, true);
    bed.swarm.holder(bed.now, KEY, 500, place(500));
    assert_eq!(sources(&bed.join(100)), [0]);
    bed.swarm.complete(bed.now, KEY, 0);
    bed.wait(6_000);
    bed.swarm.holder(bed.now, KEY, 500, place(500));
    assert_eq!(bed.member(500).phase, Phase::Complete, "it was told again");
}

#[test]
fn a_herd_on_one_holder_chains_behind_it() {
    let mut bed = Bed::new(Rules::default());
    bed.swarm.holder(bed.now, KEY, 500, place(500));
    assert_eq!(sources(&bed.join(100)), [500]);
    assert_eq!(sources(&bed.join(101)), [100]);
    let found = sources(&bed.join(200));
    assert_eq!(found, [100, 101], "the holder feeds one rack");
    assert_eq!(sources(&bed.join(300)), [200], "nor does it feed a third");
    assert_eq!(bed.member(500).feeds, [100]);
    assert_eq!(bed.swarm.totals().turns, 0, "the registry is not asked");
}

#[test]
fn what_was_cut_begins_again_without_its_maker() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..4 {
        bed.join(node);
    }
    bed.swarm.cut(bed.now, KEY, 0, place(0));
    assert_eq!(may_go(&bed.join(2)), Some(Reason::Turn));
    assert_eq!(sources(&bed.join(3)), [2]);
    assert!(bed.member(0).barred);
    assert_eq!(sources(&bed.join(0)), [3], "it may have it from others");
    assert_eq!(sources(&bed.join(1)), [3], "nobody is sent to it");
}

/// What came by a false list is passed on no more, until its node begins again.
#[test]
fn who_has_bytes_from_before_a_cut_feeds_nobody() {
    let mut bed = Bed::new(Rules::default());
    let ranks: Vec<_> = (0..5).map(|node| bed.join(node).rank).collect();
    let refused = |bed: &mut Bed, by, maker| {
        let (now, place) = (bed.now, place(maker));
        bed.swarm.refused(now, KEY, by, maker, place)
    };
    assert!(!refused(&mut bed, 77, 0), "it takes no part");
    assert!(!refused(&mut bed, 4, 77), "nobody takes from it");
    assert!(refused(&mut bed, 4, 0));
    // All others find out, too.
    assert!(!refused(&mut bed, 3, 0), "it takes no part any more");
    let goes_on = bed.join_as(2, 9 << 20, &[], ranks[2]);
    assert!(
        !matches!(goes_on.verdict, Verdict::Permit { .. }),
        "{goes_on:?}"
    );
    assert!(!refused(&mut bed, 2, 0), "that is known");
    assert_eq!(bed.progress(3, 9 << 20, ranks[3], false), Standing::Lost);
    assert_eq!(may_go(&bed.join(4)), Some(Reason::Turn));
    assert_eq!(sources(&bed.join(1)), [4], "not from those who have more");
    assert_eq!(sources(&bed.join_as(2, 9 << 20, &[], ranks[2])), [1]);
    assert_eq!(sources(&bed.join(5)), [1]);
    // Its containerd has refused it by now, and begins again.
    bed.join(2);
    assert_eq!(sources(&bed.join(6)), [5]);
}

#[test]
fn a_key_is_not_cut_for_ever() {
    let mut bed = Bed::new(Rules::default());
    let mut cuts = 0;
    for maker in 0..8 {
        bed.join(50);
        bed.join(maker);
        let place = place(maker);
        cuts += u32::from(bed.swarm.refused(bed.now, KEY, 50, maker, place));
    }
    assert_eq!(cuts, 3);
}

#[test]
fn who_sends_what_does_not_fit_is_out_and_those_below_are_not_blamed() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..5 {
        bed.join(node);
    }
    assert_eq!(sources(&bed.give_up(3, 2, Fault::Wrong)), [1]);
    assert!(bed.member(2).barred && !bed.member(3).barred);
    bed.give_up(4, 0, Fault::Wrong);
    assert!(
        !bed.member(0).barred,
        "only who was sent to a node has a say about it"
    );
}

#[test]
fn whom_nobody_can_reach_is_not_believed_for_long() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..20 {
        bed.join(node);
    }
    for _ in 0..20 {
        let source = bed.member(19).sources.first().copied();
        if let Some(source) = source {
            bed.give_up(19, source, Fault::Silent);
        }
        bed.wait(100);
    }
    let out = bed
        .swarm
        .members(KEY)
        .filter(|member| member.phase == Phase::Out)
        .count();
    assert_eq!(out, 3);
}

#[test]
fn as_many_may_ask_the_registry_as_the_operator_says_in_each_zone() {
    let rules = Rules {
        permits: 2,
        permits_by_zone: true,
        ..Rules::default()
    };
    let mut bed = Bed::new(rules);
    let nodes = [0, 100, 200, 1_000, 1_100, 1_200];
    let went = nodes.map(|node| may_go(&bed.join(node)).is_some());
    assert_eq!(went, [true, true, false, true, true, false]);
}

#[test]
fn a_key_that_has_settled_takes_no_room() {
    let mut bed = Bed::new(Rules::default());
    for node in 0..90 {
        bed.join(node);
    }
    let full = bed.swarm.totals().bytes_of_memory;
    for node in 0..89 {
        bed.swarm.complete(bed.now, KEY, node);
    }
    bed.wait(80_000);
    assert_eq!(bed.swarm.totals().keys, 1, "somebody wants it still");
    bed.wait(20_000);
    bed.wait(20_000);
    let totals = bed.swarm.totals();
    assert_eq!((totals.keys, totals.members, totals.settled), (0, 0, 1));
    assert!(
        totals.bytes_of_memory < full / 5,
        "{} of {full}",
        totals.bytes_of_memory
    );
    assert_eq!(totals.copies_saved(), 88);
}
