//! The listener for containerd: this node's registry mirror.
//!
//! What it cannot serve is an immediate 404, after which containerd asks its next host. It never
//! answers with a status that containerd would wait on (5xx, 429) or send credentials to (401), and
//! never ends a reply with RST, which would fail the pull.

mod connection;
mod count;

use std::{sync::Arc, time::Duration};

use daemon::{beat::beat, scope::Scope, serve::addresses::Grouping, spell::Spell};
use tokio::net::TcpListener;
use tracing::Span;

use self::count::Counts;
pub use self::count::METRICS;
use crate::{
    content::Content,
    fetch::Fetcher,
    instance::Instance,
    listen::{self, Bounds, Limits},
    tags::{Openness, Tags},
};

/// Bounds of the mirror.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a connection may be without a request.
    pub idle: Duration,
    /// How long a head may take from its first byte to its last.
    pub head: Duration,
    /// How long containerd may take no byte of a body.
    pub patience: Duration,
    /// Resolves tags; without it every tag is left to containerd's next host.
    pub tags: Option<Tags>,
    /// Asks registries whether they give a repository to anybody; without it nobody asks.
    pub openness: Option<Openness>,
    /// Which process this is, as the answer to `/v2/` says.
    pub instance: Option<Instance>,
}

/// The mirror. Clones are the same.
#[derive(Debug, Clone)]
pub struct Mirror(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: Content,
    fetcher: Fetcher,
    settings: MirrorSettings,
    counts: Counts,
    unreadable: Spell,
}

/// Interval of dropping unused connections and cached objects.
const TIDY: Duration = Duration::from_secs(10);

impl Default for MirrorSettings {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_mins(2),
            head: Duration::from_secs(5),
            patience: Duration::from_mins(2),
            tags: None,
            openness: None,
            instance: None,
        }
    }
}

impl MirrorSettings {
    fn limits(&self) -> Limits {
        Limits {
            idle: self.idle,
            head: self.head,
            patience: self.patience,
        }
    }
}

impl Mirror {
    /// A mirror of what this node has and of what its peers have.
    pub fn new(content: Content, fetcher: Fetcher, settings: MirrorSettings) -> Self {
        Self(Arc::new(Inner {
            content,
            fetcher,
            settings,
            counts: Counts::new(),
            unreadable: Spell::new("own content is readable again"),
        }))
    }

    /// Serves until the scope drains; replies in flight are finished.
    pub async fn serve(self, listener: TcpListener, scope: Scope) {
        let (fetcher, content) = (self.0.fetcher.clone(), self.0.content.clone());
        let tidier = scope.clone();
        scope.task(Span::none(), async move {
            loop {
                tokio::select! {
                    () = tidier.draining() => return,
                    () = beat(TIDY) => {
                        fetcher.tidy();
                        content.tidy();
                    }
                }
            }
        });
        self.accept(listener, scope).await;
    }

    /// Serves at another address as well, until the scope drains or this is dropped; connections that are
    /// there go on.
    pub async fn accept(self, listener: TcpListener, scope: Scope) {
        let bounds = Bounds {
            most: self.0.settings.connections,
            per_address: usize::MAX,
            grouping: Grouping::default(),
        };
        listen::accept_all(
            &listener,
            bounds,
            &scope,
            || (),
            |accepted| {
                let (mirror, scope) = (self.clone(), scope.clone());
                async move { connection::run(&mirror.0, accepted, &scope).await }
            },
        )
        .await;
    }
}
