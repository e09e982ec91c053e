//! What every artefact says of its origin. Nothing here depends on when or where it is built.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{shell, workspace};

/// The origin of what is built.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The workspace.
    pub(crate) root: PathBuf,
    /// The version of all crates.
    pub(crate) version: &'static str,
    /// The commit, in full.
    pub(crate) commit: String,
    /// The commit's time in seconds since 1970: the time of every file.
    pub(crate) epoch: u64,
    /// The same as RFC 3339 writes it.
    pub(crate) created: String,
}

impl Facts {
    /// Asks git.
    ///
    /// # Errors
    ///
    /// When this is no clone.
    pub(crate) fn gather() -> Result<Self> {
        let root = workspace::root()?;
        let format = "--format=%H%n%ct%n%cd";
        let mut git = Command::new("git");
        git.args([
            "log",
            "-1",
            format,
            "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        ]);
        let text = shell::output(git.env("TZ", "UTC").current_dir(&root))?;
        let mut lines = text.lines();
        let mut next = || {
            lines
                .next()
                .context("git log has fewer lines than were asked for")
        };
        Ok(Self {
            root,
            version: env!("CARGO_PKG_VERSION"),
            commit: next()?.to_owned(),
            epoch: next()?.parse().context("a commit's time")?,
            created: next()?.to_owned(),
        })
    }

    /// Where artefacts go: beside the builds, `target/dist` unless cargo was told of another place.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub(crate) fn output() -> Result<PathBuf> {
        let own = std::env::current_exe().context("finding this program")?;
        let target = own.ancestors().nth(2).context("no target directory")?;
        let output = target.join("dist");
        fs::create_dir_all(&output).with_context(|| format!("making {}", output.display()))?;
        Ok(output)
    }
}
