//! The real files that layers are made of.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

/// What nearly every machine has plenty of.
const ROOTS: [&str; 4] = ["/usr/bin", "/usr/lib", "/usr/share", "/usr/local"];

/// Regular files under the roots, always in the same order.
#[derive(Debug)]
pub(super) struct Files {
    /// Entries not yet visited, the next one first.
    pending: VecDeque<PathBuf>,
}

#[derive(Debug)]
pub(super) struct RealFile {
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

impl Files {
    pub(super) fn of_this_machine() -> Self {
        Self {
            pending: ROOTS.iter().map(PathBuf::from).collect(),
        }
    }
}

impl Iterator for Files {
    type Item = RealFile;

    fn next(&mut self) -> Option<RealFile> {
        loop {
            let path = self.pending.pop_front()?;
            // What cannot be read or vanishes meanwhile is not part of the image.
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                for entry in sorted_entries(&path).into_iter().rev() {
                    self.pending.push_front(entry);
                }
            } else if metadata.is_file() && metadata.len() > 0 {
                return Some(RealFile {
                    path,
                    size: metadata.len(),
                });
            }
        }
    }
}

fn sorted_entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    entries
}
