//! What the paths between racks carry, learned from what agents report.
//!
//! Each instance sums up the reports that it gets; through the database it knows what the others
//! have summed up, and what it had itself before it was started anew.

mod census;
mod export;
mod share;

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use daemon::{clock::Clock, metric::Metric, scope::Scope};
use metrics::counter;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use piccolo_api::Observation;
use topology::{Bound, Estimates, RackId, Sample, Verdict};

pub(crate) use self::census::{Census, addresses};
use self::share::Sharer;
use crate::{databases::Databases, store::Writer, topology_file::Current};

/// What this module and those below it count.
pub(crate) const METRICS: &[Metric] = &[
    SAMPLES,
    export::ESTIMATE,
    export::OBSERVED,
    export::PAIRS,
    export::UNKNOWN,
    share::ROUNDS,
];

const SAMPLES: Metric = Metric::counter(
    "piccolo_server_bandwidth_samples_total",
    &[(
        "verdict",
        "`counted`, or why it says nothing of a path: `tiny`, `impossible`, `full`, `stranger` (the \
         group has no such node)",
    )],
    "Observations of bytes received from a peer, by what was learned from them.",
);

/// What is known of the paths between racks.
#[derive(Debug, Default)]
pub(crate) struct Bandwidth {
    current: Arc<Current>,
    estimates: RwLock<Estimates>,
    /// Pairs of which something was learned since they were last shared.
    unshared: Mutex<HashSet<(RackId, RackId)>>,
}

/// Takes in what the database knows from before, and shares from now on what is learned.
pub(crate) async fn start(
    current: Arc<Current>,
    databases: &Arc<Databases>,
    clock: Clock,
    writer: Writer,
    scope: &Scope,
) -> Arc<Bandwidth> {
    let bandwidth = Arc::new(Bandwidth::new(Arc::clone(&current)));
    if let Some(database) = databases.first() {
        let sharer = Sharer {
            bandwidth: Arc::clone(&bandwidth),
            current,
            databases: Arc::clone(databases),
            store: Arc::clone(database.store()),
            clock,
            writer,
        };
        sharer.restore().await;
        scope.service("bandwidth", sharer.run(scope.clone()));
    }
    bandwidth
}

impl Bandwidth {
    fn new(current: Arc<Current>) -> Self {
        Self {
            current,
            ..Self::default()
        }
    }

    /// The estimates. Holding the guard blocks reports.
    pub(crate) fn estimates(&self) -> RwLockReadGuard<'_, Estimates> {
        self.estimates.read()
    }

    /// Learns from what the agent at `reporter` received since its last report. What it sent is
    /// left to its peers, who report the same bytes. Peers that are not nodes are ignored: a
    /// reporter could invent them to fill the table of pairs.
    pub(crate) fn learn(
        &self,
        now: Duration,
        reporter: IpAddr,
        observations: &[Observation],
        is_node: impl Fn(IpAddr) -> bool,
    ) {
        let received = observations.iter().filter(|o| o.received.rated_bytes > 0);
        let mut received = received.peekable();
        if received.peek().is_none() {
            return;
        }
        let topology = self.current.get();
        let to = topology.locate(reporter);
        let mut estimates = self.estimates.write();
        for observation in received {
            if !is_node(observation.peer) {
                counter!(SAMPLES.name, "verdict" => "stranger").increment(1);
                continue;
            }
            let from = topology.locate(observation.peer);
            let flow = observation.received;
            let busy = Duration::from_micros(flow.busy_us);
            let sample = Sample {
                rated_bytes: flow.rated_bytes,
                busy,
                span: busy.max(Duration::from_millis(observation.interval_ms)),
                bound: Bound::Network,
            };
            let verdict = estimates.observe(now, &topology, from, to, &sample);
            counter!(SAMPLES.name, "verdict" => name(verdict)).increment(1);
            if verdict == Verdict::Counted {
                let mut unshared = self.unshared.lock();
                unshared.insert((from, to));
            }
        }
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Counted => "counted",
        Verdict::Tiny => "tiny",
        Verdict::ApplicationLimited => "application_limited",
        Verdict::Failed => "failed",
        Verdict::Impossible => "impossible",
        Verdict::Full => "full",
    }
}
