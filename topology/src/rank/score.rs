//! The score of one candidate, with all its parts.

use std::net::IpAddr;

use crate::address::closeness;
use crate::candidate::{Candidate, Group, HolderState, Moved, Standing};
use crate::estimate::{Estimate, Estimates, Into};
use crate::model::Topology;
use crate::numbers::within;
use crate::path::Link;
use crate::place::Spot;
use crate::rank::Query;
use crate::ranking::{Ranking, Weights};
use crate::{RackId, Rate};

/// Scores candidates for one query. What it found out about a rack serves for the candidates of
/// that rack that follow, most cheaply for neighbours.
pub(crate) struct Scorer<'a> {
    topology: &'a Topology,
    requester: IpAddr,
    to: Spot,
    estimates: Into<'a>,
    pub(crate) scale: Scale,
    /// The path of the last candidate, and the addresses around it that share it.
    current: Path,
    stretch: Stretch,
    memo: [Option<Path>; 64],
}

/// What the rack of a candidate contributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) from: Spot,
    pub(crate) link: Link,
    pub(crate) estimate: Estimate,
    /// Available bandwidth, on the scale from the slowest to the fastest.
    pub(crate) bandwidth: f64,
    /// The part of the score that all hosts of the rack share.
    score: f64,
}

/// A range of addresses of one family, tested by one comparison.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    ipv4: bool,
    first: u128,
    /// How many follow the first.
    more: u128,
}

/// The weights, normalised, and the scale of the rates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) weights: Weights,
    slowest: f64,
    range: f64,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(query: &Query<'_>, topology: &'a Topology, estimates: &'a Estimates) -> Self {
        let requester = query.requester.to_canonical();
        let to = topology.spot(requester);
        let estimates = estimates.into(query.now, to.rack);
        let scale = Scale::new(topology.ranking());
        Self {
            topology,
            requester,
            to,
            current: Path::new(to, to, topology, &estimates, &scale),
            stretch: Stretch::new(topology.stretch(requester, to)),
            estimates,
            scale,
            memo: [None; 64],
        }
    }

    pub(crate) fn standing(&mut self, candidate: &Candidate) -> Standing {
        let ip = candidate.holder.ip().to_canonical();
        let (requester, to) = (self.requester, self.to.rack);
        let Weights { prefix, load, .. } = self.scale.weights;
        let path = self.path(ip);
        let score =
            path.score + prefix * closeness(ip, requester) - load * candidate.load.pressure();
        let group = match candidate.state {
            _ if ip == requester => Group::Requester,
            _ if path.link.forbidden => Group::Forbidden,
            HolderState::Complete => Group::Complete,
            HolderState::Fetching => Group::Fetching,
        };
        let Spot { rack, .. } = path.from;
        Standing {
            rack,
            score,
            group,
            tier: 0,
            remote: rack != to,
            spread: 0,
            order: 0,
            moved: Moved::No,
        }
    }

    /// The score that the candidate would have if its path were as fast as declared, where it was
    /// slower when it was last measured, and that is some time ago.
    pub(crate) fn hoped_for(&mut self, candidate: &Candidate) -> Option<f64> {
        let Path {
            link,
            estimate,
            bandwidth,
            ..
        } = *self.path(candidate.holder.ip());
        let due = self.topology.ranking().half_life / 8;
        let stale = estimate.confidence > 0.0 && estimate.age.is_none_or(|age| age >= due);
        let slower = estimate.prior > estimate.value.times(1.5);
        let gain = self.scale.bandwidth(&link, estimate.prior) - bandwidth;
        (stale && slower).then(|| candidate.score() + self.scale.weights.bandwidth * gain)
    }

    /// The way from that address, and what it contributes.
    pub(crate) fn path(&mut self, ip: IpAddr) -> &Path {
        let ip = ip.to_canonical();
        if !self.stretch.holds(ip) {
            self.turn_to(ip);
        }
        &self.current
    }

    fn turn_to(&mut self, ip: IpAddr) {
        let from = self.topology.spot(ip);
        self.stretch = Stretch::new(self.topology.stretch(ip, from));
        let slot = usize::try_from(from.rack.number() % 64).unwrap_or(0);
        let known = self
            .memo
            .get(slot)
            .copied()
            .flatten()
            .filter(|path| path.from == from);
        self.current = known.unwrap_or_else(|| {
            Path::new(from, self.to, self.topology, &self.estimates, &self.scale)
        });
        if let Some(slot) = self.memo.get_mut(slot) {
            *slot = Some(self.current);
        }
    }
}

