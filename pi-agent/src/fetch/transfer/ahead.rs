//! Makes small children of a manifest ready before containerd asks for them.

use std::sync::Arc;

use tracing::Span;

use crate::{
    content::manifest::{Descriptor, Role},
    fetch::{Fetcher, Want},
    http::{Kind, Method},
};

/// Objects that are fetched ahead at once, of all manifests.
pub(crate) const AT_ONCE: usize = 16;
/// Largest object that is fetched ahead, and most of one manifest.
const SIZE: u64 = 256 << 10;
const CHILDREN: usize = 4;
/// An index with more manifests is for more platforms than this node has.
const PLATFORMS: usize = 2;

/// Fetches the small ones of `children` in the background.
pub(crate) fn fetch(fetcher: &Fetcher, parent: &Want, children: &[Descriptor]) {
    let manifests = children.iter().filter(|c| c.role == Role::Manifest).count();
    let worth = |child: &&Descriptor| {
        (1..=SIZE).contains(&child.size) && (child.role == Role::Blob || manifests <= PLATFORMS)
    };
    for child in children.iter().filter(worth).take(CHILDREN) {
        let Ok(place) = Arc::clone(&fetcher.0.ahead).try_acquire_owned() else {
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
        let scope = fetcher.0.parts.scope.clone();
        scope.task(Span::none(), async move {
            if !fetcher.has(&want).await {
                // It is kept where it will be looked for; there is nothing else to do with it.
                let _ = fetcher.fetch(&want, Method::Get, None).await;
            }
            drop(place);
        });
    }
}
