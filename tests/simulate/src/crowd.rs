//! The nodes, what they have and whom they take it from, step by step.

mod acts;
mod flow;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use swarm::Fault;

use crate::guide::Guide;
use crate::network::Network;
use crate::numbers::{count, float};
use crate::outcome::{Outcome, RulesCost};
use crate::plan::{Plan, Policy};
use crate::random::Random;
use crate::ranked::Ranked;
use crate::sample::Sample;
use crate::tree::Tree;

/// No node takes from more at once.
const MAX_SOURCES: usize = 8;
/// What a node passes on at a time: the step in which containerd's ingest grows.
const CHUNK: f64 = 1_048_576.0;

pub(crate) struct Crowd {
    plan: Plan,
    policy: Policy,
    guide: Box<dyn Guide>,
    network: Network,
    nodes: Vec<Node>,
    /// By layer, then node.
    transfers: Vec<Transfer>,
    /// Transfers in flight.
    active: Vec<usize>,
    queue: BinaryHeap<Reverse<(usize, u64, Act)>>,
    acts: u64,
    now: usize,
    /// Nodes that want something still.
    wanting: usize,
    /// In this step a byte moved, last.
    moved: usize,
    joins_this_second: usize,
    rules: RulesCost,
    /// Time in the guide is measured for the product's rules only.
    depth: usize,
}

#[derive(Debug, Clone)]
struct Node {
    begin: usize,
    end: Option<f64>,
    dies: Option<usize>,
    is_dead: bool,
    is_slow: bool,
    next_layer: usize,
    running: usize,
    left: usize,
}

#[derive(Debug, Clone)]
struct Transfer {
    bytes: f64,
    sources: [usize; MAX_SOURCES],
    count: usize,
    from_registry: bool,
    has_reported: bool,
    is_done: bool,
    begun: usize,
    /// It takes from its sources from this step on.
    ready: usize,
    /// Only the last question that was planned is asked.
    question: u64,
    tried: Vec<(usize, Fault)>,
    depth: usize,
}

/// Something that happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Begin {
        node: usize,
    },
    Ask {
        transfer: usize,
        question: u64,
    },
    /// A source gives nothing, and it was waited for long enough.
    Notice {
        transfer: usize,
        source: usize,
    },
    FirstByte {
        transfer: usize,
    },
    Report {
        transfer: usize,
    },
    SaysSlow {
        transfer: usize,
    },
    Die {
        node: usize,
    },
    Restart,
    Tick,
}

impl Crowd {
    pub(crate) fn new(plan: &Plan, policy: Policy) -> Self {
        let mut plan = plan.clone();
        if policy != Policy::Swarm {
            // They take ten times as long, and a hop matters less.
            plan.hop *= 8;
        }
        let begin = arrivals(&plan);
        let guide: Box<dyn Guide> = match policy {
            Policy::BinaryTree => Box::new(Tree::new(plan.nodes, plan.layers)),
            Policy::Sample => Box::new(Sample::new(plan.nodes, plan.layers, plan.seed)),
            Policy::Swarm | Policy::Registry => Box::new(Ranked::new(&plan)),
        };
        let node = |begin: &f64| Node {
            begin: count(begin / plan.hop.as_secs_f64()),
            end: None,
            dies: None,
            is_dead: false,
            is_slow: false,
            next_layer: 0,
            running: 0,
            left: plan.layers,
        };
        let nodes: Vec<_> = begin.iter().map(node).collect();
        let transfers = nodes.len() * plan.layers;
        let mut crowd = Self {
            network: Network::new(&plan),
            guide,
            policy,
            wanting: nodes.len(),
            nodes,
            transfers: vec![Transfer::new(); transfers],
            active: Vec::new(),
            queue: BinaryHeap::new(),
            acts: 0,
            now: 0,
            moved: 0,
            joins_this_second: 0,
            rules: RulesCost::default(),
            depth: 0,
            plan,
        };
        crowd.prepare();
        crowd
    }

    fn prepare(&mut self) {
        for holder in 0..self.plan.holders {
            self.guide.holds(holder);
            self.nodes[holder].left = 0;
            self.wanting -= 1;
            for layer in 0..self.plan.layers {
                let transfer = &mut self.transfers[layer * self.plan.nodes + holder];
                transfer.bytes = self.plan.layer_bytes();
                transfer.is_done = true;
            }
        }
        for node in self.plan.holders..self.plan.nodes {
            self.at(self.nodes[node].begin, Act::Begin { node });
        }
        self.choose_the_slow();
        self.choose_the_dead();
        if let Some(restart) = self.plan.faults.restart {
            self.at(self.plan.steps(restart.at + restart.away), Act::Restart);
        }
        self.at(self.second(), Act::Tick);
    }

