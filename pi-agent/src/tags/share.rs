//! One node asks a registry for all of its group, as the server says. That keeps what was said for a while:
//! no node's own word for a tag counts here.

use std::time::Duration;

use daemon::metric::Metric;
use metrics::counter;
use piccolo_api::{Key, RegistryWord, TagReply, TagTarget};
use tokio::time::Instant;
use tracing::debug;

use super::{
    ask::Target,
    turns::{Turn, Turns},
    ways::Word,
};
use crate::{discovery::Discovery, jitter::Jitter, policy::Policy, reference::TagName};

pub(super) const SHARED: Metric = Metric::counter(
    "piccolo_agent_tags_shared_total",
    &[(
        "outcome",
        "`known` (another node had asked the registry), `refused` (it had, without success), `asked` (this node \
         asked for all), `alone` (the server sent it to the registry for itself), `late` (the node that \
         asked was not heard in time), `no_server`, `denied` (not shared by `--allow` and `--deny`)",
    )],
    "Tags that were to be resolved together with other nodes, by what came of it.",
);

/// Longest wait for the node that asks the registry: that has two and a half seconds, and where it dies
/// another one is sent.
const PATIENCE: Duration = Duration::from_secs(4);
/// Longest wait for the server's answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Shortest pause between two calls, whatever the server asks for.
const PAUSE: Duration = Duration::from_millis(10);

/// Resolves tags together with the other nodes of the group.
#[derive(Debug)]
pub(super) struct Sharing {
    discovery: Discovery,
    /// Of which repositories.
    policy: Policy,
    jitter: Jitter,
    ttl: Duration,
    /// The tags that are being resolved: of several requests of this node one asks.
    turns: Turns,
}

/// What is to be done about a tag.
#[derive(Debug)]
pub(super) enum Course {
    /// The registry said so, and that is good for so long.
    Known(Target, Duration),
    /// The registry gave another node no digest.
    Refused,
    /// Ask the registry, and tell what it said.
    AskForAll,
    /// Ask the registry.
    Ask,
}

impl Sharing {
    pub(super) fn new(discovery: Discovery, policy: Policy, ttl: Duration) -> Self {
        Self {
            discovery,
            policy,
            jitter: Jitter::random(),
            ttl,
            turns: Turns::default(),
        }
    }

    /// Waits for other requests of this node for the same tag.
    pub(super) async fn turn(&self, tag: &str) -> Turn {
        self.turns.turn(tag).await
    }

    /// Asks the server, as long as another node asks the registry.
    pub(super) async fn course(&self, name: &TagName, tag: &str) -> Course {
        let (course, outcome) = self.decide(name, tag).await;
        counter!(SHARED.name, "outcome" => outcome).increment(1);
        course
    }

    async fn decide(&self, name: &TagName, tag: &str) -> (Course, &'static str) {
        if !self.policy.shares(&name.registry, &name.repository) {
            return (Course::Ask, "denied");
        }
        let Ok(key) = tag.parse::<Key>() else {
            return (Course::Ask, "alone");
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let asked = Instant::now();
            let deadline = ANSWER.min(end - asked);
            let reply = self.discovery.tag(&key, self.ttl, None, deadline).await;
            let wait = match reply {
                None => return (Course::Ask, "no_server"),
                Some(TagReply::Ask) => return (Course::AskForAll, "asked"),
                Some(TagReply::Alone) => return (Course::Ask, "alone"),
                Some(TagReply::Refused) => return (Course::Refused, "refused"),
                Some(TagReply::Known { target, age_ms, by }) => {
                    debug!(tag, ?target, age_ms, %by, "another node asked the registry");
                    // How long the reply was on its way is not known, but how long the call took is.
                    let age = Duration::from_millis(age_ms).saturating_add(asked.elapsed());
                    return match read(target) {
                        Some(target) => {
                            let left = self.ttl.saturating_sub(age);
                            (Course::Known(target, left), "known")
                        }
                        None => (Course::Ask, "alone"),
                    };
                }
                Some(TagReply::Wait { wait_ms }) => Duration::from_millis(wait_ms.into()),
            };
            let wait = self.jitter.around(wait.max(PAUSE));
            if Instant::now() + wait >= end {
                return (Course::Ask, "late");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Tells what the registry said.
    pub(super) async fn tell(&self, tag: &str, word: &Word) {
        let word = match word {
            Word::Digest(target) => RegistryWord::Digest(TagTarget {
                digest: target.digest.to_string(),
                size: target.size,
                media_type: target.media_type.clone(),
            }),
            Word::Refused(_) => RegistryWord::Refused,
            // Others may reach whom this node does not.
            Word::Elsewhere | Word::Away => RegistryWord::Nothing,
        };
        if let Ok(key) = tag.parse() {
            // Where nobody hears it the others ask the registry.
            let _ = self.discovery.tag(&key, self.ttl, Some(word), ANSWER).await;
        }
    }
}

/// A manifest that another node described; `None` where that is none.
fn read(target: TagTarget) -> Option<Target> {
    let TagTarget {
        digest,
        size,
        media_type,
    } = target;
    let is_fit = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    Some(Target {
        digest: digest.parse().ok()?,
        size,
        // It becomes a field of a reply.
        media_type: media_type.filter(|text| is_fit(text)),
    })
}
