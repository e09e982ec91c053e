//! The product's policy: the crate `swarm`, asked as the agents ask the server.

use std::time::Duration;

use swarm::{
    Answer, Join, Key, NodePlace, Progress, Rack, Rank, Registry, Rules, Standing, Swarm, Totals,
    Tried, Verdict, Zone,
};

use crate::guide::{Advice, Guide, Request};
use crate::numbers::whole;
use crate::plan::Plan;

#[derive(Debug)]
pub(crate) struct Ranked {
    /// The server's, or one for each rack where there is no server.
    swarms: Vec<Swarm<u32>>,
    rules: Rules,
    stripes: usize,
    epoch: u32,
    nodes: usize,
    places: Vec<NodePlace>,
    /// By layer and node: what agents keep.
    ranks: Vec<Option<Rank>>,
    violations: u64,
    most_memory: usize,
    before: Totals,
    /// By layer, nodes that have it all and when they said so: what the server's index holds.
    index: Vec<Vec<(Duration, usize)>>,
    restarted: bool,
}

/// Holders of a layer that the index is asked for, as the server asks its own for each join.
const HOLDERS: usize = 16;
/// After so long what a node has is in the index.
const LAG: Duration = Duration::from_secs(1);

impl Ranked {
    pub(crate) fn new(plan: &Plan) -> Self {
        let place = |node| {
            let rack = plan.rack_of(node);
            NodePlace {
                rack: Rack(wide(rack)),
                zone: Zone(wide(plan.zone_of(rack))),
            }
        };
        let trackers = if plan.faults.server_away {
            plan.racks
        } else {
            1
        };
        // No node held a permit before, so there is no report to wait for.
        let rules = Rules {
            hush: Duration::ZERO,
            ..plan.rules.clone()
        };
        Self {
            swarms: (0..trackers)
                .map(|_| Swarm::new(rules.clone(), 1, Duration::ZERO))
                .collect(),
            rules: plan.rules.clone(),
            stripes: plan.stripes(),
            epoch: 1,
            nodes: plan.nodes,
            places: (0..plan.nodes).map(place).collect(),
            ranks: vec![None; plan.nodes * plan.layers],
            violations: 0,
            most_memory: 0,
            before: Totals::default(),
            index: vec![Vec::new(); plan.layers],
            restarted: false,
        }
    }

    /// Tells rules that began anew who has it all.
    fn look_up(&mut self, request: &Request) {
        if !self.restarted {
            return;
        }
        let holders = self.index[request.layer].iter();
        let is_known = |&&(at, _): &&(Duration, usize)| at + LAG <= request.now;
        let holders: Vec<_> = holders.filter(is_known).map(|&(_, node)| node).collect();
        for node in holders {
            let is_given_up = request.tried.iter().any(|&(tried, _)| tried == node);
            if !is_given_up && node != request.node {
                let place = self.places[node];
                self.tracker(request.node).holder(
                    request.now,
                    key(request.layer),
                    number(node),
                    place,
                );
            }
        }
    }

    fn tracker(&mut self, node: usize) -> &mut Swarm<u32> {
        let rack = usize::try_from(self.places[node].rack.0).unwrap_or(0);
        let at = if self.swarms.len() > 1 { rack } else { 0 };
        &mut self.swarms[at]
    }

    fn advice(&mut self, request: &Request, answer: Answer<u32>) -> Advice {
        let at = request.layer * self.nodes + request.node;
        self.ranks[at] = answer.rank;
        match answer.verdict {
            Verdict::Permit(_) => Advice::Registry,
            Verdict::Wait { until, .. } => Advice::Wait(until),
            Verdict::Take { sources, again } => {
                for source in &sources {
                    let later = answer.rank.is_some() && source.rank >= answer.rank;
                    let itself = number(request.node) == source.node;
                    self.violations += u64::from(!source.complete && later || itself);
                }
                let nodes = sources
                    .iter()
                    .map(|source| usize::try_from(source.node).unwrap_or(0));
                Advice::Take {
                    sources: nodes.collect(),
                    again,
                }
            }
        }
    }

