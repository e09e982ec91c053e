//! Connections as lists of events: what the kernel shows at each callback, and what comes of it.

use std::cell::Cell;

use pi_ebpf::{Connection, Counters, Growth, Policy, Position};
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const KIB: u64 = 1024;
/// Where both directions' sequence numbers begin: near their end, so that every test wraps them.
const ISN: u32 = u32::MAX - 1000;

/// The counters of one peer.
type Peer = Counters<Cell<u64>>;

/// One socket of a peer.
struct Socket {
    connection: Connection,
    position: Position,
    /// Whether the callback is about a round trip, and not about a segment.
    round_trip: bool,
}

/// What the application or the network does.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// New data is sent.
    Sends(u64),
    /// A segment is sent again.
    Repeats,
    /// Sent data is acknowledged.
    Acknowledged(u64),
    /// Data is received in order.
    Receives(u64),
    /// A FIN with this much data before it is received.
    ReceivesEnd(u64),
    /// A FIN with this much data before it is sent.
    SendsEnd(u64),
    /// Everything sent, a FIN too, is acknowledged.
    AllAcknowledged,
    /// A percentage of the data in flight is acknowledged.
    PartAcknowledged(u64),
    /// The same, but no callback tells of it: the kernel tells once per round trip.
    PartAcknowledgedUnseen(u64),
    /// The segment with the FIN and this much data is sent again.
    RepeatsEnd(u64),
}

fn low(n: u64) -> u32 {
    u32::try_from(n & u64::from(u32::MAX)).expect("32 bits")
}

impl Socket {
    /// A connection that this side opened: its SYN has been counted as acknowledged.
    fn opened(now_ns: u64) -> Self {
        let position = Position {
            bytes_received: 0,
            receive_next: ISN,
            bytes_acked: 1,
            send_unacked: ISN,
            send_next: ISN,
            window: 0,
            goes_on: false,
            ticks: 0,
        };
        let mut connection = Connection::default();
        connection.start(&position, 0, now_ns);
        Self {
            connection,
            position,
            round_trip: false,
        }
    }

    fn at(&mut self, peer: &Peer, now_ns: u64, event: Event) -> Growth {
        self.round_trip = matches!(
            event,
            Event::Acknowledged(_) | Event::AllAcknowledged | Event::PartAcknowledged(_)
        );
        match event {
            Event::Sends(n) => {
                self.callback(peer, now_ns, true);
                self.position.send_next = self.position.send_next.wrapping_add(low(n));
                return Growth::default();
            }
            Event::Repeats => return self.callback(peer, now_ns, true),
            Event::SendsEnd(n) => {
                self.connection
                    .sent
                    .fin
                    .goes(self.position.send_next, low(n));
                self.callback(peer, now_ns, n != 0);
                self.position.send_next = self.position.send_next.wrapping_add(low(n + 1));
                return Growth::default();
            }
            Event::PartAcknowledged(hundredths) => self.part_acknowledged(hundredths),
            Event::PartAcknowledgedUnseen(hundredths) => {
                self.part_acknowledged(hundredths);
                return Growth::default();
            }
            Event::RepeatsEnd(n) => {
                self.connection
                    .sent
                    .fin
                    .goes(self.position.send_next, low(n));
                return self.callback(peer, now_ns, n != 0);
            }
            Event::ReceivesEnd(n) => {
                self.connection
                    .received
                    .fin
                    .comes(self.position.receive_next, low(n));
                self.received(n + 1);
            }
            Event::Receives(n) => self.received(n),
            Event::Acknowledged(n) => self.acknowledged(n),
            Event::AllAcknowledged => self.acknowledged(self.under_way()),
        }
        self.callback(peer, now_ns, false)
    }

    fn under_way(&self) -> u64 {
        let next = self.position.send_next;
        u64::from(next.wrapping_sub(self.position.send_unacked))
    }

    fn received(&mut self, n: u64) {
        self.position.bytes_received += n;
        self.position.receive_next = self.position.receive_next.wrapping_add(low(n));
    }

    fn acknowledged(&mut self, n: u64) {
        self.position.bytes_acked += n;
        self.position.send_unacked = self.position.send_unacked.wrapping_add(low(n));
    }

