//! `cargo xtask ci`: everything that a change has to pass, the quick things first.

use anyhow::Result;

use crate::setup::{self, BUILD, DENY};
use crate::shell::{run, say};
use crate::workspace::cargo;
use crate::{deploy, docs, ebpf, tests, tidy};

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
    step("references", docs::check)?;
    step("deployment", deploy::check)?;
    step("kernel program", ebpf::check)?;
    step("tests", || tests::run(&[]))
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("== {name}"));
    work()
}
