//! The flash crowd: of nodes that fetch a key at the same time, which one fetches it from which.
//!
//! The rules are `swarm`'s. Here are their clock, and what they need to know of nodes and racks. All of
//! it is soft state: after a restart nodes tell what they fetch.

mod count;
mod heard;
mod losses;
mod newcomers;
mod view;

use std::{net::IpAddr, sync::Arc, time::Duration};

use daemon::{clock::Clock, scope::Scope, spell::Spell};
use parking_lot::Mutex;
use piccolo_api::{End, Fetch, Group, Holder, Progress, Standing, Turn, Verdict};
use swarm::{Answer, Key, NodePlace, Rack, Rules, Swarm, Zone, wire};
use tokio::time::Instant;
use topology::Topology;
use tracing::{debug, warn};

pub(crate) use self::{count::METRICS, view::View};
use self::{heard::Heard, losses::Losses, newcomers::Newcomers};
use crate::{
    finder::Found,
    instances::{Instances, Tenure},
    key_hash::KeyHash,
};

/// Holders that are told to the rules with a join: the best for the asker. Where there are more, the
/// others are as far away as these, or farther.
const HOLDERS: usize = 16;
/// Racks of one explanation.
const RACKS: usize = 2000;
/// Interval of expiry checks.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);

/// How long a node that has not announced itself waits for its turn where nobody has the key whole. An agent
/// without content announces itself three seconds after its start, and other instances hear of it a second later.
const STRANGERS_WAIT: Duration = Duration::from_secs(8);
/// Between two joins of such a node.
const STRANGERS_PAUSE: Duration = Duration::from_millis(500);

/// All keys that are being fetched, of all groups.
#[derive(Debug)]
pub(crate) struct Crowd {
    started: Instant,
    swarm: Mutex<Swarm<Holder>>,
    heard: Heard,
    losses: Losses,
    newcomers: Newcomers,
    /// Keys that were cut because of a false chunk list.
    cuts: Spell,
}

/// The requester.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    /// Groups share nothing, so a key is another one in each.
    group: u128,
    holder: Holder,
    /// The address from which it calls.
    source: IpAddr,
    place: NodePlace,
    topology: &'a Topology,
}

impl<'a> Fetcher<'a> {
    /// The node of a group that serves its peers at `holder`, and calls from `source`.
    pub(crate) fn new(
        group: &Group,
        holder: Holder,
        source: IpAddr,
        topology: &'a Topology,
    ) -> Self {
        Self {
            source,
            group: group_hash(group),
            holder,
            place: place(topology, holder.ip()),
            topology,
        }
    }

    /// The address from which the node calls.
    pub(crate) fn source(&self) -> IpAddr {
        self.source
    }

    fn caller(&self, stalled: bool) -> wire::Caller {
        wire::Caller {
            node: self.holder,
            place: self.place,
            group: self.group,
            stalled,
        }
    }

    /// What the rules call a key of the node's group.
    pub(crate) fn key(&self, key: &KeyHash) -> Key {
        key_of(self.group, key)
    }
}

fn group_hash(group: &Group) -> u128 {
    u128::from_be_bytes(KeyHash::of(group.as_str()).0)
}

/// What the rules call a key of a group.
pub(crate) fn key_in(group: &Group, key: &KeyHash) -> Key {
    key_of(group_hash(group), key)
}

fn key_of(group: u128, key: &KeyHash) -> Key {
    Key(group ^ u128::from_be_bytes(key.0))
}

impl Crowd {
    pub(crate) fn new(rules: Rules, clock: &Clock) -> Self {
        let epoch = u32::try_from(clock.now().as_secs()).unwrap_or(u32::MAX);
        Self {
            started: Instant::now(),
            swarm: Mutex::new(Swarm::new(rules, epoch, Duration::ZERO)),
            heard: Heard::default(),
            losses: Losses::default(),
            newcomers: Newcomers::default(),
            cuts: Spell::new("chunk lists are right again"),
        }
    }

