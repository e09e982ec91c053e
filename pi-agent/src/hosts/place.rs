//! Where a registry's hosts.toml is, and how it is written in one step.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::{
    block::{self, Added, Before, BlockError, Mirror},
    certs,
};
use crate::registry::RegistryName;

const FILE: &str = "hosts.toml";
const TEMPORARY: &str = ".hosts.toml.pi-agent";

/// The place of one registry's hosts.toml.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
}

/// What was done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was written.
    Written,
    /// It was as it should be.
    Unchanged,
    /// The agent's block was taken out.
    Restored,
    /// It is gone, as it was before.
    Removed,
}

/// Why a file could not be brought into shape.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is left alone.
    #[error("{} is left as it is", path.display())]
    Block {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BlockError,
    },
}

impl Place {
    /// The place for a registry under containerd's `config_path`. containerd prefers the
    /// directory `host_port_` to `host:port` where both are there.
    pub fn new(hosts_dir: &Path, registry: &RegistryName) -> Self {
        let escaped = registry
            .as_str()
            .rsplit_once(':')
            .map(|(host, port)| hosts_dir.join(format!("{host}_{port}_")))
            .filter(|directory| directory.is_dir());
        let directory = escaped.unwrap_or_else(|| hosts_dir.join(registry.as_str()));
        Self { directory }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// The file's text, where there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self) -> Result<Option<String>, PlaceError> {
        match fs::read_to_string(self.file()) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PlaceError::Read {
                path: self.file(),
                source,
            }),
        }
    }

    /// Makes the agent the first host.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written.
    pub fn add(&self, mirror: &Mirror) -> Result<Done, PlaceError> {
        let old = self.read()?;
        let created = match (&old, self.directory.is_dir()) {
            (Some(_), _) => None,
            (None, true) => Some(Before::Directory),
            (None, false) => Some(Before::Nothing),
        };
        let text = match &old {
            Some(text) => text.clone(),
            None => certs::lines(&self.directory).map_err(|source| PlaceError::Read {
                path: self.directory.clone(),
                source,
            })?,
        };
        let added = block::add(&text, mirror, created).map_err(|source| PlaceError::Block {
            path: self.file(),
            source,
        })?;
        match added {
            Added::Text(text) if Some(&text) != old.as_ref() => {
                self.write(&text)?;
                Ok(Done::Written)
            }
            Added::Text(_) | Added::ThereAlready => Ok(Done::Unchanged),
        }
    }

    /// Takes the agent out, and leaves what there was before it came.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written.
    pub fn remove(&self) -> Result<Done, PlaceError> {
        let Some(old) = self.read()? else {
            return Ok(Done::Unchanged);
        };
        let removed = block::remove(&old).map_err(|source| PlaceError::Block {
            path: self.file(),
            source,
        })?;
        let failed = |source| PlaceError::Write {
            path: self.file(),
            source,
        };
        let ours = || {
            let certs = certs::lines(&self.directory).unwrap_or_default();
            removed.text.trim().is_empty() || removed.text == certs
        };
        match removed.before {
            None => Ok(Done::Unchanged),
            Some(Before::Directory | Before::Nothing) if ours() => {
                fs::remove_file(self.file()).map_err(failed)?;
                if removed.before == Some(Before::Nothing) {
                    // It stays where something else was put there meanwhile.
                    let _ = fs::remove_dir(&self.directory);
                }
                Ok(Done::Removed)
            }
            Some(_) => {
                self.write(&removed.text)?;
                Ok(Done::Restored)
            }
        }
    }

    /// Replaces the file in one step: containerd reads it at each pull.
    fn write(&self, text: &str) -> Result<(), PlaceError> {
        let write = || {
            fs::create_dir_all(&self.directory)?;
            // Through a symbolic link, so that the link stays one.
            let target = fs::canonicalize(self.file()).unwrap_or_else(|_| self.file());
            let temporary = target.with_file_name(TEMPORARY);
            let mut file = File::create(&temporary)?;
            match fs::metadata(&target) {
                Ok(old) => {
                    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
                    // Only root may give files away; for others the owner is the same.
                    let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
                }
                Err(_) => file.set_permissions(Permissions::from_mode(0o644))?,
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &target)
        };
        write().map_err(|source| PlaceError::Write {
            path: self.file(),
            source,
        })
    }
}
