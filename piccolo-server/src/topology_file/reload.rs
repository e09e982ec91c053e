//! Reads the topology file anew when it changes, or SIGHUP says so.

use std::{path::PathBuf, sync::Arc, time::Duration};

use daemon::{readiness::Readiness, scope::Scope, telemetry::chain};
use metrics::{counter, gauge};
use tokio::signal::unix::Signal;
use topology::Topology;
use tracing::{debug, error, info, warn};

use super::{
    Current, REFUSED, RELOADS,
    load::{self, LoadError},
    watch::FileWatch,
};

/// How long a change is left to settle: an editor may write a file in several steps.
const SETTLE: Duration = Duration::from_millis(150);
/// Polling interval beside events: network file systems report no remote change.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Polling interval without events.
const POLL: Duration = Duration::from_secs(1);

/// Keeps [`Current`] as the file says.
#[derive(Debug)]
pub(super) struct Reloader {
    path: PathBuf,
    current: Arc<Current>,
    readiness: Readiness,
    /// The result of the last read, so that the same file is not logged twice.
    seen: Option<Result<String, String>>,
    hangup: Signal,
}

/// Why the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It may have changed.
    Look,
    /// SIGHUP: the result is logged even if the file did not change.
    Asked,
}

const CONDITION: &str = "topology";

impl Reloader {
    /// Reads the file for the first time. A bad one is logged; the server then serves with guessed
    /// racks.
    pub(super) async fn start(
        path: PathBuf,
        current: Arc<Current>,
        readiness: Readiness,
        hangup: Signal,
    ) -> Self {
        let mut reloader = Self {
            path,
            current,
            readiness,
            seen: None,
            hangup,
        };
        reloader.read(Cause::Look).await;
        reloader
    }

    /// Follows the file until the scope drains.
    pub(super) async fn run(mut self, scope: Scope) {
        tokio::select! {
            () = scope.draining() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            // Watch before reading, so that no change is missed in between.
            let watch = FileWatch::new(&self.path);
            self.read(Cause::Look).await;
            match watch {
                Ok(watch) => self.wait(watch).await,
                Err(error) => {
                    debug!(error = %chain(&error), "the topology file is polled");
                    tokio::select! {
                        () = tokio::time::sleep(POLL) => {}
                        _ = self.hangup.recv() => self.read(Cause::Asked).await,
                    }
                }
            }
        }
    }

    /// Ends when the file may have changed.
    async fn wait(&mut self, mut watch: FileWatch) {
        tokio::select! {
            changed = watch.changed() => {
                if let Err(error) = changed {
                    warn!(error = %chain(&error), "the topology file's watch broke off");
                }
                tokio::time::sleep(SETTLE).await;
            }
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            _ = self.hangup.recv() => self.read(Cause::Asked).await,
        }
    }

    async fn read(&mut self, cause: Cause) {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || load::read(&path)).await;
        // A panic ends the process, so there is no result only when the runtime shuts down.
        let Ok(read) = reading else { return };
        let seen = read.as_ref().map_err(|error| chain(error).to_string());
        let seen = Some(seen.cloned());
        if seen == self.seen && cause == Cause::Look {
            return;
        }
        let first = self.seen.is_none();
        self.seen = seen;
        let path = self.path.clone();
        let parsing =
            tokio::task::spawn_blocking(move || read.and_then(|text| load::parse(&path, &text)));
        match parsing.await {
            Ok(Ok(topology)) => self.good(topology),
            Ok(Err(error)) => self.bad(&error, first),
            Err(_shutdown) => {}
        }
    }

    fn good(&self, topology: Topology) {
        let places = topology.places().len();
        let path = self.path.display();
        info!(%path, places, "the topology file is in force");
        counter!(RELOADS.name, "outcome" => "good").increment(1);
        gauge!(REFUSED.name).set(0.0);
        self.readiness
            .good(CONDITION, format!("{places} places from {path}"));
        self.current.put(topology);
    }

    fn bad(&self, error: &LoadError, first: bool) {
        let stays = if first {
            "racks are guessed from address prefixes"
        } else {
            "what was in force stays in force"
        };
        error!(error = %chain(error), stays, "the topology file is not used");
        counter!(RELOADS.name, "outcome" => "bad").increment(1);
        gauge!(REFUSED.name).set(1.0);
        self.readiness
            .degraded(CONDITION, format!("{stays}; {}", chain(error)));
    }
}
