//! Promised answers, against a model of what the kernel shows of a socket: with a promise and without
//! the counters say the same.

use std::{cell::Cell, rc::Rc};

use pi_ebpf::{Callbacks, Connection, Counters, Growth, Policy, Position, Promise, Word as _};
use proptest::prelude::*;

const US: u64 = 1000;
const MS: u64 = 1000 * US;
const MIB: u64 = 1024 * 1024;
const SEGMENT: u64 = 65_536;
const REQUEST: u64 = 8;
const TICK_NS: u64 = 4 * MS;
/// Round trips after which a segment is sent again that nothing followed.
const MISSED: u64 = 20;

/// An answer to a request.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// From the last byte of the one before to the request.
    pause_ns: u64,
    /// From the request to the first segment. If that is at once, the segment acknowledges the
    /// request too, and no other does.
    thinks_ns: u64,
    bytes: u64,
    /// Whether its last segment is lost, and sent again when it has long been missed; that it is then
    /// acknowledged tells no round trip.
    loses_end: bool,
}

/// A way on which answers are sent.
#[derive(Clone, Copy, Debug)]
struct Way {
    round_trip_ns: u64,
    /// How long each segment takes.
    segment_ns: u64,
    /// Each n-th segment is retransmitted a round trip later; none if it is zero.
    loses: u64,
}

/// What happens at the socket that sends the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A request: whether it is acknowledged at once, and the bytes of the answer.
    Asked(bool, u64),
    /// The kernel asks how much room options leave, perhaps for nothing.
    Room,
    Sends(u64),
    SendsAgain,
    /// Bytes that are acknowledged.
    Acknowledged(u64),
    /// The same, of a segment that was sent again.
    AcknowledgedAfterAll(u64),
}

/// A socket, as the kernel knows it, and what the program makes of it.
struct Socket {
    connection: Connection,
    peer: Rc<Counters<Cell<u64>>>,
    position: Position,
    promises: bool,
    promise: Promise,
    srtt_us: u32,
    /// A round trip is reported when something behind this is acknowledged.
    report_behind: u64,
    sent: u64,
    /// Whether something was sent again that is not acknowledged yet.
    misses: bool,
    /// Whether callbacks before segments are asked for.
    full: bool,
    callbacks: u32,
    /// Callbacks that had something to account for.
    steps: u32,
    /// Requests that no callback told of when they came.
    missed: u32,
}

impl Socket {
    fn new(way: Way, promises: bool) -> Self {
        Self::of(Rc::default(), way, promises)
    }

    /// One more connection of a peer.
    fn of(peer: Rc<Counters<Cell<u64>>>, way: Way, promises: bool) -> Self {
        peer.opened.add(1);
        let mut connection = Connection::default();
        connection.start(&Position::default(), 0, 0);
        Self {
            connection,
            peer,
            position: Position::default(),
            promises,
            promise: Promise::default(),
            srtt_us: u32::try_from(way.round_trip_ns / US).expect("a short round trip"),
            report_behind: 0,
            sent: 0,
            misses: false,
            full: true,
            callbacks: 0,
            steps: 0,
            missed: 0,
        }
    }

