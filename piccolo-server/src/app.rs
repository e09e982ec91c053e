//! Builds the server from its settings, and serves.

mod metrics;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, middleware::from_fn_with_state, routing::get};
use daemon::{
    clock::Clock,
    issuer::{self, Issuer},
    memory,
    readiness::{Guard, Readiness},
    scope::Scope,
    serve,
    spell::Spell,
    telemetry,
    tls::{Gate, Role, Tls},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tracing::{error, info, warn};

pub use self::metrics::metrics;
use crate::{
    api::{self, Api, Bodies, Foreign, Limits, Refusals},
    bandwidth,
    config::{Holders, Migrate, Serve},
    connections,
    crowd::Crowd,
    database::Common,
    databases::{self, Opening, may_pass},
    finder::Finder,
    instances,
    mates::RackLists,
    nodes::Caps,
    patience::Patience,
    store::Writer,
    tags::Tags,
    topology_file::{self, Current},
    writer::Bounds,
};

/// How often recorded values are folded: a busy server records some ten thousand in a second.
const METRICS_UPKEEP: Duration = Duration::from_secs(1);

/// A server whose listeners are bound.
#[derive(Debug)]
pub struct App {
    /// Where agents call.
    pub api: SocketAddr,
    /// Where probes and Prometheus call.
    pub admin: SocketAddr,
    api_listener: TcpListener,
    admin_listener: TcpListener,
    api_router: Router,
    admin_router: Router,
    tls: Tls,
    connections_per_address: usize,
    scope: Scope,
}

/// What the process gives to the server.
#[derive(Debug)]
pub struct Host {
    /// Where its tasks run.
    pub scope: Scope,
    /// What it waits for.
    pub readiness: Readiness,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The wall clock.
    pub clock: Clock,
    /// A number that no other instance has.
    pub instance: i64,
}

const LIMITS: Limits = Limits {
    body: 4 << 20,
    keys: 20_000,
    count: 1000,
    keys_per_node: u32::MAX,
    find_keys: 256,
    node_timeout: Duration::MAX,
    bind_holder: false,
};

/// Bytes of all bodies that are being read.
const BODIES: usize = 64 << 20;
/// Of those, the bytes of one address.
const BODIES_OF_ONE: usize = 16 << 20;

/// Between two tries to open databases that are away.
const OPEN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Connections that wait to be accepted (the listen backlog); the kernel caps it at
/// `net.core.somaxconn`. All agents may connect at once. A SYN that finds the backlog full is sent
/// again after a second, and by then the agent's call has timed out.
const BACKLOG: u32 = 16_384;
/// The backlog of the admin listener: probes and Prometheus try again.
const ADMIN_BACKLOG: u32 = 128;

fn listen(addr: SocketAddr, backlog: u32) -> anyhow::Result<TcpListener> {
    let listener = serve::bind::bind(addr).and_then(|socket| socket.listen(backlog));
    listener.with_context(|| format!("cannot listen on {addr}"))
}

/// Binds the listeners and opens the databases. Where a database is away, that is tried again as
/// a task; calls are told to come again until then.
///
/// # Errors
/// When an address is taken or a database cannot be used.
pub async fn build(settings: Serve, host: Host) -> anyhow::Result<App> {
    let api_listener = listen(settings.listen, BACKLOG)?;
    let admin_listener = listen(settings.admin_listen, ADMIN_BACKLOG)?;
    let (api, admin) = (api_listener.local_addr()?, admin_listener.local_addr()?);
    info!(%api, %admin, version = daemon::VERSION, "listening");

    let tls = certificates(&settings, &host)?;
    let gate = Gate::new(tls.clone(), settings.operator_token_file.clone());
    let folding = telemetry::upkeep(host.metrics.clone(), METRICS_UPKEEP, host.scope.clone());
    host.scope.service("metrics", folding);
    let current =
        topology_file::follow(settings.topology.clone(), &host.readiness, &host.scope).await?;
    let served = settings.caps.groups.iter().cloned().collect();
    let builder = Builder {
        opening: Opening::new(&settings.data, !settings.no_migrate, served).await?,
        common: common(&settings, &host),
        limits: Limits {
            bind_holder: settings.holders.bind_holder,
            keys_per_node: settings.caps.keys_per_node,
            node_timeout: settings.node_timeout,
            ..LIMITS
        },
        current,
        holders: settings.holders.clone(),
        swarm: settings.swarm.rules(),
        address: settings.swarm.instance_address.map(|own| own.at(api)),
        tls: tls.clone(),
        gate: gate.clone(),
        scope: host.scope.clone(),
    };
    let ready = host.readiness.guard("databases");
    let api_router = match builder.open().await {
        Ok(router) => router,
        Err(error) if may_pass(&error) => {
            warn!(error = %telemetry::chain(error.as_ref()), "a database is away; waiting for it");
            let router = Arc::new(OnceLock::new());
            let later = builder.open_later(Arc::clone(&router), ready);
            host.scope.service("opening", later);
            api::late(router)
        }
        Err(error) => return Err(error),
    };
    Ok(App {
        api,
        admin,
        api_listener,
        admin_listener,
        api_router,
        admin_router: admin_router(host.readiness, host.metrics, (api, admin), gate),
        tls,
        connections_per_address: settings.connections_per_address,
        scope: host.scope,
    })
}

/// Follows the certificates, and has them issued where the settings say so.
fn certificates(settings: &Serve, host: &Host) -> anyhow::Result<Tls> {
    let scope = &host.scope;
    let tls = (settings.tls).load_or_wait(&settings.issuer, &[Role::Server], &host.clock)?;
    scope.service("certificates", tls.clone().follow(scope.clone()));
    let issuer = settings.issuer.tls_issuer.clone().and_then(|url| {
        Issuer::new(issuer::Settings {
            url,
            token: settings.issuer.tls_issuer_token.clone(),
            tls: tls.clone(),
            readiness: host.readiness.clone(),
            clock: host.clock.clone(),
            random: Box::new(random),
            fits: Arc::new(|_own| Ok(())),
        })
    });
    if let Some(issuer) = issuer {
        scope.service("issuer", issuer.run(scope.clone()));
    }
    Ok(tls)
}

/// Uniform in 0 to 1: the standard library seeds its hash maps with random numbers.
fn random() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

fn common(settings: &Serve, host: &Host) -> Common {
    Common {
        clock: host.clock.clone(),
        readiness: host.readiness.clone(),
        writer: Writer(host.instance),
        patience: Patience::new(settings.node_timeout, settings.go_node_timeout),
        flush: Duration::from_secs(1),
        bounds: Bounds {
            queue: 8192,
            waiting_keys: 1 << 20,
            keys: 4096,
            keys_per_node: settings.caps.keys_per_node,
        },
        caps: Caps {
            nodes_per_address: settings.caps.nodes_per_address,
            nodes_per_group: settings.caps.nodes_per_group,
            keys_per_address: settings.caps.keys_per_address,
            groups_per_address: settings.caps.groups_per_address,
        },
        find_cache_ttl: settings.find_cache_ttl,
    }
}

/// Everything that answers calls, except the databases.
struct Builder {
    opening: Opening,
    common: Common,
    limits: Limits,
    current: Arc<Current>,
    holders: Holders,
    /// The rules of flash crowds; `None` where they are off.
    swarm: Option<swarm::Rules>,
    /// Where other instances reach this one.
    address: Option<SocketAddr>,
    tls: Tls,
    gate: Gate,
    scope: Scope,
}

impl Builder {
    async fn open(&self) -> anyhow::Result<Router> {
        let databases = Arc::new(self.opening.open(&self.common, &self.scope).await?);
        let clock = self.common.clock.clone();
        let bandwidth = bandwidth::start(
            Arc::clone(&self.current),
            &databases,
            clock.clone(),
            self.common.writer,
            &self.scope,
        )
        .await;
        let finder = Finder::new(
            clock.clone(),
            Arc::clone(&self.current),
            Arc::clone(&bandwidth),
        );
        let instances = match self.address.filter(|_| self.swarm.is_some()) {
            Some(own) => {
                let reached = (&*databases, self.tls.clone());
                instances::start(own, self.common.writer, reached, &self.scope).await
            }
            None => None,
        };
        let crowd = self.swarm.clone().map(|rules| {
            let crowd = Arc::new(Crowd::new(rules, &clock));
            let (running, scope) = (Arc::clone(&crowd), self.scope.clone());
            let others = instances.clone();
            let run = async move { running.run(scope, others).await };
            self.scope.service("swarm", run);
            crowd
        });
        let tags = Arc::new(Tags::default());
        let (sweeping, scope) = (Arc::clone(&tags), self.scope.clone());
        let sweep = async move { sweeping.run(scope).await };
        self.scope.service("tags", sweep);
        Ok(api::router(Arc::new(Api {
            crowd,
            instances,
            tags,
            databases,
            finder,
            current: Arc::clone(&self.current),
            bandwidth,
            clock,
            limits: self.limits,
            bodies: Bodies::new(BODIES, BODIES_OF_ONE),
            bounds: api::Bounds::new(
                self.holders.node_cidrs.clone(),
                self.holders.holder_port.clone(),
                Arc::clone(&self.current),
            ),
            foreign: Foreign::new(),
            refusals: Refusals::new(),
            mates: RackLists::default(),
            accused: api::Accused::new(),
            tls: self.tls.clone(),
            impostors: Spell::new("no calls are refused for who makes them any more"),
            gate: self.gate.clone(),
        })))
    }

    /// Tries until the databases can be opened. A permanent error ends the process.
    async fn open_later(self, router: Arc<OnceLock<Router>>, ready: Guard) {
        loop {
            tokio::select! {
                () = self.scope.draining() => return,
                () = tokio::time::sleep(OPEN_RETRY_INTERVAL) => {}
            }
            match self.open().await {
                Ok(opened) => {
                    info!("the databases are there");
                    let _ = router.set(opened);
                    drop(ready);
                    break;
                }
                Err(error) if may_pass(&error) => {}
                Err(error) => {
                    error!(error = %telemetry::chain(error.as_ref()), "a database cannot be used");
                    return;
                }
            }
        }
        // A service lasts as long as the process.
        self.scope.draining().await;
    }
}

impl App {
    /// Serves as tasks of the scope; returns at once.
    pub fn run(self) {
        let scope = self.scope;
        let memory = memory::limit();
        let limits = connections::limits(self.connections_per_address, memory, self.tls.mode());
        let mebibytes = memory.map(|bytes| bytes >> 20);
        info!(
            connections = limits.connections,
            mebibytes, "connections of agents at once, by the memory that there is"
        );
        let (own, tls) = (self.tls.clone(), self.tls.also_plain());
        let api = serve::serve(
            self.api_listener,
            self.api_router,
            own,
            limits,
            scope.clone(),
        );
        scope.service("api", api);
        let admin = serve::serve(
            self.admin_listener,
            self.admin_router,
            tls,
            daemon::admin::LIMITS,
            scope.clone(),
        );
        scope.service("admin", admin);
    }
}

/// Brings the schema of all databases up to date.
///
/// # Errors
/// When one of them cannot be opened or changed.
pub async fn migrate(settings: &Migrate) -> anyhow::Result<()> {
    for database in settings.data.databases() {
        databases::store(&settings.data, &database)
            .await?
            .migrate()
            .await
            .with_context(|| format!("cannot migrate {}", database.address))?;
        info!(database = %database.address, "the schema is up to date");
    }
    Ok(())
}

fn admin_router(
    readiness: Readiness,
    metrics: PrometheusHandle,
    (api, admin): (SocketAddr, SocketAddr),
    gate: Gate,
) -> Router {
    let info = serde_json::json!({
        "version": daemon::VERSION,
        "api": api.to_string(),
        "admin": admin.to_string(),
    });
    let info = get(async move || axum::Json(info.clone()));
    let guarded = Router::new()
        .route("/info", info)
        .merge(daemon::admin::metrics(metrics))
        .route_layer(from_fn_with_state(gate, api::readers));
    daemon::admin::probes(readiness).merge(guarded)
}
