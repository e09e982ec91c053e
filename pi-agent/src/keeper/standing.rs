//! Decides from the replies at the mirror's address what to do with the entries.

use std::time::Duration;

use super::probe::Answer;
use crate::instance::Instance;

/// How long a reply may take before the agent counts as silent: even a busy agent replies within
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// Silent answers in a row after which the process is ended. The last deadlines are shorter.
const LAST: u32 = 3;

/// The replies so far.
#[derive(Debug, Default)]
pub(super) struct Standing {
    silent: u32,
}

/// Who may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// This process and no other.
    This(Instance),
    /// Any agent.
    Any,
}

/// What an answer calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// containerd may ask the agent.
    Publish,
    /// containerd is not to ask there.
    Withdraw(String),
    /// containerd must not ask the agent, and its requests in flight must end.
    WithdrawAndKill(String),
    /// No request is waiting: the entries stay as they are.
    Leave(String),
}

impl Standing {
    /// How long the next answer may take.
    pub(super) fn deadline(&self) -> Duration {
        match self.silent + 1 {
            LAST.. => PATIENCE.saturating_sub(Duration::from_secs(1)),
            _ => PATIENCE,
        }
    }

    /// Whether the last probe timed out; the next follows at once.
    pub(super) fn is_silent(&self) -> bool {
        self.silent > 0
    }

    /// Takes an answer in.
    pub(super) fn judge(&mut self, answer: &Answer, expected: Expected) -> Call {
        if let Answer::Silence(_) = answer {
            self.silent = self.silent.saturating_add(1);
        } else {
            self.silent = 0;
        }
        match (answer, expected) {
            (Answer::Agent(found), Expected::This(this)) if *found != this => {
                Call::Withdraw(format!("another agent ({found}) answers there"))
            }
            (Answer::Agent(_), _) => Call::Publish,
            (Answer::Nobody(_), _) => Call::Leave(answer.to_string()),
            // Only once: a process that survived the first kill survives a second.
            (Answer::Silence(_), _) if self.silent == LAST => {
                Call::WithdrawAndKill(answer.to_string())
            }
            (Answer::Other(_) | Answer::Silence(_), _) => Call::Withdraw(answer.to_string()),
        }
    }
}
