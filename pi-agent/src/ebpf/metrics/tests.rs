//! Each metric moves, and none goes back.

use std::net::Ipv4Addr;

use ::metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::*;
use crate::ebpf::mode::{InForce, Reason};

fn peer(n: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, n).into()
}

fn moved(n: u8, bytes: u64) -> Moved {
    let flow = FlowSums {
        bytes,
        rated_bytes: bytes,
        busy_ns: 500_000_000,
        bursts: 1,
    };
    let growth = Sums {
        received: flow,
        sent: flow,
        opened: 1,
        adopted: 0,
        closed: 1,
        retransmits: 3,
    };
    Moved {
        peer: peer(n),
        growth,
        total_bytes: 2 * bytes,
        rtt_us: Some(250),
    }
}

/// The values of a page by name and labels.
fn shown(metrics: &PeerMetrics) -> BTreeMap<String, f64> {
    let page = metrics.page();
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').expect("labels");
        let labels = labels.split('"').skip(1).step_by(2);
        let words: Vec<_> = std::iter::once(name).chain(labels).collect();
        (words.join(" "), value.parse().expect("a number"))
    };
    lines.map(value).collect()
}

fn check(values: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for &(name, expected) in expected {
        let value = values.get(name).copied().expect(name);
        assert!((value - expected).abs() < 1e-9, "{name}: {value}");
    }
}

/// The series of one metric, with their values.
fn series(metrics: &PeerMetrics, metric: &str) -> Vec<String> {
    let values = shown(metrics).into_iter();
    values
        .filter(|(name, _)| name.starts_with(metric))
        .map(|(name, value)| format!("{} {value}", name.replacen(metric, "", 1).trim()))
        .collect()
}

#[test]
fn what_passes_with_a_peer_moves_its_series() {
    let mut metrics = PeerMetrics::new(1);
    metrics.record(&moved(1, 1000));
    check(
        &shown(&metrics),
        &[
            ("piccolo_agent_peer_bytes_total 192.0.2.1 received", 1000.0),
            (
                "piccolo_agent_peer_rated_bytes_total 192.0.2.1 sent",
                1000.0,
            ),
            ("piccolo_agent_peer_busy_seconds_total 192.0.2.1 sent", 0.5),
            ("piccolo_agent_peer_bursts_total 192.0.2.1 received", 1.0),
            ("piccolo_agent_peer_retransmits_total 192.0.2.1", 3.0),
            ("piccolo_agent_peer_connections_opened_total 192.0.2.1", 1.0),
            ("piccolo_agent_peer_connections_closed_total 192.0.2.1", 1.0),
            ("piccolo_agent_peer_rtt_seconds 192.0.2.1", 0.000_25),
        ],
    );
}

#[test]
fn peers_beyond_the_limit_are_summed_up() {
    let mut metrics = PeerMetrics::new(1);
    metrics.record(&moved(1, 1000));
    metrics.record(&moved(2, 10));
    metrics.record(&moved(3, 20));
    let expected = [
        "192.0.2.1 received 1000",
        "192.0.2.1 sent 1000",
        "other received 30",
        "other sent 30",
    ];
    assert_eq!(series(&metrics, "piccolo_agent_peer_bytes_total"), expected);
}

#[test]
fn a_peer_that_loses_its_name_keeps_its_counters() {
    let mut metrics = PeerMetrics::new(1);
    metrics.record(&moved(1, 10));
    metrics.record(&moved(2, 1000));
    metrics.record(&moved(1, 11));
    let values = shown(&metrics);
    check(
        &values,
        &[
            ("piccolo_agent_peer_bytes_total 192.0.2.1 sent", 10.0),
            ("piccolo_agent_peer_bytes_total 192.0.2.2 sent", 1000.0),
            ("piccolo_agent_peer_bytes_total other sent", 11.0),
        ],
    );
    assert!(!values.contains_key("piccolo_agent_peer_rtt_seconds 192.0.2.1"));
}

#[test]
fn the_page_is_bounded_and_has_the_latest_however_many_came_and_went() {
    let mut metrics = PeerMetrics::new(2);
    for n in 0..100 {
        metrics.record(&moved(n, 10));
        metrics.forget(peer(n));
    }
    metrics.record(&moved(100, 10));
    let names = series(&metrics, "piccolo_agent_peer_bursts_total");
    assert_eq!(names.len(), 2 * (8 + 1), "{names:?}");
    assert!(
        names.contains(&"192.0.2.100 sent 1".to_owned()),
        "{names:?}"
    );
    assert!(names.contains(&"other sent 0".to_owned()), "{names:?}");
}

#[test]
fn the_rack_of_a_named_peer_is_shown_and_may_change() {
    let mut metrics = PeerMetrics::new(1);
    let racks = |metrics: &PeerMetrics| series(metrics, "piccolo_agent_peer_rack_info");
    metrics.record(&moved(1, 1000));
    metrics.record(&moved(2, 10));
    metrics.show_racks(|_| None);
    assert!(racks(&metrics).is_empty());
    metrics.show_racks(|_| Some("r1".to_owned()));
    metrics.show_racks(|_| Some("r2".to_owned()));
    metrics.show_racks(|_| None);
    assert_eq!(racks(&metrics), ["192.0.2.1 r2 1"]);
    metrics.forget(peer(1));
    metrics.show_racks(|_| Some("r2".to_owned()));
    assert!(racks(&metrics).is_empty());
    // A peer that comes back in another rack is in one rack only.
    metrics.record(&moved(1, 1000));
    metrics.show_racks(|_| Some("r3".to_owned()));
    assert_eq!(racks(&metrics), ["192.0.2.1 r3 1"]);
}

/// The values that a recorder got, by name and labels.
fn recorded(work: impl FnOnce()) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, work);
    let show = |(key, _, _, value)| {
        let key: metrics_util::CompositeKey = key;
        let labels = key.key().labels().map(::metrics::Label::value);
        let words: Vec<_> = std::iter::once(key.key().name()).chain(labels).collect();
        let value = match value {
            DebugValue::Counter(n) => f64::from(u32::try_from(n).expect("a small number")),
            DebugValue::Gauge(x) => x.into_inner(),
            DebugValue::Histogram(_) => f64::NAN,
        };
        (words.join(" "), value)
    };
    let snapshot = snapshotter.snapshot().into_vec();
    snapshot.into_iter().map(show).collect()
}

#[test]
fn the_mode_and_the_failures_are_shown() {
    let mode = |in_force, reason| Mode {
        in_force,
        reason,
        detail: String::new(),
    };
    let values = recorded(|| {
        let before = mode(InForce::Ebpf, Reason::Best);
        show_mode(None, &before);
        show_mode(Some(&before), &mode(InForce::TcpInfo, Reason::SelfTest));
        show_failures(Failure::ALL.map(|kind| (kind, 7)));
        count_unread();
        show_pass(5, Instant::now());
    });
    check(
        &values,
        &[
            ("piccolo_agent_accounting_info ebpf best", 0.0),
            ("piccolo_agent_accounting_info tcp-info self-test", 1.0),
            ("piccolo_agent_accounting_failures_total peers_full", 7.0),
            ("piccolo_agent_accounting_failures_total read", 1.0),
            ("piccolo_agent_peers", 5.0),
        ],
    );
    assert!(values.contains_key("piccolo_agent_accounting_pass_seconds"));
}
