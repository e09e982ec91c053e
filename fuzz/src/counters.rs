//! The counters of a peer that the kernel's program keeps: whatever its connections do, in whatever order,
//! and whatever the agent promises of them, every byte of payload is counted once, and no time twice.

use std::cell::Cell;

use pi_ebpf::{Connection, Counters, Policy, Position, Promise, Word as _};

use crate::input::Input;

const CONNECTIONS: usize = 3;
/// Numbers of a direction stay so low that they do not come round to the same one.
const EVENTS: usize = 1000;
const TICK_NS: u64 = 4_000_000;

type Peer = Counters<Cell<u64>>;

/// A socket as the kernel has it.
#[derive(Default)]
struct Socket {
    connection: Connection,
    position: Position,
    promise: Promise,
    retransmits: u32,
    /// Payload that came, and that was acknowledged.
    truth: [u64; 2],
    came_to_end: bool,
    went_to_end: bool,
    is_end_acknowledged: bool,
}

pub(crate) fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let peer = Peer::default();
    let mut now_ns = input.number(4);
    let start_ns = now_ns;
    let mut sockets: [Socket; CONNECTIONS] =
        std::array::from_fn(|_| Socket::open(&peer, input.flag(), low(input.number(4)), now_ns));
    let mut before = peer.snapshot();
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        now_ns += input.number(1) << input.one(&[0, 8, 16, 22, 26, 30]);
        let socket = &mut sockets[usize::from(input.byte()) % CONNECTIONS];
        socket.happens(&peer, now_ns, &mut input);
        let after = peer.snapshot();
        only_grows(&before, &after);
        before = after;
    }
    for socket in &mut sockets {
        socket.close(&peer, now_ns);
    }
    let counters = peer.snapshot();
    let truth = |direction: usize| {
        sockets
            .iter()
            .map(|socket| socket.truth[direction])
            .sum::<u64>()
    };
    assert_eq!(
        [counters.received.bytes, counters.sent.bytes],
        [truth(0), truth(1)]
    );
    assert_eq!(counters.opened + counters.adopted, counters.closed);
    let retransmits = sockets
        .iter()
        .map(|socket| u64::from(socket.retransmits))
        .sum::<u64>();
    assert_eq!(counters.retransmits, retransmits);
    for traffic in [counters.received, counters.sent] {
        assert!(traffic.rated_bytes <= traffic.bytes, "{traffic:?}");
        assert!(
            traffic.busy_ns <= now_ns - start_ns,
            "{traffic:?} in {} ns",
            now_ns - start_ns
        );
        assert!(
            traffic.rated_bytes >= traffic.bursts * Policy::DEFAULT.min_burst,
            "{traffic:?}"
        );
        assert!(traffic.last_ns <= now_ns, "{traffic:?}");
    }
}

fn only_grows(before: &Counters, after: &Counters) {
    let numbers = |counters: &Counters| {
        let of = |traffic: &pi_ebpf::Traffic| {
            [
                traffic.bytes,
                traffic.rated_bytes,
                traffic.busy_ns,
                traffic.bursts,
                traffic.last_ns,
            ]
        };
        [of(&counters.received), of(&counters.sent)].concat()
    };
    let (before, after) = (numbers(before), numbers(after));
    assert!(
        before.iter().zip(&after).all(|(a, b)| a <= b),
        "{before:?}, then {after:?}"
    );
}

impl Socket {
    fn open(peer: &Peer, by_this_side: bool, number: u32, now_ns: u64) -> Self {
        let position = Position {
            // The kernel counts the SYN that was acknowledged.
            bytes_acked: u64::from(by_this_side),
            receive_next: number,
            send_unacked: number.wrapping_mul(3),
            send_next: number.wrapping_mul(3),
            ..Position::default()
        };
        let mut socket = Self {
            position,
            ..Self::default()
        };
        socket.connection.start(&socket.position, 0, now_ns);
        peer.opened.add(u64::from(by_this_side));
        peer.adopted.add(u64::from(!by_this_side));
        socket
    }

