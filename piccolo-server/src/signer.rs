//! `pki serve`: issues certificates to the pods of agents and servers in Kubernetes.
//!
//! A pod shows the token of its service account. Who it is, and which addresses it has, is what Kubernetes says
//! of it; nothing that it says of itself counts but its key.

mod authority;
mod call;
mod kubernetes;
mod pod;
mod rate;
mod refusal;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, middleware::from_fn_with_state};
use daemon::{
    metric::Metric,
    scope::Scope,
    serve::{self, Limits},
    telemetry,
    tls::{Files, Gate, Mode, Role, Tls},
};
use tokio::net::TcpListener;
use tracing::info;

use self::{authority::Keeper, call::Signing, kubernetes::Kubernetes};
use crate::{api, app::Host, config::PkiServe, pki};

/// What the signer counts besides connections.
pub const METRICS: &[Metric] = &[call::REQUESTS, authority::EXPIRES];

/// How often recorded values are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 4096;
const LIMITS: Limits = Limits {
    connections: 1024,
    head: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    per_address: 256,
    // All nodes of a cluster may be in one network of 64 bits.
    counts_as: serve::host,
    dropped: |_| {},
};
/// A signer whose listeners are bound.
#[derive(Debug)]
pub struct Signer {
    /// Where pods call.
    pub api: SocketAddr,
    /// Where probes and Prometheus call.
    pub admin: SocketAddr,
    listeners: [TcpListener; 2],
    routers: [Router; 2],
    tls: Tls,
    keeper: Arc<Keeper>,
    host: Host,
}

/// Every metric of the signer.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    let tables = [METRICS, daemon::tls::METRICS, daemon::tls::OF_LISTENERS];
    tables.into_iter().flatten()
}

/// Binds the listeners.
///
/// # Errors
/// When an address is taken, or a setting makes no sense.
pub fn build(settings: &PkiServe, host: Host) -> anyhow::Result<Signer> {
    let listeners = [listen(settings.listen)?, listen(settings.admin_listen)?];
    let [api, admin] = &listeners;
    let (api, admin) = (api.local_addr()?, admin.local_addr()?);
    info!(%api, %admin, version = daemon::VERSION, "listening");
    anyhow::ensure!(
        !settings.agents.is_empty() || !settings.servers.is_empty(),
        "nobody would get a certificate: give --agents or --servers"
    );
    let at = |file| settings.state_dir.join(file);
    let files = Files {
        certificate: at(pki::CERTIFICATE),
        key: at(pki::KEY),
        authorities: at(pki::CA),
        seen: None,
    };
    let clock = host.clock.clone();
    let tls = Tls::load_or_wait(Mode::Required, Some(files), &[Role::Server], clock.clone())?;
    let kubernetes = Kubernetes::new(settings, clock);
    let keeper = Keeper::new(settings, &host, kubernetes.clone(), tls.clone())?;
    let signing = Signing::new(settings, kubernetes, Arc::clone(&keeper), &host);
    let gate = match &settings.operator_token_file {
        None => Gate::default(),
        Some(token) => Gate::new(tls.clone(), Some(token.clone())),
    };
    let metrics = daemon::admin::metrics(host.metrics.clone())
        .route_layer(from_fn_with_state(gate, api::readers));
    let probes = daemon::admin::probes(host.readiness.clone());
    Ok(Signer {
        api,
        admin,
        listeners,
        routers: [call::router(signing), probes.merge(metrics)],
        tls,
        keeper,
        host,
    })
}

fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = serve::bind::bind(addr).and_then(|socket| socket.listen(BACKLOG));
    listener.with_context(|| format!("cannot listen on {addr}"))
}

impl Signer {
    /// Serves as tasks of the scope; returns at once.
    pub fn run(self) {
        let scope: Scope = self.host.scope;
        let folding = telemetry::upkeep(self.host.metrics, METRICS_UPKEEP, scope.clone());
        scope.service("metrics", folding);
        let (keeper, own) = (self.keeper, scope.clone());
        scope.service("authority", async move { keeper.run(own).await });
        let [api, admin] = self.listeners;
        let [calls, probes] = self.routers;
        let also_plain = self.tls.clone().also_plain();
        let api = serve::serve(api, calls, self.tls, LIMITS, scope.clone());
        scope.service("api", api);
        let admin = serve::serve(
            admin,
            probes,
            also_plain,
            daemon::admin::LIMITS,
            scope.clone(),
        );
        scope.service("admin", admin);
    }
}
