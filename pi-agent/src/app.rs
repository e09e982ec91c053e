//! The agent as a whole: `build` binds and connects its parts, `run` lets them work.

mod address;
mod clients;
mod former;
mod listeners;
mod metrics;
mod sharing;
mod sockets;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use daemon::{
    beat::beat,
    clock::Clock,
    cycle::{self, Deadlines, End, Signals},
    notify::Notifier,
    readiness::Readiness,
    scope::{Deaths, Scope},
    serve::addresses::Grouping,
    telemetry,
    tls::{Agents, Tls},
};
use metrics_exporter_prometheus::PrometheusHandle;
use piccolo_api::{Holder, Load, Observation};
use tracing::{info, warn};

use self::{
    clients::Clients,
    former::Former,
    listeners::{Bound, Listeners},
    sharing::Shared,
};
use crate::{
    admin::{self, Admin},
    config::{HostsMode, Run, SwarmMode},
    containerd::Containerd,
    content::{self, Content, Tracking},
    datapath::Pace,
    discovery::{self, Discovery},
    ebpf::{self, Accounting},
    fetch::{FetchSettings, Fetcher, Parts},
    here::Here,
    hosts::{Capabilities, release::Release},
    instance::Instance,
    jitter::Jitter,
    keeper::{self, Duty, Keeper, Report},
    memory::Memory,
    mirror::{Mirror, MirrorSettings},
    peer::{PeerServer, PeerSettings},
    reach::Reach,
    sockets::{PeerBytes, PeerSockets},
    status::Addresses,
    tags::{Openness, Tags},
    tracker::Tracker,
};

pub use self::metrics::metrics;

/// Interval between two passes over the peers' counters. Readers get counters at most a second old
/// by a pass of their own, so an idle node is not woken up for numbers that nobody reads. Each pass
/// also returns freed memory if the process has grown.
const ACCOUNTING_PASS: Duration = Duration::from_secs(30);
/// Interval between two upkeeps of the metrics' histograms.
const METRICS_UPKEEP: Duration = Duration::from_secs(10);
/// Peers with the most bytes that one report names.
const REPORTED_PEERS: usize = 200;

/// What the process passes to the agent.
#[derive(Debug)]
pub struct Outside {
    /// The settings.
    pub settings: Run,
    /// The recorder that is installed.
    pub metrics: PrometheusHandle,
    /// The wall clock.
    pub clock: Clock,
    /// Jitter, so that agents started together do not act together.
    pub jitter: Jitter,
    /// Which process this is.
    pub instance: Instance,
    /// Tells systemd that the agent has started and is alive.
    pub notifier: Notifier,
}

/// An agent that has bound its listeners and does not serve yet.
#[derive(Debug)]
pub struct App {
    addresses: Addresses,
    listeners: Listeners,
    former: Option<Former>,
    parts: Working,
    scope: Scope,
    deaths: Deaths,
    drain: Duration,
}

#[derive(Debug)]
struct Working {
    content: Content,
    tracking: Tracking,
    discovery: Discovery,
    accounting: Arc<Accounting>,
    fetcher: Fetcher,
    tags: Option<Tags>,
    openness: Option<Openness>,
    here: Here,
    clients: Clients,
    peers: PeerServer,
    bytes: PeerBytes,
    outside: Outside,
    readiness: Readiness,
    /// containerd's release, where the mirror files depend on it and it is known.
    release: Option<Release>,
}

impl App {
    /// Binds the listeners and makes the parts; nothing is served yet. Call it within a runtime.
    ///
    /// # Errors
    /// When an address is taken, no address to advertise is found, or a setting makes no sense.
    pub async fn build(outside: Outside) -> Result<Self> {
        let settings = &outside.settings;
        settings.check_tags()?;
        // Before anything waits for this agent.
        let release = match settings.hosts_mode {
            HostsMode::Off => None,
            HostsMode::Watch | HostsMode::Write => {
                Containerd::release(&settings.containerd.containerd_socket).await
            }
        };
        let former = Former::of(settings).await;
        let bound = Bound::new(settings, former.as_ref().map(Former::address))?;
        let addresses = bound.addresses();
        info!(
            mirror = %addresses.mirror,
            peer = %addresses.peer,
            admin = %addresses.admin,
            version = daemon::VERSION,
            "bound"
        );
        let ip = address::advertised(settings).await?;
        let holder = Holder::new((ip, addresses.peer.port()).into())
            .context("the address to advertise cannot be reached by peers")?;
        info!(%holder, group = %settings.nodes.group, "this node");
        // Attach between binding and listening, so that no connection is missed.
        let accounting = ebpf::Settings::new(settings.accounting, addresses.peer.port());
        let accounting =
            Accounting::attach(&accounting, Instant::now()).context("peers cannot be counted")?;
        let listeners = bound.listen()?;
        accounting
            .check(addresses.peer)
            .context("peers cannot be counted")?;
        let (scope, deaths) = Scope::new();
        let drain = Duration::from_secs(settings.drain);
        let tls = clients::certified(settings, holder, &outside.clock)?;
        let secured = (tls, scope.clone());
        let parts = Working::new(outside, holder, accounting, release, secured)?;
        Ok(Self {
            addresses,
            listeners,
            former,
            parts,
            scope,
            deaths,
            drain,
        })
    }

