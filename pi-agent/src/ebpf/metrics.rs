//! The counters per peer, for Prometheus.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ::metrics::{Counter, Gauge, counter, gauge};
use pi_ebpf::names::Failure;

use super::{
    ledger::Moved,
    mode::Mode,
    named::{Named, Place},
    sums::FlowSums,
};
use crate::metric::Metric;

const BYTES: &str = "piccolo_agent_peer_bytes_total";
const RATED_BYTES: &str = "piccolo_agent_peer_rated_bytes_total";
const BUSY_SECONDS: &str = "piccolo_agent_peer_busy_seconds_total";
const BURSTS: &str = "piccolo_agent_peer_bursts_total";
const RETRANSMITS: &str = "piccolo_agent_peer_retransmits_total";
const OPENED: &str = "piccolo_agent_peer_connections_opened_total";
const CLOSED: &str = "piccolo_agent_peer_connections_closed_total";
const RTT_SECONDS: &str = "piccolo_agent_peer_rtt_seconds";
const RACK: &str = "piccolo_agent_peer_rack_info";
const PEERS: &str = "piccolo_agent_peers";
const INFO: &str = "piccolo_agent_accounting_info";
const FAILURES: &str = "piccolo_agent_accounting_failures_total";
const PASS_SECONDS: &str = "piccolo_agent_accounting_pass_seconds";

const PEER: (&str, &str) = (
    "peer",
    "address of one of the peers with the most bytes, or `other`",
);
const DIRECTION: (&str, &str) = ("direction", "`received`, `sent`");

/// What this module counts.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        BYTES,
        &[PEER, DIRECTION],
        "TCP payload exchanged with a peer, each byte once.",
    ),
    Metric::counter(
        RATED_BYTES,
        &[PEER, DIRECTION],
        "Those of transfers long enough to tell a rate by.",
    ),
    Metric::gauge(
        BUSY_SECONDS,
        &[PEER, DIRECTION],
        "The time these took, over all connections; only grows. Throughput is the rate of rated \
         bytes over the rate of this.",
    ),
    Metric::counter(
        BURSTS,
        &[PEER, DIRECTION],
        "Transfers long enough to tell a rate by.",
    ),
    Metric::counter(RETRANSMITS, &[PEER], "Segments sent to a peer again."),
    Metric::counter(
        OPENED,
        &[PEER],
        "Connections with a peer that were established.",
    ),
    Metric::counter(CLOSED, &[PEER], "Connections with a peer that ended."),
    Metric::gauge(RTT_SECONDS, &[PEER], "Smoothed round-trip time to a peer."),
    Metric::gauge(
        RACK,
        &[PEER, ("rack", "as the server names it")],
        "1 for the rack that a peer with a name of its own is in, once a find has told it.",
    ),
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
    peers: BTreeMap<IpAddr, Series>,
    other: Series,
}

/// The series of one value of the label `peer`.
#[derive(Debug)]
struct Series {
    received: FlowSeries,
    sent: FlowSeries,
    retransmits: Counter,
    opened: Counter,
    closed: Counter,
    /// None of those that are summed up.
    rtt: Option<Gauge>,
    rack: Option<(String, Gauge)>,
}

/// Those of one direction.
#[derive(Debug)]
struct FlowSeries {
    bytes: Counter,
    rated_bytes: Counter,
    busy: Gauge,
    bursts: Counter,
}

impl PeerMetrics {
    /// Metrics that name no more than `limit` peers at a time.
    pub(crate) fn new(limit: usize) -> Self {
        let other = Series::new(OTHER, None);
        Self {
            named: Named::new(limit),
            peers: BTreeMap::new(),
            other,
        }
    }

    /// Adds what passed with one peer.
    pub(crate) fn record(&mut self, moved: &Moved) {
        match self.named.place(moved.peer, moved.total_bytes) {
            Place::Own => {}
            Place::Instead(before) => self.withdraw(before),
            Place::Other => return self.other.add(moved),
        }
        let series = self.peers.entry(moved.peer).or_insert_with(|| {
            let name = moved.peer.to_string();
            let rtt = gauge!(RTT_SECONDS, "peer" => name.clone());
            Series::new(&name, Some(rtt))
        });
        series.add(moved);
    }

    /// A peer was forgotten.
    pub(crate) fn forget(&mut self, peer: IpAddr) {
        self.named.forget(peer);
        self.withdraw(peer);
    }

    /// Shows the racks of the peers that have a name of their own.
    pub(crate) fn show_racks(&mut self, rack: impl Fn(IpAddr) -> Option<String>) {
        for (&peer, series) in &mut self.peers {
            if let Some(rack) = rack(peer) {
                series.show_rack(peer, rack);
            }
        }
    }

    fn withdraw(&mut self, peer: IpAddr) {
        let Some(series) = self.peers.remove(&peer) else {
            return;
        };
        if let Some(rtt) = series.rtt {
            // A round trip that nobody measures any more is not a number.
            rtt.set(f64::NAN);
        }
    }
}

impl Series {
    fn show_rack(&mut self, peer: IpAddr, rack: String) {
        if let Some((before, shown)) = &self.rack {
            if *before == rack {
                return;
            }
            shown.set(0.0);
        }
        let shown = gauge!(RACK, "peer" => peer.to_string(), "rack" => rack.clone());
        shown.set(1.0);
        self.rack = Some((rack, shown));
    }

    fn new(peer: &str, rtt: Option<Gauge>) -> Self {
        let peer = || peer.to_owned();
        let flow = |direction: &'static str| FlowSeries {
            bytes: counter!(BYTES, "peer" => peer(), "direction" => direction),
            rated_bytes: counter!(RATED_BYTES, "peer" => peer(), "direction" => direction),
            busy: gauge!(BUSY_SECONDS, "peer" => peer(), "direction" => direction),
            bursts: counter!(BURSTS, "peer" => peer(), "direction" => direction),
        };
        Self {
            received: flow("received"),
            sent: flow("sent"),
            retransmits: counter!(RETRANSMITS, "peer" => peer()),
            opened: counter!(OPENED, "peer" => peer()),
            closed: counter!(CLOSED, "peer" => peer()),
            rtt,
            rack: None,
        }
    }

    fn add(&self, moved: &Moved) {
        let growth = &moved.growth;
        self.received.add(&growth.received);
        self.sent.add(&growth.sent);
        self.retransmits.increment(growth.retransmits);
        self.opened.increment(growth.opened + growth.adopted);
        self.closed.increment(growth.closed);
        if let (Some(gauge), Some(rtt_us)) = (&self.rtt, moved.rtt_us) {
            gauge.set(Duration::from_micros(rtt_us).as_secs_f64());
        }
    }
}

impl FlowSeries {
    fn add(&self, growth: &FlowSums) {
        self.bytes.increment(growth.bytes);
        self.rated_bytes.increment(growth.rated_bytes);
        self.busy
            .increment(Duration::from_nanos(growth.busy_ns).as_secs_f64());
        self.bursts.increment(growth.bursts);
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
