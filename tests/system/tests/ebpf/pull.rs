//! A pull through real agents: what is counted of a peer is what was served to it, to the byte.

use std::{collections::BTreeMap, net::IpAddr, thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use system_tests::{APP, bed, node, pull, push_app};
use testbed::{Agent, Bed, Image, Node, Release, wait_until};

/// Longer than agents keep idle connections: the end of what was sent may show only when its
/// connection is closed.
const SETTLES: Duration = Duration::from_secs(90);

/// What an agent says of a peer.
#[derive(Debug, Deserialize)]
struct Peer {
    addr: IpAddr,
    received_http_bytes: u64,
    sent_http_bytes: u64,
    received_tcp_bytes: u64,
    sent_tcp_bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Status {
    peers: Vec<Peer>,
}

/// By reporter and peer.
type Exchanged = BTreeMap<(IpAddr, IpAddr), Peer>;

/// Four nodes in two racks share an image as in the demo: one has it, then the others pull at once.
fn shared(accounting: &str) -> Result<(Bed, Image)> {
    let mut bed = bed(Release::V2, &[2, 2])?;
    bed.start_server(&[])?;
    bed.start_agents(&[&format!("--accounting={accounting}")])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    thread::scope(|scope| {
        let pulls: Vec<_> = bed
            .nodes
            .iter()
            .skip(1)
            .map(|node| scope.spawn(|| pull(node, APP)))
            .collect();
        pulls
            .into_iter()
            .try_for_each(|pull| pull.join().map_err(|_panic| anyhow!("a pull panicked"))?)
    })?;
    Ok((bed, image))
}

fn agent(node: &Node) -> Result<&Agent> {
    node.agent.as_ref().context("the node has no agent")
}

fn exchanged(bed: &Bed) -> Result<Exchanged> {
    let mut all = Exchanged::new();
    for node in &bed.nodes {
        let answer = agent(node)?.admin("/status")?;
        let status: Status = serde_json::from_slice(&answer.body)
            .with_context(|| format!("the status of {}", node.host.name))?;
        let peers = status.peers.into_iter();
        all.extend(peers.map(|peer| ((node.host.address, peer.addr), peer)));
    }
    Ok(all)
}

/// Both ends and both ways of counting agree, up to `slack` bytes for each pair of nodes.
fn agree(all: &Exchanged, slack: u64) -> Result<()> {
    for ((reporter, address), peer) in all {
        let other = all.get(&(*address, *reporter));
        let other = other.with_context(|| format!("{address} does not know {reporter}"))?;
        let pairs = [
            (
                "received",
                peer.received_tcp_bytes,
                peer.received_http_bytes,
            ),
            ("sent", peer.sent_tcp_bytes, peer.sent_http_bytes),
            (
                "received and sent there",
                peer.received_tcp_bytes,
                other.sent_http_bytes,
            ),
        ];
        for (what, counted, served) in pairs {
            ensure!(
                counted.abs_diff(served) <= slack,
                "{reporter} counted {counted} bytes {what}, {address}; the agents served {served}"
            );
        }
    }
    Ok(())
}

fn check(accounting: &str, slack: u64) -> Result<(Bed, Exchanged)> {
    let (bed, image) = shared(accounting)?;
    let mut last = Ok(());
    let settled = wait_until("all counters to agree", SETTLES, || {
        let all = exchanged(&bed)?;
        last = agree(&all, slack);
        Ok(last.is_ok().then_some(all))
    });
    let all = settled.with_context(|| format!("{last:?}"))?;
    let received: u64 = all.values().map(|peer| peer.received_tcp_bytes).sum();
    ensure!(
        received >= 3 * image.bytes() * 9 / 10,
        "three pulls of {} bytes came to {received} bytes from peers",
        image.bytes()
    );
    Ok((bed, all))
}

/// The value of a metric of a node, by the beginning of its line.
fn metric(node: &Node, name: &str) -> Result<f64> {
    let page = agent(node)?.admin("/metrics")?.text();
    let line = page.lines().find(|line| line.starts_with(name));
    let line = line.with_context(|| format!("no {name} in:\n{page}"))?;
    let (_, value) = line.rsplit_once(' ').context("no value")?;
    value
        .parse()
        .with_context(|| format!("the value of {line}"))
}

#[test]
fn the_kernel_counts_what_the_agents_served() -> Result<()> {
    let (bed, all) = check("ebpf", 0)?;
    for ((reporter, address), peer) in all {
        let node = bed.nodes.iter().find(|node| node.host.address == reporter);
        let node = node.context("a reporter that is no node")?;
        for (direction, counted) in [
            ("received", peer.received_tcp_bytes),
            ("sent", peer.sent_tcp_bytes),
        ] {
            let labels = format!("peer=\"{address}\",direction=\"{direction}\"");
            let shown = metric(node, &format!("piccolo_agent_peer_bytes_total{{{labels}}}"))?;
            assert!(
                (shown - f64::from(u32::try_from(counted)?)).abs() < 0.5,
                "{labels}"
            );
        }
    }
    Ok(())
}

#[test]
fn user_space_counts_what_the_agents_served_and_how_long_it_took() -> Result<()> {
    // A connection that both sides have closed may count a FIN as a byte.
    let (bed, _) = check("tcp-info", 16)?;
    let mut rated = 0.0;
    for node in bed.nodes.iter().skip(1) {
        let page = agent(node)?.admin("/metrics")?.text();
        let series = page.lines().filter(|line| {
            line.starts_with("piccolo_agent_peer_rated_bytes_total{")
                && line.contains("direction=\"received\"")
        });
        rated += series
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum::<f64>();
    }
    assert!(rated > 0.0, "nothing had a rate");
    Ok(())
}
