//! What the paths between racks really carry, learned from what transfers reached.
//!
//! Capacity and load are kept apart. The *estimate* of a path is what one transfer would reach
//! with the path to itself; it is a blend, in the log domain, of the declared bandwidth and of
//! observations that are forgotten with a half-life:
//! `(n0 * ln prior + n * ln observed) / (n0 + n)`. The *load* is how many transfers are in flight
//! right now and what each of them gets; it is forgotten within moments.

mod cell;
mod decay;
mod load;

use std::time::Duration;

use serde::Serialize;

use crate::estimate::cell::{Cell, Context};
use crate::estimate::load::{Activity, Load};
use crate::mix::Map;
use crate::path::Link;
use crate::sample::{Sample, Verdict};
use crate::{RackId, Ranking, Rate, Topology};

pub use decay::Sums;

/// Estimates of the paths between racks, by ordered pair.
///
/// Time is a duration since an origin of the caller's choice, the same in every call, and does not
/// go back.
#[derive(Debug, Clone, Default)]
pub struct Estimates {
    /// First by the rack that receives, as the ranking asks for one receiver and many senders.
    into: Map<RackId, Map<RackId, Cell>>,
    pairs: usize,
    egress: Map<RackId, Load>,
    ingress: Map<RackId, Load>,
}

/// What a path is thought to carry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// What the file declares: the narrowest link on the way.
    pub prior: Rate,
    /// The mean of what was observed.
    pub observed: Option<Rate>,
    /// The rate that one transfer would reach alone on the path.
    pub value: Rate,
    /// What one more transfer would reach under the present load.
    pub available: Rate,
    /// How much of `value` is observation: 0 none, 1 all of it.
    pub confidence: f64,
    /// The decayed weight of the observations, in samples.
    pub samples: f64,
    /// Transfers in flight, recent average.
    pub load: f64,
    /// Since the last sample that this instance took.
    pub age: Option<Duration>,
}

/// The observations of one pair of racks, to be kept and to be shared with other instances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub from: RackId,
    pub to: RackId,
    pub sums: Sums,
}

/// The estimates of the paths into one rack at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Into<'a> {
    cells: Option<&'a Map<RackId, Cell>>,
    now: Duration,
}

impl Estimates {
    /// No more pairs of racks than this are remembered.
    pub const MOST_PAIRS: usize = 1 << 16;

    /// Weight, in samples, below which observations are dropped.
    const FORGOTTEN: f64 = 0.01;

    /// Adds a sample: what a host of the rack `to` received from a host of the rack `from`.
    pub fn observe(
        &mut self,
        now: Duration,
        topology: &Topology,
        from: RackId,
        to: RackId,
        sample: &Sample,
    ) -> Verdict {
        let Ranking {
            half_life,
            load_half_life,
            smallest_sample,
            ..
        } = *topology.ranking();
        let rate = match sample.judge(smallest_sample) {
            Ok(rate) => rate,
            Err(verdict) => return verdict,
        };
        if !self.admit(now, topology, from, to) {
            return Verdict::Full;
        }
        let mut sharing: f64 = 1.0;
        if from != to {
            for load in [
                self.egress.entry(from).or_default(),
                self.ingress.entry(to).or_default(),
            ] {
                load.add(now, load_half_life, sample);
                sharing = sharing.max(sharers(load.activity(now, load_half_life), rate));
            }
        }
        let Link { host, .. } = topology.path(from, to);
        let cell = self.into.entry(to).or_default().entry(from).or_default();
        cell.load.add(now, load_half_life, sample);
        cell.observe(
            sample,
            Context {
                now,
                half_life,
                host,
                sharing,
            },
        );
        Verdict::Counted
    }

    /// What the path is thought to carry.
    pub fn estimate(
        &self,
        now: Duration,
        topology: &Topology,
        from: RackId,
        to: RackId,
    ) -> Estimate {
        self.into(now, to)
            .estimate(topology, from, topology.path(from, to))
    }

    /// The observations of this instance, to be written to the database as of now.
    pub fn rows(&self, now: Duration, topology: &Topology) -> Vec<Row> {
        let half_life = topology.ranking().half_life;
        let mut rows: Vec<_> = self
            .cells()
            .map(|(from, to, cell)| Row {
                from,
                to,
                sums: cell.own(now, half_life),
            })
            .filter(|row| row.sums.weight > Self::FORGOTTEN)
            .collect();
        rows.sort_unstable_by_key(|row| (row.to, row.from));
        rows
    }

