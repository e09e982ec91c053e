//! What building for another architecture needs, from the distribution's packages.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{arch::Arch, facts::Facts};
use crate::{setup, shell};

/// The package with the standard library that fits the distribution's compiler.
const STANDARD_LIBRARY: &str = "libstd-rust-web-dev";

/// Installs the compilers and gives a directory that rustc takes for its own.
///
/// The machine's list of architectures stays as it is: the foreign package is only unpacked.
pub(super) fn sysroot(facts: &Facts, arch: Arch) -> Result<PathBuf> {
    let debian = arch.oci();
    let linker = format!("gcc-{}-linux-gnu", arch.name().replace('_', "-"));
    let library = format!("libc6-dev-{debian}-cross");
    install(&["rustc-web", "cargo-web", &linker, &library])?;
    let version = shell::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${Version}",
        STANDARD_LIBRARY,
    ]))?;
    let directory = facts
        .root
        .join("target/dist-sysroot")
        .join(format!("{debian}-{version}"));
    let target = arch.target();
    let libraries = directory.join("lib/rustlib").join(&target);
    if !libraries.exists() {
        let unpacked = directory.join("unpacked");
        unpack(
            &format!("{STANDARD_LIBRARY}:{debian}={version}"),
            debian,
            &unpacked,
        )?;
        fs::create_dir_all(directory.join("lib/rustlib")).context("making a sysroot")?;
        symlink(unpacked.join("usr/lib/rustlib").join(&target), &libraries)
            .context("linking the standard library into the sysroot")?;
    }
    Ok(directory)
}

fn install(packages: &[&str]) -> Result<()> {
    let is_there = |package: &&str| {
        let mut query = Command::new("dpkg-query");
        let status = shell::output(query.args(["--show", "--showformat=${Status}", package]));
        status.is_ok_and(|status| status.ends_with(" installed"))
    };
    if packages.iter().all(is_there) {
        return Ok(());
    }
    setup::apt(packages).context("installing a cross compiler")
}

/// Downloads a package of another architecture and unpacks it.
fn unpack(package: &str, architecture: &str, directory: &Path) -> Result<()> {
    let private = directory.join("apt");
    for name in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(private.join(name)).context("making a private package root")?;
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args([
            "--quiet",
            "--option",
            &format!("Dir::State::Lists={}/lists", private.display()),
        ]);
        apt.args([
            "--option",
            &format!("Dir::Cache={}/cache", private.display()),
        ]);
        apt.args(["--option", &format!("APT::Architectures::={architecture}")]);
        apt.args([
            "--option",
            "APT::Sandbox::User=root",
            "--option",
            "Acquire::Languages=none",
        ]);
        shell::output(apt.args(arguments).current_dir(&private))
    };
    apt(&["update"])?;
    apt(&["download", package])?;
    let archive = fs::read_dir(&private)
        .context("looking for a downloaded package")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package of {package}"))?;
    shell::output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([archive.as_path(), directory]),
    )?;
    fs::remove_dir_all(&private).context("removing a private package root")
}
