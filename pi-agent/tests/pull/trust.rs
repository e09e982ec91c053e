//! Peers that lie.

use pi_agent::{
    content::verdict::Verdict,
    fetch::{FetchSettings, LazyRanges, Verify},
};
use piccolo_api::{FailureKind, Peer};

use crate::{
    bed::{Bed, blob_path, manifest_path, object, settings},
    client::End,
    counted::Counted,
    fake::{Fake, Fault},
};

#[tokio::test]
async fn nobody_notices_a_lie_about_a_small_object() {
    let blob = object(200_000, 31);
    let liar = Fake::start(Fault::WrongBytes, &blob).await;
    let good = Fake::start(Fault::None, &blob).await;
    let bed = Bed::start(vec![liar.peer(), good.peer()]).await;
    let pulled = bed.pull(&blob).await;
    assert!(pulled.body == blob && pulled.from_registry == 0);
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    let quarantined = bed.fetcher.quarantines();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].peer, liar.holder());
    assert!(quarantined[0].digest.is_some());
}

#[tokio::test]
async fn who_lies_often_is_trusted_in_nothing() {
    let blob = object(2000, 32);
    let liar = Fake::start(Fault::WrongBytes, &blob).await;
    let bed = Bed::start(vec![liar.peer()]).await;
    for seed in 33..38 {
        // Whatever it is asked for, its bytes are those of another object.
        assert_eq!(bed.pull(&object(2000, seed)).await.from_registry, 2000);
    }
    assert_eq!(liar.requests(), 3);
    assert!(bed.fetcher.quarantines().iter().any(|q| q.digest.is_none()));
}

/// However much may be verified in memory, a manifest has at most 4 MiB. The digest may be that of a layer,
/// whose holder is to blame for nothing.
#[tokio::test]
async fn what_is_too_long_for_a_manifest_is_not_read() {
    let layer = object(9 << 20, 40);
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    assert_eq!(bed.get(&manifest_path(&layer), "").await.status, 404);
    assert!(bed.known.kinds().is_empty(), "{:?}", bed.known.kinds());
}

#[tokio::test]
async fn a_large_lie_is_cut_short_where_verdicts_cannot_be_seen() {
    let layer = object(9 << 20, 39);
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let settings = FetchSettings {
        verify: Verify::Auto,
        ..settings()
    };
    let bed = Bed::with(vec![liar.peer()], settings).await;
    let reply = bed.get(&blob_path(&layer), "").await;
    assert_eq!((reply.status, reply.end), (200, End::Fin));
    assert!(reply.body.len() < layer.len());
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    assert_eq!(bed.get(&blob_path(&layer), "").await.status, 404);
}

#[tokio::test]
async fn hashed_layers_come_through_also_from_two_peers() {
    let layer = object(9 << 20, 40);
    let cut = Fake::start(Fault::Fin, &layer).await;
    let good = Fake::start(Fault::None, &layer).await;
    let settings = FetchSettings {
        verify: Verify::Always,
        ..settings()
    };
    let bed = Bed::with(vec![cut.peer(), good.peer()], settings).await;
    let reply = bed.get(&blob_path(&layer), "").await;
    assert!(reply.body == layer && reply.end == End::Complete);
}

#[tokio::test]
async fn after_a_wrong_verdict_the_retry_goes_elsewhere_and_is_hashed() {
    let layer = object(9 << 20, 41);
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let second = Fake::start(Fault::WrongBytes, &layer).await;
    let good = Fake::start(Fault::None, &layer).await;
    let settings = FetchSettings {
        verify: Verify::Auto,
        ..settings()
    };
    let bed = Bed::with(vec![liar.peer(), second.peer()], settings).await;
    bed.verdicts.watch();
    bed.verdicts.give(Verdict::Wrong);
    // Passed on unhashed; containerd finds out.
    let reply = bed.get(&blob_path(&layer), "").await;
    assert!(reply.end == End::Complete && reply.body != layer);
    bed.quarantines(1).await;
    // Elsewhere, and hashed, so that the second liar is caught before the first byte.
    let reply = bed.get(&blob_path(&layer), "").await;
    assert_eq!(reply.status, 404);
    assert_eq!((liar.requests(), second.requests()), (1, 1));
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes; 2]);
    bed.known.set(vec![liar.peer(), second.peer(), good.peer()]);
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
}

/// A bed in which large objects are passed on unhashed, and containerd is watched.
async fn watched(peers: Vec<Peer>) -> Bed {
    let settings = FetchSettings {
        verify: Verify::Auto,
        ..settings()
    };
    let bed = Bed::with(peers, settings).await;
    bed.verdicts.watch();
    bed
}

#[tokio::test]
async fn who_lies_and_then_breaks_off_is_found_out_all_the_same() {
    let layer = object(9 << 20, 42);
    let liar = Fake::start(Fault::WrongThenFin, &layer).await;
    let bed = watched(vec![liar.peer()]).await;
    // The registry gives the rest, and containerd finds that the whole is wrong.
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body != layer && pulled.from_registry > 0);
    assert_eq!(bed.known.kinds(), [FailureKind::Cut]);
    bed.verdicts.give(Verdict::Wrong);
    bed.quarantines(1).await;
    let kinds = [FailureKind::Cut, FailureKind::WrongBytes];
    assert_eq!(bed.known.kinds(), kinds);
    let retry = bed.pull(&layer).await;
    assert!(retry.body == layer);
    assert_eq!(liar.requests(), 1);
}

