//! Keeping the agent's entries in containerd's mirror files: they are in force while the mirror
//! answers, and only then.
//!
//! The wanted state follows from the reply at the mirror's address, probed each second; the actual
//! state is read from the files. Every difference is repaired: the first time once the files have
//! been unchanged for a moment, since another tool may be in the middle of its work, then with
//! exponential back-off, so that two tools that disagree do not wear out a disk.

mod files;
mod held;
mod probe;
mod report;
mod standing;
mod target;
mod watch;

use std::time::Duration;

use daemon::{beat::beat, notify::Notifier, retry::Backoff, scope::Scope};
use tokio::time::Instant;
use tracing::{error, info, warn};

use self::{
    files::{Files, Pass},
    standing::{Call, Expected, Standing},
    target::Target,
    watch::DirectoryWatch,
};
pub use self::{
    probe::{Answer, ask},
    report::{Duty, HostsStatus, METRICS, Report},
};
use crate::{hosts::entries::Entries, instance::Instance, jitter::Jitter};

/// Interval between two probes of the mirror.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the files have to be unchanged before they are repaired.
const UNCHANGED_BEFORE_REPAIR: Duration = Duration::from_secs(1);
/// Polling intervals of the files: beside events, of which one may be lost, and without events.
const POLL: Duration = Duration::from_secs(30);
const BLIND_POLL: Duration = Duration::from_secs(5);
/// Back-off between two repairs: the first pause and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Time without a repair after which the back-off is reset.
const PEACE: Duration = Duration::from_mins(5);
/// Deadline for removing the entries at shut-down.
const FAREWELL: Duration = Duration::from_secs(10);

/// Keeps entries.
#[derive(Debug)]
pub struct Keeper {
    files: Files,
    settings: Settings,
    state: Progress,
}

/// Settings of the keeper.
#[derive(Debug)]
pub struct Settings {
    /// The entries.
    pub entries: Entries,
    /// Whether this process writes the files or only watches them.
    pub duty: Duty,
    /// The agent whose mirror is probed.
    pub agent: Agent,
    /// Receives the entries' status.
    pub report: Report,
    /// Tells systemd that the mirror answers.
    pub notifier: Notifier,
    /// Jitter for the pauses.
    pub jitter: Jitter,
}

/// Where the probed agent runs.
#[derive(Debug, Clone, Copy)]
pub enum Agent {
    /// This process.
    This(Instance),
    /// One in another container: its directory is a mount that only a new container renews.
    Beside,
    /// And that is ended when it does not answer.
    BesideAndEnded,
}

#[derive(Debug)]
struct Progress {
    standing: Standing,
    target: Target,
    /// The result of the last pass over the files.
    made: Option<Made>,
    watch: Option<DirectoryWatch>,
    /// Time of the last change of the files that was not yet handled.
    stirred: Option<Instant>,
    /// Since when a directory has been another one.
    replaced: Option<Instant>,
    look_at: Instant,
    pause_until: Instant,
    pauses: Backoff,
    lost: Option<Instant>,
    complaint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Published,
    Withdrawn,
}

