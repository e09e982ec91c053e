//! Whether a peer that sends nothing, and is still getting the object itself, is to be waited for.

use piccolo_api::Holder;

use super::open::Opener;
use crate::{datapath::SourceError, fetch::want::Want};

/// Probes of a silent but live peer until it is given up: ten seconds.
const MOST: u32 = 10;
/// The same of one that says with each probe that it has more: at the floor of rates, a chunk of a mebibyte
/// takes half a minute to come.
const MOST_GROWING: u32 = 32;

/// The silence of one peer.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Consecutive probes in which it had nothing more.
    silent: u32,
    /// Consecutive probes in which it sent nothing, whatever it said.
    unsent: u32,
    /// How many bytes it had by the last look.
    reached: u64,
}

impl Silence {
    /// It has sent something that was passed on.
    pub(super) fn ends(&mut self) {
        (self.silent, self.unsent) = (0, 0);
    }

    /// Whether the peer that failed so waits itself for what it is wanted to send, and is alive.
    pub(super) async fn is_worth_waiting_for(
        &mut self,
        error: &SourceError,
        peer: Holder,
        (opener, want): (&Opener, &Want),
    ) -> bool {
        if !matches!(error, SourceError::Stalled) {
            return false;
        }
        self.silent += 1;
        self.unsent += 1;
        let Some(reached) = opener.reached(want, peer).await else {
            return false;
        };
        // It sends chunks whole, and its next one comes.
        if reached > self.reached {
            self.silent = 0;
        }
        self.reached = reached;
        self.silent < MOST && self.unsent < MOST_GROWING
    }
}
