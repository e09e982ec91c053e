//! Back-off and breaker as their callers see them.

use std::time::Duration;

use daemon::retry::{Admission, Backoff, Breaker};
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(1);

#[test]
fn delays_double_up_to_the_bound_and_begin_anew() {
    let mut backoff = Backoff::new(FIRST, MOST);
    let delays: Vec<_> = (0..6).map(|_| backoff.delay(1.0).as_millis()).collect();
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    backoff.reset();
    assert_eq!(backoff.delay(0.0), FIRST / 2);
}

#[test]
fn an_open_breaker_lets_one_probe_through() {
    let mut breaker = Breaker::new(FIRST, MOST);
    let now = Instant::now();
    assert_eq!(breaker.admit(now), Admission::Closed);
    breaker.failed(now, 1.0);
    assert_eq!(breaker.admit(now), Admission::Open);
    let later = now + FIRST;
    assert_eq!(breaker.admit(later), Admission::Probe);
    assert_eq!(
        breaker.admit(later),
        Admission::Open,
        "a second probe would be one too many"
    );
    breaker.succeeded();
    assert_eq!(breaker.admit(later), Admission::Closed);
    assert_eq!(breaker.failures(), 0);
}

#[test]
fn a_probe_that_never_returns_does_not_shut_the_breaker_for_ever() {
    let mut breaker = Breaker::new(FIRST, MOST);
    let now = Instant::now();
    breaker.failed(now, 1.0);
    assert_eq!(breaker.admit(now + FIRST), Admission::Probe);
    assert_eq!(breaker.admit(now + FIRST + MOST), Admission::Probe);
}
