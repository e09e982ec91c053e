//! The agent's client of the discovery server.

mod announce;
mod batch;
mod cache;
mod delta;
mod failures;
mod flavour;
mod join;
mod leave;
mod pending;
mod prefetch;
mod rack;
mod racks;
mod reports;
mod servers;
mod tag;
mod untold;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use daemon::{client::JsonClient, clock::Clock, metric::Metric, scope::Scope};
use parking_lot::Mutex;
use piccolo_api::{FailureKind, FindKeyReply, FindReply, FindRequest, Found, Holder, Key, Peer};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::{
    announce::Announcer, cache::Cache, failures::Failures, flavour::Flavour, join::Joins,
    pending::Pending, prefetch::Queue, rack::RackMates, racks::Racks, reports::Reports,
    servers::Servers,
};
use crate::{here::Here, jitter::Jitter, reach::Reach, tracker::Tracker};

pub use self::{
    failures::PeerFailures,
    join::Joined,
    reports::{LoadSource, ObservationSource},
    servers::ServerView,
};

/// The metrics of this module.
pub const METRICS: &[Metric] = &[
    FIND_SECONDS,
    FINDS,
    servers::BREAKER,
    servers::CALLS,
    announce::CALLS,
    announce::RESYNCS,
    announce::LAG,
    rack::DECIDED,
];

const FIND_SECONDS: Metric = Metric::histogram(
    "piccolo_agent_find_seconds",
    &[],
    "How long the server took to say who has a key.",
);
const FINDS: Metric = Metric::counter(
    "piccolo_agent_finds_total",
    &[(
        "outcome",
        "`found`, `nobody`, `ready` (known beforehand), `no_server`",
    )],
    "Finds: requests to the server for the holders of a key, by result.",
);

/// Holders requested per key: twice as many as are tried for an object, since some may be known not
/// to deliver.
const HOLDERS: i64 = 32;
/// Deadline of a find, so that a dead server costs a pull little.
const FIND_DEADLINE: Duration = Duration::from_millis(500);

/// The server as this agent sees it. Clones are the same.
#[derive(Debug, Clone)]
pub struct Discovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Servers,
    group: String,
    /// What is said of a node that serves nowhere.
    address: IpAddr,
    /// Where this agent serves; without it nothing is announced.
    here: Here,
    pending: Pending,
    reports: Reports,
    failures: Failures,
    cache: Cache,
    racks: Racks,
    queue: Queue,
    joins: Joins,
    /// The nodes of the rack, one of which decides while no server answers; `None` without crowds.
    mates: Option<RackMates>,
    jitter: Jitter,
    standing: Mutex<Standing>,
}

/// The servers to ask, and this node's group and address.
#[derive(Debug)]
pub struct Settings {
    /// Calls servers.
    pub client: JsonClient,
    /// Calls other agents, without TLS.
    pub mates: JsonClient,
    /// Base URLs of the server's instances, in the order of preference.
    pub servers: Vec<String>,
    /// The group.
    pub group: String,
    /// Where this agent serves its peers.
    pub here: Here,
    /// Keeps agents apart that were started together.
    pub jitter: Jitter,
    /// Decides for this node's rack; `None` without crowds.
    pub tracker: Option<Tracker>,
    /// Where other nodes may be.
    pub reach: Reach,
}

