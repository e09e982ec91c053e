//! Under which repositories a manifest is known: those that the images of this node name for it, and those
//! that containerd has recorded as its source.
//!
//! A digest says what a manifest is, not whose it is. Under the name of another repository the registry
//! would not give it, and neither does this node.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{Content, Shared, id::Id, origin::Origin};
use crate::{
    digest::Digest,
    http::ObjectRef,
    policy::Policy,
    registry::{canonical, canonical_host},
};

/// Calls to containerd at the same time for each recipient, and how long one may take with the wait for its
/// turn: a pull waits.
const CALLS: usize = 2;
const CALL: Duration = Duration::from_millis(500);
/// For so long an answer of containerd stands for later requests: a source may come to the others at any
/// time, and a peer may ask under any number of wrong names.
const STANDS: Duration = Duration::from_millis(200);
/// Most objects whose sources are remembered.
const MOST: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// A repository that has a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Repository {
    registry: Registry,
    path: Box<str>,
}

/// A registry, by the one name that each has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Registry {
    /// As images name it.
    Named(Box<str>),
    /// As containerd's labels name it: at some port.
    AtSomePort(Box<str>),
}

/// The name under which an object is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Called<'a> {
    /// The registry; `None` where the request does not say.
    pub(crate) registry: Option<&'a str>,
    /// The path within the registry.
    pub(crate) repository: &'a str,
}

impl<'a> From<&'a ObjectRef> for Called<'a> {
    fn from(object: &'a ObjectRef) -> Self {
        Self {
            registry: object.registry.as_deref(),
            repository: &object.repository,
        }
    }
}

/// For whom an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// The containerd of this node.
    Containerd,
    /// Another node, which gets what is shared.
    Peer,
}

/// The sources of objects, as containerd has recorded them.
#[derive(Debug)]
pub(super) struct Sources {
    origin: Origin,
    seen: Mutex<LruCache<Id, Seen>>,
    /// Peers take no turn of the node's own containerd.
    for_containerd: Semaphore,
    for_peers: Semaphore,
}

/// What containerd had recorded, and when it said so.
#[derive(Debug, Clone)]
struct Seen {
    sources: Arc<[Repository]>,
    at: Instant,
}

impl Content {
    /// Whether a manifest of this node belongs to the repository under whose name it is asked for, and may be
    /// given to `recipient` under that name: the registry would not give it under another.
    pub(crate) async fn is_named(
        &self,
        digest: &Digest,
        called: Called<'_>,
        recipient: Recipient,
    ) -> bool {
        let (table, sources) = match &self.0.shared {
            Shared::All => return true,
            Shared::Images { table, sources, .. } => (table, sources),
        };
        let is_it = |name: &Repository| {
            let is_shared = || name.is_shared(sources.origin.policy());
            let may_have = recipient == Recipient::Containerd || is_shared();
            may_have && name.is(called)
        };
        let named = table.read().names.get(&Id::from(digest)).cloned();
        if named.is_some_and(|names| names.iter().any(|name| is_it(name))) {
            return true;
        }
        sources.any(digest, recipient, is_it).await == Some(true)
    }

    /// Whether an image of this node has the object as its manifest, shared or not.
    pub(crate) fn is_manifest(&self, digest: &Digest) -> bool {
        match &self.0.shared {
            Shared::All => false,
            Shared::Images { table, .. } => table.read().names.contains_key(&Id::from(digest)),
        }
    }
}

impl Repository {
    /// One that an image names.
    pub(crate) fn of_image(registry: &str, path: &str) -> Self {
        Self {
            registry: Registry::Named(canonical(registry).into()),
            path: path.into(),
        }
    }

    /// One that containerd has recorded as a source: it leaves out the port of the registry.
    pub(crate) fn of_source(host: &str, path: &str) -> Self {
        Self {
            registry: Registry::AtSomePort(canonical_host(host).into()),
            path: path.into(),
        }
    }

    /// Its registry and its path, where the port of the registry is known.
    pub(super) fn parts(&self) -> Option<(&str, &str)> {
        match &self.registry {
            Registry::Named(registry) => Some((registry, &self.path)),
            Registry::AtSomePort(_) => None,
        }
    }

    /// Whether it is private, at some port of its registry where that is not known.
    pub(crate) fn is_private(&self, policy: &Policy) -> bool {
        match &self.registry {
            Registry::Named(registry) => policy.is_private(Some(registry), &self.path),
            Registry::AtSomePort(host) => policy.is_private_at_any_port(host, &self.path),
        }
    }

