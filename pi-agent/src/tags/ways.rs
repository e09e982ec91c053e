//! The ways to a registry's word: the hosts that containerd would ask, as far as this node reaches them.
//!
//! containerd may reach hosts that the agent does not, through a proxy or with a certificate of its own. So
//! a host counts as away only if it answered this agent before, or if the operator has said that the agent
//! is to ask it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use daemon::spell::Spell;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};
use tracing::info;

use super::ask::{Answer, Asker, Refusal, Target, is_manifest};
use crate::{
    digest::Digest,
    disk,
    hosts::after::{After, HostFiles, NextHost},
    policy::Verdict,
    reference::TagName,
    registry::{RegistryUrl, canonical},
};

/// Most hosts that are remembered; the least recently asked one is forgotten first.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// How long a host that does not answer is not asked.
const BACK_OFF: Duration = Duration::from_secs(10);
/// Most hosts that are asked for a tag: containerd waits meanwhile.
const MOST: usize = 4;
/// How long the disk may take for the file of a registry, and threads that read one.
const READ: Duration = Duration::from_secs(1);
static READING: Semaphore = Semaphore::const_new(4);

/// Asks them, and remembers which answer.
pub(super) struct Ways {
    asker: Arc<Asker>,
    files: Arc<HostFiles>,
    /// Where registries are, other than their names say.
    registries: Vec<RegistryUrl>,
    known: Mutex<LruCache<String, Known>>,
    /// Rate-limits the log lines about hosts.
    away: Spell,
}

/// What the registry says of a tag.
#[derive(Debug)]
pub(super) enum Word {
    /// It stands for this.
    Digest(Target),
    /// None of them gives it to this node.
    Refused(Refusal),
    /// It is not known here, and may be where containerd asks next.
    Elsewhere,
    /// All that containerd would ask are away.
    Away,
}

/// A host to ask.
#[derive(Debug)]
struct Way {
    host: NextHost,
    /// Whether the operator has said that it is asked by the agent.
    named: bool,
}

/// What is known of a host.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// It has answered.
    reached: bool,
    /// Until then it is not asked.
    silent_until: Option<Instant>,
}

impl Ways {
    pub(super) fn new(asker: Arc<Asker>, files: HostFiles, registries: Vec<RegistryUrl>) -> Self {
        Self {
            asker,
            files: Arc::new(files),
            registries,
            known: Mutex::new(LruCache::new(CAPACITY)),
            away: Spell::new("all hosts that tell tags answer again"),
        }
    }

    /// Asks one host after the other, in containerd's order, until one knows the tag.
    pub(super) async fn ask(&self, name: &TagName) -> Word {
        let after = self.after(&name.registry).await;
        let mut word = match &after {
            Some(after) if after.hosts.len() < MOST => Word::Away,
            Some(_) | None => Word::Elsewhere,
        };
        for way in self.ways(&name.registry, after) {
            match self.ask_one(&way, name).await {
                Word::Digest(target) => return Word::Digest(target),
                Word::Refused(why) => word = Word::Refused(why),
                Word::Elsewhere if !matches!(word, Word::Refused(_)) => word = Word::Elsewhere,
                Word::Elsewhere | Word::Away => {}
            }
        }
        word
    }

    /// Who may have the manifest that is named, by what they say to this node, which has no credentials:
    /// anybody where one of them gives it. `None` where none of them says anything of the kind. That there is no
    /// such manifest is the registry's to say, who is asked last: a mirror may just not have it yet.
    pub(super) async fn verdict(&self, name: &TagName) -> Option<Verdict> {
        let after = self.after(&name.registry).await;
        let (mut is_private, mut is_absent) = (false, false);
        for way in self.ways(&name.registry, after) {
            let word = self.ask_one(&way, name).await;
            is_absent = matches!(word, Word::Refused(Refusal::Missing));
            match word {
                Word::Digest(target) if is_it(&target, name) => return Some(Verdict::Public),
                Word::Refused(Refusal::Unnamed) => return Some(Verdict::Public),
                Word::Refused(Refusal::Credentials) => is_private = true,
                Word::Digest(_) | Word::Refused(_) | Word::Elsewhere | Word::Away => {}
            }
        }
        if is_private {
            return Some(Verdict::Private);
        }
        is_absent.then_some(Verdict::Absent)
    }

    /// Whom containerd asks after the agent, where that can be read.
    async fn after(&self, registry: &str) -> Option<After> {
        let (files, registry) = (Arc::clone(&self.files), registry.to_owned());
        let read = move || Ok(files.after(&registry));
        disk::apart(&READING, READ, read).await.ok().flatten()
    }

    fn ways(&self, registry: &str, after: Option<After>) -> Vec<Way> {
        let way = |host| Way { host, named: false };
        let set = self
            .registries
            .iter()
            .find(|set| canonical(&set.registry) == canonical(registry));
        let at = |url: &str| NextHost {
            base: format!("{url}/v2"),
            stands_in: false,
        };
        let (hosts, last) = match after {
            Some(after) => (after.hosts, after.last),
            None => (Vec::new(), at(&RegistryUrl::usual(registry))),
        };
        let last = match set {
            Some(set) => Way {
                host: at(&set.url),
                named: true,
            },
            None => way(last),
        };
        let mut ways: Vec<_> = hosts.into_iter().map(way).take(MOST - 1).collect();
        ways.push(last);
        ways
    }

    async fn ask_one(&self, way: &Way, name: &TagName) -> Word {
        let base = &way.host.base;
        let known = self.known.lock().get(base).copied().unwrap_or_default();
        let silent = if known.reached || way.named {
            Word::Away
        } else {
            Word::Elsewhere
        };
        if known
            .silent_until
            .is_some_and(|until| Instant::now() < until)
        {
            return silent;
        }
        let answer = self.asker.host(&way.host, name).await;
        let known = match answer {
            Answer::Digest(_) | Answer::Refused(_) => Known {
                reached: true,
                silent_until: None,
            },
            Answer::Failing | Answer::Silent => Known {
                reached: known.reached || matches!(answer, Answer::Failing),
                silent_until: Some(Instant::now() + BACK_OFF),
            },
        };
        self.known.lock().put(base.clone(), known);
        self.log(&answer, &silent, way, name);
        match answer {
            Answer::Digest(target) => Word::Digest(target),
            Answer::Refused(why) => Word::Refused(why),
            Answer::Failing => Word::Away,
            Answer::Silent => silent,
        }
    }

    fn log(&self, answer: &Answer, silent: &Word, way: &Way, name: &TagName) {
        let consequence = match (answer, silent) {
            (Answer::Digest(_) | Answer::Refused(_), _) => return self.away.is_well(),
            (Answer::Silent, Word::Elsewhere) => {
                "this agent has never reached it, and leaves its tags to containerd"
            }
            _ => "tags may be stale where containerd has nobody else to ask",
        };
        let (host, registry) = (&way.host.base, &name.registry);
        self.away.happened(|times| {
            info!(
                host,
                registry, times, consequence, "a host that tells tags is away"
            );
        });
    }
}

/// Whether what a host says that it gives is the manifest that was asked for.
fn is_it(target: &Target, name: &TagName) -> bool {
    match name.tag.parse::<Digest>() {
        Ok(digest) => target.digest == digest,
        Err(_) => target.media_type.as_deref().is_some_and(is_manifest),
    }
}
