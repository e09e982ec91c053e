//! Files of the authority, of which nothing is overwritten unless that is wanted.

use std::{fs, io, path::Path};

use daemon::{
    access::{Need, explain},
    whole_file::{self, IfThere},
};

use super::PkiError;

pub(super) use daemon::whole_file::{PUBLIC, SECRET};

/// Makes a directory where it is not there yet, and those above it, which others may read.
pub(super) fn make_directory(directory: &Path) -> Result<(), PkiError> {
    whole_file::make_directory(directory).map_err(|source| failed(directory, source))
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
    let if_there = if may_replace {
        IfThere::Replace
    } else {
        IfThere::Fail
    };
    whole_file::write(path, text, mode, if_there).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => PkiError::There(path.to_owned()),
        _ => failed(path, source),
    })
}

fn failed(path: &Path, source: io::Error) -> PkiError {
    PkiError::Write {
        path: path.to_owned(),
        source: explain(source, path, Need::Write),
    }
}
