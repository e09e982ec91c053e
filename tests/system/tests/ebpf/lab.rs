//! Two namespaces with a link between them, and a third for the process that counts.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use testbed::{Host, Netns, Network, Plan, Process, Run, wait_until};

/// Longer than any of the transfers takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// The laboratory.
#[derive(Debug)]
pub(crate) struct Lab {
    run: Run,
    network: Network,
    /// How many times traffic was made; each has a log of its own.
    count: Cell<u32>,
}

/// What `ebpf-traffic` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) mode: Mode,
    pub(crate) peers: Vec<Peer>,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) truth: Truth,
}

/// How it counted.
#[derive(Debug, Deserialize)]
pub(crate) struct Mode {
    pub(crate) in_force: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
}

/// What it counted of one peer.
#[derive(Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) received: Flow,
    pub(crate) sent: Flow,
    pub(crate) retransmits: u64,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) rtt_us: Option<u64>,
}

/// One direction.
#[derive(Debug, Deserialize)]
pub(crate) struct Flow {
    pub(crate) bytes: u64,
    pub(crate) throughput: Option<f64>,
}

/// What is known to be true.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Truth {
    pub(crate) connections: u64,
    pub(crate) requested: u64,
    pub(crate) answered: u64,
    pub(crate) busy_seconds: f64,
    pub(crate) peers: u64,
    pub(crate) reported: u64,
    pub(crate) wrong: u64,
    /// Bytes from and to the server of all the clients.
    pub(crate) server: Option<(u64, u64)>,
    pub(crate) memory_kib: Vec<u64>,
    /// What the kernel says of the program, if it was to measure it.
    pub(crate) program: Option<Program>,
}

/// What the kernel says of the eBPF program.
#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) runs: u64,
}

/// How the server's link is shaped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Link {
    Unshaped,
    /// 100 Mbit/s by a token bucket.
    Tbf,
    /// The same with a queue so short that it drops.
    Lossy,
    /// 100 Mbit/s by a hierarchical token bucket.
    Htb,
    /// 500 Mbit/s with a queue of 4 MB, which the sender fills.
    Deep,
    /// 800 Mbit/s with a queue so short that it drops, and segments that do not tell the time.
    FastLossy,
}

/// By which addresses the ends talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Lab {
    pub(crate) fn build(link: Link) -> Result<Self> {
        let run = Run::start()?;
        let network = Network::build(&run, &Plan::unshaped(&[3]))?;
        let lab = Self {
            run,
            network,
            count: Cell::new(0),
        };
        for (number, host) in (1..).zip(lab.network.nodes()) {
            let address = v6(number);
            command(
                &host.netns,
                &format!("ip addr add {address}/64 dev eth0 nodad"),
            )?;
        }
        let shape = |line: &str| command(&lab.server()?.netns, line);
        match link {
            Link::Unshaped => {}
            Link::Tbf => {
                shape("tc qdisc add dev eth0 root tbf rate 100mbit burst 32kb limit 300kb")?;
            }
            Link::Lossy => {
                shape("tc qdisc add dev eth0 root tbf rate 100mbit burst 10kb limit 12kb")?;
            }
            Link::Deep => {
                shape("sysctl -qw net.ipv4.tcp_congestion_control=reno")?;
                shape("tc qdisc add dev eth0 root tbf rate 500mbit burst 128kb limit 4mb")?;
            }
            Link::FastLossy => {
                shape("sysctl -qw net.ipv4.tcp_timestamps=0")?;
                shape("tc qdisc add dev eth0 root tbf rate 800mbit burst 20kb limit 40kb")?;
            }
            Link::Htb => {
                shape("tc qdisc add dev eth0 root handle 1: htb default 1")?;
                shape("tc class add dev eth0 parent 1: classid 1:1 htb rate 100mbit burst 15k")?;
            }
        }
        Ok(lab)
    }

    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) fn server(&self) -> Result<&Host> {
        self.network.nodes().first().context("no server")
    }

    pub(crate) fn client(&self) -> Result<&Host> {
        self.network.nodes().get(1).context("no client")
    }

    /// Where the process that counts stands.
    pub(crate) fn observer(&self) -> Result<&Netns> {
        Ok(&self.network.nodes().get(2).context("no observer")?.netns)
    }

    /// The addresses of the server and the client.
    pub(crate) fn addresses(&self, family: Family) -> Result<(IpAddr, IpAddr)> {
        Ok(match family {
            Family::V4 => (self.server()?.address, self.client()?.address),
            Family::V6 => (v6(1).into(), v6(2).into()),
        })
    }

    /// Runs `ebpf-traffic <work> <where> <arguments>` to its end; options of all works go before `work`.
    pub(crate) fn traffic(&self, work: &str, family: Family, arguments: &str) -> Result<Outcome> {
        let mut all: Vec<_> = work.split_whitespace().map(str::to_owned).collect();
        all.push(format!(
            "--server-netns={}",
            self.server()?.netns.path().display()
        ));
        all.push(format!(
            "--client-netns={}",
            self.client()?.netns.path().display()
        ));
        all.push(format!("--server={}", self.addresses(family)?.0));
        all.extend(arguments.split_whitespace().map(str::to_owned));
        self.run_to_end(all)
    }

    /// Runs `ebpf-traffic <arguments>` to its end.
    pub(crate) fn traffic_alone(&self, arguments: &str) -> Result<Outcome> {
        self.run_to_end(arguments.split_whitespace().map(str::to_owned).collect())
    }

    fn run_to_end(&self, arguments: Vec<String>) -> Result<Outcome> {
        let name = format!("traffic{}", self.count.replace(self.count.get() + 1));
        let mut process = Process::start(&self.run, self.observer()?, &name, program(), arguments)?;
        wait_until("the traffic to end", PATIENCE, || {
            Ok((!process.is_running()).then_some(()))
        })
        .with_context(|| process.log_tail())?;
        parse(&process.log())
    }
}

impl Outcome {
    pub(crate) fn peer(&self, address: IpAddr) -> Result<&Peer> {
        self.peers
            .iter()
            .find(|peer| peer.address == address)
            .with_context(|| format!("no peer {address} in {:?}", self.peers))
    }
}

/// The program that makes the traffic.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-traffic"))
}

/// The last line that the program has printed.
pub(crate) fn parse(log: &str) -> Result<Outcome> {
    let line = log.lines().rfind(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("no result in:\n{log}"))?;
    serde_json::from_str(line).with_context(|| format!("parsing {line}"))
}

fn v6(number: u16) -> Ipv6Addr {
    // RFC 5180: for benchmarks.
    Ipv6Addr::new(0x2001, 0x2, 0, 0, 0, 0, 0, number)
}

fn command(netns: &Netns, line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty line")?;
    let output = netns.command(program).args(words).output()?;
    ensure!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
