//! Several requests for one object.

use std::time::Duration;

use crate::{
    bed::{Bed, blob_path, object},
    client::{receive, send},
    fake::{Fake, Fault},
};

#[tokio::test]
async fn small_objects_are_fetched_once() {
    let blob = object(300_000, 21);
    let slow = Fake::start(Fault::Slow(Duration::from_millis(80)), &blob).await;
    let bed = Bed::start(vec![slow.peer()]).await;
    let path = blob_path(&blob);
    let pulls = (0..20).map(|_| bed.get(&path, ""));
    for reply in futures_util::future::join_all(pulls).await {
        assert!(reply.status == 200 && reply.body == blob);
    }
    assert_eq!(slow.requests(), 1);
}

#[tokio::test]
async fn a_second_pull_of_a_layer_waits_for_what_the_first_one_stores() {
    let layer = object(8 << 20, 22);
    let pause = Duration::from_millis(2);
    let peer = Fake::paced(Fault::None, &layer, pause).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    let path = blob_path(&layer);
    let mut first = tokio::net::TcpStream::connect(bed.mirror).await.unwrap();
    send(&mut first, "GET", &path, "").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let joined = async {
        let begin = std::time::Instant::now();
        (bed.get(&path, "").await, begin.elapsed())
    };
    let leading = async {
        let reply = receive(&mut first, "GET").await;
        // containerd hashes and renames after the last byte.
        tokio::time::sleep(Duration::from_millis(30)).await;
        bed.store.put(&reply.body);
        reply
    };
    let ((second, _), first) = tokio::join!(joined, leading);
    assert!(first.body == layer && second.body == layer);
    assert_eq!(peer.requests(), 1, "the layer was fetched twice");
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up() {
    let layer = object(24 << 20, 23);
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    let path = blob_path(&layer);
    let mut idle = tokio::net::TcpStream::connect(bed.mirror).await.unwrap();
    send(&mut idle, "GET", &path, "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = std::time::Instant::now();
    let reply = bed.get(&path, "").await;
    assert!(reply.body == layer);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    drop(idle);
}
