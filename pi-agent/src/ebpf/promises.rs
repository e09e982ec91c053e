//! Telling the kernel's program ahead of time what is going to pass.
#![expect(unsafe_code, reason = "the map's value has to be declared plain data")]

use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aya::{
    Pod,
    maps::{Map, MapData, SkStorage},
};
use parking_lot::Mutex;
use pi_ebpf::Promise;
use tracing::debug;

/// Where the program finds what is promised of a socket.
#[derive(Debug)]
pub(crate) struct Promises(Mutex<SkStorage<MapData, Value>>);

/// What passed on a connection that the kernel counts, and what will.
#[derive(Debug)]
pub(crate) struct Promising {
    promises: Arc<Promises>,
    received: Way,
    sent: Way,
}

/// One direction, in bytes since the connection was opened.
#[derive(Debug, Default)]
struct Way {
    passed: AtomicU64,
    promised: AtomicU64,
}

#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
struct Value(Promise);

// SAFETY: words only; no padding, no pointers, every value valid.
unsafe impl Pod for Value {}

impl Promises {
    /// `None` if the map is none of promises.
    pub(crate) fn new(map: Map) -> Option<Self> {
        SkStorage::try_from(map).ok().map(Mutex::new).map(Self)
    }

    fn put(&self, socket: BorrowedFd<'_>, promise: Promise) {
        let mut map = self.0.lock();
        if let Err(error) = map.insert(&socket, Value(promise), 0) {
            // It only takes the program a little more time.
            debug!(error = %daemon::telemetry::chain(&error), "the kernel takes no promise");
        }
    }
}

impl Promising {
    pub(crate) fn new(promises: Arc<Promises>) -> Self {
        Self {
            promises,
            received: Way::default(),
            sent: Way::default(),
        }
    }

    pub(crate) fn received(&self, bytes: u64) {
        self.received.pass(bytes);
    }

    pub(crate) fn sent(&self, bytes: u64) {
        self.sent.pass(bytes);
    }

    pub(crate) fn will_receive(&self, socket: BorrowedFd<'_>, bytes: u64) {
        self.promise(&self.received, socket, bytes);
    }

    pub(crate) fn will_send(&self, socket: BorrowedFd<'_>, bytes: u64) {
        self.promise(&self.sent, socket, bytes);
    }

    fn promise(&self, way: &Way, socket: BorrowedFd<'_>, bytes: u64) {
        if bytes < Promise::WORTH {
            return;
        }
        let passed = way.passed.load(Ordering::Relaxed);
        let all = passed.saturating_add(bytes);
        way.promised.store(all, Ordering::Relaxed);
        let promise = Promise {
            received: self.received.promised.load(Ordering::Relaxed),
            sent: self.sent.promised.load(Ordering::Relaxed),
        };
        self.promises.put(socket, promise);
    }
}

impl Way {
    fn pass(&self, bytes: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }
}
