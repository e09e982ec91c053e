//! `cargo xtask simulate`: many nodes that pull one image at once, in a model of flows that runs the
//! product's own rules.
//!
//! The model is compiled optimised in every profile, so nothing has to be built beside this program.

mod table;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use simulate::{Cut, Faults, Plan, Policy, Rate, Restart, Run, Size, Slow, Span, simulate};
use swarm::Rules;

use crate::shell::say;

/// The cluster, the image, what goes wrong, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// Nodes that pull.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Racks that they are in, evenly; as many as racks of 40 come to where it is not said.
    #[arg(long)]
    racks: Option<usize>,
    /// Zones that the racks are in, evenly.
    #[arg(long, default_value_t = 1)]
    zones: usize,
    /// Size of the image.
    #[arg(long, default_value = "1GiB")]
    size: Size,
    /// Layers of the same size that it is made of.
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Layers that a node pulls at once.
    #[arg(long, default_value_t = 3)]
    at_once: usize,
    /// What a node's NIC carries, each way.
    #[arg(long, default_value = "10Gbit")]
    nic: Rate,
    /// What a rack's uplink carries, each way.
    #[arg(long, default_value = "80Gbit")]
    uplink: Rate,
    /// What the registry gives.
    #[arg(long, default_value = "40Gbit")]
    registry: Rate,
    /// What a containerd takes of one layer.
    #[arg(long, default_value = "5Gbit")]
    containerd: Rate,
    /// How long a byte takes from node to node; also the length of the model's steps.
    #[arg(long, default_value = "1ms")]
    hop: Span,
    /// How long the server takes to answer.
    #[arg(long, default_value = "3ms")]
    answer: Span,
    /// Over what time the nodes begin.
    #[arg(long, default_value = "500ms")]
    arrivals: Span,
    /// Nodes that have the image before.
    #[arg(long, default_value_t = 0)]
    holders: usize,
    /// Share of the nodes that die without a word while they pull.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    die: f64,
    /// After how long a dead source is given up.
    #[arg(long, default_value = "250ms")]
    noticed: Span,
    /// The first node to ask dies when it has two fifths.
    #[arg(long)]
    first_dies: bool,
    /// Share of the nodes whose containerd is slow.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    slow: f64,
    /// What a slow containerd takes.
    #[arg(long, default_value = "2Gbit")]
    slow_rate: Rate,
    /// The slow do not say that they are.
    #[arg(long)]
    slow_silent: bool,
    /// The server is started again then, and remembers nothing.
    #[arg(long, value_name = "AT")]
    restart: Option<Span>,
    /// How long it is away then.
    #[arg(long, default_value = "1s")]
    restart_lasts: Span,
    /// There is no server: each rack coordinates itself.
    #[arg(long)]
    server_away: bool,
    /// A rack, counted from 0, whose uplink is cut.
    #[arg(long, value_name = "RACK")]
    cut: Option<usize>,
    /// When it is cut.
    #[arg(long, default_value = "500ms")]
    cut_at: Span,
    /// For how long.
    #[arg(long, default_value = "5s")]
    cut_lasts: Span,
    /// From how many a gateway takes at most, where the NIC binds.
    #[arg(long, default_value_t = Rules::default().stripes)]
    stripes: usize,
    /// How many gateways take from one rack at most.
    #[arg(long, default_value_t = Rules::default().fan)]
    fan: usize,
    /// Nodes that may ask the registry at once.
    #[arg(long, default_value_t = Rules::default().permits)]
    permits: usize,
    /// Policies to simulate.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["registry", "binary-tree", "sample-15", "swarm"])]
    policy: Vec<Named>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also writes the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// [`Policy`] as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Named {
    /// Everybody takes from the registry.
    Registry,
    /// A binary tree in the order of arrival, blind to racks.
    BinaryTree,
    /// Each takes from the least busy of 15 that it is shown of all, blind to racks.
    #[value(name = "sample-15")]
    Sample,
    /// The product's own rules.
    Swarm,
}

#[derive(Debug, Serialize)]
struct Report {
    nodes: usize,
    racks: usize,
    size: Size,
    layers: usize,
    seed: u64,
    runs: Vec<Run>,
}

/// Simulates, prints a table, and writes the figures where a file is named.
pub(crate) fn run(options: &SimulateOptions) -> Result<()> {
    let plan = options.plan();
    let mut runs = Vec::new();
    for policy in &options.policy {
        let outcome = simulate(&plan, policy.policy()).context("the plan")?;
        let rules = outcome.rules;
        if policy.policy() == Policy::Swarm {
            say(&format!(
                "swarm: {:.1} s for the model, of which {:.2} s in the rules: {:.0} joins a second",
                outcome.wall.as_secs_f64(),
                rules.time.as_secs_f64(),
                outcome.joins_by_second_of_rules(),
            ));
        }
        runs.push(outcome.run());
    }
    let report = Report {
        nodes: plan.nodes,
        racks: plan.racks,
        size: plan.size,
        layers: plan.layers,
        seed: plan.seed,
        runs,
    };
    table::print(&plan, &report.runs);
    let Some(file) = &options.json else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(&report).context("encoding the figures")?;
    fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}

impl SimulateOptions {
    fn plan(&self) -> Plan {
        Plan {
            nodes: self.nodes,
            racks: self.racks.unwrap_or_else(|| self.nodes.div_ceil(40)),
            zones: self.zones,
            size: self.size,
            layers: self.layers,
            at_once: self.at_once,
            nic: self.nic,
            uplink: self.uplink,
            registry: self.registry,
            containerd: self.containerd,
            hop: self.hop.0,
            answer: self.answer.0,
            arrivals: self.arrivals.0,
            holders: self.holders,
            faults: self.faults(),
            rules: Rules {
                stripes: self.stripes,
                fan: self.fan,
                permits: self.permits,
                ..Rules::default()
            },
            seed: self.seed,
        }
    }

    fn faults(&self) -> Faults {
        let time = |span: Span| -> Duration { span.0 };
        Faults {
            silent: self.die,
            noticed: time(self.noticed),
            slow: Some(Slow {
                share: self.slow,
                rate: self.slow_rate,
                says_so: !self.slow_silent,
            }),
            restart: self.restart.map(|at| Restart {
                at: time(at),
                away: time(self.restart_lasts),
            }),
            server_away: self.server_away,
            cut: self.cut.map(|rack| Cut {
                rack,
                at: time(self.cut_at),
                lasts: time(self.cut_lasts),
            }),
            first_dies: self.first_dies,
        }
    }
}

impl Named {
    fn policy(self) -> Policy {
        match self {
            Self::Registry => Policy::Registry,
            Self::BinaryTree => Policy::BinaryTree,
            Self::Sample => Policy::Sample,
            Self::Swarm => Policy::Swarm,
        }
    }
}
