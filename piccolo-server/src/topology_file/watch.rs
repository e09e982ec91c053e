//! Noticing that a file has changed, however it is replaced.
//!
//! Kubernetes changes a mounted ConfigMap by renaming a symbolic link in a directory above the file;
//! editors write a new file and rename it. So the directories are watched, and not the file: that
//! of the file and that of every symbolic link on the way to it.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use daemon::inotify::{DIRECTORY, Inotify};

/// The most symbolic links followed, as in the kernel.
const MAX_LINKS: u32 = 40;

/// The directories on the way to a file, under watch.
#[derive(Debug)]
pub(super) struct FileWatch(Inotify);

impl FileWatch {
    /// Watches the way to the file as it is now. When that changes, the way may be another.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::new()?;
        for directory in directories(path)? {
            // A directory that has vanished was reported by its parent.
            let _ = inotify.add(&directory, DIRECTORY)?;
        }
        Ok(Self(inotify))
    }

    /// Ends when something happened in one of the directories.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.0.read(|_| ()).await
    }
}

/// The directories in which a change may give the path another file.
fn directories(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let path = std::path::absolute(path)?;
    let mut rest: VecDeque<OsString> = parts(&path);
    let mut resolved = PathBuf::from("/");
    let mut found = BTreeSet::new();
    let mut links = 0;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        let Ok(metadata) = next.symlink_metadata() else {
            // Where it would have to appear.
            found.insert(resolved);
            return Ok(found);
        };
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            found.insert(resolved.clone());
            let target = next.read_link()?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        } else if rest.is_empty() {
            found.insert(resolved.clone());
        } else {
            resolved = next;
        }
    }
    Ok(found)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn the_directory_of_every_link_is_watched() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("a real path");
        let mount = root.join("mount");
        fs::create_dir_all(mount.join("..1")).expect("directories");
        fs::write(mount.join("..1/topology.yaml"), "").expect("a file");
        symlink("..1", mount.join("..data")).expect("a link");
        symlink("..data/topology.yaml", mount.join("topology.yaml")).expect("a link");
        symlink(&mount, root.join("alias")).expect("a link");
        let found = directories(&root.join("alias/topology.yaml")).expect("a way");
        let expected = [root.clone(), mount.clone(), mount.join("..1")];
        assert_eq!(found, expected.into());
        let missing = directories(&mount.join("none/topology.yaml")).expect("a way");
        assert_eq!(missing, [mount.clone()].into());
        symlink("loop", mount.join("loop")).expect("a link");
        assert!(directories(&mount.join("loop")).is_err());
    }
}
