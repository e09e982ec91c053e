//! Turns counters, which grow and may restart at zero, into what passed.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use pi_ebpf::Counters;

use super::{
    sums::{FlowSums, Sums},
    view::{FlowView, PeerReport, PeerView},
};

/// What is known of all peers.
#[derive(Debug)]
pub(crate) struct Ledger {
    peers: BTreeMap<IpAddr, Peer>,
    idle: Duration,
    looked: Instant,
    /// When the rates were last worked out.
    rated: Instant,
}

/// The shortest interval for a rate: a pass after less time leaves the rates as they are, and its
/// bytes count in the next.
const RATED_OVER: Duration = Duration::from_millis(500);

/// What one look brought.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Peers with which something passed.
    pub(crate) moved: Vec<Moved>,
    /// Peers that were forgotten, because nothing has passed for long.
    pub(crate) forgotten: Vec<IpAddr>,
}

/// What passed with one peer since the look before.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) peer: IpAddr,
    pub(crate) growth: Sums,
    /// Bytes both ways since the agent started.
    pub(crate) total_bytes: u64,
    pub(crate) rtt_us: Option<u64>,
}

#[derive(Debug)]
struct Peer {
    /// The counters at the last look.
    counters: Sums,
    /// Since the agent started, restarts of the counters evened out.
    total: Sums,
    /// Since `reported`.
    pending: Sums,
    /// When it was last reported, or had nothing to report.
    reported: Instant,
    rates: Rates,
    rtt_us: Option<u64>,
    min_rtt_us: Option<u64>,
    moved: Instant,
}

/// Rates by direction.
#[derive(Debug, Default)]
struct Rates {
    received: Rate,
    sent: Rate,
}

/// Bytes per second.
#[derive(Debug, Default)]
struct Rate {
    average: u64,
    throughput: Option<u64>,
    /// Bytes since the rates were last worked out.
    waiting: u64,
}

impl Ledger {
    /// An empty ledger that forgets peers with which nothing passed for `idle`.
    pub(crate) fn new(idle: Duration, now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            idle,
            looked: now,
            rated: now,
        }
    }

    /// Enters the counters of all peers.
    pub(crate) fn look(&mut self, counters: &BTreeMap<IpAddr, Counters>, now: Instant) -> Look {
        let before = self.looked;
        self.looked = now;
        let mut look = Look::default();
        for (&address, counters) in counters {
            let peer = self.peers.entry(address);
            let peer = peer.or_insert_with(|| Peer::new(before));
            let growth = peer.enter(counters, now);
            if !growth.is_zero() {
                look.moved.push(Moved {
                    peer: address,
                    growth,
                    total_bytes: peer.total.bytes(),
                    rtt_us: peer.rtt_us,
                });
            }
        }
        self.rate(now);
        let idle = self.idle;
        let stays = |peer: &Peer| now.saturating_duration_since(peer.moved) < idle;
        let gone = self.peers.iter().filter(|(_, peer)| !stays(peer));
        look.forgotten = gone.map(|(&address, _)| address).collect();
        self.peers.retain(|_, peer| stays(peer));
        look
    }

    fn rate(&mut self, now: Instant) {
        let interval = now.saturating_duration_since(self.rated);
        if interval < RATED_OVER {
            return;
        }
        self.rated = now;
        for peer in self.peers.values_mut() {
            peer.rates.received.settle(interval);
            peer.rates.sent.settle(interval);
        }
    }

    /// How long ago the last look was.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.looked)
    }

    /// The number of peers.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// All peers, for people.
    pub(crate) fn view(&self) -> Vec<PeerView> {
        self.peers
            .iter()
            .map(|(&address, peer)| peer.view(address))
            .collect()
    }

    /// What passed since the last report, of the `most` peers with the most bytes; the others' sums
    /// stay for the next.
    pub(crate) fn take_reports(&mut self, most: usize, now: Instant) -> Vec<PeerReport> {
        let (mut waiting, silent): (Vec<_>, Vec<_>) = self
            .peers
            .iter_mut()
            .partition(|(_, peer)| peer.pending.bytes() != 0);
        for (_, peer) in silent {
            peer.reported = now;
        }
        waiting.sort_by_key(|(_, peer)| std::cmp::Reverse(peer.pending.bytes()));
        waiting.truncate(most);
        let report = |(&address, peer): (&IpAddr, &mut Peer)| peer.report(address, now);
        waiting.into_iter().map(report).collect()
    }
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            counters: Sums::default(),
            total: Sums::default(),
            pending: Sums::default(),
            reported: now,
            rates: Rates::default(),
            rtt_us: None,
            min_rtt_us: None,
            moved: now,
        }
    }

    fn enter(&mut self, counters: &Counters, now: Instant) -> Sums {
        let sums = Sums::from(counters);
        let growth = sums.since(&self.counters);
        self.counters = sums;
        if growth.is_zero() {
            return growth;
        }
        self.moved = now;
        self.total.add(&growth);
        self.pending.add(&growth);
        self.rates.received.enter(&growth.received);
        self.rates.sent.enter(&growth.sent);
        self.rtt_us = known(counters.srtt_us).or(self.rtt_us);
        self.min_rtt_us = known(counters.min_rtt_us).or(self.min_rtt_us);
        growth
    }

    fn report(&mut self, address: IpAddr, now: Instant) -> PeerReport {
        let interval = now.saturating_duration_since(self.reported);
        self.reported = now;
        let sums = std::mem::take(&mut self.pending);
        PeerReport {
            peer: address,
            interval,
            received: sums.received,
            sent: sums.sent,
            retransmits: sums.retransmits,
            rtt_us: self.rtt_us,
        }
    }

    fn view(&self, address: IpAddr) -> PeerView {
        let flow = |sums: &FlowSums, rate: &Rate| FlowView {
            bytes: sums.bytes,
            rate: rate.average,
            throughput: rate.throughput,
        };
        PeerView {
            address,
            received: flow(&self.total.received, &self.rates.received),
            sent: flow(&self.total.sent, &self.rates.sent),
            retransmits: self.total.retransmits,
            opened: self.total.opened + self.total.adopted,
            closed: self.total.closed,
            rtt_us: self.rtt_us,
            min_rtt_us: self.min_rtt_us,
        }
    }
}

impl Rate {
    fn enter(&mut self, growth: &FlowSums) {
        self.waiting += growth.bytes;
        self.throughput = growth.throughput().or(self.throughput);
    }

    fn settle(&mut self, interval: Duration) {
        let millis = interval.as_millis().max(1);
        let average = u128::from(std::mem::take(&mut self.waiting)) * 1000 / millis;
        self.average = u64::try_from(average).unwrap_or(u64::MAX);
    }
}

/// The kernel's zero is "not measured yet".
fn known(micros: u64) -> Option<u64> {
    (micros != 0).then_some(micros)
}

#[cfg(test)]
mod tests;
