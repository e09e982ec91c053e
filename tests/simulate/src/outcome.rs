//! What a simulation comes to.

use std::time::Duration;

use serde::Serialize;
use swarm::Totals;

use crate::numbers::{count, float, float64};
use crate::plan::{Plan, Policy};

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub policy: Policy,
    /// Seconds of each node that lived and was not slow, shortest first.
    pub times: Vec<f64>,
    /// Seconds of one node alone.
    pub solo: f64,
    pub registry_copies: f64,
    /// Copies by rack.
    pub into_racks: Vec<f64>,
    pub out_of_racks: Vec<f64>,
    /// Nodes that lived and did not get all.
    pub unfinished: usize,
    /// Sources that a node was sent to against the order.
    pub violations: u64,
    /// Hops from the root to the farthest.
    pub depth: usize,
    pub rules: RulesCost,
    /// What the simulation took; not the same in each run.
    pub wall: Duration,
}

/// What the rules were asked and what they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RulesCost {
    pub totals: Totals,
    /// Joins in the second with most of them.
    pub most_joins_a_second: usize,
    /// Time in the rules; not the same in each run.
    pub time: Duration,
}

/// One policy's figures, for a file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    pub policy: &'static str,
    pub registry_copies: f64,
    /// The largest over racks.
    pub copies_into_rack: f64,
    pub copies_out_of_rack: f64,
    /// Seconds of one node alone over the median.
    pub p50_of_solo: f64,
    pub p99_over_p50: f64,
    pub solo_seconds: f64,
    pub p50_seconds: f64,
    pub p99_seconds: f64,
    pub max_seconds: f64,
    pub unfinished: usize,
    pub violations: u64,
    pub depth: usize,
    pub joins: u64,
    pub most_joins_a_second: usize,
    pub bytes_of_memory: usize,
}

impl Outcome {
    pub(crate) fn new(plan: &Plan, policy: Policy, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self {
            policy,
            times,
            solo: f64::NAN,
            registry_copies: 0.0,
            into_racks: vec![0.0; plan.racks],
            out_of_racks: vec![0.0; plan.racks],
            unfinished: 0,
            violations: 0,
            depth: 0,
            rules: RulesCost::default(),
            wall: Duration::ZERO,
        }
    }

    pub(crate) fn measure_against(&mut self, solo: f64) {
        self.solo = solo;
    }

    /// How many joins the rules answer in a second of their own time; not the same in each run.
    pub fn joins_by_second_of_rules(&self) -> f64 {
        float64(self.rules.totals.joins) / self.rules.time.as_secs_f64()
    }

    /// Seconds that so large a share of the nodes took at most.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.times.len().saturating_sub(1);
        let at = count(float(last) * share).min(last);
        self.times.get(at).copied().unwrap_or(f64::NAN)
    }

    /// The figures, rounded so that they are the same wherever they are printed.
    pub fn run(&self) -> Run {
        let most = |racks: &[f64]| racks.iter().copied().fold(0.0, f64::max);
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        Run {
            policy: self.policy.name(),
            registry_copies: rounded(self.registry_copies),
            copies_into_rack: rounded(most(&self.into_racks)),
            copies_out_of_rack: rounded(most(&self.out_of_racks)),
            p50_of_solo: rounded(self.solo / p50),
            p99_over_p50: rounded(p99 / p50),
            solo_seconds: rounded(self.solo),
            p50_seconds: rounded(p50),
            p99_seconds: rounded(p99),
            max_seconds: rounded(self.quantile(1.0)),
            unfinished: self.unfinished,
            violations: self.violations,
            depth: self.depth,
            joins: self.rules.totals.joins,
            most_joins_a_second: self.rules.most_joins_a_second,
            bytes_of_memory: self.rules.totals.bytes_of_memory,
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
