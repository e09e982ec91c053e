//! What holds whatever nodes say, in whatever order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use swarm::{
    Answer, Budget, Fault, Join, Key, MemberView, NodePlace, Phase, Progress, Rack, Rank, Registry,
    Rules, Swarm, Tried, Verdict, Zone,
};

const KEY: Key = Key(7);
const NODES: u32 = 24;
const RACK: u32 = 6;
/// Between two questions of a node that waits.
const PACE: Duration = Duration::from_millis(100);

/// Something that happens.
#[derive(Debug, Clone)]
enum Act {
    Join {
        node: u32,
        offset: u64,
        give_up: Option<Fault>,
        sources: usize,
    },
    /// A join with a rank of the asker's invention.
    Claim {
        node: u32,
        rank: Rank,
    },
    Progress {
        node: u32,
        bytes: u64,
        permit: bool,
    },
    Report {
        by: u32,
        source: u32,
        fault: Fault,
    },
    Slow(u32),
    /// It says that it is slow, and goes on.
    Slows(u32),
    Complete(u32),
    Withdrawn(u32),
    Holder(u32),
    Leave(u32),
    Gone(u32),
    Tick(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Silent),
        Just(Fault::Empty),
        Just(Fault::Slow),
        Just(Fault::Busy),
        Just(Fault::Wrong),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let node = 0..NODES;
    let rank = (0_u32..200, 0_u32..12, 0_u32..12);
    let rank = rank.prop_map(|(epoch, rack, place)| Rank { epoch, rack, place });
    prop_oneof![
        10 => (node.clone(), 0_u64..9, prop::option::weighted(0.4, fault()), 1_usize..9)
            .prop_map(|(node, offset, give_up, sources)| Act::Join { node, offset, give_up, sources }),
        1 => (node.clone(), rank).prop_map(|(node, rank)| Act::Claim { node, rank }),
        // Who holds a permit says so; who says so without one claims what another instance gave.
        4 => (node.clone(), 0_u64..9, prop::bool::weighted(0.05))
            .prop_map(|(node, bytes, permit)| Act::Progress { node, bytes, permit }),
        1 => (node.clone(), 0..NODES, fault())
            .prop_map(|(by, source, fault)| Act::Report { by, source, fault }),
        1 => node.clone().prop_map(Act::Slow),
        1 => node.clone().prop_map(Act::Slows),
        2 => node.clone().prop_map(Act::Complete),
        1 => node.clone().prop_map(Act::Withdrawn),
        1 => node.clone().prop_map(Act::Holder),
        1 => node.clone().prop_map(Act::Leave),
        1 => node.prop_map(Act::Gone),
        4 => (1_u64..1500).prop_map(Act::Tick),
    ]
}

/// Small, so that all that is bounded is met.
fn rules() -> impl Strategy<Value = Rules> {
    (
        1_usize..9,
        1_usize..5,
        1_usize..9,
        1_usize..3,
        any::<bool>(),
    )
        .prop_map(|(stripes, fan, chain, permits, permits_by_zone)| Rules {
            stripes,
            fan,
            chain,
            permits,
            permits_by_zone,
            budget: Budget {
                burst: 1,
                refill: Duration::from_secs(2),
            },
            ..Rules::default()
        })
}

fn place(node: u32) -> NodePlace {
    let rack = u64::from(node / RACK);
    NodePlace {
        rack: Rack(rack),
        zone: Zone(rack / 2),
    }
}

struct World {
    swarm: Swarm<u32>,
    rules: Rules,
    now: Duration,
}

impl World {
    fn new(rules: Rules) -> Self {
        let start = Duration::from_secs(50);
        let mut world = Self {
            swarm: Swarm::new(rules.clone(), 100, start),
            rules,
            now: start,
        };
        world.now += world.rules.hush;
        world
    }

