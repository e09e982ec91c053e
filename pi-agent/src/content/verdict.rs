//! What containerd thinks of what it was given.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::digest::Digest;

/// containerd's verdict on an object that was passed on unhashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The ingest became a blob.
    Right,
    /// The ingest was complete and vanished.
    Wrong,
    /// It could not be seen.
    Unknown,
}

/// Watches containerd's content store for verdicts.
pub trait Verdicts: Send + Sync + fmt::Debug {
    /// Begins to watch what becomes of an object, before its first byte is given away.
    ///
    /// `None` where that cannot be seen: the store is out of reach, or nobody takes the object into
    /// it because the client is not the containerd of this node.
    fn watch<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Option<Box<dyn Watch>>>;
}

/// A verdict that will be given.
pub trait Watch: Send + Sync + fmt::Debug {
    /// Waits for the verdict, once bytes of the object were given away; others may have to give the
    /// rest. Ends by itself, with [`Verdict::Unknown`] if nothing else.
    fn verdict(self: Box<Self>) -> BoxFuture<'static, Verdict>;
}

/// A source without verdicts.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Verdicts for Unwatched {
    fn watch<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Option<Box<dyn Watch>>> {
        Box::pin(std::future::ready(None))
    }
}