impl Keeper {
    /// A keeper before its first pass.
    pub fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            files: Files::new(settings.entries.clone()),
            settings,
            state: Progress {
                standing: Standing::default(),
                target: Target::default(),
                made: None,
                watch: None,
                stirred: None,
                replaced: None,
                look_at: now,
                pause_until: now,
                pauses: Backoff::new(PAUSES.0, PAUSES.1),
                lost: None,
                complaint: String::new(),
            },
        }
    }

    /// Keeps until the scope drains, and takes the entries out then. Ends sooner where a directory was
    /// replaced and only a new container sees the new one.
    pub async fn run(mut self, scope: Scope) {
        tokio::select! {
            () = scope.draining() => {}
            () = self.keep() => return,
        }
        if self.settings.duty == Duty::Write {
            self.leave().await;
        }
        // Uploads in flight also count as alive, until this task is the last.
        while self.settings.notifier.is_watched() && scope.running() > 1 {
            self.settings.notifier.alive();
            tokio::time::sleep(PROBE_INTERVAL / 4).await;
        }
    }

    async fn keep(&mut self) {
        let Entries {
            hosts_dir,
            registries,
            ..
        } = &self.settings.entries;
        if self.settings.duty != Duty::Off {
            info!(
                directory = %hosts_dir.display(),
                registries = registries.len(),
                "looking after the mirror files"
            );
        }
        loop {
            let call = if self.asks() {
                Some(self.probe().await)
            } else {
                None
            };
            match self.settings.duty {
                Duty::Off => {}
                Duty::Watch => self.watch().await,
                Duty::Write => self.write(call).await,
            }
            // Also while the agent does not answer, and nothing is written.
            if self.is_replaced() {
                return;
            }
            self.wait().await;
        }
    }

    /// Whether the mirror is asked at all.
    fn asks(&self) -> bool {
        self.settings.duty == Duty::Write || self.settings.notifier.is_watched()
    }

    async fn probe(&mut self) -> Call {
        let state = &mut self.state;
        let url = &self.settings.entries.mirror.url;
        let answer = ask(url, state.standing.deadline()).await;
        let expected = match self.settings.agent {
            Agent::This(instance) => Expected::This(instance),
            Agent::Beside | Agent::BesideAndEnded => Expected::Any,
        };
        let call = state.standing.judge(&answer, expected);
        if let (Answer::Agent(instance), Call::Publish) = (&answer, &call) {
            self.settings.notifier.alive();
            if let Agent::BesideAndEnded = self.settings.agent {
                state.target.answered(*instance);
            }
        }
        if let (Call::WithdrawAndKill(_), Agent::BesideAndEnded) = (&call, self.settings.agent) {
            state.target.kill();
        }
        call
    }

    /// Checks the files, where another process writes them.
    async fn watch(&mut self) {
        if self.is_due() {
            let before = self.settings.report.status();
            self.look().await;
            let after = self.settings.report.status();
            if before.in_force() && !after.in_force() {
                self.settings.report.lost();
                warn!(
                    why = after.complaint(),
                    "containerd does not ask this agent first"
                );
            } else if !before.in_force() && after.in_force() {
                info!("containerd asks this agent first");
            }
        }
    }

    async fn write(&mut self, call: Option<Call>) {
        let made = self.state.made;
        match call {
            Some(Call::Publish) if made != Some(Made::Published) || self.is_due() => {
                self.publish().await;
            }
            Some(Call::Withdraw(why) | Call::WithdrawAndKill(why))
                if made != Some(Made::Withdrawn) =>
            {
                self.withdraw(&why).await;
            }
            Some(Call::Leave(why)) if made != Some(Made::Published) => {
                self.settings.report.set(vec![why]);
            }
            _ => {}
        }
    }

    /// Whether the files need a pass: they have changed and settled, or the polling interval has
    /// passed.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let rested = self
            .state
            .stirred
            .is_some_and(|at| now >= at + UNCHANGED_BEFORE_REPAIR);
        now >= self.state.pause_until && (rested || now >= self.state.look_at)
    }

    async fn publish(&mut self) {
        if Instant::now() < self.state.pause_until {
            return;
        }
        self.renew_watch();
        let pass = self.files.publish().await;
        let again = self.state.made == Some(Made::Published);
        if pass.changed > 0 && again {
            self.lose();
        }
        if !pass.failures.is_empty() {
            self.fail(&pass);
            return;
        }
        if pass.changed > 0 || !again {
            let registries = self.settings.entries.registries.len();
            info!(
                registries,
                files = pass.changed,
                again,
                "containerd asks this agent first"
            );
        }
        self.state.complaint.clear();
        self.state.made = Some(Made::Published);
        self.settings.report.set(Vec::new());
    }

    async fn withdraw(&mut self, why: &str) {
        if self.state.complaint != why {
            warn!(
                why,
                "the agent is taken out of hosts.toml: a pull would wait for it"
            );
            why.clone_into(&mut self.state.complaint);
        }
        self.settings.report.set(vec![why.to_owned()]);
        let pass = self.files.withdraw().await;
        if pass.failures.is_empty() {
            self.state.made = Some(Made::Withdrawn);
        } else {
            self.settings.report.set(pass.failures);
        }
    }

    /// Another tool has removed entries that were in force.
    fn lose(&mut self) {
        let now = Instant::now();
        let peace = self.state.lost.is_none_or(|at| now >= at + PEACE);
        if peace {
            self.state.pauses.reset();
        }
        self.state.lost = Some(now);
        self.pause();
        self.settings.report.lost();
        warn!("hosts.toml was changed so that containerd did not ask this agent; put back");
    }

    fn fail(&mut self, pass: &Pass) {
        self.pause();
        self.state.stirred = Some(Instant::now());
        // Some of the files may have been written.
        if self.state.made == Some(Made::Withdrawn) {
            self.state.made = None;
        }
        self.settings.report.set(pass.failures.clone());
        let complaint = pass.failures.join("; ");
        // Each complaint once, however often it is tried again.
        if complaint != self.state.complaint {
            error!(why = complaint, "containerd does not ask this agent first");
            self.state.complaint = complaint;
        }
    }

    /// Whether what is looked at here is no longer what the node has, and only a new container, with
    /// new mounts, sees that.
    fn is_replaced(&mut self) -> bool {
        let replaced = match self.settings.agent {
            Agent::This(_) => None,
            Agent::Beside | Agent::BesideAndEnded => self.files.replaced(),
        };
        let replaced = match self.settings.duty {
            Duty::Off => None,
            Duty::Watch | Duty::Write => replaced.or_else(|| self.files.deleted()),
        };
        let Some(directory) = replaced else {
            self.state.replaced = None;
            return false;
        };
        // A mount below a directory that is deleted goes a moment after it.
        let now = Instant::now();
        let since = *self.state.replaced.get_or_insert(now);
        if now < since + UNCHANGED_BEFORE_REPAIR {
            self.state.stirred.get_or_insert(now);
            return false;
        }
        warn!(
            directory = %directory.display(),
            "the node has replaced the directory; only a new container sees the new one"
        );
        true
    }

    fn pause(&mut self) {
        let random = self.settings.jitter.next();
        let pause = self.state.pauses.delay(random);
        self.state.pause_until = Instant::now() + pause;
    }

    async fn look(&mut self) {
        self.renew_watch();
        let missing = self.files.missing().await;
        self.settings.report.set(missing);
    }

    /// Watches the present directories. Called before the files are read, so that no change is missed.
    fn renew_watch(&mut self) {
        let state = &mut self.state;
        state.watch = DirectoryWatch::new(self.files.entries().directories()).ok();
        state.stirred = None;
        let poll = state.watch.as_ref().map_or(BLIND_POLL, |_| POLL);
        state.look_at = Instant::now() + poll;
    }

    /// Waits for the next question, or for something to happen to the files.
    async fn wait(&mut self) {
        let asks = self.asks();
        let state = &mut self.state;
        if state.standing.is_silent() {
            return;
        }
        let rest = state.stirred.map(|at| at + UNCHANGED_BEFORE_REPAIR);
        let next = rest.unwrap_or(state.look_at).max(state.pause_until);
        let pause = async {
            match self.settings.duty {
                _ if asks => beat(PROBE_INTERVAL).await,
                Duty::Off => std::future::pending().await,
                Duty::Watch | Duty::Write => tokio::time::sleep_until(next).await,
            }
        };
        let stir = async {
            match &state.watch {
                Some(watch) => watch.event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            event = stir => {
                state.stirred = Some(Instant::now());
                if event.is_err() {
                    state.watch = None;
                }
            }
        }
    }

    /// Removes the agent's entries for good.
    async fn leave(&mut self) {
        let end = Instant::now() + FAREWELL;
        loop {
            let pass = self.files.close().await;
            if pass.failures.is_empty() {
                info!(files = pass.changed, "the agent is out of hosts.toml");
                return;
            }
            if Instant::now() >= end {
                error!(failures = ?pass.failures, "the agent stays in hosts.toml");
                return;
            }
            tokio::time::sleep(UNCHANGED_BEFORE_REPAIR).await;
        }
    }
}
