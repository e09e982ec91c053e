//! The agent's process, as far as another process of its pod may end it.

use std::{fs, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tracing::{debug, error, warn};

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

    /// Ends it: whoever waits for its answer then goes on.
    pub(super) fn kill(&self) {
        let Some((instance, Some(process))) = &self.0 else {
            warn!("what does not answer is no process that could be ended from here");
            return;
        };
        match pidfd_send_signal(process, Signal::KILL) {
            Ok(()) => warn!(%instance, "the agent that does not answer is ended"),
            // It has ended, and its successor is not known yet.
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                error!(%instance, %error, "the agent that does not answer cannot be ended");
            }
        }
    }
}

/// Without a process namespace in common the number is somebody else's, or nobody's.
fn find(instance: Instance) -> Option<OwnedFd> {
    let number = instance.process();
    let pid = Pid::from_raw(i32::try_from(number).ok()?)?;
    let found = pidfd_open(pid, PidfdFlags::empty());
    let process = found
        .inspect_err(|error| debug!(%instance, %error, "its process is not seen from here"))
        .ok()?;
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    (name.trim_end() == PROGRAM && pid != getpid()).then_some(process)
}
