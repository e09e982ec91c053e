//! Bodies through real sockets: whole, at a pace, from slow senders and to slow receivers.

use std::{
    io::{Read as _, Write as _},
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use daemon::tls::Socket;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{
    End, Floor, Pace, Patience, RateFloor, Receiver, SourceError, Tally, Tap, copy, read_exact,
    relay, send_file,
};
use crate::http::Span;

const RATE: RateFloor = RateFloor {
    bytes: 1000,
    window: Duration::from_millis(400),
};

#[derive(Default)]
struct Count {
    came: u64,
    went: u64,
}

impl Tally for Count {
    fn came(&mut self, bytes: u64) {
        self.came += bytes;
    }
    fn went(&mut self, bytes: u64) {
        self.went += bytes;
    }
}

struct Sum(u64);

impl Tap for Sum {
    fn look(&mut self, bytes: &[u8]) {
        self.0 += bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    }
}

async fn pair() -> (Socket, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    let theirs = theirs.into_std().unwrap();
    theirs.set_nonblocking(false).unwrap();
    (Socket::plain(ours), theirs)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from(i * 7 % 251).unwrap())
        .collect()
}

/// Feeds `sent` bytes into a relay of `length` bytes, and returns what came out and how it ended.
async fn relayed(sent: usize, length: u64, tapped: bool) -> (Vec<u8>, super::Relayed, Count) {
    let bytes = pattern(sent);
    let (source, mut feeder) = pair().await;
    let (sink, mut drain) = pair().await;
    let feeding = std::thread::spawn(move || feeder.write_all(&bytes).unwrap());
    let draining = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drain.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut floor = Floor::new(RATE, Instant::now());
    let patience = Patience(Duration::from_secs(5));
    let mut count = Count::default();
    let relayed = if tapped {
        let mut tap = Sum(0);
        let relayed = copy(
            &source, &sink, length, &mut floor, patience, &mut tap, &mut count,
        )
        .await;
        let sum = pattern(sent).iter().map(|b| u64::from(*b)).sum::<u64>();
        assert_eq!(tap.0, sum);
        relayed
    } else {
        relay(&source, &sink, length, &mut floor, patience, &mut count).await
    };
    drop(sink);
    feeding.join().unwrap();
    (draining.join().unwrap(), relayed, count)
}

#[tokio::test]
async fn a_relay_moves_every_byte() {
    for tapped in [false, true] {
        let (bytes, relayed, count) = relayed(5_000_001, 5_000_001, tapped).await;
        assert!(matches!(relayed.end, End::Complete), "{relayed:?}");
        assert_eq!(relayed.moved, 5_000_001);
        assert_eq!((count.came, count.went), (5_000_001, 5_000_001));
        assert!(bytes == pattern(5_000_001));
    }
}

#[tokio::test]
async fn a_source_that_ends_early_leaves_every_byte_that_came() {
    for tapped in [false, true] {
        let (bytes, relayed, _) = relayed(300_000, 5_000_001, tapped).await;
        assert!(
            matches!(relayed.end, End::Source(SourceError::Ended)),
            "{relayed:?}"
        );
        assert_eq!(relayed.moved, 300_000);
        assert!(bytes == pattern(300_000));
    }
}

#[tokio::test]
async fn a_silent_source_is_given_up() {
    let (source, feeder) = pair().await;
    let (sink, _drain) = pair().await;
    let mut floor = Floor::new(RATE, Instant::now());
    let patience = Patience(Duration::from_secs(5));
    let mut count = Count::default();
    let begin = Instant::now();
    let relayed = relay(&source, &sink, 10, &mut floor, patience, &mut count).await;
    assert!(
        matches!(relayed.end, End::Source(SourceError::Stalled)),
        "{relayed:?}"
    );
    assert!(begin.elapsed() >= RATE.window && begin.elapsed() < RATE.window * 4);
    drop(feeder);
}

#[tokio::test]
async fn a_sink_that_goes_away_ends_a_relay() {
    let bytes = pattern(8_000_000);
    let (source, mut feeder) = pair().await;
    let (sink, drain) = pair().await;
    drop(drain);
    let feeding = std::thread::spawn(move || feeder.write_all(&bytes));
    let mut floor = Floor::new(RATE, Instant::now());
    let patience = Patience(Duration::from_secs(5));
    let mut count = Count::default();
    let relayed = relay(&source, &sink, 8_000_000, &mut floor, patience, &mut count).await;
    assert!(matches!(relayed.end, End::Sink(_)), "{relayed:?}");
    drop(source);
    // Whether the feeder got rid of its bytes does not matter.
    let _ = feeding.join().unwrap();
}

#[tokio::test]
async fn a_part_of_a_file_is_sent() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(9_000_000)).unwrap();
    let (socket, mut drain) = pair().await;
    let draining = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drain.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut sent = 0;
    let receiver = Receiver::patient(Duration::from_secs(5));
    let span = Span::new(11, 8_999_990);
    send_file(&socket, &file, span, &Pace::free(), receiver, |n| sent += n)
        .await
        .unwrap();
    drop(socket);
    assert_eq!(sent, span.len());
    assert!(draining.join().unwrap() == pattern(9_000_000)[11..8_999_990]);
}

