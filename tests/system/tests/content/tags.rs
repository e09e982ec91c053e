//! Tags, where the agents resolve them: a moved one is noticed, and one whose registry cannot be
//! reached comes from a peer.

use anyhow::{Context, Result};
use system_tests::{APP, bed, node, pull, push_app};
use testbed::{Agent, Bed, ImageSpec, Release};

use super::wait_shared;

#[test]
fn with_the_registry_and_without_it() -> Result<()> {
    let mut bed = bed(Release::Installed, &[2])?;
    push_app(&bed)?;
    bed.start_server(&[])?;
    let registry = format!("--registry-url=registry.test={}", bed.registry.url());
    bed.start_agent(0, &["--resolve-tags", "--tag-ttl=0", &registry])?;
    // Nobody answers this one.
    let nobody = "--registry-url=registry.test=http://127.0.0.1:9";
    bed.start_agent(1, &["--resolve-tags", nobody])?;
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
    let moved = ImageSpec::small("moved").build()?;
    bed.registry.push(&moved, APP)?;
    pull(first, APP)?;
    let record = first.containerd.cri().status(&Bed::image_name(APP))?;
    let config = &moved.variants.first().context("no platform")?.config;
    assert_eq!(record.map(|record| record.id), Some(config.digest.clone()));
    Ok(())
}
