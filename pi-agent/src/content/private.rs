//! What is given of repositories that may be private: no manifest, so that the registry decides who may have
//! the image, and of its blobs what the name of a request is known to have.

use super::{
    Content, Shared,
    growth::Growing,
    id::Id,
    named::{Called, Recipient, Repository},
};
use crate::{digest::Digest, policy::Policy, reference::TagName, registry::canonical};

impl Content {
    /// Whether anything may be private.
    pub(crate) fn has_private(&self) -> bool {
        self.0.policy.has_private()
    }

    /// Whether what is called so is private.
    pub(crate) fn is_private(&self, called: Called<'_>) -> bool {
        self.0.policy.is_private(called.registry, called.repository)
    }

    /// Whether peers may have a manifest under a name that is its: not where it has the name of a private
    /// repository as well.
    pub(crate) async fn is_open_manifest(&self, digest: &Digest, called: Called<'_>) -> bool {
        if !self.has_private() {
            return true;
        }
        self.want(digest, called);
        if self.is_private(called) {
            return false;
        }
        let Shared::Images { table, sources, .. } = &self.0.shared else {
            return true;
        };
        let policy = &self.0.policy;
        let named = table.read().names.get(&Id::from(digest)).cloned();
        let is_private = |name: &Repository| name.is_private(policy);
        let is_named_private = named.is_some_and(|names| names.iter().any(|n| is_private(n)));
        // Where containerd does not say of which it is besides, one of them may be private.
        !is_named_private && sources.any(digest, Recipient::Peer, is_private).await == Some(false)
    }

    /// Has the registry asked whether peers may have it, if that is not known. Only one that an image of this node
    /// names: a peer does not say whom this node asks.
    fn want(&self, digest: &Digest, called: Called<'_>) {
        let Some(registry) = called.registry.map(canonical) else {
            return;
        };
        let is_known = match &self.0.shared {
            Shared::All => true,
            Shared::Images { table, .. } => {
                let table = table.read();
                let names = table.names.get(&Id::from(digest));
                let mut names = names.into_iter().flatten();
                let name = Some((&*registry, called.repository));
                names.any(|known| known.parts() == name)
            }
        };
        if is_known {
            self.0.policy.want(TagName {
                registry,
                repository: called.repository.to_owned(),
                tag: digest.to_string(),
            });
        }
    }

    /// Whether peers may have a blob of this node under a name: one that containerd has recorded as its
    /// source, or under which it was asked for just now. Where none of these is private, under any name.
    pub(crate) async fn is_open_blob(&self, digest: &Digest, called: Called<'_>) -> bool {
        if !self.has_private() {
            return true;
        }
        let mut names = self.growing(digest).await.map_or(Vec::new(), |g| g.names());
        let is_it = |name: &Repository| is_exactly(name, called);
        if names.iter().any(is_it) {
            return true;
        }
        let Shared::Images { sources, .. } = &self.0.shared else {
            return is_open(&self.0.policy, &names, called);
        };
        match sources.any(digest, Recipient::Peer, is_it).await {
            Some(true) => true,
            Some(false) => {
                names.extend(sources.just_seen(digest));
                is_open(&self.0.policy, &names, called)
            }
            // Other names than those that are known may be private.
            None => false,
        }
    }

    /// Whether peers may have a blob that grows under a name: one under which this node's containerd asked
    /// for it.
    pub(crate) fn is_open_growth(&self, growing: &Growing, called: Called<'_>) -> bool {
        !self.has_private() || is_open(&self.0.policy, &growing.names(), called)
    }
}

/// Whether a blob of which these names are known may be given under one. Of which none is known is not given.
fn is_open(policy: &Policy, names: &[Repository], called: Called<'_>) -> bool {
    let is_shared_by_digest = || names.iter().all(|name| !name.is_private(policy));
    let is_named = || names.iter().any(|name| is_exactly(name, called));
    !names.is_empty() && (is_named() || is_shared_by_digest())
}

/// Who leaves out the registry does not say whose the blob is.
fn is_exactly(name: &Repository, called: Called<'_>) -> bool {
    called.registry.is_some() && name.is(called)
}

#[cfg(test)]
mod tests {
    use daemon::readiness::Readiness;

    use super::{Called, Content, Digest, Policy, Repository, is_open};
    use crate::{
        containerd::Containerd,
        content::{Settings, TagSharing},
    };

    #[test]
    fn a_blob_is_given_under_the_names_that_have_it() {
        let policy =
            Policy::default().with_private(vec!["reg.test:5000/secret/*".parse().unwrap()]);
        let secret = || Repository::of_image("reg.test:5000", "secret/a");
        let recorded = || Repository::of_source("reg.test", "secret/a");
        let public = || Repository::of_source("docker.io", "library/debian");
        let called = |text: &'static str| {
            let name = text.split_once('/');
            Called {
                registry: name.map(|(registry, _)| registry),
                repository: name.map_or(text, |(_, repository)| repository),
            }
        };
        for (names, name, wanted) in [
            (vec![], "docker.io/library/debian", false),
            (vec![], "reg.test:5000/secret/a", false),
            (vec![secret()], "reg.test:5000/secret/a", true),
            (vec![recorded()], "reg.test:5000/secret/a", true),
            (vec![secret()], "reg.test:5000/secret/b", false),
            (vec![secret()], "docker.io/library/debian", false),
            (vec![recorded()], "reg.test:5001/public/a", false),
            // Layers of public images are the same everywhere.
            (vec![public()], "docker.io/library/nginx", true),
            (vec![public()], "reg.test:5000/secret/a", true),
            // A public image below a private one.
            (vec![recorded(), public()], "docker.io/library/debian", true),
            (vec![recorded(), public()], "reg.test:5000/secret/a", true),
            (vec![recorded(), public()], "docker.io/library/nginx", false),
        ] {
            let is = is_open(&policy, &names, called(name));
            assert_eq!(is, wanted, "{names:?} as {name}");
        }
        let nameless = Called {
            registry: None,
            repository: "secret/a",
        };
        assert!(!is_open(&policy, &[secret()], nameless));
    }

    #[tokio::test]
    async fn where_containerd_does_not_say_whose_it_is_it_may_be_private() {
        let directory = tempfile::tempdir().unwrap();
        let nobody = directory.path().join("containerd.sock");
        let (content, _tracking) = Content::of_images(Settings {
            path: directory.path().to_owned(),
            containerd: Containerd::new(&nobody, &["k8s.io".to_owned()]).unwrap(),
            policy: Policy::default().with_private(vec!["secret.test".parse().unwrap()]),
            tags: TagSharing::Off,
            readiness: Readiness::default(),
        });
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let called = Called {
            registry: Some("docker.io"),
            repository: "library/debian",
        };
        assert!(!content.is_open_manifest(&digest, called).await);
        assert!(!content.is_open_blob(&digest, called).await);
    }
}