    /// Replaces what other instances, and this one before its start, have observed. With each row
    /// goes the time since it was written. Rows that cannot be are passed over; gives the number
    /// of those taken.
    pub fn share(
        &mut self,
        now: Duration,
        topology: &Topology,
        rows: impl IntoIterator<Item = (Row, Duration)>,
    ) -> usize {
        let half_life = topology.ranking().half_life;
        for cell in self.into.values_mut().flat_map(Map::values_mut) {
            cell.set_shared(now, half_life, Sums::default());
        }
        let mut taken = 0;
        for (Row { from, to, sums }, age) in rows {
            let sums = sums.times(decay::remainder(age, half_life));
            if sums.is_sound() && self.admit(now, topology, from, to) {
                let cell = self.into.entry(to).or_default().entry(from).or_default();
                cell.add_shared(now, half_life, sums);
                taken += 1;
            }
        }
        taken
    }

    /// Every pair of racks of which anything is known, in order.
    pub fn pairs(&self) -> Vec<(RackId, RackId)> {
        let mut pairs: Vec<_> = self.cells().map(|(from, to, _)| (from, to)).collect();
        pairs.sort_unstable();
        pairs
    }

    /// The racks with samples of transfers into that one, unsorted.
    pub(crate) fn senders(&self, to: RackId) -> impl Iterator<Item = RackId> {
        self.into
            .get(&to)
            .into_iter()
            .flat_map(|cells| cells.keys().copied())
    }

    pub(crate) fn into(&self, now: Duration, to: RackId) -> Into<'_> {
        Into {
            cells: self.into.get(&to),
            now,
        }
    }

    fn cells(&self) -> impl Iterator<Item = (RackId, RackId, &Cell)> {
        let cells = |(to, cells)| pair_up(to, cells);
        self.into.iter().flat_map(cells)
    }

    /// Whether there is room for the pair, after forgetting what has become worthless.
    fn admit(&mut self, now: Duration, topology: &Topology, from: RackId, to: RackId) -> bool {
        if self
            .into
            .get(&to)
            .is_some_and(|cells| cells.contains_key(&from))
        {
            return true;
        }
        if self.pairs >= Self::MOST_PAIRS {
            self.forget(now, topology);
        }
        let room = self.pairs < Self::MOST_PAIRS;
        self.pairs += usize::from(room);
        room
    }

    fn forget(&mut self, now: Duration, topology: &Topology) {
        let Ranking {
            half_life,
            load_half_life,
            ..
        } = *topology.ranking();
        self.into.retain(|_, cells| {
            cells.retain(|_, cell| cell.all(now, half_life).weight > Self::FORGOTTEN);
            !cells.is_empty()
        });
        self.pairs = self.into.values().map(Map::len).sum();
        for loads in [&mut self.egress, &mut self.ingress] {
            loads.retain(|_, load| load.activity(now, load_half_life).is_some());
        }
    }
}

fn pair_up<'a>(
    to: &'a RackId,
    cells: &'a Map<RackId, Cell>,
) -> impl Iterator<Item = (RackId, RackId, &'a Cell)> {
    cells.iter().map(|(from, cell)| (*from, *to, cell))
}

/// How many transfers share a side of a rack with one of that rate. Where the others are much
/// faster it is not the side they share that slows this one down.
fn sharers(side: Option<Activity>, rate: Rate) -> f64 {
    side.filter(|side| rate.times(2.0) >= side.each)
        .map_or(1.0, |side| side.transfers)
}

impl Into<'_> {
    pub(crate) fn estimate(&self, topology: &Topology, from: RackId, link: Link) -> Estimate {
        let Ranking {
            half_life,
            load_half_life,
            prior_weight,
            ..
        } = *topology.ranking();
        let prior = link.prior;
        let Some(cell) = self.cells.and_then(|cells| cells.get(&from)) else {
            return Estimate {
                prior,
                observed: None,
                value: prior,
                available: prior,
                confidence: 0.0,
                samples: 0.0,
                load: 0.0,
                age: None,
            };
        };
        let sums = cell.all(self.now, half_life);
        let value = sums.rate().map_or(prior, |_| {
            let weight = prior_weight + sums.weight;
            Rate::from_ln((prior_weight * prior.ln() + sums.log_rate) / weight)
        });
        let activity = cell.load.activity(self.now, load_half_life);
        Estimate {
            prior,
            observed: sums.rate(),
            value,
            available: activity.map_or(value, |load| available(value, load)),
            confidence: sums.weight / (prior_weight + sums.weight),
            samples: sums.weight,
            load: activity.map_or(0.0, |load| load.transfers),
            age: cell.last.map(|last| self.now.saturating_sub(last)),
        }
    }
}

/// What one more transfer gets. What the present ones get counts the more, the more of them there
/// are; where they get all that the path has, there is no contention.
fn available(value: Rate, load: Activity) -> Rate {
    if load.each >= value {
        return value;
    }
    let share = load.transfers / (1.0 + load.transfers);
    Rate::from_ln(value.ln() * (1.0 - share) + load.each.ln() * share)
}
