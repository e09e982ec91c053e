//! The counters per peer, for Prometheus.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ::metrics::{counter, gauge};
use daemon::metric::Metric;
use pi_ebpf::names::Failure;

use super::{
    ledger::Moved,
    mode::Mode,
    named::{Named, Naming},
    page::Page,
    sums::{FlowSums, Sums},
};

const PEERS: &str = "piccolo_agent_peers";
const INFO: &str = "piccolo_agent_accounting_info";
const FAILURES: &str = "piccolo_agent_accounting_failures_total";
const PASS_SECONDS: &str = "piccolo_agent_accounting_pass_seconds";

const PEER: (&str, &str) = (
    "peer",
    "address of one of the peers with the most bytes, or `other`",
);
const DIRECTION: (&str, &str) = ("direction", "`received`, `sent`");

const BYTES: Metric = Metric::counter(
    "piccolo_agent_peer_bytes_total",
    &[PEER, DIRECTION],
    "TCP payload exchanged with a peer, each byte once.",
);
const RATED_BYTES: Metric = Metric::counter(
    "piccolo_agent_peer_rated_bytes_total",
    &[PEER, DIRECTION],
    "TCP payload exchanged with a peer in transfers long enough to tell a rate.",
);
const BUSY_SECONDS: Metric = Metric::counter(
    "piccolo_agent_peer_busy_seconds_total",
    &[PEER, DIRECTION],
    "Time that transfers long enough to tell a rate took, over all connections with a peer. \
     Throughput is the rate of rated bytes over the rate of this.",
);
const BURSTS: Metric = Metric::counter(
    "piccolo_agent_peer_bursts_total",
    &[PEER, DIRECTION],
    "Transfers with a peer that were long enough to tell a rate.",
);
const RETRANSMITS: Metric = Metric::counter(
    "piccolo_agent_peer_retransmits_total",
    &[PEER],
    "Segments sent to a peer again.",
);
const OPENED: Metric = Metric::counter(
    "piccolo_agent_peer_connections_opened_total",
    &[PEER],
    "Connections with a peer that were established.",
);
const CLOSED: Metric = Metric::counter(
    "piccolo_agent_peer_connections_closed_total",
    &[PEER],
    "Connections with a peer that ended.",
);
const RTT_SECONDS: Metric = Metric::gauge(
    "piccolo_agent_peer_rtt_seconds",
    &[PEER],
    "Smoothed round-trip time to a peer.",
);
const RACK: Metric = Metric::gauge(
    "piccolo_agent_peer_rack_info",
    &[PEER, ("rack", "as the server names it")],
    "1 for the rack that a peer with a name of its own is in, once a find has told it.",
);

/// What this module counts.
pub const METRICS: &[Metric] = &[
    BYTES,
    RATED_BYTES,
    BUSY_SECONDS,
    BURSTS,
    RETRANSMITS,
    OPENED,
    CLOSED,
    RTT_SECONDS,
    RACK,
    Metric::gauge(PEERS, &[], "Peers that are counted."),
    Metric::gauge(
        INFO,
        &[
            ("mode", "`ebpf`, `tcp-info`, `off`"),
            (
                "reason",
                "`asked`, `best`, `cgroup`, `rights`, `kernel`, `self-test`",
            ),
        ],
        "1 for how peers are counted and why, 0 for what was in force before.",
    ),
    Metric::counter(
        FAILURES,
        &[(
            "kind",
            "`peers_full`, `no_storage`, `no_callbacks`, `no_header`, `read`",
        )],
        "What could not be counted.",
    ),
    Metric::gauge(
        PASS_SECONDS,
        &[],
        "How long the last pass over all peers took.",
    ),
];

/// The name for all peers that have none of their own.
const OTHER: &str = "other";

/// The metrics of all peers.
#[derive(Debug)]
pub(crate) struct PeerMetrics {
    named: Named,
    /// Those that are named, and those that have lost their names not long ago.
    peers: BTreeMap<IpAddr, Shown>,
    other: Sums,
}

/// What is shown of one peer.
#[derive(Debug, Default)]
struct Shown {
    sums: Sums,
    /// No value for a peer without a name either: it is not measured.
    rtt_us: Option<u64>,
    rack: Option<String>,
}

/// A number of one direction.
type OfFlow = fn(&FlowSums) -> u64;
/// A number of a peer.
type OfPeer = fn(&Sums) -> u64;

const BY_DIRECTION: [(Metric, OfFlow); 3] = [
    (BYTES, |flow| flow.bytes),
    (RATED_BYTES, |flow| flow.rated_bytes),
    (BURSTS, |flow| flow.bursts),
];
const BY_PEER: [(Metric, OfPeer); 3] = [
    (RETRANSMITS, |sums| sums.retransmits),
    (OPENED, |sums| sums.opened + sums.adopted),
    (CLOSED, |sums| sums.closed),
];

