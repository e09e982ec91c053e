//! The agent's process, as far as another process of its pod may end it.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tracing::{error, warn};

use crate::instance::Instance;

/// The name of the agent's program, as the kernel keeps it.
const PROGRAM: &str = "pi-agent";

/// A process that has answered as an agent. Its descriptor stands for this process and for no later
/// one with the same number.
#[derive(Debug, Default)]
pub(super) struct Target(Option<(Instance, Option<OwnedFd>)>);

impl Target {
    /// An agent has answered.
    pub(super) fn answered(&mut self, instance: Instance) {
        if self.0.as_ref().is_none_or(|(known, _)| *known != instance) {
            self.0 = Some((instance, find(instance)));
        }
    }

    /// Kills the agent, so that containerd's waiting requests fail and go on. An agent that was
    /// started since the last reply and has not replied yet is found by its command.
    pub(super) fn kill(&self) {
        let known = self.0.as_ref().and_then(|(_, process)| process.as_ref());
        if known.is_some_and(end) {
            return;
        }
        // In a pod there is one. Among several it could be the wrong one.
        if !matches!(agents().as_slice(), [one] if end(one)) {
            warn!("what does not answer is no process that could be ended from here");
        }
    }
}

/// Whether a process was there to be ended.
fn end(process: &OwnedFd) -> bool {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) => warn!("the agent that does not answer is ended"),
        Err(rustix::io::Errno::SRCH) => return false,
        Err(error) => error!(%error, "the agent that does not answer cannot be ended"),
    }
    true
}

/// Without a process namespace in common the number is somebody else's, or nobody's.
fn find(instance: Instance) -> Option<OwnedFd> {
    agent(instance.process())
}

/// The agents that are seen from here.
fn agents() -> Vec<OwnedFd> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(agent).collect()
}

/// A process, if it runs an agent.
fn agent(number: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(number).ok()?)?;
    // First: what is read then is of the process that the descriptor stands for, or of none.
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
    let runs = command.split(|byte| *byte == 0).nth(1) == Some(b"run".as_slice());
    (name.trim_end() == PROGRAM && runs && pid != getpid()).then_some(process)
}
