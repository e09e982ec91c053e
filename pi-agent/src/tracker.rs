//! This node as the one that says who takes from whom in its rack, while no server answers.
//!
//! The rules are the server's (`swarm`), with one rack. All of it is soft state, bounded, and begins
//! with the first call: a node that the server is there for never keeps any.

use std::{sync::Arc, time::Duration};

use daemon::clock::Clock;
use parking_lot::Mutex;
use piccolo_api::{Fetch, FindRequest, Holder, Progress, ProgressRequest, Standing, Turn};
use swarm::{Key, NodePlace, Rack, Rules, Swarm, Zone, wire};
use tokio::time::Instant;

/// Most members, one for each node and blob: a rack of hundreds that pulls an image of dozens of layers.
const MAX_MEMBERS: usize = 16_384;
/// Interval of expiry checks.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);
/// All nodes are in one rack here.
const HERE: NodePlace = NodePlace {
    rack: Rack(0),
    zone: Zone(0),
};

/// A node of the rack, as the rules know it: one rack is one group.
fn caller(node: Holder) -> wire::Caller {
    wire::Caller {
        node,
        place: HERE,
        group: 0,
        stalled: false,
    }
}

/// Who of the rack takes which blob from whom. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    live: Mutex<Option<Live>>,
}

#[derive(Debug)]
struct Live {
    swarm: Swarm<Holder>,
    began: Instant,
    ticked: Instant,
}

impl Tracker {
    /// One that nobody has called yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            clock,
            live: Mutex::default(),
        }))
    }

    /// What a node that is about to fetch is to do about each key; nothing where it does not say which
    /// node it is.
    pub(crate) fn find(&self, call: &FindRequest) -> Vec<Option<Turn>> {
        let new = Fetch::default();
        let turn = |(n, key): (usize, &String)| {
            let fetch = call.fetches.get(n).unwrap_or(&new);
            Some(self.join(call.holder?, key, fetch))
        };
        call.keys.iter().enumerate().map(turn).collect()
    }

    fn join(&self, node: Holder, key: &str, fetch: &Fetch) -> Turn {
        // Whom this is told knows its rack.
        let rack = |_| String::new();
        self.with(|swarm, now| {
            let answer = wire::join(swarm, now, key_of(key), caller(node), fetch);
            wire::turn(answer, now, rack)
        })
    }

    /// How a node stands with each key that it says how far it is with.
    pub(crate) fn progress(&self, call: &ProgressRequest) -> Vec<Standing> {
        let standing = |fetch: &Progress| {
            self.with(|swarm, now| {
                let (key, caller) = (key_of(&fetch.key), caller(call.holder));
                wire::report(swarm, now, key, caller, fetch, |_| HERE).0
            })
        };
        call.fetches.iter().map(standing).collect()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Swarm<Holder>, Duration) -> T) -> T {
        let at = Instant::now();
        let mut live = self.0.live.lock();
        let live = live.get_or_insert_with(|| {
            let epoch = u32::try_from(self.0.clock.now().as_secs()).unwrap_or(u32::MAX);
            Live {
                swarm: Swarm::new(rules(), epoch, Duration::ZERO),
                began: at,
                ticked: at,
            }
        });
        let now = at.saturating_duration_since(live.began);
        if at.saturating_duration_since(live.ticked) >= EXPIRY_INTERVAL {
            live.ticked = at;
            live.swarm.tick(now);
            // Nobody looks at what changed.
            live.swarm.changes().for_each(drop);
        }
        act(&mut live.swarm, now)
    }
}

fn rules() -> Rules {
    Rules {
        // There is no other rack to take from.
        stripes: 1,
        most_members: MAX_MEMBERS,
        ..Rules::default()
    }
}

/// The key's number, the same on every node of the rack.
pub(crate) fn key_of(key: &str) -> Key {
    let hash = blake3::hash(key.as_bytes());
    let first = hash.as_bytes().first_chunk();
    Key(u128::from_be_bytes(first.copied().unwrap_or_default()))
}
