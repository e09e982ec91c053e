//! Wrong bytes of complete blobs: no pull fails by them where something could have been known of them.

use std::{fs, os::unix::fs::FileExt as _, time::Duration};

use daemon::scope::{Deaths, Scope};
use pi_agent::{
    content::verdict::Verdict,
    fetch::{FetchSettings, Verify},
    peer::PeerSettings,
};
use piccolo_api::{FailureKind, Holder, Peer, PeerState};

use crate::{
    bed::{Bed, Store, agent, blob_path, digest, object, settings},
    client::{Reply, request},
    counted::Counted,
    crowd::{Node, take_complete},
    fake::{Fake, Fault},
};

const MIB: usize = 1 << 20;

/// Real agents that hold blobs on their disks.
struct Holders {
    scope: Scope,
    _deaths: Deaths,
}

impl Holders {
    fn new() -> Self {
        let (scope, deaths) = Scope::new();
        Self {
            scope,
            _deaths: deaths,
        }
    }

    /// One that keeps `bytes` under the digest of `layer`.
    async fn start(&self, layer: &[u8], bytes: &[u8]) -> (Store, Peer) {
        let (store, addr, _) = agent(&[], PeerSettings::default(), &self.scope).await;
        store.put_as("sha256", digest(layer).hex(), bytes);
        let peer = Peer {
            addr: Holder::new(addr).unwrap(),
            rack: "r".to_owned(),
            state: PeerState::Complete,
            score: 1.0,
        };
        (store, peer)
    }
}

fn with(verify: Verify) -> FetchSettings {
    FetchSettings {
        verify,
        ..settings()
    }
}

