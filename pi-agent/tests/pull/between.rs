//! Somebody in between a node and its peer, who sees what passes and may spoil it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is done to the bytes that a peer sends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Harm {
    None,
    /// After so many of them the connection ends, as if that were all.
    CutAt(u64),
    /// The byte there is another.
    FlipAt(u64),
}

/// A relay.
#[derive(Debug)]
pub(crate) struct Between {
    pub(crate) addr: SocketAddr,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Between {
    /// Relays to `peer`, with harm to the first connection that carries as many bytes.
    pub(crate) async fn start(peer: SocketAddr, harm: Harm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (up, down) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (ups, downs) = (Arc::clone(&up), Arc::clone(&down));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(peer).await.unwrap();
                let (ups, downs) = (Arc::clone(&ups), Arc::clone(&downs));
                #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        pass(from_client, to_server, &ups, Harm::None),
                        pass(from_server, to_client, &downs, harm),
                    );
                });
            }
        });
        Self { addr, up, down }
    }

    /// Bytes to the peer and from it.
    pub(crate) fn passed(&self) -> (u64, u64) {
        let get = |bytes: &AtomicU64| bytes.load(Ordering::SeqCst);
        (get(&self.up), get(&self.down))
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    count: &AtomicU64,
    harm: Harm,
) {
    let mut room = vec![0; 64 << 10];
    let mut at = 0;
    while let Ok(read @ 1..) = from.read(&mut room).await {
        let bytes = &mut room[..read];
        let end = at + u64::try_from(read).unwrap();
        let mut length = read;
        match harm {
            Harm::CutAt(cut) if cut < end => length = usize::try_from(cut - at).unwrap(),
            Harm::FlipAt(flip) if (at..end).contains(&flip) => {
                bytes[usize::try_from(flip - at).unwrap()] ^= 1;
            }
            Harm::None | Harm::CutAt(_) | Harm::FlipAt(_) => {}
        }
        count.fetch_add(u64::try_from(length).unwrap(), Ordering::SeqCst);
        if to.write_all(&bytes[..length]).await.is_err() || length < read {
            break;
        }
        at = end;
    }
    let _ = to.shutdown().await;
}
