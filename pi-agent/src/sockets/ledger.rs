//! The bytes of every connection with a peer, counted where they are read and written.
//!
//! Heads and bodies in both directions, whichever side opened the connection: together exactly
//! the payload that TCP carried on the peer port, which is what the kernel's accounting sees.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::watch::Watched;

/// Most peers with an entry of their own. Further ones share that of the unspecified address.
const MAX_PEERS: usize = 8192;

/// All peers' counters. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PeerBytes(Arc<Mutex<BTreeMap<IpAddr, Arc<Cells>>>>);

/// One peer's counters, as one of its connections adds to them. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    cells: Arc<Cells>,
    watched: Arc<dyn Watched>,
}

#[derive(Debug, Default)]
struct Cells {
    received_head: AtomicU64,
    received_body: AtomicU64,
    sent_head: AtomicU64,
    sent_body: AtomicU64,
}

/// Bytes between this node and one peer since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct PeerTotals {
    /// From the peer.
    pub received: Direction,
    /// To the peer.
    pub sent: Direction,
}

/// One direction of [`PeerTotals`], in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Direction {
    /// Of HTTP heads, and of the short bodies of errors.
    pub head: u64,
    /// Of objects.
    pub body: u64,
}

impl PeerBytes {
    /// Every peer with its totals, in the order of addresses. The unspecified address stands for
    /// all peers that came after the table was full.
    pub fn snapshot(&self) -> Vec<(IpAddr, PeerTotals)> {
        let peers = self.0.lock();
        peers.iter().map(|(ip, m)| (*ip, m.totals())).collect()
    }

    /// Counts a connection with a peer, and reports its progress to the watcher.
    pub(crate) fn meter(&self, peer: IpAddr, watched: Box<dyn Watched>) -> Meter {
        Meter {
            cells: self.cells(peer),
            watched: watched.into(),
        }
    }

    fn cells(&self, peer: IpAddr) -> Arc<Cells> {
        let mut peers = self.0.lock();
        let peer = peer.to_canonical();
        let known = peers.contains_key(&peer) || peers.len() < MAX_PEERS;
        let peer = if known {
            peer
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        peers.entry(peer).or_default().clone()
    }
}

impl Direction {
    /// Heads and bodies together.
    pub fn total(self) -> u64 {
        self.head.saturating_add(self.body)
    }
}

impl Meter {
    pub(crate) fn received_head(&self, bytes: usize) {
        add(&self.cells.received_head, wide(bytes));
        self.watched.received(wide(bytes));
    }

    pub(crate) fn received_body(&self, bytes: u64) {
        add(&self.cells.received_body, bytes);
        self.watched.received(bytes);
    }

    pub(crate) fn sent_head(&self, bytes: usize) {
        add(&self.cells.sent_head, wide(bytes));
        self.watched.sent(wide(bytes));
    }

    pub(crate) fn sent_body(&self, bytes: u64) {
        add(&self.cells.sent_body, bytes);
        self.watched.sent(bytes);
    }

    /// Announces that `bytes` of a body will be received on `socket`.
    pub(crate) fn will_receive(&self, socket: &TcpStream, bytes: u64) {
        self.watched.will_receive(socket.as_fd(), bytes);
    }

    /// Announces that a body of `bytes` will be sent on `socket`.
    pub(crate) fn will_send(&self, socket: &TcpStream, bytes: u64) {
        self.watched.will_send(socket.as_fd(), bytes);
    }
}

impl Cells {
    fn totals(&self) -> PeerTotals {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        PeerTotals {
            received: Direction {
                head: get(&self.received_head),
                body: get(&self.received_body),
            },
            sent: Direction {
                head: get(&self.sent_head),
                body: get(&self.sent_body),
            },
        }
    }
}

fn add(cell: &AtomicU64, bytes: u64) {
    cell.fetch_add(bytes, Ordering::Relaxed);
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
