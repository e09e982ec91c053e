//! The pull part of the OCI distribution specification (1.1), as the mirror answers it: whether an
//! object is this node's own or a peer's makes no difference to containerd.

use std::{net::SocketAddr, time::Duration};

use daemon::client::JsonClient;
use pi_agent::{
    discovery::Discovery,
    hosts::after::HostFiles,
    mirror::{Mirror, MirrorSettings},
    peer::PeerSettings,
    policy::Policy,
    reach::Reach,
    tags::{Settings, Tags},
};
use piccolo_api::{Holder, Peer, PeerState};
use sha2::{Digest as _, Sha512};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    bed::{Bed, agent, blob_path, digest, manifest_path, object},
    client::{End, Reply, receive, request, send},
    serving::manifest,
};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// A bed with an image, and what belongs to it.
struct Case {
    name: &'static str,
    bed: Bed,
    layer: Vec<u8>,
    config: Vec<u8>,
    image: Vec<u8>,
}

/// Runs a check on a node's own content and on a peer's.
async fn check<F: AsyncFn(&Case)>(conforms: F) {
    let layer = object(5 << 20, 81);
    let config = object(900, 82);
    let image = manifest(&[&config, &layer]);
    let objects = [&layer[..], &config, &image];
    let own = Bed::start(Vec::new()).await;
    for object in objects {
        own.store.put(object);
    }
    let other = Bed::start(Vec::new()).await;
    let (_store, addr, _) = agent(&objects, PeerSettings::default(), &other.scope).await;
    other.known.set(vec![Peer {
        addr: Holder::new(addr).unwrap(),
        rack: "r".to_owned(),
        state: PeerState::Complete,
        score: 1.0,
    }]);
    for (name, bed) in [("own", own), ("peer", other)] {
        let (layer, config, image) = (layer.clone(), config.clone(), image.clone());
        conforms(&Case {
            name,
            bed,
            layer,
            config,
            image,
        })
        .await;
    }
}

