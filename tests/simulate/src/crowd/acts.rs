//! What nodes do: they ask, they notice, they die.

use std::time::Duration;

use swarm::Fault;

use super::{Act, Crowd, MAX_SOURCES};
use crate::guide::{Advice, Request};

/// Who cannot reach the server asks again so much later.
const RETRY: Duration = Duration::from_millis(100);
/// A slow node knows so much later that it is slow.
const KNOWS_ITSELF: Duration = Duration::from_millis(300);

impl Crowd {
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Begin { node } => self.begin_layers(node),
            Act::Ask { transfer, question } => {
                if self.transfers[transfer].question == question {
                    self.ask(transfer, false);
                }
            }
            Act::Notice { transfer, source } => self.notice(transfer, source),
            Act::FirstByte { transfer } => {
                self.report(transfer);
            }
            Act::Report { transfer } => {
                if self.report(transfer) {
                    self.at(self.now + self.second(), Act::Report { transfer });
                }
            }
            Act::SaysSlow { transfer } => self.says_slow(transfer),
            Act::Die { node } => self.die(node),
            Act::Restart => {
                let time = self.time();
                self.guided(|guide| guide.restart(time));
            }
            Act::Tick => {
                let time = self.time();
                self.guided(|guide| guide.tick(time));
                self.joins_this_second = 0;
                self.at(self.now + self.second(), Act::Tick);
            }
        }
    }

    /// As many layers as containerd pulls at once.
    pub(super) fn begin_layers(&mut self, node: usize) {
        while !self.nodes[node].is_dead
            && self.nodes[node].running < self.plan.at_once
            && self.nodes[node].next_layer < self.plan.layers
        {
            let layer = self.nodes[node].next_layer;
            self.nodes[node].next_layer += 1;
            self.nodes[node].running += 1;
            let transfer = layer * self.plan.nodes + node;
            self.transfers[transfer].begun = self.now;
            self.transfers[transfer].ready = usize::MAX;
            self.active.push(transfer);
            self.ask(transfer, false);
            let says_so = self.plan.faults.slow.is_some_and(|slow| slow.says_so);
            if self.nodes[node].is_slow && says_so {
                let step = self.now + self.plan.steps(KNOWS_ITSELF);
                self.at(step, Act::SaysSlow { transfer });
            }
        }
    }

    fn is_over(&self, transfer: usize) -> bool {
        let (node, _) = self.split(transfer);
        self.transfers[transfer].is_done || self.nodes[node].is_dead
    }

    /// Whether the node's question comes to no server.
    fn is_cut_off(&self, node: usize) -> bool {
        let away = self.plan.faults.restart.is_some_and(|restart| {
            let (from, lasts) = (self.plan.steps(restart.at), self.plan.steps(restart.away));
            (from..from + lasts).contains(&self.now)
        });
        let has_server = !self.plan.faults.server_away;
        has_server && (away || self.cut() == Some(self.network.rack(node)))
    }

    fn ask(&mut self, id: usize, says_slow: bool) {
        if self.is_over(id) {
            return;
        }
        let (node, layer) = self.split(id);
        if self.is_cut_off(node) {
            self.ask_at(id, self.now + self.plan.steps(RETRY));
            return;
        }
        self.joins_this_second += 1;
        let most = self.rules.most_joins_a_second.max(self.joins_this_second);
        self.rules.most_joins_a_second = most;
        let tried = std::mem::take(&mut self.transfers[id].tried);
        let transfer = &self.transfers[id];
        let waits = if transfer.bytes > 0.0 {
            0
        } else {
            self.now - transfer.begun
        };
        let request = Request {
            now: self.time(),
            node,
            layer,
            offset: transfer.bytes,
            tried: &tried,
            waited: self.plan.time(waits),
        };
        let advice = self.guided(|guide| {
            if says_slow {
                guide.slow(&request)
            } else {
                guide.ask(&request)
            }
        });
        self.follow(id, advice);
    }

    fn follow(&mut self, id: usize, advice: Advice) {
        // Whatever was planned to be asked is out of date.
        self.transfers[id].question += 1;
        let answered = self.now + self.plan.steps(self.plan.answer);
        let sources = match advice {
            Advice::Take { sources, again } => {
                if let Some(again) = again {
                    self.ask_at(id, self.plan.steps(again));
                }
                sources
            }
            Advice::Registry => {
                let heartbeat = answered + self.second();
                if !self.transfers[id].from_registry {
                    self.at(heartbeat, Act::Report { transfer: id });
                }
                self.transfers[id].from_registry = true;
                self.transfers[id].depth = 0;
                Vec::new()
            }
            Advice::Wait(until) => {
                self.ask_at(id, self.plan.steps(until).max(answered));
                Vec::new()
            }
        };
        self.take_from(id, &sources, answered);
    }

    fn take_from(&mut self, id: usize, sources: &[usize], answered: usize) {
        let (_, layer) = self.split(id);
        let nodes = self.plan.nodes;
        let noticed = answered + self.plan.steps(self.plan.faults.noticed);
        let had: Vec<_> = self.transfers[id].sources().to_vec();
        let depths = sources
            .iter()
            .map(|source| self.transfers[layer * nodes + source].depth + 1);
        let depth = depths.max().unwrap_or(0);
        let transfer = &mut self.transfers[id];
        transfer.count = sources.len().min(MAX_SOURCES);
        for (to, from) in transfer.sources.iter_mut().zip(sources) {
            *to = *from;
        }
        if !sources.is_empty() {
            transfer.from_registry = false;
            transfer.depth = depth;
        }
        let goes_on = sources.iter().any(|source| had.contains(source));
        if !goes_on {
            transfer.ready = answered;
        }
        for &source in sources {
            if self.nodes[source].is_dead && !had.contains(&source) {
                self.at(
                    noticed,
                    Act::Notice {
                        transfer: id,
                        source,
                    },
                );
            }
        }
    }

    fn ask_at(&mut self, transfer: usize, step: usize) {
        self.transfers[transfer].question += 1;
        let question = self.transfers[transfer].question;
        self.at(step.max(self.now + 1), Act::Ask { transfer, question });
    }

    /// A source has given nothing for so long that it is given up.
    fn notice(&mut self, id: usize, source: usize) {
        let is_dead = self.nodes[source].is_dead;
        if self.transfers[id].takes_from(source) && (is_dead || self.is_unreachable(id, source)) {
            self.transfers[id].tried.push((source, Fault::Silent));
            self.ask(id, false);
        }
    }

    fn is_unreachable(&self, id: usize, source: usize) -> bool {
        let (node, _) = self.split(id);
        let [rack, other] = [node, source].map(|node| self.network.rack(node));
        self.cut()
            .is_some_and(|cut| rack != other && (cut == rack || cut == other))
    }

    /// Who takes from the registry says how far it is; whether it will again.
    fn report(&mut self, id: usize) -> bool {
        if self.is_over(id) || !self.transfers[id].from_registry {
            return false;
        }
        let (node, layer) = self.split(id);
        if self.is_cut_off(node) {
            return true;
        }
        let (time, bytes) = (self.time(), self.transfers[id].bytes);
        if !self.guided(|guide| guide.progress(time, node, layer, bytes)) {
            self.end_what_others_take(id, Fault::Empty);
        }
        true
    }

    fn says_slow(&mut self, id: usize) {
        if !self.is_over(id) {
            self.ask(id, true);
            self.end_what_others_take(id, Fault::Slow);
        }
    }

    /// The nodes that take from this one ask for another source.
    fn end_what_others_take(&mut self, id: usize, fault: Fault) {
        let (node, layer) = self.split(id);
        let takes = |at: &usize| self.split(*at).1 == layer && self.transfers[*at].takes_from(node);
        let kids: Vec<_> = self.active.iter().copied().filter(takes).collect();
        for kid in kids {
            self.transfers[kid].tried.push((node, fault));
            self.ask(kid, false);
        }
    }

    fn die(&mut self, node: usize) {
        if self.nodes[node].left == 0 {
            // It died after it had all, and counts as one that has it.
            return;
        }
        self.nodes[node].is_dead = true;
        self.wanting -= 1;
        let noticed = self.now + self.plan.steps(self.plan.faults.noticed);
        let kids = self.active.iter().copied();
        let kids: Vec<_> = kids
            .filter(|&at| self.transfers[at].takes_from(node))
            .collect();
        for transfer in kids {
            self.at(
                noticed,
                Act::Notice {
                    transfer,
                    source: node,
                },
            );
        }
    }
}
