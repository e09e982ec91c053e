//! What a tag stands for, where the agent answers tags.
//!
//! A tag may move at any time, and only its registry knows where to. So the registry is asked with
//! a HEAD, and its reply is cached for a while. Where it says nothing useful for this node (it
//! wants credentials, or has no such tag) containerd is left to ask it; where it cannot be reached,
//! the last known word counts, then this node's own tag, then that of a peer. With `--share-tags` one node
//! asks the registry for all of its group.

mod ask;
mod challenge;
mod outside;
mod share;
mod trust;

use std::{fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use daemon::{metric::Metric, spell::Spell};
use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};
use piccolo_api::Key;
use tokio::time::Instant;
use tracing::{debug, info};

use self::{
    ask::{Answer, Asker, Target},
    share::{Course, Sharing},
};
use crate::{
    digest::Digest, discovery::Discovery, policy::Policy, reach::Reach, reference::TagName,
    registry::RegistryUrl,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[RESOLVED, share::SHARED];

const RESOLVED: Metric = Metric::counter(
    "piccolo_agent_tags_resolved_total",
    &[(
        "source",
        "`registry`, `memory` (asked within the TTL), `shared` (another node asked within the TTL), `stale`, \
         `own` and `peer` (the registry cannot be reached), `nobody`",
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
    /// Of which repositories one node asks the registry for all of its group; `None` where each asks for itself.
    pub shared: Option<Policy>,
}

struct Inner {
    asker: Asker,
    sharing: Option<Sharing>,
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
    target: Target,
    until: Instant,
}

impl Tags {
    /// Resolves tags at registries over HTTPS, or HTTP where they are on this machine.
    pub fn new(settings: Settings) -> Self {
        let policy = settings.shared.clone().filter(|_| !settings.ttl.is_zero());
        let sharing = |policy| Sharing::new(settings.discovery.clone(), policy, settings.ttl);
        Self(Arc::new(Inner {
            asker: Asker::new(settings.authorities.as_deref()),
            sharing: policy.map(sharing),
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
            Some(target) => (Some(target.digest), "memory"),
            None => match self.current(name, &key).await {
                (Answer::Digest(target), source) => (Some(target.digest), source),
                (Answer::Refused, _) => (None, "nobody"),
                (Answer::Away, _) => self.without_registry(name, &key, own).await,
            },
        };
        metrics::counter!(RESOLVED.name, "source" => source).increment(1);
        debug!(%name, ?digest, source, "a tag");
        digest
    }

    /// What the registry says now, to this node or to another one that asks for all.
    async fn current(&self, name: &TagName, key: &str) -> (Answer, &'static str) {
        let Some(sharing) = &self.0.sharing else {
            return (self.asked(name, key).await, "registry");
        };
        let _turn = sharing.turn(key).await;
        if let Some(target) = self.fresh(key) {
            return (Answer::Digest(target), "memory");
        }
        match sharing.course(name, key).await {
            Course::Known(target, left) => {
                self.learn(key, &target, left);
                (Answer::Digest(target), "shared")
            }
            Course::Refused => (Answer::Refused, "shared"),
            Course::AskForAll => {
                let answer = self.asked(name, key).await;
                sharing.tell(key, &answer).await;
                (answer, "registry")
            }
            Course::Ask => (self.asked(name, key).await, "registry"),
        }
    }

    /// Asks the registry, and remembers the digest.
    async fn asked(&self, name: &TagName, key: &str) -> Answer {
        let answer = self.registry(name).await;
        if let Answer::Digest(target) = &answer {
            self.learn(key, target, self.0.settings.ttl);
        }
        answer
    }

    async fn without_registry(
        &self,
        name: &TagName,
        key: &str,
        own: Option<Digest>,
    ) -> (Option<Digest>, &'static str) {
        if let Some(known) = self.state().known.get(key) {
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
        let mut state = self.state();
        let known = state.known.get(key)?;
        (Instant::now() < known.until).then(|| known.target.clone())
    }

    fn learn(&self, key: &str, target: &Target, good: Duration) {
        let until = Instant::now() + good;
        let target = target.clone();
        self.state()
            .known
            .put(key.to_owned(), Known { target, until });
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