    fn part_acknowledged(&mut self, hundredths: u64) {
        let sent = self.under_way();
        self.acknowledged(sent.saturating_sub(1) * hundredths / 100);
    }

    fn callback(&mut self, peer: &Peer, now_ns: u64, sending: bool) -> Growth {
        self.position.goes_on = !self.round_trip && self.under_way() != 0;
        let growth = self.connection.advance(&self.position);
        self.connection.notice(&self.position);
        if growth.sent != 0 {
            self.connection
                .acknowledge(peer, &Policy::DEFAULT, now_ns, growth.sent);
        }
        if growth.received != 0 {
            self.connection
                .receive(peer, &Policy::DEFAULT, now_ns, growth.received);
        }
        if sending {
            self.connection.sends(now_ns);
        }
        growth
    }
}

fn run(events: &[(u64, Event)]) -> Counters {
    let (peer, mut socket) = (Peer::default(), Socket::opened(0));
    for &(at_ms, event) in events {
        socket.at(&peer, at_ms * MS, event);
    }
    peer.snapshot()
}

#[track_caller]
fn check_bytes(events: &[Event], received: u64, sent: u64) {
    let timed: Vec<_> = (1..).zip(events.iter().copied()).collect();
    let counters = run(&timed);
    assert_eq!(
        (counters.received.bytes, counters.sent.bytes),
        (received, sent),
        "{events:?}"
    );
}

#[test]
fn bytes_are_exact_whichever_way_a_connection_ends() {
    use Event::{AllAcknowledged, Receives, ReceivesEnd, Sends, SendsEnd};
    // The peer closes right after its data.
    check_bytes(
        &[
            Sends(8),
            AllAcknowledged,
            ReceivesEnd(1000),
            SendsEnd(0),
            AllAcknowledged,
        ],
        1000,
        8,
    );
    // This side closes right after its data: acknowledged together with the FIN.
    check_bytes(
        &[Receives(8), SendsEnd(1000), AllAcknowledged, ReceivesEnd(0)],
        8,
        1000,
    );
    // This side half-closes, then the answer comes.
    check_bytes(
        &[
            SendsEnd(8),
            AllAcknowledged,
            Receives(500),
            Receives(500),
            ReceivesEnd(0),
        ],
        1000,
        8,
    );
    check_bytes(
        &[SendsEnd(8), AllAcknowledged, Receives(500), ReceivesEnd(1)],
        501,
        8,
    );
    // Both FINs cross.
    check_bytes(
        &[Sends(8), SendsEnd(0), ReceivesEnd(8), AllAcknowledged],
        8,
        8,
    );
    // No FIN at all.
    check_bytes(&[Sends(8), AllAcknowledged, Receives(1)], 1, 8);
    check_bytes(&[Receives(1), Sends(1), AllAcknowledged], 1, 1);
}

#[test]
fn a_fin_ahead_of_missing_data_is_taken_out_when_it_counts() {
    let (peer, mut socket) = (Peer::default(), Socket::opened(0));
    let ahead = socket.position.receive_next.wrapping_add(500);
    socket.connection.received.fin.comes(ahead, 100);
    assert_eq!(socket.at(&peer, MS, Event::Receives(500)).received, 500);
    assert_eq!(socket.at(&peer, 2 * MS, Event::Receives(101)).received, 100);
}

#[test]
fn a_fin_refused_by_the_queue_is_not_taken_out_early() {
    let (peer, mut socket) = (Peer::default(), Socket::opened(0));
    socket.at(&peer, MS, Event::Sends(100));
    socket
        .connection
        .sent
        .fin
        .goes(socket.position.send_next, 0);
    assert_eq!(socket.at(&peer, 2 * MS, Event::Acknowledged(100)).sent, 100);
    socket.at(&peer, 3 * MS, Event::SendsEnd(0));
    assert_eq!(socket.at(&peer, 4 * MS, Event::AllAcknowledged).sent, 0);
}

#[test]
fn idle_time_between_answers_does_not_count() {
    let counters = run(&[
        (1000, Event::Sends(8)),
        (1000, Event::Repeats),
        (1100, Event::Receives(500 * KIB)),
        (5000, Event::Sends(8)),
        (5000, Event::Repeats),
        (5100, Event::Receives(500 * KIB)),
    ]);
    assert_eq!(counters.received.busy_ns, 200 * MS);
    assert_eq!(counters.received.rated_bytes, 1000 * KIB);
    assert_eq!(counters.received.bursts, 2);
}

