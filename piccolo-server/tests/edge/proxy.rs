//! A network that loses connections without a word: neither end is told.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Passes connections on, until they are lost. Dropping it ends all of them.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// How often the connections were lost; odd while new ones are lost as well.
    losses: watch::Sender<u32>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (losses, seen) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let seen = seen.clone();
                let born = *seen.borrow();
                let server = TcpStream::connect(to).await.expect("a connection");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                connections.spawn(pass(from_client, to_server, seen.clone(), born));
                connections.spawn(pass(from_server, to_client, seen, born));
            }
        });
        Self {
            address,
            losses,
            _tasks: tasks,
        }
    }

    /// From now on nothing passes.
    pub(crate) fn lose(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }

    /// New connections pass again; the old ones stay lost.
    pub(crate) fn mend(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    seen: watch::Receiver<u32>,
    born: u32,
) {
    let mut bytes = vec![0; 64 << 10];
    let is_lost = || born % 2 == 1 || *seen.borrow() != born;
    loop {
        let read = from.read(&mut bytes).await;
        if is_lost() {
            // Whatever is sent, and be it the end, nobody hears of it.
            std::future::pending::<()>().await;
        }
        match read {
            Ok(n) if n > 0 => {
                if to.write_all(&bytes[..n]).await.is_err() {
                    return;
                }
            }
            Ok(_) | Err(_) => return,
        }
    }
}
