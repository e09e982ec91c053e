//! Prefetches small children of a manifest before containerd requests them.

use std::sync::Arc;

use daemon::scope::Scope;
use tokio::sync::Semaphore;
use tracing::Span;

use super::want::Want;
use crate::{
    content::manifest::{Descriptor, Role},
    http::Kind,
};

/// Most objects that are fetched ahead at once, of all manifests.
const MAX_IN_FLIGHT: usize = 16;
/// Largest object that is fetched ahead, in bytes.
const MAX_SIZE: u64 = 256 << 10;
/// Most objects of one manifest that are fetched ahead.
const MAX_CHILDREN: usize = 4;
/// An index with more manifests than this is for other platforms: none of them is fetched ahead.
const MAX_PLATFORMS: usize = 2;

/// The tasks that fetch ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    places: Arc<Semaphore>,
    scope: Scope,
}

impl Ahead {
    /// Without tasks yet; they run in `scope`.
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            scope,
        }
    }

    /// Runs `fetch` in the background for each small one of `children`.
    pub(super) fn begin<F>(&self, parent: &Want, children: &[Descriptor], fetch: impl Fn(Want) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let manifests = children.iter().filter(|c| c.role == Role::Manifest).count();
        let worth = |child: &&Descriptor| {
            (1..=MAX_SIZE).contains(&child.size)
                && (child.role == Role::Blob || manifests <= MAX_PLATFORMS)
        };
        for child in children.iter().filter(worth).take(MAX_CHILDREN) {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                return;
            };
            let want = Want {
                digest: child.digest.clone(),
                kind: match child.role {
                    Role::Manifest => Kind::Manifest,
                    Role::Blob => Kind::Blob,
                },
                size: Some(child.size),
                ..parent.clone()
            };
            let fetching = fetch(want);
            self.scope.task(Span::none(), async move {
                fetching.await;
                drop(place);
            });
        }
    }
}
