//! The pool of idle connections to peers.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use piccolo_api::Holder;
use tokio::time::Instant;

use super::link::Link;

/// Most connections that wait, to one peer and in all.
const PER_PEER: usize = 4;
const IN_ALL: usize = 64;
/// How long one waits; well below the time after which the peer closes it.
const IDLE: Duration = Duration::from_secs(15);

/// A bounded number of idle connections.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<HashMap<Holder, Vec<Link>>>);

impl Pool {
    /// A connection to `holder` on which a request was answered before, if there is one.
    pub(crate) fn take(&self, holder: Holder) -> Option<Link> {
        let mut links = self.0.lock();
        let waiting = links.get_mut(&holder)?;
        let mut found = None;
        while found.is_none() {
            let Some(link) = waiting.pop() else { break };
            if link.since.elapsed() < IDLE && link.is_fresh() {
                found = Some(link);
            }
        }
        if waiting.is_empty() {
            links.remove(&holder);
        }
        found
    }

    /// Keeps a connection for the next request.
    pub(crate) fn put(&self, mut link: Link) {
        link.since = Instant::now();
        link.stream.rest();
        let mut links = self.0.lock();
        if links.values().map(Vec::len).sum::<usize>() >= IN_ALL {
            return;
        }
        let waiting = links.entry(link.holder).or_default();
        if waiting.len() < PER_PEER {
            waiting.push(link);
        }
    }

    /// Closes all.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Closes connections that waited too long.
    pub(crate) fn tidy(&self) {
        let mut links = self.0.lock();
        links.retain(|_, waiting| {
            waiting.retain(|link| link.since.elapsed() < IDLE);
            !waiting.is_empty()
        });
    }
}
