//! Fetches objects and discards them as cheaply as can be.

use std::{
    fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use rustix::net::{RecvFlags, recv};
use serde::Serialize;

/// Fetches objects over HTTP.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// Who is asked.
    #[arg(long)]
    from: SocketAddr,
    /// Connections at once; the paths are dealt out to them.
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// How often each path is fetched.
    #[arg(long, default_value_t = 1)]
    repeat: u32,
    /// containerd's content directory: after each round its blobs directory has the blobs for a while.
    #[arg(long)]
    commit: Option<PathBuf>,
    /// What is fetched.
    #[arg(required = true)]
    paths: Vec<String>,
}

/// What was fetched, in which time.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    seconds: f64,
    bytes: u64,
    failed: u32,
}

/// Nothing takes longer than this between two of its bytes.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a blob stays: longer than between two looks of an agent for it.
const COMMITTED: Duration = Duration::from_secs(1);
/// Most bytes that one call discards.
const DISCARD: usize = 1 << 20;
const MAX_HEAD: usize = 8 << 10;

impl Fetch {
    pub(crate) fn run(&self) -> Result<()> {
        let mut outcome = Outcome::default();
        let mut connections: Vec<_> = (0..self.streams).map(|_| None).collect();
        for _ in 0..self.repeat {
            let begin = Instant::now();
            let round = self.round(&mut connections)?;
            outcome.seconds += begin.elapsed().as_secs_f64();
            outcome.bytes += round.bytes;
            outcome.failed += round.failed;
            if let Some(content) = &self.commit {
                self.commit(&content.join("blobs/sha256"))?;
            }
        }
        writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
        Ok(())
    }

    /// Fetches each path once.
    fn round(&self, connections: &mut [Option<TcpStream>]) -> Result<Outcome> {
        thread::scope(|scope| {
            let streams: Vec<_> = connections
                .iter_mut()
                .enumerate()
                .map(|(first, connection)| scope.spawn(move || self.stream(first, connection)))
                .collect();
            let mut all = Outcome::default();
            for stream in streams {
                let one = stream
                    .join()
                    .map_err(|_panic| anyhow!("a stream panicked"))?;
                all.bytes += one.bytes;
                all.failed += one.failed;
            }
            Ok(all)
        })
    }

    /// Shows an agent that its containerd took what it got, as it does after each pull. An agent that
    /// sees no commit takes the next fetch of a blob for a sign that it was wrong.
    fn commit(&self, blobs: &Path) -> Result<()> {
        fs::create_dir_all(blobs).with_context(|| format!("making {}", blobs.display()))?;
        let blobs: Vec<_> = self
            .paths
            .iter()
            .map(|path| blobs.join(hex(path)))
            .collect();
        for blob in &blobs {
            fs::write(blob, "").with_context(|| format!("making {}", blob.display()))?;
        }
        thread::sleep(COMMITTED);
        for blob in &blobs {
            fs::remove_file(blob).with_context(|| format!("removing {}", blob.display()))?;
        }
        Ok(())
    }

    /// Fetches each path that falls to this stream, one after the other.
    fn stream(&self, first: usize, connection: &mut Option<TcpStream>) -> Outcome {
        let mut outcome = Outcome::default();
        for path in self.paths.iter().skip(first).step_by(self.streams) {
            if let Ok(bytes) = self.one(connection, path) {
                outcome.bytes += bytes;
            } else {
                outcome.failed += 1;
                *connection = None;
            }
        }
        outcome
    }

    fn one(&self, connection: &mut Option<TcpStream>, path: &str) -> Result<u64> {
        let stream = match connection.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let stream = connection.insert(stream);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.from)?;
        let length = read_head(stream)?;
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(DISCARD).min(DISCARD);
            let count = discard(stream, most)?;
            ensure!(count > 0, "the body ended {left} bytes early");
            left -= count;
        }
        Ok(length)
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.from).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(stream)
    }
}

/// The hexadecimal digits of the digest in the path of a blob.
fn hex(path: &str) -> &str {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.rsplit_once(':').map_or(path, |(_, hex)| hex)
}

/// Lets the kernel throw bytes away without copying them.
fn discard(stream: &TcpStream, most: usize) -> Result<u64> {
    thread_local! {
        static ROOM: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; DISCARD]);
    }
    ROOM.with_borrow_mut(|room| {
        let room = room.get_mut(..most).context("too much at once")?;
        let (_, count) = recv(stream, room, RecvFlags::TRUNC).context("reading a body")?;
        Ok(u64::try_from(count)?)
    })
}

/// Reads a head, byte by byte so that nothing of the body comes along, and gives the body's length.
fn read_head(stream: &TcpStream) -> Result<u64> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD, "the head is too long");
        let mut room = [0; 1024];
        // Looked at first, so that no more than the head is taken.
        let (_, seen) = recv(stream, &mut room, RecvFlags::PEEK).context("reading a head")?;
        ensure!(seen > 0, "no head came");
        let seen = room.get(..seen).unwrap_or_default();
        let end = seen.windows(4).position(|four| four == b"\r\n\r\n");
        let take = end.map_or(1, |at| at + 4);
        let mut taken = vec![0; take];
        let (_, count) = recv(stream, &mut taken[..], RecvFlags::WAITALL)?;
        head.extend_from_slice(taken.get(..count).unwrap_or_default());
    }
    let head = String::from_utf8(head).context("the head is no text")?;
    ensure!(
        head.starts_with("HTTP/1.1 200 "),
        "{}",
        head.lines().next().unwrap_or_default()
    );
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("no Content-Length")?;
    Ok(length.1.trim().parse()?)
}
