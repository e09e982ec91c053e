//! For how long a source in a crowd is waited for.

use std::time::{Duration, Instant};

use pi_agent::fetch::FetchSettings;
use piccolo_api::{Fault, Holder, Tried};

use crate::{
    bed::{object, settings},
    client,
    crowd::{Node, take_from},
    fake::{self, Fake},
    feeder::{Faults, Feeder},
};

const MIB: usize = 1 << 20;

fn tried(node: &Node, join: usize) -> Vec<Tried> {
    node.script.0.lock().joins[join].tried.clone()
}

#[tokio::test]
async fn a_source_without_a_first_byte_is_given_up_after_the_wait() {
    let layer = object(6 * MIB, 91);
    let mute = Faults {
        mute: true,
        ..Faults::default()
    };
    let mute = Feeder::start(&layer, mute).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let wait = Duration::from_millis(600);
    let settings = FetchSettings {
        swarm_wait: wait,
        ..settings()
    };
    let turns = vec![take_from(mute.addr), take_from(good.addr)];
    let node = Node::with_settings(turns, settings).await;
    let _ingest = node.begin(&layer);
    let begin = Instant::now();
    let reply = node.ask(&layer, "").await;
    let took = begin.elapsed();
    assert_eq!((reply.status, reply.end), (200, client::End::Complete));
    assert!(reply.body == layer, "other bytes");
    assert!(took >= wait && took < wait * 3, "{took:?}");
    let source = Holder::new(mute.addr).unwrap();
    // It lives, so that nobody takes it for dead, nor its permit away.
    let fault = Fault::Empty;
    assert_eq!(tried(&node, 1), [Tried { source, fault }]);
}

#[tokio::test]
async fn a_source_that_says_nothing_at_all_is_silent() {
    let layer = object(6 * MIB, 92);
    let dead = Fake::start(fake::Fault::Silent, &layer).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let turns = vec![take_from(dead.addr), take_from(good.addr)];
    let node = Node::with_settings(turns, settings()).await;
    let _ingest = node.begin(&layer);
    let begin = Instant::now();
    assert!(node.ask(&layer, "").await.body == layer);
    assert!(begin.elapsed() < Duration::from_secs(3));
    let (source, fault) = (dead.holder(), Fault::Silent);
    assert_eq!(tried(&node, 1), [Tried { source, fault }]);
}

/// A source must send what it says it has: each probe would find it alive for ever.
#[tokio::test]
async fn a_source_that_only_says_that_it_gets_more_is_given_up() {
    let layer = object(6 * MIB, 94);
    let boasting = Faults {
        boasts: Some((2 * MIB, Instant::now())),
        ..Faults::default()
    };
    let boasting = Feeder::start(&layer, boasting).await;
    let good = Feeder::start(&layer, Faults::default()).await;
    let turns = vec![take_from(boasting.addr), take_from(good.addr)];
    let node = Node::with_settings(turns, settings()).await;
    let _ingest = node.begin(&layer);
    let begin = Instant::now();
    assert!(node.ask(&layer, "").await.body == layer);
    assert!(begin.elapsed() < Duration::from_secs(50));
    assert!(!good.asked().is_empty());
}

/// The registry is not the way out of a moment without room: the server's budget decides when it is.
#[tokio::test]
async fn a_source_that_is_busy_for_ever_is_asked_again_until_the_budget_decides() {
    let layer = object(6 * MIB, 93);
    let busy = Faults {
        busy: true,
        ..Faults::default()
    };
    let busy = Feeder::start(&layer, busy).await;
    let bound = Duration::from_secs(1);
    let settings = FetchSettings {
        swarm_busy: bound,
        ..settings()
    };
    let node = Node::with_settings(vec![take_from(busy.addr); 500], settings).await;
    let _ingest = node.begin(&layer);
    let begin = Instant::now();
    assert_eq!(node.ask(&layer, "").await.status, 404);
    let took = begin.elapsed();
    assert!(
        took > bound && took < bound + Duration::from_secs(3),
        "{took:?}"
    );
    let joins = node.script.0.lock().joins.clone();
    assert!((4..30).contains(&joins.len()), "{} joins", joins.len());
    // The server hears for how long it has been without a byte, by which its budget goes.
    let last = joins.last().map(|fetch| fetch.waited_ms);
    assert!(last.is_some_and(|waited| waited >= 1000), "{last:?}");
    let source = Holder::new(busy.addr).unwrap();
    let fault = Fault::Busy;
    assert!(
        joins[1..]
            .iter()
            .all(|fetch| fetch.tried == [Tried { source, fault }])
    );
}
