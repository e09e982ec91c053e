//! Which peers did not deliver, for the tables that people read.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use piccolo_api::{FailureKind, Holder};

/// Peers whose failures are remembered.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, PeerFailures>>);

/// The failures of one peer since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerFailures {
    /// How many.
    pub count: u64,
    /// What was the matter the last time.
    pub last: FailureKind,
}

impl Failures {
    pub(super) fn note(&self, peer: Holder, kind: FailureKind) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= CAPACITY && !failures.contains_key(&peer.ip()) {
            return;
        }
        let one = failures.entry(peer.ip()).or_insert(PeerFailures {
            count: 0,
            last: kind,
        });
        one.count += 1;
        one.last = kind;
    }

    pub(super) fn all(&self) -> Vec<(IpAddr, PeerFailures)> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().map(|(ip, one)| (*ip, *one)).collect()
    }
}
