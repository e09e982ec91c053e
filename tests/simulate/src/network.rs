//! Shares of NICs, uplinks and the registry: max-min fair, by filling.

use crate::numbers::float;
use crate::plan::Plan;
use crate::units::Rate;

/// Who sends to whom, and how much in one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) transfer: usize,
    /// The node that sends; none where it is the registry.
    pub(crate) from: Option<usize>,
    pub(crate) to: usize,
    /// Bytes a second that it would take at most.
    pub(crate) wants: f64,
    pub(crate) gets: f64,
    links: [usize; 4],
    open: bool,
}

#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    racks: usize,
    capacity: [f64; 3],
    rack_of: Vec<usize>,
    left: Vec<f64>,
    users: Vec<u32>,
    step: Vec<f64>,
    pub(crate) flows: Vec<Flow>,
    /// Bytes by rack, in and out, and from the registry.
    pub(crate) into: Vec<f64>,
    pub(crate) out_of: Vec<f64>,
    pub(crate) registry: f64,
}

/// Rounds of filling: what is left after them is little.
const ROUNDS: usize = 5;
/// Bytes a second that count as nothing.
const NOTHING: f64 = 1e4;

impl Network {
    pub(crate) fn new(plan: &Plan) -> Self {
        let (nodes, racks) = (plan.nodes, plan.racks);
        let links = 2 * nodes + 2 * racks + 2;
        Self {
            nodes,
            racks,
            capacity: [plan.nic, plan.uplink, plan.registry].map(Rate::bytes_per_second),
            rack_of: (0..nodes).map(|node| plan.rack_of(node)).collect(),
            left: vec![0.0; links],
            users: vec![0; links],
            step: Vec::new(),
            flows: Vec::new(),
            into: vec![0.0; racks],
            out_of: vec![0.0; racks],
            registry: 0.0,
        }
    }

    pub(crate) fn rack(&self, node: usize) -> usize {
        self.rack_of[node]
    }

    /// A flow of the next step.
    pub(crate) fn add(&mut self, transfer: usize, from: Option<usize>, to: usize, wants: f64) {
        let (nodes, racks) = (self.nodes, self.racks);
        // Links: what nodes send, what they receive, uplinks out and in, the registry, and one
        // without limit in place of those that the flow does not cross.
        let (receives, out, into) = (nodes, 2 * nodes, 2 * nodes + racks);
        let (registry, none) = (2 * nodes + 2 * racks, 2 * nodes + 2 * racks + 1);
        let rack = self.rack_of[to];
        let links = match from {
            None => [registry, receives + to, into + rack, none],
            Some(from) if self.rack_of[from] == rack => [from, receives + to, none, none],
            Some(from) => [from, receives + to, into + rack, out + self.rack_of[from]],
        };
        self.flows.push(Flow {
            transfer,
            from,
            to,
            wants,
            gets: 0.0,
            links,
            open: true,
        });
    }

    /// Gives each flow its share, and counts the bytes of a step of the given length in seconds.
    pub(crate) fn share(&mut self, cut: Option<usize>, seconds: f64) {
        self.fill_links(cut);
        for _ in 0..ROUNDS {
            if !self.round() {
                break;
            }
        }
        self.even_out();
        for flow in &self.flows {
            let bytes = flow.gets * seconds;
            let rack = self.rack_of[flow.to];
            match flow.from {
                None => {
                    self.registry += bytes;
                    self.into[rack] += bytes;
                }
                Some(from) if self.rack_of[from] != rack => {
                    self.out_of[self.rack_of[from]] += bytes;
                    self.into[rack] += bytes;
                }
                Some(_) => {}
            }
        }
    }

    /// Every source gives the same part of each chunk, so none is ahead of the slowest. Flows of a
    /// transfer stand next to each other.
    fn even_out(&mut self) {
        for stripes in self.flows.chunk_by_mut(|a, b| a.transfer == b.transfer) {
            let least = stripes
                .iter()
                .map(|flow| flow.gets)
                .fold(f64::INFINITY, f64::min);
            for flow in stripes {
                flow.gets = least;
            }
        }
    }

    fn fill_links(&mut self, cut: Option<usize>) {
        let (nodes, racks) = (self.nodes, self.racks);
        let [nic, uplink, registry] = self.capacity;
        self.users.fill(0);
        self.left[..2 * nodes].fill(nic);
        self.left[2 * nodes..2 * nodes + 2 * racks].fill(uplink);
        self.left[2 * nodes + 2 * racks] = registry;
        self.left[2 * nodes + 2 * racks + 1] = f64::INFINITY;
        if let Some(rack) = cut {
            self.left[2 * nodes + rack] = 0.0;
            self.left[2 * nodes + racks + rack] = 0.0;
        }
        for flow in &self.flows {
            for &link in &flow.links {
                self.users[link] += 1;
            }
        }
        self.step.resize(self.flows.len(), 0.0);
    }

    /// Every open flow gets the least of its links' equal shares; whether any is open still.
    fn round(&mut self) -> bool {
        let Self {
            flows,
            left,
            users,
            step,
            ..
        } = self;
        for (flow, step) in flows.iter().zip(step.iter_mut()) {
            *step = 0.0;
            if flow.open {
                let share = |link: &usize| left[*link] / f64::from(users[*link]);
                let shares = flow.links.iter().map(share);
                *step = shares.fold(flow.wants - flow.gets, f64::min).max(0.0);
            }
        }
        for (flow, step) in flows.iter_mut().zip(step.iter()) {
            if flow.open {
                flow.gets += step;
                for &link in &flow.links {
                    left[link] -= step;
                }
            }
        }
        let mut any = false;
        for flow in flows.iter_mut().filter(|flow| flow.open) {
            let is_full = |link: &usize| left[*link] < NOTHING;
            if flow.wants - flow.gets < NOTHING || flow.links.iter().any(is_full) {
                flow.open = false;
                for &link in &flow.links {
                    users[link] -= 1;
                }
            } else {
                any = true;
            }
        }
        any
    }

    /// The share of the capacity that a number of flows leaves to each.
    pub(crate) fn registry_share(plan: &Plan, flows: usize) -> f64 {
        plan.registry.bytes_per_second() / float(flows.max(1))
    }
}
