//! A request's place in a crowd: the server names one source after the other, until it leaves the
//! rest to the registry.

use std::{sync::Arc, time::Duration};

use piccolo_api::{Fault, Fetch, Holder, Tried, Verdict};
use tokio::time::Instant;

use super::{Finder, count, crowd::Member};
use crate::{digest::Digest, fetch::exchange::PeerError, jitter::Jitter};

/// Deadline of a request for finding a source. The server lets it go to the registry earlier,
/// within the registry's budget.
const PATIENCE: Duration = Duration::from_secs(12);
/// The most sources tried for one byte.
const MOST: usize = 32;
/// The shortest interval between two joins, whatever the server asks for.
const PAUSE: Duration = Duration::from_millis(10);
/// Shortest interval between lookups of complete holders while waiting.
const HEARD: Duration = Duration::from_secs(1);

/// A request in a crowd.
#[derive(Debug)]
pub(super) struct Seat {
    finder: Arc<dyn Finder>,
    member: Arc<Member>,
    digest: Digest,
    jitter: Jitter,
    /// When it was told to wait and also heard who has it all.
    heard: Option<Instant>,
    /// Since when no byte came.
    since: Instant,
    /// Sources that were tried since.
    tried: usize,
}

/// What a request is to do.
#[derive(Debug)]
pub(super) enum Course {
    /// Take from any of these, which have it all.
    Peers(Vec<Holder>),
    /// Take from this one, which is getting it itself.
    Growing(Holder),
    /// Take from this one, which has it all, or from one of these, which do too.
    Complete(Holder, Vec<Holder>),
    /// Leave it to the registry.
    Registry,
}

impl Seat {
    pub(super) fn new(
        finder: Arc<dyn Finder>,
        member: Arc<Member>,
        digest: Digest,
        jitter: Jitter,
    ) -> Self {
        Self {
            finder,
            member,
            digest,
            jitter,
            heard: None,
            since: Instant::now(),
            tried: 0,
        }
    }

    /// Asks what to do about the byte at `offset`, and waits as long as that is the answer.
    pub(super) async fn ask(&mut self, offset: u64) -> Course {
        while self.tried < MOST {
            let waited = self.since.elapsed();
            let waiting = self.heard.is_some_and(|heard| heard.elapsed() < HEARD);
            let tried = self.member.take_tried();
            let fetch = Fetch {
                offset,
                tried: tried.clone(),
                waited_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
                rank: self.member.rank(),
                waiting,
            };
            let joined = self.finder.join(&self.digest, fetch).await;
            if !joined.is_heard {
                self.member.untold(tried);
            }
            let Some(turn) = joined.turn else {
                count::turn("alone");
                self.member.alone();
                let peers = joined.peers.into_iter();
                return Course::Peers(peers.map(|peer| peer.addr).collect());
            };
            self.member.ranked(turn.rank);
            match turn.verdict {
                Verdict::Permit { .. } => {
                    count::turn("permit");
                    self.member.permitted();
                    return Course::Registry;
                }
                Verdict::Take { sources } => {
                    let Some(source) = sources.first() else {
                        return Course::Registry;
                    };
                    count::turn("take");
                    self.tried += 1;
                    self.member.takes(source.addr);
                    if source.complete {
                        let others = joined.peers.iter().map(|peer| peer.addr);
                        return Course::Complete(source.addr, others.collect());
                    }
                    return Course::Growing(source.addr);
                }
                Verdict::Wait { wait_ms } => {
                    count::turn("wait");
                    self.member.waits();
                    if !waiting {
                        self.heard = Some(Instant::now());
                    }
                    let wait = Duration::from_millis(wait_ms.into()).max(PAUSE);
                    let wait = self.jitter.around(wait);
                    if self.since.elapsed() + wait > PATIENCE {
                        return Course::Registry;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
        Course::Registry
    }

    /// Bytes came.
    pub(super) fn moved(&mut self) {
        self.heard = None;
        self.since = Instant::now();
        self.tried = 0;
    }

    /// A source is not asked, since it sent wrong bytes before.
    pub(super) fn refused(&mut self, source: Holder) {
        count::handed_over("wrong");
        let fault = Fault::Wrong;
        self.member.gave_up(Tried { source, fault });
    }

    /// A source did not deliver.
    pub(super) fn failed(&mut self, source: Holder, error: &PeerError) {
        let (fault, name) = match error {
            PeerError::Missing | PeerError::Body(_) | PeerError::OtherList(_) => {
                (Fault::Empty, "empty")
            }
            PeerError::Busy(_) => (Fault::Busy, "busy"),
            PeerError::WrongBytes | PeerError::WrongChunk(_) => (Fault::Wrong, "wrong"),
            _ => (Fault::Silent, "silent"),
        };
        count::handed_over(name);
        self.member.gave_up(Tried { source, fault });
    }
}
