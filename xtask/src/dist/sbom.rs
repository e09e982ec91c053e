//! The bill of materials of a program, as CycloneDX 1.5.

use std::{collections::HashMap, fs, process::Command};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    arch::Arch,
    facts::Facts,
    metadata::{Metadata, Package},
};
use crate::shell;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Lists all that is linked into a program, C libraries too, and a package whose data come with it.
///
/// # Errors
///
/// When cargo's answers are not understood.
pub(crate) fn bill_of_materials(
    facts: &Facts,
    program: &str,
    arch: Arch,
    with: Option<&str>,
) -> Result<Vec<u8>> {
    let metadata = Metadata::load(arch)?;
    let mut linked = metadata.linked_into(program)?;
    if let Some(name) = with {
        linked.push(metadata.package(name)?);
    }
    let sums = checksums(facts)?;
    let mut components: Vec<_> = linked
        .iter()
        .skip(1)
        .map(|package| {
            component(
                package,
                sums.get(&(package.name.clone(), package.version.clone())),
            )
        })
        .collect();
    components.push(library("glibc", &glibc(arch)?, "LGPL-2.1-or-later"));
    if let Some(binding) = linked
        .iter()
        .find(|package| package.name == "libsqlite3-sys")
    {
        components.push(library("sqlite", &sqlite(binding)?, "blessing"));
    }
    components.sort_by_cached_key(|component| component["bom-ref"].to_string());
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": facts.created,
            "component": {
                "type": "application",
                "bom-ref": program,
                "name": program,
                "version": facts.version,
                "licenses": [{ "license": { "id": "Apache-2.0" } }],
                "properties": [
                    { "name": "piccolo:commit", "value": facts.commit },
                    { "name": "piccolo:target", "value": arch.target() },
                ],
            },
        },
        "components": components,
    });
    serde_json::to_vec_pretty(&bill).context("writing a bill of materials")
}

fn component(package: &Package, sum: Option<&String>) -> Value {
    let mut component = library(&package.name, &package.version, "");
    if let Some(license) = &package.license {
        // The old way of writing "either": no SPDX expression.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if !package.is_ours() {
        component["purl"] = format!("pkg:cargo/{}@{}", package.name, package.version).into();
    }
    if let Some(sum) = sum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
    }
    component
}

fn library(name: &str, version: &str, license: &str) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": format!("{name}@{version}"),
        "name": name,
        "version": version,
    });
    if !license.is_empty() {
        component["licenses"] = json!([{ "license": { "id": license } }]);
    }
    component
}

fn checksums(facts: &Facts) -> Result<HashMap<(String, String), String>> {
    let text = fs::read_to_string(facts.root.join("Cargo.lock")).context("reading Cargo.lock")?;
    let lock: Lock = toml::from_str(&text).context("Cargo.lock is not understood")?;
    let sums = lock.package.into_iter();
    Ok(sums
        .filter_map(|p| Some(((p.name, p.version), p.checksum?)))
        .collect())
}

/// The version of the C library that is linked in.
fn glibc(arch: Arch) -> Result<String> {
    let packages = match arch {
        Arch::X86_64 => ["libc6-dev:amd64", "libc6-dev-amd64-cross"],
        Arch::Aarch64 => ["libc6-dev:arm64", "libc6-dev-arm64-cross"],
    };
    let version = |package| {
        let mut query = Command::new("dpkg-query");
        shell::output(query.args(["--show", "--showformat=${Version}", package])).ok()
    };
    let mut versions = packages
        .into_iter()
        .filter_map(version)
        .filter(|text| !text.is_empty());
    versions
        .next()
        .with_context(|| format!("no C library for {} is installed", arch.name()))
}

/// The version of SQLite that its binding contains.
fn sqlite(binding: &Package) -> Result<String> {
    let header = binding.directory().join("sqlite3/sqlite3.h");
    let text = fs::read_to_string(&header).context("reading SQLite's header")?;
    let mark = "#define SQLITE_VERSION ";
    let line = text.lines().find_map(|line| line.strip_prefix(mark));
    Ok(line
        .context("SQLite's header names no version")?
        .trim()
        .trim_matches('"')
        .to_owned())
}