    fn happens(&mut self, peer: &Peer, now_ns: u64, input: &mut Input<'_>) {
        let bytes = input.number(1) << input.one(&[0, 4, 8, 12]);
        match input.byte() % 9 {
            0 if !self.went_to_end => {
                self.progress(peer, now_ns, bytes, false);
                self.position.send_next = self.position.send_next.wrapping_add(low(bytes));
            }
            1 | 2 => {
                let sent = self
                    .position
                    .send_next
                    .wrapping_sub(self.position.send_unacked);
                self.acknowledged(u64::from(sent).min(bytes));
                self.position.goes_on = false;
                self.progress(peer, now_ns, 0, true);
                let _ = self.connection.round_trip(&self.position, input.flag());
            }
            // No callback tells of it.
            3 => {
                let sent = self
                    .position
                    .send_next
                    .wrapping_sub(self.position.send_unacked);
                self.acknowledged(u64::from(sent).min(bytes));
            }
            4 if !self.came_to_end => self.comes(bytes),
            5 if !self.came_to_end => {
                self.connection
                    .received
                    .fin
                    .comes(self.position.receive_next, low(bytes));
                self.comes(bytes);
                self.comes(1);
                self.truth[0] -= 1;
                self.came_to_end = true;
            }
            6 if !self.went_to_end => {
                self.connection
                    .sent
                    .fin
                    .goes(self.position.send_next, low(bytes));
                self.progress(peer, now_ns, bytes, false);
                self.position.send_next = self.position.send_next.wrapping_add(low(bytes + 1));
                self.went_to_end = true;
            }
            7 => {
                self.promise = Promise {
                    received: input.wide(),
                    sent: input.wide(),
                }
            }
            8 => {
                self.retransmits += 1;
                let _ = self.connection.watch.wake();
                self.connection.rested(&self.position, now_ns);
            }
            _ => self.progress(peer, now_ns, 0, false),
        }
    }

    fn comes(&mut self, bytes: u64) {
        self.position.bytes_received += bytes;
        self.position.receive_next = self.position.receive_next.wrapping_add(low(bytes));
        self.truth[0] += bytes;
    }

    fn acknowledged(&mut self, bytes: u64) {
        self.position.bytes_acked += bytes;
        self.position.send_unacked = self.position.send_unacked.wrapping_add(low(bytes));
        self.truth[1] += bytes;
        let is_all = self.position.send_unacked == self.position.send_next;
        if is_all && self.went_to_end && !self.is_end_acknowledged {
            self.is_end_acknowledged = true;
            self.truth[1] -= 1;
        }
    }

    /// A callback, as the program handles it.
    fn progress(&mut self, peer: &Peer, now_ns: u64, payload: u64, by_round_trip: bool) {
        self.position.ticks = now_ns / TICK_NS;
        let under_way = self.position.send_next != self.position.send_unacked;
        self.position.goes_on = under_way && !by_round_trip;
        let growth = self.connection.advance(&self.position);
        if growth.is_nothing() && payload == 0 {
            return;
        }
        self.connection.notice(&self.position);
        if !growth.is_nothing() {
            let at_ns = if by_round_trip || under_way {
                now_ns
            } else {
                self.connection.tail_acked_ns(1000, now_ns)
            };
            self.credit(peer, (at_ns, now_ns), growth);
            if self.connection.is_busy_alone(peer) {
                self.connection
                    .look_ahead(&self.position, self.promise, growth);
            } else {
                self.connection.stays_close();
            }
        }
        if payload != 0 {
            self.connection.sends(now_ns);
        }
    }

    fn credit(&mut self, peer: &Peer, (at_ns, now_ns): (u64, u64), growth: pi_ebpf::Growth) {
        if growth.sent != 0 {
            self.connection
                .acknowledge(peer, &Policy::DEFAULT, at_ns, growth.sent);
        }
        peer.retransmits
            .add(self.connection.retransmitted(self.retransmits));
        if growth.received != 0 {
            self.connection
                .receive(peer, &Policy::DEFAULT, now_ns, growth.received);
        }
    }

    /// The last callback of a connection.
    fn close(&mut self, peer: &Peer, now_ns: u64) {
        self.position.ticks = now_ns / TICK_NS;
        self.position.goes_on = false;
        self.connection.stays_close();
        let growth = self.connection.advance(&self.position);
        self.connection.notice(&self.position);
        self.credit(peer, (now_ns, now_ns), growth);
        peer.closed.add(1);
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("32 bits")
}