    /// The addresses that are bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until a signal or the death of a part, then drains.
    pub async fn run(self, signals: Signals) -> End {
        let Self {
            addresses,
            listeners,
            former,
            parts,
            scope,
            deaths,
            drain,
        } = self;
        let discovery = parts.discovery.clone();
        parts.start((listeners, former), addresses, &scope);
        let farewell = async move { discovery.leave().await };
        cycle::run(&scope, deaths, signals, Deadlines { drain }, farewell).await
    }
}

impl Working {
    fn new(
        outside: Outside,
        holder: Holder,
        accounting: Accounting,
        release: Option<Release>,
        (tls, scope): (Tls, Scope),
    ) -> Result<Self> {
        let settings = &outside.settings;
        let containerd = Containerd::new(
            &settings.containerd.containerd_socket,
            &settings.containerd.containerd_namespace,
        )?;
        let readiness = Readiness::default();
        let shared = Shared::new(settings, release);
        let (content, tracking) = Content::of_images(content::Settings {
            path: settings.containerd.content_path.clone(),
            containerd,
            policy: shared.policy.clone(),
            tags: sharing::of_tags(settings),
            readiness: readiness.clone(),
        });
        let takes_part = settings.swarm.mode == SwarmMode::On;
        let tracker = takes_part.then(|| Tracker::new(outside.clock.clone()));
        let here = Here::from(holder);
        let agents = Agents::new(&tls, settings.nodes.group.as_str());
        let clients = Clients::new(tls, (&outside, &here, &readiness), &scope);
        let reach = Reach::new(holder.ip(), settings.nodes.node_cidrs.clone());
        let discovery = Discovery::of_servers(discovery::Settings {
            client: clients.servers.clone(),
            mates: clients.mates.clone(),
            servers: settings.servers.server.clone(),
            group: settings.nodes.group.as_str().to_owned(),
            here: here.clone(),
            jitter: outside.jitter.clone(),
            tracker: tracker.clone(),
            reach: reach.clone(),
        });
        let tags = shared.resolver(settings, &discovery, &reach);
        let openness = shared.openness(settings);
        let bytes = PeerBytes::default();
        let sockets = PeerSockets::new(bytes.clone(), Arc::new(accounting.sockets()));
        let peers = PeerServer::with(
            content.clone(),
            sockets.clone(),
            serving(settings, holder.ip(), &agents),
            tracker,
        );
        let parts = Parts {
            content: content.clone(),
            finder: Box::new(discovery.clone()),
            verdicts: Box::new(content.clone()),
            sockets,
            scope,
        };
        let fetching = FetchSettings {
            here: here.clone(),
            reach,
            agents,
            verify: settings.verifying.verify.into(),
            verify_memory: settings.verifying.verify_memory,
            swarm: settings.swarm.mode.into(),
            swarm_wait: Duration::from_secs(settings.swarm.swarm_wait),
            lazy_ranges: settings.verifying.lazy_ranges(),
            floor: FetchSettings::floor(settings.rate_floor),
            ..FetchSettings::default()
        };
        let fetcher = Fetcher::new(parts, &fetching);
        let accounting = Arc::new(accounting);
        report(&discovery, &accounting, &peers, &bytes);
        Ok(Self {
            content,
            tracking,
            discovery,
            accounting,
            fetcher,
            tags,
            openness,
            here,
            clients,
            peers,
            bytes,
            outside,
            readiness,
            release,
        })
    }

