//! What others do to an agent makes no log line each time.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use testbed::Alone;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pi-agent");
/// How often the agent meets each.
const TIMES: u32 = 50;
/// Lines of one kind: the first, and one more where a state ended and began again.
const MOST: usize = 2;

/// A server that answers every call with this.
fn server(answer: &'static str) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || talk(stream, answer));
        }
    });
    Ok(address)
}

/// Answers each read: calls are small, and come one after the other.
fn talk(mut stream: TcpStream, answer: &str) {
    let mut call = vec![0; 64 << 10];
    while stream.read(&mut call).is_ok_and(|read| read > 0) {
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Has an agent ask that server, and be asked nonsense itself; its warnings by their texts, without
/// what stands in their fields.
fn warnings(answer: &'static str) -> Result<BTreeMap<String, usize>> {
    let content = tempfile::tempdir()?;
    let server = format!("http://{}", server(answer)?);
    let program = Path::new(PROGRAM);
    let agent = Alone::start_agent(program, &server, content.path(), &["--resolve-tags"])?;
    for n in 0..TIMES {
        let missing = format!("/v2/lib/a/blobs/sha256:{n:064}?ns=r.test");
        assert!(agent.get("mirror", &missing)?.starts_with("HTTP/1.1 404"));
        let tag = format!("/v2/lib/a/manifests/v{n}?ns=127.0.0.1:1");
        assert!(agent.get("mirror", &tag)?.starts_with("HTTP/1.1 404"));
        for listener in ["mirror", "peer"] {
            for nonsense in ["GET /", "BREW /v2/ HTTP/1.1\r\n\r\n", "\0\r\n\r\n"] {
                let mut stream = TcpStream::connect(agent.address(listener)?)?;
                stream.write_all(nonsense.as_bytes())?;
            }
        }
    }
    // The reader of its log is a thread of its own.
    thread::sleep(Duration::from_millis(100));
    let mut warnings = BTreeMap::new();
    for line in agent.log() {
        let is_warning = line.contains(" WARN ") || line.contains(" ERROR ");
        if let Some((_, text)) = line.split_once(": ").filter(|_| is_warning) {
            let text = text.split('=').next().context("no text")?.to_owned();
            *warnings.entry(text).or_default() += 1;
        }
    }
    Ok(warnings)
}

#[test]
fn what_happens_at_the_rate_of_requests_is_told_of_once() -> Result<()> {
    let replies = [
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
    ];
    for reply in replies {
        let warnings = warnings(reply)?;
        assert!(!warnings.is_empty(), "nothing is said of {reply:?}");
        for (text, times) in &warnings {
            assert!(*times <= MOST, "{times} times of {reply:?}: {text}");
        }
    }
    Ok(())
}
