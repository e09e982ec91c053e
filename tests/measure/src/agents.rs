//! The agents of a large cluster, as a server sees them.
//!
//! First every agent tells its whole set, as after the server's first start. Then each sends
//! keepalives and now and then pulls an image: it finds the layers, and advertises them. Calls are
//! sent on schedule whether or not earlier ones were answered; latency counts from the scheduled
//! time.

mod crew;
mod line;
mod phase;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use self::phase::Phase;
use self::{
    crew::Crew,
    line::{Call, Kind},
    phase::Watch,
};
use crate::{
    Dataset,
    numbers::{float, index},
    random::Random,
};

/// Which agents are played, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentsPlan {
    /// Where the server's API is.
    pub server: SocketAddr,
    /// The server's process, to see what it uses.
    pub server_pid: u32,
    /// The database's, where it has one.
    pub database_pid: Option<u32>,
    /// The agents, with the sets that the server knows them to have.
    pub dataset: Dataset,
    /// Connections that are kept open; agents share them where they are more.
    pub connections: u32,
    /// How long keepalives and pulls go on, in seconds.
    pub seconds: f64,
    /// Seconds between two keepalives of an agent.
    pub keepalive: f64,
    /// Pulls of an agent in an hour.
    pub pulls: f64,
    /// Number of the agents' lives; larger than in any earlier run.
    pub epoch: u64,
}

/// What the server made of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentsOutcome {
    /// Every agent telling its set.
    pub start: Phase,
    /// Keepalives and pulls, minute by minute.
    pub minutes: Vec<Phase>,
    /// Connections that were opened again: the server closes those on which nothing is asked.
    pub reopened: u64,
    /// Calls that the server left without a reply.
    pub broken: u64,
}

/// Sets that are told at once at the start: agents spread them, and this is as fast as it goes.
const AT_ONCE: usize = 256;
/// What one line of the outcome is about.
const MINUTE: Duration = Duration::from_mins(1);
/// Single finds of a pull, beside one of all layers.
const FINDS: usize = 2;

pub(crate) fn run(plan: &AgentsPlan) -> Result<AgentsOutcome> {
    let mut crew = Crew::new(plan)?;
    let watch = Watch::begin(plan)?;
    start(plan, &mut crew)?;
    let start = watch.end(crew.take_tally())?;
    let minutes = steady(plan, &mut crew)?;
    let (reopened, broken) = crew.reopened();
    Ok(AgentsOutcome {
        start,
        minutes,
        reopened,
        broken,
    })
}

fn start(plan: &AgentsPlan, crew: &mut Crew<'_>) -> Result<()> {
    let mut agents = 0..plan.dataset.nodes;
    while crew.pending() > 0 || !agents.is_empty() {
        while crew.pending() < AT_ONCE
            && let Some(agent) = agents.next()
        {
            crew.call(Call::now(agent, Kind::Sync))?;
        }
        crew.serve(Duration::from_secs(1))?;
    }
    Ok(())
}

fn steady(plan: &AgentsPlan, crew: &mut Crew<'_>) -> Result<Vec<Phase>> {
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(plan.seconds);
    let mut random = Random::new(plan.epoch);
    let mut keepalives = Keepalives::new(plan, begin);
    let pulls_per_second = f64::from(plan.dataset.nodes) * plan.pulls / 3600.0;
    let mut pull = begin;
    let mut minutes = Vec::new();
    let mut watch = Watch::begin(plan)?;
    let mut minute = end.min(begin + MINUTE);
    loop {
        let now = Instant::now();
        if now >= minute {
            minutes.push(watch.end(crew.take_tally())?);
            if now >= end {
                return Ok(minutes);
            }
            watch = Watch::begin(plan)?;
            minute = end.min(minute + MINUTE);
        }
        while let Some(agent) = keepalives.due(now) {
            crew.call(agent)?;
        }
        while pull <= now {
            let agent = random.below(plan.dataset.nodes);
            let due = |kind| Call {
                agent,
                kind,
                due: pull,
            };
            crew.call(due(Kind::FindMany))?;
            for _ in 0..FINDS {
                crew.call(due(Kind::Find))?;
            }
            crew.call(due(Kind::Advertise))?;
            // The time between two events that know nothing of each other.
            let wait = -(1.0 - random.unit()).ln() / pulls_per_second;
            pull += Duration::from_secs_f64(wait.clamp(1e-6, 3600.0));
        }
        let next = pull.min(keepalives.next).min(minute);
        crew.serve(next.saturating_duration_since(now))?;
    }
}

/// Keepalives: each agent sends its own at the same point of every period.
struct Keepalives {
    agents: u32,
    period: f64,
    begin: Instant,
    /// How many were given.
    given: u64,
    next: Instant,
}

impl Keepalives {
    fn new(plan: &AgentsPlan, begin: Instant) -> Self {
        Self {
            agents: plan.dataset.nodes,
            period: plan.keepalive,
            begin,
            given: 0,
            next: begin,
        }
    }

    fn due(&mut self, now: Instant) -> Option<Call> {
        if self.next > now {
            return None;
        }
        let agent = u32::try_from(self.given % u64::from(self.agents.max(1))).unwrap_or_default();
        // Neighbours in the numbering are not neighbours in time.
        let agent = Random::shuffled(agent, self.agents);
        let call = Call {
            agent,
            kind: Kind::Keepalive,
            due: self.next,
        };
        self.given += 1;
        let periods = float(self.given) / f64::from(self.agents.max(1));
        self.next = self.begin + Duration::from_secs_f64(periods * self.period);
        Some(call)
    }
}

/// Which connection an agent uses.
fn line_of(agent: u32, lines: usize) -> usize {
    index(agent) % lines.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_agent_gives_one_sign_of_life_in_a_period() {
        let plan = AgentsPlan {
            server: ([127, 0, 0, 1], 1).into(),
            server_pid: 1,
            database_pid: None,
            dataset: Dataset {
                nodes: 500,
                keys: 4,
            },
            connections: 1,
            seconds: 1.0,
            keepalive: 20.0,
            pulls: 1.0,
            epoch: 1,
        };
        let begin = Instant::now();
        let mut keepalives = Keepalives::new(&plan, begin);
        let end = begin + Duration::from_secs_f64(19.99);
        let calls: Vec<_> = std::iter::from_fn(|| keepalives.due(end)).collect();
        let agents: HashSet<_> = calls.iter().map(|call| call.agent).collect();
        assert_eq!((calls.len(), agents.len()), (500, 500));
        assert!(calls.is_sorted_by_key(|call| call.due));
    }
}
