//! Looks at made-up counters.

use std::net::Ipv4Addr;

use super::*;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
const HOUR: Duration = Duration::from_hours(1);

fn received(bytes: u64, busy_ms: u64) -> Counters {
    let mut counters = Counters::ZERO;
    counters.received.bytes = bytes;
    counters.received.rated_bytes = bytes;
    counters.received.busy_ns = busy_ms * 1_000_000;
    counters.opened = 1;
    counters.srtt_us = 250;
    counters
}

/// A ledger, and the time of its last look.
struct Fixture {
    ledger: Ledger,
    now: Instant,
}

impl Fixture {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            ledger: Ledger::new(HOUR, now),
            now,
        }
    }

    fn look_after(&mut self, after: Duration, counters: &[(IpAddr, Counters)]) -> Look {
        self.now += after;
        self.ledger
            .look(&counters.iter().copied().collect(), self.now)
    }

    fn look(&mut self, counters: Counters) -> Look {
        self.look_after(Duration::from_secs(1), &[(PEER, counters)])
    }

    fn total(&self) -> u64 {
        self.ledger
            .view()
            .iter()
            .map(|peer| peer.received.bytes)
            .sum()
    }
}

#[test]
fn growth_is_counted_once() {
    let mut fixture = Fixture::new();
    fixture.look(received(1000, 1));
    let look = fixture.look(received(1500, 2));
    assert_eq!(look.moved.len(), 1);
    assert_eq!(look.moved[0].growth.received.bytes, 500);
    assert!(fixture.look(received(1500, 2)).moved.is_empty());
    assert_eq!(fixture.total(), 1500);
}

#[test]
fn counters_that_begin_anew_are_added() {
    let mut fixture = Fixture::new();
    fixture.look(received(1000, 5));
    fixture.look(received(300, 1));
    assert_eq!(fixture.total(), 1300);
}

#[test]
fn a_peer_is_forgotten_when_idle_and_counts_anew_when_it_returns() {
    let mut fixture = Fixture::new();
    fixture.look(received(1000, 5));
    let still = [(PEER, received(1000, 5))];
    assert!(fixture.look_after(HOUR / 2, &still).forgotten.is_empty());
    assert_eq!(fixture.look_after(HOUR / 2, &still).forgotten, [PEER]);
    assert!(fixture.ledger.view().is_empty());
    fixture.look(received(10, 0));
    assert_eq!(fixture.total(), 10);
}

#[test]
fn rates_are_over_busy_time_and_over_the_interval() {
    let mut fixture = Fixture::new();
    fixture.look(received(1_000_000, 100));
    let view = &fixture.ledger.view()[0];
    assert_eq!(view.received.rate, 1_000_000);
    assert_eq!(view.received.throughput, Some(10_000_000));
    assert_eq!(view.rtt_us, Some(250));
    fixture.look(received(1_000_000, 100));
    let view = &fixture.ledger.view()[0];
    assert_eq!(view.received.rate, 0);
    assert_eq!(view.received.throughput, Some(10_000_000));
}

#[test]
fn a_look_right_after_another_leaves_the_rates_and_loses_nothing() {
    let mut fixture = Fixture::new();
    fixture.look(received(1_000_000, 100));
    let moment = Duration::from_millis(5);
    fixture.look_after(moment, &[(PEER, received(1_100_000, 110))]);
    assert_eq!(fixture.ledger.view()[0].received.rate, 1_000_000);
    let rest = Duration::from_millis(995);
    fixture.look_after(rest, &[(PEER, received(1_300_000, 130))]);
    assert_eq!(fixture.ledger.view()[0].received.rate, 300_000);
}

#[test]
fn reports_are_sums_since_the_peer_was_last_reported() {
    let mut fixture = Fixture::new();
    let second = Duration::from_secs(1);
    let both = |peer, other| [(PEER, received(peer, 5)), (OTHER, received(other, 5))];
    let report = |fixture: &mut Fixture, most| -> Vec<_> {
        let reports = fixture.ledger.take_reports(most, fixture.now);
        let told = |r: &PeerReport| (r.peer, r.received.bytes, r.interval.as_secs());
        reports.iter().map(told).collect()
    };
    fixture.look_after(second, &both(1000, 2000));
    assert_eq!(report(&mut fixture, 1), [(OTHER, 2000, 1)]);
    fixture.look_after(second, &both(1000, 2500));
    assert_eq!(report(&mut fixture, 10), [(PEER, 1000, 2), (OTHER, 500, 1)]);
    // Silence is not part of what comes after it.
    fixture.look_after(second, &both(1000, 2500));
    assert_eq!(report(&mut fixture, 10), []);
    fixture.look_after(second, &both(1000, 2600));
    assert_eq!(report(&mut fixture, 10), [(OTHER, 100, 1)]);
}

#[test]
fn a_new_peer_is_reported_since_the_look_before() {
    let mut fixture = Fixture::new();
    fixture.look_after(HOUR / 2, &[]);
    fixture.look(received(10, 0));
    let reports = fixture.ledger.take_reports(1, fixture.now);
    assert_eq!(reports[0].interval, Duration::from_secs(1));
}