    fn at(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Asked(acknowledged, bytes) => {
                self.position.bytes_received += REQUEST;
                self.missed += u32::from(!self.full);
                if acknowledged {
                    self.segment(now_ns, false);
                }
                if self.promises {
                    self.promise.sent = self.sent + bytes;
                }
            }
            Event::Room => self.callbacks += u32::from(self.full),
            Event::Sends(bytes) => {
                self.segment(now_ns, true);
                self.sent += bytes;
                self.position.send_next = low(self.sent);
            }
            Event::SendsAgain => {
                self.segment(now_ns, true);
                self.misses = true;
                self.callbacks += 1;
                let callbacks = self.connection.watch.wake();
                self.ask(now_ns, callbacks);
            }
            Event::AcknowledgedAfterAll(bytes) => self.acknowledged(bytes),
            Event::Acknowledged(bytes) => {
                self.acknowledged(bytes);
                if self.position.bytes_acked > self.report_behind {
                    self.report_behind = self.sent;
                    self.progress(now_ns, true, false);
                    let callbacks = self.connection.round_trip(&self.position, !self.misses);
                    self.ask(now_ns, callbacks);
                }
            }
        }
    }

    fn acknowledged(&mut self, bytes: u64) {
        self.misses = false;
        self.position.bytes_acked += bytes;
        self.position.send_unacked = low(self.position.bytes_acked);
    }

    fn segment(&mut self, now_ns: u64, with_data: bool) {
        if self.full {
            self.progress(now_ns, false, with_data);
        }
    }

    fn ask(&mut self, now_ns: u64, callbacks: Callbacks) {
        match callbacks {
            Callbacks::Same => {}
            Callbacks::All => {
                self.full = true;
                self.connection.rested(&self.position, now_ns);
            }
            Callbacks::RoundTrips => self.full = false,
        }
    }

    fn progress(&mut self, now_ns: u64, round_trip: bool, sends: bool) {
        let in_flight = self.sent != self.position.bytes_acked;
        self.position.goes_on = !round_trip && in_flight;
        self.look(now_ns, !round_trip && !in_flight, sends);
    }

    fn look(&mut self, now_ns: u64, late: bool, sends: bool) {
        self.callbacks += 1;
        self.position.ticks = now_ns / TICK_NS;
        let growth = self.connection.advance(&self.position);
        if growth.is_nothing() && !sends {
            return;
        }
        self.connection.notice(&self.position);
        self.credit(now_ns, late, growth);
        if sends {
            self.connection.sends(now_ns);
        }
    }

    fn credit(&mut self, now_ns: u64, late: bool, growth: Growth) {
        let policy = Policy::DEFAULT;
        if growth.is_nothing() {
            return;
        }
        self.steps += 1;
        if growth.sent != 0 {
            let at_ns = if late {
                self.connection.tail_acked_ns(self.srtt_us, now_ns)
            } else {
                now_ns
            };
            self.connection
                .acknowledge(&self.peer, &policy, at_ns, growth.sent);
        }
        if growth.received != 0 {
            self.connection
                .receive(&self.peer, &policy, now_ns, growth.received);
        }
        if self.connection.is_busy_alone(&self.peer) {
            self.connection
                .look_ahead(&self.position, self.promise, growth);
        } else {
            self.connection.stays_close();
        }
    }

    /// The kernel calls once more when the connection ends, whatever was promised.
    fn end(&mut self, now_ns: u64) {
        self.connection.stays_close();
        self.position.goes_on = false;
        self.look(now_ns, self.sent == self.position.bytes_acked, false);
    }
}

fn low(n: u64) -> u32 {
    u32::try_from(n & u64::from(u32::MAX)).expect("32 bits")
}

/// All that happens, and the time from each request to the last acknowledgement of its answer.
fn events(way: Way, answers: &[Answer]) -> (Vec<(u64, Event)>, u64) {
    let (mut events, mut busy_ns, mut now_ns) = (Vec::new(), 0, 0);
    for answer in answers {
        let asked_ns = now_ns + answer.pause_ns;
        let asked = Event::Asked(answer.thinks_ns != 0, answer.bytes);
        events.push((asked_ns, asked));
        let (mut sends_ns, mut left, mut count) = (asked_ns + answer.thinks_ns, answer.bytes, 0);
        while left > 0 {
            let bytes = left.min(SEGMENT);
            left -= bytes;
            count += 1;
            events.extend([(sends_ns, Event::Room), (sends_ns, Event::Sends(bytes))]);
            now_ns = sends_ns + way.round_trip_ns;
            if left == 0 && answer.loses_end {
                let again_ns = sends_ns + MISSED * way.round_trip_ns;
                events.extend([(again_ns, Event::Room), (again_ns, Event::SendsAgain)]);
                now_ns = again_ns + way.round_trip_ns;
                events.push((now_ns, Event::AcknowledgedAfterAll(bytes)));
            } else if way.loses != 0 && count % way.loses == 0 {
                sends_ns += way.round_trip_ns;
                now_ns = sends_ns + way.round_trip_ns;
                events.extend([(sends_ns, Event::Room), (sends_ns, Event::SendsAgain)]);
                events.push((now_ns, Event::Acknowledged(bytes)));
            } else {
                events.push((now_ns, Event::Acknowledged(bytes)));
            }
            sends_ns += way.segment_ns;
        }
        // What the link has taken leaves room, of which nobody makes use.
        events.push((now_ns + US, Event::Room));
        busy_ns += now_ns - asked_ns;
    }
    // What happens at one time stays in its order.
    events.sort_by_key(|&(at_ns, _)| at_ns);
    (events, busy_ns)
}

fn run(way: Way, events: &[(u64, Event)], promises: bool) -> Socket {
    let mut socket = Socket::new(way, promises);
    for &(at_ns, event) in events {
        socket.at(at_ns, event);
    }
    let end_ns = events.last().map_or(0, |&(at_ns, _)| at_ns) + 1000 * MS;
    socket.end(end_ns);
    socket
}

