//! Telling the server what this node has: the whole set once, then numbered changes, and
//! keepalives between them.

mod calls;

use std::{fmt, time::Duration};

use daemon::{metric::Metric, retry::Backoff, scope::Scope, spell::Spell};
use piccolo_api::{AdvertiseRequest, Holder, KeepaliveRequest, Key, path};
use tokio::time::Instant;
use tracing::{debug, info};

use self::calls::{Announced, Calls};
use super::{
    Discovery, Standing,
    delta::{Delta, texts},
    flavour::Flavour,
    rack::RackMates,
    reports::Report,
    untold::Untold,
};
use crate::jitter::Jitter;

pub(super) const CALLS: Metric = Metric::counter(
    "piccolo_agent_announcements_total",
    &[
        ("kind", "`sync`, `advertise`, `keepalive`"),
        ("outcome", "`ok`, `resync`, `failed`"),
    ],
    "Announcements of this node to the server, by kind and result.",
);
pub(super) const RESYNCS: Metric = Metric::counter(
    "piccolo_agent_resyncs_total",
    &[],
    "How often the server asked for the whole set.",
);
pub(super) const LAG: Metric = Metric::histogram(
    "piccolo_agent_advertise_lag_seconds",
    &[],
    "Time from a change of the shared set until the server has accepted it.",
);

/// Changes come in bursts: a short delay batches them.
const GATHER: Duration = Duration::from_millis(100);
/// Keys of one advertisement.
const BATCH: usize = 2000;
/// The first scan of the content store takes a moment. After a restart the server still has the
/// node's old set; an empty set would remove it, so it is sent only after a longer wait.
const SETTLE: Duration = Duration::from_millis(300);
const EMPTY: Duration = Duration::from_secs(3);
/// Each key of a set widens the window over which agents that were started together spread their
/// syncs, up to a bound. Meanwhile the server uses the old set.
const SPREAD_PER_KEY: Duration = Duration::from_millis(5);
const MAX_SPREAD: Duration = Duration::from_secs(30);
/// A Go server accepts no removals and may lose keys: it gets the whole set after a removal, and
/// periodically.
const GO_REMOVAL: Duration = Duration::from_secs(1);
const GO_SYNC: Duration = Duration::from_mins(10);
/// Longest wait for one call; a set of many thousand keys takes the server a moment.
const DEADLINE: Duration = Duration::from_secs(5);
const SYNC_DEADLINE: Duration = Duration::from_secs(30);
/// Addresses that this node has left, and that are remembered until the server knows.
const MOST_LEFT: usize = 4;
/// Between attempts, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Gives every key that this node shares.
pub(super) type Keys = Box<dyn Fn() -> Vec<Key> + Send + Sync>;

/// Owns the state of this node's set on the server.
pub(super) struct Announcer {
    discovery: Discovery,
    calls: Calls,
    keys: Keys,
    jitter: Jitter,
    epoch: u64,
    /// The last number that the server is known to have accepted.
    seq: u64,
    /// The last number that was sent: whether the server took it is unknown where it is not `seq`.
    sent: u64,
    state: SetState,
    backoff: Backoff,
    /// Keys that did not fit into the last sync; they go before any later change.
    untold: Untold,
    /// Reports that could not be delivered go with the next call.
    undelivered: Option<Report>,
    next_keepalive: Instant,
    /// Where this node was before, as far as the server was not told that it has left; the last one last.
    left: Vec<Holder>,
    /// Rate-limits the log line about resyncs.
    resyncs: Spell,
}

#[derive(Debug, Clone, Copy)]
enum SetState {
    /// The server has this node's set as of `seq`; a Go server gets it anew at the given time.
    Synced { again: Option<Instant> },
    /// The whole set goes out at the given time.
    SyncDue(Instant),
}

impl Announcer {
    pub(super) fn new(discovery: Discovery, keys: Keys, epoch: u64, jitter: Jitter) -> Self {
        let now = Instant::now();
        Self {
            calls: Calls::new(discovery.clone()),
            discovery,
            keys,
            jitter,
            epoch,
            seq: 0,
            sent: 0,
            state: SetState::SyncDue(now),
            backoff: Backoff::new(RETRY.0, RETRY.1),
            untold: Untold::default(),
            undelivered: None,
            next_keepalive: now,
            left: Vec::new(),
            resyncs: Spell::new("the server has not asked for the whole set of late"),
        }
    }

