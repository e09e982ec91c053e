//! A server that cannot be reached holds up no pull: once that is noticed, the mirror answers 404
//! at once to what this node does not have, also while the server is tried again.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use system_tests::{bed, node};
use testbed::{Agent, Bed, Release};

/// The promise of the agent.
const AT_ONCE: Duration = Duration::from_millis(50);
/// The request that notices it may take as long as an answer of the server may.
const NOTICED: Duration = Duration::from_secs(2);
/// Long enough for several attempts to reach the server in the background.
const ASKED: Duration = Duration::from_secs(4);
/// An address of no host of the bed.
const NOBODY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 250);

/// Asks for one object after the other, none of which anybody has.
fn ask(agent: &Agent) -> Result<()> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < ASKED {
        let number = times.len();
        let kind = ["manifests", "blobs"][number % 2];
        let path = format!("/v2/lib/app/{kind}/sha256:{number:064x}?ns=registry.test");
        let asked = Instant::now();
        let status = agent.mirror(&path)?.status;
        times.push(asked.elapsed());
        ensure!(status == 404, "{path}: status {status}");
    }
    let [first, rest @ ..] = times.as_mut_slice() else {
        anyhow::bail!("nothing was asked");
    };
    ensure!(*first < NOTICED, "the first request took {first:?}");
    ensure!(rest.len() > 50, "only {} requests", rest.len());
    // One in a hundred is what a busy machine may delay by itself.
    rest.sort_unstable();
    let slow = rest.iter().filter(|time| **time >= AT_ONCE).count();
    ensure!(
        slow * 100 <= rest.len(),
        "{slow} of {} requests took {AT_ONCE:?} and more: {:?}",
        rest.len(),
        rest.last()
    );
    Ok(())
}

/// Starts the node's agent with one server and asks its mirror.
fn check(bed: &mut Bed, server: String) -> Result<()> {
    bed.use_servers(&[server]);
    bed.nodes[0].agent = None;
    bed.start_agent(0, &[])?;
    ask(bed.nodes[0].agent.as_ref().context("no agent")?)
}

#[test]
fn a_host_that_nothing_comes_back_from() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1])?;
    node(&bed, 0)?.host.lose_packets_to(NOBODY)?;
    check(&mut bed, format!("http://{NOBODY}:7789"))
}

#[test]
fn a_host_that_refuses() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1])?;
    let server = bed.server_url();
    check(&mut bed, server)
}

#[test]
fn a_server_that_is_halted() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1])?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    let server = bed.server.as_ref().context("no server")?;
    server.process().freeze()?;
    let asked = ask(bed.nodes[0].agent.as_ref().context("no agent")?);
    server.process().thaw()?;
    asked
}
