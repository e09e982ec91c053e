//! Objects that are asked for as what they are not.

use daemon::scope::Scope;
use pi_agent::peer::PeerSettings;
use piccolo_api::{Holder, Peer, PeerState};

use crate::{
    bed::{Bed, agent, blob_path, manifest_path, object},
    client::request,
    fake::{Fake, Fault},
};

/// The only holder of a layer is asked for it as a manifest, and is its holder still.
#[tokio::test]
async fn a_layer_that_was_asked_for_as_a_manifest_is_there_still() {
    let layer = object(9 << 20, 121);
    let (scope, _deaths) = Scope::new();
    let (_store, addr, _) = agent(&[&layer], PeerSettings::default(), &scope).await;
    let peer = Peer {
        addr: Holder::new(addr).unwrap(),
        rack: "r".to_owned(),
        state: PeerState::Complete,
        score: 1.0,
    };
    // An older agent, or a stranger, may send it all the same.
    let fake = Fake::start(Fault::None, &layer).await;
    for peer in [peer, fake.peer()] {
        let bed = Bed::start(vec![peer]).await;
        let reply = bed.get(&manifest_path(&layer), "").await;
        assert_eq!(reply.status, 404);
        let reply = request(bed.mirror, "HEAD", &blob_path(&layer), "").await;
        assert_eq!(reply.status, 200);
        assert!(bed.pull(&layer).await.from_registry == 0);
        assert!(bed.known.kinds().is_empty(), "{:?}", bed.known.kinds());
    }
}

/// A manifest that only a peer has is one in the head of a blob, too, as it is with its body.
#[tokio::test]
async fn a_head_says_what_the_body_is() {
    let image = br#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let (small, large) = (object(900, 123), object(5 << 20, 124));
    let octets = "application/octet-stream";
    for (blob, media_type) in [
        (&image[..], "application/vnd.oci.image.index.v1+json"),
        (&small, octets),
        (&large, octets),
    ] {
        let fake = Fake::start(Fault::None, blob).await;
        let bed = Bed::start(vec![fake.peer()]).await;
        let size = blob.len().to_string();
        for method in ["HEAD", "GET", "HEAD"] {
            let reply = request(bed.mirror, method, &blob_path(blob), "").await;
            assert_eq!(reply.field("Content-Type"), Some(media_type), "{method}");
            assert_eq!(reply.field("Content-Length"), Some(&*size), "{method}");
        }
    }
}