    /// Announces until the scope drains.
    pub(super) async fn run(mut self, scope: Scope) {
        let here = self.discovery.0.here.clone();
        let Some(mut holder) = here.get() else {
            scope.draining().await;
            return;
        };
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = self.announce(holder) => {}
                moved = here.other_than(holder) => {
                    // A call in flight is given up; the whole set goes out from the new address.
                    self.left.retain(|left| *left != moved);
                    if self.left.len() == MOST_LEFT {
                        self.left.remove(0);
                    }
                    self.left.push(holder);
                    holder = moved;
                }
            }
        }
    }

    async fn announce(&mut self, holder: Holder) {
        self.settle().await;
        self.sync_soon();
        loop {
            self.tell_standing();
            let outcome = match self.wait().await {
                Due::Sync => self.sync(holder).await,
                Due::Changes => self.advertise(holder).await,
                Due::Keepalive => self.keepalive(holder).await,
            };
            match outcome {
                Announced::Taken => {
                    self.resyncs.is_well();
                    self.backoff.reset();
                    self.withdraw_left().await;
                    self.next_keepalive = Instant::now() + self.jitter.around(self.pause());
                }
                Announced::Resync => {
                    self.resyncs.happened(|times| {
                        info!(times, "the server asks for the whole set");
                    });
                    metrics::counter!(RESYNCS.name).increment(1);
                    self.backoff.reset();
                    self.sync_soon();
                }
                Announced::Failed => {
                    self.tell_standing();
                    tokio::time::sleep(self.backoff.delay(self.jitter.next())).await;
                }
            }
        }
    }

    /// Has the server hand out none of the addresses that this node had before, once it has the new one.
    async fn withdraw_left(&mut self) {
        if !matches!(self.state, SetState::Synced { .. }) {
            return;
        }
        while let Some(&left) = self.left.last() {
            let told = match self.calls.flavour().await {
                Flavour::Go => self
                    .calls
                    .post(path::SYNC, &self.nothing_at(left), DEADLINE)
                    .await
                    .is_some(),
                Flavour::Unknown | Flavour::Ours => self.discovery.withdraw(left).await,
            };
            if !told {
                return;
            }
            info!(%left, "the server was told that this node has left an address");
            self.left.pop();
        }
    }

    /// A Go server knows no farewell, and takes an empty set.
    fn nothing_at(&self, left: Holder) -> AdvertiseRequest {
        AdvertiseRequest {
            holder: left.to_string(),
            keys: Vec::new(),
            group: self.discovery.0.group.clone(),
            removed: Vec::new(),
            epoch: None,
            seq: None,
            observations: Vec::new(),
            failures: Vec::new(),
            load: None,
        }
    }

    /// Time until the next keepalive. Other calls replace it, but only its reply lists the rack's nodes.
    fn pause(&self) -> Duration {
        let mates = self.discovery.0.mates.as_ref();
        let interval = self.calls.interval();
        mates.map_or(interval, |mates| mates.due_in().min(interval))
    }

    /// Waits until there are keys to share, or long enough to assume that there are none.
    async fn settle(&self) {
        let begin = Instant::now();
        loop {
            tokio::time::sleep(SETTLE).await;
            if begin.elapsed() >= EMPTY || !(self.keys)().is_empty() {
                return;
            }
        }
    }

    /// Waits for the next call that is due.
    async fn wait(&self) -> Due {
        let pending = &self.discovery.0.pending;
        match self.state {
            SetState::SyncDue(at) => {
                tokio::time::sleep_until(at).await;
                Due::Sync
            }
            SetState::Synced { .. } if !self.untold.is_empty() || pending.len() > 0 => Due::Changes,
            SetState::Synced { again } => tokio::select! {
                () = pending.changed() => {
                    tokio::time::sleep(GATHER).await;
                    Due::Changes
                }
                () = tokio::time::sleep_until(self.next_keepalive) => Due::Keepalive,
                () = at(again) => Due::Sync,
            },
        }
    }

    /// Schedules a sync within a window that depends on the size of the set.
    fn sync_soon(&mut self) {
        let keys = u32::try_from((self.keys)().len()).unwrap_or(u32::MAX);
        let window = SPREAD_PER_KEY.saturating_mul(keys).min(MAX_SPREAD);
        self.state = SetState::SyncDue(Instant::now() + window.mul_f64(self.jitter.next()));
    }

    async fn sync(&mut self, holder: Holder) -> Announced {
        let pending = &self.discovery.0.pending;
        // In this order: a change between the two is in the set, and is sent once more.
        pending.clear();
        let mut keys = (self.keys)();
        // A Go server has no such bounds.
        self.untold = if Untold::fit(&keys) || self.calls.flavour().await == Flavour::Go {
            Untold::default()
        } else {
            Untold::split_off(&mut keys)
        };
        // Never a number that the server may have seen with another set.
        let seq = self.sent + 1;
        let set = Delta {
            added: keys,
            removed: Vec::new(),
        };
        let request = self.request(holder, &set, seq).await;
        self.sent = seq;
        let reply = self.calls.post(path::SYNC, &request, SYNC_DEADLINE).await;
        let outcome = self.calls.judge("sync", reply.as_ref());
        match outcome {
            Announced::Taken | Announced::Resync => {
                info!(
                    keys = request.keys.len(),
                    more = self.untold.len(),
                    seq,
                    "the server has this node's set"
                );
                self.seq = seq;
                let again = (self.calls.flavour().await == Flavour::Go)
                    .then(|| Instant::now() + self.jitter.around(GO_SYNC));
                self.state = SetState::Synced { again };
                let mut standing = self.standing();
                standing.syncs += 1;
                Announced::Taken
            }
            Announced::Failed => {
                self.undelivered = Some(report_of(request));
                // The next attempt takes a new snapshot of the set.
                Announced::Failed
            }
        }
    }

    async fn advertise(&mut self, holder: Holder) -> Announced {
        if !self.untold.is_empty() {
            return self.advertise_untold(holder).await;
        }
        let Some((delta, since)) = self.discovery.0.pending.take(BATCH) else {
            self.sync_soon();
            return Announced::Taken;
        };
        if delta.is_empty() {
            return Announced::Taken;
        }
        if !delta.removed.is_empty() && self.calls.flavour().await == Flavour::Go {
            self.state = SetState::SyncDue(Instant::now() + GO_REMOVAL);
            return Announced::Taken;
        }
        let (added, removed) = (delta.added.len(), delta.removed.len());
        let outcome = self.change(holder, &delta).await;
        match outcome {
            Announced::Taken => {
                debug!(added, removed, seq = self.seq, "the server took a change");
                metrics::histogram!(LAG.name).record(since.elapsed().as_secs_f64());
            }
            Announced::Resync => {}
            Announced::Failed => self.discovery.0.pending.restore(delta, since),
        }
        outcome
    }

    /// Sends the next keys of a set that one sync does not hold. They are as old as the sync, so later
    /// changes are sent after them.
    async fn advertise_untold(&mut self, holder: Holder) -> Announced {
        let delta = Delta {
            added: self.untold.page(BATCH).to_vec(),
            removed: Vec::new(),
        };
        let outcome = self.change(holder, &delta).await;
        match outcome {
            Announced::Taken => {
                self.untold.told(delta.added.len());
                debug!(
                    more = self.untold.len(),
                    seq = self.seq,
                    "the server took a part"
                );
            }
            // The same part is sent once more after a failure.
            Announced::Resync | Announced::Failed => {}
        }
        outcome
    }

    /// Sends a change under the next number. After a failure it is unknown whether the server took it:
    /// if the change is sent again, the server at worst asks for a resync.
    async fn change(&mut self, holder: Holder, delta: &Delta) -> Announced {
        let seq = self.seq + 1;
        let request = self.request(holder, delta, seq).await;
        self.sent = seq;
        let reply = self.calls.post(path::ADVERTISE, &request, DEADLINE).await;
        let outcome = self.calls.judge("advertise", reply.as_ref());
        match outcome {
            Announced::Taken => self.seq = seq,
            Announced::Resync => {}
            Announced::Failed => self.undelivered = Some(report_of(request)),
        }
        outcome
    }

    async fn keepalive(&mut self, holder: Holder) -> Announced {
        let report = self.report().await;
        let request = KeepaliveRequest {
            host: holder.to_string(),
            group: self.discovery.0.group.clone(),
            epoch: Some(self.epoch),
            seq: Some(self.seq),
            load: report.load,
            observations: report.observations,
            failures: report.failures,
            mates: self.discovery.0.mates.as_ref().map(RackMates::seen),
        };
        let reply = self.calls.post(path::KEEPALIVE, &request, DEADLINE).await;
        let outcome = self.calls.judge("keepalive", reply.as_ref());
        if matches!(outcome, Announced::Failed) {
            self.undelivered = Some(Report {
                observations: request.observations,
                failures: request.failures,
                load: None,
            });
        }
        outcome
    }

    async fn request(&mut self, holder: Holder, delta: &Delta, seq: u64) -> AdvertiseRequest {
        let report = self.report().await;
        AdvertiseRequest {
            holder: holder.to_string(),
            keys: texts(&delta.added),
            group: self.discovery.0.group.clone(),
            removed: texts(&delta.removed),
            epoch: Some(self.epoch),
            seq: Some(seq),
            observations: report.observations,
            failures: report.failures,
            load: report.load,
        }
    }

    /// The report for the next call. The sources keep counting while an earlier report is undelivered.
    async fn report(&mut self) -> Report {
        if let Some(report) = self.undelivered.take() {
            return report;
        }
        let discovery = self.discovery.clone();
        // The sources query the kernel, which may be slow. They fail only where the runtime ends.
        let taken = tokio::task::spawn_blocking(move || discovery.0.reports.take()).await;
        taken.unwrap_or_default()
    }

    fn standing(&self) -> parking_lot::MutexGuard<'_, Standing> {
        self.discovery.0.standing.lock()
    }

    fn tell_standing(&self) {
        let mut standing = self.standing();
        standing.epoch = self.epoch;
        standing.seq = self.seq;
        standing.synced = matches!(self.state, SetState::Synced { .. }) && self.untold.is_empty();
    }
}

/// The next call that is due.
enum Due {
    Sync,
    Changes,
    Keepalive,
}

fn report_of(request: AdvertiseRequest) -> Report {
    Report {
        observations: request.observations,
        failures: request.failures,
        load: None,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer")
            .field("epoch", &self.epoch)
            .field("seq", &self.seq)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
