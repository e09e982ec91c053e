//! The topology in force: the last valid content of the operators' file.
//!
//! The file may change at any time. A bad edit never replaces a good file: the last good one stays
//! in force, and the metric, the log and `/readyz?verbose` say so. Without a file, and with one
//! that was bad from the start, racks are guessed from the addresses' prefixes.

mod load;
mod reload;
mod watch;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use daemon::{metric::Metric, readiness::Readiness, scope::Scope};
use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};
use topology::Topology;

pub(crate) use self::load::load;
use self::reload::Reloader;

/// What this module counts.
pub(crate) const METRICS: &[Metric] = &[RELOADS, REFUSED];

const RELOADS: Metric = Metric::counter(
    "piccolo_server_topology_reloads_total",
    &[("outcome", "`good` or `bad`")],
    "Times that the topology file was read and had changed, or SIGHUP asked for it.",
);

const REFUSED: Metric = Metric::gauge(
    "piccolo_server_topology_file_refused",
    &[],
    "1 while the topology file on disk is bad and an earlier one, or none, is in force.",
);

/// The topology in force; a find uses the one at its start.
#[derive(Debug, Default)]
pub(crate) struct Current {
    topology: RwLock<Arc<Topology>>,
    /// Version, so that values derived from one topology are not used with another.
    generation: AtomicU64,
    file: Option<PathBuf>,
}

/// Reads the file, if there is one, and follows it.
///
/// # Errors
/// When SIGHUP cannot be caught.
pub(crate) async fn follow(
    file: Option<PathBuf>,
    readiness: &Readiness,
    scope: &Scope,
) -> std::io::Result<Arc<Current>> {
    // Once it is caught, it does not end the process any more, with a file or without.
    let hangup = signal(SignalKind::hangup())?;
    let current = Arc::new(Current::of_file(file.clone()));
    if let Some(path) = file {
        let reloader = Reloader::start(path, Arc::clone(&current), readiness.clone(), hangup).await;
        scope.service("topology", reloader.run(scope.clone()));
    }
    Ok(current)
}

impl Current {
    /// Before the file was read.
    pub(crate) fn of_file(file: Option<PathBuf>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// The topology in force.
    pub(crate) fn get(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read())
    }

    /// Another number after each change of the topology.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The file that the operators named.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    fn put(&self, topology: Topology) {
        *self.topology.write() = Arc::new(topology);
        self.generation.fetch_add(1, Relaxed);
    }
}
