//! The state of one connection between two callbacks.

use crate::{
    counters::Counters,
    flow::Flow,
    policy::Policy,
    progress::Progress,
    promise::Promise,
    watch::{Callbacks, Watch},
    word::Word,
};

/// One connection, in the socket's own storage. Only touched with the socket locked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// From the peer.
    pub received: Flow,
    /// To the peer.
    pub sent: Flow,
    /// When new data was last sent.
    asked_ns: u64,
    /// When a segment with data was last sent, retransmissions included.
    segment_ns: u64,
    /// The first sequence number never sent, at that moment.
    segment_next: u64,
    /// Retransmissions accounted for so far.
    retransmits: u64,
    /// Which callbacks it needs.
    pub watch: Watch,
}

/// The payload delivered since the last call, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// From the peer.
    pub received: u64,
    /// To the peer, acknowledged.
    pub sent: u64,
}

/// Acknowledgements of fewer bytes are deferred if another callback is sure to come: they arrive
/// with every other segment, and accounting costs more than the check.
const WORTH_ACCOUNTING: u64 = 256 * 1024;

impl Growth {
    /// Whether no payload got through.
    #[inline]
    pub const fn is_nothing(self) -> bool {
        self.received == 0 && self.sent == 0
    }
}

impl Connection {
    /// Starts counting at `socket` and `retransmits`; everything before is the SYN, or was not ours
    /// to count.
    #[inline]
    pub fn start(&mut self, socket: &impl Progress, retransmits: u32, now_ns: u64) {
        self.received.start(socket.bytes_received(), now_ns);
        self.sent.start(socket.bytes_acked(), now_ns);
        self.asked_ns = now_ns;
        self.segment_ns = now_ns;
        self.segment_next = u64::from(socket.send_next());
        self.retransmits = u64::from(retransmits);
    }

    /// Advances to where `socket` is and returns the payload in between. Small steps are deferred
    /// if more is promised. Small acknowledgements are also deferred while data is in flight,
    /// except together with received data, which may be a request and so begin another burst.
    #[inline]
    pub fn advance(&mut self, socket: &impl Progress) -> Growth {
        let counted = socket.bytes_received();
        let received = if self.received.waits(self.received.ahead(counted), socket) {
            0
        } else {
            self.received.advance(counted, || socket.receive_next())
        };
        let acked = socket.bytes_acked();
        let ahead = self.sent.ahead(acked);
        let small = ahead < WORTH_ACCOUNTING && (ahead == 0 || socket.goes_on());
        let waits = received == 0 && (small || self.sent.waits(ahead, socket));
        let sent = if waits {
            0
        } else {
            self.sent.advance(acked, || socket.send_unacked())
        };
        Growth { received, sent }
    }

    /// Classifies the last segment: the callback comes before a segment is sent, so only the next
    /// one shows whether it carried new data or was a retransmission.
    #[inline]
    pub fn notice(&mut self, socket: &impl Progress) {
        let next = u64::from(socket.send_next());
        if next != self.segment_next {
            self.asked_ns = self.segment_ns;
            self.segment_next = next;
        }
    }

    /// A segment with data is about to be sent.
    #[inline]
    pub fn sends(&mut self, now_ns: u64) {
        self.segment_ns = now_ns;
    }

    /// New data is sent, for callers that know it at once: the data path's own counting.
    #[inline]
    pub fn asks(&mut self, now_ns: u64) {
        self.asked_ns = now_ns;
    }

    /// The estimated time at which the peer acknowledged everything, if that is noticed only at
    /// `now_ns`: one round trip after the last segment. The kernel reports acknowledgements once
    /// per round trip, so the tail of a burst often shows only when the connection is used again.
    #[inline]
    pub fn tail_acked_ns(&self, srtt_us: u32, now_ns: u64) -> u64 {
        let estimate = self.segment_ns.saturating_add(u64::from(srtt_us) * 1000);
        let estimate = if estimate < now_ns { estimate } else { now_ns };
        if estimate > self.sent.last_ns {
            estimate
        } else {
            self.sent.last_ns
        }
    }

    /// `bytes` were acknowledged at `at_ns`. Call it before [`receive`](Self::receive): data
    /// received in the same callback is the next request.
    #[inline]
    pub fn acknowledge<W: Word>(
        &mut self,
        peer: &Counters<W>,
        policy: &Policy,
        at_ns: u64,
        bytes: u64,
    ) {
        let asked_ns = self.received.last_ns;
        self.sent
            .deliver(&peer.sent, policy, asked_ns, at_ns, bytes);
    }

    /// `bytes` were received at `now_ns`.
    #[inline]
    pub fn receive<W: Word>(
        &mut self,
        peer: &Counters<W>,
        policy: &Policy,
        now_ns: u64,
        bytes: u64,
    ) {
        self.received
            .deliver(&peer.received, policy, self.asked_ns, now_ns, bytes);
    }

    /// Whether a [`Promise`] is used: enough bytes passed in one burst, and the peer has no other
    /// connection. The short bursts of another connection would lie within the long steps of this
    /// one, and the union of a peer's busy time remembers only one gap.
    #[inline]
    pub fn is_busy_alone<W: Word>(&self, peer: &Counters<W>) -> bool {
        let long =
            self.received.burst_bytes >= Promise::STEP || self.sent.burst_bytes >= Promise::STEP;
        let begun = peer.opened.get().wrapping_add(peer.adopted.get());
        long && begun.wrapping_sub(peer.closed.get()) == 1
    }

    /// No further step is deferred.
    #[inline]
    pub fn stays_close(&mut self) {
        self.received.waits_until = 0;
        self.sent.waits_until = 0;
    }

    /// Reads the promise, after `growth` was accounted for.
    #[inline]
    pub fn look_ahead(&mut self, socket: &impl Progress, promise: Promise, growth: Growth) {
        let ticks = socket.ticks();
        if growth.received != 0 {
            self.received.look_ahead(promise.received, ticks);
        }
        if growth.sent != 0 {
            self.sent.look_ahead(promise.sent, ticks);
        }
    }

    /// A round trip has ended on `socket`. `settled` says whether both directions are open and no
    /// segment is missing. Returns the callbacks that are needed from now on.
    ///
    /// The connection rests while more is promised than is in flight plus twice the window: so the
    /// rest ends while segments are still being sent, and the last of them is accounted for.
    #[inline]
    pub fn round_trip(&mut self, socket: &impl Progress, settled: bool) -> Callbacks {
        let under_way = socket.send_next().wrapping_sub(socket.send_unacked());
        let under_way = u64::from(under_way);
        let soon = socket
            .bytes_acked()
            .saturating_add(under_way)
            .saturating_add(socket.window().max(under_way) * 2);
        self.watch
            .round_trip(settled && soon < self.sent.waits_until)
    }

    /// A rest ends at `now_ns`. The segments since the last callback were sent at an unknown time.
    #[inline]
    pub fn rested(&mut self, socket: &impl Progress, now_ns: u64) {
        self.notice(socket);
        self.sends(now_ns);
    }

    /// The socket has retransmitted `total` segments; returns how many of them are new.
    #[inline]
    pub fn retransmitted(&mut self, total: u32) -> u64 {
        let total = u64::from(total);
        let new = total.saturating_sub(self.retransmits);
        self.retransmits = total;
        new
    }
}
