//! What cargo knows of the packages that go into a program.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::arch::Arch;
use crate::{shell, workspace};

/// The packages and their dependencies on one platform.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// Nothing for what is linked in; `dev` or `build` for the rest.
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    pub(super) fn load(arch: Arch) -> Result<Self> {
        let mut cargo = workspace::cargo(&[
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
        ])?;
        let text = shell::output(cargo.arg(arch.target()))?;
        serde_json::from_str(&text).context("cargo's metadata are not understood")
    }

    /// What is linked into the program `name`, itself first.
    pub(super) fn linked_into(&self, name: &str) -> Result<Vec<&Package>> {
        let packages: HashMap<_, _> = self.packages.iter().map(|p| (p.id.as_str(), p)).collect();
        let nodes: HashMap<_, _> = self
            .resolve
            .nodes
            .iter()
            .map(|n| (n.id.as_str(), n))
            .collect();
        let program = self
            .packages
            .iter()
            .find(|p| p.name == name && p.source.is_none());
        let program = program.with_context(|| format!("the workspace has no package {name}"))?;
        let mut seen = BTreeSet::from([program.id.as_str()]);
        let mut linked = vec![program];
        let mut next = 0;
        while let Some(package) = linked.get(next) {
            next += 1;
            let node = nodes
                .get(package.id.as_str())
                .context("a package without a node")?;
            for dependency in node.deps.iter().filter(|dependency| dependency.is_linked()) {
                if seen.insert(&dependency.pkg) {
                    let package = packages.get(dependency.pkg.as_str());
                    linked.push(package.context("a dependency without a package")?);
                }
            }
        }
        Ok(linked)
    }

    /// A package by its name.
    pub(super) fn package(&self, name: &str) -> Result<&Package> {
        let package = self.packages.iter().find(|package| package.name == name);
        package.with_context(|| format!("there is no package {name}"))
    }

    /// Where cargo keeps the sources of dependencies.
    pub(super) fn sources(&self) -> Result<PathBuf> {
        let mut foreign = self
            .packages
            .iter()
            .filter(|package| package.source.is_some());
        let package = foreign.next().context("there are no dependencies")?;
        let sources = package
            .directory()
            .parent()
            .context("a package at the root")?;
        Ok(sources.to_owned())
    }
}

impl Package {
    /// Whether it is one of this workspace.
    pub(super) fn is_ours(&self) -> bool {
        self.source.is_none()
    }

    /// Where its sources are.
    pub(super) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

impl Dependency {
    fn is_linked(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}
