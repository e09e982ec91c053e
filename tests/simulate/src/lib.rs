//! A flow model of many nodes that pull one image at about the same moment.
//!
//! Bytes flow like water: in each step of a millisecond every transfer gets its share of the NICs,
//! of the racks' uplinks and of the registry, and a node passes on what it has a chunk later. Who
//! takes from whom is decided by a policy; that of the product are its own rules, the crate `swarm`,
//! unchanged. One thread, seeded: the same plan gives the same outcome to the last bit.

mod alone;
mod crowd;
mod fault;
mod guide;
mod network;
mod numbers;
mod outcome;
mod plan;
mod random;
mod ranked;
mod sample;
mod tree;
mod units;

use std::time::Instant;

pub use fault::{Cut, Faults, Restart, Slow};
pub use outcome::{Outcome, RulesCost, Run};
pub use plan::{Plan, PlanError, Policy};
pub use units::{Rate, Size, Span, UnitError};

/// Simulates the pull under one policy.
///
/// # Errors
/// When the plan makes no sense; says why.
pub fn simulate(plan: &Plan, policy: Policy) -> Result<Outcome, PlanError> {
    plan.check()?;
    if policy == Policy::Registry {
        return Ok(alone::run(plan));
    }
    let solo = crowd::Crowd::new(&plan.solo(), Policy::Swarm).run();
    let start = Instant::now();
    let mut outcome = crowd::Crowd::new(plan, policy).run();
    outcome.wall = start.elapsed();
    outcome.measure_against(solo.times.first().copied().unwrap_or(f64::NAN));
    Ok(outcome)
}
