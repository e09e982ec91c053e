//! What a tag stands for, where the agent answers tags; and whether a registry gives a repository to anybody.
//!
//! A tag may move at any time, and only its registry knows where to. So the hosts that containerd would ask
//! are asked with a HEAD, and the reply is cached for a while. Where none of them says anything useful for
//! this node (it wants credentials, has no such tag, or was never reached from here) containerd is left to
//! ask; where all of them are away, the last known word counts, then this node's own tag, then that of a
//! peer. With `--share-tags` one node asks them for all of its group.

mod ask;
mod challenge;
mod openness;
mod outside;
mod share;
mod trust;
mod turns;
mod ways;

pub use self::openness::{Openness, OpennessSettings};

use std::{fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use daemon::metric::Metric;
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::Key;
use tokio::time::Instant;
use tracing::debug;

use self::{
    ask::{Answer, Asker, Refusal, Target},
    share::{Course, Sharing},
    ways::{Ways, Word},
};
use crate::{
    digest::Digest, discovery::Discovery, hosts::after::HostFiles, policy::Policy, reach::Reach,
    reference::TagName, registry::RegistryUrl,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[RESOLVED, share::SHARED, openness::ASKED];

const RESOLVED: Metric = Metric::counter(
    "piccolo_agent_tags_resolved_total",
    &[(
        "source",
        "`registry`, `memory` (asked within the TTL), `shared` (another node asked within the TTL), `stale`, \
         `own` and `peer` (all that containerd would ask are away), `nobody`",
    )],
    "Tags that containerd asked for, by the source of the digest.",
);

/// Most tags that are remembered; the least recently used one is evicted first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Most peers that are asked for a tag.
const MAX_PEERS: usize = 3;

/// Resolves tags. Clones are the same.
#[derive(Debug, Clone)]
pub struct Tags(Arc<Inner>);

/// How tags are resolved.
#[derive(Debug)]
pub struct Settings {
    /// TTL of a registry's reply.
    pub ttl: Duration,
    /// The files that say whom containerd asks after the agent.
    pub files: HostFiles,
    /// Where the agent is to ask registries, other than their names or the files say.
    pub registries: Vec<RegistryUrl>,
    /// A PEM file of authorities that are trusted besides this machine's own.
    pub authorities: Option<PathBuf>,
    /// Of which repositories peers and the server are asked.
    pub policy: Policy,
    /// Finds the peers that have a tag.
    pub discovery: Discovery,
    /// Which of them are asked.
    pub reach: Reach,
    /// Of which repositories one node asks the registry for all of its group; `None` where each asks for itself.
    pub shared: Option<Policy>,
}

struct Inner {
    asker: Arc<Asker>,
    ways: Ways,
    sharing: Option<Sharing>,
    ttl: Duration,
    policy: Policy,
    discovery: Discovery,
    reach: Reach,
    known: Mutex<LruCache<String, Known>>,
}

#[derive(Debug)]
struct Known {
    target: Target,
    until: Instant,
}

impl Tags {
    /// Resolves tags at registries over HTTPS, or HTTP where they are on this machine.
    pub fn new(settings: Settings) -> Self {
        let shared = settings.shared.filter(|_| !settings.ttl.is_zero());
        let sharing =
            shared.map(|shared| Sharing::new(settings.discovery.clone(), shared, settings.ttl));
        let asker = Arc::new(Asker::new(settings.authorities.as_deref()));
        Self(Arc::new(Inner {
            ways: Ways::new(Arc::clone(&asker), settings.files, settings.registries),
            asker,
            sharing,
            ttl: settings.ttl,
            policy: settings.policy,
            discovery: settings.discovery,
            reach: settings.reach,
            known: Mutex::new(LruCache::new(CAPACITY)),
        }))
    }

    /// The digest of a tag; `own` is the one on this node. `None` if containerd should ask its next
    /// host.
    pub async fn resolve(&self, name: &TagName, own: Option<Digest>) -> Option<Digest> {
        let key = name.to_string();
        let (digest, source) = match self.fresh(&key) {
            Some(target) => (Some(target.digest), "memory"),
            None => match self.current(name, &key).await {
                (Word::Digest(target), source) => (Some(target.digest), source),
                (Word::Refused(_) | Word::Elsewhere, _) => (None, "nobody"),
                (Word::Away, _) => self.without_registry(name, &key, own).await,
            },
        };
        metrics::counter!(RESOLVED.name, "source" => source).increment(1);
        debug!(%name, ?digest, source, "a tag");
        digest
    }

    /// What the registry says now, to this node or to another one that asks for all.
    async fn current(&self, name: &TagName, key: &str) -> (Word, &'static str) {
        let Some(sharing) = &self.0.sharing else {
            return (self.asked(name, key).await, "registry");
        };
        let _turn = sharing.turn(key).await;
        if let Some(target) = self.fresh(key) {
            return (Word::Digest(target), "memory");
        }
        match sharing.course(name, key).await {
            Course::Known(target, left) => {
                self.learn(key, &target, left);
                (Word::Digest(target), "shared")
            }
            Course::Refused => (Word::Refused(Refusal::Other), "shared"),
            Course::AskForAll => {
                let word = self.asked(name, key).await;
                sharing.tell(key, &word).await;
                (word, "registry")
            }
            Course::Ask => (self.asked(name, key).await, "registry"),
        }
    }

    /// Asks whom containerd would ask, and remembers the digest.
    async fn asked(&self, name: &TagName, key: &str) -> Word {
        let word = self.0.ways.ask(name).await;
        if let Word::Digest(target) = &word {
            self.learn(key, target, self.0.ttl);
        }
        word
    }

    async fn without_registry(
        &self,
        name: &TagName,
        key: &str,
        own: Option<Digest>,
    ) -> (Option<Digest>, &'static str) {
        if let Some(known) = self.known().get(key) {
            return (Some(known.target.digest.clone()), "stale");
        }
        if own.is_some() {
            return (own, "own");
        }
        match self.peers(name, key).await {
            Some(digest) => (Some(digest), "peer"),
            None => (None, "nobody"),
        }
    }

    /// The tag's digest on the first peer that knows it.
    async fn peers(&self, name: &TagName, key: &str) -> Option<Digest> {
        // What is not shared is nobody else's business, not even its name.
        if !self.0.policy.shares(&name.registry, &name.repository) {
            return None;
        }
        let key: Key = key.parse().ok()?;
        let peers = self.0.discovery.find(&key).await;
        let reach = &self.0.reach;
        let peers = peers.iter().filter(|peer| reach.allows(peer.addr));
        for peer in peers.take(MAX_PEERS) {
            if let Answer::Digest(target) = self.0.asker.peer(peer.addr, name).await {
                return Some(target.digest);
            }
        }
        None
    }

    /// The length and the media type of the manifest that a tag stands for, of which nobody has the bytes
    /// yet: enough for a HEAD. Only where nodes resolve tags together, so that containerd need not ask the
    /// registry as well.
    pub(crate) fn described(&self, name: &TagName, digest: &Digest) -> Option<(u64, String)> {
        self.0.sharing.as_ref()?;
        let target = self.fresh(&name.to_string())?;
        (target.digest == *digest).then_some(target.size.zip(target.media_type))?
    }

    fn fresh(&self, key: &str) -> Option<Target> {
        let mut tags = self.known();
        let known = tags.get(key)?;
        (Instant::now() < known.until).then(|| known.target.clone())
    }

    fn learn(&self, key: &str, target: &Target, good: Duration) {
        let until = Instant::now() + good;
        let target = target.clone();
        self.known().put(key.to_owned(), Known { target, until });
    }

    fn known(&self) -> MutexGuard<'_, LruCache<String, Known>> {
        self.0.known.lock()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