    fn with_join<T>(
        &mut self,
        request: &Request,
        act: impl FnOnce(&mut Swarm<u32>, Key, &Join<u32>) -> T,
    ) -> T {
        let tried = |&(node, fault): &(usize, _)| Tried {
            source: number(node),
            fault,
        };
        let tried: Vec<_> = request.tried.iter().map(tried).collect();
        let join = Join {
            node: number(request.node),
            place: self.places[request.node],
            offset: whole(request.offset),
            tried: &tried,
            sources: self.stripes,
            waited_ms: u32::try_from(request.waited.as_millis()).unwrap_or(u32::MAX),
            stalled: false,
            rank: self.ranks[request.layer * self.nodes + request.node],
        };
        act(self.tracker(request.node), key(request.layer), &join)
    }
}

impl Guide for Ranked {
    fn ask(&mut self, request: &Request) -> Advice {
        self.look_up(request);
        let answer = self.with_join(request, |swarm, key, join| {
            swarm.join(request.now, key, join)
        });
        self.advice(request, answer)
    }

    fn slow(&mut self, request: &Request) -> Advice {
        let answer = self.with_join(request, |swarm, key, join| {
            swarm.slow(request.now, key, join)
        });
        match answer {
            Some(answer) => self.advice(request, answer),
            None => self.ask(request),
        }
    }

    fn progress(&mut self, now: Duration, node: usize, layer: usize, bytes: f64) -> bool {
        let progress = Progress {
            node: number(node),
            place: self.places[node],
            bytes: whole(bytes),
            rank: self.ranks[layer * self.nodes + node],
            permit: true,
            registry: Some(Registry(0)),
            stalled: false,
        };
        let heard = self.tracker(node).progress(now, key(layer), &progress);
        heard.standing != Standing::Lost
    }

    fn done(&mut self, now: Duration, node: usize, layer: usize) {
        let place = self.places[node];
        self.tracker(node)
            .fetched(now, key(layer), number(node), place);
        if self.index[layer].len() < HOLDERS {
            self.index[layer].push((now, node));
        }
    }

    fn holds(&mut self, node: usize) {
        let layers = self.ranks.len() / self.nodes;
        let place = self.places[node];
        for layer in 0..layers {
            self.tracker(node)
                .holder(Duration::ZERO, key(layer), number(node), place);
        }
    }

    fn tick(&mut self, now: Duration) {
        let mut memory = 0;
        for swarm in &mut self.swarms {
            swarm.tick(now);
            memory += swarm.totals().bytes_of_memory;
        }
        self.most_memory = self.most_memory.max(memory);
    }

    fn restart(&mut self, now: Duration) {
        self.restarted = true;
        self.before = self.totals().0;
        self.epoch += 1;
        let (rules, epoch) = (self.rules.clone(), self.epoch);
        for swarm in &mut self.swarms {
            *swarm = Swarm::new(rules.clone(), epoch, now);
        }
    }

    fn totals(&self) -> (Totals, u64) {
        let mut sum = self.before;
        let mut memory = 0;
        for totals in self.swarms.iter().map(Swarm::totals) {
            sum.joins += totals.joins;
            sum.turns += totals.turns;
            sum.patience += totals.patience;
            sum.permits_lost += totals.permits_lost;
            sum.moves += totals.moves;
            sum.completed += totals.completed;
            sum.deepest = sum.deepest.max(totals.deepest);
            memory += totals.bytes_of_memory;
        }
        sum.bytes_of_memory = self.most_memory.max(memory);
        (sum, self.violations)
    }
}

fn key(layer: usize) -> Key {
    Key(u128::from(wide(layer)))
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What the rules call a node.
fn number(node: usize) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX)
}
