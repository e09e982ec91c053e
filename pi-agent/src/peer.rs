//! The listener for other agents: gives them what this node's content store has.
//!
//! A request is answered from this node's own content only, never passed on, so that requests
//! cannot go in circles.

mod alternates;
mod connection;
mod count;
mod fed;
mod rack;
mod slots;

pub use self::{count::METRICS, slots::SlotCount};

use std::{net::IpAddr, sync::Arc, time::Duration};

use daemon::{serve::addresses::Grouping, spell::Spell, tls::Agents};
use tokio::net::TcpListener;

use self::{alternates::Alternates, count::Counts, fed::Fed, slots::Slots};
use crate::{
    content::Content,
    datapath::{Pace, RATE_FLOOR, RateFloor, Receiver},
    digest::Digest,
    http::Kind,
    listen::{self, Bounds, Limits},
    sockets::PeerSockets,
    tracker::Tracker,
};

/// How long a peer may read no byte of a body.
const SILENCE: Duration = Duration::from_secs(10);
/// The time over which its rate is judged.
const WINDOW: Duration = Duration::from_secs(30);

/// Uploads at once where nothing else is set.
pub const UPLOAD_SLOTS: u32 = 32;

/// How much this node gives to its peers.
#[derive(Debug, Clone)]
pub struct PeerSettings {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Uploads at once.
    pub slots: usize,
    /// Uploads that wait for a slot.
    pub queue: usize,
    /// How long one waits.
    pub queue_time: Duration,
    /// How long a connection may be without a request.
    pub idle: Duration,
    /// How long a head may take from its first byte to its last.
    pub head: Duration,
    /// How long a peer waits for the first byte of an object that this node is still fetching.
    pub first_byte: Duration,
    /// The lowest rate at which a peer has to read a body.
    pub receiver: Receiver,
    /// Connections of one address at once; further ones are closed.
    pub per_address: usize,
    /// Which addresses count as one.
    pub grouping: Grouping,
    /// The rate of all uploads together.
    pub pace: Pace,
    /// How the other side shows who it is.
    pub agents: Agents,
}

/// Serves peers. Clones are the same.
#[derive(Debug, Clone)]
pub struct PeerServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    content: Content,
    sockets: PeerSockets,
    /// Decides for the rack while no server answers; `None` where this node takes part in no crowds.
    tracker: Option<Tracker>,
    settings: PeerSettings,
    slots: Slots,
    alternates: Alternates,
    fed: Fed,
    counts: Counts,
    unreadable: Spell,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            connections: 1024,
            slots: usize::try_from(UPLOAD_SLOTS).unwrap_or(usize::MAX),
            queue: 64,
            queue_time: Duration::from_millis(500),
            idle: Duration::from_mins(1),
            head: Duration::from_secs(5),
            first_byte: Duration::from_secs(5),
            receiver: Self::receiver(RATE_FLOOR),
            per_address: 256,
            grouping: Grouping::default(),
            pace: Pace::free(),
            agents: Agents::default(),
        }
    }
}

impl PeerSettings {
    /// A floor for receivers in bytes per second, over a time in which even one with a busy disk
    /// reads some; 0 only requires that some byte is read.
    pub fn receiver(rate: u64) -> Receiver {
        Receiver {
            patience: SILENCE,
            floor: RateFloor {
                bytes: rate.saturating_mul(WINDOW.as_secs()),
                window: WINDOW,
            },
        }
    }
}

impl PeerSettings {
    fn limits(&self) -> Limits {
        Limits {
            idle: self.idle,
            head: self.head,
            patience: self.receiver.patience,
        }
    }
}

impl PeerServer {
    /// Serves `content`, and counts every byte in `sockets`.
    pub fn new(content: Content, sockets: PeerSockets, settings: PeerSettings) -> Self {
        Self::with(content, sockets, settings, None)
    }

    /// The same, which also decides for the rack while no server answers.
    pub fn with(
        content: Content,
        sockets: PeerSockets,
        settings: PeerSettings,
        tracker: Option<Tracker>,
    ) -> Self {
        let slots = Slots::new(
            settings.slots,
            settings.queue,
            settings.queue_time,
            settings.grouping.clone(),
        );
        Self(Arc::new(Inner {
            content,
            sockets,
            tracker,
            slots,
            alternates: Alternates::default(),
            fed: Fed::default(),
            counts: Counts::new(),
            unreadable: Spell::new("own content is readable again"),
            settings,
        }))
    }

    /// Serves until the scope drains; uploads in flight are finished.
    pub async fn serve(self, listener: TcpListener, scope: daemon::scope::Scope) {
        let bounds = Bounds {
            most: self.0.settings.connections,
            per_address: self.0.settings.per_address,
            grouping: self.0.settings.grouping.clone(),
        };
        let refused = || self.0.counts.refused.increment(1);
        listen::accept_all(&listener, bounds, &scope, refused, |accepted| {
            let (server, scope) = (self.clone(), scope.clone());
            async move { connection::run(&server.0, accepted, &scope).await }
        })
        .await;
    }

    /// The peers that receive an object which this node is still fetching.
    pub(crate) fn fed(&self, digest: &Digest) -> Vec<IpAddr> {
        self.0.fed.of(digest)
    }

    /// Which addresses count as one.
    pub(crate) fn grouping(&self) -> Grouping {
        self.0.settings.grouping.clone()
    }

    /// How busy this node is with uploads.
    pub fn slots(&self) -> SlotCount {
        self.0.slots.count()
    }
}

/// Code and text of a 404.
fn unknown(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Manifest => ("MANIFEST_UNKNOWN", "this node does not have the manifest"),
        Kind::Blob => ("BLOB_UNKNOWN", "this node does not have the blob"),
    }
}
