//! The Kubernetes distributions whose containerd this agent knows, and where their files are: the table
//! of the chart.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;

const TABLE: &str = include_str!("../../deploy/chart/files/distributions.json");

/// Where a distribution's containerd has its files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Distribution {
    /// containerd's gRPC socket.
    pub socket: PathBuf,
    /// Its content store.
    pub content: PathBuf,
    /// The directory of mirror files that an agent writes to.
    pub hosts: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Further directories that its `config_path` names.
    #[serde(default)]
    pub more_hosts: Vec<PathBuf>,
    /// Whether it discards layers after unpacking unless it is told otherwise.
    #[serde(default)]
    pub discards: bool,
    /// Whether a pod may write mirror files.
    #[serde(default = "yes")]
    pub writes: bool,
}

fn yes() -> bool {
    true
}

/// All of them, by name.
///
/// # Panics
/// Never: the table is a part of the program, and a test reads it.
pub fn all() -> BTreeMap<String, Distribution> {
    serde_json::from_str(TABLE).expect("the table is part of the program, and a test reads it")
}

/// What to do where there is no socket at `socket`: names those that are there, and whose they are.
/// Nothing where the socket is there, or no other is.
pub fn elsewhere(socket: &Path) -> Option<String> {
    let is_socket =
        |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if fs::metadata(socket).is_ok() {
        return None;
    }
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for (name, distribution) in all() {
        if is_socket(&distribution.socket) {
            let whose = found.entry(distribution.socket).or_default();
            whose.push((name, distribution.content.is_dir()));
        }
    }
    let found: Vec<_> = found
        .iter()
        .map(|(path, whose)| format!("{} ({})", path.display(), names(whose)))
        .collect();
    let first = found.first()?;
    let set = first.split(' ').next().unwrap_or_default();
    Some(format!(
        "no containerd at {}; there is one at {}: set --containerd-socket={set}, and the other paths \
         that go with it (docs/distributions.md)",
        socket.display(),
        found.join(", and one at "),
    ))
}

/// Distributions that have the same socket are told apart by their content.
fn names(whose: &[(String, bool)]) -> String {
    let any = whose.iter().any(|(_, has_content)| *has_content);
    let names = whose.iter().filter(|(_, has_content)| *has_content || !any);
    let names: Vec<_> = names.map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::all;

    #[test]
    fn the_table_is_read_and_its_paths_are_whole() {
        let all = all();
        assert_eq!(all.len(), 11);
        for (name, d) in all {
            for path in [&d.socket, &d.content, &d.hosts, &d.config] {
                let text = path.display().to_string();
                assert!(path.is_absolute() && !text.ends_with('/'), "{name}: {text}");
            }
            // A mount path may be named once only.
            assert_ne!(d.socket.parent(), d.config.parent(), "{name}");
        }
    }
}