#[test]
fn a_stall_inside_an_answer_counts_up_to_the_limit() {
    let stalled = |ms: u64| {
        run(&[
            (0, Event::Sends(8)),
            (100, Event::Receives(100 * KIB)),
            (100 + ms, Event::Receives(100 * KIB)),
        ])
        .received
        .busy_ns
    };
    assert_eq!(stalled(300), 400 * MS);
    assert_eq!(stalled(6000), 100 * MS);
}

#[test]
fn requests_and_pings_have_no_rate() {
    let counters = run(&[(0, Event::Sends(8)), (100, Event::Receives(17))]);
    assert_eq!(counters.received.bytes, 17);
    assert_eq!(
        (counters.received.rated_bytes, counters.received.busy_ns),
        (0, 0)
    );
}

#[test]
fn a_segment_sent_again_asks_for_nothing() {
    let counters = run(&[
        (0, Event::Sends(8)),
        (100, Event::Receives(100 * KIB)),
        (1000, Event::Repeats),
        (1001, Event::Repeats),
        (1200, Event::Receives(100 * KIB)),
    ]);
    assert_eq!(counters.received.busy_ns, 1200 * MS);
}

#[test]
fn a_little_that_was_acknowledged_waits_while_more_is_under_way() {
    let (peer, mut socket) = (Peer::default(), Socket::opened(0));
    socket.at(&peer, MS, Event::Sends(400 * KIB));
    let mut look = |acknowledged, received, goes_on| {
        socket.acknowledged(acknowledged);
        socket.received(received);
        socket.position.goes_on = goes_on;
        let growth = socket.connection.advance(&socket.position);
        (growth.sent, growth.received)
    };
    assert_eq!(look(10 * KIB, 0, true), (0, 0));
    assert_eq!(look(10 * KIB, 0, false), (20 * KIB, 0));
    assert_eq!(look(255 * KIB, 0, true), (0, 0));
    assert_eq!(look(KIB, 0, true), (256 * KIB, 0));
    // What was received may be a request: what was acknowledged before belongs to the last one.
    assert_eq!(look(KIB, 8, true), (KIB, 8));
    assert_eq!(look(0, 0, true), (0, 0));
}

#[test]
fn an_answer_acknowledged_before_the_next_request_keeps_its_rate() {
    let counters = run(&[
        (1000, Event::Receives(8)),
        (1000, Event::Sends(600 * KIB)),
        (1100, Event::PartAcknowledgedUnseen(40)),
        (1100, Event::Receives(8)),
        (1200, Event::AllAcknowledged),
    ]);
    assert_eq!(counters.sent.rated_bytes, 600 * KIB);
    assert_eq!(counters.sent.busy_ns, 200 * MS);
}

#[test]
fn a_tail_noticed_late_is_dated_back() {
    let (peer, mut socket) = (Peer::default(), Socket::opened(0));
    socket.at(&peer, MS, Event::Sends(100));
    assert_eq!(socket.connection.tail_acked_ns(2000, 900 * MS), 3 * MS);
    assert_eq!(socket.connection.tail_acked_ns(2000, 2 * MS), 2 * MS);
}

#[test]
fn retransmissions_before_the_start_are_not_ours() {
    let mut connection = Connection::default();
    connection.start(&Position::default(), 5, 0);
    assert_eq!(connection.retransmitted(7), 2);
    assert_eq!(connection.retransmitted(7), 0);
}

/// What happens before anybody closes.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1_u64..200_000).prop_map(Event::Sends),
        Just(Event::Repeats),
        (0_u64..=100).prop_map(Event::PartAcknowledged),
        (0_u64..=100).prop_map(Event::PartAcknowledgedUnseen),
        Just(Event::AllAcknowledged),
        (1_u64..200_000).prop_map(Event::Receives),
    ]
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    prop::collection::vec((0_u64..8_000, event()), 1..60).prop_map(|mut events| {
        events.sort_by_key(|&(at, _)| at);
        events
    })
}

