//! The server's instances: which of them is asked, and which is left alone for a while.
//!
//! A pull asks only instances that answered last time. Those that did not are tried in the
//! background, so that a dead one costs one pull its deadline and no further one anything.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use daemon::{
    client::{JsonClient, Reply},
    metric::Metric,
    retry::{Admission, Breaker},
    scope::Scope,
    spell::Spell,
    telemetry::chain,
};
use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::Notify, time::Instant};
use tracing::{debug, warn};

use super::{Discovery, flavour::Flavour};
use crate::jitter::Jitter;

pub(super) const BREAKER: Metric = Metric::gauge(
    "piccolo_agent_server_breaker_open",
    &[("server", "the URL")],
    "1 while a server's instance is left alone because it did not answer.",
);
pub(super) const CALLS: Metric = Metric::counter(
    "piccolo_agent_server_calls_total",
    &[(
        "outcome",
        "`ok`, `refused` (4xx), `busy` (503 to a node that is about to fetch, which waits), `failed` \
         (5xx, no answer)",
    )],
    "Calls to the server by what came of them.",
);

/// How long an instance is left alone, at first and at most.
const OPEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long a server may answer joins with 503 before it counts as failed.
const BUSY: Duration = Duration::from_secs(10);
/// Interval of the check for instances whose back-off is over.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Longest wait for a keepalive.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Servers {
    client: JsonClient,
    all: Box<[Server]>,
    /// The one that answered last is asked first.
    preferred: AtomicUsize,
    jitter: Jitter,
    /// An instance did not answer.
    trouble: Notify,
}

#[derive(Debug)]
struct Server {
    url: String,
    state: Mutex<ServerState>,
    /// Counts unanswered calls and malformed replies.
    silent: Spell,
    nonsense: Spell,
}

#[derive(Debug)]
struct ServerState {
    breaker: Breaker,
    flavour: Flavour,
    last_error: Option<String>,
    /// Since when all its answers were 503 or late.
    busy: Option<Instant>,
}

/// The outcome of a call for which a busy server does not count as failed.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A reply that is none of 5xx.
    Reply(Reply),
    /// It has too much to do now.
    Busy,
    /// It is away.
    Nothing,
}

/// An instance that may be asked now.
#[derive(Debug)]
pub(crate) struct Usable<'a> {
    servers: &'a Servers,
    server: &'a Server,
    place: usize,
}

/// State of an instance, for status and doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its base URL.
    pub url: String,
    /// Whether it is asked first.
    pub preferred: bool,
    /// Whether it is left alone because it did not answer.
    pub breaker_open: bool,
    /// Failures since the last answer.
    pub failures: u32,
    /// Which calls it serves.
    pub flavour: Flavour,
    /// Its last error, until it answers again.
    pub last_error: Option<String>,
}

impl Servers {
    pub(crate) fn new(client: JsonClient, urls: Vec<String>, jitter: Jitter) -> Self {
        let server = |url: String| {
            metrics::gauge!(BREAKER.name, "server" => url.clone()).set(0.0);
            Server {
                url,
                state: Mutex::new(ServerState {
                    breaker: Breaker::new(OPEN.0, OPEN.1),
                    flavour: Flavour::default(),
                    last_error: None,
                    busy: None,
                }),
                silent: Spell::new("the server answers again"),
                nonsense: Spell::new("the server's replies make sense again"),
            }
        };
        Self {
            client,
            all: urls.into_iter().map(server).collect(),
            preferred: AtomicUsize::new(0),
            jitter,
            trouble: Notify::new(),
        }
    }

    /// The instances that answered when they were last asked, the preferred one first.
    pub(crate) fn usable(&self) -> impl Iterator<Item = Usable<'_>> {
        let all = self.in_order();
        all.filter(|u| u.server.lock().breaker.failures() == 0)
    }

    /// Those, and such as were merely busy.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = Usable<'_>> {
        self.in_order().filter(|u| {
            let state = u.server.lock();
            state.breaker.failures() == 0 || state.is_busy(Instant::now())
        })
    }

    /// All of them, also those in back-off: a server that just started must learn who holds permits.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = Usable<'_>> {
        let count = self.all.len().max(1);
        let first = self.preferred.load(Ordering::Relaxed);
        let places = (0..self.all.len()).map(move |i| (first + i) % count);
        places.filter_map(move |place| {
            let server = self.all.get(place)?;
            Some(Usable {
                servers: self,
                server,
                place,
            })
        })
    }

    pub(crate) fn view(&self) -> Vec<ServerView> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let view = |(place, server): (usize, &Server)| {
            let state = server.lock();
            ServerView {
                url: server.url.clone(),
                preferred: place == preferred,
                breaker_open: state.breaker.failures() > 0,
                failures: state.breaker.failures(),
                flavour: state.flavour,
                last_error: state.last_error.clone(),
            }
        };
        self.all.iter().enumerate().map(view).collect()
    }

    /// Whether an instance did not answer when it was last asked.
    fn is_in_trouble(&self) -> bool {
        let mut servers = self.all.iter();
        servers.any(|server| server.lock().breaker.failures() > 0)
    }

    /// Tries instances that are due to be tried again.
    async fn probe(&self) {
        for (place, server) in self.all.iter().enumerate() {
            let due = {
                let mut state = server.lock();
                state.breaker.failures() > 0
                    && state.breaker.admit(Instant::now()) == Admission::Probe
            };
            if due {
                let usable = Usable {
                    servers: self,
                    server,
                    place,
                };
                usable.get(piccolo_api::path::HEALTH, PROBE_DEADLINE).await;
            }
        }
    }
}

