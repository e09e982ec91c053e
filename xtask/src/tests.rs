//! `cargo xtask test`: set-up, build, unit and system tests.

mod progress;

use std::io::{IsTerminal as _, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use testbed::{Galera, Product, Release};

use crate::dist::Arch;
use crate::fuzz;
use crate::image;
use crate::setup::{self, BUILD, DEMO, DEPLOY, GALERA, NEXTEST, TESTS};
use crate::shell::{self, say};
use crate::workspace;

/// Runs everything. The runner's summary is last, after the list of skipped parts.
pub(crate) fn run(filter: &[String], mysql: Option<&Path>) -> Result<()> {
    let mysql = mysql.map(whole).transpose()?;
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
    if filter.is_empty() {
        fuzz::run_briefly()?;
    }
    if runs_images(filter)? {
        image::run_quick(&Arch::ALL, "localhost")?;
    }
    let mut nextest = workspace::cargo(&["nextest", "run", "--workspace"])?;
    nextest.args(filter);
    match &mysql {
        Some(directory) => {
            Product::tell_mysql(&mut nextest, directory);
        }
        None => say(NO_MYSQL),
    }
    if !setup::is_root() {
        // Only what makes namespaces has to be root, but the runner knows no difference.
        nextest.env(runner_variable(), "sudo --preserve-env");
    }
    if stderr().is_terminal() {
        // It draws a bar.
        return shell::run(&mut nextest);
    }
    progress::run(&mut nextest)
}

/// The unit tests of all crates: those that stand beside the code. Installs nothing but what a build
/// needs, and works without root.
pub(crate) fn run_unit(filter: &[String]) -> Result<()> {
    setup::packages(&[BUILD])?;
    let mut test = workspace::cargo(&["test", "--quiet", "--workspace", "--lib", "--bins", "--"])?;
    shell::run(test.args(filter))
}

/// The server over a Galera cluster: what is tried by hand only, for it takes two minutes.
pub(crate) fn run_galera(filter: &[String]) -> Result<()> {
    setup::packages(&[BUILD, GALERA])?;
    setup::install(&NEXTEST)?;
    let mut nextest = workspace::cargo(&["nextest", "run", "--workspace", "--test", "edge"])?;
    nextest.args(["--filterset", "test(/^galera::/)", "--no-capture"]);
    Galera::want(&mut nextest);
    shell::run(nextest.args(filter))
}

/// Whether one of the tests is run that start the images, whose programs are built apart: that takes
/// minutes, the first time.
fn runs_images(filter: &[String]) -> Result<bool> {
    let mut list = workspace::cargo(&["nextest", "list", "--workspace"])?;
    list.args(["--message-format", "oneline", "--filterset"])
        .arg("package(system-tests) & binary(container)")
        .args(filter);
    Ok(!shell::output(&mut list)?.trim().is_empty())
}

/// The directory of a MySQL, from the root, with its programs in it.
fn whole(directory: &Path) -> Result<PathBuf> {
    let named = || format!("the directory of a MySQL, {}", directory.display());
    let directory = directory.canonicalize().with_context(named)?;
    Product::MySql(directory.clone()).check()?;
    Ok(directory)
}

const NO_MYSQL: &str = "NOT RUN: the tests of the server over MySQL. --mysql DIR runs them over the MySQL \
    in that directory (DIR/bin/mysqld, DIR/bin/mysql).";

fn runner_variable() -> String {
    let arch = std::env::consts::ARCH.to_uppercase();
    format!("CARGO_TARGET_{arch}_UNKNOWN_LINUX_GNU_RUNNER")
}
