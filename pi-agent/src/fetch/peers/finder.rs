//! Who has an object: the edge to discovery.

use std::fmt;

use futures_util::future::BoxFuture;
use piccolo_api::{FailureKind, Holder, Key, Peer};

use crate::{content::manifest::Descriptor, digest::Digest, discovery::Discovery};

/// Knows who has what.
pub trait Finder: Send + Sync + fmt::Debug {
    /// Peers that have the object, best first.
    fn find<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Vec<Peer>>;
    /// The objects will be looked for soon. Returns at once.
    fn prefetch(&self, children: &[Descriptor]);
    /// A peer did not deliver.
    fn failed(&self, peer: Holder, kind: FailureKind);
}

impl Finder for Discovery {
    fn find<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Vec<Peer>> {
        Box::pin(async move {
            match digest.as_str().parse::<Key>() {
                Ok(key) => Self::find(self, &key).await,
                Err(_) => Vec::new(),
            }
        })
    }

    fn prefetch(&self, children: &[Descriptor]) {
        let keys = children.iter().map(|c| c.digest.as_str().parse());
        Self::prefetch(self, keys.filter_map(Result::ok).collect());
    }

    fn failed(&self, peer: Holder, kind: FailureKind) {
        Self::failed(self, peer, kind);
    }
}