#[tokio::test]
async fn who_lies_about_layers_often_is_trusted_in_nothing() {
    let counted = Counted::begin();
    // Whatever it is asked for, its bytes are those of another layer.
    let liar = Fake::start(Fault::None, &object(5 << 20, 43)).await;
    let bed = watched(vec![liar.peer()]).await;
    bed.verdicts.give(Verdict::Wrong);
    // The third lie is one too many, and is counted for the peer besides.
    for (seed, quarantines) in [(44, 1), (45, 2), (46, 4)] {
        let reply = bed.get(&blob_path(&object(5 << 20, seed)), "").await;
        assert_eq!(reply.end, End::Complete);
        bed.quarantines(quarantines).await;
    }
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes; 3]);
    for (counter, count) in [
        (r#"piccolo_agent_quarantines_total{scope="object"}"#, 3),
        (r#"piccolo_agent_quarantines_total{scope="peer"}"#, 1),
        (
            r#"piccolo_agent_peer_failures_total{cause="wrong_bytes"}"#,
            3,
        ),
    ] {
        assert_eq!(counted.of(counter), count, "{counter}");
    }
    let reply = bed.get(&blob_path(&object(5 << 20, 47)), "").await;
    assert_eq!((reply.status, liar.requests()), (404, 3));
}

/// Reads a layer by several ranges at once, of which there is one verdict.
async fn in_parallel(bed: &Bed, layer: &[u8], part: usize) -> Vec<u8> {
    let starts = (0..layer.len()).step_by(part);
    let readers = starts.map(|start| async move {
        let last = (start + part).min(layer.len()) - 1;
        let range = format!("Range: bytes={start}-{last}\r\n");
        bed.get(&blob_path(layer), &range).await.body
    });
    futures_util::future::join_all(readers).await.concat()
}

#[tokio::test]
async fn who_lies_in_one_of_several_ranges_is_found_out() {
    let layer = object(16 << 20, 48);
    let liar = Fake::start(Fault::WrongBytes, &layer).await;
    let bed = watched(vec![liar.peer()]).await;
    assert!(in_parallel(&bed, &layer, 4 << 20).await != layer);
    assert!(bed.known.kinds().is_empty());
    // Whichever range ended last: one verdict is one lie.
    bed.verdicts.give(Verdict::Wrong);
    bed.quarantines(1).await;
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    let asked = liar.requests();
    assert!(bed.pull(&layer).await.body == layer);
    assert_eq!(liar.requests(), asked);
}

#[tokio::test]
async fn of_several_senders_nobody_knows_who_lied() {
    let layer = object(16 << 20, 49);
    let liar = Fake::start(Fault::WrongThenFin, &layer).await;
    let honest = Fake::start(Fault::None, &layer).await;
    let bed = watched(vec![liar.peer(), honest.peer()]).await;
    assert!(in_parallel(&bed, &layer, 4 << 20).await != layer);
    bed.verdicts.give(Verdict::Wrong);
    let quarantines = bed.quarantines(2).await;
    assert!(quarantines.iter().all(|q| q.digest.is_some()));
    assert!(!bed.known.kinds().contains(&FailureKind::WrongBytes));
    let asked = (liar.requests(), honest.requests());
    let retry = bed.pull(&layer).await;
    assert!(retry.body == layer && retry.from_registry == layer.len());
    assert_eq!((liar.requests(), honest.requests()), asked);
}

#[tokio::test]
async fn what_is_hashed_on_its_way_is_given_whole_or_not_at_all() {
    let layer = object(9 << 20, 50);
    let peer = Fake::start(Fault::None, &layer).await;
    let settings = FetchSettings {
        verify: Verify::Auto,
        ..settings()
    };
    let bed = Bed::with(vec![peer.peer()], settings).await;
    for range in ["bytes=5000000-", "bytes=7-8", "bytes=-9"] {
        let field = format!("Range: {range}\r\n");
        let reply = bed.get(&blob_path(&layer), &field).await;
        assert_eq!(reply.status, 404, "{range}");
    }
    assert_eq!(peer.sent(), 0);
    for range in ["", "Range: bytes=0-\r\n"] {
        let reply = bed.get(&blob_path(&layer), range).await;
        assert!(reply.status == 200 && reply.body == layer);
    }
}

/// Snapshotters that fetch layers piece by piece verify the pieces: no pull of containerd's is in progress.
#[tokio::test]
async fn who_checks_parts_itself_gets_them_where_that_is_allowed() {
    let layer = object(9 << 20, 51);
    let peer = Fake::start(Fault::None, &layer).await;
    let settings = FetchSettings {
        verify: Verify::Auto,
        lazy_ranges: LazyRanges::Give,
        ..settings()
    };
    let bed = Bed::with(vec![peer.peer()], settings).await;
    let size = layer.len();
    for (range, part) in [
        ("bytes=7-8", 7..9),
        ("bytes=4194000-6000000", 4_194_000..6_000_001),
        ("bytes=-9", size - 9..size),
        ("bytes=5000000-", 5_000_000..size),
    ] {
        let field = format!("Range: {range}\r\n");
        let reply = bed.get(&blob_path(&layer), &field).await;
        assert_eq!(reply.status, 206, "{range}");
        assert!(reply.body == layer[part], "{range}");
    }
    assert!(peer.sent() < 7 << 20, "{} bytes were drawn", peer.sent());
}
