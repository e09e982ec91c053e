//! The bytes of every connection with a peer, counted where they are read and written.
//!
//! Heads, bodies and what TLS adds in both directions, whichever side opened the connection: together exactly
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

use daemon::tls::Overhead;
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
    received_tls: AtomicU64,
    sent_head: AtomicU64,
    sent_body: AtomicU64,
    sent_tls: AtomicU64,
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
    /// That TLS adds: handshakes, and what stands around each record.
    pub tls: u64,
}

impl PeerBytes {
    /// Every peer with its totals, in the order of addresses. The unspecified address stands for
    /// all peers that came after the table was full.
    pub fn snapshot(&self) -> Vec<(IpAddr, PeerTotals)> {
        let peers = self.0.lock();
        peers.iter().map(|(ip, m)| (*ip, m.totals())).collect()
    }

    /// What went between this node and one peer.
    pub fn of(&self, peer: IpAddr) -> PeerTotals {
        let peers = self.0.lock();
        let cells = peers.get(&peer.to_canonical());
        cells.map(|cells| cells.totals()).unwrap_or_default()
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

    /// What of `wire` bytes of TCP's payload is left without what TLS adds, by what that has been so far.
    pub fn goodput(self, wire: u64) -> u64 {
        if self.tls == 0 {
            return wire;
        }
        let (of, all) = (
            u128::from(self.total()),
            u128::from(self.total()) + u128::from(self.tls),
        );
        u64::try_from(u128::from(wire) * of / all).unwrap_or(wire)
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

/// What TLS adds is on the wire, too.
impl Overhead for Meter {
    fn received(&self, bytes: u64) {
        add(&self.cells.received_tls, bytes);
        self.watched.received(bytes);
    }

    fn sent(&self, bytes: u64) {
        add(&self.cells.sent_tls, bytes);
        self.watched.sent(bytes);
    }
}

impl Cells {
    fn totals(&self) -> PeerTotals {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        PeerTotals {
            received: Direction {
                head: get(&self.received_head),
                body: get(&self.received_body),
                tls: get(&self.received_tls),
            },
            sent: Direction {
                head: get(&self.sent_head),
                body: get(&self.sent_body),
                tls: get(&self.sent_tls),
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
