//! Moves what several peers are still getting themselves, each of them a stripe: of m stripes one has
//! every m-th chunk. One peer is one stripe of one.

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use piccolo_api::Holder;

use super::{
    checked::{Checked, Way},
    ending::Ending,
    open::Opener,
};
use crate::{
    chunks::CHUNK,
    fetch::{
        exchange::{Ask, Question, Upstream},
        peers::Candidates,
    },
};

/// The stripes of one blob.
pub(super) struct Striped<'a, F> {
    pub(super) opener: &'a Opener,
    pub(super) way: Way<'a, F>,
    /// What the first of them was asked.
    pub(super) question: Question<'a>,
}

impl<F: FnMut(u64) + Send> Striped<'_, F> {
    /// Passes on what the upstream sends, and what the other candidates do, until one of them fails,
    /// or more of them are there. Gives how many bytes were passed on.
    pub(super) async fn run(
        self,
        upstream: &mut Upstream,
        candidates: &mut Candidates,
    ) -> (u64, Ending) {
        let beside: Vec<_> = candidates.beside().to_vec();
        let ending = self.all(upstream, &beside, candidates).await;
        (self.way.order.moved(), ending)
    }

    async fn all(
        &self,
        upstream: &mut Upstream,
        beside: &[Holder],
        candidates: &mut Candidates,
    ) -> Ending {
        let (every, maker, first) = (upstream.every, upstream.chunks, upstream.next);
        let mut stripes: FuturesUnordered<BoxFuture<'_, Ending>> = FuturesUnordered::new();
        stripes.push(Box::pin(self.stripe(upstream)));
        let starts = (1..every).map(|number| first.saturating_add(number.saturating_mul(CHUNK)));
        for (&peer, start) in beside.iter().zip(starts) {
            if start < self.way.total {
                stripes.push(Box::pin(self.another(peer, (start, every), maker)));
            }
        }
        let more = async {
            candidates.more().await;
            self.way.order.passed().await;
            Ending::More
        };
        let mut more = std::pin::pin!(more);
        loop {
            tokio::select! {
                biased;
                ended = stripes.next() => match ended {
                    None => return Ending::Complete,
                    Some(Ending::Complete) => {}
                    Some(ending) => return ending,
                },
                more = more.as_mut() => return more,
            }
        }
    }

    /// The stripe of a peer that is ready to send it.
    async fn stripe(&self, upstream: &mut Upstream) -> Ending {
        let asker = (self.opener, self.question.want);
        Checked::new(&self.way, asker).run(upstream).await
    }

    /// The stripe of another peer, by the same chunk list.
    async fn another(
        &self,
        peer: Holder,
        (start, every): (u64, u64),
        maker: Option<Holder>,
    ) -> Ending {
        let question = Question {
            ask: Ask { start, end: None },
            every,
            ..self.question
        };
        let ending = match self.opener.ask(question, peer).await {
            // The maker of the list answers for all of the blob.
            Ok(mut upstream) if upstream.every == every && upstream.chunks == maker => {
                let ending = self.stripe(&mut upstream).await;
                if matches!(ending, Ending::Complete) {
                    self.opener.done(upstream);
                }
                return ending;
            }
            Ok(_) => Ending::Unstriped,
            Err(error) => Ending::Failed(peer, error),
        };
        self.way.order.settled().await;
        ending
    }
}
