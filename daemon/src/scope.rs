//! The scope that every task belongs to: draining, killing, and noticing a task that dies.

use std::future::Future;

use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture},
    task::TaskTracker,
};
use tracing::{Instrument, Span, error_span};

/// A handle to the process's tasks. Clones are the same scope.
///
/// Draining comes first: tasks stop taking work and finish what they have. Killing comes at the
/// deadline: whatever still runs is dropped where it waits.
#[derive(Debug, Clone)]
pub struct Scope {
    drain: CancellationToken,
    kill: CancellationToken,
    tracker: TaskTracker,
    deaths: mpsc::Sender<&'static str>,
}

/// Receives the names of service tasks that ended before the scope drained.
#[derive(Debug)]
pub struct Deaths(mpsc::Receiver<&'static str>);

impl Scope {
    /// A scope without tasks, and the receiver of its services' deaths.
    pub fn new() -> (Self, Deaths) {
        let (deaths, receiver) = mpsc::channel(1);
        let scope = Self {
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
            tracker: TaskTracker::new(),
            deaths,
        };
        (scope, Deaths(receiver))
    }

    /// Runs a service: a task that is to last as long as the process. If it ends before the scope
    /// drains, the process ends too; a panic ends it at once ([`abort`](crate::abort)).
    pub fn service<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let scope = self.clone();
        self.task(error_span!("service", name), async move {
            let guard = DeathGuard { name, scope };
            future.await;
            drop(guard);
        });
    }

    /// Runs a task that ends when its work is done, a connection for instance.
    pub fn task<F>(&self, span: Span, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let kill = self.kill.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the scope that tasks belong to"
        )]
        tokio::spawn(
            self.tracker.track_future(
                async move {
                    tokio::select! {
                        () = kill.cancelled() => {}
                        () = future => {}
                    }
                }
                .instrument(span),
            ),
        );
    }

    /// Ends when the scope begins to drain.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.drain.cancelled()
    }

    /// Whether the scope drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Begins to drain: tasks stop taking work.
    pub fn drain(&self) {
        self.drain.cancel();
        self.tracker.close();
    }

    /// Drops every task where it waits.
    pub fn kill(&self) {
        self.drain();
        self.kill.cancel();
    }

    /// Ends when the scope drains and its last task is gone.
    pub async fn finished(&self) {
        self.tracker.wait().await;
    }

    /// How many tasks run.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}

impl Deaths {
    /// The name of the next service that died.
    pub async fn next(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(name) => name,
            // Every scope was dropped, so no service is left that could die.
            None => std::future::pending().await,
        }
    }
}

/// Reports the death, also in tests, where a panic does not abort the process.
struct DeathGuard {
    name: &'static str,
    scope: Scope,
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        if !self.scope.is_draining() {
            // A full queue means that another death has ended the process already.
            let _ = self.scope.deaths.try_send(self.name);
        }
    }
}
