//! The bed itself: real pulls straight from the registry, without Piccolo.

use anyhow::Result;
use system_tests::{APP, bed, pull, push_app};
use testbed::Release;

fn pulls_from_the_registry(release: Release, version: &str) -> Result<()> {
    let bed = bed(release, &[1, 1])?;
    let image = push_app(&bed)?;
    bed.set_hosts(&[bed.registry.url()])?;
    for node in &bed.nodes {
        let shown = node.containerd.version()?;
        assert!(shown.contains(version), "not containerd {version}: {shown}");
        pull(node, APP)?;
        let bytes = bed.registry.bytes_to(node.host.address);
        assert!(
            bytes >= image.bytes(),
            "{bytes} bytes sent of {}",
            image.bytes()
        );
        assert!(
            bytes < image.bytes() + 100_000,
            "{bytes} bytes sent for {}",
            image.bytes()
        );
        assert_eq!(node.containerd.cri().list()?.len(), 1);
    }
    Ok(())
}

#[test]
fn installed_containerd_pulls_from_the_registry() -> Result<()> {
    pulls_from_the_registry(Release::Installed, "containerd")
}

#[test]
fn containerd_1_7_pulls_from_the_registry() -> Result<()> {
    pulls_from_the_registry(Release::V1_7, " 1.7.")
}

#[test]
fn containerd_2_pulls_from_the_registry() -> Result<()> {
    pulls_from_the_registry(Release::V2, " 2.")
}
