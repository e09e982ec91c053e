//! Makes small children of a manifest ready before containerd asks for them.

use std::sync::Arc;

use daemon::scope::Scope;
use tokio::sync::Semaphore;
use tracing::Span;

use super::{Fetcher, want::Want};
use crate::{
    content::manifest::{Descriptor, Role},
    http::{Kind, Method},
};

/// Objects that are fetched ahead at once, of all manifests.
const AT_ONCE: usize = 16;
/// Largest object that is fetched ahead, and most of one manifest.
const SIZE: u64 = 256 << 10;
const CHILDREN: usize = 4;
/// Manifests of one index that are fetched ahead; an index with more is for other platforms.
const PLATFORMS: usize = 2;

/// The tasks that fetch ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    places: Arc<Semaphore>,
    scope: Scope,
}

impl Ahead {
    /// Nothing yet; what is fetched is fetched in `scope`.
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            scope,
        }
    }

    /// Fetches the small ones of `children` in the background.
    pub(super) fn fetch(&self, fetcher: &Fetcher, parent: &Want, children: &[Descriptor]) {
        let manifests = children.iter().filter(|c| c.role == Role::Manifest).count();
        let worth = |child: &&Descriptor| {
            (1..=SIZE).contains(&child.size) && (child.role == Role::Blob || manifests <= PLATFORMS)
        };
        for child in children.iter().filter(worth).take(CHILDREN) {
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
            let fetcher = fetcher.clone();
            self.scope.task(Span::none(), async move {
                if !fetcher.has(&want).await {
                    // The fetch has put it into the cache; the result itself is not needed.
                    let _ = fetcher.fetch(&want, Method::Get, None).await;
                }
                drop(place);
            });
        }
    }
}
