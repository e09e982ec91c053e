//! Sets that are larger than what a server takes in one call.

use std::{collections::BTreeSet, time::Duration};

use pi_agent::jitter::Jitter;
use piccolo_api::AdvertiseRequest;

use crate::{
    Agent, advertised,
    fake::{Behaviour, Call, FakeServer},
    synced,
};

/// Its first and third numbers are small: the first sync and the next come soon, however large the
/// set.
const SOON: u64 = 459_085;

fn digests(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("sha256:{n:064x}")).collect()
}

fn large(server: &str, keys: &[String]) -> Agent {
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let agent = Agent::new(&[server]).with_keys(&keys);
    agent.start_with(Jitter::seeded(SOON))
}

/// The set that a server has after these calls, which have to continue each other from the last
/// sync on.
fn set(calls: &[Call]) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    let mut last: Option<AdvertiseRequest> = None;
    for call in calls {
        if let Some(sync) = synced(call) {
            set = sync.keys.iter().cloned().collect();
            last = Some(sync);
        } else if let (Some(change), Some(before)) = (advertised(call), last.take()) {
            assert_eq!(change.epoch, before.epoch);
            assert_eq!(change.seq, before.seq.map(|seq| seq + 1));
            set.extend(change.keys.iter().cloned());
            set.retain(|key| !change.removed.contains(key));
            last = Some(change);
        }
    }
    set
}

async fn comes_to(server: &FakeServer, expected: &[String]) {
    let expected: BTreeSet<_> = expected.iter().cloned().collect();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let set = set(&server.calls());
        if set == expected {
            return;
        }
        let late = tokio::time::Instant::now() > end;
        assert!(!late, "{} keys of {}", set.len(), expected.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_large_set_goes_in_parts_and_changes_follow() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let mut keys = digests(45_000);
    let agent = large(&url, &keys);
    let first = server.wait_for("sync", synced).await;
    assert_eq!(first.keys.len(), 20_000);
    // What goes while the parts are told has the last word.
    let gone = keys.pop().unwrap();
    agent.change(&["new"], &[&gone]);
    keys.push("new".to_owned());
    comes_to(&server, &keys).await;
    let syncs = server.calls().iter().filter_map(synced).count();
    assert_eq!(syncs, 1, "one sync, and changes after it");
    let standing = || agent.discovery.standing();
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    while !standing().synced {
        assert!(tokio::time::Instant::now() < end, "{:?}", standing());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_part_that_was_refused_is_told_again() {
    let failing = Behaviour {
        failing: 2,
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(failing).await;
    let keys = digests(23_000);
    let _agent = large(&url, &keys);
    comes_to(&server, &keys).await;
    assert_eq!(server.calls().iter().filter_map(synced).count(), 1);
}

#[tokio::test]
async fn a_server_that_loses_track_among_the_parts_gets_all_of_them_again() {
    let resync = Behaviour {
        resync: true,
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(resync).await;
    let keys = digests(23_000);
    let _agent = large(&url, &keys);
    let again = |call: &Call| synced(call).filter(|sync| sync.seq > Some(1));
    let first = server.wait_for("sync", synced).await;
    let second = server.wait_for("second sync", again).await;
    assert_eq!(first.keys, second.keys, "the same part");
    assert!(second.seq > first.seq.map(|seq| seq + 1));
    comes_to(&server, &keys).await;
}

#[tokio::test]
async fn long_names_make_smaller_parts() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let keys: Vec<_> = (0..18_000).map(|n| format!("{n:0>255}")).collect();
    let _agent = large(&url, &keys);
    comes_to(&server, &keys).await;
}

#[tokio::test]
async fn a_go_server_gets_a_large_set_at_once() {
    let go = Behaviour {
        go: true,
        ..Behaviour::default()
    };
    let (server, url) = FakeServer::start(go).await;
    let _agent = large(&url, &digests(20_001));
    let sync = server.wait_for("sync", synced).await;
    assert_eq!(sync.keys.len(), 20_001);
}
