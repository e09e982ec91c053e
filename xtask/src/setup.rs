//! Installs what a fresh machine is missing: says what and why, and asks nothing.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::shell::{has, run_as, say};

mod needs;
mod tools;

pub(crate) use needs::{
    BENCH, BUILD, DATAPATH, DEMO, DEPLOY, GALERA, KUBERNETES, Need, SAMPLES, TESTS,
};
pub(crate) use tools::{DENY, NEXTEST, install};

const INSTALL: &str = include_str!("setup/install.sh");

/// Installs the packages of the missing commands.
pub(crate) fn packages(needs: &[&[Need]]) -> Result<()> {
    let missing: Vec<_> = needs
        .iter()
        .copied()
        .flatten()
        .filter(|need| need.is_missing())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("Installing with apt-get what this machine lacks:");
    for need in &missing {
        say(&format!("  {:<20} {}", need.package, need.why));
    }
    let names: Vec<_> = missing.iter().map(|need| need.package).collect();
    apt(&names)
}

/// Installs packages, whether or not they are there.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let all = packages.join(" ");
    ensure!(
        has("apt-get"),
        "there is no apt-get here: install by other means what Debian has as {all}, and start again"
    );
    let mut install = as_root("sh")?;
    install.args(["-c", INSTALL, "install"]).args(packages);
    let shown = format!("apt-get install {all}");
    say(&format!("$ {shown}"));
    run_as(&shown, &mut install)
}

/// A command that is run as root.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !has("sudo") {
        bail!("`{program}` has to be run as root, and there is no sudo: start again as root");
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--preserve-env", "--", program]);
    Ok(sudo)
}

/// Whether this program may make namespaces and mounts itself.
pub(crate) fn is_root() -> bool {
    testbed::is_root()
}
