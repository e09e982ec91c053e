//! For comparison: each takes from the least busy of a few that it is shown of all, as a scheduler
//! does that knows of no racks.

use swarm::Fault;

use crate::guide::{Advice, Guide, Request};
use crate::random::Random;

/// How many a node is shown.
const SHOWN: usize = 15;

#[derive(Debug)]
pub(crate) struct Sample {
    nodes: usize,
    arrived: Vec<Vec<usize>>,
    known: Vec<Option<usize>>,
    feeds: Vec<usize>,
    source: Vec<Option<usize>>,
    dead: Vec<bool>,
    random: Random,
}

impl Sample {
    pub(crate) fn new(nodes: usize, layers: usize, seed: u64) -> Self {
        Self {
            nodes,
            arrived: vec![Vec::new(); layers],
            known: vec![None; nodes * layers],
            feeds: vec![0; nodes * layers],
            source: vec![None; nodes * layers],
            dead: vec![false; nodes],
            random: Random::new(seed, 15),
        }
    }

    fn let_go(&mut self, at: usize, layer: usize) {
        if let Some(source) = self.source[at].take() {
            let feeds = &mut self.feeds[layer * self.nodes + source];
            *feeds = feeds.saturating_sub(1);
        }
    }
}

impl Guide for Sample {
    fn ask(&mut self, request: &Request) -> Advice {
        let layer = request.layer;
        let at = layer * self.nodes + request.node;
        for &(node, fault) in request.tried {
            self.dead[node] |= fault == Fault::Silent;
        }
        self.let_go(at, layer);
        let before = *self.known[at].get_or_insert(self.arrived[layer].len());
        if before == self.arrived[layer].len() {
            self.arrived[layer].push(request.node);
        }
        let shown: Vec<_> = (0..SHOWN.min(before))
            .map(|_| self.random.below(before))
            .collect();
        let shown = shown.into_iter().map(|place| self.arrived[layer][place]);
        let alive = shown.filter(|node| !self.dead[*node]);
        let best = alive.min_by_key(|node| (self.feeds[layer * self.nodes + node], *node));
        let Some(best) = best else {
            return Advice::Registry;
        };
        self.feeds[layer * self.nodes + best] += 1;
        self.source[at] = Some(best);
        Advice::Take {
            sources: vec![best],
            again: None,
        }
    }

    fn done(&mut self, _now: std::time::Duration, node: usize, layer: usize) {
        self.let_go(layer * self.nodes + node, layer);
    }

    fn holds(&mut self, node: usize) {
        for layer in 0..self.arrived.len() {
            self.known[layer * self.nodes + node] = Some(self.arrived[layer].len());
            self.arrived[layer].push(node);
        }
    }
}
