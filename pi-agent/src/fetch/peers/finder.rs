//! Finding peers for an object: the interface to discovery.

use std::fmt;

use futures_util::future::BoxFuture;
use piccolo_api::{FailureKind, Fetch, Holder, Key, Peer, Progress, Standing};

pub use crate::discovery::Joined;
use crate::{content::manifest::Descriptor, digest::Digest, discovery::Discovery};

/// Finds holders.
pub trait Finder: Send + Sync + fmt::Debug {
    /// Peers that have the object, best first.
    fn find<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Vec<Peer>>;
    /// The objects will be looked for soon. Returns at once.
    fn prefetch(&self, children: &[Descriptor]);
    /// A peer did not deliver.
    fn failed(&self, peer: Holder, kind: FailureKind);
    /// Asks for sources of an object that others may be fetching at the same time.
    fn join<'a>(&'a self, digest: &'a Digest, _fetch: Fetch) -> BoxFuture<'a, Joined> {
        Box::pin(async move {
            let peers = self.find(digest).await;
            Joined {
                peers,
                ..Joined::default()
            }
        })
    }
    /// Reports the progress of a fetch in a crowd; `None` if no server replied.
    fn progress(&self, _progress: Progress) -> BoxFuture<'_, Option<Standing>> {
        Box::pin(std::future::ready(None))
    }
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

    fn join<'a>(&'a self, digest: &'a Digest, fetch: Fetch) -> BoxFuture<'a, Joined> {
        Box::pin(async move {
            let Ok(key) = digest.as_str().parse::<Key>() else {
                return Joined::default();
            };
            Self::join(self, &key, fetch).await
        })
    }

    fn progress(&self, progress: Progress) -> BoxFuture<'_, Option<Standing>> {
        Box::pin(Self::progress(self, progress))
    }
}
