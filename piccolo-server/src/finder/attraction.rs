//! Which racks are worth looking into, whatever their addresses, for requesters of a rack.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use ipnetwork::IpNetwork;
use lru::LruCache;
use parking_lot::RwLock;
use tokio::time::Instant;
use topology::{RackId, Topology};

use crate::bandwidth::Bandwidth;

/// A short-lived cache of the prefixes of attractive racks.
#[derive(Debug)]
pub(super) struct Attraction(RwLock<LruCache<RackId, Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    prefixes: Arc<[IpNetwork]>,
    generation: u64,
    until: Instant,
}

/// Estimates change slowly, and going through all racks is not cheap.
const LASTS: Duration = Duration::from_secs(5);
/// Racks searched besides the neighbours in address order.
const RACKS: usize = 8;
/// Prefixes searched of one rack.
const PREFIXES: usize = 4;
/// Capacity: requesters' racks in the cache.
const MAX_RACKS: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

impl Default for Attraction {
    fn default() -> Self {
        Self(RwLock::new(LruCache::new(MAX_RACKS)))
    }
}

impl Attraction {
    /// The prefixes of the racks with the most available bandwidth, best first, without the
    /// requester's own. `generation` is that of the topology, `wall` the time of the estimates.
    pub(super) fn prefixes(
        &self,
        requester: RackId,
        topology: &Topology,
        generation: u64,
        bandwidth: &Bandwidth,
        wall: Duration,
    ) -> Arc<[IpNetwork]> {
        let now = Instant::now();
        let known = self.0.read();
        // Entries last for seconds, so the order of their insertion is good enough for eviction, and
        // finds share the lock.
        if let Some(entry) = known.peek(&requester)
            && entry.until > now
            && entry.generation == generation
        {
            return Arc::clone(&entry.prefixes);
        }
        drop(known);
        let racks = topology::attractive_racks(
            topology,
            &bandwidth.estimates(),
            wall,
            requester,
            RACKS + 1,
        );
        let racks = racks.into_iter().filter(|rack| *rack != requester);
        let prefixes: Arc<[IpNetwork]> = racks
            .take(RACKS)
            .flat_map(|rack| topology.rack_prefixes(rack).into_iter().take(PREFIXES))
            .collect();
        let entry = Entry {
            prefixes: Arc::clone(&prefixes),
            generation,
            until: now + LASTS,
        };
        self.0.write().put(requester, entry);
        prefixes
    }
}
