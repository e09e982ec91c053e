//! What the program is asked to do.

use std::io::Write;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    agents::{self, AgentsPlan},
    joins::{self, JoinsPlan},
    load::{self, LoadPlan},
    ranking::{self, RankingCase},
    rows::{self, RowsPlan},
};

/// One run of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Ranks the holders of a key, again and again.
    Ranking(RankingCase),
    /// Puts a server under load.
    Load(LoadPlan),
    /// Plays the agents of a large cluster.
    Agents(AgentsPlan),
    /// Has all nodes of a large cluster join a crowd.
    Joins(JoinsPlan),
    /// Writes the data set as SQL instead of an outcome.
    Rows(RowsPlan),
}

impl Task {
    /// Does it, and writes the outcome.
    ///
    /// # Errors
    /// When it cannot be done, or the outcome cannot be written.
    pub fn run(&self, out: &mut impl Write) -> Result<()> {
        match self {
            Self::Ranking(case) => write(out, &ranking::run(*case)?),
            Self::Load(plan) => write(out, &load::run(plan)?),
            Self::Agents(plan) => write(out, &agents::run(plan)?),
            Self::Joins(plan) => write(out, &joins::run(plan)?),
            Self::Rows(plan) => rows::write(plan, out),
        }
    }
}

fn write(mut out: impl Write, outcome: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut out, outcome).context("writing the outcome")?;
    out.flush().context("writing the outcome")
}
