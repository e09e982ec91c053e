//! Whether registries give a repository to anybody, where that decides whose manifests come from peers.
//!
//! The hosts that containerd would ask are asked for a manifest of it without credentials. Nobody else's word counts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use daemon::{metric::Metric, scope::Scope};
use metrics::counter;
use tokio::sync::Semaphore;
use tracing::debug;

use super::{ask::Asker, turns::Turns, ways::Ways};
use crate::{
    hosts::after::HostFiles,
    jitter::Jitter,
    policy::{Verdict, Verdicts},
    reference::TagName,
    registry::RegistryUrl,
};

pub(super) const ASKED: Metric = Metric::counter(
    "piccolo_agent_repositories_asked_total",
    &[(
        "outcome",
        "`public` (given without credentials), `private` (not without them), `unknown` (no answer that tells)",
    )],
    "Repositories of which a registry was asked for a manifest without credentials (`--private auto`), by what \
     it said.",
);

/// Most repositories that are asked about at once.
const AT_ONCE: usize = 16;
/// Longest wait before the registry is asked for what a peer wants, the next one in turn. Many nodes may be asked
/// by the same peer.
const SPREAD: Duration = Duration::from_secs(10);

/// Asks. Clones are the same.
#[derive(Debug, Clone)]
pub struct Openness(Arc<Inner>);

/// How registries are asked.
#[derive(Debug)]
pub struct OpennessSettings {
    /// The files that say whom containerd asks after the agent.
    pub files: HostFiles,
    /// Where the agent is to ask registries, other than their names or the files say.
    pub registries: Vec<RegistryUrl>,
    /// A PEM file of authorities that are trusted besides this machine's own.
    pub authorities: Option<PathBuf>,
    /// Where the answers go.
    pub verdicts: Verdicts,
}

struct Inner {
    ways: Ways,
    verdicts: Verdicts,
    turns: Turns,
    places: Semaphore,
}

impl Openness {
    /// Asks over HTTPS, or HTTP where a registry is on this machine.
    pub fn new(settings: OpennessSettings) -> Self {
        let asker = Arc::new(Asker::new(settings.authorities.as_deref()));
        Self(Arc::new(Inner {
            ways: Ways::new(asker, settings.files, settings.registries),
            verdicts: settings.verdicts,
            turns: Turns::default(),
            places: Semaphore::new(AT_ONCE),
        }))
    }

    /// Has the registry asked for the manifest that is named, unless its verdict on the repository stands
    /// still. One request of each repository asks.
    pub async fn settle(&self, name: &TagName) {
        let due = || self.0.verdicts.is_due(&name.registry, &name.repository);
        if due() {
            let repository = format!("{}/{}", name.registry, name.repository);
            let _turn = self.0.turns.turn(&repository).await;
            if due() {
                self.ask(name).await;
            }
        }
    }

    /// Asks about what peers want of this node and may not be public, or not any more: one after the other, at a
    /// time of its own. Until the scope drains.
    pub async fn watch(self, jitter: Jitter, scope: Scope) {
        let watch = async {
            loop {
                let name = self.0.verdicts.wanted().await;
                tokio::time::sleep(SPREAD.mul_f64(jitter.next())).await;
                self.settle(&name).await;
            }
        };
        tokio::select! {
            () = scope.draining() => {}
            () = watch => {}
        }
    }

    async fn ask(&self, name: &TagName) {
        let inner = &self.0;
        let Ok(_place) = inner.places.acquire().await else {
            return;
        };
        let verdict = inner.ways.verdict(name).await;
        let outcome = match verdict {
            Some(Verdict::Public) => "public",
            Some(Verdict::Private) => "private",
            Some(Verdict::Absent) | None => "unknown",
        };
        counter!(ASKED.name, "outcome" => outcome).increment(1);
        debug!(%name, outcome, "whether anybody may have it");
        inner
            .verdicts
            .learn(&name.registry, &name.repository, verdict);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openness").finish_non_exhaustive()
    }
}
