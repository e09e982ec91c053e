//! What is counted of containerd's requests.

use daemon::metric::Metric;
use metrics::{Counter, counter};

use crate::http::Kind;

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "piccolo_agent_mirror_requests_total",
        &[
            ("kind", "manifest, blob, other"),
            (
                "outcome",
                "own, peer, told (a tag, as its registry described it), miss, private (a manifest that is left \
                 to its registry), range, short, gone, invalid",
            ),
        ],
        "Requests of containerd, by outcome.",
    ),
    Metric::counter(
        "piccolo_agent_mirror_bytes_total",
        &[("source", "own, peer, peer-growing")],
        "Bytes of objects given to containerd, by where they came from; peer-growing is what was \
         fetched together with other nodes.",
    ),
];

/// Handles of the counters.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) own_bytes: Counter,
    pub(super) peer_bytes: Counter,
    pub(super) crowd_bytes: Counter,
    requests: [[Counter; 9]; 3],
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MirrorOutcome {
    /// Answered from this node's own content.
    Own,
    /// Answered with a peer's.
    Peer,
    /// A tag's HEAD, answered as the registry had answered it.
    Told,
    /// Left to the next mirror or the registry.
    Miss,
    /// A manifest of a private repository, left to the registry.
    Private,
    /// The object has no such part.
    Range,
    /// The reply ended early, for want of peers.
    Short,
    /// containerd went away.
    Gone,
    /// It is no request that is understood.
    Invalid,
}

const OUTCOMES: [MirrorOutcome; 9] = [
    MirrorOutcome::Own,
    MirrorOutcome::Peer,
    MirrorOutcome::Told,
    MirrorOutcome::Miss,
    MirrorOutcome::Private,
    MirrorOutcome::Range,
    MirrorOutcome::Short,
    MirrorOutcome::Gone,
    MirrorOutcome::Invalid,
];

impl Counts {
    pub(super) fn new() -> Self {
        let request = |kind: &'static str, outcome: &'static str| counter!("piccolo_agent_mirror_requests_total", "kind" => kind, "outcome" => outcome);
        let bytes =
            |source: &'static str| counter!("piccolo_agent_mirror_bytes_total", "source" => source);
        Self {
            own_bytes: bytes("own"),
            peer_bytes: bytes("peer"),
            crowd_bytes: bytes("peer-growing"),
            requests: ["manifest", "blob", "other"]
                .map(|kind| OUTCOMES.map(|outcome| request(kind, outcome.word()))),
        }
    }

    pub(super) fn request(&self, kind: Option<Kind>, outcome: MirrorOutcome) {
        let row = match kind {
            Some(Kind::Manifest) => 0,
            Some(Kind::Blob) => 1,
            None => 2,
        };
        let column = OUTCOMES.iter().position(|o| *o == outcome);
        let counter = column.and_then(|c| self.requests.get(row)?.get(c));
        if let Some(counter) = counter {
            counter.increment(1);
        }
    }
}

impl MirrorOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Peer => "peer",
            Self::Told => "told",
            Self::Miss => "miss",
            Self::Private => "private",
            Self::Range => "range",
            Self::Short => "short",
            Self::Gone => "gone",
            Self::Invalid => "invalid",
        }
    }
}
