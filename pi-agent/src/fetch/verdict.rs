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
    /// Whether verdicts can be seen at all.
    fn is_watching(&self) -> bool;
    /// Waits for the verdict on an object whose last byte was given to containerd just now. Ends
    /// by itself, with [`Verdict::Unknown`] if nothing else.
    fn verdict<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Verdict>;
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Verdicts for Unwatched {
    fn is_watching(&self) -> bool {
        false
    }

    fn verdict<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(Verdict::Unknown))
    }
}
