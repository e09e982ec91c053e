//! A program that runs while others measure it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use testbed::wait_until;

/// A child, its output in a file. Dropping it asks it to end, and kills it where it does not.
#[derive(Debug)]
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

const END: Duration = Duration::from_mins(1);

impl Running {
    /// Starts the command; its log goes to `<name>.log` in the directory.
    pub(crate) fn start(
        name: &'static str,
        directory: &Path,
        command: &mut Command,
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let errors = file.try_clone().context("sharing a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` holds, and no longer than the program lives.
    pub(crate) fn wait_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        let waited = wait_until(&what, within, || {
            let ended = !matches!(self.child.try_wait(), Ok(None));
            Ok((ended || ready()).then_some(ended))
        });
        match waited {
            Ok(false) => Ok(()),
            Ok(true) => bail!("{} ended at its start:\n{}", self.name, self.last_words()),
            Err(error) => Err(error).with_context(|| self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(15)..);
        last.unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = wait_until(self.name, END, || {
            Ok((!matches!(self.child.try_wait(), Ok(None))).then_some(()))
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// An address of this machine on which nothing listens just now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    listener.local_addr().context("finding a free port")
}

/// What a GET is answered, without its head.
pub(crate) fn page(address: SocketAddr, path: &str) -> Result<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: bench\r\nConnection: close\r\n\r\n"
        )?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        Ok(reply)
    };
    let reply = ask().with_context(|| format!("asking {address} for {path}"))?;
    let (_, body) = reply.split_once("\r\n\r\n").context("a reply's head")?;
    Ok(body.to_owned())
}

/// Whether a GET is answered with 200.
pub(crate) fn answers(address: SocketAddr, path: &str) -> bool {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
        )?;
        let mut reply = vec![0; 12];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    };
    ask().is_ok_and(|reply| reply == b"HTTP/1.1 200")
}
