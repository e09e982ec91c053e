//! What a tag stands for, where the agent answers tags.
//!
//! A tag may move at any time, and only its registry knows where to. So the registry is asked with
//! a HEAD, and its reply is cached for a while. Where it says nothing useful for this node (it
//! wants credentials, or has no such tag) containerd is left to ask it; where it cannot be reached,
//! the last known word counts, then this node's own tag, then that of a peer.

mod ask;
mod challenge;
mod outside;
mod trust;

use std::{fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use daemon::{metric::Metric, spell::Spell};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::Key;
use tokio::time::Instant;
use tracing::{debug, info};

use self::ask::{Answer, Asker};
use crate::{
    digest::Digest, discovery::Discovery, reach::Reach, reference::TagName, registry::RegistryUrl,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[RESOLVED];

const RESOLVED: Metric = Metric::counter(
    "piccolo_agent_tags_resolved_total",
    &[(
        "source",
        "`registry`, `memory` (asked within the TTL), `stale`, `own` and `peer` (the registry \
         cannot be reached), `nobody`",
    )],
    "Tags that containerd asked for, by the source of the digest.",
);

/// Most tags, and most unreachable registries, that are remembered; the least recently used one is
/// evicted first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// How long an unreachable registry is not asked.
const REGISTRY_BACK_OFF: Duration = Duration::from_secs(10);
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
    /// Where registries are, other than their names say.
    pub registries: Vec<RegistryUrl>,
    /// A PEM file of authorities that are trusted besides this machine's own.
    pub authorities: Option<PathBuf>,
    /// Finds the peers that have a tag.
    pub discovery: Discovery,
    /// Which of them are asked.
    pub reach: Reach,
}

struct Inner {
    asker: Asker,
    settings: Settings,
    state: Mutex<KnownTags>,
    /// Rate-limits the log lines about registries.
    away: Spell,
}

#[derive(Debug)]
struct KnownTags {
    known: LruCache<String, Known>,
    /// Registries that could not be reached, and when they are tried again.
    away: LruCache<String, Instant>,
}

#[derive(Debug)]
struct Known {
    digest: Digest,
    until: Instant,
}

impl Tags {
    /// Resolves tags at registries over HTTPS, or HTTP where they are on this machine.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            asker: Asker::new(settings.authorities.as_deref()),
            settings,
            state: Mutex::new(KnownTags {
                known: LruCache::new(CAPACITY),
                away: LruCache::new(CAPACITY),
            }),
            away: Spell::new("all registries are reached again"),
        }))
    }

    /// The digest of a tag; `own` is the one on this node. `None` if containerd should ask the
    /// registry itself.
    pub async fn resolve(&self, name: &TagName, own: Option<Digest>) -> Option<Digest> {
        let key = name.to_string();
        let (digest, source) = match self.fresh(&key) {
            Some(digest) => (Some(digest), "memory"),
            None => match self.registry(name).await {
                Answer::Digest(digest) => {
                    self.learn(key, &digest);
                    (Some(digest), "registry")
                }
                Answer::Refused => (None, "nobody"),
                Answer::Away => self.without_registry(name, &key, own).await,
            },
        };
        metrics::counter!(RESOLVED.name, "source" => source).increment(1);
        debug!(%name, ?digest, source, "a tag");
        digest
    }

    async fn without_registry(
        &self,
        name: &TagName,
        key: &str,
        own: Option<Digest>,
    ) -> (Option<Digest>, &'static str) {
        if let Some(known) = self.state().known.get(key) {
            return (Some(known.digest.clone()), "stale");
        }
        if own.is_some() {
            return (own, "own");
        }
        match self.peers(name, key).await {
            Some(digest) => (Some(digest), "peer"),
            None => (None, "nobody"),
        }
    }

    async fn registry(&self, name: &TagName) -> Answer {
        let now = Instant::now();
        let away = self.state().away.get(&name.registry).copied();
        if away.is_some_and(|until| now < until) {
            return Answer::Away;
        }
        let registries = &self.0.settings.registries;
        let set = registries.iter().find(|r| r.registry == name.registry);
        let url = match set {
            Some(set) => set.url.clone(),
            None => RegistryUrl::usual(&name.registry),
        };
        let answer = self.0.asker.registry(&url, name).await;
        let mut state = self.state();
        if matches!(answer, Answer::Away) {
            if away.is_none() {
                self.0.away.happened(|times| {
                    info!(
                        registry = name.registry,
                        url, times, "cannot be reached: tags may be stale"
                    );
                });
            }
            state
                .away
                .put(name.registry.clone(), now + REGISTRY_BACK_OFF);
        } else {
            state.away.pop(&name.registry);
            self.0.away.is_well();
        }
        answer
    }

    /// The tag's digest on the first peer that knows it.
    async fn peers(&self, name: &TagName, key: &str) -> Option<Digest> {
        let key: Key = key.parse().ok()?;
        let peers = self.0.settings.discovery.find(&key).await;
        let reach = &self.0.settings.reach;
        let peers = peers.iter().filter(|peer| reach.allows(peer.addr));
        for peer in peers.take(MAX_PEERS) {
            if let Answer::Digest(digest) = self.0.asker.peer(peer.addr, name).await {
                return Some(digest);
            }
        }
        None
    }

    fn fresh(&self, key: &str) -> Option<Digest> {
        let mut state = self.state();
        let known = state.known.get(key)?;
        (Instant::now() < known.until).then(|| known.digest.clone())
    }

    fn learn(&self, key: String, digest: &Digest) {
        let until = Instant::now() + self.0.settings.ttl;
        let digest = digest.clone();
        self.state().known.put(key, Known { digest, until });
    }

    fn state(&self) -> MutexGuard<'_, KnownTags> {
        self.0.state.lock()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tags")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
