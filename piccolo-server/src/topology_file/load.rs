//! Reading the topology file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use daemon::access::{Need, explain};
use topology::Topology;

/// Longer files are refused; the largest sites describe themselves in a tenth of this.
const MAX_BYTES: u64 = 8 << 20;

/// Why a topology file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It is not there, or may not be read.
    #[error("topology file {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Longer than any that makes sense.
    #[error("topology file {} is longer than {} MiB", .0.display(), MAX_BYTES >> 20)]
    TooLong(PathBuf),
    /// Not text.
    #[error("topology file {} is no UTF-8 text: byte {at} is none", path.display())]
    Text { path: PathBuf, at: usize },
    /// Mistakes, each with its place and how to mend it.
    #[error("topology file {} has mistakes:\n{report}", path.display())]
    Mistakes { path: PathBuf, report: String },
}

/// Reads the file's text.
///
/// # Errors
/// When it cannot be read, is too long, or no text.
pub(crate) fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |error| LoadError::Read {
        path: path.to_owned(),
        source: explain(error, path, Need::Read),
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_BYTES) {
        return Err(LoadError::TooLong(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| LoadError::Text {
        path: path.to_owned(),
        at: error.utf8_error().valid_up_to(),
    })
}

/// What the file's text says.
///
/// # Errors
/// Gives all mistakes at once.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Topology, LoadError> {
    Topology::parse(text).map_err(|errors| LoadError::Mistakes {
        path: path.to_owned(),
        report: errors.report(&path.display().to_string(), text),
    })
}

/// Reads a topology file.
///
/// # Errors
/// When it cannot be read or has mistakes.
pub(crate) fn load(path: &Path) -> Result<Topology, LoadError> {
    parse(path, &read(path)?)
}