const FAST: Way = Way {
    round_trip_ns: 100 * US,
    segment_ns: 20 * US,
    loses: 0,
};

fn answer(bytes: u64) -> Answer {
    Answer {
        pause_ns: 500 * MS,
        thinks_ns: 30 * MS,
        bytes,
        loses_end: false,
    }
}

#[test]
fn a_promised_answer_needs_few_callbacks_and_fewer_steps() {
    let (events, _) = events(FAST, &[answer(256 * MIB)]);
    let (promised, watched) = (run(FAST, &events, true), run(FAST, &events, false));
    assert_eq!(promised.peer.snapshot().sent.bytes, 256 * MIB);
    assert!(promised.callbacks * 5 < watched.callbacks);
    assert!(promised.steps < 300 && promised.steps * 2 < watched.steps);
}

#[test]
fn another_program_that_needs_each_segment_keeps_it() {
    let (events, _) = events(FAST, &[answer(64 * MIB)]);
    let mut socket = Socket::new(FAST, true);
    let middle = events.len() / 2;
    for (n, &(at_ns, event)) in events.iter().enumerate() {
        if n == middle {
            assert!(!socket.full);
            let callbacks = socket.connection.watch.share();
            socket.ask(at_ns, callbacks);
        }
        socket.at(at_ns, event);
        assert!(socket.full || n < middle);
    }
    assert_eq!(socket.connection.watch.share(), Callbacks::Same);
}

#[test]
fn an_answer_that_ends_early_loses_nothing() {
    let (all, _) = events(FAST, &[answer(64 * MIB)]);
    for end in (0..all.len()).step_by(97) {
        let cut = all.get(..end).expect("a part");
        let socket = run(FAST, cut, true);
        let sent = socket.peer.snapshot().sent.bytes;
        assert_eq!(sent, socket.position.bytes_acked);
    }
}

#[test]
fn a_slow_answer_is_looked_at_closely() {
    let slow = Way {
        segment_ns: 40 * MS,
        ..FAST
    };
    let (events, busy_ns) = events(slow, &[answer(16 * MIB)]);
    let mut socket = Socket::new(slow, true);
    for &(at_ns, event) in &events {
        socket.at(at_ns, event);
        let counted = socket.peer.snapshot().sent.bytes;
        assert!(socket.position.bytes_acked - counted < 3 * SEGMENT);
    }
    assert!(busy_ns.abs_diff(socket.peer.snapshot().sent.busy_ns) < MS);
}

/// What is received of answers in pieces, each of which takes its time and is acknowledged, and how
/// many callbacks had something to account for.
fn receive(bytes: u64, piece_ns: impl Fn(u64) -> u64, promises: bool) -> (Counters, u32) {
    let mut socket = Socket::new(FAST, false);
    let mut now_ns = 10 * MS;
    for round in 1..=3 {
        socket.at(now_ns, Event::Sends(REQUEST));
        now_ns += 100 * US;
        socket.at(now_ns, Event::Acknowledged(REQUEST));
        if promises {
            socket.promise.received = round * bytes;
        }
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(SEGMENT);
            left -= piece;
            now_ns += piece_ns(bytes - left);
            socket.position.bytes_received += piece;
            socket.progress(now_ns, false, false);
        }
        // Nothing tells of it any more before the next request.
        assert_eq!(socket.peer.snapshot().received.bytes, round * bytes);
        now_ns += 700 * MS;
    }
    (socket.peer.snapshot(), socket.steps)
}

#[test]
fn a_promised_answer_is_received_in_few_steps() {
    let (watched, many) = receive(64 * MIB, |_| 20 * US, false);
    let (promised, few) = receive(64 * MIB, |_| 20 * US, true);
    assert_eq!(promised.received.busy_ns, watched.received.busy_ns);
    assert_eq!(promised.received.rated_bytes, watched.received.rated_bytes);
    assert!(few * 5 < many, "{few} and {many}");
}

