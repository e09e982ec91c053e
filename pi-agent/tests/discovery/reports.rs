//! What was measured of peers goes with the calls, each sum once.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use piccolo_api::{AdvertiseRequest, FailureKind, Flow, Load, Observation};

use tokio::time::Instant;

use super::{Agent, advertised, synced};
use crate::fake::{Behaviour, Call, FakeServer};

/// A source whose n-th report tells of n bytes.
fn measured(agent: &Agent) {
    let reports = AtomicU64::new(0);
    let observations = move || {
        let flow = Flow {
            bytes: reports.fetch_add(1, Ordering::Relaxed) + 1,
            ..Flow::default()
        };
        vec![Observation {
            peer: [10, 0, 0, 2].into(),
            interval_ms: 1000,
            received: flow,
            sent: Flow::default(),
            retransmits: 0,
            rtt_us: Some(200),
        }]
    };
    let load = || Load {
        uploads: 3,
        slots: 8,
    };
    (agent.discovery).observe(Box::new(observations), Box::new(load));
}

fn bytes(call: &AdvertiseRequest) -> Vec<u64> {
    call.observations.iter().map(|o| o.received.bytes).collect()
}

#[tokio::test]
async fn a_set_and_a_change_carry_what_was_measured_since() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a"]);
    measured(&agent);
    let agent = agent.start();
    let sync = server.wait_for("sync", synced).await;
    assert_eq!(bytes(&sync), [1]);
    assert_eq!(
        sync.load.map(|load| (load.uploads, load.slots)),
        Some((3, 8))
    );
    agent.change(&["b"], &[]);
    let change = server.wait_for("advertise", advertised).await;
    assert_eq!(bytes(&change), [2]);
    assert_eq!(change.observations[0].rtt_us, Some(200));
}

#[tokio::test]
async fn what_was_not_delivered_goes_with_the_next_call() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a"]);
    measured(&agent);
    let agent = agent.start();
    server.wait_for("sync", synced).await;
    // A call that fails is not written down.
    server.behaviour.lock().failing = 1;
    agent.change(&["b"], &[]);
    let change = server.wait_for("advertise", advertised).await;
    assert_eq!(server.behaviour.lock().failing, 0);
    assert_eq!(bytes(&change), [2]);
    agent.change(&["c"], &[]);
    let next = |call: &_| advertised(call).filter(|call| call.keys == ["c"]);
    assert_eq!(bytes(&server.wait_for("next advertise", next).await), [3]);
}

/// Takes as long as an agent with nothing to tell is silent: thirty seconds.
#[tokio::test]
async fn a_sign_of_life_carries_what_was_measured_since() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).with_keys(&["a"]);
    measured(&agent);
    let agent = agent.start();
    server.wait_for("sync", synced).await;
    let broken = "10.0.0.9:7787".parse().unwrap();
    agent.discovery.failed(broken, FailureKind::Cut);
    let alive = |call: &Call| match call {
        Call::Keepalive(request) => Some(request.clone()),
        _ => None,
    };
    let end = Instant::now() + Duration::from_secs(45);
    while Instant::now() < end && !server.calls().iter().any(|call| alive(call).is_some()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let sign = server.wait_for("keepalive", alive).await;
    let told: Vec<_> = sign.observations.iter().map(|o| o.received.bytes).collect();
    assert_eq!(told, [2]);
    let failures: Vec<_> = sign.failures.iter().map(|f| (f.peer, f.count)).collect();
    assert_eq!(failures, [(broken, 1)]);
}
