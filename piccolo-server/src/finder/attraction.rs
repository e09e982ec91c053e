//! Which racks are worth looking into, whatever their addresses, for requesters of a rack.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ipnetwork::IpNetwork;
use parking_lot::RwLock;
use tokio::time::Instant;
use topology::{RackId, Topology};

use crate::bandwidth::Bandwidth;

/// The prefixes of attractive racks, for a moment.
#[derive(Debug, Default)]
pub(super) struct Attraction(RwLock<HashMap<RackId, Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    prefixes: Arc<[IpNetwork]>,
    generation: u64,
    until: Instant,
}

/// Estimates change slowly, and going through all racks is not cheap.
const LASTS: Duration = Duration::from_secs(5);
/// Racks that are looked into, beside the neighbours in address order.
const RACKS: usize = 8;
/// Prefixes of one rack that are looked into.
const PREFIXES: usize = 4;
/// Requesters' racks that are remembered.
const MOST: usize = 16_384;

impl Attraction {
    /// The prefixes of the racks from which most is to be had, best first, beside the requester's
    /// own. `generation` is that of the topology, `wall` the time of the estimates.
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
        if let Some(entry) = known.get(&requester)
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
        let mut known = self.0.write();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(requester, entry);
        prefixes
    }
}
