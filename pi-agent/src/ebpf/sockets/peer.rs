//! The sockets of one peer, and what they add up to.

use std::{
    cell::Cell,
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
};

use pi_ebpf::{Connection, Counters, Policy, Position};

use crate::ebpf::tcp_info::{self, TcpInfo};

/// What the sockets of one peer add up to, those that are gone included.
#[derive(Debug, Default)]
pub(crate) struct PeerSockets {
    sockets: BTreeMap<u64, Socket>,
    /// Busy time and rated bytes, as the data path reports progress.
    timing: Counters<Cell<u64>>,
    /// Everything else, as the kernel reports it.
    exact: Counters,
}

#[derive(Debug)]
struct Socket {
    descriptor: OwnedFd,
    /// What has been added up of it.
    seen: TcpInfo,
    connection: Connection,
}

impl PeerSockets {
    pub(crate) fn open(&mut self, number: u64, descriptor: OwnedFd, info: TcpInfo, now_ns: u64) {
        let mut connection = Connection::default();
        connection.start(&Position::default(), 0, now_ns);
        // Nothing has been sent, so that what is acknowledged is the SYN; what has been received
        // already counts.
        let seen = TcpInfo {
            received: 0,
            ..info
        };
        self.sockets.insert(
            number,
            Socket {
                descriptor,
                seen,
                connection,
            },
        );
        self.exact.opened += 1;
        self.look_at(number);
    }

    pub(crate) fn close(&mut self, number: u64) {
        self.look_at(number);
        if self.sockets.remove(&number).is_some() {
            self.exact.closed += 1;
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.sockets.is_empty()
    }

    pub(crate) fn received(&mut self, number: u64, now_ns: u64, bytes: u64) {
        if let Some(socket) = self.sockets.get_mut(&number) {
            socket
                .connection
                .receive(&self.timing, &Policy::DEFAULT, now_ns, bytes);
        }
    }

    pub(crate) fn sent(&mut self, number: u64, now_ns: u64, bytes: u64) {
        if let Some(socket) = self.sockets.get_mut(&number) {
            socket
                .connection
                .acknowledge(&self.timing, &Policy::DEFAULT, now_ns, bytes);
            socket.connection.asks(now_ns);
        }
    }

    /// Looks at all the sockets.
    pub(crate) fn look(&mut self) {
        let numbers: Vec<_> = self.sockets.keys().copied().collect();
        for number in numbers {
            self.look_at(number);
        }
    }

    fn look_at(&mut self, number: u64) {
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        let Ok(info) = tcp_info::read(socket.descriptor.as_fd()) else {
            return;
        };
        let seen = &mut socket.seen;
        self.exact.received.bytes += info.received.saturating_sub(seen.received);
        self.exact.sent.bytes += info.acked.saturating_sub(seen.acked);
        self.exact.retransmits += info.retransmits.saturating_sub(seen.retransmits);
        if info.rtt_us != 0 {
            self.exact.srtt_us = info.rtt_us;
        }
        if info.min_rtt_us != 0 {
            self.exact.min_rtt_us = info.min_rtt_us;
        }
        seen.received = seen.received.max(info.received);
        seen.acked = seen.acked.max(info.acked);
        seen.retransmits = info.retransmits;
    }

    /// The sum. What the application has written may not have been acknowledged yet, so that there
    /// are never more rated bytes than bytes.
    pub(crate) fn counters(&self) -> Counters {
        let mut counters = self.exact;
        let timing = self.timing.snapshot();
        for (to, from) in [
            (&mut counters.received, timing.received),
            (&mut counters.sent, timing.sent),
        ] {
            to.rated_bytes = from.rated_bytes.min(to.bytes);
            to.busy_ns = from.busy_ns;
            to.bursts = from.bursts;
        }
        counters
    }
}
