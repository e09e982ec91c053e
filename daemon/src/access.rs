//! Why this process may not use a file: which permission is missing, on which path, for which user.
//!
//! "Permission denied" alone makes an operator check every directory above the file, and as another
//! user than the container's.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
    process::{getgid, getuid},
};

const MAKE: &str = "make files in";

/// The intended access to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Read a file, or list a directory.
    Read,
    /// Write a file, or create it; connect to a socket.
    Write,
}

/// The first obstacle on the path to a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// It is not there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// It is mounted read-only.
    #[error("{} is mounted read-only", .0.display())]
    ReadOnly(PathBuf),
    /// Its permissions do not allow it.
    #[error(
        "{who} may not {verb} {}, which belongs to {}:{} with mode {:04o}",
        place.display(), owner.0, owner.1, mode
    )]
    Denied {
        /// File or directory.
        place: PathBuf,
        /// What this process may not do with it.
        verb: &'static str,
        /// The user and group that it belongs to.
        owner: (u32, u32),
        /// Its permissions.
        mode: u32,
        /// This process.
        who: Who,
    },
}

/// The user that this process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    user: u32,
    group: u32,
}

/// An error and its cause in the file system.
#[derive(Debug, thiserror::Error)]
#[error("{obstacle}")]
struct Explained {
    obstacle: Obstacle,
    #[source]
    source: io::Error,
}

/// Puts the obstacle that explains the error in front of it, if there is one. The error's kind
/// stays.
pub fn explain(error: io::Error, path: &Path, need: Need) -> io::Error {
    let kind = error.kind();
    let of_access = matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotFound
    );
    match obstacle(path, need) {
        Some(obstacle) if of_access => io::Error::new(
            kind,
            Explained {
                obstacle,
                source: error,
            },
        ),
        _ => error,
    }
}

/// The obstacle between this process and a file; `None` if permissions and mounts allow the access,
/// though a security module may still forbid it.
pub fn obstacle(path: &Path, need: Need) -> Option<Obstacle> {
    let path = std::path::absolute(path).ok()?;
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.reverse();
    for directory in above {
        match (at(directory, Access::EXEC_OK, "enter"), need) {
            (None, _) => {}
            // A process that creates files creates their directories too, if it is allowed to.
            (Some(Obstacle::Missing(missing)), Need::Write) => {
                let denied = at(missing.parent()?, Access::WRITE_OK, MAKE);
                return Some(denied.unwrap_or(Obstacle::Missing(missing)));
            }
            (obstacle, _) => return obstacle,
        }
    }
    match need {
        Need::Read => at(&path, Access::READ_OK, "read"),
        Need::Write if path.symlink_metadata().is_err() => {
            at(path.parent()?, Access::WRITE_OK, MAKE)
        }
        Need::Write => at(&path, Access::WRITE_OK, "write to"),
    }
}

fn at(place: &Path, wanted: Access, verb: &'static str) -> Option<Obstacle> {
    let place = || place.to_owned();
    match access(place(), wanted) {
        Err(Errno::NOENT | Errno::NOTDIR) => Some(Obstacle::Missing(place())),
        Err(Errno::ROFS) => Some(Obstacle::ReadOnly(place())),
        Err(Errno::ACCESS | Errno::PERM) => {
            let metadata = place().metadata().ok()?;
            Some(Obstacle::Denied {
                place: place(),
                verb,
                owner: (metadata.uid(), metadata.gid()),
                mode: metadata.mode() & 0o7777,
                who: Who::this(),
            })
        }
        _ => None,
    }
}

impl Who {
    fn this() -> Self {
        Self {
            user: getuid().as_raw(),
            group: getgid().as_raw(),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, group } = self;
        write!(f, "user {user} of group {group}")?;
        if *user == 0 {
            f.write_str(" (without the capability DAC_OVERRIDE)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io, path::Path};

    use super::{Need, Obstacle, explain, obstacle};

    #[test]
    fn the_first_that_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        fs::write(&there, "").unwrap();
        assert_eq!(obstacle(&there, Need::Read), None);
        assert_eq!(obstacle(&there, Need::Write), None);
        assert_eq!(obstacle(&directory.path().join("new"), Need::Write), None);
        let missing = directory.path().join("a");
        let found = obstacle(&missing.join("b/c"), Need::Write);
        assert_eq!(found, Some(Obstacle::Missing(missing)));
    }

    #[test]
    fn an_error_keeps_its_kind() {
        let denied = || io::Error::from(io::ErrorKind::NotFound);
        let error = explain(denied(), Path::new("/no/such/file"), Need::Read);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "/no does not exist");
        let other = io::Error::from(io::ErrorKind::InvalidData);
        let shown = other.to_string();
        assert_eq!(
            explain(other, Path::new("/no"), Need::Read).to_string(),
            shown
        );
    }
}
