//! Many connections: from many addresses, or one after the other from few.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use pi_agent::ebpf::Accounting;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use crate::{
    PORT,
    exchange::{receive, receive_all, send},
    outcome,
};

/// Connections from many addresses of this namespace to one other, each of one request and one
/// answer.
#[derive(Debug, Args)]
pub(crate) struct Many {
    /// The number of clients' addresses.
    #[arg(long)]
    peers: u16,
    /// Connections from each.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// How often all of it is repeated, each time after all peers have been forgotten.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

const REQUEST: u64 = 100;
const ANSWER: u64 = 1000;
/// Addresses that any socket here may have, though no interface does: RFC 2544.
const NETWORK: &str = "198.19.0.0/16";
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 1);

impl Many {
    pub(crate) fn run(&self, accounting: &Accounting) -> Result<()> {
        let route = ["route", "add", "local", NETWORK, "dev", "lo"];
        ensure!(
            Command::new("ip").args(route).status()?.success(),
            "the route was refused"
        );
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
        let mut reported = BTreeMap::new();
        let mut memory = Vec::new();
        for _ in 0..self.rounds {
            self.round(&listener)?;
            accounting.pass(Instant::now);
            memory.push(resident_kib()?);
            for report in accounting.take_reports(usize::MAX, Instant::now) {
                let sums: &mut (u64, u64) = reported.entry(report.peer).or_default();
                sums.0 += report.received.bytes;
                sums.1 += report.sent.bytes;
            }
            if self.rounds > 1 {
                forget(accounting)?;
            }
        }
        let each = u64::from(self.connections) * u64::from(self.rounds);
        // The server is the peer of all the clients' ends, those of clients without room included.
        let all = each * u64::from(self.peers);
        let expected = |peer| {
            if peer == IpAddr::V4(SERVER) {
                (all * ANSWER, all * REQUEST)
            } else {
                (each * REQUEST, each * ANSWER)
            }
        };
        let wrong = reported
            .iter()
            .filter(|&(&peer, &sums)| sums != expected(peer));
        let truth = json!({
            "peers": self.peers,
            "reported": reported.len(),
            "wrong": wrong.count(),
            "server": reported.get(&IpAddr::V4(SERVER)),
            "memory_kib": memory,
        });
        outcome::print(accounting, &truth)
    }

    fn round(&self, listener: &TcpListener) -> Result<()> {
        let total = u32::from(self.peers) * self.connections;
        thread::scope(|scope| {
            let server = scope.spawn(move || {
                for _ in 0..total {
                    let (server, _) = listener.accept().context("accepting")?;
                    receive(&server, REQUEST)?;
                    send(&server, ANSWER)?;
                }
                Ok(())
            });
            for _ in 0..self.connections {
                for peer in 0..self.peers {
                    let [high, low] = peer.to_be_bytes();
                    let client = dial(Ipv4Addr::new(198, 19, high, low))?;
                    send(&client, REQUEST)?;
                    // The server closes first, so that no client's address waits in TIME_WAIT.
                    ensure!(receive_all(&client)? == ANSWER, "the answer is incomplete");
                }
            }
            server
                .join()
                .map_err(|_panic| anyhow!("the server panicked"))?
        })
    }
}

fn dial(from: Ipv4Addr) -> Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::V4(SocketAddrV4::new(from, 0)))?;
    connect(&socket, &SocketAddr::V4(SocketAddrV4::new(SERVER, PORT)))
        .with_context(|| format!("connecting from {from}"))?;
    Ok(TcpStream::from(socket))
}

/// Waits until all peers are forgotten, which the caller's settings have happen soon.
fn forget(accounting: &Accounting) -> Result<()> {
    let start = Instant::now();
    while !accounting.peers().is_empty() {
        ensure!(
            start.elapsed() < Duration::from_secs(20),
            "idle peers are not forgotten"
        );
        thread::sleep(Duration::from_millis(50));
        accounting.pass(Instant::now);
    }
    Ok(())
}

fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no resident size")?.parse()?)
}