impl Stretch {
    fn new((first, last): (IpAddr, IpAddr)) -> Self {
        let more = number(last).wrapping_sub(number(first));
        Self {
            ipv4: first.is_ipv4(),
            first: number(first),
            more,
        }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        self.ipv4 == ip.is_ipv4() && number(ip).wrapping_sub(self.first) <= self.more
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Path {
    fn new(from: Spot, to: Spot, topology: &Topology, estimates: &Into<'_>, scale: &Scale) -> Self {
        let link = topology.way(from, to);
        let estimate = estimates.estimate(topology, from.rack, link);
        let bandwidth = scale.bandwidth(&link, estimate.available);
        let Weights {
            tree,
            bandwidth: weight,
            ..
        } = scale.weights;
        let score = tree * link.closeness + weight * bandwidth;
        Self {
            from,
            link,
            estimate,
            bandwidth,
            score,
        }
    }
}

impl Scale {
    pub(crate) fn new(ranking: &Ranking) -> Self {
        let Weights {
            prefix,
            tree,
            bandwidth,
            load,
        } = ranking.weights;
        let positive = |weight| within(weight, 0.0, 1e6, 0.0);
        let sum = positive(prefix) + positive(tree) + positive(bandwidth);
        let part = if sum > 0.0 { 1.0 / sum } else { 0.0 };
        let weights = Weights {
            prefix: positive(prefix) * part,
            tree: positive(tree) * part,
            bandwidth: positive(bandwidth) * part,
            load: positive(load),
        };
        let slowest = ranking.slowest.ln();
        Self {
            weights,
            slowest,
            range: (ranking.fastest.ln() - slowest).max(0.1),
        }
    }

    pub(crate) fn bandwidth(&self, link: &Link, rate: Rate) -> f64 {
        let rate = rate.times(1.0 / link.cost).ln();
        ((rate - self.slowest) / self.range).clamp(0.0, 1.0)
    }
}

/// The racks worth asking, whatever addresses they have: best first, without those behind
/// forbidden paths.
pub(crate) fn racks(
    topology: &Topology,
    estimates: &Estimates,
    now: std::time::Duration,
    to: RackId,
) -> Vec<(f64, RackId)> {
    let scale = Scale::new(topology.ranking());
    let into = estimates.into(now, to);
    let declared = topology
        .places()
        .iter()
        .filter(|place| !place.cidrs().is_empty());
    let mut racks: Vec<RackId> = declared.map(crate::Place::rack).collect();
    racks.extend(estimates.senders(to).chain([to]));
    racks.sort_unstable();
    racks.dedup();
    let end = topology.spot_of(to);
    let mut scored: Vec<_> = racks
        .into_iter()
        .filter_map(|rack| {
            let path = Path::new(topology.spot_of(rack), end, topology, &into, &scale);
            (!path.link.forbidden).then_some((path.score, rack))
        })
        .collect();
    // Among equals chance decides, differently for each rack that asks: with one order for all, the
    // first racks of it would have to serve everybody.
    let chance = |rack: &RackId| crate::mix::fold(to.number(), rack.number());
    scored.sort_unstable_by(|(a, x), (b, y)| {
        let equal = || chance(x).cmp(&chance(y)).then(x.cmp(y));
        b.total_cmp(a).then_with(equal)
    });
    scored
}
