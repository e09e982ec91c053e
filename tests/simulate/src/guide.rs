//! What a policy is asked, and what it answers.

use std::time::Duration;

use swarm::{Fault, Totals};

/// A node asks whom to take a layer from.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) now: Duration,
    pub(crate) node: usize,
    pub(crate) layer: usize,
    pub(crate) offset: f64,
    pub(crate) tried: &'a [(usize, Fault)],
    /// Since it began to wait for its first byte.
    pub(crate) waited: Duration,
}

#[derive(Debug)]
pub(crate) enum Advice {
    Take {
        sources: Vec<usize>,
        again: Option<Duration>,
    },
    Registry,
    Wait(Duration),
}

/// Who decides who takes from whom.
pub(crate) trait Guide {
    fn ask(&mut self, request: &Request) -> Advice;

    /// A node drains slowly and says so.
    fn slow(&mut self, request: &Request) -> Advice {
        self.ask(request)
    }

    /// Who takes from the registry says how far it is; whether it may go on.
    fn progress(&mut self, _now: Duration, _node: usize, _layer: usize, _bytes: f64) -> bool {
        true
    }

    fn done(&mut self, _now: Duration, _node: usize, _layer: usize) {}

    /// A node has all layers from the start.
    fn holds(&mut self, _node: usize) {}

    /// Once a second.
    fn tick(&mut self, _now: Duration) {}

    /// Everything is forgotten.
    fn restart(&mut self, _now: Duration) {}

    /// What the rules came to: sums, and breaches of the order that were seen.
    fn totals(&self) -> (Totals, u64) {
        (Totals::default(), 0)
    }
}
