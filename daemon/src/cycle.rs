//! From the first signal to the end of the process.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::scope::{Deaths, Scope};

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to by a signal.
    Asked,
    /// A service died.
    Died(&'static str),
}

/// The signals that end a process, caught from the moment this is made.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    interrupt: Signal,
}

/// The signals, and the deadline of the drain.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Time from the signal until remaining tasks are killed.
    pub drain: Duration,
}

impl Signals {
    /// Catches SIGTERM and SIGINT from here on.
    ///
    /// # Errors
    /// When the process may not install the handlers.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for a signal or the death of a service, drains, and at the deadline or a second signal
/// kills. `farewell` runs while the scope drains: it is where an agent says that it leaves.
pub async fn run<F>(
    scope: &Scope,
    mut deaths: Deaths,
    mut signals: Signals,
    deadlines: Deadlines,
    farewell: F,
) -> End
where
    F: Future<Output = ()>,
{
    let end = tokio::select! {
        name = signals.next() => {
            info!(signal = name, running = scope.running(), "draining");
            End::Asked
        }
        name = deaths.next() => {
            error!(service = name, "a service died; the process ends");
            End::Died(name)
        }
    };
    scope.drain();
    let drained = async {
        farewell.await;
        scope.finished().await;
    };
    tokio::select! {
        () = drained => info!("drained"),
        () = tokio::time::sleep(deadlines.drain) => {
            warn!(running = scope.running(), "the drain's deadline passed; tasks are dropped");
            scope.kill();
        }
        name = signals.next() => {
            warn!(signal = name, running = scope.running(), "second signal; tasks are dropped");
            scope.kill();
        }
    }
    end
}
