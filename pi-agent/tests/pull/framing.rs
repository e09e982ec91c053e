//! Which connections with peers are used again: those whose reply ended where both sides say that it did.

use std::time::Duration;

use piccolo_api::{Holder, Peer, PeerState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::bed::{Bed, blob_path, object};

/// After this long, a connection that is still open was kept.
const A_WHILE: Duration = Duration::from_millis(300);

/// Has a peer reply so to a GET; gives whether the agent keeps the connection for a further request.
async fn is_kept(reply: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer {
        addr: Holder::new(listener.local_addr().unwrap()).unwrap(),
        rack: "r".to_owned(),
        state: PeerState::Complete,
        score: 1.0,
    };
    let bed = Bed::start(vec![peer]).await;
    let path = blob_path(&object(9, 91));
    let answered = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(reply.as_bytes()).await.unwrap();
        let mut next = [0];
        match timeout(A_WHILE, stream.read(&mut next)).await {
            Ok(Ok(0) | Err(_)) => false,
            Ok(Ok(_)) => panic!("a request follows"),
            Err(_) => true,
        }
    };
    let (told, is_kept) = tokio::join!(bed.get(&path, ""), answered);
    assert_eq!(told.status, 404, "{reply}");
    is_kept
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
    }
}

/// What follows a reply whose end is not known would be taken for the reply to the next request.
#[tokio::test]
async fn only_a_reply_with_an_end_leaves_a_connection() {
    for (reply, kept) in [
        ("404 Not Found\r\nContent-Length: 2\r\n\r\nno", true),
        // The reply is still to come.
        ("103 Early Hints\r\nContent-Length: 0\r\n\r\n", false),
        // These have no body.
        ("204 No Content\r\nContent-Length: 2\r\n\r\nno", false),
        ("304 Not Modified\r\nContent-Length: 2\r\n\r\nno", false),
        // Chunks count more than the length.
        (
            "404 Not Found\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            false,
        ),
        (
            "404 Not Found\r\nConnection: close\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno",
            false,
        ),
    ] {
        assert_eq!(is_kept(&format!("HTTP/1.1 {reply}")).await, kept, "{reply}");
    }
}
