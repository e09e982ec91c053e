//! What registries say to strangers of their repositories: a verdict holds for a while, and beyond that until
//! another one is known.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::registry::{canonical, canonical_host};

/// Most repositories, at whatever ports, that are remembered; the least recently used one is forgotten first.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Most ports of a host that a repository is remembered at.
const PORTS: usize = 8;
/// For how long a registry is not asked again that has not said anything, and one that wants credentials.
const UNANSWERED: Duration = Duration::from_secs(30);
const PRIVATE: Duration = Duration::from_mins(10);

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
}

#[derive(Debug)]
struct Inner {
    /// How long a verdict stands without being asked for again.
    ttl: Duration,
    /// By the host without its port, and the repository.
    known: Mutex<LruCache<String, Vec<Known>>>,
    changed: Notify,
}

#[derive(Debug)]
struct Known {
    registry: String,
    verdict: Option<Verdict>,
    asked: Instant,
    until: Instant,
}

impl Verdicts {
    /// None yet; each is asked for again after `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self(Arc::new(Inner {
            ttl,
            known: Mutex::new(LruCache::new(MOST)),
            changed: Notify::new(),
        }))
    }

    /// Takes what a registry said of a repository; `None` where it did not say anything.
    pub fn learn(&self, registry: &str, repository: &str, said: Option<Verdict>) {
        let asked = Instant::now();
        let stands = match said {
            Some(Verdict::Public) => self.0.ttl,
            Some(Verdict::Private) => self.0.ttl.min(PRIVATE),
            None => self.0.ttl.min(UNANSWERED),
        };
        let until = asked + stands;
        let registry = canonical(registry);
        let mut known = self.0.known.lock();
        let ports = known.get_or_insert_mut(key(&registry, repository), Vec::new);
        let same = ports.iter_mut().find(|known| known.registry == registry);
        let is_news = if let Some(known) = same {
            let before = known.verdict;
            (known.verdict, known.asked, known.until) = (said.or(before), asked, until);
            known.verdict != before
        } else {
            if ports.len() >= PORTS {
                ports.remove(0);
            }
            ports.push(Known {
                registry,
                verdict: said,
                asked,
                until,
            });
            true
        };
        drop(known);
        if is_news {
            self.0.changed.notify_one();
        }
    }

    /// Whether the registry is to be asked before the verdict is used for a pull.
    pub fn is_due(&self, registry: &str, repository: &str) -> bool {
        let now = Instant::now();
        self.of(registry, repository, |known| known.until <= now)
            .unwrap_or(true)
    }

    /// Whether it is to be asked although nobody pulls: it has not been for a while, and what it gives to
    /// anybody is offered to peers.
    pub fn is_stale(&self, registry: &str, repository: &str) -> bool {
        let stale = |known: &Known| {
            known.verdict != Some(Verdict::Private) && known.asked.elapsed() >= self.0.ttl
        };
        self.of(registry, repository, stale).unwrap_or(true)
    }

    /// Whether anybody may have the repository, as far as is known.
    pub fn is_public(&self, registry: &str, repository: &str) -> bool {
        let is_public = |known: &Known| known.verdict == Some(Verdict::Public);
        self.of(registry, repository, is_public).unwrap_or(false)
    }

    /// The same of one of which the registry's port is not known: at all ports that are known.
    pub fn is_public_at_each_port(&self, host: &str, repository: &str) -> bool {
        let mut known = self.0.known.lock();
        let ports = known.get(&key(host, repository));
        ports.is_some_and(|ports| {
            let mut ports = ports.iter();
            ports.all(|known| known.verdict == Some(Verdict::Public))
        })
    }

    /// Waits until a verdict is another one.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
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

fn key(registry: &str, repository: &str) -> String {
    format!("{}/{repository}", canonical_host(registry))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Verdict, Verdicts};

    const TTL: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn the_last_verdict_holds_until_another_one_is_known() {
        let verdicts = Verdicts::new(TTL);
        let (registry, path) = ("reg.test:5000", "a");
        let public = |verdicts: &Verdicts| {
            let is = verdicts.is_public("REG.test:05000", path);
            assert_eq!(is, verdicts.is_public_at_each_port("reg.test", path));
            is
        };
        assert!(!public(&verdicts) && verdicts.is_due(registry, path));
        verdicts.learn(registry, path, None);
        assert!(!public(&verdicts) && !verdicts.is_due(registry, path));
        assert!(!verdicts.is_stale(registry, path), "asked just now");
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(verdicts.is_due(registry, path));

        verdicts.learn(registry, path, Some(Verdict::Public));
        verdicts.changed().await;
        assert!(public(&verdicts));
        tokio::time::advance(TTL).await;
        assert!(verdicts.is_due(registry, path) && verdicts.is_stale(registry, path));
        verdicts.learn(registry, path, None);
        assert!(public(&verdicts), "the last one holds");
        assert!(!verdicts.is_due(registry, path));

        verdicts.learn(registry, path, Some(Verdict::Private));
        assert!(!public(&verdicts));
        tokio::time::advance(Duration::from_mins(11)).await;
        assert!(verdicts.is_due(registry, path) && !verdicts.is_stale(registry, path));
        verdicts.learn(registry, path, None);
        assert!(!public(&verdicts));
    }

    #[test]
    fn a_repository_is_public_where_it_is_so_at_each_port() {
        let verdicts = Verdicts::new(TTL);
        verdicts.learn("reg.test", "a", Some(Verdict::Public));
        verdicts.learn("reg.test:5000", "a", Some(Verdict::Private));
        assert!(verdicts.is_public("reg.test:443", "a"));
        assert!(!verdicts.is_public("reg.test:5000", "a"));
        assert!(!verdicts.is_public("reg.test", "b"));
        assert!(!verdicts.is_public_at_each_port("reg.test", "a"));
        for port in 1..20 {
            verdicts.learn(&format!("many.test:{port}"), "a", Some(Verdict::Public));
        }
        assert!(verdicts.is_public("many.test:19", "a"));
        assert!(!verdicts.is_public("many.test:1", "a"), "forgotten");
    }
}