impl PeerMetrics {
    /// Metrics that name no more than `limit` peers at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            named: Named::new(limit),
            peers: BTreeMap::new(),
            other: Sums::default(),
        }
    }

    /// Adds what passed with one peer.
    pub(crate) fn record(&mut self, moved: &Moved) {
        match self.named.place(moved.peer, moved.total_bytes) {
            Naming::Own => {}
            Naming::Instead(before) => self.withdraw(before),
            Naming::Other => return self.other.add(&moved.growth),
        }
        let shown = self.peers.entry(moved.peer).or_default();
        shown.sums.add(&moved.growth);
        shown.rtt_us = moved.rtt_us.or(shown.rtt_us);
        while let Some(gone) = self.named.retire() {
            self.peers.remove(&gone);
        }
    }

    /// A peer was forgotten.
    pub(crate) fn forget(&mut self, peer: IpAddr) {
        self.named.forget(peer);
        self.withdraw(peer);
    }

    /// Shows the racks of the peers that have a name of their own.
    pub(crate) fn show_racks(&mut self, rack: impl Fn(IpAddr) -> Option<String>) {
        for (&peer, shown) in &mut self.peers {
            if self.named.has(peer) {
                shown.rack = rack(peer).or(shown.rack.take());
            }
        }
    }

    /// All series, for Prometheus.
    pub(crate) fn page(&self) -> String {
        let mut page = Page::default();
        let named = self.peers.iter();
        let named: Vec<_> = named
            .map(|(peer, shown)| (peer.to_string(), shown))
            .collect();
        let sums = named
            .iter()
            .map(|(name, shown)| (name.as_str(), &shown.sums));
        let sums: Vec<_> = sums.chain([(OTHER, &self.other)]).collect();
        for (metric, of) in &BY_DIRECTION {
            flows(&mut page, metric, &sums, |flow| of(flow).to_string());
        }
        flows(&mut page, &BUSY_SECONDS, &sums, |flow| {
            Duration::from_nanos(flow.busy_ns).as_secs_f64().to_string()
        });
        for (metric, of) in &BY_PEER {
            page.family(metric);
            for &(peer, sums) in &sums {
                page.series(metric, &[("peer", peer)], of(sums));
            }
        }
        page.family(&RTT_SECONDS);
        for (peer, shown) in &named {
            if let Some(rtt_us) = shown.rtt_us {
                let seconds = Duration::from_micros(rtt_us).as_secs_f64();
                page.series(&RTT_SECONDS, &[("peer", peer)], seconds);
            }
        }
        page.family(&RACK);
        for (peer, shown) in &named {
            if let Some(rack) = &shown.rack {
                page.series(&RACK, &[("peer", peer), ("rack", rack)], 1);
            }
        }
        page.into_text()
    }

    fn withdraw(&mut self, peer: IpAddr) {
        if let Some(shown) = self.peers.get_mut(&peer) {
            shown.rtt_us = None;
            shown.rack = None;
        }
    }
}

/// A metric of both directions of all peers.
fn flows(
    page: &mut Page,
    metric: &Metric,
    peers: &[(&str, &Sums)],
    of: impl Fn(&FlowSums) -> String,
) {
    page.family(metric);
    for (peer, sums) in peers {
        for (direction, flow) in [("received", &sums.received), ("sent", &sums.sent)] {
            let labels = [("peer", *peer), ("direction", direction)];
            page.series(metric, &labels, of(flow));
        }
    }
}

/// Shows what is in force now, and no longer what was before.
pub(crate) fn show_mode(before: Option<&Mode>, now: &Mode) {
    let info =
        |mode: &Mode| gauge!(INFO, "mode" => mode.in_force.name(), "reason" => mode.reason.name());
    if let Some(before) = before {
        info(before).set(0.0);
    }
    info(now).set(1.0);
}

/// Shows how often the kernel's program could not do something.
pub(crate) fn show_failures(failures: [(Failure, u64); 4]) {
    for (kind, count) in failures {
        counter!(FAILURES, "kind" => kind.name()).absolute(count);
    }
}

/// Counts a pass that failed.
pub(crate) fn count_unread() {
    counter!(FAILURES, "kind" => "read").increment(1);
}

/// Shows the size and the time of a pass that began at `start`.
pub(crate) fn show_pass(peers: usize, start: Instant) {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    gauge!(PEERS).set(f64::from(peers));
    gauge!(PASS_SECONDS).set(start.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests;
