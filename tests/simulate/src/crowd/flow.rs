//! One step of the flow.

use super::{Act, CHUNK, Crowd};
use crate::numbers::float;

/// Bytes that count as nothing.
const NOTHING: f64 = 1.0;
/// Bytes: the node does not wait for a source that is further behind than this.
const WINDOW: f64 = 64.0 * CHUNK;

impl Crowd {
    /// Everybody takes what its sources had at the step's beginning.
    pub(super) fn flow(&mut self) {
        let seconds = self.plan.hop.as_secs_f64();
        self.network.flows.clear();
        for at in 0..self.active.len() {
            self.offer(self.active[at], seconds);
        }
        let cut = self.cut();
        self.network.share(cut, seconds);
        self.move_bytes(seconds);
        self.note_the_done();
    }

    /// The rack that is cut off now.
    pub(super) fn cut(&self) -> Option<usize> {
        let cut = self.plan.faults.cut?;
        let (from, lasts) = (self.plan.steps(cut.at), self.plan.steps(cut.lasts));
        (from..from + lasts).contains(&self.now).then_some(cut.rack)
    }

    /// What a transfer would take in this step, from each of its sources.
    fn offer(&mut self, at: usize, seconds: f64) {
        let (node, layer) = self.split(at);
        let transfer = &self.transfers[at];
        if transfer.is_done || transfer.ready > self.now || self.nodes[node].is_dead {
            return;
        }
        let pace = match self.plan.faults.slow {
            Some(slow) if self.nodes[node].is_slow => slow.rate,
            _ => self.plan.containerd,
        };
        let (pace, size) = (pace.bytes_per_second(), self.plan.layer_bytes());
        if transfer.from_registry {
            let wants = ((size - transfer.bytes) / seconds).min(pace);
            self.network.add(at, None, node, wants);
            return;
        }
        // A stripe that a dead node owes holds up what comes behind it.
        if transfer
            .sources()
            .iter()
            .any(|source| self.nodes[*source].is_dead)
        {
            return;
        }
        // Each of several sources gives its part of every chunk, so a chunk is there when it has come
        // from all: one chunk later than from one source, however many there are.
        let behind = CHUNK * if transfer.count > 1 { 2.0 } else { 1.0 };
        let there = |source: usize| {
            let given = &self.transfers[layer * self.plan.nodes + source];
            if given.is_done {
                size
            } else {
                given.bytes - behind
            }
        };
        let keeps_up = |source: &usize| there(*source) >= transfer.bytes - WINDOW;
        let sources: Vec<_> = transfer
            .sources()
            .iter()
            .copied()
            .filter(keeps_up)
            .collect();
        // It waits for the slowest of them: a node that runs ahead takes from the first alone, and
        // starves the chain behind it.
        let least = sources
            .iter()
            .copied()
            .map(there)
            .fold(f64::INFINITY, f64::min);
        let wants = ((least - transfer.bytes) / seconds).min(pace) / float(sources.len());
        if wants > 0.0 {
            for source in sources {
                self.network.add(at, Some(source), node, wants);
            }
        }
    }

    fn move_bytes(&mut self, seconds: f64) {
        for at in 0..self.network.flows.len() {
            let flow = self.network.flows[at];
            let transfer = &mut self.transfers[flow.transfer];
            transfer.bytes += flow.gets * seconds;
            if flow.gets > 0.0 {
                self.moved = self.now;
            }
        }
    }

    fn note_the_done(&mut self) {
        let (size, now) = (self.plan.layer_bytes(), self.now);
        let mut done = false;
        for at in 0..self.active.len() {
            let id = self.active[at];
            let transfer = &mut self.transfers[id];
            if transfer.is_done {
                continue;
            }
            if transfer.bytes >= size - NOTHING {
                transfer.bytes = size;
                transfer.is_done = true;
                done = true;
                self.done(id);
            } else if transfer.from_registry && !transfer.has_reported && transfer.bytes >= CHUNK {
                transfer.has_reported = true;
                self.at(now, Act::FirstByte { transfer: id });
            }
        }
        if done || now % 64 == 0 {
            let (transfers, nodes) = (&self.transfers, &self.nodes);
            let of = self.plan.nodes;
            self.active
                .retain(|&at| !transfers[at].is_done && !nodes[at % of].is_dead);
        }
    }

    fn done(&mut self, id: usize) {
        let (node, layer) = self.split(id);
        let time = self.time() + self.plan.hop;
        self.guided(|guide| guide.done(time, node, layer));
        self.depth = self.depth.max(self.transfers[id].depth);
        let at = &mut self.nodes[node];
        at.left -= 1;
        at.running -= 1;
        if at.left == 0 {
            let begin = self.plan.time(at.begin);
            at.end = Some((time.saturating_sub(begin)).as_secs_f64());
            self.wanting -= 1;
        }
        self.begin_layers(node);
    }
}
