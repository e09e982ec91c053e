//! What a part of the play cost.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::AgentsPlan;
use crate::{
    load::{LoadOutcome, Tally, cpu},
    process::{self, Resident},
};

/// A part of the play.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    /// How long it took.
    pub seconds: f64,
    /// The calls.
    pub calls: LoadOutcome,
    /// Of all replies those that asked for the whole set.
    pub resyncs: u64,
    /// Processor seconds of the server.
    pub server_cpu: f64,
    /// Processor seconds of the database's own process.
    pub database_cpu: f64,
    /// Memory of the server at the end.
    pub resident: Resident,
}

/// Counts from its beginning on.
pub(super) struct Watch<'a> {
    plan: &'a AgentsPlan,
    begin: Instant,
    own: Duration,
    server: Duration,
    database: Duration,
}

impl<'a> Watch<'a> {
    pub(super) fn begin(plan: &'a AgentsPlan) -> Result<Self> {
        Ok(Self {
            plan,
            begin: Instant::now(),
            own: cpu(),
            server: process::cpu(plan.server_pid)?,
            database: database(plan)?,
        })
    }

    pub(super) fn end(self, (tally, resyncs): (Tally, u64)) -> Result<Phase> {
        let took = self.begin.elapsed();
        let since = |now: Duration, then| now.saturating_sub(then).as_secs_f64();
        Ok(Phase {
            seconds: took.as_secs_f64(),
            calls: tally.outcome(took, cpu().saturating_sub(self.own)),
            resyncs,
            server_cpu: since(process::cpu(self.plan.server_pid)?, self.server),
            database_cpu: since(database(self.plan)?, self.database),
            resident: process::resident(self.plan.server_pid),
        })
    }
}

fn database(plan: &AgentsPlan) -> Result<Duration> {
    plan.database_pid.map_or(Ok(Duration::ZERO), process::cpu)
}
