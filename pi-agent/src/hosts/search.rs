//! Where containerd looks for the mirror file of a registry: which directories, in which order.
//!
//! As in its sources from 1.6 to 2.3 (`hostPaths`, `hostDirFromRoots`, `WithHostDir`), and as tried
//! with 1.6.20, 1.7.24 and 2.1: the roots of `config_path` one after the other, in each of them the
//! registry's own directory and then `_default`. The first that exists is taken, whatever is in it.
//! The transfer service takes all of `config_path` as the name of one root.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::release::{PullPath, Release};

/// The directory that stands for every registry without one of its own.
pub const DEFAULT: &str = "_default";

/// The order in which one containerd looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    roots: Vec<PathBuf>,
    default: Fallback,
}

/// What containerd takes for a registry.
#[derive(Debug)]
pub enum Taken {
    /// This directory.
    Directory {
        /// Its path.
        path: PathBuf,
        /// The place of its root among the roots.
        root: usize,
    },
    /// None: it asks the registry itself.
    Nothing,
    /// It gives up, and with it the pull.
    Broken {
        /// What it cannot look at.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Whether `_default` means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fallback {
    Known,
    Unknown,
}

impl Search {
    /// The order for a `config_path`, a way to pull and a release; one that is not known counts as
    /// recent.
    pub fn new(config_path: &str, pull: PullPath, release: Option<Release>) -> Self {
        let roots = match pull {
            PullPath::Local => config_path
                .split(':')
                .filter(|root| !root.is_empty())
                .map(PathBuf::from)
                .collect(),
            PullPath::Transfer if config_path.is_empty() => Vec::new(),
            PullPath::Transfer => vec![PathBuf::from(config_path)],
        };
        let default = match release {
            Some(release) if release < Release::DEFAULT => Fallback::Unknown,
            _ => Fallback::Known,
        };
        Self { roots, default }
    }

    /// The roots in their order.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Whether `_default` means anything to containerd.
    pub fn knows_default(&self) -> bool {
        self.default == Fallback::Known
    }

    /// The directories under one root that containerd looks for, in their order.
    pub fn under(&self, root: &Path, registry: &str) -> Vec<PathBuf> {
        let mut paths = own(root, registry);
        if registry != DEFAULT && self.default == Fallback::Known {
            paths.push(root.join(DEFAULT));
        }
        paths
    }

    /// What containerd takes for `registry`, or with [`DEFAULT`] for one without a directory of its
    /// own; `exists` says whether something is at a path.
    pub fn take(&self, registry: &str, exists: impl Fn(&Path) -> io::Result<bool>) -> Taken {
        if registry == DEFAULT && self.default == Fallback::Unknown {
            return Taken::Nothing;
        }
        for (root, directory) in self.roots.iter().enumerate() {
            for path in self.under(directory, registry) {
                match exists(&path) {
                    Ok(true) => return Taken::Directory { path, root },
                    Ok(false) => {}
                    Err(error) => return Taken::Broken { path, error },
                }
            }
        }
        Taken::Nothing
    }
}

/// A registry's own directories under one root: with a port, `host_port_` comes before `host:port`.
pub fn own(root: &Path, registry: &str) -> Vec<PathBuf> {
    let escaped = match registry.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => Some(format!("{host}_{port}_")),
        _ => None,
    };
    let names = escaped.into_iter().chain([registry.to_owned()]);
    names.map(|name| root.join(name)).collect()
}

/// The registry that a directory's name stands for.
pub fn registry_of(directory: &str) -> String {
    let escaped = || {
        let (host, port) = directory.strip_suffix('_')?.rsplit_once('_')?;
        let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        (is_port && !host.is_empty()).then(|| format!("{host}:{port}"))
    };
    escaped().unwrap_or_else(|| directory.to_owned())
}

/// Whether something is at a path, as containerd asks: only the answer that there is nothing lets it
/// look further.
///
/// # Errors
/// Where it cannot be told.
pub fn exists(path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
