//! A node that is still getting a blob, played by the test: it sends chunks with their digests, and
//! lies about them in one way.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use pi_agent::chunks::{ChunkDigest, LABEL};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const CHUNK: usize = 1 << 20;

/// What is wrong with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// The byte there is another one than its chunk's digest says.
    pub(crate) wrong_byte: Option<usize>,
    /// The byte there is another one, and its chunk's digest fits that.
    pub(crate) false_list: Option<usize>,
    /// The connection ends before that byte, after so long.
    pub(crate) cut: Option<usize>,
    pub(crate) lingers: Duration,
    /// It knows no chunks, as an older agent.
    pub(crate) unlabelled: bool,
    /// Its body is this, whatever it was asked for.
    pub(crate) noise: Option<Vec<u8>>,
    /// Its body comes in pieces of these sizes.
    pub(crate) pieces: Vec<usize>,
    /// It knows no stripes, as an older agent.
    pub(crate) unstriped: bool,
    /// It has no room.
    pub(crate) busy: bool,
    /// It takes requests, and has no byte yet.
    pub(crate) mute: bool,
    /// Whose word its chunk list is; its own if nobody's.
    pub(crate) maker: Option<SocketAddr>,
    /// It waits for so long before each chunk.
    pub(crate) pause: Duration,
    /// From that byte on it sends nothing, and does not say that it lives.
    pub(crate) dies: Option<usize>,
    /// It gets this number of bytes in a second, as it says, and has none yet.
    pub(crate) gets: Option<usize>,
    /// From that byte on it sends nothing, and says each time that it has got more since then.
    pub(crate) boasts: Option<(usize, Instant)>,
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Feeder {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Feeder {
    pub(crate) async fn start(blob: &[u8], faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<usize>>>::default();
        let (blob, starts) = (blob.to_vec(), Arc::clone(&asked));
        let dead = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (blob, faults, starts) = (blob.clone(), faults.clone(), Arc::clone(&starts));
                let dead = Arc::clone(&dead);
                #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
                tokio::spawn(async move {
                    // The client may break off.
                    let _ = serve(stream, &blob, &faults, (&starts, &dead, began)).await;
                });
            }
        });
        Self { addr, asked }
    }

    /// From which bytes on it was asked for the blob.
    pub(crate) fn asked(&self) -> Vec<usize> {
        self.asked.lock().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    blob: &[u8],
    faults: &Faults,
    (asked, dead, began): (&Mutex<Vec<usize>>, &AtomicBool, Instant),
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head).unwrap();
        let from = head.split_once("Range: bytes=").map_or(0, |(_, range)| {
            range.split('-').next().unwrap().parse().unwrap()
        });
        let total = blob.len();
        if dead.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if head.starts_with("HEAD") {
            let more = |(at, since): (usize, Instant)| {
                let more = usize::try_from(since.elapsed().as_millis()).unwrap_or(usize::MAX);
                total.min(at.saturating_add(more))
            };
            let got = |rate: usize| {
                let millis = usize::try_from(began.elapsed().as_millis()).unwrap_or(usize::MAX);
                total.min(rate.saturating_mul(millis) / 1000)
            };
            let reached = faults.boasts.map_or(total, more);
            let reached = faults.gets.map_or(reached, got);
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\nPiccolo-State: growing\r\n\
                 Piccolo-Reached: {reached}\r\n\r\n"
            );
            stream.write_all(reply.as_bytes()).await?;
            continue;
        }
        asked.lock().push(from);
        if faults.busy {
            let reply = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(reply.as_bytes()).await?;
            continue;
        }
        if faults.mute {
            return std::future::pending().await;
        }
        let every = head
            .split_once("Piccolo-Stripes: ")
            .map_or(1, |(_, every)| {
                every.split('\r').next().unwrap().parse().unwrap()
            });
        let every = if faults.unstriped { 1 } else { every };
        let (bytes, upto) = body(blob, (from, every), faults);
        let (reply, length) = answer(total, (from, every), &head, faults);
        stream.write_all(reply.as_bytes()).await?;
        let mut rest = &bytes[..upto];
        let mut pieces = faults.pieces.iter().cycle();
        while !rest.is_empty() {
            let whole = if faults.pause.is_zero() {
                rest.len()
            } else {
                tokio::time::sleep(faults.pause).await;
                CHUNK + LABEL
            };
            let piece = pieces.next().copied().unwrap_or(whole).max(1);
            let (now, later) = rest.split_at(piece.min(rest.len()));
            stream.write_all(now).await?;
            rest = later;
            tokio::task::yield_now().await;
        }
        if faults.dies.is_some() && upto < length {
            dead.store(true, Ordering::Relaxed);
            return std::future::pending().await;
        }
        if faults.boasts.is_some() && upto < length {
            // It keeps the connection open.
            std::future::pending::<()>().await;
        }
        if upto < length {
            tokio::time::sleep(faults.lingers).await;
            return Ok(());
        }
    }
}

/// The head of the reply to `request`, and how long its body is.
fn answer(
    total: usize,
    (from, every): (usize, usize),
    request: &str,
    faults: &Faults,
) -> (String, usize) {
    let mut fields = String::new();
    let (start, length) = if faults.unlabelled {
        (from, total - from)
    } else {
        assert!(
            request.contains("Piccolo-Chunks: blake3-1048576"),
            "{request}"
        );
        fields.push_str("Piccolo-Chunks: blake3-1048576\r\n");
        let start = from - from % CHUNK;
        let starts = (start..total).step_by(every * CHUNK);
        let chunks = starts.map(|start| LABEL + CHUNK.min(total - start));
        (start, chunks.sum())
    };
    if every > 1 {
        let _ = write!(fields, "Piccolo-Stripes: {every}\r\n");
    }
    if let Some(maker) = faults.maker {
        let _ = write!(fields, "Piccolo-Maker: {maker}\r\n");
    }
    let reply = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
         Content-Range: bytes {start}-{}/{total}\r\nPiccolo-State: growing\r\n{fields}\r\n",
        total - 1
    );
    (reply, length)
}

/// The body of a reply, every so manieth chunk from `from` on, and how much of it is sent.
fn body(blob: &[u8], (from, every): (usize, usize), faults: &Faults) -> (Vec<u8>, usize) {
    if let Some(noise) = &faults.noise {
        return (noise.clone(), noise.len());
    }
    if faults.unlabelled {
        return (blob[from..].to_vec(), blob.len() - from);
    }
    let mut body = Vec::new();
    let mut upto = None;
    let mut offset = from - from % CHUNK;
    while offset < blob.len() {
        let end = (offset + CHUNK).min(blob.len());
        let mut chunk = blob[offset..end].to_vec();
        let mut turn = |at: Option<usize>| {
            if let Some(at) = at.filter(|at| (offset..end).contains(at)) {
                chunk[at - offset] = !chunk[at - offset];
            }
        };
        turn(faults.false_list);
        let digest = ChunkDigest::of(&chunk);
        let mut chunk_sent = chunk;
        if let Some(at) = faults.wrong_byte.filter(|at| (offset..end).contains(at)) {
            chunk_sent[at - offset] = !chunk_sent[at - offset];
        }
        body.extend_from_slice(&digest.label());
        if let Some(at) = faults
            .cut
            .or(faults.dies)
            .or(faults.boasts.map(|(at, _)| at))
            .filter(|at| (offset..end).contains(at))
        {
            upto = Some(body.len() + at - offset);
        }
        body.extend_from_slice(&chunk_sent);
        offset = end + (every - 1) * CHUNK;
    }
    let all = body.len();
    (body, upto.unwrap_or(all))
}