    /// Ends what ran out, forgets what `instances` decide elsewhere, and counts, until the scope drains.
    pub(crate) async fn run(&self, scope: Scope, instances: Option<Arc<Instances>>) {
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = tokio::time::sleep(EXPIRY_INTERVAL) => {}
            }
            let now = self.now();
            self.cuts.is_well();
            let mut swarm = self.swarm.lock();
            if let Some(instances) = &instances {
                let elsewhere = swarm.keys().filter(|key| instances.is_elsewhere(*key));
                for key in elsewhere {
                    swarm.forget(key);
                    self.heard.drop(key);
                }
            }
            swarm.tick(now);
            self.note_changes(&mut swarm);
            self.losses.keep(swarm.keys());
            let mut totals = swarm.totals();
            drop(swarm);
            let waits = self.heard.waits();
            totals.joins += waits;
            totals.waits += waits;
            count::show(&totals);
            self.heard.forget(now);
            self.newcomers.forget(now);
        }
    }

    fn note_changes(&self, swarm: &mut Swarm<Holder>) {
        for change in swarm.changes() {
            self.losses.note(&change);
            debug!(key = %hex::encode(change.key.0.to_be_bytes()), node = ?change.node, event = ?change.event, "crowd");
        }
    }

    /// Whether nodes that call from `source` have lost too many permits for the key.
    fn has_stalled(
        &self,
        swarm: &mut Swarm<Holder>,
        (now, key): (Duration, Key),
        source: IpAddr,
    ) -> bool {
        swarm.expire(now, key);
        self.note_changes(swarm);
        self.losses.are_too_many(key, source)
    }

    /// A node is about to fetch a key of which `found` are the complete holders.
    pub(crate) fn join(
        &self,
        who: Fetcher<'_>,
        key: &KeyHash,
        fetch: &Fetch,
        found: &Found,
        tenure: Tenure,
    ) -> Turn {
        let key = who.key(key);
        let is_given_up = |holder: &Holder| fetch.tried.iter().any(|tried| tried.source == *holder);
        let holders: Vec<_> = found
            .candidates
            .iter()
            .take(HOLDERS)
            .filter_map(|candidate| Holder::new(candidate.holder).ok())
            .filter(|holder| !is_given_up(holder))
            .map(|holder| (holder, place(who.topology, holder.ip())))
            .collect();
        if holders.is_empty()
            && let Some(turn) = self.heard.wait(key, tenure, fetch)
        {
            return turn;
        }
        let now = self.now();
        let mut swarm = self.swarm.lock();
        let stalled = self.has_stalled(&mut swarm, (now, key), who.source);
        for (holder, place) in holders {
            swarm.holder(now, key, holder, place);
        }
        let answer = wire::join(&mut swarm, now, key, who.caller(stalled), fetch);
        drop(swarm);
        self.answered(key, answer, now, who)
    }

    /// A node that has not announced itself is about to fetch a key: nobody is sent to it, and it gets no
    /// permit, or an address could invent any number of them. It takes from complete holders, or waits
    /// until its announcement is there, and is left to itself after that.
    pub(crate) fn stranger(fetch: &Fetch, found: &Found) -> Option<Turn> {
        Self::count_stranger();
        let waited = Duration::from_millis(fetch.waited_ms.into());
        let may_wait = found.candidates.is_empty() && waited < STRANGERS_WAIT;
        may_wait.then(|| Turn {
            rank: fetch.rank,
            verdict: Verdict::Wait {
                wait_ms: u32::try_from(STRANGERS_PAUSE.as_millis()).unwrap_or(u32::MAX),
            },
        })
    }

    /// Whether a node that has not announced itself, and calls from its own address, takes part all the same.
    pub(crate) fn takes_newcomer(&self, source: IpAddr, holder: Holder) -> bool {
        self.newcomers.take(source, holder, self.now())
    }

    /// A call about a crowd came from a node that has not announced itself.
    pub(crate) fn count_stranger() {
        metrics::counter!(count::STRANGERS.name).increment(1);
    }

    /// A node that was told to wait asks again; `None` where its key has to be looked up first, since
    /// nothing is known of it here.
    pub(crate) fn join_again(
        &self,
        who: Fetcher<'_>,
        key: &KeyHash,
        fetch: &Fetch,
        tenure: Tenure,
    ) -> Option<Turn> {
        let key = who.key(key);
        let now = self.now();
        let mut swarm = self.swarm.lock();
        let stalled = self.has_stalled(&mut swarm, (now, key), who.source);
        // Where this instance has yet to hear of the key, holders may be known to the database alone.
        if !swarm.knows(key, who.holder) || self.heard.lacks(key, tenure).is_some() {
            return None;
        }
        let answer = wire::join(&mut swarm, now, key, who.caller(stalled), fetch);
        drop(swarm);
        Some(self.answered(key, answer, now, who))
    }

    fn answered(&self, key: Key, answer: Answer<Holder>, now: Duration, who: Fetcher<'_>) -> Turn {
        if matches!(answer.verdict, swarm::Verdict::Permit(_)) {
            self.heard.note(key, now);
            self.losses.given(key, who.holder, who.source);
        }
        let rack = |node: Holder| {
            let rack = who.topology.locate(node.ip());
            who.topology.rack_name(rack).into_owned()
        };
        wire::turn(answer, now, rack)
    }

    /// A node reports its progress with a key.
    pub(crate) fn progress(
        &self,
        who: Fetcher<'_>,
        key: &KeyHash,
        progress: &Progress,
    ) -> Standing {
        let key = who.key(key);
        let now = self.now();
        let place_of = |maker: Holder| place(who.topology, maker.ip());
        let mut swarm = self.swarm.lock();
        let stalled = self.has_stalled(&mut swarm, (now, key), who.source);
        let caller = who.caller(stalled);
        let (standing, is_cut) = wire::report(&mut swarm, now, key, caller, progress, place_of);
        if standing == Standing::Permit {
            self.losses.given(key, who.holder, who.source);
        }
        if is_cut && let Some(maker) = progress.refused {
            self.cuts.happened(|times| {
                warn!(%maker, by = %who.holder, key = %progress.key, times, "a chunk list was false: all begin again");
            });
        }
        let is_complete = progress.refused.is_none() && progress.end == Some(End::Complete);
        if is_complete || standing == Standing::Permit {
            self.heard.note(key, now);
        }
        standing
    }

    /// What the crowd for a key looks like, and whom a node of it takes it from; `None` where nobody
    /// fetches the key.
    pub(crate) fn explain(
        &self,
        (group, key): (&Group, &KeyHash),
        node: Option<Holder>,
        topology: &Topology,
    ) -> Option<View> {
        let key = key_in(group, key);
        let swarm = self.swarm.lock();
        let herd = swarm.explain(self.now(), key, RACKS)?;
        let path = node.map(|node| swarm.trace(key, node)).unwrap_or_default();
        drop(swarm);
        Some(View::new(&herd, path, topology))
    }

    /// A node has keys of its group no more.
    pub(crate) fn withdrawn(&self, group: &Group, holder: Holder, keys: &[KeyHash]) {
        let group = group_hash(group);
        let now = self.now();
        let mut swarm = self.swarm.lock();
        for key in keys {
            swarm.withdrawn(now, key_of(group, key), holder);
        }
    }

    /// A node is gone.
    pub(crate) fn gone(&self, holder: Holder) {
        self.swarm.lock().gone(self.now(), holder);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Where an address stands, in numbers that are the same on each instance.
fn place(topology: &Topology, ip: IpAddr) -> NodePlace {
    NodePlace {
        rack: Rack(topology.locate(ip).number()),
        zone: Zone::default(),
    }
}
