//! Counting in user space: the agent's own sockets, one by one.
//!
//! The kernel's `TCP_INFO` gives bytes, retransmissions and round trips; busy time comes from the
//! progress that the data path reports, through the arithmetic that the kernel's program uses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use parking_lot::{Mutex, MutexGuard};
use pi_ebpf::Counters;
use tracing::debug;

use self::peer::PeerSockets;
use super::{
    promises::{Promises, Promising},
    tcp_info::{self, TcpInfo},
};

mod peer;

/// The connections with peers, as long as they last. Cloning gives another handle to the same table.
///
/// While the kernel's program counts, the table is empty, and only tells the program of what is going
/// to pass.
#[derive(Debug, Clone)]
pub struct SocketTable(Arc<Shared>);

/// A connection in the table. To be kept with the socket and dropped with it, or before it: the
/// connection does not close earlier.
#[derive(Debug)]
#[must_use = "dropping it takes the connection out of the table"]
pub struct Registered(Counted);

/// What counts a connection.
#[derive(Debug)]
enum Counted {
    Nobody,
    Table(Entry),
    Kernel(Promising),
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    peer: IpAddr,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    active: AtomicBool,
    start: Instant,
    table: Mutex<Connections>,
    promises: OnceLock<Arc<Promises>>,
}

#[derive(Debug)]
struct Connections {
    capacity: usize,
    next: u64,
    peers: BTreeMap<IpAddr, PeerSockets>,
    full: u64,
}

impl SocketTable {
    /// A table of at most `capacity` peers that keeps nothing until it is [`activate`](Self::activate)d.
    pub(crate) fn new(capacity: usize, start: Instant) -> Self {
        let table = Connections {
            capacity,
            next: 0,
            peers: BTreeMap::new(),
            full: 0,
        };
        let active = AtomicBool::new(false);
        Self(Arc::new(Shared {
            active,
            start,
            table: Mutex::new(table),
            promises: OnceLock::new(),
        }))
    }

    /// Counts a connection with `peer` from now on, until the result is dropped. To be called when
    /// it has been opened or accepted, before anything is sent on it.
    pub fn register(&self, peer: SocketAddr, socket: impl AsFd) -> Registered {
        if !self.0.active.load(Ordering::Relaxed) {
            let promises = self.0.promises.get().map(Arc::clone);
            return Registered(match promises {
                Some(promises) => Counted::Kernel(Promising::new(promises)),
                None => Counted::Nobody,
            });
        }
        let peer = peer.ip().to_canonical();
        let number = socket.as_fd().try_clone_to_owned().and_then(|socket| {
            let info = tcp_info::read(socket.as_fd())?;
            Ok(self.0.lock().insert(peer, socket, info, self.0.now_ns()))
        });
        let number = number.unwrap_or_else(|error| {
            debug!(%peer, %error, "a connection cannot be counted");
            None
        });
        Registered(match number {
            Some(number) => Counted::Table(Entry {
                shared: Arc::clone(&self.0),
                peer,
                number,
            }),
            None => Counted::Nobody,
        })
    }

    /// The kernel's program counts, and takes promises.
    pub(crate) fn promise_to(&self, promises: Promises) {
        // There is one program.
        let _ = self.0.promises.set(Arc::new(promises));
    }

    pub(crate) fn activate(&self) {
        self.0.active.store(true, Ordering::Relaxed);
    }

    /// The counters of all peers, after a look at every socket.
    pub(crate) fn read(&self) -> BTreeMap<IpAddr, Counters> {
        let mut table = self.0.lock();
        for peer in table.peers.values_mut() {
            peer.look();
        }
        table
            .peers
            .iter()
            .map(|(&address, peer)| (address, peer.counters()))
            .collect()
    }

    /// Forgets a peer, unless it is connected.
    pub(crate) fn remove(&self, peer: IpAddr) {
        let mut table = self.0.lock();
        if table.peers.get(&peer).is_some_and(PeerSockets::is_idle) {
            table.peers.remove(&peer);
        }
    }

    /// How many connections were not counted because there were too many peers.
    pub(crate) fn full(&self) -> u64 {
        self.0.lock().full
    }
}

impl Registered {
    /// `bytes` were read from the connection.
    pub fn received(&self, bytes: u64) {
        match &self.0 {
            Counted::Nobody => {}
            Counted::Table(entry) => entry.progress(bytes, PeerSockets::received),
            Counted::Kernel(promising) => promising.received(bytes),
        }
    }

    /// `bytes` were written to the connection.
    pub fn sent(&self, bytes: u64) {
        match &self.0 {
            Counted::Nobody => {}
            Counted::Table(entry) => entry.progress(bytes, PeerSockets::sent),
            Counted::Kernel(promising) => promising.sent(bytes),
        }
    }

    /// `bytes` more are going to be read from the connection, which is `socket`, or else it ends.
    /// It only makes counting cheaper.
    pub fn will_receive(&self, socket: BorrowedFd<'_>, bytes: u64) {
        if let Counted::Kernel(promising) = &self.0 {
            promising.will_receive(socket, bytes);
        }
    }

    /// `bytes` more are going to be written to the connection, which is `socket`, or else it ends.
    /// It only makes counting cheaper.
    pub fn will_send(&self, socket: BorrowedFd<'_>, bytes: u64) {
        if let Counted::Kernel(promising) = &self.0 {
            promising.will_send(socket, bytes);
        }
    }
}

impl Entry {
    fn progress(&self, bytes: u64, note: fn(&mut PeerSockets, u64, u64, u64)) {
        let now_ns = self.shared.now_ns();
        if let Some(peer) = self.shared.lock().peers.get_mut(&self.peer) {
            note(peer, self.number, now_ns, bytes);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(peer) = self.shared.lock().peers.get_mut(&self.peer) {
            peer.close(self.number);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        // Counters are whole after every step.
        self.table.lock()
    }

    fn now_ns(&self) -> u64 {
        // One second ahead of zero, which means "never" in the arithmetic.
        let since = self
            .start
            .elapsed()
            .as_nanos()
            .saturating_add(1_000_000_000);
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

impl Connections {
    fn insert(&mut self, peer: IpAddr, socket: OwnedFd, info: TcpInfo, now_ns: u64) -> Option<u64> {
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.capacity {
            self.full += 1;
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.peers
            .entry(peer)
            .or_default()
            .open(number, socket, info, now_ns);
        Some(number)
    }
}

#[cfg(test)]
mod tests;
