//! Files that are written as a whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// The mode of a file that is its owner's only.
pub const SECRET: u32 = 0o600;
/// The mode of one that everybody may read.
pub const PUBLIC: u32 = 0o644;
/// The mode of a directory that is its owner's only.
const PRIVATE: u32 = 0o700;

/// What is done about a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfThere {
    /// The new one takes its place.
    Replace,
    /// It stays, and that is an error.
    Fail,
}

/// Writes a file with this mode: all of it or nothing, also where the machine fails meanwhile.
///
/// # Errors
/// When it cannot be written; `AlreadyExists` where it is there and must not be replaced.
pub fn write(
    path: &Path,
    content: impl AsRef<[u8]>,
    mode: u32,
    if_there: IfThere,
) -> io::Result<()> {
    let beside = beside(path);
    // Left by one that was killed.
    let _ = fs::remove_file(&beside);
    let put = |beside: &Path| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(beside)?;
        file.write_all(content.as_ref())?;
        file.sync_all()?;
        match if_there {
            IfThere::Replace => fs::rename(beside, path),
            // A link, unlike a new name, replaces nothing.
            IfThere::Fail => fs::hard_link(beside, path),
        }
    };
    let done = put(&beside).and_then(|()| sync_directory(path));
    let _ = fs::remove_file(&beside);
    done
}

/// Makes a directory where it is not there yet, and those above it, which others may read.
///
/// # Errors
/// When one cannot be made.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(PRIVATE).create(directory)
}

/// [`make_directory`] for that of a file.
///
/// # Errors
/// When one cannot be made.
pub fn make_private_directory(file: &Path) -> io::Result<()> {
    match parent(file) {
        Some(parent) => make_directory(parent),
        None => Ok(()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    beside.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(parent(path).unwrap_or(Path::new(".")))?.sync_all()
}

fn parent(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    (!parent.as_os_str().is_empty()).then_some(parent)
}
