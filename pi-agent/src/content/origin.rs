//! Where content that no image names yet came from, by containerd's own record of it.

use crate::{containerd::Containerd, digest::Digest, policy::Policy};

/// containerd's label with the repositories that a blob was pulled from, by registry.
const SOURCE: &str = "containerd.io/distribution.source.";

/// Asks containerd which namespace a blob belongs to, and where it came from.
#[derive(Debug)]
pub(crate) struct Origin {
    containerd: Containerd,
    policy: Policy,
}

impl Origin {
    pub(crate) fn new(containerd: Containerd, policy: Policy) -> Self {
        Self { containerd, policy }
    }

    /// Whether a blob belongs to a shared namespace and, where there are lists, came from a shared
    /// repository. `false` also while containerd does not know the blob yet.
    pub(crate) async fn is_shared(&self, digest: &Digest) -> bool {
        for namespace in self.containerd.namespaces() {
            let Ok(Some(info)) = self.containerd.blob(namespace, digest).await else {
                continue;
            };
            let shared = self.policy.shares_all()
                || info.labels.iter().any(|(label, repositories)| {
                    let Some(registry) = label.strip_prefix(SOURCE) else {
                        return false;
                    };
                    repositories
                        .split(',')
                        .any(|r| self.policy.shares(registry, r))
                });
            if shared {
                return true;
            }
        }
        false
    }
}