    fn is_shared(&self, policy: &Policy) -> bool {
        match &self.registry {
            Registry::Named(registry) => policy.shares(registry, &self.path),
            Registry::AtSomePort(host) => policy.shares_at_any_port(host, &self.path),
        }
    }

    /// Whether this is what is called so.
    pub(crate) fn is(&self, called: Called<'_>) -> bool {
        let is_registry = called.registry.is_none_or(|registry| match &self.registry {
            Registry::Named(name) => **name == *canonical(registry),
            Registry::AtSomePort(host) => **host == *canonical_host(registry),
        });
        is_registry && called.repository == &*self.path
    }
}

impl Sources {
    pub(super) fn new(origin: Origin) -> Self {
        Self {
            origin,
            seen: Mutex::new(LruCache::new(MOST)),
            for_containerd: Semaphore::new(CALLS),
            for_peers: Semaphore::new(CALLS),
        }
    }

    /// Whether one of the repositories that an object came from is as wanted. More may come to them. `None` where
    /// containerd does not say in time, which the caller takes as it must.
    pub(super) async fn any(
        &self,
        digest: &Digest,
        recipient: Recipient,
        is_wanted: impl Fn(&Repository) -> bool + Send + Sync,
    ) -> Option<bool> {
        let id = Id::from(digest);
        if let Some(is_one) = self.is_seen(&id, &is_wanted) {
            return Some(is_one);
        }
        let turns = match recipient {
            Recipient::Containerd => &self.for_containerd,
            Recipient::Peer => &self.for_peers,
        };
        let asked = async {
            let _turn = turns.acquire().await.ok()?;
            // Who had the turn before may have asked the same.
            if let Some(is_one) = self.is_seen(&id, &is_wanted) {
                return Some(is_one);
            }
            let recorded = self.origin.repositories(digest).await?;
            let recorded = recorded.iter();
            let sources = recorded.map(|(host, path)| Repository::of_source(host, path));
            let sources: Arc<[Repository]> = sources.collect();
            let is_one = sources.iter().any(&is_wanted);
            let at = Instant::now();
            self.seen.lock().put(id.clone(), Seen { sources, at });
            Some(is_one)
        };
        timeout(CALL, asked).await.ok()?
    }

    /// What containerd said a moment ago, if it did.
    pub(super) fn just_seen(&self, digest: &Digest) -> Vec<Repository> {
        let seen = self.seen.lock().get(&Id::from(digest)).cloned();
        let seen = seen.filter(|seen| seen.at.elapsed() < STANDS + CALL);
        seen.map_or(Vec::new(), |seen| seen.sources.to_vec())
    }

    /// What is known without a call: `None` where containerd has to be asked.
    fn is_seen(&self, id: &Id, is_wanted: impl Fn(&Repository) -> bool) -> Option<bool> {
        let seen = self.seen.lock().get(id).cloned()?;
        if seen.sources.iter().any(is_wanted) {
            return Some(true);
        }
        (seen.at.elapsed() < STANDS).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Called, Repository};

    #[test]
    fn a_registry_has_one_name_and_a_repository_is_whole() {
        let hub = Repository::of_image("docker.io", "library/redis");
        let is = |registry: Option<&str>, repository| {
            hub.is(Called {
                registry,
                repository,
            })
        };
        assert!(is(Some("docker.io"), "library/redis"));
        assert!(is(Some("index.docker.io"), "library/redis"));
        assert!(is(Some("REGISTRY-1.docker.io:443"), "library/redis"));
        assert!(is(None, "library/redis"));
        assert!(!is(Some("quay.io"), "library/redis"));
        assert!(!is(Some("docker.io:5000"), "library/redis"));
        assert!(!is(Some("docker.io"), "redis"));
        assert!(!is(None, "x/library/redis"));
    }

    #[test]
    fn a_source_is_recorded_without_a_port_and_brackets() {
        for (recorded, called) in [
            ("registry.test", "registry.test:5000"),
            ("registry.test", "REGISTRY.test"),
            ("2001:db8::1", "[2001:DB8::1]:5000"),
            ("192.0.2.1", "192.0.2.1:5000"),
        ] {
            let called = Called {
                registry: Some(called),
                repository: "a",
            };
            let source = Repository::of_source(recorded, "a");
            assert!(source.is(called), "{recorded} {called:?}");
            assert!(!Repository::of_source("other.test", "a").is(called));
        }
    }
}
