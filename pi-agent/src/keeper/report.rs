//! Reports whether containerd asks this agent first.

use std::{fmt::Write as _, sync::Arc};

use daemon::{metric::Metric, readiness::Readiness};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

/// What is counted here.
pub const METRICS: &[Metric] = &[MISSING, LOSSES];

const MISSING: Metric = Metric::gauge(
    "piccolo_agent_hosts_missing",
    &[],
    "Mirrored registries whose hosts.toml does not name the agent first: containerd does not ask it.",
);
const LOSSES: Metric = Metric::counter(
    "piccolo_agent_hosts_losses_total",
    &[],
    "Times that the agent's entries in hosts.toml were in force and then were not.",
);

/// The name of the condition in `/readyz`.
const CONDITION: &str = "hosts";
/// Registries that a message names; further ones are counted.
const NAMED: usize = 5;

/// Who writes the agent's entries into hosts.toml.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// No process: the entries in the files are the operator's.
    #[default]
    Off,
    /// Another process: the agent looks whether they are in force.
    Watch,
    /// This process.
    Write,
}

/// How the entries stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsStatus {
    /// Who writes them.
    pub duty: Duty,
    /// The registries that are mirrored.
    pub registries: u64,
    /// Why containerd does not ask the agent first, a sentence for each such registry, or one for
    /// all.
    pub missing: Vec<String>,
    /// Times that they were in force and then were not.
    pub losses: u64,
}

/// Tells of the entries. Clones are the same.
#[derive(Debug, Clone)]
pub struct Report(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    status: Mutex<HostsStatus>,
    readiness: Readiness,
}

impl HostsStatus {
    /// Whether containerd asks the agent first, if the agent is responsible for that.
    pub fn in_force(&self) -> bool {
        self.missing.is_empty()
    }

    /// The missing ones in a line.
    pub fn complaint(&self) -> String {
        let named = self.missing.iter().take(NAMED).cloned();
        let mut text = named.collect::<Vec<_>>().join("; ");
        if let Some(more) = self.missing.len().checked_sub(NAMED + 1) {
            // Writing to a String cannot fail.
            let _ = write!(text, "; and {} more", more + 1);
        }
        text
    }
}

impl Report {
    /// Nothing is in force before the first look; with [`Duty::Off`] nothing has to be.
    pub fn new(duty: Duty, registries: usize, readiness: Readiness) -> Self {
        let report = Self(Arc::new(Inner {
            status: Mutex::new(HostsStatus {
                duty,
                registries: u64::try_from(registries).unwrap_or(u64::MAX),
                ..HostsStatus::default()
            }),
            readiness,
        }));
        metrics::counter!(LOSSES.name).absolute(0);
        let missing = match duty {
            Duty::Off => Vec::new(),
            Duty::Watch | Duty::Write => vec!["not looked at yet".to_owned()],
        };
        report.set(missing);
        report
    }

    /// How they stand now.
    pub fn status(&self) -> HostsStatus {
        self.lock().clone()
    }

    /// What a look has found.
    pub(super) fn set(&self, missing: Vec<String>) {
        let mut status = self.lock();
        // Advice has several lines; a condition has one.
        let line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let missing: Vec<_> = missing.into_iter().map(line).collect();
        let count = u32::try_from(missing.len()).unwrap_or(u32::MAX);
        status.missing = missing;
        metrics::gauge!(MISSING.name).set(f64::from(count));
        let readiness = &self.0.readiness;
        match (status.duty, status.in_force()) {
            (Duty::Off, _) => {}
            (Duty::Watch | Duty::Write, true) => {
                readiness.good(CONDITION, "containerd asks this agent first");
            }
            (Duty::Watch | Duty::Write, false) => readiness.bad(CONDITION, status.complaint()),
        }
    }

    /// They were in force and have been lost.
    pub(super) fn lost(&self) {
        self.lock().losses += 1;
        metrics::counter!(LOSSES.name).increment(1);
    }

    fn lock(&self) -> MutexGuard<'_, HostsStatus> {
        self.0.status.lock()
    }
}
