//! A node that is about to fetch together with others.

use futures_util::future::join_all;
use pi_agent::{digest::Digest, fetch::Finder};
use piccolo_api::{Fetch, Progress, Standing, Verdict};

use super::{Agent, Behaviour, Call, FakeServer};

pub(super) fn digests() -> Vec<Digest> {
    let digest = |n: u8| format!("sha256:{}", hex::encode([n; 32])).parse().unwrap();
    (1..=6).map(digest).collect()
}

pub(super) fn progress(digest: &Digest) -> Progress {
    Progress {
        key: digest.to_string(),
        bytes: 1,
        rank: None,
        permit: true,
        registry: None,
        slow: false,
        end: None,
        refused: None,
    }
}

#[tokio::test]
async fn layers_that_are_asked_for_together_are_joined_and_told_of_in_one_call() {
    let (server, url) = FakeServer::start(Behaviour::default()).await;
    let agent = Agent::new(&[&url]).start();
    let digests = digests();
    let join = |digest| Finder::join(&agent.discovery, digest, Fetch::default());
    for joined in join_all(digests.iter().map(join)).await {
        let verdict = joined.turn.map(|turn| turn.verdict);
        assert_eq!(verdict, Some(Verdict::Permit { lease_ms: 3000 }));
    }
    let tell = |digest| Finder::progress(&agent.discovery, progress(digest));
    let heard = join_all(digests.iter().map(tell)).await;
    assert_eq!(heard, vec![Some(Standing::Permit); 6]);
    let calls = server.calls();
    let finds = calls.iter().filter_map(|call| match call {
        Call::Find(keys) => Some(keys.len()),
        _ => None,
    });
    assert_eq!(finds.collect::<Vec<_>>(), [6]);
    let reports = calls.iter().filter_map(|call| match call {
        Call::Progress(request) => Some(request.fetches.len()),
        _ => None,
    });
    assert_eq!(reports.collect::<Vec<_>>(), [6]);
}

#[tokio::test]
async fn a_server_that_has_too_much_to_do_sends_nobody_to_the_registry() {
    let busy = Behaviour {
        busy: 2,
        ..Behaviour::default()
    };
    let (_server, url) = FakeServer::start(busy).await;
    let agent = Agent::new(&[&url]).start();
    let digest = &digests()[0];
    for _ in 0..2 {
        let joined = Finder::join(&agent.discovery, digest, Fetch::default()).await;
        let turn = joined.turn.expect("it is told what to do");
        assert!(matches!(turn.verdict, Verdict::Wait { .. }), "{turn:?}");
    }
    let joined = Finder::join(&agent.discovery, digest, Fetch::default()).await;
    let verdict = joined.turn.map(|turn| turn.verdict);
    assert_eq!(verdict, Some(Verdict::Permit { lease_ms: 3000 }));
}

/// By `--node-cidrs` or `--bind-holder` of a server.
#[tokio::test]
async fn who_is_taken_for_no_holder_is_told_who_has_it() {
    for status in [400, 403] {
        let refused = Behaviour {
            refused: Some(status),
            holders: vec!["10.0.0.2:7787".to_owned()],
            ..Behaviour::default()
        };
        let (_server, url) = FakeServer::start(refused).await;
        let agent = Agent::new(&[&url]).start();
        let joined = Finder::join(&agent.discovery, &digests()[0], Fetch::default()).await;
        assert!(joined.turn.is_none(), "{status}: {joined:?}");
        assert_eq!(joined.peers.len(), 1, "{status}: {joined:?}");
    }
}

#[tokio::test]
async fn without_a_server_nobody_waits() {
    let agent = Agent::new(&["http://127.0.0.1:1"]).start();
    let joined = Finder::join(&agent.discovery, &digests()[0], Fetch::default()).await;
    assert!(joined.turn.is_none() && joined.peers.is_empty());
}
