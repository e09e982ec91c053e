//! Files that are written as a whole, and overwrite nothing unless that is wanted.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use daemon::access::{Need, explain};

use super::PkiError;

/// Modes of files: keys are their owner's only.
pub(super) const SECRET: u32 = 0o600;
pub(super) const PUBLIC: u32 = 0o644;
/// The mode of a directory.
const PRIVATE: u32 = 0o700;

/// Makes a directory where it is not there yet, and those above it, which others may read.
pub(super) fn make_directory(directory: &Path) -> Result<(), PkiError> {
    let make = || {
        if directory.is_dir() {
            return Ok(());
        }
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent)?;
        }
        DirBuilder::new().mode(PRIVATE).create(directory)
    };
    make().map_err(|source| failed(directory, source))
}

/// Writes a key, and then its certificate: neither where one of them would be overwritten and must not be.
pub(super) fn write_pair(
    pair: &[(&Path, String, u32); 2],
    may_replace: bool,
) -> Result<(), PkiError> {
    for (path, ..) in pair {
        if !may_replace && fs::symlink_metadata(path).is_ok() {
            return Err(PkiError::There(path.to_path_buf()));
        }
    }
    for (path, text, mode) in pair {
        write(path, text, *mode, may_replace)?;
    }
    Ok(())
}

/// Writes a file with this mode: all of it or nothing, also where the machine fails meanwhile.
pub(super) fn write(path: &Path, text: &str, mode: u32, may_replace: bool) -> Result<(), PkiError> {
    let beside = beside(path);
    // Left by one that was killed.
    let _ = fs::remove_file(&beside);
    let put = |beside: &Path| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if may_replace {
            fs::rename(beside, path)
        } else {
            // A link, unlike a new name, replaces nothing.
            fs::hard_link(beside, path)
        }
    };
    let done = put(&beside).and_then(|()| sync_directory(path));
    let _ = fs::remove_file(&beside);
    done.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::There(path.to_owned()),
        _ => failed(path, source),
    })
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    beside.into()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn failed(path: &Path, source: io::Error) -> PkiError {
    PkiError::Write {
        path: path.to_owned(),
        source: explain(source, path, Need::Write),
    }
}
