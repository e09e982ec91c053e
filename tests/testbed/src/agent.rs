//! A running pi-agent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::binaries::binary;
use crate::containerd::Containerd;
use crate::http::{Answer, get};
use crate::network::Host;
use crate::process::Process;
use crate::run::Run;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);
const MIRROR: u16 = 288;
const ADMIN: u16 = 7786;

/// What an agent is told; the rest follows from its node.
#[derive(Clone, Debug)]
pub struct AgentSetup {
    /// The servers it reports to.
    pub servers: Vec<String>,
    /// Its group.
    pub group: String,
    /// More flags.
    pub arguments: Vec<String>,
    /// Flags that follow from the node and are left out.
    pub without: Vec<String>,
    /// What starts it, and what comes before its own arguments; nothing for the program of this
    /// workspace as it was built.
    pub command: Vec<PathBuf>,
}

/// A pi-agent on a node. Dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    process: Process,
}

/// What an agent has exchanged with one peer, as its status page says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct PeerBytes {
    /// The peer's address.
    pub addr: String,
    /// Bytes of content that came from it.
    pub received_bytes: u64,
    /// Bytes of content that went to it.
    pub sent_bytes: u64,
}

#[derive(Deserialize)]
struct Status {
    peers: Vec<PeerBytes>,
}

impl Agent {
    /// Starts one and waits until its listeners answer. It may not be ready yet: with no
    /// containerd it never is.
    ///
    /// # Errors
    ///
    /// When it has not been built or does not start.
    pub fn start(
        run: &Run,
        host: &Host,
        containerd: &Containerd,
        setup: &AgentSetup,
    ) -> Result<Self> {
        let arguments = [
            "run".to_owned(),
            format!("--server={}", setup.servers.join(",")),
            format!("--group={}", setup.group),
            format!("--advertise-address={}", host.address),
            format!("--containerd-socket={}", containerd.socket().display()),
            format!("--content-path={}", containerd.content().display()),
        ];
        // What the test says itself comes in place of what follows from the node.
        let flag = |argument: &String| argument.split('=').next().map(str::to_owned);
        let said: Vec<_> = setup.arguments.iter().map(flag).collect();
        let usual = arguments
            .iter()
            .filter(|usual| !said.contains(&flag(usual)))
            .filter(|usual| !flag(usual).is_some_and(|flag| setup.without.contains(&flag)));
        let (program, before) = match setup.command.split_first() {
            Some((program, before)) => (program.clone(), before),
            None => (binary("pi-agent")?, &[][..]),
        };
        let before = before.iter().map(|path| path.as_os_str());
        let arguments = before.chain(usual.chain(&setup.arguments).map(AsRef::as_ref));
        let name = format!("{}-agent", host.name);
        let process = Process::start(run, &host.netns, &name, &program, arguments)?;
        let mut agent = Self {
            host: host.clone(),
            process,
        };
        let netns = host.netns.clone();
        let healthy = || Ok(get(&netns, local(ADMIN), "/healthz")?.status == 200);
        agent.process.wait_ready(START, healthy)?;
        Ok(agent)
    }

    /// Where the containerd of its node reaches it.
    pub fn mirror_url() -> String {
        format!("http://{}", local(MIRROR))
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// When it ends or the time passes.
    pub fn wait_ready(&mut self) -> Result<()> {
        let netns = self.host.netns.clone();
        let ready = || Ok(get(&netns, local(ADMIN), "/readyz")?.status == 200);
        self.process.wait_ready(START, ready)
    }

    /// Asks its admin endpoint.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn admin(&self, target: &str) -> Result<Answer> {
        get(&self.host.netns, local(ADMIN), target)
    }

    /// Asks its mirror, as the containerd of its node would.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn mirror(&self, target: &str) -> Result<Answer> {
        get(&self.host.netns, local(MIRROR), target)
    }

    /// Asks its mirror and leaves the answer to be read, before which it may be silent for as long as
    /// `silence`. The connection ends with the answer.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn ask(&self, target: &str, silence: Duration) -> Result<TcpStream> {
        let mut stream = self.host.netns.connect(local(MIRROR), silence)?;
        stream.set_read_timeout(Some(silence))?;
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).context("asking")?;
        Ok(stream)
    }

    /// What it has exchanged with its peers.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as agreed.
    pub fn peers(&self) -> Result<Vec<PeerBytes>> {
        let answer = self.admin("/status")?;
        ensure!(
            answer.status == 200,
            "/status answered {}: {}",
            answer.status,
            answer.text()
        );
        let status: Status = serde_json::from_slice(&answer.body)
            .with_context(|| format!("parsing the agent's status: {}", answer.text()))?;
        Ok(status.peers)
    }

    /// The bytes it has received, by the peer's IP address.
    ///
    /// # Errors
    ///
    /// When it does not answer, or not as agreed.
    pub fn received(&self) -> Result<BTreeMap<IpAddr, u64>> {
        let mut received = BTreeMap::new();
        for peer in self.peers()? {
            let address = peer
                .addr
                .parse()
                .or_else(|_not_bare: std::net::AddrParseError| {
                    peer.addr.parse().map(|address: SocketAddr| address.ip())
                });
            let address = address.with_context(|| format!("not an address: {}", peer.addr))?;
            if peer.received_bytes > 0 {
                *received.entry(address).or_default() += peer.received_bytes;
            }
        }
        Ok(received)
    }

    /// The running program.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it as a crash would: it cannot tell the server that it leaves.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
