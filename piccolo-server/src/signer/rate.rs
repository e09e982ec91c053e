//! How often somebody may ask.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Most callers that are remembered.
const MOST: usize = 1 << 17;

/// A token bucket for each caller.
#[derive(Debug)]
pub(super) struct Rate<K> {
    burst: f64,
    /// Between two calls that go on for ever.
    each: Duration,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl<K: Eq + Hash> Rate<K> {
    /// `burst` calls at once, and one each time that `each` has passed.
    pub(super) fn new(burst: u32, each: Duration) -> Self {
        Self {
            burst: burst.into(),
            each,
            buckets: Mutex::default(),
        }
    }

    /// Whether `caller` may ask now.
    pub(super) fn admit(&self, caller: K, now: Instant) -> bool {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MOST {
            buckets.retain(|_, bucket| self.filled(*bucket, now) < self.burst);
        }
        if buckets.len() >= MOST {
            return false;
        }
        let full = Bucket {
            left: self.burst,
            at: now,
        };
        let bucket = buckets.entry(caller).or_insert(full);
        let left = self.filled(*bucket, now) - 1.0;
        if left < 0.0 {
            return false;
        }
        *bucket = Bucket { left, at: now };
        true
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.left + passed / self.each.as_secs_f64()).min(self.burst)
    }
}
