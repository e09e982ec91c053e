//! A node that takes a blob much more slowly than its source gets it says so, and feeds nobody.

use std::time::Duration;

use piccolo_api::Standing;

use crate::{
    bed::{blob_path, object},
    client::request,
    crowd::{Node, take_from},
    feeder::{Faults, Feeder},
};

const MIB: usize = 1 << 20;

/// containerd writes no byte before it is answered.
async fn is_asked(source: &Feeder) {
    while source.asked().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_node_far_behind_its_source_says_so_and_feeds_nobody() {
    let layer = object(40 << 20, 91);
    let source = Feeder::start(
        &layer,
        Faults {
            gets: Some(8 * MIB),
            pause: Duration::from_millis(400),
            ..Faults::default()
        },
    )
    .await;
    let node = Node::start(vec![take_from(source.addr)]).await;
    node.script.0.lock().standing = Some(Standing::Noted);
    let growing = node.begin(&layer);
    let watching = async {
        is_asked(&source).await;
        growing.write(&layer[..MIB]);
        let told = node.told(|progress| progress.slow).await;
        assert!(!told.permit && told.end.is_none(), "{told:?}");
        let fed = async {
            while request(node.peer, "GET", &blob_path(&layer), "")
                .await
                .status
                != 404
            {}
        };
        let fed = tokio::time::timeout(Duration::from_secs(5), fed).await;
        fed.expect("peers are still fed");
    };
    // Its own pull goes on meanwhile.
    tokio::select! {
        reply = node.ask(&layer, "") => panic!("the pull has ended: {}", reply.head),
        () = watching => {}
    }
}

#[tokio::test]
async fn a_node_as_quick_as_its_source_is_not_slow() {
    let layer = object(40 << 20, 92);
    let source = Feeder::start(
        &layer,
        Faults {
            gets: Some(4 * MIB),
            pause: Duration::from_millis(250),
            ..Faults::default()
        },
    )
    .await;
    let node = Node::start(vec![take_from(source.addr)]).await;
    let growing = node.begin(&layer);
    let writing = async {
        is_asked(&source).await;
        for part in layer[..24 * MIB].chunks(MIB) {
            growing.write(part);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::select! {
        reply = node.ask(&layer, "") => panic!("the pull has ended: {}", reply.head),
        () = writing => {}
    }
    let said = node.script.0.lock();
    assert!(
        said.progress.iter().all(|progress| !progress.slow),
        "{:?}",
        said.progress
    );
}
