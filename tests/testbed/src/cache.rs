//! Where things are kept that take long to make: downloaded releases, built images.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `target/testbed` of the workspace this crate was built in.
fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testbed")
}

/// Gives the directory `name` of the cache; `fill` makes its content if it is not there. Programs
/// that ask at once wait for the first, and a fill that was broken off leaves nothing.
pub(crate) fn directory(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let base = base();
    fs::create_dir_all(&base).with_context(|| format!("making {}", base.display()))?;
    let base = base.canonicalize().context("finding the cache")?;
    let lock = File::create(base.join(format!("{name}.lock"))).context("opening a cache lock")?;
    lock.lock().context("locking the cache")?;
    let directory = base.join(name);
    if directory.exists() {
        return Ok(directory);
    }
    let partial = base.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).context("removing a broken-off fill of the cache")?;
    }
    fs::create_dir(&partial).with_context(|| format!("making {}", partial.display()))?;
    fill(&partial)?;
    fs::rename(&partial, &directory)
        .with_context(|| format!("putting {} in place", directory.display()))?;
    Ok(directory)
}
