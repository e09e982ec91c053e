//! How what sources send to one client ends.

use std::io;

use piccolo_api::Holder;

use crate::fetch::exchange::PeerError;

/// How it ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// All of it was passed on.
    Complete,
    /// A source failed, and the others are good.
    Failed(Holder, PeerError),
    /// A source sent a wrong chunk, or its digest is another one than before. None of its bytes was
    /// passed on.
    Misfit(Holder, PeerError),
    /// The object is wrong. All of it was passed on but for the last.
    Wrong,
    /// The client takes no more.
    Gone(io::Error),
    /// More sources are there, so it begins anew with them.
    More,
    /// A source does not send stripes.
    Unstriped,
}
