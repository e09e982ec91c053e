//! Listeners of this process, to which the fuzzer's bytes are sent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use daemon::{
    clock::Clock,
    scope::{Deaths, Scope},
};
use pi_agent::{
    content::Content,
    peer::{PeerServer, PeerSettings},
    sockets::{PeerBytes, PeerSockets, Unwatched},
    tracker::Tracker,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Runtime,
    time::timeout,
};

/// No answer takes as long.
const DEADLINE: Duration = Duration::from_secs(20);
/// Turns of the runtime in which a listener reads what was sent.
const TURNS: u32 = 3;

/// The peer port of an agent without content.
pub(crate) struct Agent {
    pub(crate) runtime: Runtime,
    pub(crate) addr: SocketAddr,
    _store: TempDir,
    _deaths: Deaths,
}

impl Agent {
    pub(crate) fn start() -> Self {
        let runtime = runtime();
        let store = tempfile::tempdir().expect("a directory");
        let (scope, deaths) = Scope::new();
        let addr = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let addr = listener.local_addr().expect("a port");
            let sockets = PeerSockets::new(PeerBytes::default(), Arc::new(Unwatched));
            let tracker = Tracker::new(Clock::system());
            let server = PeerServer::with(
                Content::new(store.path().to_owned()),
                sockets,
                PeerSettings::default(),
                Some(tracker),
            );
            scope.service("peers", server.serve(listener, scope.clone()));
            addr
        });
        Self {
            runtime,
            addr,
            _store: store,
            _deaths: deaths,
        }
    }
}

/// One thread, so that what happens is the same each time.
pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Each connection comes from an address of its own, as the ports of one are soon used up.
pub(crate) fn caller() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed) % 60_000;
    let base = u32::from(Ipv4Addr::new(127, 1, 0, 1));
    Ipv4Addr::from(base + next)
}

pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address");
    let stream = socket.connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Sends the parts one by one, so that each is read by itself.
pub(crate) async fn send(stream: &mut TcpStream, parts: &[&[u8]]) {
    for part in parts {
        // The other side may have closed: it has replied then.
        if stream.write_all(part).await.is_err() {
            return;
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

/// Sends the parts and the end, and gives all that is replied.
pub(crate) async fn exchange(from: Ipv4Addr, to: SocketAddr, parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = connect(from, to).await;
    send(&mut stream, parts).await;
    let _ = stream.shutdown().await;
    received(&mut stream).await
}

/// All that comes until the other side closes.
pub(crate) async fn received(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    // An end by RST is one, too.
    let _ = read.expect("the listener answers");
    bytes
}

/// Cuts bytes at some of these places.
pub(crate) fn parts<'a>(mut bytes: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for cut in cuts.iter().take(8).map(|cut| usize::from(*cut)) {
        if cut == 0 || cut >= bytes.len() {
            continue;
        }
        let (part, rest) = bytes.split_at(cut);
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}