/// An error is told in JSON as the specification has it.
fn is_error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{}", reply.head);
    assert_eq!(reply.field("Content-Type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["errors"][0]["code"], code);
    assert!(body["errors"][0]["message"].is_string());
}

#[tokio::test]
async fn end_1_says_that_this_is_a_registry() {
    check(async |case| {
        for path in ["/v2/", "/v2"] {
            for method in ["GET", "HEAD"] {
                let reply = request(case.bed.mirror, method, path, "").await;
                assert_eq!(reply.status, 200, "{method} {path}");
                let version = reply.field("Docker-Distribution-API-Version");
                assert_eq!(version, Some("registry/2.0"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn end_2_gives_blobs_and_says_of_them_what_it_gives() {
    check(async |case| {
        for blob in [&case.layer, &case.config] {
            let path = blob_path(blob);
            let head = request(case.bed.mirror, "HEAD", &path, "").await;
            let get = case.bed.get(&path, "Accept-Encoding: gzip\r\n").await;
            assert_eq!((head.status, get.status), (200, 200), "{}", case.name);
            assert!(get.body == *blob && get.end == End::Complete);
            let (length, digest) = (blob.len().to_string(), digest(blob));
            for reply in [&head, &get] {
                assert_eq!(reply.field("Content-Length"), Some(&*length));
                assert_eq!(reply.field("Docker-Content-Digest"), Some(digest.as_str()));
                assert_eq!(reply.field("Accept-Ranges"), Some("bytes"));
                assert_eq!(reply.field("Content-Encoding"), None);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn end_2_gives_parts_of_blobs() {
    check(async |case| {
        let (layer, path) = (&case.layer, blob_path(&case.layer));
        let last = layer.len() - 1;
        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=1048576-2097151", 1 << 20, (2 << 20) - 1),
            ("bytes=4194304-", 4 << 20, last),
            ("bytes=-1000", last - 999, last),
            ("bytes=3-4,0-1", 3, 4),
            ("bytes=5000000-99999999", 5_000_000, last),
        ] {
            let reply = case.bed.get(&path, &format!("Range: {range}\r\n")).await;
            assert_eq!(reply.status, 206, "{} {range}", case.name);
            let content_range = format!("bytes {first}-{last}/{}", layer.len());
            assert_eq!(reply.field("Content-Range"), Some(&*content_range));
            assert!(reply.body == layer[first..=last], "{range}");
        }
        // What is no range of bytes is as if it were not there (RFC 9110).
        for range in ["lines=1-2", "bytes=9-1"] {
            let reply = case.bed.get(&path, &format!("Range: {range}\r\n")).await;
            assert_eq!(reply.status, 200, "{range}");
            assert!(reply.body == *layer);
        }
        let reply = case.bed.get(&path, "Range: bytes=5242880-\r\n").await;
        assert_eq!(reply.status, 416, "{}", case.name);
        assert_eq!(reply.field("Content-Range"), Some("bytes */5242880"));
    })
    .await;
}

#[tokio::test]
async fn end_3_gives_manifests_by_digest() {
    check(async |case| {
        let path = manifest_path(&case.image);
        let length = case.image.len().to_string();
        let digest = digest(&case.image);
        // containerd checks the type it gets, so that the type is the manifest's own, whatever is
        // accepted.
        for accept in [
            OCI,
            "*/*",
            "application/vnd.docker.distribution.manifest.v2+json",
        ] {
            let fields = format!("Accept: {accept}\r\n");
            let head = request(case.bed.mirror, "HEAD", &path, &fields).await;
            let get = case.bed.get(&path, &fields).await;
            assert!(get.body == case.image, "{}", case.name);
            for reply in [&head, &get] {
                assert_eq!(reply.status, 200);
                assert_eq!(reply.field("Content-Type"), Some(OCI));
                assert_eq!(reply.field("Content-Length"), Some(&*length));
                assert_eq!(reply.field("Docker-Content-Digest"), Some(digest.as_str()));
            }
        }
        // A layer is no manifest, though a manifest is a blob.
        is_error(
            &case.bed.get(&manifest_path(&case.layer), "").await,
            404,
            "MANIFEST_UNKNOWN",
        );
        assert_eq!(case.bed.get(&blob_path(&case.image), "").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_an_error_in_json() {
    check(async |case| {
        let nothing = object(3, 83);
        let tag = "/v2/lib/a/manifests/latest?ns=registry.test";
        for (path, code) in [
            (&*manifest_path(&nothing), "MANIFEST_UNKNOWN"),
            (&*blob_path(&nothing), "BLOB_UNKNOWN"),
            // Tags are off unless they are switched on.
            (tag, "MANIFEST_UNKNOWN"),
            ("/v2/lib/a/blobs/sha256:12?ns=registry.test", "NAME_UNKNOWN"),
            ("/v2/lib/a/blobs/latest", "NAME_UNKNOWN"),
            ("/v2/LIB/a/manifests/latest", "NAME_UNKNOWN"),
            ("/v2/lib/a/tags/list", "NAME_UNKNOWN"),
            ("/v2/lib/a/referrers/sha256:12", "NAME_UNKNOWN"),
            ("/v2/_catalog", "NAME_UNKNOWN"),
        ] {
            is_error(&case.bed.get(path, "").await, 404, code);
            let head = request(case.bed.mirror, "HEAD", path, "").await;
            assert!(head.status == 404 && head.body.is_empty(), "HEAD {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_can_be_pushed_or_deleted() {
    check(async |case| {
        let mut stream = TcpStream::connect(case.bed.mirror).await.unwrap();
        for (method, path) in [
            ("POST", "/v2/lib/a/blobs/uploads/"),
            ("PUT", "/v2/lib/a/manifests/latest"),
            ("PATCH", "/v2/lib/a/blobs/uploads/1"),
            ("DELETE", &*blob_path(&case.layer)),
        ] {
            // All on one connection: the next request is still understood.
            send(&mut stream, method, path, "Content-Length: 0\r\n").await;
            let reply = receive(&mut stream, method).await;
            is_error(&reply, 405, "UNSUPPORTED");
            assert_eq!(reply.field("Allow"), Some("GET, HEAD"));
        }
        send(&mut stream, "GET", &blob_path(&case.config), "").await;
        assert!(receive(&mut stream, "GET").await.body == case.config);
    })
    .await;
}

#[tokio::test]
async fn both_registered_algorithms_are_served() {
    let bed = Bed::start(Vec::new()).await;
    let blob = object(5000, 84);
    let hex = hex::encode(Sha512::digest(&blob));
    bed.store.put_as("sha512", &hex, &blob);
    let path = format!("/v2/lib/a/blobs/sha512:{hex}?ns=registry.test");
    let reply = bed.get(&path, "").await;
    assert!(reply.status == 200 && reply.body == blob);
}

/// A mirror over the bed's content that resolves tags at `registry`, as `registry.test`.
async fn resolving(bed: &Bed, registry: SocketAddr) -> SocketAddr {
    let nowhere = std::path::PathBuf::from("/nonexistent");
    let client = JsonClient::new(Duration::from_millis(300));
    let address = "192.0.2.1".parse().unwrap();
    let server = "http://127.0.0.1:1".to_owned();
    let tags = Tags::new(Settings {
        authorities: None,
        ttl: Duration::from_mins(1),
        policy: Policy::default(),
        files: HostFiles {
            hosts_dir: nowhere.clone(),
            containerd_config: nowhere,
            release: None,
            mirror_url: "http://127.0.0.1:288".to_owned(),
        },
        registries: vec![format!("registry.test=http://{registry}").parse().unwrap()],
        discovery: Discovery::new(client, server, "g".to_owned(), address),
        reach: Reach::new([127, 0, 0, 1].into(), Vec::new()),
        shared: None,
    });
    let settings = MirrorSettings {
        tags: Some(tags),
        ..MirrorSettings::default()
    };
    let mirror = Mirror::new(bed.store.content(), bed.fetcher.clone(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let scope = bed.scope.clone();
    bed.scope.service("tags", mirror.serve(listener, scope));
    addr
}

#[tokio::test]
async fn end_3_gives_manifests_by_tag_where_tags_are_resolved() {
    check(async |case| {
        // Any registry will do that says what the tag stands for: here, another mirror of tags.
        let registry = crate::fake::tag_registry(digest(&case.image).to_string()).await;
        let mirror = resolving(&case.bed, registry).await;
        let path = "/v2/lib/a/manifests/v1?ns=registry.test";
        let digest = digest(&case.image);
        for method in ["HEAD", "GET"] {
            let reply = request(mirror, method, path, "").await;
            assert_eq!(reply.status, 200, "{} {method}", case.name);
            assert_eq!(reply.field("Content-Type"), Some(OCI));
            assert_eq!(reply.field("Docker-Content-Digest"), Some(digest.as_str()));
            assert!(method == "HEAD" || reply.body == case.image);
        }
        let other = "/v2/lib/a/manifests/v2?ns=registry.test";
        is_error(
            &request(mirror, "GET", other, "").await,
            404,
            "MANIFEST_UNKNOWN",
        );
        // It may be this mirror that asks, by a name that it does not know for its own.
        let circle = request(mirror, "HEAD", path, "X-Spegel-Mirrored: true\r\n").await;
        assert_eq!(circle.status, 404, "{}", case.name);
    })
    .await;
}
