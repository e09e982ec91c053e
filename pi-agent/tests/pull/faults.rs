//! Every fault of a peer, with a second holder at hand and without.

use std::time::Duration;

use pi_agent::{datapath::RateFloor, fetch::FetchSettings};
use piccolo_api::FailureKind;

use crate::{
    bed::{Bed, digest, object, settings},
    counted::Counted,
    fake::{Fake, Fault},
};

const LARGE: usize = 12 << 20;

/// Pulls a layer from a faulty peer, with a good one behind it and then without, and gives what
/// discovery was told.
async fn check(fault: Fault) -> Vec<FailureKind> {
    let layer = object(LARGE, 1);
    let faulty = Fake::start(fault, &layer).await;
    let good = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![faulty.peer(), good.peer()]).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer, "{fault:?}: another layer");
    assert_eq!(
        pulled.from_registry, 0,
        "{fault:?}: the second holder was not used"
    );
    assert!(
        pulled.took < Duration::from_secs(3),
        "{fault:?}: {:?}",
        pulled.took
    );

    let faulty = Fake::start(fault, &layer).await;
    let bed = Bed::start(vec![faulty.peer()]).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer, "{fault:?}: another layer");
    assert!(
        pulled.took < Duration::from_secs(3),
        "{fault:?} alone: {:?}",
        pulled.took
    );
    bed.known.kinds()
}

#[tokio::test]
async fn a_killed_peer() {
    assert!(check(Fault::Killed).await.contains(&FailureKind::Cut));
}

#[tokio::test]
async fn a_stalled_peer() {
    assert!(check(Fault::Stalled).await.contains(&FailureKind::Stalled));
}

#[tokio::test]
async fn a_trickling_peer() {
    assert!(check(Fault::Trickle).await.contains(&FailureKind::Stalled));
}

#[tokio::test]
async fn a_peer_that_ends_early() {
    assert!(check(Fault::Fin).await.contains(&FailureKind::Cut));
}

#[tokio::test]
async fn a_peer_that_resets() {
    assert!(check(Fault::Rst).await.contains(&FailureKind::Cut));
}

#[tokio::test]
async fn a_peer_with_another_range() {
    assert!(
        check(Fault::WrongRange)
            .await
            .contains(&FailureKind::Protocol)
    );
}

#[tokio::test]
async fn a_peer_that_fails() {
    assert!(
        check(Fault::Status(500))
            .await
            .contains(&FailureKind::Protocol)
    );
}

#[tokio::test]
async fn a_peer_that_has_no_time() {
    assert!(check(Fault::Status(429)).await.contains(&FailureKind::Busy));
}

#[tokio::test]
async fn a_peer_with_endless_headers() {
    assert!(
        check(Fault::EndlessHeaders)
            .await
            .contains(&FailureKind::Protocol)
    );
}

#[tokio::test]
async fn a_peer_that_closes_at_once() {
    assert!(check(Fault::ClosesAtOnce).await.contains(&FailureKind::Cut));
}

#[tokio::test]
async fn a_peer_that_says_nothing() {
    assert!(check(Fault::Silent).await.contains(&FailureKind::Stalled));
}

#[tokio::test]
async fn a_peer_that_is_away() {
    let layer = object(LARGE, 2);
    let away = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Fake::start(Fault::None, &layer).await.peer();
    peer.addr = piccolo_api::Holder::new(away.local_addr().unwrap()).unwrap();
    drop(away);
    let bed = Bed::start(vec![peer]).await;
    let pulled = bed.pull(&layer).await;
    assert_eq!(pulled.from_registry, layer.len());
    assert!(
        pulled.took < Duration::from_millis(500),
        "{:?}",
        pulled.took
    );
    assert_eq!(bed.known.kinds(), [FailureKind::Refused]);
}

#[tokio::test]
async fn a_peer_with_another_length() {
    // The size is known from the manifest, as it is for every layer of an image that was asked
    // for under its manifest before, be that a peer's or this node's own.
    for (fault, own) in [
        (Fault::TooLong, false),
        (Fault::TooShort, false),
        (Fault::TooLong, true),
    ] {
        let layer = object(LARGE, 3);
        let manifest = crate::serving::manifest(&[&layer]);
        let faulty = Fake::start(fault, &layer).await;
        let good = Fake::start(Fault::None, &layer).await;
        let names = Fake::start(Fault::None, &manifest).await;
        let bed = Bed::start(vec![names.peer()]).await;
        if own {
            bed.store.put(&manifest);
        }
        for _ in 0..2 {
            let reply = bed.get(&crate::bed::manifest_path(&manifest), "").await;
            assert_eq!(reply.status, 200);
        }
        assert_eq!(names.requests(), usize::from(!own));
        if own {
            let prefetched = bed.known.prefetched.lock().clone();
            assert_eq!(prefetched, [digest(&layer)], "once, not each time");
        }
        bed.known.set(vec![faulty.peer(), good.peer()]);
        let pulled = bed.pull(&layer).await;
        assert!(pulled.body == layer);
        assert_eq!(pulled.from_registry, 0, "{fault:?}");
        assert_eq!(bed.known.kinds(), [FailureKind::Protocol], "{fault:?}");
    }
}

