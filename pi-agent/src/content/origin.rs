//! Where content that no image names yet came from, by containerd's own record of it.

use crate::{
    containerd::{BlobInfo, Containerd},
    digest::Digest,
    policy::Policy,
};

/// containerd's label with the repositories that a blob was pulled from, by registry.
const SOURCE: &str = "containerd.io/distribution.source.";

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

    /// Whether a blob belongs to a shared namespace and, where there are lists, came from a shared
    /// repository. `false` also while containerd does not know the blob yet.
    pub(crate) async fn is_shared(&self, digest: &Digest) -> bool {
        for namespace in self.containerd.namespaces() {
            let Ok(Some(info)) = self.containerd.blob(namespace, digest).await else {
                continue;
            };
            let shared = self.policy.shares_all()
                || sources(&info)
                    .any(|(registry, path)| self.policy.shares_at_any_port(registry, path));
            if shared {
                return true;
            }
        }
        false
    }

    /// The registries, without their ports, and repositories that a blob came from. None also while containerd
    /// does not know the blob yet, or does not answer.
    pub(super) async fn repositories(&self, digest: &Digest) -> Vec<(String, String)> {
        let mut repositories = Vec::new();
        for namespace in self.containerd.namespaces() {
            if let Ok(Some(info)) = self.containerd.blob(namespace, digest).await {
                let named = sources(&info);
                repositories.extend(named.map(|(host, path)| (host.to_owned(), path.to_owned())));
            }
        }
        repositories
    }
}

/// Registries, without their ports, and repositories that containerd got a blob from.
fn sources(info: &BlobInfo) -> impl Iterator<Item = (&str, &str)> {
    let labels = info.labels.iter();
    let sources = labels.filter_map(|(label, paths)| Some((label.strip_prefix(SOURCE)?, paths)));
    sources.flat_map(|(registry, paths)| paths.split(',').map(move |path| (registry, path)))
}