#[test]
fn an_answer_that_becomes_slow_takes_its_time() {
    // A mebibyte then takes longer than any stall that counts.
    let becomes_slow = |at: u64| if at < 8 * MIB { 20 * US } else { 1000 * MS };
    let (watched, _) = receive(12 * MIB, becomes_slow, false);
    let (promised, _) = receive(12 * MIB, becomes_slow, true);
    assert_eq!(promised.received.busy_ns, watched.received.busy_ns);
    let way = Way {
        segment_ns: 1000 * MS,
        ..FAST
    };
    let (mut quick, _) = events(FAST, &[answer(12 * MIB)]);
    let (slow, _) = events(way, &[answer(12 * MIB)]);
    let middle = quick.len() / 2;
    let turn_ns = quick[middle].0;
    let slow_from_ns = slow[middle].0;
    quick.truncate(middle);
    let rest = slow.iter().skip(middle);
    quick.extend(rest.map(|&(at_ns, event)| (at_ns - slow_from_ns + turn_ns, event)));
    let [promised, watched] = [true, false].map(|promises| run(way, &quick, promises));
    let [promised, watched] = [promised, watched].map(|socket| socket.peer.snapshot().sent);
    assert_eq!(promised.bytes, watched.bytes);
    assert!(promised.busy_ns.abs_diff(watched.busy_ns) <= 12 * TICK_NS);
}

/// Busy time of a peer that sends a long answer, with short ones on another connection meanwhile.
fn beside_short_answers(promises: bool) -> u64 {
    let mut long = Socket::new(FAST, promises);
    let mut short = Socket::of(Rc::clone(&long.peer), FAST, promises);
    if promises {
        long.promise.received = 64 * MIB;
    }
    let mut now_ns = 10 * MS;
    long.at(now_ns, Event::Sends(REQUEST));
    for step in 1..=1024 {
        now_ns += 3 * MS;
        long.position.bytes_received += SEGMENT;
        long.progress(now_ns, false, false);
        if step % 3 == 0 {
            short.at(now_ns + MS, Event::Sends(REQUEST));
            short.position.bytes_received += 2 * SEGMENT;
            short.progress(now_ns + 2 * MS, false, false);
        }
    }
    long.peer.snapshot().received.busy_ns
}

#[test]
fn a_long_answer_beside_short_ones_keeps_the_union_of_their_times() {
    assert_eq!(beside_short_answers(true), beside_short_answers(false));
}

#[test]
fn a_stall_behind_what_was_left_tells_no_rate() {
    let stalls = |at: u64| if at == 8 * MIB { 20_000 * MS } else { 20 * US };
    let (watched, _) = receive(12 * MIB, stalls, false);
    let (promised, _) = receive(12 * MIB, stalls, true);
    let rate = |counters: Counters| counters.received.rated_bytes * MS / counters.received.busy_ns;
    assert!(rate(watched).abs_diff(rate(promised)) * 100 <= rate(watched));
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let times = (3_u64..2000, 0_u64..50);
    let answer = (times, 1_u64..40, any::<bool>());
    let answer = answer.prop_map(|((pause_ms, thinks_ms), mib, loses_end)| Answer {
        pause_ns: pause_ms * MS,
        thinks_ns: thinks_ms * MS,
        bytes: mib * MIB + 4321,
        loses_end,
    });
    prop::collection::vec(answer, 1..5)
}

fn ways() -> impl Strategy<Value = Way> {
    (20_u64..2000, 5_u64..500, 0_u64..100).prop_map(|(round_trip_us, segment_us, loses)| Way {
        round_trip_ns: round_trip_us * US,
        segment_ns: segment_us * US,
        loses,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_promise_misses_no_byte_no_request_and_no_time(
        way in ways(), answers in answers()
    ) {
        let (events, busy_ns) = events(way, &answers);
        let (promised, watched) = (run(way, &events, true), run(way, &events, false));
        let bytes: u64 = answers.iter().map(|answer| answer.bytes).sum();
        let count = u64::try_from(answers.len())?;
        let (sent, received) = (promised.peer.snapshot().sent, promised.peer.snapshot().received);
        prop_assert_eq!((sent.bytes, received.bytes), (bytes, REQUEST * count));
        prop_assert_eq!(promised.missed, 0);
        prop_assert!(promised.callbacks <= watched.callbacks);
        // What is known without a promise is known to a round trip of each answer.
        let watched_ns = watched.peer.snapshot().sent.busy_ns;
        prop_assert!(busy_ns.abs_diff(watched_ns) <= way.round_trip_ns * count);
        prop_assert!(
            sent.busy_ns.abs_diff(watched_ns) <= 2 * way.segment_ns * count,
            "{} instead of {}, {}", sent.busy_ns, watched_ns, busy_ns
        );
    }

    #[test]
    fn a_promise_changes_nothing_of_what_is_received(
        bytes in 70_000_u64..20 * MIB, piece_us in 5_u64..2000
    ) {
        let (watched, _) = receive(bytes, |_| piece_us * US, false);
        let (promised, _) = receive(bytes, |_| piece_us * US, true);
        prop_assert_eq!(watched, promised);
    }
}
