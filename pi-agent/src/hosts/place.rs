//! Where a registry's hosts.toml is, and how it is written in one step.

use std::{
    ffi::OsString,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use daemon::access::{Need, explain};
use toml_edit::DocumentMut;

use super::{
    block::{self, Added, Before, BlockError, Mirror, Removed},
    certs,
    default::{self, DefaultError},
    misplaced::Misplaced,
    search::{DEFAULT, own},
};
use crate::registry::RegistryName;

const FILE: &str = "hosts.toml";
/// Where its new text is written first.
const TEMPORARY: &str = ".hosts.toml.pi-agent";

/// The place of one registry's hosts.toml.
#[derive(Debug, Clone)]
pub struct HostsToml {
    directory: PathBuf,
    /// The directory that containerd takes for registries that have none.
    default: PathBuf,
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
    /// It would not do there.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// A file for one registry would switch off what is set for all.
    #[error("{} is not made", path.display())]
    Default {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DefaultError,
    },
}

impl HostsToml {
    /// The place for a registry under a directory of containerd's `config_path`. containerd prefers
    /// the directory `host_port_` to `host:port` where both are there.
    pub fn new(hosts_dir: &Path, registry: &RegistryName) -> Self {
        let mut own = own(hosts_dir, registry.as_str());
        let there = own.iter().position(|directory| directory.is_dir());
        let directory = match there {
            Some(there) => own.swap_remove(there),
            None => own.pop().unwrap_or_default(),
        };
        Self {
            directory,
            default: hosts_dir.join(DEFAULT),
        }
    }

    /// The place for all registries under a directory of containerd's `config_path`.
    pub fn all(hosts_dir: &Path) -> Self {
        let default = hosts_dir.join(DEFAULT);
        Self {
            directory: default.clone(),
            default,
        }
    }

    /// The same with another directory for registries that have none.
    #[must_use]
    pub fn with_default(self, default: PathBuf) -> Self {
        Self { default, ..self }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is there for the agent alone: it would be gone with the agent's block.
    pub fn is_ours(&self) -> bool {
        let Ok(Some(text)) = self.read() else {
            return false;
        };
        let Ok(removed) = self.removed(&text) else {
            return false;
        };
        let ours = match removed.before {
            Some(Before::Nothing) => removed.text.trim().is_empty(),
            Some(Before::Copied(_)) => removed.is_copy(),
            _ => false,
        };
        ours && fs::read_dir(&self.directory).is_ok_and(|entries| entries.count() == 1)
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
            Err(error) => Err(PlaceError::Read {
                path: self.file(),
                source: explain(error, &self.file(), Need::Read),
            }),
        }
    }

    /// Whether the first host that containerd asks is this one.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn asks_first(&self, url: &str) -> Result<bool, PlaceError> {
        let text = self.read()?.unwrap_or_default();
        let document = text
            .parse::<DocumentMut>()
            .map_err(|e| self.left(BlockError::Syntax(Box::new(e))))?;
        Ok(block::hosts(&document).first() == Some(&url))
    }

    /// Makes the agent the first host.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written.
    pub fn add(&self, mirror: &Mirror) -> Result<Done, PlaceError> {
        match self.wanted(mirror)? {
            Some(text) => self.write(&text).map(|()| Done::Written),
            None => Ok(Done::Unchanged),
        }
    }

    /// What [`HostsToml::add`] would do; nothing is written.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn rehearse(&self, mirror: &Mirror) -> Result<Done, PlaceError> {
        let wanted = self.wanted(mirror)?;
        Ok(wanted.map_or(Done::Unchanged, |_| Done::Written))
    }

    /// The text with the agent as the first host, unless it is that already.
    fn wanted(&self, mirror: &Mirror) -> Result<Option<String>, PlaceError> {
        let old = self.read()?;
        // A copy of what is set for all registries follows it until somebody edits the copy.
        let kept = match &old {
            Some(text) if !self.removed(text)?.is_copy() => Some(text.clone()),
            _ => None,
        };
        let (text, created) = match kept {
            // containerd takes the certificates beside an empty file, as if there were none.
            Some(text) if text.is_empty() => (self.certificates()?, Some(Before::EmptyFile)),
            Some(text) => (text, None),
            None if old.is_none() && self.directory.is_dir() => {
                (self.certificates()?, Some(Before::Directory))
            }
            None => {
                let text = self.text_of_all()?;
                let before = match &*text {
                    "" => Before::Nothing,
                    text => Before::Copied(block::sum(text)),
                };
                (text, Some(before))
            }
        };
        let added = block::add(&text, mirror, created).map_err(|source| self.left(source))?;
        Ok(match added {
            Added::Text(text) if Some(&text) != old.as_ref() => Some(text),
            Added::Text(_) | Added::ThereAlready => None,
        })
    }

    fn certificates(&self) -> Result<String, PlaceError> {
        certs::lines(&self.directory).map_err(|source| PlaceError::Read {
            path: self.directory.clone(),
            source,
        })
    }

    /// Takes the agent out, and leaves what there was before it came.
    ///
    /// # Errors
    /// When the file cannot be read, understood or written.
    pub fn remove(&self) -> Result<Done, PlaceError> {
        self.clear();
        let Some(old) = self.read()? else {
            return Ok(Done::Unchanged);
        };
        let removed = self.removed(&old)?;
        let failed = |error| self.cannot_write(error);
        let ours = || {
            let certs = certs::lines(&self.directory).unwrap_or_default();
            removed.text.trim().is_empty() || removed.text == certs
        };
        let ours = match removed.before {
            None => return Ok(Done::Unchanged),
            Some(Before::Directory | Before::EmptyFile | Before::Nothing) => ours(),
            Some(Before::Copied(_)) => removed.is_copy(),
            Some(Before::File | Before::FileWithoutLineEnd) => false,
        };
        match removed.before {
            Some(Before::EmptyFile) if ours => {
                self.write("")?;
                Ok(Done::Restored)
            }
            Some(before) if ours => {
                let gone = match before {
                    Before::Directory => fs::remove_file(self.file()),
                    _ => self.take_away(),
                };
                gone.map_err(failed)?;
                Ok(Done::Removed)
            }
            _ => {
                self.write(&removed.text)?;
                Ok(Done::Restored)
            }
        }
    }

    /// Removes the file, and the directory with it unless something else is in it. They go together, as
    /// they came.
    fn take_away(&self) -> io::Result<()> {
        let is_directory = fs::symlink_metadata(&self.directory)?.is_dir();
        let is_alone = fs::read_dir(&self.directory)?.count() == 1;
        if !(is_directory && is_alone) {
            return fs::remove_file(self.file());
        }
        let away = self.unfinished();
        fs::rename(&self.directory, &away)?;
        fs::remove_file(away.join(FILE))?;
        // It stays where something else was put there meanwhile.
        fs::remove_dir(&away).or_else(|_| fs::rename(&away, &self.directory))
    }

    fn removed(&self, text: &str) -> Result<Removed, PlaceError> {
        block::remove(text).map_err(|source| self.left(source))
    }

    fn left(&self, source: BlockError) -> PlaceError {
        PlaceError::Block {
            path: self.file(),
            source,
        }
    }

    /// What containerd does for a registry without a directory, as the text of a file for one.
    fn text_of_all(&self) -> Result<String, PlaceError> {
        if self.directory == self.default {
            return Ok(String::new());
        }
        default::text(&self.default).map_err(|source| PlaceError::Default {
            path: self.file(),
            source,
        })
    }

    /// It is replaced by one that is made beside it.
    fn cannot_write(&self, error: io::Error) -> PlaceError {
        PlaceError::Write {
            path: self.file(),
            source: explain(error, &self.directory.join(TEMPORARY), Need::Write),
        }
    }

    /// Brings the file there in one step: containerd reads it at each pull, and this process may end at
    /// any moment.
    fn write(&self, text: &str) -> Result<(), PlaceError> {
        let written = if self.directory.is_dir() {
            self.replace(text)
        } else {
            self.make(text)
        };
        written.map_err(|error| self.cannot_write(error))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        // Through a symbolic link, so that the link stays one.
        let target = fs::canonicalize(self.file()).unwrap_or_else(|_| self.file());
        let temporary = target.with_file_name(TEMPORARY);
        let write = || {
            let file = File::create(&temporary)?;
            match fs::metadata(&target) {
                Ok(old) => {
                    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
                    // Only root may give files away; for others the owner is the same.
                    let _ = std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()));
                }
                Err(_) => file.set_permissions(Permissions::from_mode(0o644))?,
            }
            fill(file, text)?;
            fs::rename(&temporary, &target)
        };
        // Removes a file that a full disk truncated.
        write().inspect_err(|_| drop(fs::remove_file(&temporary)))
    }

    /// The directory and the file come together: without the file the directory would switch off what
    /// is set for all registries.
    fn make(&self, text: &str) -> io::Result<()> {
        let made = self.unfinished();
        let file = made.join(FILE);
        let write = || {
            fs::create_dir_all(&made)?;
            let file = File::create(&file)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            fill(file, text)?;
            fs::rename(&made, &self.directory)
        };
        write().inspect_err(|_| {
            // None of it may have come about.
            let _ = fs::remove_file(&file);
            let _ = fs::remove_dir(&made);
        })
    }

    /// Where the directory is made: a name that no registry has. One that was left there is used.
    fn unfinished(&self) -> PathBuf {
        let name = self.directory.file_name().unwrap_or_default();
        let name = [".".as_ref(), name, ".pi-agent".as_ref()];
        self.directory
            .with_file_name(name.into_iter().collect::<OsString>())
    }

    /// Removes what a process has left that was killed while it wrote.
    fn clear(&self) {
        let made = self.unfinished();
        // Mostly there is nothing.
        let _ = fs::remove_file(made.join(FILE));
        let _ = fs::remove_dir(&made);
        let _ = fs::remove_file(self.directory.join(TEMPORARY));
    }
}

fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