#[tokio::test]
async fn a_file_that_shrank_is_noticed() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"short").unwrap();
    let (socket, _drain) = pair().await;
    let receiver = Receiver::patient(Duration::from_secs(5));
    let sent = send_file(
        &socket,
        &file,
        Span::whole(9),
        &Pace::free(),
        receiver,
        |_| {},
    )
    .await;
    assert!(matches!(sent, Err(super::SendError::Short)));
}

#[tokio::test]
async fn a_limited_pace_is_kept() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(1_000_000)).unwrap();
    let pace = Pace::limited(NonZeroU64::new(2_000_000).unwrap());
    let (socket, mut drain) = pair().await;
    let draining = std::thread::spawn(move || drain.read_to_end(&mut Vec::new()).unwrap());
    let begin = Instant::now();
    let receiver = Receiver::patient(Duration::from_secs(5));
    send_file(
        &socket,
        &file,
        Span::whole(1_000_000),
        &pace,
        receiver,
        |_| {},
    )
    .await
    .unwrap();
    let took = begin.elapsed();
    assert!(
        took > Duration::from_millis(300) && took < Duration::from_secs(2),
        "{took:?}"
    );
    drop(socket);
    assert_eq!(draining.join().unwrap(), 1_000_000);
}

#[tokio::test]
async fn a_limited_pace_is_shared_fairly() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(2_000_000)).unwrap();
    let pace = Pace::limited(NonZeroU64::new(4_000_000).unwrap());
    let sent = [AtomicU64::new(0), AtomicU64::new(0)];
    let upload = |number: usize| {
        let (pace, file, sent) = (pace.clone(), &file, &sent);
        async move {
            let (socket, mut drain) = pair().await;
            let draining = std::thread::spawn(move || drain.read_to_end(&mut Vec::new()));
            let receiver = Receiver::patient(Duration::from_secs(5));
            let span = Span::whole(2_000_000);
            send_file(&socket, file, span, &pace, receiver, |bytes| {
                sent[number].fetch_add(bytes, Ordering::Relaxed);
            })
            .await
            .unwrap();
            // How far the other one is when this one is done.
            let other = sent[1 - number].load(Ordering::Relaxed);
            drop(socket);
            draining.join().unwrap().unwrap();
            other
        }
    };
    let (first, second) = tokio::join!(upload(0), upload(1));
    assert!(first.min(second) > 1_600_000, "{first} {second}");
}

/// The smallest buffers on both sides, so that a little taken is soon told.
async fn narrow_pair() -> (Socket, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&listener, 4 << 10).unwrap();
    let addr = listener.local_addr().unwrap();
    let other = std::net::TcpStream::connect(addr).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&other, 4 << 10).unwrap();
    (Socket::plain(listener.accept().await.unwrap().0), other)
}

/// A reader that takes a little now and then never stalls, and is given up all the same.
#[tokio::test]
async fn who_takes_less_than_the_least_rate_is_given_up() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(2_000_000)).unwrap();
    let (socket, mut drain) = narrow_pair().await;
    let draining = std::thread::spawn(move || {
        // 400 KB/s at most.
        while let Ok(1..) = drain.read(&mut [0; 4000]) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let receiver = Receiver {
        patience: Duration::from_mins(1),
        floor: RateFloor {
            bytes: 500_000,
            window: Duration::from_millis(400),
        },
    };
    let span = Span::whole(2_000_000);
    let sent = send_file(&socket, &file, span, &Pace::free(), receiver, |_| {}).await;
    let error = sent.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "the receiver is slower than the least rate");
    drop(socket);
    draining.join().unwrap();
}

/// At a low rate each of many transfers gets its turn before its receiver gives it up.
#[tokio::test(start_paused = true)]
async fn turns_are_short_at_a_low_rate() {
    let pace = Pace::limited(NonZeroU64::new(512 << 10).unwrap());
    for _ in 0..31 {
        pace.take(pace.turn()).await;
    }
    let begin = Instant::now();
    for _ in 0..32 {
        pace.take(pace.turn()).await;
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn reading_stops_at_the_least_rate() {
    let (source, mut feeder) = pair().await;
    feeder.write_all(b"abc").unwrap();
    let mut floor = Floor::new(RATE, Instant::now());
    let mut room = [0; 4];
    let read = read_exact(&source, &mut room, &mut floor, |_| {}).await;
    assert!(matches!(read, Err(SourceError::Stalled)));
    assert_eq!(&room[..3], b"abc");
}

#[test]
fn the_floor_slides() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut floor = Floor::new(RATE, start);
    floor.add(5000);
    // The first bytes count for one window and no longer.
    assert!((1..=8).all(|slice| floor.check(at(slice * 50))));
    assert!(!floor.check(at(450)));
    // A long time in which nobody looked is no longer than another.
    let mut floor = Floor::new(RATE, start);
    floor.add(5000);
    assert!(floor.check(at(60_000)));
    assert!((1..=7).all(|slice| floor.check(at(60_000 + slice * 50))));
    assert!(!floor.check(at(60_400)));
    // Time in which the receiver was at fault does not count.
    let mut floor = Floor::new(RATE, start);
    floor.pause(Duration::from_secs(10));
    assert!(floor.check(at(1000)));
    // A steady trickle below the rate is given up.
    let mut floor = Floor::new(RATE, start);
    let mut good = true;
    for i in 1..=20 {
        floor.add(100);
        good &= floor.check(at(i * 50));
    }
    assert!(!good);
}
