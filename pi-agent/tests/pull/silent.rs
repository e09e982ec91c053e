//! Connections on which nothing comes, or too little.

use std::{net::SocketAddr, time::Duration};

use pi_agent::{
    mirror::{Mirror, MirrorSettings},
    peer::PeerSettings,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    bed::{Bed, agent},
    client::{receive, send},
};

const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(200);
/// Far less than what is long, far more than what is short.
const SOON: Duration = Duration::from_secs(10);

/// The listener for containerd and the one for peers, with these deadlines.
async fn listeners(bed: &Bed, idle: Duration, head: Duration) -> [SocketAddr; 2] {
    let settings = MirrorSettings {
        idle,
        head,
        ..MirrorSettings::default()
    };
    let mirror = Mirror::new(bed.store.content(), bed.fetcher.clone(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    bed.scope
        .service("second mirror", mirror.serve(listener, bed.scope.clone()));
    let settings = PeerSettings {
        idle,
        head,
        ..PeerSettings::default()
    };
    let (_store, peers, _) = agent(&[], settings, &bed.scope).await;
    [addr, peers]
}

/// Waits until the other side ends the connection.
async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut said = Vec::new();
    let end = stream.read_to_end(&mut said);
    // As FIN or as RST, after what it may have had to say.
    let _ = timeout(SOON, end).await.expect("the connection stays");
}

#[tokio::test]
async fn who_says_nothing_is_dropped() {
    let bed = Bed::start(Vec::new()).await;
    for addr in listeners(&bed, SHORT, LONG).await {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        ends(&mut stream).await;
        // Between two requests too.
        let mut stream = TcpStream::connect(addr).await.unwrap();
        send(&mut stream, "GET", "/v2/", "").await;
        assert_eq!(receive(&mut stream, "GET").await.status, 200);
        ends(&mut stream).await;
    }
}

#[tokio::test]
async fn who_does_not_come_to_the_end_of_a_head_is_dropped() {
    let bed = Bed::start(Vec::new()).await;
    for addr in listeners(&bed, LONG, SHORT).await {
        let stream = TcpStream::connect(addr).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let trickle = async {
            // Never silent for long, and refused once the connection has ended.
            while write.write_all(b"G").await.is_ok() {
                sleep(SHORT / 10).await;
            }
        };
        tokio::select! {
            () = ends(&mut read) => {}
            () = trickle => {}
        }
    }
}
