//! Parts of objects: one range, and several open-ended ones at a time.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    bed::{Bed, blob_path, manifest_path, object},
    client::{End, receive, request},
    fake::{Fake, Fault},
};

#[tokio::test]
async fn the_three_forms_come_from_peers() {
    let layer = object(9 << 20, 11);
    let size = layer.len();
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    for (range, from, to) in [
        ("bytes=5000000-".to_owned(), 5_000_000, size),
        ("bytes=0-".to_owned(), 0, size),
        ("bytes=7-6000000".to_owned(), 7, 6_000_001),
        (format!("bytes=9-{}", size * 2), 9, size),
        ("bytes=-4500000".to_owned(), size - 4_500_000, size),
    ] {
        let reply = bed
            .get(&blob_path(&layer), &format!("Range: {range}\r\n"))
            .await;
        let status = if to - from == size { 200 } else { 206 };
        assert_eq!(
            (reply.status, reply.end),
            (status, End::Complete),
            "{range}"
        );
        assert!(reply.body == layer[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        let expected = Some(&*expected).filter(|_| status == 206);
        assert_eq!(reply.field("Content-Range"), expected);
    }
}

#[tokio::test]
async fn a_part_of_a_small_object_is_cut_from_the_verified_whole() {
    let blob = object(100_000, 12);
    let peer = Fake::start(Fault::None, &blob).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    let reply = bed.get(&blob_path(&blob), "Range: bytes=10-19\r\n").await;
    assert_eq!(reply.status, 206);
    assert_eq!(reply.body, &blob[10..20]);
    let reply = bed.get(&blob_path(&blob), "Range: bytes=100000-\r\n").await;
    assert_eq!(reply.status, 416);
    assert_eq!(reply.field("Content-Range"), Some("bytes */100000"));
}

#[tokio::test]
async fn a_part_that_a_layer_does_not_have_is_nobodys_failure() {
    let layer = object(6 << 20, 15);
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    for range in ["bytes=6291456-", "bytes=7000000-8000000", "bytes=-0"] {
        let reply = bed
            .get(&blob_path(&layer), &format!("Range: {range}\r\n"))
            .await;
        assert_eq!(reply.status, 416, "{range}");
        assert_eq!(reply.field("Content-Range"), Some("bytes */6291456"));
    }
    assert!(bed.known.kinds().is_empty());
    assert!(bed.pull(&layer).await.body == layer);
}

/// containerd from 2.1 on divides a layer into ranges if it knows how long the reply to the first one is, asks this
/// host alone for the others, and fails the pull if it does not get one.
#[tokio::test]
async fn nothing_is_answered_that_containerd_could_divide() {
    let layer = object(9 << 20, 13);
    let manifest = format!(
        "{{\"mediaType\":\"m/1\",\"manifests\":[],\"pad\":\"{}\"}}",
        "x".repeat(99_000)
    )
    .into_bytes();
    let blob = object(100_000, 16);
    for object in [&layer, &blob, &manifest] {
        let peer = Fake::start(Fault::None, object).await;
        let bed = Bed::start(vec![peer.peer()]).await;
        let paths = [blob_path(object), manifest_path(object)];
        let is_manifest = object == &manifest;
        for path in &paths[..if is_manifest { 2 } else { 1 }] {
            // From the peer, from memory where it is small, and then of this node's own.
            for whose in ["a peer's", "a peer's again", "its own"] {
                if whose == "its own" {
                    bed.store.put(object);
                }
                for start in [0, 70_001] {
                    let range = format!("Range: bytes={start}-\r\n");
                    let reply = bed.get(path, &range).await;
                    let status = if start == 0 { 200 } else { 206 };
                    assert_eq!(reply.status, status, "{whose}");
                    assert_eq!(reply.field("Content-Length"), None, "{whose}");
                    assert!(reply.body == object[start..], "{whose}");
                    let head = request(bed.mirror, "HEAD", path, &range).await;
                    assert!(head.field("Content-Length").is_some(), "{whose}");
                }
            }
        }
    }
}

/// HTTP/1.0 has no chunks.
#[tokio::test]
async fn an_old_client_is_told_the_length() {
    let blob = object(100_000, 17);
    let bed = Bed::start(Vec::new()).await;
    bed.store.put(&blob);
    let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
    let path = blob_path(&blob);
    let head = format!("GET {path} HTTP/1.0\r\nRange: bytes=9-\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = receive(&mut stream, "GET").await;
    assert_eq!(reply.field("Content-Length"), Some("99991"));
    assert!(reply.body == blob[9..]);
}

/// What containerd 2.1 does with a layer of which it has `start` bytes. `None` where it fails the pull.
async fn pull_by_ranges(bed: &Bed, layer: &[u8], start: usize) -> Option<Vec<u8>> {
    const PART: usize = 1 << 20;
    let mut body = layer[..start].to_vec();
    while body.len() < layer.len() {
        let path = blob_path(layer);
        let from = |at: usize| format!("Range: bytes={at}-\r\n");
        let first = bed.get(&path, &from(body.len())).await;
        if first.status == 404 {
            body.extend_from_slice(&layer[body.len()..]);
            break;
        }
        let length = first.field("Content-Length");
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        let ignored = first.status == 200;
        if length <= PART || ignored {
            assert_ne!(first.end, End::Rst, "containerd fails a pull upon RST");
            let got = if ignored {
                &first.body[body.len()..]
            } else {
                &first.body
            };
            body.extend_from_slice(got);
            continue;
        }
        body.extend_from_slice(first.body.get(..PART)?);
        while body.len() < layer.len() {
            let part = bed.get(&path, &from(body.len())).await;
            let most = PART.min(layer.len() - body.len());
            body.extend_from_slice(part.body.get(..most).filter(|_| part.status < 300)?);
        }
    }
    Some(body)
}

#[tokio::test]
async fn a_last_holder_that_goes_fails_no_pull_by_ranges() {
    let layer = object(9 << 20, 18);
    for fault in [
        Fault::Killed,
        Fault::Rst,
        Fault::Fin,
        Fault::Stalled,
        Fault::Trickle,
    ] {
        for start in [0, 3 << 20] {
            let peer = Fake::start(fault, &layer).await;
            let bed = Bed::start(vec![peer.peer()]).await;
            let pulled = pull_by_ranges(&bed, &layer, start).await;
            assert!(pulled.as_deref() == Some(&*layer), "{fault:?} from {start}");
            assert!(peer.requests() > 0, "{fault:?} from {start}");
        }
    }
}

#[tokio::test]
async fn of_several_ranges_the_first_is_given_and_no_more_is_drawn() {
    let layer = object(9 << 20, 122);
    let fake = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![fake.peer()]).await;
    let reply = bed
        .get(&blob_path(&layer), "Range: bytes=5-9,20-29\r\n")
        .await;
    assert_eq!(reply.status, 206);
    assert_eq!(reply.field("Content-Range"), Some("bytes 5-9/9437184"));
    assert!(reply.body == layer[5..10]);
    assert!(fake.sent() <= 5, "{} bytes were drawn", fake.sent());
}
