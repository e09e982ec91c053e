//! What this node's containerd does with its mirror files: whether it reads those under a directory,
//! and where the agent's entry has to stand so that it is asked and nothing else changes.

mod choose;
mod mounts;

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    config::{self, ConfigError, ContainerdConfig},
    release::{PullPath, Release},
    search::{Search, Taken, exists},
};

/// `config_path` of containerd 2.2 and later where nothing is set.
const PRESET: &str = "/etc/containerd/certs.d:/etc/docker/certs.d";

/// How containerd comes to the mirror files under one directory.
#[derive(Debug)]
pub struct Reach {
    search: Search,
    hosts_dir: PathBuf,
    /// The place of the directory among the roots.
    place: usize,
    discards: bool,
    doubt: Option<String>,
}

impl Reach {
    /// Reads containerd's configuration, and what it means to a release; of one that is not known,
    /// to those that it could be.
    ///
    /// # Errors
    /// When containerd reads no mirror files under `hosts_dir`: the error says what to write where.
    pub fn read(
        path: &Path,
        hosts_dir: &Path,
        release: Option<Release>,
    ) -> Result<Self, ConfigError> {
        let preset = release.is_some_and(|release| release >= Release::PRESET);
        let config = match ContainerdConfig::load(path) {
            Err(ConfigError::Missing { .. }) if preset => ContainerdConfig::absent(path),
            Err(ConfigError::Missing { .. }) => return Err(config::missing(path, hosts_dir)),
            other => other?,
        };
        let config_path = match config.roots(release) {
            "" if preset && !config.old_mirrors => PRESET,
            "" => return Err(config.not_set(hosts_dir)),
            config_path => config_path,
        };
        let local = Search::new(config_path, PullPath::Local, release);
        let place = local.roots().iter().position(|root| same(root, hosts_dir));
        let whole = || config.whole(config_path, hosts_dir);
        let (search, place, doubt) = match (pulls(&config, release), place) {
            // One directory whose name has colons.
            (Pulling::Transfer, _) if same(Path::new(config_path), hosts_dir) => {
                let search = Search::new(config_path, PullPath::Transfer, release);
                (search, 0, None)
            }
            (Pulling::Transfer, _) if local.roots().len() > 1 => {
                return Err(ConfigError::Whole(whole()));
            }
            (_, None) => return Err(elsewhere(config_path, &local, hosts_dir)),
            (Pulling::Unknown, Some(place)) if local.roots().len() > 1 => {
                (local, place, Some(whole().to_string()))
            }
            (_, Some(place)) => (local, place, None),
        };
        Ok(Self {
            search,
            hosts_dir: hosts_dir.to_owned(),
            place,
            discards: config.pulls.discards(release),
            doubt,
        })
    }

    /// What would keep containerd from the files if it is of a release that pulls otherwise.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Whether the configuration has layers go once they are unpacked.
    pub fn discards(&self) -> bool {
        self.discards
    }

    /// The directories that are searched, in their order.
    pub fn roots(&self) -> &[PathBuf] {
        self.search.roots()
    }

    /// The file that containerd takes for `registry`, with `_default` for one without a directory
    /// of its own, and the root that it is under.
    pub fn taken(&self, registry: &str) -> Option<(PathBuf, &Path)> {
        match self.search.take(registry, exists) {
            Taken::Directory { path, root } => {
                Some((path.join("hosts.toml"), self.roots().get(root)?))
            }
            Taken::Nothing | Taken::Broken { .. } => None,
        }
    }
}

/// Who pulls.
enum Pulling {
    Local,
    Transfer,
    /// It depends on the release, which is not known.
    Unknown,
}

fn pulls(config: &ContainerdConfig, release: Option<Release>) -> Pulling {
    // containerd 2.x reads no file of version 1.
    if config.pulls.local() || config.version < 2 {
        return Pulling::Local;
    }
    match release {
        None => Pulling::Unknown,
        Some(release) if release < Release::TRANSFER => Pulling::Local,
        Some(_) => Pulling::Transfer,
    }
}

fn elsewhere(config_path: &str, search: &Search, hosts_dir: &Path) -> ConfigError {
    ConfigError::Elsewhere {
        configured: config_path.to_owned(),
        first: search.roots().first().cloned().unwrap_or_default(),
        wanted: hosts_dir.to_owned(),
    }
}

fn same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    a == b || real(a) == real(b) || current(a).is_some_and(|a| Some(a) == current(b))
}

/// A path below a snap's data with `current` for the snap's revision. A container sees what is mounted
/// under the one name, and containerd's configuration says the other.
fn current(path: &Path) -> Option<PathBuf> {
    let mut parts = path.strip_prefix("/var/snap").ok()?.components();
    let (snap, revision) = (parts.next()?, parts.next()?.as_os_str().to_str()?);
    let is_revision = revision == "current" || revision.bytes().all(|b| b.is_ascii_digit());
    let current = || Path::new("/var/snap").join(snap).join("current");
    is_revision.then(|| current().join(parts.as_path()))
}

#[cfg(test)]
mod tests;
