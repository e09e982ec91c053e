//! What the system tests share: beds of the sizes they need, and what a pull has to show.
//!
//! The tests run the real programs with real containerd and a real registry. They need root, and
//! what `cargo xtask test` installs.

use std::time::Duration;

use anyhow::{Context, Result};
use testbed::{Bed, BedSetup, Image, ImageSpec, Node, Plan, Release, Run};

/// How long a pull of a small image may take before the test fails. Far above what it takes, since
/// the machine may be busy; far below what a broken mirror makes containerd wait.
pub const PULL: Duration = Duration::from_mins(1);

/// The image that most tests pull, and the name it is pushed as.
pub const APP: &str = "lib/app:v1";

/// A bed of unshaped racks with containerd started on each node.
///
/// # Errors
///
/// When it does not come up.
pub fn bed(release: Release, racks: &[u8]) -> Result<Bed> {
    let setup = BedSetup {
        plan: Plan::unshaped(racks),
        release,
    };
    Bed::start(Run::start()?, &setup)
}

/// Pushes the usual small image to the bed's registry.
///
/// # Errors
///
/// When it cannot be made or pushed.
pub fn push_app(bed: &Bed) -> Result<Image> {
    let image = ImageSpec::small("app").build()?;
    bed.registry.push(&image, APP)?;
    Ok(image)
}

/// Pulls an image on a node, and checks that containerd has it then.
///
/// # Errors
///
/// When the pull fails.
pub fn pull(node: &Node, name: &str) -> Result<()> {
    let cri = node.containerd.cri();
    let name = Bed::image_name(name);
    cri.pull(&name, PULL)
        .with_context(|| format!("on {}", node.host.name))?;
    cri.status(&name)?
        .with_context(|| format!("{name} is missing after its pull"))?;
    Ok(())
}
