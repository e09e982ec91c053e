//! Manifests and other little objects come through crowds, too: under the name under which they are fetched,
//! and without a long wait.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use piccolo_api::Verdict;

use crate::{
    bed::{blob_path, digest, object},
    client::{Reply, request},
    crowd::{Node, permit, take},
};

/// A manifest that no other test has.
fn manifest(number: u32) -> Vec<u8> {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let config = "sha256:".to_owned() + &"0".repeat(64);
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{media_type}\",\"config\":{{\"mediaType\":\
         \"application/vnd.oci.image.config.v1+json\",\"digest\":\"{config}\",\"size\":2}},\
         \"layers\":[],\"annotations\":{{\"n\":\"{number}\"}}}}"
    )
    .into_bytes()
}

async fn ask(server: SocketAddr, name: &str, kind: &str, manifest: &[u8]) -> Reply {
    let (registry, repository) = name.split_once('/').unwrap();
    let digest = digest(manifest);
    let path = format!("/v2/{repository}/{kind}/{digest}?ns={registry}");
    request(server, "GET", &path, "").await
}

const NAME: &str = "registry.test/lib/app";

#[tokio::test]
async fn a_manifest_goes_on_to_the_next_node_once_it_is_whole() {
    let manifest = manifest(1);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&manifest);
    let reply = ask(first.mirror, NAME, "manifests", &manifest).await;
    assert_eq!(reply.status, 404, "its containerd asks the registry");
    let second = Node::start(vec![take(&first)]).await;
    let _ingest = second.begin(&manifest);
    let coming = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ingest.write(&manifest[..9]);
        tokio::time::sleep(Duration::from_millis(100)).await;
        ingest.write(&manifest[9..]);
    };
    let asked = ask(second.mirror, NAME, "manifests", &manifest);
    let (reply, ()) = tokio::join!(asked, coming);
    assert_eq!((reply.status, &reply.body), (200, &manifest));
    let media_type = reply.field("content-type");
    assert_eq!(
        media_type,
        Some("application/vnd.oci.image.manifest.v1+json")
    );
    assert_eq!(second.script.0.lock().joins.len(), 1);
}

#[tokio::test]
async fn under_another_name_a_manifest_is_not_given_out() {
    let manifest = manifest(2);
    let first = Node::start(vec![permit()]).await;
    let ingest = first.begin(&manifest);
    ask(first.mirror, NAME, "manifests", &manifest).await;
    ingest.write(&manifest);
    for (name, kind, status) in [
        (NAME, "manifests", 200),
        (NAME, "blobs", 200),
        ("registry.test/lib/other", "manifests", 404),
        ("registry.test/lib/other", "blobs", 404),
        ("other.test/lib/app", "manifests", 404),
    ] {
        let reply = ask(first.peer, name, kind, &manifest).await;
        assert_eq!(reply.status, status, "{kind} of {name}");
    }
    // Who asks under that name has the registry decide at once, and blames nobody.
    let other = Node::start(vec![take(&first), permit()]).await;
    let _ingest = other.begin(&manifest);
    let reply = ask(
        other.mirror,
        "registry.test/lib/other",
        "manifests",
        &manifest,
    )
    .await;
    assert_eq!(reply.status, 404);
    assert_eq!(other.script.0.lock().joins.len(), 1);
    // A blob that grows is no manifest.
    let layer = object(1 << 20, 95);
    let node = Node::start(vec![permit()]).await;
    let growing = node.begin(&layer);
    node.ask(&layer, "").await;
    growing.write(&layer);
    assert_eq!(ask(node.peer, NAME, "manifests", &layer).await.status, 404);
    assert_eq!(
        request(node.peer, "GET", &blob_path(&layer), "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn little_objects_are_waited_for_briefly_and_not_one_after_the_other() {
    let wait = Verdict::Wait { wait_ms: 100 };
    let node = Node::start(vec![wait; 1000]).await;
    let mut took = Vec::new();
    for number in 3..6 {
        let manifest = manifest(number);
        let _ingest = node.begin(&manifest);
        let since = Instant::now();
        let reply = ask(node.mirror, NAME, "manifests", &manifest).await;
        assert_eq!(reply.status, 404);
        took.push(since.elapsed().as_secs_f64());
    }
    assert!((1.5..4.0).contains(&took[0]), "{took:?}");
    assert!(took[1..].iter().all(|took| *took < 0.5), "{took:?}");
}
