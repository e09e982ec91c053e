//! The beginning of a fetch: the first peer's head tells the object's size, and by it whether the
//! object is verified in memory or passed on.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::debug;

use super::{
    blame::Judge,
    cache::Small,
    deliver::{Labels, Transfer, question},
    hash::Hasher,
    open::Opener,
    silence::Silence,
    small::{Smalls, Unread, fits},
    stored::Stored,
    turn::QueuePosition,
};
use crate::{
    fetch::{
        exchange::{Ask, Question, Upstream},
        peers::{Candidates, Peers},
        settings::{LazyRanges, Verify},
        want::Want,
    },
    http::{ByteRange, Method, Span},
};

/// Begins transfers.
#[derive(Debug)]
pub(crate) struct Transfers {
    pub(crate) opener: Arc<Opener>,
    pub(crate) smalls: Arc<Smalls>,
    pub(crate) judge: Judge,
    pub(crate) stored: Stored,
    pub(crate) peers: Arc<Peers>,
    pub(crate) verify: Verify,
    pub(crate) lazy_ranges: LazyRanges,
    /// How long containerd may take no byte.
    pub(crate) patience: Duration,
}

/// What a fetch begins with.
#[derive(Debug)]
pub(crate) enum Begun {
    /// A small object, verified.
    Small(Small),
    /// A large one: a peer has it and is ready to send.
    Large(Box<Transfer>),
    /// The object has no such part; its size.
    Unsatisfiable(u64),
}

/// Where the bytes that are asked for lie.
#[derive(Debug, Clone, Copy)]
enum Located {
    Whole,
    /// In offsets, with the object's size.
    Part(ByteRange, u64),
    /// Outside of an object of this size, in bytes.
    Outside(u64),
}

/// What is asked of the first peer.
#[derive(Debug, Clone, Copy)]
struct First {
    range: Option<ByteRange>,
    ask: Ask,
    check: Check,
}

/// When the bytes of a large object are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// By containerd, when it has them all.
    ByClient,
    /// On their way; the last of them are held back until then.
    OnTheWay,
    /// Before any of them is passed on: chunk by chunk, or all of them at once.
    Before,
}

impl Transfers {
    /// Asks for the first bytes, by which size and place of the object are known.
    pub(crate) async fn begin(
        &self,
        want: &Want,
        range: Option<ByteRange>,
        mut candidates: Candidates,
        place: QueuePosition,
    ) -> Option<Begun> {
        let watch = self.judge.watch(&want.digest).await;
        let mut check = self.check(want, watch.is_some());
        let range = match self.locate(want, range, &mut candidates).await? {
            Located::Outside(total) => return Some(Begun::Unsatisfiable(total)),
            // A digest covers the whole object, so a part cannot be verified on its way: the client is left
            // to its next host, unless it verifies parts itself.
            Located::Part(range, total) if check == Check::OnTheWay && !fits(total) => {
                if self.lazy_ranges == LazyRanges::Refuse {
                    return None;
                }
                check = Check::ByClient;
                Some(range)
            }
            Located::Part(range, _) => Some(range),
            Located::Whole => None,
        };
        let labels = Self::labels(check);
        let first = First {
            range,
            ask: ask_for(range),
            check,
        };
        let question = question(want, candidates.is_crowd(), labels, first.ask);
        let end = self.opener.deadline();
        loop {
            let upstream = self.opener.open(question, &mut candidates).await?;
            let total = upstream.body.total;
            let is_labelled = upstream.chunks.is_some();
            if !fits(total) && (is_labelled || check != Check::Before) {
                let transfer = self.large(want, first, upstream, candidates, place)?;
                return Some(Begun::Large(Box::new(transfer.watched(watch))));
            }
            if !self.smalls.has_room_for(total) {
                // Another peer may have the digests of its chunks.
                debug!(digest = %want.digest, total, "cannot be checked before it is passed on");
                continue;
            }
            if is_labelled || upstream.body.span != Span::whole(total) {
                candidates.again(upstream.peer());
                let small = self.smalls.fetch(want, &mut candidates).await;
                return small.map(Begun::Small);
            }
            let received = self.smalls.receive(want, upstream, &mut candidates);
            match received.await {
                Ok(small) => return Some(Begun::Small(small)),
                Err(Unread::Failed) if Instant::now() < end => {}
                Err(Unread::Failed | Unread::NoRoom) => return None,
            }
        }
    }