#[tokio::test]
async fn a_small_object_does_not_wait_for_a_slow_peer() {
    let blob = object(2 << 20, 9);
    // 1.6 MB/s at most: above the floor, and below four times the floor.
    let slow = Fake::paced(Fault::None, &blob, Duration::from_millis(40)).await;
    let good = Fake::start(Fault::None, &blob).await;
    let settings = FetchSettings {
        small: Duration::from_millis(100),
        floor: RateFloor {
            bytes: 400 << 10,
            window: Duration::from_millis(400),
        },
        ..settings()
    };
    let bed = Bed::with(vec![slow.peer(), good.peer()], settings).await;
    let pulled = bed.pull(&blob).await;
    assert!(pulled.body == blob && pulled.from_registry == 0);
    assert_eq!(bed.known.kinds(), [FailureKind::Stalled]);
}

#[tokio::test]
async fn only_what_another_peer_goes_on_with_is_resumed() {
    let counted = Counted::begin();
    let layer = object(LARGE, 10);
    let resumed = "piccolo_agent_resumed_transfers_total";
    for (others, count) in [(0, 0), (1, 1)] {
        let cut = Fake::start(Fault::Fin, &layer).await;
        let good = Fake::start(Fault::None, &layer).await;
        let mut peers = vec![cut.peer(), good.peer()];
        peers.truncate(1 + others);
        let bed = Bed::start(peers).await;
        assert!(bed.pull(&layer).await.body == layer);
        assert_eq!(counted.of(resumed), count);
    }
}

#[tokio::test]
async fn a_hedge_is_counted_once_however_the_first_peer_ends() {
    let layer = object(LARGE, 16);
    let slow = Duration::from_millis(300);
    for (first, second, outcome) in [
        (Fault::Slow(slow), Fault::None, "won"),
        (Fault::SlowlyCloses(slow), Fault::Slow(slow), "won"),
        (Fault::Slow(slow), Fault::Slow(2 * slow), "lost"),
        (Fault::Slow(slow), Fault::Status(404), "lost"),
    ] {
        let counted = Counted::begin();
        let [one, other] = [
            Fake::start(first, &layer).await,
            Fake::start(second, &layer).await,
        ];
        let bed = Bed::start(vec![one.peer(), other.peer()]).await;
        assert!(bed.pull(&layer).await.body == layer);
        for word in ["won", "lost"] {
            let counter = format!("piccolo_agent_hedges_total{{outcome=\"{word}\"}}");
            let count = u64::from(word == outcome);
            assert_eq!(counted.of(&counter), count, "{first:?}, {second:?}: {word}");
        }
    }
}

#[tokio::test]
async fn a_peer_in_the_way_is_left_alone_for_a_while() {
    let layers = [object(LARGE, 4), object(LARGE, 5)];
    let silent = Fake::start(Fault::Silent, &layers[0]).await;
    let bed = Bed::start(vec![silent.peer()]).await;
    assert_eq!(bed.pull(&layers[0]).await.from_registry, LARGE);
    let pulled = bed.pull(&layers[1]).await;
    assert_eq!(pulled.from_registry, LARGE);
    assert!(
        pulled.took < Duration::from_millis(500),
        "{:?}",
        pulled.took
    );
    assert_eq!(silent.requests(), 1);
}

#[tokio::test]
async fn a_slow_peer_is_overtaken() {
    let layer = object(LARGE, 6);
    let slow = Fake::start(Fault::Slow(Duration::from_millis(500)), &layer).await;
    let quick = Fake::start(Fault::None, &layer).await;
    let third = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![slow.peer(), quick.peer(), third.peer()]).await;
    let pulled = bed.pull(&layer).await;
    assert!(pulled.body == layer && pulled.from_registry == 0);
    assert!(
        pulled.took < Duration::from_millis(450),
        "{:?}",
        pulled.took
    );
    assert_eq!((quick.requests(), third.requests()), (1, 0));
    assert!(bed.known.kinds().is_empty(), "being slow is no failure");
}

/// A slow link is no trickle: a peer above the floor is kept, and one below it is replaced at the
/// same byte.
#[tokio::test]
async fn a_slow_peer_is_kept_above_the_floor_only() {
    let layer = object(6 << 20, 8);
    // 64 KiB each time: 3.2 MB/s at most, and a third of it.
    let pauses = [Duration::from_millis(20), Duration::from_millis(60)];
    for (pause, kept) in pauses.into_iter().zip([true, false]) {
        let slow = Fake::paced(Fault::None, &layer, pause).await;
        let settings = FetchSettings {
            floor: RateFloor {
                bytes: 640 << 10,
                window: Duration::from_millis(400),
            },
            ..settings()
        };
        let bed = Bed::with(vec![slow.peer()], settings).await;
        let pulled = bed.pull(&layer).await;
        assert!(pulled.body == layer);
        assert_eq!(
            pulled.from_registry == 0,
            kept,
            "{pause:?}: {:?}",
            pulled.took
        );
        assert!(pulled.from_registry < layer.len(), "{pause:?}");
        let stalled = bed.known.kinds().contains(&FailureKind::Stalled);
        assert_eq!(stalled, !kept, "{pause:?}");
    }
}

#[test]
fn a_floor_is_given_in_bytes_per_second() {
    for (rate, bytes) in [(0, 1), (1000, 2000), (u64::MAX, u64::MAX)] {
        let floor = FetchSettings::floor(rate);
        assert_eq!((floor.bytes, floor.window.as_secs()), (bytes, 2), "{rate}");
    }
}

#[tokio::test]
async fn this_node_never_asks_itself() {
    let layer = object(LARGE, 7);
    let own = Fake::start(Fault::None, &layer).await;
    let settings = FetchSettings {
        here: own.holder().into(),
        ..settings()
    };
    let bed = Bed::with(vec![own.peer()], settings).await;
    assert_eq!(bed.pull(&layer).await.from_registry, LARGE);
    assert_eq!(own.requests(), 0);
}