/// How this agent stands with the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Chosen anew at each start.
    pub epoch: u64,
    /// Changes of the set that the server has accepted.
    pub seq: u64,
    /// Whether the server has this node's set.
    pub synced: bool,
    /// Whole sets sent since the start.
    pub syncs: u64,
    /// Changes that wait to be sent.
    pub pending: usize,
    /// The server's last refusal of this node's advertisements, until it accepts one again.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Discovery {
    /// A client of the one server at the base URL `server`, which announces nothing.
    pub fn new(client: JsonClient, server: String, group: String, address: IpAddr) -> Self {
        let jitter = Jitter::random();
        let servers = Servers::new(client, vec![server], jitter.clone());
        Self::with(servers, group, (address, Here::default()), None, jitter)
    }

    /// A client of several servers, which can announce this node to one of them.
    pub fn of_servers(settings: Settings) -> Self {
        let jitter = settings.jitter.clone();
        let mates = settings
            .tracker
            .map(|tracker| RackMates::new(settings.mates, tracker, settings.reach));
        let servers = Servers::new(settings.client, settings.servers, settings.jitter);
        let here = settings.here;
        let address = here
            .get()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |here| here.ip());
        Self::with(servers, settings.group, (address, here), mates, jitter)
    }

    fn with(
        servers: Servers,
        group: String,
        (address, here): (IpAddr, Here),
        mates: Option<RackMates>,
        jitter: Jitter,
    ) -> Self {
        Self(Arc::new(Inner {
            servers,
            group,
            address,
            here,
            pending: Pending::default(),
            reports: Reports::default(),
            failures: Failures::default(),
            cache: Cache::default(),
            racks: Racks::default(),
            queue: Queue::default(),
            joins: Joins::default(),
            mates,
            jitter,
            standing: Mutex::default(),
        }))
    }

    /// Announces this node's `keys` as services of `scope`, and keeps them announced.
    pub fn start<K>(&self, scope: &Scope, keys: K, clock: &Clock, jitter: Jitter)
    where
        K: Fn() -> Vec<Key> + Send + Sync + 'static,
    {
        let epoch = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
        let announcer = Announcer::new(self.clone(), Box::new(keys), epoch, jitter);
        scope.service("announce", announcer.run(scope.clone()));
        scope.service("prefetch", self.clone().prefetching(scope.clone()));
        scope.service("joins", self.clone().joining(scope.clone()));
        scope.service("server-probe", self.clone().probing(scope.clone()));
    }

    /// Peers that have `key`, best first. Empty if there are no holders or no server answers in
    /// time: a find never fails a pull.
    pub async fn find(&self, key: &Key) -> Vec<Peer> {
        if let Some(peers) = self.0.cache.get(key, Instant::now()) {
            count("ready");
            return peers;
        }
        let begin = Instant::now();
        let found = self.find_all(std::slice::from_ref(key)).await;
        metrics::histogram!(FIND_SECONDS.name).record(begin.elapsed().as_secs_f64());
        let peers: Option<Vec<Peer>> =
            found.map(|found| found.into_iter().flat_map(|f| f.peers).collect());
        match &peers {
            None => count("no_server"),
            Some(peers) if peers.is_empty() => count("nobody"),
            Some(_) => count("found"),
        }
        peers.unwrap_or_default()
    }

    /// Finds the children of a manifest in one round trip, so that their own finds are answered
    /// from memory. Returns at once.
    pub fn prefetch(&self, keys: Vec<Key>) {
        self.0.queue.push(keys);
    }

    /// A peer did not deliver: the next report has it.
    pub fn failed(&self, peer: Holder, kind: FailureKind) {
        self.0.reports.failed(peer, kind);
        self.0.failures.note(peer, kind);
        self.0.cache.forget(peer);
    }

    /// Sets the sources of the measurements in reports.
    pub fn observe(&self, observations: ObservationSource, load: LoadSource) {
        self.0.reports.observe(observations, load);
    }

    /// This node's set has changed; the server is told within a second.
    pub fn changed(&self, added: Vec<Key>, removed: Vec<Key>) {
        self.0.pending.put(added, removed);
    }

    /// The servers, in the order of preference.
    pub fn servers(&self) -> Vec<ServerView> {
        self.0.servers.view()
    }

    /// How this agent stands with the server.
    pub fn standing(&self) -> Standing {
        let mut standing = self.0.standing.lock().clone();
        standing.pending = self.0.pending.len();
        standing
    }

    /// Where this agent serves, as the server is told.
    pub fn holder(&self) -> Option<Holder> {
        self.0.here.get()
    }

    /// This node's address, as the server ranks by it.
    fn address(&self) -> IpAddr {
        self.0.here.get().map_or(self.0.address, |here| here.ip())
    }

    /// How many nodes this node's rack has, as far as the server said.
    pub fn rack_mates(&self) -> usize {
        self.0.mates.as_ref().map_or(0, RackMates::count)
    }

    /// The rack of a peer, as the last find that named it said.
    pub fn rack(&self, peer: IpAddr) -> Option<String> {
        self.0.racks.get(peer)
    }

    /// The peers that did not deliver since the start.
    pub fn failures(&self) -> Vec<(IpAddr, PeerFailures)> {
        self.0.failures.all()
    }

    /// This agent goes down: the server stops handing it out.
    pub async fn leave(&self) {
        self.say_goodbye().await;
    }

    /// Asks for several keys; `None` when no server answers.
    async fn find_all(&self, keys: &[Key]) -> Option<Vec<Found>> {
        let end = Instant::now() + FIND_DEADLINE;
        let servers: Vec<_> = self.0.servers.usable().collect();
        let mut others = servers.len();
        for server in servers {
            let mut left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // A silent instance leaves time for the next one.
            others -= 1;
            if others > 0 {
                left /= 2;
            }
            let found = match server.flavour() {
                Flavour::Go => self.find_each(&server, keys, left).await,
                Flavour::Unknown | Flavour::Ours => self.find_batch(&server, keys, left).await,
            };
            if let Some(found) = found {
                return Some(found);
            }
        }
        None
    }

    async fn find_batch(
        &self,
        server: &servers::Usable<'_>,
        keys: &[Key],
        deadline: Duration,
    ) -> Option<Vec<Found>> {
        let request = self.request(keys);
        let reply = server
            .post(piccolo_api::path::FIND, &request, deadline)
            .await?;
        if Flavour::lacks_path(reply.status) {
            server.set_flavour(Flavour::Go);
            return self.find_each(server, keys, deadline).await;
        }
        let reply: FindReply = server.read(&reply)?;
        Some(
            reply
                .results
                .into_iter()
                .map(|found| self.without_self(found))
                .collect(),
        )
    }

    fn request(&self, keys: &[Key]) -> FindRequest {
        FindRequest {
            caller: None,
            keys: keys.iter().map(|key| key.as_str().to_owned()).collect(),
            group: self.0.group.clone(),
            count: Some(HOLDERS),
            request_host: Some(self.address()),
            ..FindRequest::default()
        }
    }

    /// A Go server answers one key at a time.
    async fn find_each(
        &self,
        server: &servers::Usable<'_>,
        keys: &[Key],
        deadline: Duration,
    ) -> Option<Vec<Found>> {
        let end = Instant::now() + deadline;
        let mut all = Vec::with_capacity(keys.len());
        for key in keys {
            let path = flavour::find_key_path(key, &self.0.group, self.address(), HOLDERS);
            let left = end.saturating_duration_since(Instant::now());
            let reply = server.get(&path, left).await?;
            let peers = if reply.status == http::StatusCode::NOT_FOUND {
                Vec::new()
            } else {
                flavour::peers(server.read::<FindKeyReply>(&reply)?)
            };
            let key = key.as_str().to_owned();
            all.push(self.without_self(Found {
                key,
                peers,
                swarm: None,
            }));
        }
        Some(all)
    }

    /// A stale row may name this very node.
    fn without_self(&self, mut found: Found) -> Found {
        self.0.racks.learn(&found.peers);
        let here = self.0.here.get();
        found.peers.retain(|peer| Some(peer.addr) != here);
        found
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(FINDS.name, "outcome" => outcome).increment(1);
}
