//! Builds the server from its settings, and serves.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use axum::{Router, routing::get};
use daemon::{clock::Clock, readiness::Readiness, scope::Scope, serve};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tracing::info;

use crate::{
    api::{self, Api, Limits},
    bandwidth,
    config::{Address, GroupDatabase, Migrate, Serve},
    databases::Databases,
    finder::Finder,
    realm::{Common, Realm},
    store::{MySql, SqlStore, Sqlite, Store, Writer},
    topology_file,
    writer::Bounds,
};

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

const API_LIMITS: serve::Limits = serve::Limits {
    connections: 65_536,
    head: Duration::from_mins(2),
};

const ADMIN_LIMITS: serve::Limits = serve::Limits {
    connections: 64,
    head: Duration::from_secs(30),
};

const LIMITS: Limits = Limits {
    body: 4 << 20,
    keys: 20_000,
    count: 1000,
    find_keys: 256,
};

/// Connections that read from one SQLite file.
const SQLITE_READERS: u32 = 4;

/// Connections to one MySQL server.
const MYSQL_CONNECTIONS: u32 = 16;

/// Binds the listeners and opens the databases.
///
/// # Errors
/// When an address is taken or a database cannot be opened.
pub async fn build(settings: Serve, host: Host) -> anyhow::Result<App> {
    let bind = async |addr: SocketAddr| {
        TcpListener::bind(addr)
            .await
            .with_context(|| format!("cannot listen on {addr}"))
    };
    let api_listener = bind(settings.listen).await?;
    let admin_listener = bind(settings.admin_listen).await?;
    let (api, admin) = (api_listener.local_addr()?, admin_listener.local_addr()?);
    info!(%api, %admin, version = daemon::VERSION, "listening");

    let current =
        topology_file::follow(settings.topology.clone(), &host.readiness, &host.scope).await?;
    let ready = host.readiness.guard("databases");
    let common = Common {
        clock: host.clock.clone(),
        writer: Writer(host.instance),
        node_timeout: settings.node_timeout,
        flush: Duration::from_secs(1),
        bounds: Bounds {
            queue: 8192,
            keys: 4096,
        },
        find_cache_ttl: settings.find_cache_ttl,
    };
    let mut own = HashMap::new();
    let mut others = None;
    for database in settings.data.databases() {
        let store = open(&database).await?;
        store
            .migrate()
            .await
            .with_context(|| format!("cannot use {}", database.address))?;
        let realm = Arc::new(Realm::open(store, &common, &host.scope).await?);
        let first = match database.group {
            Some(group) => own.insert(group, realm).is_none(),
            None => others.replace(realm).is_none(),
        };
        if !first {
            bail!(
                "database {} is the second one for its group",
                database.address
            );
        }
    }
    let databases = Arc::new(Databases::new(own, others));
    let bandwidth = bandwidth::start(
        Arc::clone(&current),
        &databases,
        host.clock.clone(),
        common.writer,
        &host.scope,
    )
    .await;
    let shared = Api {
        databases,
        finder: Finder::new(
            host.clock.clone(),
            Arc::clone(&current),
            Arc::clone(&bandwidth),
        ),
        current,
        bandwidth,
        clock: host.clock,
        limits: LIMITS,
    };
    drop(ready);
    Ok(App {
        api,
        admin,
        api_listener,
        admin_listener,
        api_router: api::router(Arc::new(shared)),
        admin_router: admin_router(host.readiness, host.metrics, api, admin),
        scope: host.scope,
    })
}

impl App {
    /// Serves as tasks of the scope; returns at once.
    pub fn run(self) {
        let scope = self.scope;
        let api = serve::serve(
            self.api_listener,
            self.api_router,
            API_LIMITS,
            scope.clone(),
        );
        scope.service("api", api);
        let admin = serve::serve(
            self.admin_listener,
            self.admin_router,
            ADMIN_LIMITS,
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
        let store = open(&database).await?;
        store
            .migrate()
            .await
            .with_context(|| format!("cannot migrate {}", database.address))?;
        info!(database = %database.address, "the schema is up to date");
    }
    Ok(())
}

async fn open(database: &GroupDatabase) -> anyhow::Result<Arc<dyn Store>> {
    let cannot = || format!("cannot open {}", database.address);
    match &database.address {
        Address::Sqlite(file) => {
            if let Some(dir) = file.parent() {
                tokio::fs::create_dir_all(dir).await.with_context(cannot)?;
            }
            let engine = Sqlite::open(file, SQLITE_READERS)
                .await
                .with_context(cannot)?;
            Ok(Arc::new(SqlStore::new(engine)))
        }
        Address::MySql(options) => Ok(Arc::new(SqlStore::new(MySql::new(
            (**options).clone(),
            MYSQL_CONNECTIONS,
        )))),
    }
}

fn admin_router(
    readiness: Readiness,
    metrics: PrometheusHandle,
    api: SocketAddr,
    admin: SocketAddr,
) -> Router {
    let info = serde_json::json!({
        "version": daemon::VERSION,
        "api": api.to_string(),
        "admin": admin.to_string(),
    });
    let info = get(async move || axum::Json(info.clone()));
    daemon::admin::router(readiness, metrics).route("/info", info)
}
