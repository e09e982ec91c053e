//! Flash crowds whose gateways take from two nodes of another rack at once, as the nodes' links bind.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use system_tests::{
    APP, PULL,
    crowd::{
        Crowd, CrowdSetup, Links, ON, Servers,
        disk::{arriving, damage},
    },
    on_each_release, pull,
};
use testbed::{Agent, Node, Release, wait_until};

on_each_release!(a_gateway_takes_from_two_nodes_of_another_rack);

const MIB: u64 = 1 << 20;
const RESUMED: &str = "piccolo_agent_resumed_transfers_total ";
const WRONG: &str = "it sent a wrong chunk";

/// Nodes whose links carry less than two streams at the registry's pace.
fn crowd(release: Release, racks: &[u8]) -> Result<Crowd> {
    Crowd::start(&CrowdSetup {
        release,
        settings: "",
        racks,
        links: Links {
            node: 60,
            uplink: 200,
            registry: 200,
        },
        agents: &[ON],
        stripes: 2,
        servers: Servers::One,
        deadline: PULL,
    })
}

fn agent(node: &Node) -> Result<&Agent> {
    node.agent.as_ref().context("a node without an agent")
}

/// How many nodes of other racks gave a node more than a part of a layer that one would call chance.
fn sources_elsewhere(crowd: &Crowd, node: &Node) -> Result<usize> {
    let received = agent(node)?.received()?;
    let elsewhere = crowd.bed.nodes.iter().filter(|other| {
        let bytes = received.get(&other.host.address).copied();
        other.host.rack != node.host.rack && bytes.unwrap_or_default() >= 4 * MIB
    });
    Ok(elsewhere.count())
}

fn a_gateway_takes_from_two_nodes_of_another_rack(release: Release) -> Result<()> {
    let crowd = crowd(release, &[3, 3])?;
    let image = crowd.push("crowd", &[24])?;
    let pulled = crowd.pull(&image, &crowd.all(), Duration::ZERO)?;
    let copies = pulled.registry_copies;
    assert!(copies <= 1.05, "{copies} copies from the registry");
    for (rack, copies) in &pulled.into_racks {
        assert!(*copies <= 1.2, "{copies} copies into {rack}");
    }
    let mut most = 0;
    for node in &crowd.bed.nodes {
        most = most.max(sources_elsewhere(&crowd, node)?);
    }
    assert_eq!(most, 2, "sources of a gateway");
    Ok(())
}

/// The node that takes from two now, by its number, and where the second of them serves.
fn striped(crowd: &Crowd) -> Result<(usize, String)> {
    wait_until(
        "a gateway to take from two",
        Duration::from_secs(20),
        || {
            for (number, node) in crowd.bed.nodes.iter().enumerate() {
                let Some(agent) = &node.agent else { continue };
                let status: Value = serde_json::from_str(&agent.admin("/status")?.text())?;
                for blob in status["swarm"]["blobs"].as_array().into_iter().flatten() {
                    let also = blob["takes_also_from"][0].as_str();
                    // Both stripes flow by then.
                    let flows = blob["bytes"].as_u64().is_some_and(|bytes| bytes > 6 * MIB);
                    if let Some(also) = also.filter(|_| flows) {
                        return Ok(Some((number, also.to_owned())));
                    }
                }
            }
            Ok(None)
        },
    )
}

fn resumed(node: &Node) -> Result<u64> {
    let page = agent(node)?.admin("/metrics")?.text();
    let line = page.lines().find_map(|line| line.strip_prefix(RESUMED));
    Ok(line
        .context("no count of resumed transfers")?
        .trim()
        .parse()?)
}

#[test]
fn one_of_two_sources_may_die() -> Result<()> {
    let mut crowd = crowd(Release::V1_7, &[3, 3])?;
    let image = crowd.push("crowd", &[32])?;
    let pulls = crowd.begin(&image, &crowd.all(), Duration::ZERO)?;
    let (gateway, source) = striped(&crowd)?;
    let nodes = &mut crowd.bed.nodes;
    let is_it = |node: &&mut Node| source.starts_with(&format!("{}:", node.host.address));
    let dying = nodes.iter_mut().find(is_it).context("no such node")?;
    dying.agent.take().context("no agent")?.kill();
    let pulled = crowd.finish(pulls)?;
    ensure!(pulled.failed.is_empty(), "{:?}", pulled.failed);
    // The dead agent's containerd takes the rest from the registry.
    let copies = pulled.registry_copies;
    assert!(copies <= 2.05, "{copies} copies from the registry");
    let to_gateway = pulled.to_nodes.get(&gateway).copied().unwrap_or_default();
    assert!(to_gateway <= 0.05, "{to_gateway} copies to the gateway");
    let gateway = crowd.bed.nodes.get(gateway).context("no gateway")?;
    assert!(resumed(gateway)? >= 1, "nothing was resumed");
    Ok(())
}

#[test]
fn one_of_two_sources_may_send_a_wrong_byte() -> Result<()> {
    let crowd = crowd(Release::V1_7, &[2, 1])?;
    crowd.push("crowd", &[40])?;
    let [first, second, gateway] = &crowd.bed.nodes[..] else {
        return Err(anyhow!("not three nodes"));
    };
    thread::scope(|scope| {
        let mut pulls = vec![scope.spawn(|| pull(first, APP))];
        arriving(first, 2 * MIB)?;
        pulls.push(scope.spawn(|| pull(second, APP)));
        // The gateway takes every other chunk from there.
        let (data, _) = arriving(second, 6 * MIB)?;
        damage(&data, 3 * MIB + 17)?;
        damage(&data, 4 * MIB + 17)?;
        pulls.push(scope.spawn(|| pull(gateway, APP)));
        let end = Instant::now() + Duration::from_secs(20);
        while !agent(gateway)?.process().log().contains(WRONG) {
            ensure!(Instant::now() < end, "nobody finds the damage");
            thread::sleep(Duration::from_millis(20));
        }
        // The damaged node is to unpack what containerd verified.
        damage(&data, 3 * MIB + 17)?;
        damage(&data, 4 * MIB + 17)?;
        for pull in pulls {
            pull.join().map_err(|_panic| anyhow!("a pull panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let named = format!("peer={}", second.host.address);
    let log = agent(gateway)?.process().log();
    let wrong: Vec<_> = log.lines().filter(|line| line.contains(WRONG)).collect();
    assert!(
        wrong.len() == 1 && wrong[0].contains(&named),
        "{named} is not named: {wrong:?}"
    );
    // The other one was taken from before and after.
    let received = agent(gateway)?.received()?;
    let from_first = received.get(&first.host.address).copied();
    assert!(from_first.unwrap_or_default() > 30 * MIB, "{received:?}");
    Ok(())
}
