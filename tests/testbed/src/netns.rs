//! A network namespace of the run.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::exec::run_line;
use crate::run::Run;

/// A named network namespace. The run's cleaner removes it.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    _run: Run,
}

impl Netns {
    pub(crate) fn create(run: &Run, suffix: &str) -> Result<Self> {
        let name = format!("{}-{suffix}", run.name());
        run_line(&format!("ip netns add {name}"))?;
        run_line(&format!("ip -n {name} link set lo up"))?;
        Ok(Self {
            name,
            _run: run.clone(),
        })
    }

    /// Has TCP inside it use CUBIC, where the kernel has that.
    pub(crate) fn use_cubic(&self) -> Result<()> {
        const HAS: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        const USES: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
        self.inside(|| {
            if fs::read_to_string(HAS)?.contains("cubic") {
                fs::write(USES, "cubic").context(USES)?;
            }
            Ok(())
        })
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command that runs inside it. `ip netns exec` would also remount /sys and so hide the
    /// control groups.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg(program);
        command
    }

    /// Runs `work` on a thread of its own inside the namespace. A socket made there stays there.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered, and what `work` gives.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = self.path();
        let enter = || {
            let file = File::open(&path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok::<_, std::io::Error>(())
        };
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter().with_context(|| format!("entering namespace {}", self.name))?;
                work()
            });
            thread
                .join()
                .map_err(|_panic| anyhow!("a thread in {} panicked", self.name))?
        })
    }

    /// Connects from inside.
    ///
    /// # Errors
    ///
    /// When nobody accepts within the time.
    pub fn connect(&self, address: SocketAddr, within: Duration) -> Result<TcpStream> {
        self.inside(|| {
            TcpStream::connect_timeout(&address, within)
                .with_context(|| format!("connecting to {address} from {}", self.name))
        })
    }

    /// Listens inside.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.inside(|| {
            TcpListener::bind(address)
                .with_context(|| format!("listening on {address} in {}", self.name))
        })
    }
}
