//! What is remembered of one connection between two callbacks.

use crate::{burst::Policy, counters::Counters, fin::Fin, word::Word};

/// One direction of one connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// The payload accounted for so far.
    pub(crate) seen: u64,
    /// The FIN that ends it.
    pub fin: Fin,
    /// When it last made progress.
    pub(crate) last_ns: u64,
    /// When the burst it is in began.
    pub(crate) burst_from_ns: u64,
    /// The bytes of that burst.
    pub(crate) burst_bytes: u64,
}

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
}

/// How far a socket has come, as the kernel counts: FINs, and the SYN, included.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// Sequence numbers received in order.
    pub bytes_received: u64,
    /// The sequence number expected next.
    pub receive_next: u32,
    /// Sequence numbers acknowledged by the peer.
    pub bytes_acked: u64,
    /// The first sequence number not acknowledged.
    pub send_unacked: u32,
    /// The first sequence number never sent.
    pub send_next: u32,
}

/// The payload that got through since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// From the peer.
    pub received: u64,
    /// To the peer, acknowledged.
    pub sent: u64,
}

impl Flow {
    #[inline]
    fn start(&mut self, counted: u64, at: u32, now_ns: u64) {
        self.seen = counted.saturating_sub(self.fin.taken(at));
        self.last_ns = now_ns;
        self.burst_from_ns = now_ns;
    }

    #[inline]
    fn advance(&mut self, counted: u64, at: u32) -> u64 {
        let payload = counted.saturating_sub(self.fin.taken(at));
        let growth = payload.saturating_sub(self.seen);
        self.seen = self.seen.saturating_add(growth);
        growth
    }
}

impl Growth {
    /// Whether nothing got through.
    #[inline]
    pub const fn is_nothing(self) -> bool {
        self.received == 0 && self.sent == 0
    }
}

impl Connection {
    /// Begins to count at `position` and `retransmits`; what came before is not ours, or the SYN.
    #[inline]
    pub fn start(&mut self, position: &Position, retransmits: u32, now_ns: u64) {
        self.received
            .start(position.bytes_received, position.receive_next, now_ns);
        self.sent
            .start(position.bytes_acked, position.send_unacked, now_ns);
        self.asked_ns = now_ns;
        self.segment_ns = now_ns;
        self.segment_next = u64::from(position.send_next);
        self.retransmits = u64::from(retransmits);
    }

    /// Moves on to `position` and gives the payload in between.
    #[inline]
    pub fn advance(&mut self, position: &Position) -> Growth {
        Growth {
            received: self
                .received
                .advance(position.bytes_received, position.receive_next),
            sent: self
                .sent
                .advance(position.bytes_acked, position.send_unacked),
        }
    }

    /// Finds out what the last segment was: the callback comes before a segment is sent, so only
    /// the next one shows whether it carried new data or repeated old.
    #[inline]
    pub fn notice(&mut self, position: &Position) {
        let next = u64::from(position.send_next);
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

    /// New data is sent, which is known at once: where the data path itself counts.
    #[inline]
    pub fn asks(&mut self, now_ns: u64) {
        self.asked_ns = now_ns;
    }

    /// When the peer most likely acknowledged everything, if that is noticed only at `now_ns`: one
    /// round trip after the last segment. The kernel reports acknowledgements once per round trip, so
    /// the tail of a burst often shows only when the connection is used again.
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

    /// `bytes` were acknowledged at `at_ns`. To be called before [`receive`](Self::receive), since
    /// what arrived in the same callback asks for what comes next.
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

    /// The socket has sent `total` segments again; gives how many of them are new.
    #[inline]
    pub fn retransmitted(&mut self, total: u32) -> u64 {
        let total = u64::from(total);
        let new = total.saturating_sub(self.retransmits);
        self.retransmits = total;
        new
    }
}
