//! A request's place in a crowd: the server names one source after the other, until it leaves the
//! rest to the registry.

use std::{sync::Arc, time::Duration};

use daemon::retry::Backoff;
use piccolo_api::{Fault, Fetch, Holder, Source, Tried, Turn, Verdict};
use tokio::time::Instant;

use super::{Finder, count, crowd::Member};
use crate::{content::Growing, digest::Digest, fetch::exchange::PeerError, jitter::Jitter};

/// How long the server's budget for the registry may take to decide, after the time for which a node is
/// without a byte. Then the node goes there by itself.
pub(super) const BUDGET: Duration = Duration::from_secs(2);
/// The pause after a source was busy: the first, and the longest.
const BUSY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// The most sources tried for one byte.
const MOST: usize = 32;
/// The shortest interval between two joins, whatever the server asks for.
const PAUSE: Duration = Duration::from_millis(10);
/// From how many nodes at once this one can take; the server says how many it shall.
const SOURCES: u32 = 8;
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
    /// Sources that were tried since, but for busy ones.
    tried: usize,
    /// Between what sources that are busy answer and the next question.
    pauses: Backoff,
    pause: Option<Duration>,
    /// How long it may be without a byte before it goes to the registry.
    patience: Duration,
    /// From how many nodes at once it can take.
    sources: u32,
    /// How many it takes from, and when more of them may be there.
    taken: usize,
    again: Option<Instant>,
}

