//! A holder that may be answered to a requester.

use std::net::SocketAddr;

use serde::Serialize;

use crate::RackId;

/// One holder of the key. The caller fills in what it knows; [`crate::rank()`] does the rest.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub holder: SocketAddr,
    /// For the caller's use; it stays with the candidate.
    pub index: u32,
    pub state: HolderState,
    pub load: Load,
    pub(crate) place: Standing,
}

/// How much of the blob the holder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderState {
    Complete,
    /// It is still fetching; it ranks after all complete ones.
    Fetching,
}

/// How busy a holder is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Load {
    /// What it reported: 0 idle, 1 all its upload slots in use.
    pub reported: Option<f32>,
    /// How often it was recently handed out, beyond what its report includes. Count a first place
    /// as one, a second as a half, and so on.
    pub handed_out: f32,
}

/// What the ranking found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) rack: RackId,
    pub(crate) score: f64,
    pub(crate) group: Group,
    pub(crate) tier: u16,
    pub(crate) remote: bool,
    pub(crate) spread: u64,
    /// Group, tier and spread, in one number.
    pub(crate) order: u64,
    pub(crate) moved: Moved,
}

/// Why a candidate has its place, besides score and chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Moved {
    No,
    /// It was moved before its neighbour, which has more load.
    LessLoaded,
    /// It was moved behind its neighbour, which has less load.
    MoreLoaded,
    /// It is in one of the places kept for other racks.
    KeptRemote,
    /// Its path was slow, and is due to be measured again.
    Probe,
}

/// Groups come one after the other, whatever the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    Complete,
    Fetching,
    /// Only over a path that the file forbids.
    Forbidden,
    /// The requester itself.
    Requester,
}

impl Candidate {
    pub fn new(holder: SocketAddr, index: u32) -> Self {
        Self {
            holder,
            index,
            state: HolderState::Complete,
            load: Load::default(),
            place: Standing {
                rack: RackId::guessed(holder.ip(), 0),
                score: 0.0,
                group: Group::Complete,
                tier: 0,
                remote: false,
                spread: 0,
                order: 0,
                moved: Moved::No,
            },
        }
    }

    /// Its rack, as the last [`crate::rank()`] found.
    pub fn rack(&self) -> RackId {
        self.place.rack
    }

    /// Its score, as the last [`crate::rank()`] found.
    pub fn score(&self) -> f64 {
        self.place.score
    }

    /// How many tiers it is below the best, as the last [`crate::rank()`] found.
    pub fn tier(&self) -> u16 {
        self.place.tier
    }

    /// Whether the last [`crate::rank()`] put it first to measure its path again.
    pub fn is_probe(&self) -> bool {
        self.place.moved == Moved::Probe
    }

    /// Whether it is in another rack than the requester, as the last [`crate::rank()`] found.
    pub fn is_remote(&self) -> bool {
        self.place.remote
    }
}

impl Load {
    /// Places handed out that count like half of the holder's free capacity.
    const HALF: f64 = 8.0;

    pub(crate) fn is_known(self) -> bool {
        self.reported.is_some() || self.handed_out > 0.0
    }

    /// 0 idle, 1 full.
    pub(crate) fn pressure(self) -> f64 {
        let reported = self.reported.map_or(0.0, sane);
        let handed_out = f64::from(self.handed_out.max(0.0)).min(1e6);
        reported + (1.0 - reported) * handed_out / (handed_out + Self::HALF)
    }
}

fn sane(share: f32) -> f64 {
    if share.is_nan() {
        1.0
    } else {
        f64::from(share.clamp(0.0, 1.0))
    }
}
