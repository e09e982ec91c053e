//! A registry with a certificate of a private authority that only the second directory of `config_path`
//! names: its images are pulled as before, and through the agent once that stands in the same file.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use system_tests::{APP, node, on_each_release, pull, push_app};
use testbed::{Agent, Authority, Bed, Node, Release, wait_until};

use super::roots::{of_two, start};
use super::{agent_says, prepared};

on_each_release!(a_private_authority_in_the_second_directory_stays_in_force,);

const SOON: Duration = Duration::from_secs(10);
const REGISTRY: &str = "registry.test";
const PORT: u16 = 5443;

fn a_private_authority_in_the_second_directory_stays_in_force(release: Release) -> Result<()> {
    let mut bed = prepared(release)?;
    let (a, b) = of_two(node(&bed, 0)?)?;
    if release == Release::V2 {
        // Its transfer service would read neither.
        super::edit(node(&bed, 0)?, |text| {
            let local = "[plugins.\"io.containerd.cri.v1.images\"]\nuse_local_image_pull = true\n";
            format!("{text}\n{local}")
        })?;
    }
    start(&mut bed)?;
    push_app(&bed)?;
    let address = bed.registry.address().to_string();
    let authority = Authority::new(bed.run())?;
    let certificate = authority.certify(&address, &[])?;
    let run = bed.run().clone();
    bed.registry.serve_tls(&run, &certificate, PORT)?;
    let own = b.join(REGISTRY);
    fs::create_dir(&own)?;
    fs::copy(authority.certificate(), own.join("ca.crt"))?;
    let url = format!("https://{address}:{PORT}");
    let before = format!("[host.\"{url}\"]\n  ca = \"ca.crt\"\n");
    fs::write(own.join("hosts.toml"), &before)?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;

    let node = node(&bed, 0)?;
    pulls(node)?;
    // In the first directory both entries would hide the authority.
    for registry in [REGISTRY, "_default"] {
        let said = agent_says(node, "configure", &[&format!("--registry={registry}")])?;
        let message = String::from_utf8_lossy(&said.stderr).into_owned();
        ensure!(!said.status.success(), "{registry} was written");
        ensure!(message.contains(&own.display().to_string()), "{message}");
        pulls(node).with_context(|| format!("after {registry} was refused"))?;
    }
    ensure!(fs::read_dir(&a)?.next().is_none(), "something was written");
    ensure!(asked(node)? == 0, "the agent was asked");

    let second = format!("--hosts-dir={}", b.display());
    let only = format!("--registry={REGISTRY}");
    let said = agent_says(node, "configure", &[&second, &only])?;
    ensure!(said.status.success(), "{said:?}");
    let served = bed.registry.access_log().len();
    pulls(node).context("through the agent")?;
    wait_until("the agent to have been asked", SOON, || {
        Ok((asked(node)? > 0).then_some(()))
    })?;
    ensure!(
        bed.registry.access_log().len() > served,
        "the registry with the private authority was not asked"
    );
    let said = agent_says(node, "configure", &[&second, &only, "--remove"])?;
    ensure!(said.status.success(), "{said:?}");
    let after = fs::read_to_string(own.join("hosts.toml"))?;
    ensure!(after == before, "{after}");
    pulls(node).context("without the agent")
}

/// Pulls the image, and removes it again.
fn pulls(node: &Node) -> Result<()> {
    pull(node, APP)?;
    node.containerd.cri().remove(&Bed::image_name(APP))
}

/// How often containerd has asked the agent.
fn asked(node: &Node) -> Result<u64> {
    let agent: &Agent = node.agent.as_ref().context("the node has no agent")?;
    let metrics = agent.admin("/metrics")?.text();
    let requests = metrics
        .lines()
        .filter(|line| line.starts_with("piccolo_agent_mirror_requests_total{"));
    let numbers = requests.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(numbers.sum())
}
