//! The ranking with its reasons: every term of every candidate's score.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::address::common_prefix_bits;
use crate::candidate::{Candidate, Group, Moved};
use crate::estimate::{Estimate, Estimates};
use crate::model::Topology;
use crate::rank::score::{Path, Scorer};
use crate::rank::{Query, rank};

/// Why a candidate stands where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub holder: SocketAddr,
    /// What the caller gave with the candidate.
    pub index: u32,
    pub rack: String,
    pub outcome: Placement,
    /// How many tiers below the best.
    pub tier: u16,
    /// The sum of the points of all terms.
    pub score: f64,
    pub prefix: PrefixTerm,
    pub tree: TreeTerm,
    pub bandwidth: BandwidthTerm,
    pub load: LoadTerm,
    /// What gives the order within the tier, the least first.
    pub spread: u64,
    moved: Moved,
}

/// Whether a candidate is answered, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// It is answered, at that place, from 1.
    Place(usize),
    /// The answer is full of better ones.
    BeyondLimit,
    /// The file forbids the way from it.
    Forbidden,
    /// It is the requester.
    Requester,
}

/// What the addresses' common prefix contributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrefixTerm {
    pub common_bits: Option<u32>,
    pub closeness: f64,
    pub weight: f64,
    pub points: f64,
}

/// What the tree contributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TreeTerm {
    pub steps: u32,
    pub closeness: f64,
    pub weight: f64,
    pub points: f64,
}

/// What the bandwidth of the path contributes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BandwidthTerm {
    pub estimate: Estimate,
    /// The path counts as that many times slower.
    pub cost: f64,
    /// The available rate by the cost, on the scale from slowest to fastest.
    pub scaled: f64,
    pub weight: f64,
    pub points: f64,
}

/// What the holder's load subtracts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LoadTerm {
    pub reported: Option<f32>,
    pub handed_out: f32,
    /// 0 idle, 1 full.
    pub pressure: f64,
    pub weight: f64,
    /// Not above 0.
    pub points: f64,
}

/// Ranks a copy of the candidates as [`rank`] does, and gives all of them, in order, with the
/// reasons.
pub fn explain(
    candidates: &[Candidate],
    query: &Query<'_>,
    topology: &Topology,
    estimates: &Estimates,
) -> Vec<Explanation> {
    let mut candidates = candidates.to_vec();
    let answered = rank(&mut candidates, query, topology, estimates);
    if let Some(rest) = candidates.get_mut(answered..) {
        rest.sort_unstable_by(Candidate::compare);
    }
    let mut scorer = Scorer::new(query, topology, estimates);
    let explained = candidates.iter().enumerate().map(|(position, candidate)| {
        let outcome = match candidate.place.group {
            Group::Forbidden => Placement::Forbidden,
            Group::Requester => Placement::Requester,
            _ if position < answered => Placement::Place(position + 1),
            _ => Placement::BeyondLimit,
        };
        one(candidate, outcome, query, topology, &mut scorer)
    });
    explained.collect()
}

fn one(
    candidate: &Candidate,
    outcome: Placement,
    query: &Query<'_>,
    topology: &Topology,
    scorer: &mut Scorer<'_>,
) -> Explanation {
    let ip = candidate.holder.ip();
    let Path {
        link,
        estimate,
        bandwidth,
        ..
    } = *scorer.path(ip);
    let weights = scorer.scale.weights;
    let closeness = crate::closeness(ip, query.requester);
    let pressure = candidate.load.pressure();
    Explanation {
        holder: candidate.holder,
        index: candidate.index,
        rack: topology.rack_name(candidate.rack()).into_owned(),
        outcome,
        tier: candidate.tier(),
        score: candidate.score(),
        prefix: PrefixTerm {
            common_bits: common_prefix_bits(ip, query.requester),
            closeness,
            weight: weights.prefix,
            points: weights.prefix * closeness,
        },
        tree: TreeTerm {
            steps: link.steps,
            closeness: link.closeness,
            weight: weights.tree,
            points: weights.tree * link.closeness,
        },
        bandwidth: BandwidthTerm {
            estimate,
            cost: link.cost,
            scaled: bandwidth,
            weight: weights.bandwidth,
            points: weights.bandwidth * bandwidth,
        },
        load: LoadTerm {
            reported: candidate.load.reported,
            handed_out: candidate.load.handed_out,
            pressure,
            weight: weights.load,
            points: 0.0 - weights.load * pressure,
        },
        spread: candidate.place.spread,
        moved: candidate.place.moved,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            holder,
            rack,
            outcome,
            tier,
            score,
            ..
        } = self;
        writeln!(
            f,
            "{outcome} {holder} in {rack}: score {score:.3}, tier {tier}{}",
            self.moved
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name, weight: f64, value: f64, points: f64| {
            write!(
                f,
                "     {name:<9}  {weight:.2} * {value:.3} = {points:>6.3}   "
            )
        };
        let PrefixTerm {
            common_bits,
            closeness,
            weight,
            points,
        } = self.prefix;
        row(f, "prefix", weight, closeness, points)?;
        match common_bits {
            Some(bits) => writeln!(f, "{bits} common bits")?,
            None => writeln!(f, "addresses of two families")?,
        }
        let TreeTerm {
            steps,
            closeness,
            weight,
            points,
        } = self.tree;
        row(f, "tree", weight, closeness, points)?;
        match steps {
            0 => writeln!(f, "same rack")?,
            steps => writeln!(f, "{steps} steps")?,
        }
        let BandwidthTerm {
            scaled,
            weight,
            points,
            ..
        } = self.bandwidth;
        row(f, "bandwidth", weight, scaled, points)?;
        writeln!(f, "{}", self.bandwidth)?;
        let LoadTerm {
            reported,
            handed_out,
            pressure,
            weight,
            points,
        } = self.load;
        row(f, "load", weight, pressure, points)?;
        match reported {
            Some(reported) => writeln!(f, "reported {reported:.2}, handed out {handed_out:.1}"),
            None => writeln!(f, "handed out {handed_out:.1}"),
        }
    }
}

impl fmt::Display for BandwidthTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { estimate, cost, .. } = self;
        let Estimate {
            prior,
            observed,
            value,
            available,
            samples,
            load,
            age,
            ..
        } = estimate;
        write!(f, "{available}: declared {prior}")?;
        if let Some(observed) = observed {
            write!(f, ", observed {observed} in {samples:.1} samples")?;
            if let Some(age) = age {
                write!(f, ", the last {} ago", Ago(*age))?;
            }
            write!(f, ", estimate {value}")?;
        }
        if *load > 0.05 {
            write!(f, ", {load:.1} transfers in flight")?;
        }
        if (cost - 1.0).abs() > f64::EPSILON {
            write!(f, ", cost {cost}")?;
        }
        Ok(())
    }
}

/// A time, roughly.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => write!(f, "{place}."),
            Self::BeyondLimit => f.write_str("-  (beyond the limit)"),
            Self::Forbidden => f.write_str("-  (path forbidden)"),
            Self::Requester => f.write_str("-  (the requester)"),
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "",
            Self::LessLoaded => ", before its neighbour, which has more to do",
            Self::MoreLoaded => ", behind its neighbour, which has less to do",
            Self::KeptRemote => ", in a place kept for other racks",
            Self::Probe => ", first so that its path is measured again",
        })
    }
}
