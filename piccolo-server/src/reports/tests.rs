//! One observation after the other, each with one thing wrong.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use piccolo_api::FailureKind;

use super::*;

const GIB: u64 = 1 << 30;

fn reporter() -> Holder {
    "10.0.0.1:7787".parse().expect("a holder")
}

/// A GiB within half of ten seconds.
fn usual(peer: &str) -> Observation {
    Observation {
        peer: peer.parse().expect("an address"),
        interval_ms: 10_000,
        received: Flow {
            bytes: GIB,
            rated_bytes: GIB,
            busy_us: 5_000_000,
        },
        sent: Flow::default(),
        retransmits: 3,
        rtt_us: Some(200),
    }
}

fn sift(observations: &[Observation]) -> (Vec<Observation>, Vec<Doubt>) {
    let mut doubts = Vec::new();
    let believed = sift_observations(reporter().ip(), observations.to_vec(), &mut doubts);
    (believed, doubts)
}

#[track_caller]
fn check(change: impl FnOnce(&mut Observation), doubt: Doubt) {
    let mut changed = usual("10.0.0.2");
    change(&mut changed);
    let good = usual("10.0.0.3");
    let (believed, doubts) = sift(&[changed.clone(), good.clone()]);
    assert_eq!(doubts, [doubt], "{changed:?}");
    assert_eq!(believed, [good]);
}

#[track_caller]
fn address(text: &str, doubt: Doubt) {
    check(|o| o.peer = text.parse().expect("an address"), doubt);
}

#[test]
fn what_can_be_is_taken() {
    let good = [usual("10.0.0.2"), usual("fd00::2")];
    assert_eq!(sift(&good), (good.to_vec(), vec![]));
    // A burst that began before the interval is told with all its bytes and time.
    let mut early = usual("10.0.0.4");
    early.interval_ms = 1000;
    early.received = Flow {
        bytes: 1000,
        rated_bytes: 66_000,
        busy_us: 6_000_000,
    };
    assert_eq!(sift(&[early.clone()]).0, [early]);
}

#[test]
fn nobody_is_its_own_peer() {
    address("10.0.0.1", Doubt::OwnAddress);
    address("::ffff:10.0.0.1", Doubt::OwnAddress);
    address("127.0.0.1", Doubt::NoAddress);
    address("::", Doubt::NoAddress);
    address("224.0.0.1", Doubt::NoAddress);
}

#[test]
fn two_spellings_of_a_peer_are_one() {
    let (believed, doubts) = sift(&[usual("::ffff:10.0.0.2"), usual("10.0.0.2")]);
    assert_eq!(believed, [usual("10.0.0.2")]);
    assert_eq!(doubts, [Doubt::Twice]);
}

#[test]
fn no_link_carries_more_than_it_can() {
    // 10 s at 100 GB/s, and what may have come before.
    check(|o| o.received.bytes = 4_000_000_000_001, Doubt::TooFast);
    check(|o| o.sent.bytes = u64::MAX, Doubt::TooFast);
    check(|o| o.received.busy_us = 1, Doubt::TooFast);
    check(|o| o.received.busy_us = 0, Doubt::TooFast);
}

#[test]
fn all_peers_share_the_reporters_links() {
    let half = |peer: &str| {
        let mut observation = usual(peer);
        observation.sent.bytes = 2_000_000_000_000;
        observation
    };
    let all = [half("10.0.0.2"), half("10.0.0.3"), half("10.0.0.4")];
    let (believed, doubts) = sift(&all);
    assert_eq!(believed, all[..2]);
    assert_eq!(doubts, [Doubt::TooFast]);
}

#[test]
fn nothing_takes_longer_than_the_interval() {
    check(|o| o.received.busy_us = 40_001_000, Doubt::Future);
    check(|o| o.received.busy_us = u64::MAX, Doubt::Future);
    check(|o| o.interval_ms = MAX_MS + 1, Doubt::Stale);
    check(|o| o.interval_ms = u64::MAX, Doubt::Stale);
    check(|o| o.interval_ms = 0, Doubt::Empty);
}

#[test]
fn numbers_do_not_contradict_one_another() {
    check(
        |o| o.received.rated_bytes = GIB + EARLIER_BYTES + 1,
        Doubt::Contradiction,
    );
    check(|o| o.received.rated_bytes = 0, Doubt::Contradiction);
    check(|o| o.rtt_us = Some(u64::MAX), Doubt::Contradiction);
    check(|o| o.received = Flow::default(), Doubt::Empty);
}

#[test]
fn a_report_is_bounded() {
    let peer = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from(0x0a01_0000 + n));
    let all: Vec<_> = (0..1030)
        .map(|n| Observation {
            peer: peer(n),
            ..usual("10.0.0.2")
        })
        .collect();
    let (believed, doubts) = sift(&all);
    assert_eq!(
        (believed.len(), doubts),
        (MAX_ENTRIES, vec![Doubt::TooMany; 6])
    );
}

#[test]
fn failures_are_of_others_and_happened() {
    let failure = |peer: &str, count| Failure {
        peer: peer.parse().expect("a holder"),
        kind: FailureKind::Cut,
        count,
    };
    let good = failure("10.0.0.2:7787", 1);
    let all = vec![
        failure("10.0.0.1:7787", 1),
        failure("10.0.0.3:7787", 0),
        good.clone(),
    ];
    let report = Report::sift(reporter(), vec![], all);
    assert_eq!(report.failures, [good]);
}

#[test]
fn both_fates_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let observations = vec![usual("10.0.0.2"), usual("10.0.0.1"), usual("10.0.0.3")];
    metrics::with_local_recorder(&recorder, || {
        Report::sift(reporter(), observations, vec![]);
    });
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let label = key.key().labels().next().expect("a label").value();
            (key.key().name().to_owned(), label.to_owned(), value)
        })
        .collect();
    counted.sort_by(|a, b| a.1.cmp(&b.1));
    let name = OBSERVATIONS.to_owned();
    let expected = [
        (
            name.clone(),
            "own_address".to_owned(),
            DebugValue::Counter(1),
        ),
        (name, "taken".to_owned(), DebugValue::Counter(2)),
    ];
    assert_eq!(counted, expected);
}
