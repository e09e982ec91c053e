//! The rules' words as agents and servers write them to each other.

use std::time::Duration;

use piccolo_api::Holder;

use crate::{Answer, Fault, Rank, Source, Standing, Tried, Verdict};

/// A source that a node says it gave up. What a newer agent calls otherwise counts as silence.
pub fn tried(tried: &piccolo_api::Tried) -> Tried<Holder> {
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

/// The rank that a node says it has.
pub fn rank(rank: piccolo_api::Rank) -> Rank {
    let piccolo_api::Rank { epoch, rack, place } = rank;
    Rank { epoch, rack, place }
}

/// How a node stands that said how far it is.
pub fn standing(standing: Standing) -> piccolo_api::Standing {
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
        Verdict::Take { sources, .. } => piccolo_api::Verdict::Take {
            sources: sources.into_iter().map(source).collect(),
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
