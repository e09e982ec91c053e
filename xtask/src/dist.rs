//! Release artefacts: static programs, checksums, and a bill of materials.

mod apt;
mod arch;
mod archive;
mod build;
mod facts;
mod metadata;
mod sbom;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::shell;

pub(crate) use arch::Arch;
pub(crate) use archive::{Archive, Entry, gzip};
pub(crate) use build::{PROGRAMS, Speed, program};
pub(crate) use facts::Facts;
pub(crate) use sbom::bill_of_materials;

/// What else goes into an archive, and under which name.
const COMPANIONS: [(&str, &str); 3] = [
    ("LICENSE", "LICENSE"),
    (
        "deploy/systemd/pi-agent.service",
        "systemd/pi-agent.service",
    ),
    (
        "deploy/systemd/piccolo-server.service",
        "systemd/piccolo-server.service",
    ),
];

/// Builds the programs for each architecture and packs them below `target/dist`.
///
/// # Errors
///
/// When a program does not build or a file cannot be written.
pub(crate) fn run(arches: &[Arch]) -> Result<()> {
    let facts = Facts::gather()?;
    let mut files = Vec::new();
    for &arch in arches {
        files.push(pack(&facts, arch)?);
        for program in PROGRAMS {
            let name = format!("{program}-{}-{}.cdx.json", facts.version, arch.name());
            let bill = bill_of_materials(&facts, program, arch, None)?;
            files.push(write(&name, &bill)?);
        }
    }
    let sums = checksums(&files)?;
    files.push(write("SHA256SUMS", sums.as_bytes())?);
    report(&files)
}

/// Says what was made, and how large it is.
///
/// # Errors
///
/// When a file is not there.
pub(crate) fn report(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let size = fs::metadata(file)
            .with_context(|| format!("no {}", file.display()))?
            .len();
        shell::say(&format!(
            "{:>9} KiB  {}",
            size.div_ceil(1024),
            file.display()
        ));
    }
    Ok(())
}

/// Writes a file below `target/dist`.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn write(name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = Facts::output()?.join(name);
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn pack(facts: &Facts, arch: Arch) -> Result<PathBuf> {
    let stem = format!("piccolo-{}-linux-{}", facts.version, arch.name());
    let mut archive = Archive::new(facts.epoch);
    archive.add(&Entry::directory(&stem))?;
    for name in PROGRAMS {
        let bytes = read(&program(facts, name, arch, Speed::Release)?)?;
        archive.add(&Entry::program(&format!("{stem}/{name}"), &bytes))?;
    }
    archive.add(&Entry::directory(&format!("{stem}/systemd")))?;
    for (source, name) in COMPANIONS {
        let bytes = read(&facts.root.join(source))?;
        archive.add(&Entry::file(&format!("{stem}/{name}"), &bytes))?;
    }
    write(&format!("{stem}.tar.gz"), &archive.compressed()?)
}

fn checksums(files: &[PathBuf]) -> Result<String> {
    let mut lines = String::new();
    for file in files {
        let sum = hex::encode(Sha256::digest(read(file)?));
        let name = file.file_name().context("a file without a name")?;
        writeln!(lines, "{sum}  {}", name.display())?;
    }
    Ok(lines)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}