    fn start(self, at: (Listeners, Option<Former>), addresses: Addresses, scope: &Scope) {
        let (listeners, former) = at;
        let Outside {
            clock,
            jitter,
            metrics,
            settings,
            instance,
            notifier,
        } = self.outside;
        self.tracking
            .start(scope, self.discovery.clone(), clock.clone(), jitter.clone());
        let keys = self.content.clone();
        self.discovery
            .start(scope, move || keys.keys(), &clock, jitter.clone());
        scope.service(
            "accounting",
            passes(
                Arc::clone(&self.accounting),
                self.discovery.clone(),
                scope.clone(),
            ),
        );
        if let Some(log) = self.accounting.take_log() {
            scope.service("kernel log", follow(log, scope.clone()));
        }
        let folding = telemetry::upkeep(metrics.clone(), METRICS_UPKEEP, scope.clone());
        scope.service("metrics", folding);
        sharing::watch(self.openness.as_ref(), &jitter, scope);
        let mirroring = MirrorSettings {
            tags: self.tags,
            openness: self.openness,
            instance: Some(instance),
            ..MirrorSettings::default()
        };
        let mirror = Mirror::new(self.content.clone(), self.fetcher.clone(), mirroring);
        former::begin((former, listeners.former), &mirror, scope);
        scope.service("mirror", mirror.serve(listeners.mirror, scope.clone()));
        let serving = self.peers.clone().serve(listeners.peer, scope.clone());
        scope.service("peer", serving);
        let tls = self.clients.tls.clone();
        let moved = moved(self.clients, self.fetcher.clone(), &self.peers);
        let following = address::follow(settings.clone(), self.here, moved, scope.clone());
        scope.service("address", following);
        let duty = Duty::from(settings.hosts_mode);
        let capabilities = Capabilities::of(settings.tags.resolve_tags);
        let mut entries = settings.hosts.entries(capabilities);
        entries.release = self.release;
        let report = Report::new(duty, entries.registries.len(), self.readiness.clone());
        notifier.ready();
        let keeper = Keeper::new(keeper::Settings {
            entries,
            duty,
            agent: keeper::Agent::This(instance),
            report: report.clone(),
            notifier,
            jitter,
        });
        let keeping = keeper.run(scope.clone());
        scope.service("hosts", keeping);
        let admin = Admin {
            addresses,
            hosts: report,
            group: settings.nodes.group.as_str().to_owned(),
            tls,
            token: settings.operator_token_file.clone(),
            started: clock.now(),
            clock,
            content: self.content,
            discovery: self.discovery,
            accounting: self.accounting,
            needs: ebpf::needs(),
            fetcher: self.fetcher,
            tags: sharing::tags_status(&settings),
            peers: self.peers,
            bytes: self.bytes,
            readiness: self.readiness,
            metrics,
        };
        scope.service("admin", admin::serve(listeners.admin, admin, scope.clone()));
    }
}

/// What depends on this node's address besides what peers are told.
fn moved(clients: Clients, fetcher: Fetcher, peers: &PeerServer) -> impl Fn(IpAddr) + use<> {
    let grouping = peers.grouping();
    move |ip| {
        grouping.moved(ip);
        clients.renew();
        fetcher.renew();
    }
}

fn serving(settings: &Run, own: IpAddr, agents: &Agents) -> PeerSettings {
    let pace = std::num::NonZeroU64::new(settings.serving.upload_rate);
    PeerSettings {
        slots: usize::try_from(settings.serving.upload_slots).unwrap_or(usize::MAX),
        pace: pace.map_or_else(Pace::free, Pace::limited),
        receiver: PeerSettings::receiver(settings.rate_floor),
        grouping: Grouping::at(own),
        agents: agents.clone(),
        ..PeerSettings::default()
    }
}

/// Gives the measurements to the reports to the server.
fn report(
    discovery: &Discovery,
    accounting: &Arc<Accounting>,
    peers: &PeerServer,
    bytes: &PeerBytes,
) {
    let (accounting, bytes) = (Arc::clone(accounting), bytes.clone());
    let peers = peers.clone();
    discovery.observe(
        Box::new(move || {
            accounting.refresh(Instant::now);
            let reports = accounting.take_reports(REPORTED_PEERS, Instant::now);
            let goodput = |report| goodput(Observation::from(report), &bytes);
            reports.iter().map(goodput).collect()
        }),
        Box::new(move || {
            let slots = peers.slots();
            let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
            Load {
                uploads: count(slots.taken),
                slots: count(slots.size),
            }
        }),
    );
}

/// The kernel counts what is on the wire; what a path delivers is what is left of it without TLS.
fn goodput(mut observation: Observation, bytes: &PeerBytes) -> Observation {
    let totals = bytes.of(observation.peer);
    let flows = [
        (&mut observation.received, totals.received),
        (&mut observation.sent, totals.sent),
    ];
    for (flow, direction) in flows {
        flow.bytes = direction.goodput(flow.bytes);
        flow.rated_bytes = direction.goodput(flow.rated_bytes);
    }
    observation
}

/// Hands on what the kernel's program logs, where that is switched on.
async fn follow(log: ebpf::LogReader, scope: Scope) {
    tokio::select! {
        () = scope.draining() => {}
        Err(error) = log.follow() => {
            warn!(%error, "what the kernel's program logs cannot be read any more");
            scope.draining().await;
        }
    }
}

async fn passes(accounting: Arc<Accounting>, discovery: Discovery, scope: Scope) {
    let mut memory = Memory::default();
    loop {
        tokio::select! {
            () = scope.draining() => return,
            () = beat(ACCOUNTING_PASS) => {}
        }
        let accounting = Arc::clone(&accounting);
        let discovery = discovery.clone();
        let pass = move || {
            // What was done since the last pass may have left some.
            memory.give_back();
            // Unless somebody has just asked.
            accounting.refresh(Instant::now);
            accounting.show_racks(|peer| discovery.rack(peer));
            memory
        };
        // Fails only while the runtime shuts down.
        memory = tokio::task::spawn_blocking(pass).await.unwrap_or_default();
    }
}