fn damaged(layer: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = layer.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Waits until a holder knows its blob to be right, so that it has a chunk list.
async fn listed(peer: &Peer, layer: &[u8]) {
    until(peer, layer, |reply| reply.field("Piccolo-Chunks").is_some()).await;
}

/// Asks a holder for its blob's head until the answer is as wanted. On a busy machine the first answer comes
/// before the blob is read.
async fn until(peer: &Peer, layer: &[u8], is_wanted: impl Fn(&Reply) -> bool) {
    let fields = "Piccolo-Chunks: blake3-1048576, complete\r\n";
    let known = async {
        loop {
            let reply = request(peer.addr.addr(), "HEAD", &blob_path(layer), fields).await;
            if is_wanted(&reply) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(20), known).await;
    known.expect("the holder does not check its blob");
}

/// The issue's example: the blob of neither holder reaches containerd, which fetches from the registry.
#[tokio::test]
async fn two_holders_with_a_wrong_byte_each_fail_no_pull() {
    let layer = object(20 * MIB, 1);
    let holders = Holders::new();
    let (_a, first) = holders.start(&layer, &damaged(&layer, 3)).await;
    let (_b, second) = holders.start(&layer, &damaged(&layer, 19 * MIB)).await;
    for holder in [&first, &second] {
        until(holder, &layer, |reply| reply.status == 404).await;
    }
    for verify in [Verify::Auto, Verify::Always] {
        let bed = Bed::with(vec![first.clone(), second.clone()], with(verify)).await;
        bed.verdicts.watch();
        let pulled = bed.pull(&layer).await;
        assert!(pulled.body == layer, "{verify:?}: other bytes");
        assert_eq!(pulled.from_registry, layer.len(), "{verify:?}");
    }
}

#[tokio::test]
async fn a_damaged_holder_is_passed_over_for_a_good_one() {
    // Checked within the time that the first who asks waits.
    let layer = object(5 * MIB, 2);
    let holders = Holders::new();
    let (_a, bad) = holders.start(&layer, &damaged(&layer, MIB)).await;
    let (_b, good) = holders.start(&layer, &layer).await;
    let bed = Bed::with(vec![bad, good], with(Verify::Auto)).await;
    bed.verdicts.watch();
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert_eq!(bed.known.kinds(), [FailureKind::Missing]);
}

/// A disk that decays after the blob was read, or a network that damages: the chunks tell.
#[tokio::test]
async fn what_is_damaged_later_is_found_out_by_its_chunks() {
    let layer = object(9 * MIB, 3);
    let holders = Holders::new();
    let (store, bad) = holders.start(&layer, &layer).await;
    let (_b, good) = holders.start(&layer, &layer).await;
    listed(&bad, &layer).await;
    listed(&good, &layer).await;
    let path = store.path(&layer);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    let wrong = [layer[5 * MIB] ^ 1];
    file.write_all_at(&wrong, u64::try_from(5 * MIB).unwrap())
        .unwrap();
    file.set_modified(before).unwrap();
    let bed = Bed::with(vec![bad.clone(), good], with(Verify::Always)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    assert_eq!(bed.known.failures.lock()[0].0, bad.addr);
}

/// The digests cost a copy of the bytes: with the default settings who has it all, and has checked it, is
/// not asked for them.
#[tokio::test]
async fn a_pull_checks_the_chunks_of_who_has_it_all_where_it_is_told_to() {
    let counted = Counted::begin();
    let layer = object(9 * MIB, 4);
    let holders = Holders::new();
    let (_a, good) = holders.start(&layer, &layer).await;
    listed(&good, &layer).await;
    let crowd = || vec![take_complete(good.addr.addr())];
    for (turns, verify, checked) in [
        (crowd(), Verify::Auto, 0),
        (Vec::new(), Verify::Auto, 0),
        (crowd(), Verify::Always, 9),
        (Vec::new(), Verify::Always, 18),
    ] {
        let node = Node::with(turns, verify).await;
        node.script.0.lock().peers = vec![good.clone()];
        node.verdicts.watch();
        let _ingest = node.begin(&layer);
        let reply = node.ask(&layer, "Range: bytes=0-\r\n").await;
        assert!(reply.body == layer, "other bytes");
        let counter = "piccolo_agent_swarm_chunks_checked_total";
        assert_eq!(counted.of(counter), checked);
    }
}

#[tokio::test]
async fn always_means_before_the_first_byte_also_from_who_has_no_list() {
    let layer = object(20 * MIB, 5);
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let honest = Fake::start(Fault::None, &layer).await;
    let bed = Bed::with(vec![liar.peer(), honest.peer()], with(Verify::Always)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    // Alone it is no source at all, and the registry gives the whole: no tail on a wrong prefix.
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let bed = Bed::with(vec![liar.peer()], with(Verify::Always)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == layer.len());
}

#[tokio::test]
async fn what_cannot_be_checked_within_memory_is_left_to_the_registry() {
    let layer = object(9 * MIB, 6);
    let settings = |verify_memory| FetchSettings {
        verify_memory,
        ..with(Verify::Always)
    };
    let honest = Fake::start(Fault::None, &layer).await;
    let bed = Bed::with(vec![honest.peer()], settings(8 << 20)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == layer.len());
    let bed = Bed::with(vec![honest.peer()], settings(9 << 20)).await;
    assert_eq!(bed.pull(&layer).await.from_registry, 0);
    // Room is made by forgetting what was kept.
    let other = object(9 * MIB, 7);
    let second = Fake::start(Fault::None, &other).await;
    bed.known.set(vec![second.peer()]);
    let pulled = bed.pull(&other).await;
    assert!(pulled.body == other && pulled.from_registry == 0);
    // With a chunk list there is no bound.
    let holders = Holders::new();
    let (_a, good) = holders.start(&layer, &layer).await;
    listed(&good, &layer).await;
    let bed = Bed::with(vec![honest.peer(), good], settings(0)).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
}

#[tokio::test]
async fn checked_parts_are_given_too() {
    let layer = object(9 * MIB, 8);
    let holders = Holders::new();
    let (_a, good) = holders.start(&layer, &layer).await;
    listed(&good, &layer).await;
    let fake = Fake::start(Fault::None, &layer).await;
    for peer in [good, fake.peer()] {
        let bed = Bed::with(vec![peer], with(Verify::Always)).await;
        // The whole in one stream, or containerd would ask for all other parts only here.
        let reply = bed.get(&blob_path(&layer), "Range: bytes=0-\r\n").await;
        assert!(reply.status == 200 && reply.body == layer);
        for (range, start) in [("5000000-", 5_000_000), ("9437100-", 9_437_100)] {
            let field = format!("Range: bytes={range}\r\n");
            let reply = bed.get(&blob_path(&layer), &field).await;
            assert_eq!(reply.status, 206, "{range}");
            assert!(reply.body == layer[start..], "{range}: other bytes");
        }
        let reply = bed.get(&blob_path(&layer), "Range: bytes=7-8\r\n").await;
        assert!(reply.status == 206 && reply.body == layer[7..9]);
    }
}

/// With `ctr` the ingest may vanish before it was looked at: that the pull comes again tells.
#[tokio::test]
async fn who_sent_what_is_asked_for_again_is_left_out() {
    let layer = object(9 * MIB, 9);
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let bed = Bed::with(vec![liar.peer()], with(Verify::Auto)).await;
    bed.verdicts.watch();
    bed.verdicts.give(Verdict::Unknown);
    let reply = bed.get(&blob_path(&layer), "").await;
    assert!(reply.body != layer && reply.body.len() == layer.len());
    let asked = liar.requests();
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == layer.len());
    assert_eq!(liar.requests(), asked, "it was asked again");
    // What was not passed on whole says nothing.
    let layer = object(9 * MIB, 10);
    let broken = Fake::start(Fault::Fin, &layer).await;
    bed.known.set(vec![broken.peer()]);
    bed.get(&blob_path(&layer), "").await;
    let good = Fake::start(Fault::None, &layer).await;
    bed.known.set(vec![broken.peer(), good.peer()]);
    assert_eq!(bed.pull(&layer).await.from_registry, 0);
}
