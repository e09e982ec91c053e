//! Which peers did not deliver, for the tables that people read.

use std::{net::IpAddr, num::NonZeroUsize, time::Instant};

use lru::LruCache;
use parking_lot::Mutex;
use piccolo_api::{FailureKind, Holder};

/// Most peers whose failures are remembered; the one with the oldest failure is evicted first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

#[derive(Debug)]
pub(super) struct Failures(Mutex<LruCache<IpAddr, PeerFailures>>);

/// The failures of one peer since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFailures {
    /// How many.
    pub count: u64,
    /// The last error.
    pub last: FailureKind,
    /// When that was.
    pub at: Instant,
}

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }
}

impl Failures {
    pub(super) fn note(&self, peer: Holder, kind: FailureKind) {
        let mut failures = self.0.lock();
        let one = failures.get_or_insert_mut(peer.ip(), || PeerFailures {
            count: 0,
            last: kind,
            at: Instant::now(),
        });
        *one = PeerFailures {
            count: one.count + 1,
            last: kind,
            at: Instant::now(),
        };
    }

    pub(super) fn all(&self) -> Vec<(IpAddr, PeerFailures)> {
        let failures = self.0.lock();
        failures.iter().map(|(ip, one)| (*ip, *one)).collect()
    }
}
