//! The namespaces and addresses of the two ends.

use std::{
    fs::File,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::PathBuf,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::PORT;

/// Where the two ends are.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The namespace of the server, as a file.
    #[arg(long)]
    server_netns: PathBuf,
    /// The namespace of the clients, as a file.
    #[arg(long)]
    client_netns: PathBuf,
    /// The server's address.
    #[arg(long)]
    server: IpAddr,
}

impl Place {
    /// Listens at the server, on all its addresses.
    pub(crate) fn listen(&self) -> Result<TcpListener> {
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        inside(&self.server_netns, || {
            TcpListener::bind(address).context("listening")
        })
    }

    /// Connects to the server.
    pub(crate) fn connect(&self) -> Result<TcpStream> {
        inside(&self.client_netns, || connect(self.server))
    }

    /// Opens `count` connections: the clients' ends and the server's, in the same order.
    pub(crate) fn pairs(&self, count: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
        let listener = self.listen()?;
        inside(&self.client_netns, || {
            (0..count)
                .map(|_| {
                    let client = connect(self.server)?;
                    let (server, _) = listener.accept().context("accepting")?;
                    server.set_nodelay(true)?;
                    Ok((client, server))
                })
                .collect()
        })
    }

    /// The arguments that give a child of this program the same place.
    pub(crate) fn arguments(&self) -> [String; 3] {
        [
            format!("--server-netns={}", self.server_netns.display()),
            format!("--client-netns={}", self.client_netns.display()),
            format!("--server={}", self.server),
        ]
    }

    /// Runs `work` on a thread in the server's namespace.
    pub(crate) fn at_server<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        inside(&self.server_netns, work)
    }
}

fn connect(server: IpAddr) -> Result<TcpStream> {
    let address = SocketAddr::from((server, PORT));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn inside<T: Send>(netns: &PathBuf, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let netns = File::open(netns).with_context(|| format!("opening {}", netns.display()))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        thread
            .join()
            .map_err(|_panic| anyhow!("a thread panicked"))?
    })
}
