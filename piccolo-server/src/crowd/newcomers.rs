//! Nodes that have not announced themselves yet, and call from their own addresses: an agent that has just
//! begun waits for some seconds before it announces what it has.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use parking_lot::Mutex;
use piccolo_api::Holder;

/// How long one is remembered after its last call.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How many are remembered.
const MOST: usize = 1 << 16;

/// One node for each address, so that nobody can invent more of them than it has addresses.
#[derive(Debug, Default)]
pub(super) struct Newcomers(Mutex<HashMap<IpAddr, (Holder, Duration)>>);

impl Newcomers {
    /// Whether a node that calls from `source`, its own address, may take part: it is the first from there.
    pub(super) fn take(&self, source: IpAddr, holder: Holder, now: Duration) -> bool {
        let mut known = self.0.lock();
        let has_room = known.len() < MOST;
        match known.entry(source) {
            Entry::Occupied(mut entry) => {
                let is_it = entry.get().0 == holder;
                if is_it {
                    entry.get_mut().1 = now;
                }
                is_it
            }
            Entry::Vacant(entry) if has_room => {
                entry.insert((holder, now));
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    pub(super) fn forget(&self, now: Duration) {
        let mut known = self.0.lock();
        known.retain(|_, (_, at)| now.saturating_sub(*at) < REMEMBERED);
    }
}