/// Every way in which both directions, or one, or none, may end; everything is acknowledged then.
fn ending() -> impl Strategy<Value = Vec<Event>> {
    use Event::{
        AllAcknowledged, PartAcknowledged, Receives, ReceivesEnd, RepeatsEnd, Sends, SendsEnd,
    };
    (0_u64..3000, 0_u64..3000, 0_u64..=100).prop_flat_map(|(sent, received, part)| {
        prop::sample::select(vec![
            vec![AllAcknowledged],
            vec![SendsEnd(sent), AllAcknowledged],
            vec![ReceivesEnd(received), AllAcknowledged],
            vec![
                SendsEnd(sent),
                AllAcknowledged,
                Receives(9),
                ReceivesEnd(received),
            ],
            vec![
                ReceivesEnd(received),
                Sends(9),
                SendsEnd(sent),
                AllAcknowledged,
            ],
            vec![SendsEnd(sent), ReceivesEnd(received), AllAcknowledged],
            vec![
                SendsEnd(sent),
                PartAcknowledged(part),
                RepeatsEnd(sent),
                ReceivesEnd(received),
                RepeatsEnd(0),
                AllAcknowledged,
                RepeatsEnd(sent),
            ],
        ])
    })
}

/// The payload that an event carries, from the peer and to the peer.
fn payload(event: Event) -> (u64, u64) {
    match event {
        Event::Receives(n) | Event::ReceivesEnd(n) => (n, 0),
        Event::Sends(n) | Event::SendsEnd(n) => (0, n),
        _ => (0, 0),
    }
}

proptest! {
    #[test]
    fn counters_only_grow_and_stay_within_the_wall_span(
        connections in prop::collection::vec(events(), 1..5)
    ) {
        let peer = Peer::default();
        let mut sockets: Vec<_> = connections.iter().map(|_| Socket::opened(0)).collect();
        let mut order: Vec<_> = (0..).zip(&connections)
            .flat_map(|(index, events)| events.iter().map(move |&(at, event)| (at, index, event)))
            .collect();
        order.sort_by_key(|&(at, ..)| at);
        for (at, index, event) in order {
            let before = peer.snapshot();
            let socket: &mut Socket = sockets.get_mut::<usize>(index).expect("one per list");
            socket.at(&peer, at * MS, event);
            let after = peer.snapshot();
            for (before, after) in [(before.received, after.received), (before.sent, after.sent)] {
                prop_assert!(after.busy_ns >= before.busy_ns);
                prop_assert!(after.busy_ns <= at * MS);
                prop_assert!(after.rated_bytes >= before.rated_bytes);
                prop_assert!(after.rated_bytes <= after.bytes);
            }
        }
        let received: u64 = connections.iter().flatten().map(|&(_, event)| payload(event).0).sum();
        prop_assert_eq!(peer.snapshot().received.bytes, received);
    }

    #[test]
    fn bytes_are_exact_whatever_happens_before_whatever_end(
        events in prop::collection::vec(event(), 0..40), ending in ending()
    ) {
        let all: Vec<_> = events.into_iter().chain(ending).collect();
        let timed: Vec<_> = (1..).zip(all.iter().copied()).collect();
        let counters = run(&timed);
        let truth = all.iter().map(|&event| payload(event));
        let (received, sent) = truth.fold((0, 0), |(r, s), (dr, ds)| (r + dr, s + ds));
        prop_assert_eq!((counters.received.bytes, counters.sent.bytes), (received, sent));
    }

    #[test]
    fn a_pause_before_a_request_changes_nothing(
        pause in 10_u64..100_000, sizes in prop::collection::vec(65_536_u64..1_000_000, 1..5)
    ) {
        let exchange = |pause: u64| {
            let mut at = 0;
            let mut events = Vec::new();
            for &size in &sizes {
                at += pause;
                events.extend([(at, Event::Sends(8)), (at, Event::AllAcknowledged)]);
                at += 40;
                events.push((at, Event::Receives(size)));
            }
            run(&events).received
        };
        let (short, long) = (exchange(10), exchange(pause));
        prop_assert_eq!(long.busy_ns, short.busy_ns);
        prop_assert_eq!(long.rated_bytes, short.rated_bytes);
    }
}
