//! A program that runs by itself on the loopback interface, for tests that need no bed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::wait::wait_until;

const START: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(10);

/// A program of this workspace that has said where it listens. Dropping it kills it.
#[derive(Debug)]
pub struct Alone {
    child: Child,
    said: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Alone {
    /// Starts it and waits for the line of its log that has `word` in it, which names its
    /// addresses as `name=address`.
    ///
    /// # Errors
    ///
    /// When it ends before that.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        word: &str,
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let log = child.stderr.take().context("it has no log")?;
        let mut alone = Self {
            child,
            said: String::new(),
            log: Arc::default(),
        };
        let mut lines = BufReader::new(log).lines();
        let said = lines.find_map(|line| line.ok().filter(|line| line.contains(word)));
        alone.said = said.with_context(|| format!("it ended without a line with {word:?}"))?;
        let log = Arc::clone(&alone.log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().push(line);
            }
        });
        Ok(alone)
    }

    /// Starts an agent with these arguments, on ports of its own: without containerd, whose content is
    /// this directory, and with this server.
    ///
    /// # Errors
    ///
    /// When it ends before it has bound them.
    pub fn start_agent(
        program: &Path,
        server: &str,
        content: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut all = vec![
            "run".to_owned(),
            format!("--server={server}"),
            "--accounting=off".to_owned(),
            "--advertise-address=192.0.2.1".to_owned(),
            "--mirror-listen=127.0.0.1:0".to_owned(),
            "--peer-listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            "--containerd-socket=/nowhere".to_owned(),
            format!("--content-path={}", content.display()),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self::start(program, all, " bound ")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its log so far, without the one that it was waited for and those before.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// One of its addresses.
    ///
    /// # Errors
    ///
    /// When it has not said it.
    pub fn address(&self, name: &str) -> Result<SocketAddr> {
        let words = self.said.split(' ');
        let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let value = values
            .next()
            .with_context(|| format!("no {name} in {:?}", self.said))?;
        value
            .parse()
            .with_context(|| format!("not an address: {value}"))
    }

    /// Gets a page from one of its addresses: head and body as text.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn get(&self, name: &str, target: &str) -> Result<String> {
        let address = self.address(name)?;
        // It says where it listens a moment before it does.
        let mut stream = wait_until("a connection", START, || {
            Ok(Some(TcpStream::connect(address)?))
        })?;
        stream.set_read_timeout(Some(SILENCE))?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
