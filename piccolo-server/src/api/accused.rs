//! Nodes that other nodes report: several of these take one out, unless they could not know, or too many
//! are out already.

use daemon::spell::Spell;
use piccolo_api::{Failure, FailureKind};
use tracing::{info, warn};

use super::subject::Subject;
use crate::{nodes::Accusation, packed::Packed, store::NodeKey};

/// The log lines about nodes that were reported.
#[derive(Debug)]
pub(crate) struct Accused {
    taken_out: Spell,
    too_many: Spell,
    not_counted: Spell,
}

impl Accused {
    pub(crate) fn new() -> Self {
        Self {
            taken_out: Spell::new("no node was taken out of late"),
            too_many: Spell::new("no node stayed of late although several peers reported it"),
            not_counted: Spell::new(
                "no node was reported of late by nodes that were not sent there",
            ),
        }
    }

    /// Notes which peers failed a node. A peer that is busy, or does not have the object, is healthy.
    pub(super) fn reported(&self, subject: &Subject, failures: &[Failure], now: i64) {
        self.taken_out.is_well();
        self.too_many.is_well();
        self.not_counted.is_well();
        let Some(by) = subject.node else {
            return;
        };
        let spaces = subject.database.spaces(&subject.group);
        let nodes = subject.database.nodes();
        for failure in failures.iter().filter(|failure| is_fault(failure.kind)) {
            let holder = Packed::from(failure.peer);
            let Some(space) = spaces.of(holder.family()) else {
                continue;
            };
            let peer = NodeKey { space, holder };
            let accusation = nodes.accuse(peer, (by, subject.source), now);
            self.tell(subject, failure, accusation);
        }
    }

    fn tell(&self, subject: &Subject, failure: &Failure, accusation: Accusation) {
        let (peer, group, by) = (failure.peer, &subject.group, subject.holder);
        match accusation {
            Accusation::Counted | Accusation::NoNode => {}
            Accusation::TakesOut => self.taken_out.happened(|times| {
                info!(%peer, %group, times, "taken out: several peers reported it");
            }),
            Accusation::TooManyOut => self.too_many.happened(|times| {
                warn!(
                    %peer, %group, %by, times,
                    "several peers reported it, and it stays: a tenth of its group is out already. \
                     Either the network between the nodes fails, or somebody reports nodes that are well"
                );
            }),
            Accusation::NotHanded => self.not_counted.happened(|times| {
                warn!(
                    %peer, %group, %by, caller = %subject.source, times,
                    "a node was reported by one that no find of this server sent there: not counted. A busy \
                     peer or the rack may have named it, or the report is false"
                );
            }),
        }
    }
}

fn is_fault(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Refused
        | FailureKind::Unreachable
        | FailureKind::Stalled
        | FailureKind::Cut
        | FailureKind::WrongBytes
        | FailureKind::Protocol => true,
        // The certificate at fault may be that of the node that says so.
        FailureKind::Missing | FailureKind::Busy | FailureKind::Identity | FailureKind::Other => {
            false
        }
    }
}
