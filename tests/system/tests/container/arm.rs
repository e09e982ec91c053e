//! Both programs of the images for 64-bit ARM, run by `qemu-user`: one node's agent and the server are
//! ARM's, the other node's agent is this machine's. What qemu does not have is not tried: eBPF, and
//! pages of 64 KiB.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use system_tests::{APP, bed, images, is_little, node, pull};
use testbed::{Agent, Bed, Image, ImageSpec, Release};

const QEMU: &str = "/usr/bin/qemu-aarch64-static";

/// What runs a program of the image for ARM.
fn emulated(bed: &Bed, program: &str) -> Result<Vec<PathBuf>> {
    let directory = bed.run().make_directory(&format!("{program}-arm64"))?;
    let program = images::unpack(program, "arm64", &directory)?;
    Ok(vec![PathBuf::from(QEMU), program])
}

#[test]
fn agents_of_two_architectures_share_by_a_server_of_the_other() -> Result<()> {
    let mut bed = bed(Release::Installed, &[2])?;
    let server = emulated(&bed, "piccolo-server")?;
    bed.start_server_by(&server, &[])?;
    bed.start_agent(0, &[])?;
    let agent = emulated(&bed, "pi-agent")?;
    bed.start_agent_by(1, &agent, &["--accounting=tcp-info"])?;
    for node in &mut bed.nodes {
        node.agent.as_mut().context("no agent")?.wait_ready()?;
    }
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    // Layers that are hashed in memory, and one that goes through the kernel.
    let app = ImageSpec::small("app").build()?;
    share(&bed, &app, APP, [0, 1])?;
    let other = ImageSpec::small("other").build()?;
    share(&bed, &other, "lib/other:v1", [1, 0])
}

/// The first pulls from the registry, the second from the first.
fn share(bed: &Bed, image: &Image, name: &str, [first, second]: [usize; 2]) -> Result<()> {
    bed.registry.push(image, name)?;
    pull(node(bed, first)?, name)?;
    bed.wait_until_shared(image)?;
    let second = node(bed, second)?;
    bed.registry.settle()?;
    let before = bed.registry.bytes_to(second.host.address);
    pull(second, name)?;
    bed.registry.settle()?;
    let sent = bed.registry.bytes_to(second.host.address) - before;
    assert!(
        is_little(sent, image),
        "the registry sent {sent} bytes of {name}"
    );
    Ok(())
}
