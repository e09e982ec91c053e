//! Tells the crate which commit and target it is built from.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script is configured by its environment"
)]

use std::{env, process::Command};

fn main() {
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=PICCOLO_TARGET={target}");
    println!("cargo::rerun-if-env-changed=PICCOLO_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = env::var("PICCOLO_COMMIT")
        .ok()
        .or_else(|| match env::var("PROFILE").as_deref() {
            // A debug build is not rebuilt with each commit, so that it does not claim one.
            Ok("release") => {
                println!("cargo::rerun-if-changed=../.git/HEAD");
                println!("cargo::rerun-if-changed=../.git/refs/heads");
                head()
            }
            _ => None,
        });
    let commit = commit.unwrap_or_else(|| "development build".to_owned());
    println!("cargo::rustc-env=PICCOLO_COMMIT={commit}");
}

fn head() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
