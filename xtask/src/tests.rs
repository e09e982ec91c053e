//! `cargo xtask test`: set-up, build, unit and system tests.

use anyhow::{Context as _, Result};
use testbed::Release;

use crate::image;
use crate::setup::{self, BUILD, DEMO, DEPLOY, NEXTEST, TESTS};
use crate::shell::{self, say};
use crate::workspace;

/// Does it all. The runner's summary comes last.
pub(crate) fn run(filter: &[String]) -> Result<()> {
    setup::packages(&[BUILD, DEMO, TESTS, DEPLOY])?;
    setup::install(&NEXTEST)?;
    for release in Release::ALL {
        say(&format!("containerd: {release}"));
        release
            .fetch()
            .with_context(|| format!("getting {release}"))?;
    }
    // Builds the programs, too, which the system tests start, on the node and in containers.
    shell::run(&mut workspace::cargo(&[
        "nextest",
        "run",
        "--workspace",
        "--no-run",
    ])?)?;
    image::pack_debug("localhost")?;
    let mut nextest = workspace::cargo(&["nextest", "run", "--workspace"])?;
    nextest.args(filter);
    if !setup::is_root() {
        // Only what makes namespaces has to be root, but the runner knows no difference.
        nextest.env(runner_variable(), "sudo --preserve-env");
    }
    shell::run(&mut nextest)
}

/// Builds the programs that the demo starts.
pub(crate) fn build() -> Result<()> {
    shell::run(&mut workspace::cargo(&["build", "--workspace", "--bins"])?)
}

fn runner_variable() -> String {
    let arch = std::env::consts::ARCH.to_uppercase();
    format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_GNU_RUNNER")
}
