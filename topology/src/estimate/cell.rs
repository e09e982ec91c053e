//! The estimate of one ordered pair of racks.

use std::time::Duration;

use crate::Rate;
use crate::estimate::decay::{Sums, remainder};
use crate::estimate::load::Load;
use crate::numbers::{float, within};
use crate::sample::Sample;

/// Reports that end within this time of each other's begin may be of the same moment, so they are
/// judged together: several slow transfers at once can be one fast link.
const WINDOW: Duration = Duration::from_secs(10);

/// A rate this many times off the mean is a surprise; two in a row mean that the path has changed.
const SURPRISE: f64 = 3.0;

/// Remaining weight of the old estimate after a change of the path; the new one has the rest.
const AFTER_CHANGE: f64 = 0.25;

/// No more samples than this count, so that a busy path too is learned anew in a few.
const MAX_WEIGHT: f64 = 16.0;

#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    at: Duration,
    own: Sums,
    shared: Sums,
    window: Option<Window>,
    strike: Strike,
    pub(crate) last: Option<Duration>,
    pub(crate) load: Load,
}

/// The latest samples, still open for more of the same moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Duration,
    to: Duration,
    bytes: f64,
    busy: f64,
    weight: f64,
    /// How many transfers share the path, by what other paths through the same uplinks do.
    sharing: f64,
    host: Rate,
}

/// The side on which the last window's surprise was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Strike {
    #[default]
    None,
    Slower,
    Faster,
}

/// Context of a sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) now: Duration,
    pub(crate) half_life: Duration,
    pub(crate) host: Rate,
    pub(crate) sharing: f64,
}

impl Cell {
    pub(crate) fn observe(&mut self, sample: &Sample, context: Context) {
        let Context { now, half_life, .. } = context;
        let open = self
            .window
            .is_some_and(|window| now.saturating_sub(window.from) <= WINDOW);
        if !open {
            self.close(now, half_life);
        }
        let from = now.saturating_sub(sample.span.max(sample.busy));
        let window = self.window.get_or_insert(Window {
            from,
            to: now,
            bytes: 0.0,
            busy: 0.0,
            weight: 0.0,
            sharing: 1.0,
            host: context.host,
        });
        window.from = window.from.min(from);
        window.to = window.to.max(now);
        window.bytes += float(sample.rated_bytes);
        window.busy += sample.busy.as_secs_f64();
        window.weight += quality(sample.rated_bytes);
        window.sharing = window.sharing.max(within(context.sharing, 1.0, 1e6, 1.0));
        window.host = context.host;
        self.last = Some(now);
    }

    /// The sums as of now, of this instance alone.
    pub(crate) fn own(&self, now: Duration, half_life: Duration) -> Sums {
        let mut cell = self.clone();
        cell.close(now, half_life);
        cell.own
    }

    /// The sums as of now, of all instances.
    pub(crate) fn all(&self, now: Duration, half_life: Duration) -> Sums {
        let left = remainder(now.saturating_sub(self.at), half_life);
        self.own(now, half_life).plus(self.shared.times(left))
    }

    pub(crate) fn set_shared(&mut self, now: Duration, half_life: Duration, shared: Sums) {
        self.decay(now, half_life);
        self.shared = shared;
    }

    pub(crate) fn add_shared(&mut self, now: Duration, half_life: Duration, more: Sums) {
        self.decay(now, half_life);
        self.shared = self.shared.plus(more);
    }

    fn decay(&mut self, now: Duration, half_life: Duration) {
        let left = remainder(now.saturating_sub(self.at), half_life);
        self.own = self.own.times(left);
        self.shared = self.shared.times(left);
        self.at = self.at.max(now);
    }

    /// Takes the window into the sums.
    fn close(&mut self, now: Duration, half_life: Duration) {
        self.decay(now, half_life);
        let Some(window) = self.window.take() else {
            return;
        };
        let Some(rate) = window.rate() else { return };
        let age = remainder(now.saturating_sub(window.to), half_life);
        let weight = window.weight * age;
        let known = self.own.plus(self.shared);
        let strike = known
            .rate()
            .map_or(Strike::None, |mean| Strike::of(rate, mean));
        let handed_over = match strike {
            Strike::None => 0.0,
            // Once may be chance.
            side if side != self.strike => 0.0,
            _ => self.own.weight * (1.0 - AFTER_CHANGE),
        };
        if handed_over > 0.0 {
            self.own = self.own.times(AFTER_CHANGE);
        }
        self.strike = strike;
        self.own = self.own.plus(Sums {
            weight: weight + handed_over,
            log_rate: rate.ln() * (weight + handed_over),
            rated_bytes: window.bytes * age,
            busy_seconds: window.busy * age,
        });
        if self.own.weight > MAX_WEIGHT {
            self.own = self.own.times(MAX_WEIGHT / self.own.weight);
        }
    }
}

impl Window {
    /// What one transfer would have reached with the path to itself: what all that shared it
    /// reached together, but no more than a host's own link carries.
    fn rate(&self) -> Option<Rate> {
        let each = self.bytes / self.busy * 8.0;
        if !each.is_finite() {
            return None;
        }
        let each = Rate::from_bits_per_second(each);
        let span = self.to.saturating_sub(self.from).as_secs_f64();
        let transfers = if span > 0.0 { self.busy / span } else { 1.0 };
        let alone = each.times(transfers.max(self.sharing).max(1.0));
        Some(alone.min(self.host).max(each))
    }
}

impl Strike {
    fn of(rate: Rate, mean: Rate) -> Self {
        let ratio = rate.bits_per_second() / mean.bits_per_second();
        if ratio > SURPRISE {
            Self::Faster
        } else if ratio < 1.0 / SURPRISE {
            Self::Slower
        } else {
            Self::None
        }
    }
}

/// What a sample is worth: the more bytes, the less of it is slow start and chance.
fn quality(bytes: u64) -> f64 {
    const HALF: f64 = 4_194_304.0;
    float(bytes) / (float(bytes) + HALF)
}
