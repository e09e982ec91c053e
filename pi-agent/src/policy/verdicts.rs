//! What registries say to strangers of their repositories: a verdict holds for a while, and beyond that until
//! another one is known. That a repository is public does not hold for ever: it has to be heard again.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::Duration};

use daemon::retry::Backoff;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    jitter::Jitter,
    reference::TagName,
    registry::{canonical, canonical_host},
};

/// Most repositories, at whatever ports, that are remembered; the least recently used one is forgotten first.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Most ports of a host that a repository is remembered at.
const PORTS: usize = 8;
/// For how long a registry is not asked again that wants credentials.
const PRIVATE: Duration = Duration::from_mins(10);
/// And one that says nothing of the kind: the first time, and the longest. All nodes may hear the same of it at once.
const UNANSWERED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(10));
/// Most repositories that wait until their registries are asked, since peers want manifests of them.
const WANTED: usize = 64;
/// After how many times the TTL a repository is no longer public of which nothing more was heard.
const LAPSES: u32 = 2;

/// The verdicts. Clones are the same.
#[derive(Debug, Clone)]
pub struct Verdicts(Arc<Inner>);

/// Who may have a repository's manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Anybody.
    Public,
    /// Those with credentials.
    Private,
    /// Nobody, as far as it says: to who shows no credentials it has no such manifest.
    Absent,
}

#[derive(Debug)]
struct Inner {
    /// How long a verdict stands without being asked for again.
    ttl: Duration,
    /// By the host without its port, and the repository.
    known: Mutex<LruCache<String, Vec<Known>>>,
    changed: Notify,
    /// Manifests that peers asked for, of which it is not known whether they may have them, or is to be heard again.
    wanted: Mutex<VecDeque<TagName>>,
    is_wanted: Notify,
    jitter: Jitter,
}

#[derive(Debug)]
struct Known {
    registry: String,
    verdict: Option<Verdict>,
    /// When it was last heard that it is public.
    heard: Instant,
    until: Instant,
    unanswered: Backoff,
}

/// When the next verdict lapses.
#[derive(Debug, Clone, Copy)]
enum Lapse {
    /// One did just now.
    Now,
    At(Instant),
    Never,
}

