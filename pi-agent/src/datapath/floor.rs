//! The least rate at which a source may deliver: silence and a trickle are the same to a puller.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// A source is given up when it delivers less than `bytes` in `window`.
#[derive(Debug, Clone, Copy)]
pub struct RateFloor {
    /// The least number of bytes.
    pub bytes: u64,
    /// The time in which they are to come.
    pub window: Duration,
}

/// The least rate of a peer, in bytes per second, where nothing else is set. It tells a trickle from
/// a slow link: 32 uploads that share 10 Mbit/s, as a node has them at most, come faster.
pub const RATE_FLOOR: u64 = 32 << 10;

/// Judges one transfer by a [`RateFloor`], over a window that slides. Time in which the receiver
/// held the transfer up does not count.
#[derive(Debug)]
pub struct Floor {
    least: u64,
    slice: Duration,
    ends: Instant,
    current: u64,
    past: VecDeque<u64>,
}

/// Parts of the window; it slides by one of them at a time.
const SLICES: u32 = 8;

impl Floor {
    /// Begins to judge at `now`.
    pub fn new(rate: RateFloor, now: Instant) -> Self {
        let slice = rate.window / SLICES;
        Self {
            least: rate.bytes,
            slice,
            ends: now + slice,
            current: 0,
            past: VecDeque::with_capacity(9),
        }
    }

    /// Bytes came.
    pub fn add(&mut self, bytes: u64) {
        self.current = self.current.saturating_add(bytes);
    }

    /// The receiver held the transfer up for `time`.
    pub fn pause(&mut self, time: Duration) {
        self.ends += time;
    }

    /// When to [`check`](Self::check) next.
    pub fn next_check(&self) -> Instant {
        self.ends
    }

    /// Whether the source is good enough at `now`. However long ago the last look was, it is one
    /// part of the window that has passed: in the others nobody waited for the source.
    pub fn check(&mut self, now: Instant) -> bool {
        let window = usize::try_from(SLICES).unwrap_or(usize::MAX);
        if now >= self.ends {
            self.past.push_back(std::mem::take(&mut self.current));
            if self.past.len() > window {
                self.past.pop_front();
            }
            self.ends = now + self.slice;
        }
        self.past.len() < window || self.past.iter().sum::<u64>() >= self.least
    }
}
