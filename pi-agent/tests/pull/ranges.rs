//! Parts of objects: one range, and several open-ended ones at a time.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use crate::{
    bed::{Bed, blob_path, object},
    client::{End, send},
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
        assert_eq!((reply.status, reply.end), (206, End::Complete), "{range}");
        assert!(reply.body == layer[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!(reply.field("Content-Range"), Some(&*expected));
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

/// containerd 2 reads each open-ended range up to where the next one begins, then resets.
#[tokio::test]
async fn ranges_that_are_broken_off_cost_what_was_read() {
    const PART: usize = 8 << 20;
    let layer = object(4 * PART, 13);
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    let path = blob_path(&layer);
    let mut readers = Vec::new();
    for start in (0..layer.len()).step_by(PART) {
        let mut stream = TcpStream::connect(bed.mirror).await.unwrap();
        send(
            &mut stream,
            "GET",
            &path,
            &format!("Range: bytes={start}-\r\n"),
        )
        .await;
        // They come together, a little after the first.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let part = layer[start..start + PART].to_vec();
        readers.push(async move {
            let mut bytes = Vec::new();
            while !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            }
            let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            bytes.drain(..head);
            while bytes.len() < PART {
                assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            }
            assert!(bytes[..PART] == part);
        });
    }
    futures_util::future::join_all(readers).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let size = u64::try_from(layer.len()).unwrap();
    assert_eq!(peer.sent(), size, "{} more", peer.sent() - size);
}

#[tokio::test]
async fn who_does_not_break_off_gets_the_rest() {
    let layer = object(20 << 20, 14);
    let peer = Fake::start(Fault::None, &layer).await;
    let bed = Bed::start(vec![peer.peer()]).await;
    let path = blob_path(&layer);
    let (first, second) = tokio::join!(
        bed.get(&path, "Range: bytes=0-\r\n"),
        bed.get(&path, "Range: bytes=5000000-\r\n"),
    );
    assert!(first.body == layer);
    assert!(second.body == layer[5_000_000..]);
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