impl Verdicts {
    /// None yet; each is asked for again after `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            ttl,
            known: Mutex::new(LruCache::new(MOST)),
            changed: Notify::new(),
            wanted: Mutex::default(),
            is_wanted: Notify::new(),
            jitter: Jitter::random(),
        }))
    }

    /// Takes what a registry said of a repository; `None` where it did not say anything.
    pub fn learn(&self, registry: &str, repository: &str, said: Option<Verdict>) {
        let now = Instant::now();
        let registry = canonical(registry);
        let mut known = self.0.known.lock();
        let ports = known.get_or_insert_mut(key(&registry, repository), Vec::new);
        let same = ports.iter().position(|known| known.registry == registry);
        let at = same.unwrap_or_else(|| {
            if ports.len() >= PORTS {
                ports.remove(0);
            }
            ports.push(Known::new(registry, now));
            ports.len() - 1
        });
        let Some(of) = ports.get_mut(at) else { return };
        let before = of.verdict;
        of.learn(said, now, &self.0);
        let is_news = same.is_none() || of.verdict != before;
        drop(known);
        if is_news {
            self.0.changed.notify_one();
        }
    }

    /// Whether the registry is to be asked before the verdict is used for a pull, and where peers want something.
    pub fn is_due(&self, registry: &str, repository: &str) -> bool {
        let now = Instant::now();
        self.of(registry, repository, |known| known.until <= now)
            .unwrap_or(true)
    }

    /// A peer wants a manifest that is named by its digest. Where its registry is to be asked, that is noted, unless
    /// enough others wait.
    pub fn want(&self, name: TagName) {
        if !self.is_due(&name.registry, &name.repository) {
            return;
        }
        let mut wanted = self.0.wanted.lock();
        let is_same =
            |one: &TagName| one.registry == name.registry && one.repository == name.repository;
        if wanted.len() < WANTED && !wanted.iter().any(is_same) {
            wanted.push_back(name);
            self.0.is_wanted.notify_one();
        }
    }

    /// Waits for what a peer wants, and gives what has waited longest.
    pub async fn wanted(&self) -> TagName {
        loop {
            let wanted = self.0.wanted.lock().pop_front();
            match wanted {
                Some(name) => return name,
                None => self.0.is_wanted.notified().await,
            }
        }
    }

    /// Whether anybody may have the repository, as far as is known.
    pub fn is_public(&self, registry: &str, repository: &str) -> bool {
        let (now, ttl) = (Instant::now(), self.0.ttl);
        let is_public = |known: &Known| known.is_public(now, ttl);
        self.of(registry, repository, is_public).unwrap_or(false)
    }

    /// The same of one of which the registry's port is not known: at all ports that are known.
    pub fn is_public_at_each_port(&self, host: &str, repository: &str) -> bool {
        let (now, ttl) = (Instant::now(), self.0.ttl);
        let mut known = self.0.known.lock();
        let ports = known.get(&key(host, repository));
        ports.is_some_and(|ports| {
            let mut ports = ports.iter();
            ports.all(|known| known.is_public(now, ttl))
        })
    }

    /// Waits until a verdict is another one, or has lapsed.
    pub async fn changed(&self) {
        loop {
            let next = match self.lapse() {
                Lapse::Now => return,
                Lapse::At(next) => next,
                Lapse::Never => return self.0.changed.notified().await,
            };
            tokio::select! {
                () = self.0.changed.notified() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Takes those for unknown that have not been heard again.
    fn lapse(&self) -> Lapse {
        let (now, ttl) = (Instant::now(), self.0.ttl);
        let mut known = self.0.known.lock();
        let all = known.iter_mut().flat_map(|(_, ports)| ports);
        let mut lapse = Lapse::Never;
        for known in all.filter(|known| known.verdict == Some(Verdict::Public)) {
            if !known.is_public(now, ttl) {
                known.verdict = None;
                lapse = Lapse::Now;
            }
            lapse = match lapse {
                Lapse::Now => Lapse::Now,
                Lapse::Never => Lapse::At(known.lapses(ttl)),
                Lapse::At(other) => Lapse::At(other.min(known.lapses(ttl))),
            };
        }
        lapse
    }

    fn of<T>(&self, registry: &str, repository: &str, what: impl Fn(&Known) -> T) -> Option<T> {
        let registry = canonical(registry);
        let mut known = self.0.known.lock();
        let ports = known.get(&key(&registry, repository))?;
        ports
            .iter()
            .find(|known| known.registry == registry)
            .map(what)
    }
}

impl Known {
    fn new(registry: String, now: Instant) -> Self {
        let (first, longest) = UNANSWERED;
        Self {
            registry,
            verdict: None,
            heard: now,
            until: now,
            unanswered: Backoff::new(first, longest),
        }
    }

    fn learn(&mut self, said: Option<Verdict>, now: Instant, by: &Inner) {
        let stands = match said {
            Some(Verdict::Public) => {
                self.heard = now;
                by.ttl
            }
            Some(Verdict::Private) => PRIVATE,
            Some(Verdict::Absent) | None => self.unanswered.delay(by.jitter.next()),
        };
        if matches!(said, Some(Verdict::Public | Verdict::Private)) {
            self.unanswered.reset();
        }
        // What was public long ago is so no more, whatever happened meanwhile.
        let before = self
            .verdict
            .filter(|before| *before != Verdict::Public || self.is_public(now, by.ttl));
        self.verdict = said.or(before);
        self.until = now + stands.min(by.ttl);
    }

    fn is_public(&self, now: Instant, ttl: Duration) -> bool {
        self.verdict == Some(Verdict::Public) && now < self.lapses(ttl)
    }

    /// Until when it is public, unless that is heard again.
    fn lapses(&self, ttl: Duration) -> Instant {
        self.heard + ttl * LAPSES
    }
}

fn key(registry: &str, repository: &str) -> String {
    format!("{}/{repository}", canonical_host(registry))
}

#[cfg(test)]
mod tests;
