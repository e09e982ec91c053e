//! Each metric moves, and none goes back.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ::metrics::with_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use super::*;
use crate::ebpf::{
    mode::{InForce, Reason},
    sums::Sums,
};

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

fn with_recorder(work: impl FnOnce()) -> Snapshotter {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, work);
    snapshotter
}

/// The values by name and labels.
fn values(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let show = |(key, _, _, value)| {
        let key: metrics_util::CompositeKey = key;
        let labels: Vec<_> = key
            .key()
            .labels()
            .map(|label| label.value().to_owned())
            .collect();
        let value = match value {
            DebugValue::Counter(n) => f64::from(u32::try_from(n).expect("a small number")),
            DebugValue::Gauge(x) => x.into_inner(),
            DebugValue::Histogram(_) => f64::NAN,
        };
        (
            format!("{} {}", key.key().name(), labels.join(" "))
                .trim()
                .to_owned(),
            value,
        )
    };
    snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(show)
        .collect()
}

#[test]
fn what_passes_with_a_peer_moves_its_series() {
    let snapshotter = with_recorder(|| PeerMetrics::new(1).record(&moved(1, 1000)));
    let values = values(&snapshotter);
    for (name, expected) in [
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
    ] {
        let value = values.get(name).copied().expect(name);
        assert!((value - expected).abs() < 1e-9, "{name}: {value}");
    }
}

#[test]
fn peers_beyond_the_limit_are_summed_up() {
    let snapshotter = with_recorder(|| {
        let mut metrics = PeerMetrics::new(1);
        metrics.record(&moved(1, 1000));
        metrics.record(&moved(2, 10));
        metrics.record(&moved(3, 20));
    });
    let values = values(&snapshotter);
    let names: BTreeSet<_> = values
        .keys()
        .filter(|name| name.starts_with(BYTES))
        .map(String::as_str)
        .collect();
    let expected = [
        "piccolo_agent_peer_bytes_total 192.0.2.1 received",
        "piccolo_agent_peer_bytes_total 192.0.2.1 sent",
        "piccolo_agent_peer_bytes_total other received",
        "piccolo_agent_peer_bytes_total other sent",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    assert!((values["piccolo_agent_peer_bytes_total other received"] - 30.0).abs() < 1e-9);
}

#[test]
fn a_peer_that_loses_its_name_keeps_its_counters() {
    let snapshotter = with_recorder(|| {
        let mut metrics = PeerMetrics::new(1);
        metrics.record(&moved(1, 10));
        metrics.record(&moved(2, 1000));
        metrics.record(&moved(1, 11));
    });
    let values = values(&snapshotter);
    assert!((values["piccolo_agent_peer_bytes_total 192.0.2.1 sent"] - 10.0).abs() < 1e-9);
    assert!((values["piccolo_agent_peer_bytes_total 192.0.2.2 sent"] - 1000.0).abs() < 1e-9);
    assert!((values["piccolo_agent_peer_bytes_total other sent"] - 11.0).abs() < 1e-9);
}

#[test]
fn the_rack_of_a_named_peer_is_shown_and_may_change() {
    let snapshotter = with_recorder(|| {
        let mut metrics = PeerMetrics::new(1);
        metrics.record(&moved(1, 1000));
        metrics.record(&moved(2, 10));
        metrics.show_racks(|_| None);
        metrics.show_racks(|_| Some("r1".to_owned()));
        metrics.show_racks(|_| Some("r2".to_owned()));
    });
    let values = values(&snapshotter);
    let racks: Vec<_> = values
        .iter()
        .filter(|(name, _)| name.starts_with(RACK))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let expected = ["r1 0", "r2 1"].map(|rest| format!("{RACK} 192.0.2.1 {rest}"));
    assert_eq!(racks, expected);
}

#[test]
fn the_mode_and_the_failures_are_shown() {
    let mode = |in_force, reason| Mode {
        in_force,
        reason,
        detail: String::new(),
    };
    let snapshotter = with_recorder(|| {
        let before = mode(InForce::Ebpf, Reason::Best);
        show_mode(None, &before);
        show_mode(Some(&before), &mode(InForce::TcpInfo, Reason::SelfTest));
        show_failures(Failure::ALL.map(|kind| (kind, 7)));
        count_unread();
        show_pass(5, Instant::now());
    });
    let values = values(&snapshotter);
    for (name, expected) in [
        ("piccolo_agent_accounting_info ebpf best", 0.0),
        ("piccolo_agent_accounting_info tcp-info self-test", 1.0),
        ("piccolo_agent_accounting_failures_total peers_full", 7.0),
        ("piccolo_agent_accounting_failures_total read", 1.0),
        ("piccolo_agent_peers", 5.0),
    ] {
        let value = values.get(name).copied().expect(name);
        assert!((value - expected).abs() < 1e-9, "{name}: {value}");
    }
    assert!(values.contains_key("piccolo_agent_accounting_pass_seconds"));
}