    fn choose_the_slow(&mut self) {
        let mut random = Random::new(self.plan.seed, 2);
        let share = self.plan.faults.slow.map_or(0.0, |slow| slow.share);
        for node in self.plan.holders..self.plan.nodes {
            self.nodes[node].is_slow = random.unit() < share;
        }
    }

    fn choose_the_dead(&mut self) {
        let mut random = Random::new(self.plan.seed, 3);
        let solo = self.plan.size.bytes() / self.plan.fastest();
        let within = |share: f64| Duration::from_secs_f64(solo * share);
        let (silent, first_dies) = (self.plan.faults.silent, self.plan.faults.first_dies);
        for node in self.plan.holders..self.plan.nodes {
            let (dies, when) = (random.unit() < silent, random.unit());
            if dies {
                let half = self.plan.arrivals / 2;
                self.nodes[node].dies = Some(self.plan.steps(half + within(when)));
            }
        }
        let first = (self.plan.holders..self.plan.nodes).min_by_key(|&node| self.nodes[node].begin);
        if let Some(first) = first.filter(|_| first_dies) {
            let begin = self.nodes[first].begin;
            self.nodes[first].dies = Some(begin + self.plan.steps(within(0.4)));
        }
        for node in 0..self.plan.nodes {
            if let Some(step) = self.nodes[node].dies {
                self.at(step, Act::Die { node });
            }
        }
    }

    /// Until everybody has it, or nothing has moved for long.
    pub(crate) fn run(mut self) -> Outcome {
        let patience = 60 * self.second();
        while self.wanting > 0 && self.now.saturating_sub(self.moved) < patience {
            while let Some(Reverse((step, _, _))) = self.queue.peek()
                && *step <= self.now
                && let Some(Reverse((_, _, act))) = self.queue.pop()
            {
                self.act(act);
            }
            self.flow();
            self.now += 1;
        }
        self.outcome()
    }

    fn outcome(self) -> Outcome {
        let counts = |node: &&Node| !node.is_slow && !node.is_dead;
        let nodes = self.nodes.iter().skip(self.plan.holders);
        let times = nodes.clone().filter(counts).filter_map(|node| node.end);
        let unfinished = nodes.filter(|node| !node.is_dead && node.left > 0).count();
        let size = self.plan.size.bytes();
        let copies = |bytes: &[f64]| bytes.iter().map(|bytes| bytes / size).collect();
        let (totals, violations) = self.guide.totals();
        Outcome {
            registry_copies: self.network.registry / size,
            into_racks: copies(&self.network.into),
            out_of_racks: copies(&self.network.out_of),
            unfinished,
            violations,
            depth: self.depth,
            rules: RulesCost {
                totals,
                ..self.rules
            },
            ..Outcome::new(&self.plan, self.policy, times.collect())
        }
    }

    fn at(&mut self, step: usize, act: Act) {
        self.acts += 1;
        self.queue
            .push(Reverse((step.max(self.now), self.acts, act)));
    }

    fn second(&self) -> usize {
        self.plan.steps(Duration::from_secs(1))
    }

    fn time(&self) -> Duration {
        self.plan.time(self.now)
    }

    /// Node and layer of a transfer.
    fn split(&self, transfer: usize) -> (usize, usize) {
        (transfer % self.plan.nodes, transfer / self.plan.nodes)
    }

    /// Asks the guide, and counts what that took.
    fn guided<T>(&mut self, act: impl FnOnce(&mut dyn Guide) -> T) -> T {
        let start = Instant::now();
        let outcome = act(self.guide.as_mut());
        self.rules.time += start.elapsed();
        outcome
    }
}

/// When each node begins, in seconds.
pub(crate) fn arrivals(plan: &Plan) -> Vec<f64> {
    let mut random = Random::new(plan.seed, 1);
    let within = plan.arrivals.as_secs_f64();
    (0..plan.nodes).map(|_| random.unit() * within).collect()
}

impl Plan {
    /// Bytes a second that a node takes at most.
    fn fastest(&self) -> f64 {
        let layers = float(self.at_once.min(self.layers));
        let containerd = self.containerd.bytes_per_second() * layers;
        self.nic.bytes_per_second().min(containerd)
    }
}

impl Transfer {
    fn new() -> Self {
        Self {
            bytes: 0.0,
            sources: [0; MAX_SOURCES],
            count: 0,
            from_registry: false,
            has_reported: false,
            is_done: false,
            begun: 0,
            ready: 0,
            question: 0,
            tried: Vec::new(),
            depth: 0,
        }
    }

    fn takes_from(&self, source: usize) -> bool {
        self.sources().contains(&source)
    }

    fn sources(&self) -> &[usize] {
        self.sources.get(..self.count).unwrap_or_default()
    }
}
