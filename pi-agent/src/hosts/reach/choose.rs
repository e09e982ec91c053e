//! Where the agent's entry for a registry goes. A directory that is made for it comes before others
//! in containerd's order, and hides what they say.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Reach, mounts};
use crate::{
    hosts::{
        misplaced::Misplaced,
        place::HostsToml,
        search::{DEFAULT, exists, own, registry_of},
    },
    registry::RegistryName,
};

/// Directories under a root that are looked at.
const MAX_DIRECTORIES: usize = 10_000;

impl Reach {
    /// The place of the agent's entry for a registry, where containerd asks the agent by it and
    /// every other registry is resolved as before.
    ///
    /// # Errors
    /// When there is none under the directory that was given.
    pub fn place(&self, registry: &RegistryName) -> Result<HostsToml, Misplaced> {
        let name = registry.as_str();
        if registry.is_default() && !self.search.knows_default() {
            return Err(Misplaced::NoDefault);
        }
        for root in self.roots().iter().take(self.place) {
            self.see(root, name)?;
            for path in self.search.under(root, name) {
                if there(&path)? {
                    return Err(Misplaced::Behind {
                        registry: name.to_owned(),
                        taken: path,
                        hosts_dir: self.hosts_dir.clone(),
                        better: root.clone(),
                    });
                }
            }
        }
        let place = HostsToml::new(&self.hosts_dir, registry);
        // What is there already hides nothing more by one host more in it.
        if there(place.directory())? && !place.is_ours() {
            return Ok(place);
        }
        let hidden = if registry.is_default() {
            self.hidden_by_default()?
        } else {
            self.hidden_by(name)?
        };
        match hidden {
            Some((hidden, better)) => Err(Misplaced::Hides {
                registry: name.to_owned(),
                hidden,
                hosts_dir: self.hosts_dir.clone(),
                better,
            }),
            None => Ok(self.with_default(place)),
        }
    }

    /// What a directory of this registry's own would hide, and the root that has it.
    fn hidden_by(&self, registry: &str) -> Result<Option<(PathBuf, PathBuf)>, Misplaced> {
        if has_default(&self.hosts_dir)? {
            return Ok(None);
        }
        for root in self.roots().iter().skip(self.place + 1) {
            self.see(root, registry)?;
            for path in own(root, registry) {
                if there(&path)? {
                    return Ok(Some((path, root.clone())));
                }
            }
            if has_default(root)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// What a `_default` would hide, and the root in which it would hide nothing: the one that has
    /// a `_default`, or else the last.
    fn hidden_by_default(&self) -> Result<Option<(PathBuf, PathBuf)>, Misplaced> {
        let later: Vec<_> = self.roots().iter().skip(self.place + 1).collect();
        let mut better = later.last().copied().cloned().unwrap_or_default();
        let mut hidden = None;
        let mut known: BTreeSet<_> = self
            .roots()
            .iter()
            .take(self.place + 1)
            .flat_map(|root| registries(root))
            .collect();
        for root in later {
            self.see(root, DEFAULT)?;
            for registry in registries(root) {
                if known.insert(registry.clone()) && hidden.is_none() {
                    let directory = own(root, &registry).into_iter().find(|path| path.is_dir());
                    hidden = directory.or_else(|| Some(root.join(&registry)));
                }
            }
            if there(&root.join(DEFAULT))? {
                hidden = hidden.or_else(|| Some(root.join(DEFAULT)));
                better.clone_from(root);
                break;
            }
        }
        Ok(hidden.map(|hidden| (hidden, better)))
    }

    /// A file that is made for one registry copies what is in force for all.
    fn with_default(&self, place: HostsToml) -> HostsToml {
        let later = self.roots().iter().skip(self.place);
        let mut defaults = later.map(|root| root.join(DEFAULT));
        // One that only holds the agent says nothing, but containerd looks no further either.
        match defaults.find(|path| path.exists()) {
            Some(default) => place.with_default(default),
            None => place,
        }
    }

    /// Makes sure that a root which is missing here is missing on the node.
    fn see(&self, root: &Path, registry: &str) -> Result<(), Misplaced> {
        if there(root)? || !mounts::mounted_at(&self.hosts_dir) {
            return Ok(());
        }
        Err(Misplaced::Unseen {
            registry: registry.to_owned(),
            root: root.to_owned(),
        })
    }
}

/// Whether a root has a `_default` that is not there for the agent alone.
fn has_default(root: &Path) -> Result<bool, Misplaced> {
    let place = HostsToml::all(root);
    Ok(there(place.directory())? && !place.is_ours())
}

fn there(path: &Path) -> Result<bool, Misplaced> {
    exists(path).map_err(|source| Misplaced::Look {
        path: path.to_owned(),
        source,
    })
}

/// The registries that have a directory under a root.
fn registries(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let names = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name != DEFAULT);
    let mut registries: Vec<_> = names
        .take(MAX_DIRECTORIES)
        .map(|name| registry_of(&name))
        // A directory that no image name leads to hides nothing.
        .filter(|name| name.parse::<RegistryName>().is_ok())
        .collect();
    registries.sort();
    registries
}
