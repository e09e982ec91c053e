//! A long-lived program of the bed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::{self, Group};
use crate::netns::Netns;
use crate::run::Run;
use crate::wait::wait_until;

/// Moves itself into the control group before it becomes the program, so that the program never
/// runs outside.
const JOIN_AND_EXEC: &str = r#"echo $$ >"$1/cgroup.procs" && shift && exec "$@""#;

/// A program in a network namespace and a control group of its own, its output in a file. Dropping
/// it kills it with all that it started.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    group: Group,
    log: PathBuf,
    _run: Run,
}

impl Process {
    /// Starts the program. `name` has to be unique in the run while it lives; its output is
    /// appended to `<name>.log` in the run's directory.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        run: &Run,
        netns: &Netns,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let group = Group::create(cgroup::root()?.join(run.name()).join(name))?;
        let log = run.directory().join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let errors = output.try_clone().context("sharing a log file")?;
        let child = Command::new("sh")
            .args(["-c", JOIN_AND_EXEC, "sh"])
            .arg(group.path())
            .args(["nsenter", &format!("--net={}", netns.path().display())])
            .arg(program)
            .args(arguments)
            .current_dir(run.directory())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // An interrupt at the terminal is this program's to handle.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            group,
            log,
            _run: run.clone(),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its control group.
    pub fn cgroup(&self) -> &Path {
        self.group.path()
    }

    /// All that it has written, over all its starts under this name.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines it has written, for a message about its end.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(15)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    ///
    /// When it has not ended within the time.
    pub fn stop(mut self, within: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let what = format!("{} to end", self.name);
        wait_until(&what, within, || Ok((!self.is_running()).then_some(())))
    }

    /// Kills it as a crash would.
    pub fn kill(self) {
        drop(self);
    }

    /// Freezes it: its sockets stay open and do not answer.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes it after [`Process::freeze`].
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until `ready` holds, and no longer than the program lives.
    ///
    /// # Errors
    ///
    /// When it ends or the deadline passes; the last lines of its log come along.
    pub fn wait_ready(
        &mut self,
        deadline: Duration,
        mut ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let what = format!("{} to be ready", self.name);
        let mut ended = false;
        let waited = wait_until(&what, deadline, || {
            ended = !self.is_running();
            Ok((ended || ready()?).then_some(()))
        });
        if ended {
            anyhow::bail!("{} ended at its start:\n{}", self.name, self.log_tail());
        }
        waited.with_context(|| format!("the log of {}:\n{}", self.name, self.log_tail()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.context("a process id out of range")?;
        kill_process(id, signal).with_context(|| format!("sending {signal:?} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
