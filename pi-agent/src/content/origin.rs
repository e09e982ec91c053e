//! Where content that no image names yet came from, by containerd's own record of it.

use crate::{
    containerd::{BlobInfo, Containerd},
    digest::Digest,
    policy::Policy,
};

/// containerd's label with the repositories that a blob was pulled from, by registry.
const SOURCE: &str = "containerd.io/distribution.source.";

/// How far a manifest that came just now is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// With all that it refers to.
    Whole,
    /// It came from a private repository: what it refers to is shared, and no manifest.
    Blobs,
}

/// Asks containerd which namespace a blob belongs to, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    containerd: Containerd,
    policy: Policy,
}

impl Origin {
    pub(crate) fn new(containerd: Containerd, policy: Policy) -> Self {
        Self { containerd, policy }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How far a manifest is shared that belongs to a shared namespace and, where there are lists, came from a
    /// shared repository. `None` also while containerd does not know it yet, or does not answer.
    pub(super) async fn extent(&self, digest: &Digest) -> Option<Extent> {
        let policy = &self.policy;
        if policy.shares_all() && !policy.has_private() {
            return self.is_known(digest).await.then_some(Extent::Whole);
        }
        let sources = self.repositories(digest).await?;
        let any = |is: fn(&Policy, &str, &str) -> bool| {
            let mut sources = sources.iter();
            sources.any(|(host, path)| is(policy, host, path))
        };
        let extent = if any(Policy::is_private_at_any_port) {
            Extent::Blobs
        } else {
            Extent::Whole
        };
        any(Policy::shares_at_any_port).then_some(extent)
    }

    async fn is_known(&self, digest: &Digest) -> bool {
        for namespace in self.containerd.namespaces() {
            if let Ok(Some(_)) = self.containerd.blob(namespace, digest).await {
                return true;
            }
        }
        false
    }

    /// The registries, without their ports, and repositories that a blob came from; there are none while containerd
    /// does not know the blob yet. `None` where it does not answer.
    pub(super) async fn repositories(&self, digest: &Digest) -> Option<Vec<(String, String)>> {
        let mut repositories = Vec::new();
        for namespace in self.containerd.namespaces() {
            let info = self.containerd.blob(namespace, digest).await.ok()?;
            let named = info.iter().flat_map(sources);
            repositories.extend(named.map(|(host, path)| (host.to_owned(), path.to_owned())));
        }
        Some(repositories)
    }
}

/// Registries, without their ports, and repositories that containerd got a blob from.
fn sources(info: &BlobInfo) -> impl Iterator<Item = (&str, &str)> {
    let labels = info.labels.iter();
    let sources = labels.filter_map(|(label, paths)| Some((label.strip_prefix(SOURCE)?, paths)));
    sources.flat_map(|(registry, paths)| paths.split(',').map(move |path| (registry, path)))
}
