//! Private repositories: their manifests are the registry's to give, and their layers go to those that name
//! them.

use std::time::{Duration, Instant};

use pi_agent::policy::Policy;

use crate::{
    bed::{Bed, blob_path, manifest_path, object, settings},
    client::request,
    counted::Counted,
    crowd::{Node, permit, take},
    fake::{Fake, Fault},
};

const IMAGE: &[u8] = br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// `lib` is private, at the registry of the tests and in each way to write it.
fn policy() -> Policy {
    Policy::default().with_private(vec!["REGISTRY.test:05000/lib/*".parse().unwrap()])
}

async fn node(turns: Vec<piccolo_api::Verdict>) -> Node {
    Node::with_policy(turns, settings(), policy()).await
}

/// The path of another repository, under the same digest.
fn elsewhere(path: &str) -> String {
    path.replace("/v2/lib/a/", "/v2/public/a/")
}

#[tokio::test]
async fn manifests_are_left_to_the_registry_and_no_peer_is_asked() {
    let counted = Counted::begin();
    let peer = Fake::start(Fault::None, IMAGE).await;
    let bed = Bed::private(vec![peer.peer()], policy()).await;
    // Also where this node has it itself.
    for _ in 0..2 {
        let tag = "/v2/lib/a/manifests/v1?ns=registry.test%3A5000";
        for path in [&manifest_path(IMAGE), tag] {
            for method in ["GET", "HEAD"] {
                let reply = request(bed.mirror, method, path, "").await;
                assert_eq!(reply.status, 404, "{method} {path}");
            }
        }
        bed.store.put(IMAGE);
    }
    // The registry decides as well where nobody says which one it is.
    let nameless = manifest_path(IMAGE).replace("?ns=registry.test%3A5000", "");
    assert_eq!(bed.get(&nameless, "").await.status, 404);
    // As containerd asks on when it is told that there is no such manifest.
    assert_eq!(bed.get(&blob_path(IMAGE), "").await.status, 404);
    let left = "piccolo_agent_mirror_requests_total{kind=\"manifest\",outcome=\"private\"}";
    assert_eq!(counted.of(left), 9);
    assert_eq!(
        bed.get(&elsewhere(&manifest_path(IMAGE)), "").await.status,
        200
    );

    // Older agents give it to whom asks for a blob.
    let asked = Bed::private(vec![peer.peer()], policy()).await;
    assert_eq!(peer.requests(), 0, "for what this node had");
    let requested = asked.get(&blob_path(IMAGE), "").await;
    assert_eq!(requested.status, 404);
    let requested = request(asked.mirror, "HEAD", &blob_path(IMAGE), "").await;
    assert_eq!(requested.status, 404);
    assert_eq!(
        asked
            .get(&elsewhere(&manifest_path(IMAGE)), "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn layers_come_from_peers() {
    for size in [900, 5 << 20] {
        let layer = object(size, 141);
        let peer = Fake::start(Fault::None, &layer).await;
        let bed = Bed::private(vec![peer.peer()], policy()).await;
        let reply = bed.get(&blob_path(&layer), "").await;
        assert!(reply.status == 200 && reply.body == layer, "{size}");
    }
}

#[tokio::test]
async fn a_layer_that_grows_goes_to_who_names_the_repository_that_has_it() {
    let layer = object(3 << 20, 142);
    let first = node(vec![permit()]).await;
    let ingest = first.begin(&layer);
    first.ask(&layer, "").await;
    ingest.write(&layer);
    let path = blob_path(&layer);
    let other_registry = path.replace("registry.test", "evil.test");
    let nameless = path.replace("?ns=registry.test%3A5000", "");
    let refused = [elsewhere(&path), other_registry, nameless];
    let ask = async |is_there: bool| {
        for method in ["GET", "HEAD"] {
            for path in &refused {
                let reply = request(first.peer, method, path, "").await;
                assert_eq!(reply.status, 404, "{method} {path}");
            }
            let reply = request(first.peer, method, &path, "").await;
            assert_eq!(reply.status, if is_there { 200 } else { 404 });
        }
    };
    ask(true).await;
    let second = node(vec![take(&first)]).await;
    let _ingest = second.begin(&layer);
    assert!(second.ask(&layer, "").await.body == layer, "from the crowd");
    // Until containerd has recorded where it came from.
    ingest.commit();
    tokio::time::sleep(Duration::from_millis(50)).await;
    ask(true).await;
    // A node that has it and knows no more of it.
    drop(first);
}

#[tokio::test]
async fn public_layers_are_the_same_everywhere_and_a_manifest_is_never_one() {
    let layer = object(3 << 20, 143);
    let first = node(vec![permit(), permit()]).await;
    let ingest = first.begin(&layer);
    let public = elsewhere(&blob_path(&layer));
    request(first.mirror, "GET", &public, "").await;
    ingest.write(&layer);
    for path in [
        &public,
        &blob_path(&layer),
        &public.replace("public", "other"),
    ] {
        let reply = request(first.peer, "GET", path, "").await;
        assert!(reply.status == 200 && reply.body == layer, "{path}");
    }

    // One that is asked for as a blob, as long as a manifest may be: while it is not whole, and then.
    let spaces = vec![b' '; 1 << 20];
    let image = [b" ", &IMAGE[..IMAGE.len() - 1], &spaces, b"}"].concat();
    let ingest = first.begin(&image);
    first.ask(&image, "").await;
    for part in image.chunks(image.len() / 2 + 1) {
        ingest.write(part);
        for path in [blob_path(&image), elsewhere(&blob_path(&image))] {
            let reply = request(first.peer, "GET", &path, "").await;
            assert_eq!(reply.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn of_what_nobody_knows_where_it_came_from_nothing_is_given() {
    let layer = object(3 << 20, 144);
    let first = node(Vec::new()).await;
    let open = Node::start(Vec::new()).await;
    for node in [&first, &open] {
        let ingest = node.begin(&layer);
        ingest.write(&layer);
        ingest.commit();
    }
    for path in [blob_path(&layer), elsewhere(&blob_path(&layer))] {
        assert_eq!(request(first.peer, "GET", &path, "").await.status, 404);
        assert_eq!(request(open.peer, "GET", &path, "").await.status, 200);
    }
}

/// A config begins as a manifest does, and is none.
#[tokio::test]
async fn a_config_comes_from_the_crowd_and_a_manifest_that_is_asked_for_as_one_does_not() {
    let padding = " ".repeat(20_000);
    let config =
        format!("{{\"architecture\":\"amd64\",{padding}\"os\":\"linux\",\"rootfs\":{{}}}}");
    let image = format!(
        "{{\"schemaVersion\":2,{padding}{}",
        std::str::from_utf8(&IMAGE[1..]).unwrap()
    );
    for (bytes, status) in [(config.as_bytes(), 200), (image.as_bytes(), 404)] {
        let first = node(vec![permit()]).await;
        let ingest = first.begin(bytes);
        assert_eq!(first.ask(bytes, "").await.status, 404);
        let second = node(vec![take(&first); 50]).await;
        let _ingest = second.begin(bytes);
        let coming = async {
            ingest.write(&bytes[..9]);
            tokio::time::sleep(Duration::from_millis(200)).await;
            ingest.write(&bytes[9..]);
        };
        let begin = Instant::now();
        let (reply, ()) = tokio::join!(second.ask(bytes, ""), coming);
        assert_eq!(reply.status, status);
        assert!(status == 404 || reply.body == bytes);
        // Who is refused asks the registry at once, and no other of the crowd.
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(second.script.0.lock().joins.len(), 1);
        // And the next little object is waited for as this one was.
        let next = object(900, 145);
        let ingest = first.begin(&next);
        first.script.0.lock().turns.push_back(permit());
        first.ask(&next, "").await;
        ingest.write(&next);
        let _ingest = second.begin(&next);
        assert!(second.ask(&next, "").await.body == next, "from the crowd");
    }
}
