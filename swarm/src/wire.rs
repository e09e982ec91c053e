//! The rules' words as agents and servers write them to each other.

use std::time::Duration;

use piccolo_api::{End, Fetch, Holder};

use crate::{
    Answer, Fault, Join, Key, NodePlace, Progress, Rank, Registry, Source, Standing, Swarm, Tried,
    Verdict, rendezvous,
};

/// A node that calls, as who is called knows it.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    pub node: Holder,
    pub place: NodePlace,
    /// The hash of its group: registries of other groups are others.
    pub group: u128,
    /// The same as [`Join::stalled`].
    pub stalled: bool,
}

/// A node wants a key, as it says it on the wire.
pub fn join(
    swarm: &mut Swarm<Holder>,
    now: Duration,
    key: Key,
    caller: Caller,
    fetch: &Fetch,
) -> Answer<Holder> {
    let tried: Vec<_> = fetch.tried.iter().map(tried).collect();
    let join = Join {
        node: caller.node,
        place: caller.place,
        offset: fetch.offset,
        tried: &tried,
        // Older agents take from one source at a time.
        sources: fetch.sources.map_or(1, sources),
        waited_ms: fetch.waited_ms,
        stalled: caller.stalled,
        rank: fetch.rank.map(rank),
    };
    swarm.join(now, key, &join)
}

/// A node says how far it is with a key, how its fetch ended, or who made a false chunk list of it; `place_of` is
/// where that one is. Gives how the node stands, and whether all begin again.
pub fn report(
    swarm: &mut Swarm<Holder>,
    now: Duration,
    key: Key,
    caller: Caller,
    progress: &piccolo_api::Progress,
    place_of: impl Fn(Holder) -> NodePlace,
) -> (piccolo_api::Standing, bool) {
    let Caller { node, place, .. } = caller;
    if let Some(maker) = progress.refused {
        let is_cut = swarm.refused(now, key, node, maker, place_of(maker));
        return (piccolo_api::Standing::Noted, is_cut);
    }
    match progress.end {
        Some(End::Complete) => swarm.fetched(now, key, node, place),
        Some(End::Failed) => swarm.leave(now, key, node),
        None => {
            let said = Progress {
                node,
                place,
                bytes: progress.bytes,
                rank: progress.rank.map(rank),
                permit: progress.permit,
                registry: progress
                    .registry
                    .as_deref()
                    .map(|name| registry(caller.group, name)),
                stalled: caller.stalled,
            };
            let heard = swarm.progress(now, key, &said).standing;
            if progress.slow {
                swarm.slows(now, key, node);
            }
            return (standing(heard), false);
        }
    }
    (piccolo_api::Standing::Noted, false)
}

/// A source that a node says it gave up. What a newer agent calls otherwise counts as silence.
fn tried(tried: &piccolo_api::Tried) -> Tried<Holder> {
    let fault = match tried.fault {
        piccolo_api::Fault::Silent | piccolo_api::Fault::Other => Fault::Silent,
        piccolo_api::Fault::Empty => Fault::Empty,
        piccolo_api::Fault::Slow => Fault::Slow,
        piccolo_api::Fault::Busy => Fault::Busy,
        piccolo_api::Fault::Wrong => Fault::Wrong,
    };
    Tried {
        source: tried.source,
        fault,
    }
}

/// From how many sources at once an agent that says so can take.
fn sources(said: u32) -> usize {
    usize::try_from(said).unwrap_or(usize::MAX).max(1)
}

/// The number of a group's registry.
fn registry(group: u128, name: &str) -> Registry {
    Registry(rendezvous::hash(group, name))
}

fn rank(rank: piccolo_api::Rank) -> Rank {
    let piccolo_api::Rank { epoch, rack, place } = rank;
    Rank { epoch, rack, place }
}

fn standing(standing: Standing) -> piccolo_api::Standing {
    match standing {
        Standing::Permit { .. } => piccolo_api::Standing::Permit,
        Standing::Lost => piccolo_api::Standing::Lost,
        Standing::Noted | Standing::Unknown => piccolo_api::Standing::Noted,
    }
}

/// What a node is to do at `now`, with the name of each source's rack.
pub fn turn(
    answer: Answer<Holder>,
    now: Duration,
    rack: impl Fn(Holder) -> String,
) -> piccolo_api::Turn {
    let left = |until: Duration| {
        let left = until.saturating_sub(now).as_millis();
        u32::try_from(left).unwrap_or(u32::MAX)
    };
    let source = |source: Source<Holder>| piccolo_api::Source {
        addr: source.node,
        rack: rack(source.node),
        bytes: source.bytes,
        complete: source.complete,
    };
    let verdict = match answer.verdict {
        Verdict::Take { sources, again } => piccolo_api::Verdict::Take {
            sources: sources.into_iter().map(source).collect(),
            again_ms: again.map(left),
        },
        Verdict::Permit(permit) => piccolo_api::Verdict::Permit {
            lease_ms: left(permit.until),
        },
        Verdict::Wait { until, .. } => piccolo_api::Verdict::Wait {
            wait_ms: left(until),
        },
    };
    let rank = |Rank { epoch, rack, place }| piccolo_api::Rank { epoch, rack, place };
    piccolo_api::Turn {
        rank: answer.rank.map(rank),
        verdict,
    }
}
