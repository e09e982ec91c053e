//! Builds the programs statically, for this architecture and across.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{apt, arch::Arch, facts::Facts, metadata::Metadata};
use crate::{shell, workspace};

/// The programs that are released.
pub(crate) const PROGRAMS: [&str; 2] = ["pi-agent", "piccolo-server"];

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    /// Optimised.
    Release,
    /// To be built fast: for tests.
    Quick,
}

impl Speed {
    /// The profile in Cargo.toml, and its directory.
    fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// Builds a program and gives its file.
///
/// The C library is glibc, whose allocator and resolver are the ones the programs are measured
/// with; since 2.34 its `files` and `dns` name services need no shared library.
pub(crate) fn program(facts: &Facts, name: &str, arch: Arch, speed: Speed) -> Result<PathBuf> {
    let target = arch.target();
    let directory = facts.root.join("target/dist-build");
    let mut flags = vec!["-C target-feature=+crt-static".to_owned()];
    flags.extend(remappings(facts, arch)?);
    let mut cargo;
    if arch.is_native() {
        cargo = workspace::cargo(&[])?;
    } else {
        let sysroot = apt::sysroot(facts, arch)?;
        flags.push(format!("--sysroot {}", sysroot.display()));
        // The distribution's own compiler, which fits the standard library it has for others.
        cargo = Command::new("/usr/bin/cargo");
        cargo
            .env("RUSTC", "/usr/bin/rustc")
            .env_remove("RUSTUP_TOOLCHAIN");
        cargo.env("CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS", "fallback");
        let linker = format!("{}-linux-gnu-gcc", arch.name());
        cargo.env(variable(&target, "LINKER"), linker);
    }
    cargo.args([
        "build",
        "--locked",
        "--profile",
        speed.profile(),
        "--package",
        name,
        "--target",
        &target,
    ]);
    cargo
        .arg("--target-dir")
        .arg(&directory)
        .current_dir(&facts.root);
    cargo.env(variable(&target, "RUSTFLAGS"), flags.join(" "));
    let profile = speed.profile();
    cargo.env(
        format!("CARGO_PROFILE_{}_STRIP", profile.to_uppercase()),
        "symbols",
    );
    cargo.env(
        "PICCOLO_COMMIT",
        facts.commit.get(..12).unwrap_or(&facts.commit),
    );
    shell::run(&mut cargo).with_context(|| format!("building {name} for {}", arch.name()))?;
    Ok(directory.join(target).join(profile).join(name))
}

/// Flags that keep this machine's directories out of the programs.
fn remappings(facts: &Facts, arch: Arch) -> Result<[String; 2]> {
    let sources = Metadata::load(arch)?.sources()?;
    let remap = |from: &Path, to| format!("--remap-path-prefix={}={to}", from.display());
    Ok([remap(&facts.root, "/piccolo"), remap(&sources, "/cargo")])
}

fn variable(target: &str, name: &str) -> String {
    format!(
        "CARGO_TARGET_{}_{name}",
        target.to_uppercase().replace('-', "_")
    )
}
