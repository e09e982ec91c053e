//! A host that has nothing, and knows in whose name it was asked.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use testbed::Netns;

/// The listener. It goes with the test's process.
pub(super) struct Asked {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Asked {
    pub(super) fn start(netns: &Netns) -> Result<Self> {
        let listener = netns.listen((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let paths = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&paths);
        thread::spawn(move || serve(&listener, &asked));
        Ok(Self { address, paths })
    }

    /// Makes a directory of mirror files whose only host is this one, under `name`.
    pub(super) fn write(&self, directory: &Path, name: &str) -> Result<()> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let url = format!("http://{}/{name}", self.address);
        // Without a server of its own, containerd would go on to one that has no address.
        let text = format!(
            "server = {url:?}\n\n[host.{url:?}]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        fs::write(directory.join("hosts.toml"), text).context("writing a mirror file")
    }

    /// In whose name it was asked first since the last time.
    pub(super) fn first(&self) -> Option<String> {
        let mut paths = self.paths.lock();
        let first = paths.first().cloned();
        paths.clear();
        let first = first?;
        Some(
            first
                .trim_start_matches('/')
                .split("/v2/")
                .next()?
                .to_owned(),
        )
    }
}

fn serve(listener: &TcpListener, asked: &Mutex<Vec<String>>) {
    for stream in listener.incoming().flatten() {
        // One that breaks off asked for nothing.
        let _ = answer(stream, asked);
    }
}

fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    let path = request.split(' ').nth(1).context("no path")?.to_owned();
    asked.lock().push(path);
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    stream
        .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .context("answering")
}