impl ServerState {
    /// Whether it has been busy for less than [`BUSY`].
    fn is_busy(&self, now: Instant) -> bool {
        self.busy.is_some_and(|since| now - since < BUSY)
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock()
    }
}

impl Usable<'_> {
    pub(crate) fn flavour(&self) -> Flavour {
        self.server.lock().flavour
    }

    pub(crate) fn set_flavour(&self, flavour: Flavour) {
        let before = std::mem::replace(&mut self.server.lock().flavour, flavour);
        if before != flavour {
            debug!(
                server = self.server.url,
                ?flavour,
                "the kind of server is known"
            );
        }
    }

    /// Posts; `None` when there is no answer, or one of 5xx.
    pub(crate) async fn post<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Option<Reply> {
        let url = format!("{}{path}", self.server.url);
        let result = self.servers.client.post(&url, body, deadline).await;
        let reply = self.judge(result.map_err(|error| chain(&error).to_string()))?;
        self.server.lock().busy = None;
        Some(reply)
    }

    /// Posts. A server that says that it has too much to do, or answers too late once, is not given
    /// up, as long as that does not go on for ten seconds.
    pub(crate) async fn post_patiently<B: Serialize + Sync>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Heard {
        let url = format!("{}{path}", self.server.url);
        let begin = Instant::now();
        let result = self.servers.client.post(&url, body, deadline).await;
        let (is_busy, is_late) = match &result {
            Ok(reply) => (reply.status == StatusCode::SERVICE_UNAVAILABLE, false),
            Err(error) => (error.is_late(), error.is_late()),
        };
        if is_busy {
            let mut state = self.server.lock();
            let since = *state.busy.get_or_insert(begin);
            let was_late = is_late && since < begin;
            if !was_late && begin - since < BUSY {
                metrics::counter!(CALLS.name, "outcome" => "busy").increment(1);
                return Heard::Busy;
            }
        }
        let result = result.map_err(|error| chain(&error).to_string());
        let Some(reply) = self.judge(result) else {
            return Heard::Nothing;
        };
        self.server.lock().busy = None;
        Heard::Reply(reply)
    }

    /// Gets; `None` when there is no answer, or one of 5xx.
    pub(crate) async fn get(&self, path: &str, deadline: Duration) -> Option<Reply> {
        let url = format!("{}{path}", self.server.url);
        let result = self.servers.client.get(&url, deadline).await;
        self.judge(result.map_err(|error| chain(&error).to_string()))
    }

    /// Reads a reply; `None` when it cannot be understood.
    pub(crate) fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Option<T> {
        match reply.json() {
            Ok(value) => {
                self.server.nonsense.is_well();
                Some(value)
            }
            Err(error) => {
                let (error, server) = (chain(&error).to_string(), &self.server.url);
                self.server.nonsense.happened(|times| {
                    warn!(server, %error, times, "the server's reply makes no sense");
                });
                self.server.lock().last_error = Some(error);
                None
            }
        }
    }

    fn judge(&self, result: Result<Reply, String>) -> Option<Reply> {
        let result = match result {
            Ok(reply) if reply.status.is_server_error() => {
                if reply.status == StatusCode::SERVICE_UNAVAILABLE {
                    self.server.lock().busy.get_or_insert(Instant::now());
                }
                Err(format!("the server answers {}", reply.status))
            }
            other => other,
        };
        match result {
            Ok(reply) => {
                self.answered(reply.status);
                Some(reply)
            }
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    fn answered(&self, status: StatusCode) {
        let outcome = if status.is_client_error() {
            "refused"
        } else {
            "ok"
        };
        metrics::counter!(CALLS.name, "outcome" => outcome).increment(1);
        let mut state = self.server.lock();
        if state.breaker.failures() > 0 {
            // Another build may have been started in its place.
            state.flavour = Flavour::Unknown;
        }
        state.breaker.succeeded();
        state.last_error = None;
        drop(state);
        self.server.silent.is_well();
        self.gauge(0.0);
        self.servers.preferred.store(self.place, Ordering::Relaxed);
    }

    fn failed(&self, error: String) {
        metrics::counter!(CALLS.name, "outcome" => "failed").increment(1);
        self.server.silent.happened(|times| {
            let server = &self.server.url;
            warn!(server, error, times, "the server does not answer");
        });
        let mut state = self.server.lock();
        state
            .breaker
            .failed(Instant::now(), self.servers.jitter.next());
        state.last_error = Some(error);
        drop(state);
        self.servers.trouble.notify_one();
        self.gauge(1.0);
    }

    fn gauge(&self, open: f64) {
        metrics::gauge!(BREAKER.name, "server" => self.server.url.clone()).set(open);
    }
}

impl Discovery {
    /// Tries instances that do not answer, until the scope drains; sleeps while all do.
    pub(super) async fn probing(self, scope: Scope) {
        let servers = &self.0.servers;
        let due = async || {
            if !servers.is_in_trouble() {
                servers.trouble.notified().await;
            }
            tokio::time::sleep(PROBE_EVERY).await;
        };
        loop {
            tokio::select! {
                () = scope.draining() => return,
                () = due() => {}
            }
            servers.probe().await;
        }
    }
}