    fn act(&mut self, act: &Act) {
        let now = self.now;
        match *act {
            Act::Join {
                node,
                offset,
                give_up,
                sources,
            } => {
                let tried = give_up.map_or(Vec::new(), |fault| self.give_up(node, fault));
                self.join(node, offset, &tried, sources, None);
            }
            Act::Claim { node, rank } => {
                self.join(node, 0, &[], 1, Some(rank));
            }
            Act::Progress {
                node,
                bytes,
                permit,
            } => {
                let progress = Progress {
                    node,
                    place: place(node),
                    bytes,
                    rank: None,
                    permit: permit || self.has_permit(node),
                    registry: Some(Registry(node.into())).filter(|_| bytes % 2 == 0),
                    stalled: false,
                };
                self.swarm.progress(now, KEY, &progress);
            }
            Act::Report { by, source, fault } => self.swarm.report(now, KEY, by, source, fault),
            Act::Slow(node) => {
                let join = join(node, 0, &[], 1, None);
                let known = self.swarm.members(KEY).any(|member| member.node == node);
                let answer = self.swarm.slow(now, KEY, &join);
                assert_eq!(answer.is_some(), known);
                if let Some(answer) = answer {
                    self.check_answer(node, &[], &answer);
                }
            }
            Act::Slows(node) => {
                let had = self.has_permit(node);
                self.swarm.slows(now, KEY, node);
                assert_eq!(self.has_permit(node), had, "{node} keeps its permit");
            }
            Act::Complete(node) => self.swarm.complete(now, KEY, node),
            Act::Withdrawn(node) => self.swarm.withdrawn(now, KEY, node),
            Act::Holder(node) => self.swarm.holder(now, KEY, node, place(node)),
            Act::Leave(node) => self.swarm.leave(now, KEY, node),
            Act::Gone(node) => self.swarm.gone(now, node),
            Act::Tick(ms) => {
                self.now += Duration::from_millis(ms);
                self.swarm.tick(self.now);
            }
        }
    }

    fn join(
        &mut self,
        node: u32,
        offset: u64,
        tried: &[Tried<u32>],
        sources: usize,
        rank: Option<Rank>,
    ) -> Answer<u32> {
        let join = join(node, offset, tried, sources, rank);
        let answer = self.swarm.join(self.now, KEY, &join);
        self.check_answer(node, tried, &answer);
        let again = self.swarm.join(self.now, KEY, &Join { tried: &[], ..join });
        if !matches!(answer.verdict, Verdict::Wait { .. }) {
            assert_eq!(first(&answer), first(&again), "asking again gives the same");
        }
        answer
    }

    fn give_up(&self, node: u32, fault: Fault) -> Vec<Tried<u32>> {
        let member = self.swarm.members(KEY).find(|member| member.node == node);
        let sources = member.map_or(Vec::new(), |member| member.sources);
        sources
            .into_iter()
            .map(|source| Tried { source, fault })
            .collect()
    }

    fn check_answer(&self, node: u32, tried: &[Tried<u32>], answer: &Answer<u32>) {
        match &answer.verdict {
            Verdict::Take { sources, again } => {
                assert!(!sources.is_empty() && sources.len() <= self.rules.stripes);
                for source in sources {
                    assert_ne!(source.node, node);
                    let member = self.member(source.node);
                    assert!(!member.barred && member.phase != Phase::Out && !member.slow);
                    assert!(tried.iter().all(|tried| tried.source != source.node));
                }
                assert!(again.is_none_or(|again| again > self.now));
            }
            Verdict::Permit(permit) => assert!(permit.until > self.now),
            Verdict::Wait { until, .. } => {
                assert!(*until > self.now && *until <= self.now + Duration::from_secs(2));
            }
        }
    }

    fn member(&self, node: u32) -> MemberView<u32> {
        let mut members = self.swarm.members(KEY);
        members
            .find(|member| member.node == node)
            .expect("it is known")
    }

    fn has_permit(&self, node: u32) -> bool {
        let mut members = self.swarm.members(KEY);
        members.any(|member| member.node == node && member.permit.is_some())
    }

