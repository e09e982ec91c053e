//! What the system tests share: beds of the sizes they need, and what a pull has to show.
//!
//! The tests run the real programs with real containerd and a real registry. They need root, and
//! what `cargo xtask test` installs.

pub mod chart;
pub mod crowd;
pub mod faults;
pub mod images;

use std::time::Duration;

use anyhow::{Context, Result};
use testbed::{Agent, Bed, BedSetup, Cri, Image, ImageSpec, Node, Plan, Registry, Release, Run};

/// The releases as test cases: each function named here becomes a test on each of them.
#[macro_export]
macro_rules! on_each_release {
    ($($check:ident),+ $(,)?) => {
        $crate::on_release!(installed_containerd, Installed, $($check),+);
        $crate::on_release!(containerd_1_7, V1_7, $($check),+);
        $crate::on_release!(containerd_2, V2, $($check),+);
    };
}

/// One release's test cases.
#[macro_export]
macro_rules! on_release {
    ($module:ident, $release:ident, $($check:ident),+) => {
        mod $module {
            $(#[test]
            fn $check() -> anyhow::Result<()> {
                super::$check(testbed::Release::$release)
            })+
        }
    };
}

/// How long a pull of a small image may take before the test fails. Far above what it takes, since
/// the machine may be busy; far below what a broken mirror makes containerd wait.
pub const PULL: Duration = Duration::from_mins(1);

/// The image that most tests pull, and the name it is pushed as.
pub const APP: &str = "lib/app:v1";

/// A bed of unshaped racks with containerd started on each node.
///
/// # Errors
///
/// When it does not start.
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

/// [`bed`] with the server, and with an agent on each node that its containerd asks first.
///
/// # Errors
///
/// When it does not start.
pub fn bed_with_piccolo(release: Release, racks: &[u8]) -> Result<Bed> {
    let mut bed = bed(release, racks)?;
    bed.start_server(&[])?;
    bed.start_agents(&[])?;
    bed.set_hosts(&[Agent::mirror_url(), bed.registry.url()])?;
    Ok(bed)
}

/// Starts a second registry with the image in it, and has every containerd ask Piccolo, then this
/// one, then the bed's registry.
///
/// # Errors
///
/// When it does not start.
pub fn add_second_mirror(bed: &mut Bed, image: &Image) -> Result<Registry> {
    let host = bed.network().add_core_host("mirror", None)?;
    let mirror = Registry::start(bed.run(), &host)?;
    mirror.push(image, APP)?;
    bed.set_hosts(&[Agent::mirror_url(), mirror.url(), bed.registry.url()])?;
    Ok(mirror)
}

/// Gives a node by its number, from 0.
///
/// # Errors
///
/// When there are not as many.
pub fn node(bed: &Bed, number: usize) -> Result<&Node> {
    bed.nodes.get(number).context("the bed has fewer nodes")
}

/// Whether this number of bytes is negligible beside an image: manifests and answers to HEAD.
pub fn is_little(bytes: u64, image: &Image) -> bool {
    bytes * 20 <= image.bytes()
}

/// Pulls an image on a node, and checks that containerd has it then.
///
/// # Errors
///
/// When the pull fails.
pub fn pull(node: &Node, name: &str) -> Result<()> {
    pull_within(&node.containerd.cri(), name, PULL)
        .with_context(|| format!("on {}", node.host.name))
}

/// The same through a containerd's service, for as long as the pull may take.
///
/// # Errors
///
/// When the pull fails.
pub fn pull_within(cri: &Cri, name: &str, deadline: Duration) -> Result<()> {
    let name = Bed::image_name(name);
    cri.pull(&name, deadline)?;
    cri.status(&name)?
        .with_context(|| format!("{name} is missing after its pull"))?;
    Ok(())
}
