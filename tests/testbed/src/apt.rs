//! Unpacks one package of another Debian suite, without a change to the system's own packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::exec::run;

/// Downloads a package into a private package root below `directory` and unpacks it into
/// `directory`, from the mirror that this machine uses.
pub(crate) fn unpack(package: &str, suite: &str, directory: &Path) -> Result<()> {
    let private = directory.join("apt");
    for name in ["state/lists/partial", "cache/archives/partial", "parts"] {
        fs::create_dir_all(private.join(name)).context("making a private package root")?;
    }
    let mirror = mirror()?;
    fs::write(
        private.join("sources.list"),
        format!("deb {mirror} {suite} main\n"),
    )
    .context("writing a private package source")?;
    let config = private.join("apt.conf");
    fs::write(&config, configuration(&private)).context("writing private package settings")?;
    let apt = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(arguments)
            .env("APT_CONFIG", &config)
            .current_dir(&private))
    };
    apt(&["--quiet", "update"])?;
    apt(&["--quiet", "download", &format!("{package}/{suite}")])?;
    let archive = fs::read_dir(&private)
        .context("looking for a downloaded package")?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package of {package}"))?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .args([archive.as_path(), directory]))?;
    fs::remove_dir_all(&private).context("removing a private package root")
}

fn configuration(private: &Path) -> String {
    format!(
        "Dir::State \"{root}/state\";
Dir::Cache \"{root}/cache\";
Dir::Etc::SourceList \"{root}/sources.list\";
Dir::Etc::SourceParts \"{root}/parts\";
Acquire::Languages \"none\";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";
APT::Sandbox::User \"root\";
",
        root = private.display()
    )
}

/// The address of the mirror that this machine gets its main packages from: the source whose suite
/// is the distribution's name alone. Updates and other vendors' packages have longer names.
fn mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = name
        .context("/etc/os-release names no VERSION_CODENAME")?
        .trim_matches('"');
    let format = "$(REPO_URI) $(COMPONENT) $(RELEASE)";
    let sources = run(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let wanted = format!(" main {name}");
    let mut mirrors = sources
        .lines()
        .filter_map(|line| line.strip_suffix(&wanted));
    let mirror = mirrors.next();
    mirror
        .map(str::to_owned)
        .with_context(|| format!("no package source has a suite {name}"))
}