    fn check(&self) {
        let members: BTreeMap<u32, MemberView<u32>> = self
            .swarm
            .members(KEY)
            .map(|member| (member.node, member))
            .collect();
        let mut gateways: BTreeMap<Rack, Vec<&MemberView<u32>>> = BTreeMap::new();
        for member in members.values() {
            self.check_edges(member, &members);
            let outside = member
                .sources
                .iter()
                .any(|source| place(*source).rack != member.rack);
            if outside {
                gateways.entry(member.rack).or_default().push(member);
            }
            let has_none = member.sources.is_empty() && member.permit.is_none();
            assert!(member.phase != Phase::Waiting || has_none, "{member:?}");
            if member.phase == Phase::Complete || member.phase == Phase::Out {
                assert!(has_none, "{member:?}");
            }
        }
        for of_rack in gateways.values() {
            assert_eq!(of_rack.len(), 1, "gateways of one rack: {of_rack:?}");
        }
        for node in members.keys() {
            let mut path = BTreeSet::new();
            assert!(
                !is_in_circle(*node, &members, &mut path),
                "{node} waits for itself"
            );
        }
        let turns = |zone: Option<Zone>| {
            let holds = |member: &&MemberView<u32>| {
                let of_zone = zone.is_none_or(|zone| place(member.node).zone == zone);
                member.permit == Some(swarm::Reason::Turn) && of_zone
            };
            members.values().filter(holds).count()
        };
        let zones = (0..2).map(|zone| turns(Some(Zone(zone)))).max();
        let most = if self.rules.permits_by_zone {
            zones.unwrap_or(0)
        } else {
            turns(None)
        };
        assert!(most <= self.rules.permits, "{most} permits");
    }

    fn check_edges(&self, member: &MemberView<u32>, members: &BTreeMap<u32, MemberView<u32>>) {
        for source in &member.sources {
            let source = &members[source];
            assert!(source.feeds.contains(&member.node), "{member:?} {source:?}");
            if source.phase != Phase::Complete && member.rank.is_some() {
                assert!(
                    source.rank < member.rank,
                    "{member:?} takes from a later {source:?}"
                );
                assert!(source.rank.is_some(), "{source:?} has no place yet");
            }
        }
        let distinct: BTreeSet<_> = member.sources.iter().collect();
        assert_eq!(distinct.len(), member.sources.len(), "{member:?}");
        assert!(
            member.sources.len() <= self.rules.stripes.max(1),
            "{member:?}"
        );
        let (slow, quick): (Vec<u32>, Vec<u32>) = member
            .feeds
            .iter()
            .copied()
            .partition(|kid| members[kid].slow || members[kid].barred);
        assert!(
            quick.len() <= 2 && slow.len() + quick.len() <= 4,
            "{member:?}"
        );
        for kid in &member.feeds {
            assert!(
                members[kid].sources.contains(&member.node),
                "{member:?} {kid}"
            );
        }
    }
}

fn join(
    node: u32,
    offset: u64,
    tried: &[Tried<u32>],
    sources: usize,
    rank: Option<Rank>,
) -> Join<'_, u32> {
    Join {
        node,
        place: place(node),
        offset,
        tried,
        sources,
        waited_ms: 0,
        stalled: false,
        rank,
    }
}

fn first(answer: &Answer<u32>) -> Option<u32> {
    match &answer.verdict {
        Verdict::Take { sources, .. } => sources.first().map(|source| source.node),
        Verdict::Permit(_) => Some(u32::MAX),
        Verdict::Wait { .. } => None,
    }
}

