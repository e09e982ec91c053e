//! The score of one candidate, with all that went into it.

use std::net::IpAddr;

use crate::address::closeness;
use crate::candidate::{Candidate, Group, Moved, Standing, State};
use crate::estimate::{Estimate, Estimates, Into};
use crate::model::{Spot, Topology};
use crate::numbers::within;
use crate::path::Link;
use crate::rank::Query;
use crate::ranking::{Ranking, Weights};
use crate::{RackId, Rate};

/// Scores candidates for one query. What it found out about a rack serves for the next candidate
/// of that rack.
pub(crate) struct Scorer<'a> {
    topology: &'a Topology,
    requester: IpAddr,
    to: Spot,
    estimates: Into<'a>,
    pub(crate) scale: Scale,
    memo: [Option<(Spot, Path)>; 64],
}

/// What the rack of a candidate contributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    pub(crate) link: Link,
    pub(crate) estimate: Estimate,
    /// The bandwidth on the scale from the slowest to the fastest.
    pub(crate) bandwidth: f64,
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
        Self {
            topology,
            requester,
            to,
            estimates: estimates.into(query.now, to.rack),
            scale: Scale::new(topology.ranking()),
            memo: [None; 64],
        }
    }

    pub(crate) fn standing(&mut self, candidate: &Candidate) -> Standing {
        let ip = candidate.holder.ip().to_canonical();
        let (from, path) = self.path(ip);
        let Weights { prefix, load, .. } = self.scale.weights;
        let score = self.scale.rack(&path) + prefix * closeness(ip, self.requester)
            - load * candidate.load.pressure();
        let group = match candidate.state {
            _ if ip == self.requester => Group::Requester,
            _ if path.link.forbidden => Group::Forbidden,
            State::Complete => Group::Complete,
            State::Fetching => Group::Fetching,
        };
        let remote = from.rack != self.to.rack;
        Standing {
            rack: from.rack,
            score,
            group,
            tier: 0,
            remote,
            spread: 0,
            moved: Moved::No,
        }
    }

    /// The score that the candidate would have if its path were as fast as declared, where it was
    /// slower when it was last measured, and that is some time ago.
    pub(crate) fn hoped_for(&mut self, candidate: &Candidate) -> Option<f64> {
        let (
            _,
            Path {
                link,
                estimate,
                bandwidth,
            },
        ) = self.path(candidate.holder.ip());
        let due = self.topology.ranking().half_life / 8;
        let stale = estimate.confidence > 0.0 && estimate.age.is_none_or(|age| age >= due);
        let slower = estimate.prior > estimate.value.times(1.5);
        let gain = self.scale.bandwidth(&link, estimate.prior) - bandwidth;
        (stale && slower).then(|| candidate.score() + self.scale.weights.bandwidth * gain)
    }

    pub(crate) fn path(&mut self, ip: IpAddr) -> (Spot, Path) {
        let from = self.topology.spot(ip.to_canonical());
        let slot = from.rack.slot() % 64;
        let slot = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.memo.get_mut(slot));
        if let Some(Some((known, path))) = slot.as_deref()
            && *known == from
        {
            return (from, *path);
        }
        let link = self.topology.way(from, self.to);
        let estimate = self.estimates.estimate(self.topology, from.rack, link);
        let bandwidth = self.scale.bandwidth(&link, estimate.available);
        let path = Path {
            link,
            estimate,
            bandwidth,
        };
        if let Some(slot) = slot {
            *slot = Some((from, path));
        }
        (from, path)
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

    /// The part of the score that all hosts of a rack share.
    pub(crate) fn rack(&self, path: &Path) -> f64 {
        self.weights.tree * path.link.closeness + self.weights.bandwidth * path.bandwidth
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
            let link = topology.way(topology.spot_of(rack), end);
            let estimate = into.estimate(topology, rack, link);
            let bandwidth = scale.bandwidth(&link, estimate.available);
            let path = Path {
                link,
                estimate,
                bandwidth,
            };
            (!link.forbidden).then(|| (scale.rack(&path), rack))
        })
        .collect();
    scored.sort_unstable_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
    scored
}
