//! For comparison: a binary tree in the order of arrival, blind to racks.

use swarm::Fault;

use crate::guide::{Advice, Guide, Request};

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: usize,
    /// By layer: nodes in the order in which they asked, and each one's place in that.
    arrived: Vec<Vec<usize>>,
    places: Vec<Option<usize>>,
    dead: Vec<bool>,
}

impl Tree {
    pub(crate) fn new(nodes: usize, layers: usize) -> Self {
        Self {
            nodes,
            arrived: vec![Vec::new(); layers],
            places: vec![None; nodes * layers],
            dead: vec![false; nodes],
        }
    }
}

impl Guide for Tree {
    fn ask(&mut self, request: &Request) -> Advice {
        for &(node, fault) in request.tried {
            self.dead[node] |= fault == Fault::Silent;
        }
        let arrived = &mut self.arrived[request.layer];
        let place = &mut self.places[request.layer * self.nodes + request.node];
        let mut at = *place.get_or_insert_with(|| {
            arrived.push(request.node);
            arrived.len() - 1
        });
        while at > 0 {
            at = (at - 1) / 2;
            let parent = arrived[at];
            if !self.dead[parent] {
                return Advice::Take {
                    sources: vec![parent],
                    again: None,
                };
            }
        }
        Advice::Registry
    }

    fn holds(&mut self, node: usize) {
        for layer in 0..self.arrived.len() {
            self.places[layer * self.nodes + node] = Some(self.arrived[layer].len());
            self.arrived[layer].push(node);
        }
    }
}