/// What a request is to do.
#[derive(Debug)]
pub(super) enum Course {
    /// Take from any of these, which have it all.
    Peers(Vec<Holder>),
    /// Take from these, which are getting it themselves: from the first, or from all at once.
    Growing(Holder, Vec<Holder>),
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
        (jitter, patience): (Jitter, Duration),
    ) -> Self {
        Self {
            finder,
            member,
            digest,
            jitter,
            heard: None,
            since: Instant::now(),
            tried: 0,
            pauses: Backoff::new(BUSY.0, BUSY.1),
            pause: None,
            patience,
            sources: SOURCES,
            taken: 0,
            again: None,
        }
    }

    /// What the server is told of this node, which has `offset` bytes.
    fn fetch(&self, offset: u64, tried: &[Tried], waited: Duration) -> Fetch {
        Fetch {
            offset,
            tried: tried.to_vec(),
            waited_ms: u32::try_from(waited.as_millis()).unwrap_or(u32::MAX),
            rank: self.member.rank(),
            waiting: false,
            sources: Some(self.sources),
        }
    }

    /// Asks what to do about the byte at `offset`, and waits as long as that is the answer.
    pub(super) async fn ask(&mut self, offset: u64) -> Course {
        if let Some(pause) = self.pause.take()
            && !self.wait(pause).await
        {
            return Course::Registry;
        }
        // Who asks a source after the other has waited for each of them.
        while self.tried == 0 || self.tried < MOST && self.since.elapsed() < self.patience {
            let waited = self.since.elapsed();
            let waiting = self.heard.is_some_and(|heard| heard.elapsed() < HEARD);
            let tried = self.member.take_tried();
            let fetch = Fetch {
                waiting,
                ..self.fetch(offset, &tried, waited)
            };
            self.again = None;
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
                Verdict::Take { sources, again_ms } => {
                    let Some(source) = sources.first() else {
                        return Course::Registry;
                    };
                    count::turn("take");
                    self.tried += 1;
                    if source.complete {
                        self.takes(vec![source.addr], None);
                        let others = joined.peers.iter().map(|peer| peer.addr);
                        return Course::Complete(source.addr, others.collect());
                    }
                    return self.growing(source.addr, &sources, again_ms);
                }
                Verdict::Wait { wait_ms } => {
                    count::turn("wait");
                    self.member.waits();
                    if !waiting {
                        self.heard = Some(Instant::now());
                    }
                    let wait = Duration::from_millis(wait_ms.into()).max(PAUSE);
                    let wait = self.jitter.around(wait);
                    if !self.wait(wait).await {
                        return Course::Registry;
                    }
                }
            }
        }
        Course::Registry
    }

    /// Waits, unless that is longer than this node may be without a byte.
    async fn wait(&self, wait: Duration) -> bool {
        let may_wait = self.since.elapsed() + wait <= self.patience;
        if may_wait {
            tokio::time::sleep(wait).await;
        }
        may_wait
    }

    /// Takes from a node that is getting it itself, and at the same time from others of which that holds
    /// too.
    fn growing(&mut self, first: Holder, named: &[Source], again_ms: Option<u32>) -> Course {
        let most = usize::try_from(self.sources).unwrap_or(1);
        let others = named.iter().filter(|source| !source.complete);
        let others = others.map(|source| source.addr);
        let others: Vec<_> = others
            .filter(|addr| *addr != first)
            .take(most - 1)
            .collect();
        let mut all = vec![first];
        all.extend(&others);
        self.takes(all, again_ms);
        Course::Growing(first, others)
    }

    fn takes(&mut self, from: Vec<Holder>, again_ms: Option<u32>) {
        self.taken = from.len();
        let again = again_ms.filter(|_| self.sources > 1);
        self.again = again.map(later);
        self.member.takes(from);
    }

    /// Waits until the server names more nodes to take from than this one takes from now; for ever where
    /// it will not. What comes meanwhile goes on, whatever else the server says.
    pub(super) async fn more(&mut self, growing: &Growing) -> Course {
        loop {
            let Some(again) = self.again.take() else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(again).await;
            let reached = growing.reached();
            // This may be broken off, so whom it gave up is told when it asks for another source.
            let fetch = self.fetch(reached.bytes, &[], reached.at.elapsed());
            let joined = self.finder.join(&self.digest, fetch).await;
            let Some(Turn { rank, verdict }) = joined.turn else {
                continue;
            };
            self.member.ranked(rank);
            let Verdict::Take { sources, again_ms } = verdict else {
                continue;
            };
            let is_more =
                sources.len() > self.taken && sources.iter().all(|source| !source.complete);
            if is_more && let Some(first) = sources.first() {
                return self.growing(first.addr, &sources, again_ms);
            }
            self.again = again_ms.map(later);
        }
    }

    /// From now on it takes from one node at a time, and first from this one.
    pub(super) fn take_from_one(&mut self, source: Holder) {
        self.sources = 1;
        self.takes(vec![source], None);
    }

    /// This node in the crowd.
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Bytes came.
    pub(super) fn moved(&mut self) {
        self.heard = None;
        self.since = Instant::now();
        self.tried = 0;
        self.pauses.reset();
        self.pause = None;
    }

    /// A source is not asked, since it sent wrong bytes before, or nobody answers there.
    pub(super) fn refused(&mut self, source: Holder, fault: Fault) {
        count::handed_over(if fault == Fault::Wrong {
            "wrong"
        } else {
            "silent"
        });
        self.member.gave_up(Tried { source, fault });
    }

    /// A source did not deliver.
    pub(super) fn failed(&mut self, source: Holder, error: &PeerError) {
        if matches!(error, PeerError::Withheld) && self.member.is_little() {
            // It has it for others than this node, and so may the rest of them: the registry decides, and gives it
            // as quickly.
            self.tried = MOST;
            return;
        }
        let (fault, name) = match error {
            PeerError::Missing
            | PeerError::NoFirstByte
            | PeerError::Withheld
            | PeerError::Body(_)
            | PeerError::OtherList(_) => (Fault::Empty, "empty"),
            PeerError::Busy(_) => (Fault::Busy, "busy"),
            PeerError::WrongBytes | PeerError::WrongChunk(_) => (Fault::Wrong, "wrong"),
            _ => (Fault::Silent, "silent"),
        };
        if fault == Fault::Busy {
            // It may have room soon, and until then the registry is no way out.
            self.tried = self.tried.saturating_sub(1);
            self.pause = Some(self.pauses.delay(self.jitter.next()));
        }
        count::handed_over(name);
        self.member.gave_up(Tried { source, fault });
    }
}

/// When to ask again that is to do so after `ms` milliseconds.
fn later(ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(ms.into()).max(PAUSE)
}
