//! What the agent promises the accounting about a body before it passes.

use std::{net::SocketAddr, os::fd::BorrowedFd, sync::Arc};

use parking_lot::Mutex;
use pi_agent::{
    peer::PeerSettings,
    sockets::{SocketWatch, Watched},
};

use crate::{
    bed::{Bed, object, settings, watched_agent},
    serving::peer,
};

/// What one socket did, and what was said before.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    passed: u64,
    /// As a sum of what had passed and what was promised.
    promised: u64,
}

/// The sum over all sockets: there is one.
#[derive(Debug, Clone, Default)]
struct Record(Arc<Mutex<[Way; 2]>>);

impl Record {
    fn note(&self, way: usize, note: impl FnOnce(&mut Way)) {
        let mut ways = self.0.lock();
        note(&mut ways[way]);
    }

    fn ways(&self) -> [Way; 2] {
        *self.0.lock()
    }
}

const RECEIVED: usize = 0;
const SENT: usize = 1;

impl SocketWatch for Record {
    fn register(&self, _: SocketAddr, _: BorrowedFd<'_>) -> Box<dyn Watched> {
        Box::new(self.clone())
    }
}

impl Watched for Record {
    fn received(&self, bytes: u64) {
        self.note(RECEIVED, |way| way.passed += bytes);
    }

    fn sent(&self, bytes: u64) {
        self.note(SENT, |way| way.passed += bytes);
    }

    fn will_receive(&self, _: BorrowedFd<'_>, bytes: u64) {
        self.note(RECEIVED, |way| way.promised = way.passed + bytes);
    }

    fn will_send(&self, _: BorrowedFd<'_>, bytes: u64) {
        self.note(SENT, |way| way.promised = way.passed + bytes);
    }
}

#[tokio::test]
async fn a_long_body_is_promised_on_both_sides_and_the_promise_is_kept() {
    const SIZE: usize = 9 << 20;
    // What is read or written together with the head is not promised.
    const HEAD: u64 = 64 << 10;
    let (puller, holder) = (Record::default(), Record::default());
    let bed = Bed::watched(Vec::new(), settings(), Arc::new(puller.clone())).await;
    let layers: Vec<_> = (60..63).map(|seed| object(SIZE, seed)).collect();
    let objects: Vec<_> = layers.iter().map(|layer| &layer[..]).collect();
    let watch = Arc::new(holder.clone());
    let (_store, addr, _) =
        watched_agent(&objects, PeerSettings::default(), &bed.scope, watch).await;
    bed.known.set(vec![peer(addr)]);
    for layer in &layers {
        let pulled = bed.pull(layer).await;
        assert_eq!((pulled.body == *layer, pulled.from_registry), (true, 0));
        let received = puller.ways()[RECEIVED];
        assert!(received.promised <= received.passed, "{received:?}");
        assert!(received.passed < received.promised + HEAD, "{received:?}");
        let sent = holder.ways()[SENT];
        assert!(sent.promised <= sent.passed, "{sent:?}");
        assert!(sent.passed < sent.promised + HEAD, "{sent:?}");
    }
}
