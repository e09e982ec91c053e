//! One run of the bed: its name, its directory, and the cleaner that removes all of it.
//!
//! The cleaner is a process of its own, outside this one's process group, that waits for the end of
//! a pipe. The pipe ends when the run is dropped, and also when this program panics, is interrupted
//! or is killed, so there is one way of cleaning and nothing has to be written down beforehand:
//! namespaces, control groups, mounts and files are found by the run's name.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;

use crate::cgroup;
use crate::rights::is_root;

mod signals;

pub use signals::stop_if_interrupted;

const CLEANER: &str = include_str!("run/clean.sh");
const PREFIX: &str = "pcl-";
/// Kept runs have this file, so that a sweep leaves them alone.
const KEPT: &str = "kept";
const OWNER: &str = "owner";

/// A run of the bed. Clones are handles to the same run; the last one to go cleans up.
#[derive(Clone, Debug)]
pub struct Run(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    directory: PathBuf,
    cleaner: Mutex<Option<Child>>,
    /// Held while this program lives, so that a sweep can tell a dead run from a live one.
    _owner: File,
}

impl Run {
    /// Starts a run after sweeping away what dead runs may have left.
    ///
    /// # Errors
    ///
    /// When not run as root, or the directory, the control group or the cleaner cannot be made.
    pub fn start() -> Result<Self> {
        ensure!(
            is_root(),
            "the test bed makes network namespaces and mounts: run it as root"
        );
        Self::sweep()?;
        let (name, directory) = claim_directory()?;
        let owner = File::create(directory.join(OWNER)).context("creating the run's lock")?;
        owner.lock().context("locking the run's directory")?;
        if !Path::new("/run/netns").exists() {
            fs::write(directory.join("made-run-netns"), "").context("writing to the run")?;
        }
        let group = cgroup::root()?.join(&name);
        fs::create_dir(&group).with_context(|| format!("making {}", group.display()))?;
        let cleaner = start_cleaner(&name, &directory, &group, Stdio::piped())?;
        Ok(Self(Arc::new(Inner {
            name,
            directory,
            cleaner: Mutex::new(Some(cleaner)),
            _owner: owner,
        })))
    }

    /// Removes what runs have left whose program is dead and which were not kept.
    ///
    /// # Errors
    ///
    /// When a cleaner cannot be started or could not clean.
    pub fn sweep() -> Result<()> {
        sweep(|directory| !directory.join(KEPT).exists())
    }

    /// Removes what dead runs have left, the kept ones too.
    ///
    /// # Errors
    ///
    /// When a cleaner cannot be started or could not clean.
    pub fn sweep_kept() -> Result<()> {
        sweep(|_| true)
    }

    /// The prefix of everything this run makes.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The run's directory; it goes away with the run.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Makes a directory inside the run's own.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory().join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Ends every process of the run and removes all that belongs to it. A second call does
    /// nothing.
    ///
    /// # Errors
    ///
    /// When something could not be removed; the cleaner has said what on standard error.
    pub fn end(&self) -> Result<()> {
        self.0.end(b"clean")
    }

    /// Leaves everything as it is after this program has ended, until [`Run::sweep_kept`].
    ///
    /// # Errors
    ///
    /// When the cleaner cannot be reached.
    pub fn keep(&self) -> Result<()> {
        fs::write(self.directory().join(KEPT), "").context("marking the run as kept")?;
        self.0.end(b"keep")
    }

    /// From now on an interrupt or a termination request cleans up and ends the program.
    ///
    /// # Errors
    ///
    /// When the handlers cannot be installed.
    pub fn end_on_signals(&self) -> Result<()> {
        signals::watch(Arc::downgrade(&self.0))
    }
}

impl Inner {
    fn end(&self, word: &[u8]) -> Result<()> {
        // Held to the end: a second caller returns only when all is clean.
        let mut cleaner = self.cleaner.lock();
        let Some(mut child) = cleaner.take() else {
            return Ok(());
        };
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(word).context("telling the cleaner")?;
        }
        wait_for_cleaner(child, &self.name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The cleaner has said on standard error what it could not remove.
        let _ = self.end(b"clean");
    }
}

fn base() -> PathBuf {
    // Not /tmp, which often lives in memory: content stores are large.
    PathBuf::from("/var/tmp")
}

/// The process's id makes the name unique among live programs, the counter inside this one.
fn claim_directory() -> Result<(String, PathBuf)> {
    let process = std::process::id();
    for counter in 0..1000 {
        let name = format!("{PREFIX}{process}x{counter}");
        let directory = base().join(&name);
        match fs::create_dir(&directory) {
            Ok(()) => return Ok((name, directory)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("making {}", directory.display()));
            }
        }
    }
    bail!("no free name for a run in {}", base().display())
}

fn start_cleaner(name: &str, directory: &Path, group: &Path, stdin: Stdio) -> Result<Child> {
    Command::new("sh")
        .args(["-c", CLEANER, "testbed-cleaner", name])
        .args([directory, group])
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the cleaner")
}

fn wait_for_cleaner(mut child: Child, name: &str) -> Result<()> {
    let status = child.wait().context("waiting for the cleaner")?;
    ensure!(
        status.success(),
        "the cleaner could not remove all of {name}"
    );
    Ok(())
}

fn sweep(wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let group_root = cgroup::root()?;
    for entry in fs::read_dir(base()).context("listing the runs")? {
        let entry = entry.context("listing the runs")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let directory = entry.path();
        if name.starts_with(PREFIX) && wanted(&directory) && is_dead(&directory) {
            let child = start_cleaner(&name, &directory, &group_root.join(&name), Stdio::null())?;
            wait_for_cleaner(child, &name)?;
        }
    }
    Ok(())
}

fn is_dead(directory: &Path) -> bool {
    let Ok(owner) = File::open(directory.join(OWNER)) else {
        return is_older_than(directory, Duration::from_mins(1));
    };
    match owner.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

/// A directory without a lock is one that is just being made, or was abandoned while it was.
fn is_older_than(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with a file's time stamp"
    )]
    let now = SystemTime::now();
    modified.is_ok_and(|modified| {
        now.duration_since(modified)
            .is_ok_and(|passed| passed > age)
    })
}
