//! Pulls through peers where there is IPv6 only, and where there are both families.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use system_tests::{APP, is_little, node, pull, push_app};
use testbed::{Agent, Bed, BedSetup, Family, Plan, Release, Run, wait_until};

const SHARED: Duration = Duration::from_secs(30);

fn bed_of(family: Family, nodes: u8) -> Result<Bed> {
    let setup = BedSetup {
        plan: Plan {
            family,
            ..Plan::unshaped(&[nodes])
        },
        release: Release::Installed,
    };
    let mut bed = Bed::start(Run::start()?, &setup)?;
    bed.start_server(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    Ok(bed)
}

#[test]
fn a_pull_through_a_peer_needs_no_ipv4() -> Result<()> {
    let mut bed = bed_of(Family::V6, 2)?;
    bed.start_agents(&[])?;
    let image = push_app(&bed)?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    pull(first, APP)?;
    bed.wait_until_shared(&image)?;
    pull(second, APP)?;
    bed.registry.settle()?;
    let from_registry = bed.registry.bytes_to(second.host.address);
    ensure!(is_little(from_registry, &image), "{from_registry} bytes");
    let agent = second.agent.as_ref().context("no agent")?;
    let received = agent.received()?;
    let from_first = received.get(&first.host.address).copied();
    ensure!(from_first >= Some(image.bytes() * 9 / 10), "{received:?}");
    Ok(())
}

/// The first node is known by its address of IPv4, the second by that of IPv6: each gives to others.
#[test]
fn nodes_of_either_family_serve_each_other() -> Result<()> {
    let mut bed = bed_of(Family::Both, 3)?;
    let second = node(&bed, 1)?.host.second.context("no second address")?;
    bed.start_agent(0, &[])?;
    bed.start_agent(1, &[&format!("--advertise-address={second}")])?;
    bed.start_agent(2, &[])?;
    for node in &mut bed.nodes {
        node.agent.as_mut().map_or(Ok(()), Agent::wait_ready)?;
    }
    let image = push_app(&bed)?;
    pull(node(&bed, 0)?, APP)?;
    bed.wait_until_shared(&image)?;
    let givers = [node(&bed, 0)?.host.address, second];
    for (number, giver) in (1..).zip(givers) {
        let puller = node(&bed, number)?;
        pull(puller, APP)?;
        let received = puller.agent.as_ref().context("no agent")?.received()?;
        let from_giver = received.get(&giver).copied();
        ensure!(from_giver >= Some(image.bytes() * 9 / 10), "{received:?}");
        bed.registry.settle()?;
        for address in [Some(puller.host.address), puller.host.second] {
            let sent = address.map_or(0, |address| bed.registry.bytes_to(address));
            ensure!(is_little(sent, &image), "{sent} bytes to {address:?}");
        }
        wait_until("the server to know of both", SHARED, || {
            let server = bed.server.as_ref().context("no server")?;
            for blob in image.native_blobs() {
                if server.holders(Bed::group(), &blob.digest)? < 2 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        // The next one has the one node to ask that took it last.
        let before = bed.nodes.get_mut(number - 1).context("no such node")?;
        before.agent = None;
    }
    Ok(())
}

/// A node has another address from some moment on, and its agent goes on.
#[test]
fn peers_are_told_a_nodes_new_address() -> Result<()> {
    for (family, new) in [
        (Family::V4, "198.18.1.77"),
        (Family::V6, "fd00:198:18:1::77"),
    ] {
        a_replaced_address(family, new.parse()?).with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

fn a_replaced_address(family: Family, new: IpAddr) -> Result<()> {
    let mut bed = bed_of(family, 2)?;
    for number in 0..2 {
        bed.start_agent_without(number, "--advertise-address", &[])?;
    }
    for node in &mut bed.nodes {
        node.agent.as_mut().map_or(Ok(()), Agent::wait_ready)?;
    }
    let image = push_app(&bed)?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    pull(first, APP)?;
    bed.wait_until_shared(&image)?;
    first.host.replace_address(new)?;
    let server = bed.server.as_ref().context("no server")?;
    let told = vec![SocketAddr::new(new, 7787).to_string()];
    wait_until("the server to name the new address alone", SHARED, || {
        for blob in image.native_blobs() {
            if server.names_of_holders(Bed::group(), &blob.digest)? != told {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .with_context(|| {
        first
            .agent
            .as_ref()
            .map_or(String::new(), |agent| agent.process().log_tail())
    })?;
    pull(second, APP)?;
    bed.registry.settle()?;
    let from_registry = bed.registry.bytes_to(second.host.address);
    ensure!(is_little(from_registry, &image), "{from_registry} bytes");
    let received = second.agent.as_ref().context("no agent")?.received()?;
    let from_new = received.get(&new).copied();
    ensure!(from_new >= Some(image.bytes() * 9 / 10), "{received:?}");
    Ok(())
}

/// What the settings say stays, also where the node has it no more.
#[test]
fn an_address_that_was_given_stays() -> Result<()> {
    let mut bed = bed_of(Family::V4, 1)?;
    bed.start_agents(&[])?;
    let first = node(&bed, 0)?;
    let given = SocketAddr::new(first.host.address, 7787).to_string();
    first.host.replace_address("198.18.1.77".parse()?)?;
    std::thread::sleep(Duration::from_secs(3));
    let agent = first.agent.as_ref().context("no agent")?;
    let status: serde_json::Value = serde_json::from_slice(&agent.admin("/status")?.body)?;
    let holder = status.get("holder").and_then(|holder| holder.as_str());
    ensure!(holder == Some(&given), "{holder:?}");
    Ok(())
}
