//! Promises to the kernel's program: bytes that are sure to pass.
//!
//! The invariant: once a promise is made, at least that many bytes pass in its direction of its
//! connection, or the connection is closed. So a promise is made only when the head of a reply was
//! accepted (`fetch/transfer/pump.rs`) or is about to be written (`peer/connection.rs`), for the rest
//! of that reply; these are its only callers, one for each direction, and both close a connection whose
//! body broke off. A promise counts from the connection's first byte, which is why every byte that
//! passes is told here too. A broken promise on an open connection would lose no byte, but delay up to
//! a mebibyte of the counters and misdate the next request. `pi_ebpf::Promise` says what the program
//! makes of it.
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

/// Bytes that have passed on a connection, and promised ones.
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
            // Without the promise, counting only costs a little more.
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
