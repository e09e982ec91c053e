//! `cargo xtask ci`: everything that a change has to pass, the quick things first.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, BUILD, DENY};
use crate::shell::{run, say};
use crate::workspace::cargo;
use crate::{deploy, docs, ebpf, tests, tidy};

/// A fetch of the database of advisories is given up after so long.
const FETCH_SECONDS: &str = "120";

/// Runs it all and stops at the first failure.
pub(crate) fn run_all() -> Result<()> {
    setup::packages(&[BUILD])?;
    step("format", || run(&mut cargo(&["fmt", "--all", "--check"])?))?;
    step("house rules", tidy::run)?;
    step("lints", || {
        let clippy = [
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ];
        run(&mut cargo(&clippy)?)
    })?;
    step("documents", || {
        let doc = [
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ];
        run(cargo(&doc)?.env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    step("dependencies", || {
        setup::install(&DENY)?;
        run(&mut cargo(&[
            "deny", "check", "bans", "licenses", "sources",
        ])?)
    })?;
    step("advisories", advisories)?;
    step("references", docs::check)?;
    step("deployment", deploy::check)?;
    step("kernel program", ebpf::check)?;
    step("tests", || tests::run(&[], None))
}

/// Checks the dependencies against the database of known vulnerabilities. That is fetched from its host,
/// which not every machine reaches: without it, prints that the check is skipped.
fn advisories() -> Result<()> {
    let fetch = cargo(&["deny", "fetch", "db"])?;
    let mut bounded = Command::new("timeout");
    bounded
        .arg(FETCH_SECONDS)
        .arg(fetch.get_program())
        .args(fetch.get_args());
    if let Some(directory) = fetch.get_current_dir() {
        bounded.current_dir(directory);
    }
    if run(&mut bounded).is_err() {
        say(
            "NOT CHECKED: the database of advisories could not be fetched; it needs network to its host",
        );
        return Ok(());
    }
    run(&mut cargo(&[
        "deny",
        "check",
        "--disable-fetch",
        "advisories",
    ])?)
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {name}"));
    work()
}