fn is_in_circle(
    node: u32,
    members: &BTreeMap<u32, MemberView<u32>>,
    path: &mut BTreeSet<u32>,
) -> bool {
    if !path.insert(node) {
        return true;
    }
    let sources = &members[&node].sources;
    let circle = sources
        .iter()
        .any(|source| is_in_circle(*source, members, path));
    path.remove(&node);
    circle
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_slots_permits_and_gateways_hold(
        rules in rules(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut world = World::new(rules);
        for act in &acts {
            world.act(act);
            world.check();
        }
    }

    /// Whatever happened before, every live node that keeps asking gets the blob as soon as those that
    /// are dead and in its way may be passed by, and then no state is left.
    #[test]
    fn every_live_node_gets_it_and_the_key_settles(
        rules in rules(),
        acts in prop::collection::vec(act(), 0..60),
        dead in prop::collection::btree_set(0..NODES, 0..12),
    ) {
        let mut world = World::new(rules);
        for act in &acts {
            world.act(act);
        }
        let bound = longest_wait(&world.rules);
        let living: Vec<u32> = (0..NODES).filter(|node| !dead.contains(node)).collect();
        let mut has: BTreeSet<u32> = BTreeSet::new();
        for round in 0..bound.as_millis() / PACE.as_millis() {
            world.now += PACE;
            if round % 10 == 0 {
                world.swarm.tick(world.now);
            }
            for &node in &living {
                if !has.contains(&node) && gets_it(&mut world, node, &dead, &has) {
                    has.insert(node);
                    world.swarm.complete(world.now, KEY, node);
                }
            }
            world.check();
        }
        prop_assert_eq!(has.len(), living.len(), "all who live have it");
        for _ in 0..300 {
            world.now += Duration::from_secs(1);
            world.swarm.tick(world.now);
        }
        let totals = world.swarm.totals();
        prop_assert_eq!((totals.keys, totals.members, totals.permits), (0, 0, 0));
        prop_assert!(totals.bytes_of_memory < 4096, "{}", totals.bytes_of_memory);
    }

    #[test]
    fn memory_is_bounded_whatever_is_claimed(
        joins in prop::collection::vec((0_u32..400, 0_u128..40, any::<u64>()), 1..1500),
    ) {
        let rules = Rules { most_members: 300, most_keys_of_node: 8, ..Rules::default() };
        let mut swarm = Swarm::new(rules, 0, Duration::ZERO);
        let now = Duration::from_secs(9);
        let mut of_node: BTreeMap<u32, BTreeSet<u128>> = BTreeMap::new();
        for (node, key, rack) in joins {
            let place = NodePlace { rack: Rack(rack), zone: Zone(rack) };
            let join = Join { place, ..join(node, 0, &[], 1, None) };
            swarm.join(now, Key(key), &join);
            if swarm.members(Key(key)).any(|member| member.node == node) {
                of_node.entry(node).or_default().insert(key);
            }
        }
        let totals = swarm.totals();
        prop_assert!(totals.members <= 300 && of_node.values().all(|keys| keys.len() <= 8));
        prop_assert!(totals.bytes_of_memory < 300_000, "{}", totals.bytes_of_memory);
        for key in 0..40 {
            for node in 0..400 {
                swarm.leave(now, Key(key), node);
            }
        }
        swarm.tick(now + Duration::from_mins(1));
        prop_assert_eq!(swarm.totals().members, 0);
    }
}

/// How long a node may have to wait for its turn: a permit or a place of who died is free after a lease and
/// an offer; where the dead cannot be told from the living, patience ends, and in the worst case each
/// rack needs one of the budget.
fn longest_wait(rules: &Rules) -> Duration {
    let racks = NODES.div_ceil(RACK);
    rules.patience + rules.lease + rules.offer + rules.budget.refill * racks
}

/// A node asks until it finds a source with bytes: one that is complete, or is fetching.
fn gets_it(world: &mut World, node: u32, dead: &BTreeSet<u32>, has: &BTreeSet<u32>) -> bool {
    let mut tried: Vec<Tried<u32>> = Vec::new();
    for _ in 0..4 {
        let answer = world.join(node, 0, &tried, 8, None);
        match answer.verdict {
            Verdict::Permit(_) => return true,
            Verdict::Wait { .. } => return false,
            Verdict::Take { sources, .. } => {
                let Some(bad) = sources.iter().find(|source| dead.contains(&source.node)) else {
                    return sources.iter().all(|source| has.contains(&source.node));
                };
                tried = vec![Tried {
                    source: bad.node,
                    fault: Fault::Silent,
                }];
            }
        }
    }
    false
}
