//! The mirror files that a node has before there is a Piccolo, and how to see that they are as they
//! were.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use testbed::KubeNode;

/// What an agent's block in them names.
pub(super) const MIRROR: &str = "http://127.0.0.1:288";

/// An operator's own words, with a comment, an odd blank and no newline at the end.
const DEFAULT: &str = "# Ours: ask before you change this.\n\n[host.\"https://registry.test\"]  \n  \
                       capabilities = [\"pull\", \"resolve\"]";
const OTHER: &str = "server = \"https://other.example\"\n\n[host.\"https://other.example\"]\n";

/// All that is below a directory: permissions, and the bytes of files.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, (u32, Vec<u8>)>);

/// Gives a node mirror files of its operator's.
pub(super) fn write_files(node: &KubeNode) -> Result<()> {
    for (registry, text) in [("_default", DEFAULT), ("other.example", OTHER)] {
        let directory = node.mirror_files().join(registry);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("hosts.toml"), text).context("writing an operator's file")?;
    }
    Ok(())
}

/// Whether containerd would ask the agent of a node first for images of a registry.
pub(super) fn names_agent(node: &KubeNode, registry: &str) -> bool {
    let file = node.mirror_files().join(registry).join("hosts.toml");
    fs::read_to_string(file).is_ok_and(|text| text.contains(MIRROR))
}

impl Snapshot {
    /// Of a node's containerd settings.
    pub(super) fn take(node: &KubeNode) -> Result<Self> {
        let mut found = BTreeMap::new();
        visit(&node.place("/etc/containerd"), &mut found)?;
        Ok(Self(found))
    }

    /// Wants it to be as another.
    pub(super) fn check(&self, before: &Self) -> Result<()> {
        let differing = self
            .0
            .iter()
            .filter(|(path, what)| before.0.get(*path) != Some(what));
        let missing = before.0.keys().filter(|path| !self.0.contains_key(*path));
        let paths: Vec<_> = differing.map(|(path, _)| path).chain(missing).collect();
        ensure!(paths.is_empty(), "not as they were: {paths:?}");
        Ok(())
    }
}

fn visit(path: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) -> Result<()> {
    let context = || format!("looking at {}", path.display());
    let metadata = fs::symlink_metadata(path).with_context(context)?;
    let mut content = Vec::new();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(context)? {
            visit(&entry.with_context(context)?.path(), found)?;
        }
    } else {
        content = fs::read(path).with_context(context)?;
    }
    found.insert(path.to_owned(), (metadata.permissions().mode(), content));
    Ok(())
}
