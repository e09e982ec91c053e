//! Tags, where the agents resolve them: a moved one is noticed, and one whose registry cannot be
//! reached comes from a peer.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use system_tests::{APP, bed, node, on_each_release, pull, push_app};
use testbed::{Agent, Bed, ImageSpec, Node, Release, wait_until};

use super::{SOON, status, wait_shared};

on_each_release!(one_node_asks_the_registry_for_all);

#[test]
fn with_the_registry_and_without_it() -> Result<()> {
    let mut bed = bed(Release::Installed, &[2])?;
    push_app(&bed)?;
    bed.start_server(&[])?;
    let registry = format!("--registry-url=registry.test={}", bed.registry.url());
    let files = [files(node(&bed, 0)?), files(node(&bed, 1)?)];
    bed.start_agent(0, &["--resolve-tags", "--tag-ttl=0", &registry, &files[0]])?;
    // Nobody answers this one.
    let nobody = "--registry-url=registry.test=http://127.0.0.1:9";
    bed.start_agent(1, &["--resolve-tags", nobody, &files[1]])?;
    for node in &mut bed.nodes {
        node.agent.as_mut().context("no agent")?.wait_ready()?;
    }
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    let (first, second) = (node(&bed, 0)?, node(&bed, 1)?);
    pull(first, APP)?;
    wait_shared(&bed, &Bed::image_name(APP))?;

    // No registry at all: the tag and all that it stands for come from the first node.
    bed.set_hosts(&[Agent::mirror_url()])?;
    bed.wait_until_shared(&ImageSpec::small("app").build()?)?;
    pull(second, APP)?;

    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    move_and_pull(&bed)
}

/// As with a proxy cache: the agent cannot ask the registry itself, and the next host can.
#[test]
fn a_tag_moves_where_only_the_next_host_reaches_the_registry() -> Result<()> {
    let mut bed = bed(Release::Installed, &[1])?;
    push_app(&bed)?;
    bed.start_server(&[])?;
    let files = files(node(&bed, 0)?);
    bed.start_agent(0, &["--resolve-tags", "--tag-ttl=0", &files])?;
    let agent = bed.nodes.first_mut().and_then(|node| node.agent.as_mut());
    agent.context("no agent")?.wait_ready()?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    pull(node(&bed, 0)?, APP)?;
    wait_shared(&bed, &Bed::image_name(APP))?;
    move_and_pull(&bed)
}

/// Where the node's containerd has its mirror files.
fn files(node: &Node) -> String {
    format!(
        "--hosts-dir={}",
        node.containerd.hosts_directory().display()
    )
}

/// The tag moves, and the first node pulls it again.
fn move_and_pull(bed: &Bed) -> Result<()> {
    let first = node(bed, 0)?;
    let moved = ImageSpec::small("moved").build()?;
    bed.registry.push(&moved, APP)?;
    pull(first, APP)?;
    let record = first.containerd.cri().status(&Bed::image_name(APP))?;
    let config = &moved.variants.first().context("no platform")?.config;
    assert_eq!(record.map(|record| record.id), Some(config.digest.clone()));
    Ok(())
}

/// For how many seconds a registry's word is good.
const TTL: u64 = 8;
const DENIED: &str = "secret/app:v1";

/// How often the registry was asked for a repository's manifests, other than by their digests.
fn asked_for_tags(bed: &Bed, name: &str) -> Result<usize> {
    bed.registry.settle()?;
    let (repository, tag) = name.split_once(':').context("no tag")?;
    let path = format!("/v2/{repository}/manifests/{tag}");
    let entries = bed.registry.access_log().into_iter();
    let asked = entries.filter(|e| !e.client.is_loopback() && e.uri.starts_with(&path));
    Ok(asked.count())
}

fn pull_on_all(bed: &Bed, name: &str) -> Result<()> {
    thread::scope(|scope| {
        let pulls = bed
            .nodes
            .iter()
            .map(|node| scope.spawn(|| pull(node, name)));
        for pull in pulls.collect::<Vec<_>>() {
            pull.join().map_err(|_panic| anyhow!("a pull panicked"))??;
        }
        Ok(())
    })
}

fn one_node_asks_the_registry_for_all(release: Release) -> Result<()> {
    let mut bed = bed(release, &[2, 2])?;
    push_app(&bed)?;
    bed.registry
        .push(&ImageSpec::small("denied").build()?, DENIED)?;
    bed.start_server(&[])?;
    let registry = format!("--registry-url=registry.test={}", bed.registry.url());
    let ttl = format!("--tag-ttl={TTL}");
    let denied = "--deny=registry.test/secret/*";
    bed.start_agents(&["--resolve-tags", "--share-tags", &ttl, &registry, denied])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    wait_until("the server to know the nodes", SOON, || {
        for node in &bed.nodes {
            let status = status(node)?;
            assert!(status.tags.resolved && status.tags.shared);
            if !status.standing.synced {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    let begin = Instant::now();
    pull_on_all(&bed, APP)?;
    assert_eq!(asked_for_tags(&bed, APP)?, 1, "of four nodes");

    let moved = ImageSpec::small("moved").build()?;
    bed.registry.push(&moved, APP)?;
    thread::sleep((begin + Duration::from_secs(TTL + 1)).saturating_duration_since(Instant::now()));
    pull_on_all(&bed, APP)?;
    assert_eq!(asked_for_tags(&bed, APP)?, 2, "once more after the TTL");
    let config = &moved.variants.first().context("no platform")?.config;
    for node in &bed.nodes {
        let record = node.containerd.cri().status(&Bed::image_name(APP))?;
        assert_eq!(record.map(|record| record.id), Some(config.digest.clone()));
    }

    pull_on_all(&bed, DENIED)?;
    let asked = asked_for_tags(&bed, DENIED)?;
    assert!(asked >= 4, "{asked} times by four nodes");
    Ok(())
}
