//! Peers that lie.

use std::{sync::atomic::Ordering, time::Duration};

use pi_agent::fetch::{FetchSettings, Verify};
use piccolo_api::FailureKind;

use crate::{
    bed::{Bed, blob_path, object, settings},
    client::End,
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
    bed.verdicts.watching.store(true, Ordering::SeqCst);
    bed.verdicts.wrong.store(true, Ordering::SeqCst);
    // Passed on unhashed; containerd finds out.
    let reply = bed.get(&blob_path(&layer), "").await;
    assert!(reply.end == End::Complete && reply.body != layer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Elsewhere, and hashed, so that the second liar is caught before the end.
    let reply = bed.get(&blob_path(&layer), "").await;
    assert_eq!(reply.end, End::Fin);
    assert_eq!((liar.requests(), second.requests()), (1, 1));
    assert_eq!(bed.known.kinds(), [FailureKind::WrongBytes]);
    bed.known.set(vec![liar.peer(), second.peer(), good.peer()]);
    bed.verdicts.wrong.store(false, Ordering::SeqCst);
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
}
