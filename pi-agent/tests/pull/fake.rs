//! A peer that misbehaves in one way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use piccolo_api::{Holder, Peer, PeerState};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing wrong.
    None,
    /// Dies in the middle: RST, and nobody listens any more.
    Killed,
    /// Falls silent in the middle.
    Stalled,
    /// Goes on slowly from the middle.
    Trickle,
    /// Ends the connection in the middle.
    Fin,
    /// Resets the connection in the middle.
    Rst,
    /// One byte in the middle is another.
    WrongBytes,
    /// The same, and in the middle of what is left the connection ends.
    WrongThenFin,
    /// The head says more than there is.
    TooLong,
    /// The head says less than there is.
    TooShort,
    /// The head says another part, also when the whole was asked for.
    WrongRange,
    /// Replies with a status.
    Status(u16),
    /// Its head does not end.
    EndlessHeaders,
    /// Closes upon the request.
    ClosesAtOnce,
    /// Takes the request and says nothing, as a stopped process does.
    Silent,
    /// Is right, after a while.
    Slow(Duration),
    /// Closes after a while.
    SlowlyCloses(Duration),
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    object: Vec<u8>,
    requests: AtomicUsize,
    sent: AtomicU64,
    delay: Duration,
}

impl Fake {
    /// Serves `object` under whatever name it is asked for.
    pub(crate) async fn start(fault: Fault, object: &[u8]) -> Self {
        Self::paced(fault, object, Duration::ZERO).await
    }

    /// The same, with a pause after each 64 KiB.
    pub(crate) async fn paced(fault: Fault, object: &[u8], delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            object: object.to_vec(),
            requests: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            delay,
        });
        let inner = Arc::clone(&state);
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(accept(listener, inner));
        Self { addr, state }
    }

    /// As discovery names it.
    pub(crate) fn peer(&self) -> Peer {
        Peer {
            addr: self.holder(),
            rack: "r".to_owned(),
            state: PeerState::Complete,
            score: 1.0,
        }
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder::new(self.addr).unwrap()
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Bytes of bodies that its sockets took so far.
    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let (stop, mut stopped) = tokio::sync::mpsc::channel::<()>(1);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            _ = stopped.recv() => return,
        };
        let (state, stop) = (Arc::clone(&state), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            // A connection that the agent breaks off is no failure of the peer.
            let _ = serve(stream, &state, stop).await;
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    state: &State,
    stop: tokio::sync::mpsc::Sender<()>,
) -> std::io::Result<()> {
    while let Some(head) = read_head(&mut stream).await? {
        state.requests.fetch_add(1, Ordering::SeqCst);
        match state.fault {
            Fault::ClosesAtOnce => return Ok(()),
            Fault::Silent => std::future::pending().await,
            Fault::EndlessHeaders => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                loop {
                    stream.write_all(b"X-More: and more\r\n").await?;
                }
            }
            Fault::Status(status) => {
                let reply = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(reply.as_bytes()).await?;
                continue;
            }
            Fault::Slow(time) => tokio::time::sleep(time).await,
            Fault::SlowlyCloses(time) => {
                tokio::time::sleep(time).await;
                return Ok(());
            }
            _ => {}
        }
        let size = state.object.len();
        let (start, end) = range(&head, size);
        write_head(
            &mut stream,
            state.fault,
            start,
            end,
            size,
            head.contains("Range: "),
        )
        .await?;
        if head.starts_with("HEAD") {
            continue;
        }
        let middle = start + (end - start) / 2;
        send(&mut stream, state, start, middle).await?;
        match state.fault {
            Fault::Killed => {
                let _ = stop.send(()).await;
                reset(stream);
                return Ok(());
            }
            Fault::Rst => {
                reset(stream);
                return Ok(());
            }
            Fault::Fin => return Ok(()),
            Fault::Stalled => std::future::pending().await,
            Fault::Trickle => {
                for byte in &state.object[middle..end] {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Fault::WrongBytes => {
                stream.write_all(&[!state.object[middle]]).await?;
                send(&mut stream, state, middle + 1, end).await?;
            }
            Fault::WrongThenFin => {
                stream.write_all(&[!state.object[middle]]).await?;
                let most = middle + (end - middle) / 2;
                return send(&mut stream, state, middle + 1, most).await;
            }
            _ => send(&mut stream, state, middle, end).await?,
        }
    }
    Ok(())
}

async fn send(
    stream: &mut TcpStream,
    state: &State,
    from: usize,
    to: usize,
) -> std::io::Result<()> {
    for chunk in state.object[from..to].chunks(64 << 10) {
        stream.write_all(chunk).await?;
        state
            .sent
            .fetch_add(u64::try_from(chunk.len()).unwrap(), Ordering::SeqCst);
        if !state.delay.is_zero() {
            tokio::time::sleep(state.delay).await;
        }
    }
    Ok(())
}

async fn write_head(
    stream: &mut TcpStream,
    fault: Fault,
    start: usize,
    end: usize,
    size: usize,
    ranged: bool,
) -> std::io::Result<()> {
    let length = end - start;
    let (length, size) = match fault {
        Fault::TooLong => (length + 100, size + 100),
        Fault::TooShort => (length - 100, size - 100),
        _ => (length, size),
    };
    let last = start + length - 1;
    let head = if fault == Fault::WrongRange {
        format!(
            "206 Partial Content\r\nContent-Range: bytes {}-{}/{size}",
            start + 1,
            last + 1
        )
    } else if ranged {
        format!("206 Partial Content\r\nContent-Range: bytes {start}-{last}/{size}")
    } else {
        "200 OK".to_owned()
    };
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    Ok(String::from_utf8(bytes).ok())
}

fn range(head: &str, size: usize) -> (usize, usize) {
    let asked = head
        .lines()
        .find_map(|line| line.strip_prefix("Range: bytes="));
    let Some((first, last)) = asked.and_then(|range| range.split_once('-')) else {
        return (0, size);
    };
    let end = last
        .parse::<usize>()
        .map_or(size, |last| (last + 1).min(size));
    (first.parse().unwrap(), end)
}

fn reset(stream: TcpStream) {
    // Closing with this option set sends RST.
    #[expect(deprecated, reason = "the time is zero, so that closing does not wait")]
    stream.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// A registry that knows one tag, `lib/a:v1`.
pub(crate) async fn tag_registry(digest: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let known = axum::routing::get(async move || [("Docker-Content-Digest", digest)]);
    let router = axum::Router::new().route("/v2/lib/a/manifests/v1", known);
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}
