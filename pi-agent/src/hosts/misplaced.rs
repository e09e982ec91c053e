//! Why the agent's entry for a registry has no place under the directory that was given.

use std::{io, path::PathBuf};

/// Why an entry in the directory that was given would not do.
#[derive(Debug, thiserror::Error)]
pub enum Misplaced {
    /// containerd takes another directory, so that it would not ask the agent.
    #[error(
        "for {registry} containerd takes {} before anything in {}, and would never ask the agent: \
         give --hosts-dir {}",
        taken.display(), hosts_dir.display(), better.display()
    )]
    Behind {
        /// Whose entry it is.
        registry: String,
        /// What containerd takes.
        taken: PathBuf,
        /// Where the entry was to be.
        hosts_dir: PathBuf,
        /// Where it would do.
        better: PathBuf,
    },
    /// It would hide what another directory says.
    #[error(
        "an entry for {registry} in {} would hide {}, which containerd takes now: give --hosts-dir {}",
        hosts_dir.display(), hidden.display(), better.display()
    )]
    Hides {
        /// Whose entry it is.
        registry: String,
        /// What it would hide.
        hidden: PathBuf,
        /// Where the entry was to be.
        hosts_dir: PathBuf,
        /// Where it would do.
        better: PathBuf,
    },
    /// Another directory of `config_path` is not to be seen from here.
    #[error(
        "config_path names {} too, which is not to be seen from this container, so that an entry for \
         {registry} could hide what is there, or be hidden: mount it (in the chart, \
         agent.hosts.moreDirectories)",
        root.display()
    )]
    Unseen {
        /// Whose entry it is.
        registry: String,
        /// The directory.
        root: PathBuf,
    },
    /// This containerd knows no `_default`.
    #[error(
        "containerd before 1.6.17 knows no _default: name each registry with --registry, or install a \
         newer one"
    )]
    NoDefault,
    /// A directory cannot be looked at, and containerd fails for the same reason.
    #[error("{} cannot be looked at", path.display())]
    Look {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