    /// What is asked of the digests of chunks. They cost a copy of the bytes, so that who has all of an object,
    /// and has checked it, is not asked for them where nothing is suspected.
    fn labels(check: Check) -> Labels {
        match check {
            Check::Before => Labels::Needed,
            Check::OnTheWay => Labels::Wanted,
            Check::ByClient => Labels::Unwanted,
        }
    }

    /// A transfer that streams, or `None` if the bytes have to be hashed and are only a part, or are none
    /// of the object's.
    fn large(
        &self,
        want: &Want,
        first: First,
        upstream: Upstream,
        candidates: Candidates,
        place: QueuePosition,
    ) -> Option<Transfer> {
        let total = upstream.body.total;
        let span = match first.range {
            None => Span::whole(total),
            // The peer gave the size of another object.
            Some(_) if first.check == Check::OnTheWay => return None,
            Some(range) => range.resolve(total).ok()?,
        };
        let labels = Self::labels(first.check);
        let hash = first.check != Check::ByClient && span == Span::whole(total);
        Some(Transfer {
            opener: Arc::clone(&self.opener),
            judge: self.judge.clone(),
            stored: self.stored.clone(),
            patience: self.patience,
            hasher: hash.then(|| Hasher::new(&want.digest)),
            watch: None,
            senders: if hash {
                Arc::default()
            } else {
                self.judge.senders(&want.digest)
            },
            want: Want {
                size: Some(total),
                ..want.clone()
            },
            span,
            total,
            upstream: Some(upstream),
            labels,
            passed: 0,
            growing: candidates.growing(),
            candidates,
            place,
            silence: Silence::default(),
            broken: false,
        })
    }

    /// Resolves a range; `None` if no peer gives the object's size.
    async fn locate(
        &self,
        want: &Want,
        range: Option<ByteRange>,
        candidates: &mut Candidates,
    ) -> Option<Located> {
        let Some(range) = range else {
            return Some(Located::Whole);
        };
        let total = match want.size {
            Some(total) => total,
            None => self.size(want, candidates).await?,
        };
        Some(
            anchor(range, total)
                .map_or(Located::Outside(total), |range| Located::Part(range, total)),
        )
    }

    /// The size of an object that some peer has.
    pub(crate) async fn size(&self, want: &Want, candidates: &mut Candidates) -> Option<u64> {
        let question = Question::plain(want, Ask::WHOLE, Method::Head);
        let upstream = self.opener.open(question, candidates).await?;
        let total = upstream.body.total;
        candidates.again(upstream.peer());
        self.opener.done(upstream);
        Some(total)
    }

    fn check(&self, want: &Want, watched: bool) -> Check {
        match self.verify {
            Verify::Always => Check::Before,
            Verify::Small => Check::ByClient,
            Verify::Auto if self.peers.is_suspect(&want.digest) => Check::Before,
            Verify::Auto if watched => Check::ByClient,
            Verify::Auto => Check::OnTheWay,
        }
    }
}

/// What is asked of a peer that sends all that is wanted in one reply.
fn ask_for(range: Option<ByteRange>) -> Ask {
    match range {
        Some(ByteRange::From(start)) => Ask { start, end: None },
        Some(ByteRange::Between(first, last)) => Ask {
            start: first,
            end: Some(last.saturating_add(1)),
        },
        Some(ByteRange::Last(_)) | None => Ask::WHOLE,
    }
}

/// Turns "the last n bytes" into offsets; `None` where an object of `total` bytes has no such part.
fn anchor(range: ByteRange, total: u64) -> Option<ByteRange> {
    let span = range.resolve(total).ok()?;
    Some(match range {
        ByteRange::Last(_) => ByteRange::Between(span.start(), span.end() - 1),
        ByteRange::From(_) | ByteRange::Between(..) => range,
    })
}
